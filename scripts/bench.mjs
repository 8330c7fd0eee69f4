/** `npm run bench -- NAME …`: all the set-up that is missing, then bench/NAME.ts. */
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { packageRoot } from './paths.mjs';
import { fail } from './setup-error.mjs';
import { setUp } from './setup.mjs';

const folder = path.join(packageRoot, 'bench');
const [name, ...args] = process.argv.slice(2);
/** A benchmark has a table of its own in RESULTS.md; the other files here are its parts. */
const benchmarks = ['fc', 'lc', 'tp', 'conv', 'checkpoint', 'loader', 'builds', 'versions', 'beside-scripts'];

if (name === undefined || !benchmarks.includes(name)) {
  if (name !== undefined) process.stderr.write(`Unknown benchmark ${JSON.stringify(name)}.\n`);
  process.stderr.write(`Usage: npm run bench -- ${benchmarks.join('|')} [--help]\n`);
  process.exitCode = 2;
} else {
  try {
    await setUp();
    const file = path.join(folder, `${name}.ts`);
    const { status } = spawnSync(process.execPath, ['--import', 'tsx', file, ...args], {
      cwd: packageRoot,
      stdio: 'inherit',
    });
    process.exitCode = status ?? 1;
  } catch (error) {
    fail(error);
  }
}
