/**
 * `npm test`: all the set-up that is missing, then formatting, types and the tests. With arguments
 * (`npm test -- test/20*`) they go to tap, and only tap runs.
 */
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { packageRoot } from './build.mjs';
import { logToStderr } from './libtorch.mjs';
import { fail } from './setup-error.mjs';
import { setUp } from './setup.mjs';

const FORMATTED = ['{bench,bin,examples,lib,scripts,test}/**/*.{ts,mts,mjs,js}', '*.json'];
const RAW_TAP = path.join(packageRoot, '.tap/output.tap');

/**
 * Runs a tool of node_modules/.bin.
 * @param {string} name
 * @param {string} tool
 * @param {string[]} args
 * @param {string} [copyTo] a file that gets the output as well
 * @returns {Promise<boolean>} whether it passed
 */
function check(name, tool, args, copyTo) {
  const start = performance.now();
  const file = path.join(packageRoot, 'node_modules/.bin', tool);
  const child = spawn(file, args, {
    cwd: packageRoot,
    stdio: ['inherit', copyTo ? 'pipe' : 'inherit', 'inherit'],
  });
  if (copyTo && child.stdout) {
    child.stdout.pipe(fs.createWriteStream(copyTo));
    child.stdout.pipe(process.stdout);
  }
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => {
      const seconds = ((performance.now() - start) / 1000).toFixed(1);
      logToStderr(`${name}: ${code === 0 ? 'passed' : 'FAILED'} in ${seconds} s`);
      resolve(code === 0);
    });
  });
}

/** @param {string[]} args */
async function runTap(args) {
  fs.mkdirSync(path.dirname(RAW_TAP), { recursive: true });
  fs.rmSync(RAW_TAP, { force: true });
  // On a terminal tap draws its own report. Elsewhere it would redraw the screen too, so it is asked for plain TAP,
  // and that cannot go with its --output-file: everything would be printed twice.
  const passed = process.stdout.isTTY
    ? await check('Tests', 'tap', [`--output-file=${RAW_TAP}`, ...args])
    : await check('Tests', 'tap', ['--reporter=tap', ...args], RAW_TAP);
  const totals = readTotals();
  if (!totals) return false;
  console.log(`\n${totals.pass} passed, ${totals.fail} failed${totals.skip ? `, ${totals.skip} skipped` : ''}`);
  return passed && totals.pass > 0;
}

/** tap's own closing count: `# { total: 4, pass: 3, skip: 1 }`, where a zero is left out. */
function readTotals() {
  if (!fs.existsSync(RAW_TAP)) return null;
  const summary = /^# \{ total: \d+.*\}$/m.exec(fs.readFileSync(RAW_TAP, 'utf8'))?.[0];
  if (!summary) return null;
  const count = (/** @type {string} */ what) => Number(new RegExp(`\\b${what}: (\\d+)`).exec(summary)?.[1] ?? 0);
  return { pass: count('pass'), fail: count('fail'), skip: count('skip') };
}

try {
  const args = process.argv.slice(2);
  await setUp();
  const all = args.length === 0;
  const results = [
    !all || (await check('Formatting', 'prettier', ['--check', '--log-level=warn', ...FORMATTED])),
    !all || (await check('Types', 'tsc', ['--noEmit', '-p', 'tsconfig.json'])),
    await runTap(args),
  ];
  if (results.includes(false)) process.exitCode = 1;
} catch (error) {
  fail(error);
}
