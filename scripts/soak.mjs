/**
 * `npm run soak -- PART …`: what takes too long for every change. Each part says what it proves, and ends within an
 * hour or goes on where it was stopped; the date and commit of its last run stand in bench/RESULTS.md.
 */
import { spawnSync } from 'node:child_process';
import { packageRoot } from './paths.mjs';
import { fail } from './setup-error.mjs';
import { setUp } from './setup.mjs';

/**
 * @typedef {object} Part
 * @property {string} proves
 * @property {string[]} [files] of tap; test/soak/PART.test.ts
 * @property {string} [program] in place of tap; it has a closing line of its own
 * @property {Record<string, string>} [env]
 * @property {{ variable: string, what: string }} [needs] of the environment
 */

/** @type {Record<string, Part>} */
const PARTS = {
  accuracy: { proves: 'every rule and architecture reaches its error on MNIST in its first epochs' },
  alone: { proves: 'every test passes alone, without those before it', program: 'test/soak/alone.mjs' },
  cuda: {
    proves: 'the CUDA kernels compile for every GPU architecture of the package (needs nvcc and a CUDA libtorch)',
  },
  damage: {
    proves: 'no damaged checkpoint, of hundreds of thousands, crashes, hangs or is read as something else',
    files: ['test/formats/hostile-checkpoints.test.ts', 'test/formats/safetensors.test.ts'],
    env: { CORTORCH_RANDOM_CASES: '25' },
  },
  emulated: { proves: 'the programs that check a GPU find nothing wrong with the emulated CUDA half' },
  examples: { proves: 'every example runs as its own comment says, and learns' },
  images: { proves: 'memory stays flat over 20,000 images' },
  install: { proves: 'npm install compiles the packed package from source in an empty project, and it trains there' },
  kills: { proves: 'a run that is killed 15 times, under two rules, ends as one that was left alone' },
  'mutations-cuda': { proves: 'each of 60 slips in the CUDA half is found by its checks' },
  'mutations-lib': { proves: 'each slip in the TypeScript half is noticed by a test of the part concerned' },
  'mutations-native': {
    proves: 'each slip in the C++ half is noticed by a test of the part concerned; goes on where it was stopped',
  },
  'same-bits': {
    proves: 'every rule trains to the bits that it did in the commit that CORTORCH_BEFORE names',
    needs: { variable: 'CORTORCH_BEFORE', what: 'the commit to compare with' },
  },
  sanitizers: {
    proves:
      'the maps, the emulated CUDA kernels and training by both halves agree, and no sanitizer finds anything (CI)',
  },
  'sanitizers-node': { proves: 'the addon in Node: no sanitizer finds anything in memory or between threads' },
  units: { proves: 'each native source compiles by itself, with all that it includes' },
  valgrind: { proves: 'the built library and libtorch under it access, use and leak no memory that they should not' },
};

const names = process.argv.slice(2);
const unknown = names.filter((name) => !Object.hasOwn(PARTS, name));
const missing = names.flatMap((name) => {
  const needs = Object.hasOwn(PARTS, name) ? PARTS[name]?.needs : undefined;
  return needs && !process.env[needs.variable]
    ? [`${name} needs ${needs.what}: ${needs.variable}=… npm run soak -- ${name}\n`]
    : [];
});
if (names.length === 0 || unknown.length > 0) {
  for (const name of unknown) process.stderr.write(`Unknown part ${JSON.stringify(name)}.\n`);
  process.stderr.write('Usage: npm run soak -- PART …, where PART is one of\n');
  for (const [name, { proves }] of Object.entries(PARTS)) process.stderr.write(`  ${name.padEnd(16)} ${proves}\n`);
  process.exitCode = 2;
} else if (missing.length > 0) {
  process.stderr.write(missing.join(''));
  process.exitCode = 2;
} else {
  try {
    await setUp();
    const { runTests } = await import('./run-tests.mjs');
    const start = performance.now();
    for (const name of names) {
      const { files = [`test/soak/${name}.test.ts`], program, env } = /** @type {Part} */ (PARTS[name]);
      const before = { ...process.env };
      Object.assign(process.env, env);
      const passed = program
        ? spawnSync(process.execPath, [program], { cwd: packageRoot, stdio: 'inherit' }).status === 0
        : await runTests([['--jobs=1', '--timeout=7200', ...files]]);
      process.env = before;
      if (!passed) process.exitCode = 1;
    }
    console.error(`Soak: ${names.join(', ')} in ${((performance.now() - start) / 60_000).toFixed(1)} min`);
  } catch (error) {
    fail(error);
  }
}
