/**
 * `npm test`: all the set-up that is missing, then lint, formatting, types and the tests. With arguments
 * (`npm test -- test/maps/*.test.ts`) they go to tap, and only tap runs.
 */
import { spawn } from 'node:child_process';
import { logToStderr } from './log.mjs';
import { packageRoot } from './paths.mjs';
import { fail } from './setup-error.mjs';
import { setUp } from './setup.mjs';

const FORMATTED = ['{bench,bin,examples,lib,scripts,test}/**/*.{ts,mts,mjs,js}', '*.{json,mjs}'];
const CPP = /\.(?:cpp|h|cu|cuh)$/;

/** @typedef {typeof import('./run-tests.mjs')} Runner */

/** A program and its arguments. @typedef {[name: string, program: string, ...args: string[]]} Check */

/** @param {Runner} runner @returns {Promise<Check[][]>} what runs one after the other, beside the others */
async function checks({ bin, filesUnder }) {
  const { clangFormatPath } = await import('clang-format-node'); // its own command hides a crash of the program
  return [
    [['Lint', bin('eslint'), '--max-warnings', '0', '.']],
    [
      ['Formatting', bin('prettier'), '--check', '--log-level=warn', ...FORMATTED],
      ['Formatting of C++', clangFormatPath, '--dry-run', '--Werror', ...filesUnder(['native', 'test', 'bench'], CPP)],
      ['Types', bin('tsc'), '--noEmit', '-p', 'tsconfig.json'],
    ],
  ];
}

/** @param {Check} check @returns {Promise<string | null>} what failed */
function runCheck([name, program, ...args]) {
  const start = performance.now();
  const child = spawn(program, args, { cwd: packageRoot, stdio: 'inherit' });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => {
      const seconds = ((performance.now() - start) / 1000).toFixed(1);
      logToStderr(`${name}: ${code === 0 ? 'passed' : 'FAILED'} in ${seconds} s`);
      resolve(code === 0 ? null : `${name}: its messages are above`);
    });
  });
}

/** @param {Runner} runner @returns {Promise<string[]>} what failed */
async function runChecks(runner) {
  const chains = (await checks(runner)).map(async (chain) => {
    const results = [];
    for (const check of chain) results.push(await runCheck(check));
    return results;
  });
  return (await Promise.all(chains)).flat().filter((failure) => failure !== null);
}

/** Everything but test/soak, two files at a time; what measures memory or time by itself, afterwards. */
function phases(/** @type {Runner} */ { filesUnder }) {
  const all = filesUnder(['test'], /\.test\.ts$/).filter((name) => !/^test\/(?:soak|fixtures)\//.test(name));
  const serial = all.filter((name) => name.startsWith('test/serial/'));
  return [
    ['--jobs=2', ...all.filter((name) => !serial.includes(name))],
    ['--jobs=1', ...serial],
  ];
}

try {
  const args = process.argv.slice(2);
  await setUp();
  const runner = await import('./run-tests.mjs'); // not before: its packages may just have been installed
  const whole = args.length === 0;
  const complaints = whole ? await runChecks(runner) : [];
  if (!(await runner.runTests(whole ? phases(runner) : [args], { whole, complaints }))) process.exitCode = 1;
} catch (error) {
  fail(error);
}
