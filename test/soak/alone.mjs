/**
 * Runs every test of the given files alone, each in a process of its own, and says which do not pass so: a test must
 * need no other one to have run before it.
 *
 *     npm run soak -- alone
 *     node test/soak/alone.mjs --except='node-gyp|valgrind' test/scripts/build.test.ts …
 */
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { packageRoot } from '../../scripts/paths.mjs';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { except: { type: 'string', default: '(?!)' } },
});
const except = new RegExp(values.except);
const all = fs
  .readdirSync(path.join(packageRoot, 'test'), { recursive: true, encoding: 'utf8' })
  .map((name) => `test/${name}`)
  .filter((name) => name.endsWith('.test.ts') && !name.startsWith('test/soak/'));
const files = positionals.length > 0 ? positionals : all.sort();

/**
 * What tap says of the tests of a file whose names match.
 *
 * @param {string} file
 * @param {RegExp} names
 * @returns {Promise<{ code: number | null, output: string }>}
 */
function runTests(file, names) {
  const tap = path.join(packageRoot, 'node_modules/.bin/tap');
  const child = spawn(tap, ['--reporter=tap', `--grep=${names}`, file], {
    cwd: packageRoot,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (/** @type {string} */ text) => (output += text));
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, output }));
  });
}

/** The lines of the tests at file level: `    ok 1 - name # SKIP why`. tap escapes `#` and `\` in a name. */
const RESULT = /^ {4}(?:not )?ok \d+ - (?<name>.*?)(?<!\\)(?: # (?<rest>.*))?$/gm;

/** @param {string} output */
const resultsIn = (output) =>
  [...output.matchAll(RESULT)].map(({ groups }) => ({
    name: /** @type {string} */ (groups?.name).replace(/ \{$/, '').replace(/\\([#\\])/g, '$1'),
    isFiltered: /^SKIP filter/.test(groups?.rest ?? ''),
  }));

/** @type {string[]} */
const failed = [];
let count = 0;
for (const file of files) {
  const listed = await runTests(file, /^(?!)/); // none of them runs, and all are named
  const names = resultsIn(listed.output).map(({ name }) => name);
  if (names.length === 0 || listed.code !== 0) failed.push(`${file}: its tests could not be listed\n${listed.output}`);
  for (const name of names.filter((one) => !except.test(one))) {
    const start = performance.now();
    const { code, output } = await runTests(file, new RegExp(`^${name.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&')}$`));
    const ran = resultsIn(output).filter(({ isFiltered }) => !isFiltered).length;
    const passed = code === 0 && ran === 1;
    count++;
    const seconds = ((performance.now() - start) / 1000).toFixed(1);
    console.log(`${passed ? 'passed' : 'FAILED'} in ${seconds} s: ${file}: ${name}`);
    if (!passed) failed.push(`${file}: ${name}: ${ran} tests ran, exit code ${code}\n${output}`);
  }
}
for (const failure of failed) console.error(`\n${failure}`);
console.log(`\n${count - failed.length} passed, ${failed.length} failed`);
process.exitCode = failed.length > 0 ? 1 : 0;
