/** Runs tap over files in one or more phases, ends what they left running, and judges. Needs the installed packages. */
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { packageRoot } from './paths.mjs';
import { endLeftovers, MARK } from './leftovers.mjs';
import { closingLine, describeFile, judge, readTap, slowest } from './test-report.mjs';

/** @param {string[]} folders @param {RegExp} pattern @returns {string[]} paths from the package's root, sorted */
export function filesUnder(folders, pattern) {
  return folders
    .flatMap((folder) =>
      fs
        .readdirSync(path.join(packageRoot, folder), { recursive: true, encoding: 'utf8' })
        .map((name) => `${folder}/${name}`),
    )
    .filter((name) => pattern.test(name) && !name.includes('node_modules/'))
    .sort();
}

/** @param {string} tool */
export const bin = (tool) => path.join(packageRoot, 'node_modules/.bin', tool);

/**
 * @param {string[]} args files and options of tap
 * @param {string} mark see leftovers.mjs
 * @returns {Promise<{ files: import('./test-report.mjs').TestFile[], code: number | null }>}
 */
async function runTap(args, mark) {
  const child = spawn(bin('tap'), ['--reporter=tap', ...args], {
    cwd: packageRoot,
    stdio: ['ignore', 'pipe', 'inherit'],
    env: {
      OMP_WAIT_POLICY: 'passive', // threads that wait do not spin: two files run at once, and some start several processes
      ...process.env,
      // Dozens of tests import torch in Python, which takes half as long where it has been compiled once.
      PYTHONDONTWRITEBYTECODE: '',
      PYTHONPYCACHEPREFIX: path.join(packageRoot, '.cache/python'),
      [MARK]: mark,
    },
  });
  /** @type {Promise<number | null>} */
  const ended = new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', resolve);
  });
  const files = await readTap(child.stdout, (file) => console.log(describeFile(file)));
  return { files, code: await ended };
}

/**
 * @param {string[][]} phases the arguments of tap, for one run after the other
 * @param {{ whole?: boolean, complaints?: string[] }} [options] `whole`: these are all tests, and each file is named;
 *   `complaints`: what has failed already
 * @returns {Promise<boolean>} whether all is well
 */
export async function runTests(phases, { whole = false, complaints = [] } = {}) {
  const results = [];
  for (const phase of phases.filter((args) => args.some((arg) => !arg.startsWith('-')))) {
    const mark = randomUUID();
    try {
      const { files, code } = await runTap(phase, mark);
      results.push(...files);
      if (files.length === 0) complaints.push(`tap ran no test (exit code ${code})`);
      else if (code !== 0 && files.every(({ tests }) => tests.every(({ ok }) => ok))) {
        complaints.push(`tap ended with exit code ${code}`);
      }
    } catch (error) {
      complaints.push(error instanceof Error ? error.message : String(error));
    }
    complaints.push(...(await endLeftovers(mark)));
  }
  const seen = new Set(results.map(({ name }) => name));
  const named = whole ? phases.flat().filter((arg) => !arg.startsWith('-')) : [];
  for (const name of named.filter((file) => !seen.has(file))) complaints.push(`tap says nothing of ${name}`);

  /** @type {unknown} */
  const skips = JSON.parse(fs.readFileSync(path.join(packageRoot, 'test/skips.json'), 'utf8'));
  const allowed = /** @type {import('./test-report.mjs').Skip[]} */ (skips);
  const verdict = judge(results, { strict: Boolean(process.env.CI), allowed, whole });
  verdict.complaints.push(...complaints);
  console.log(`\n${slowest(results)}`);
  for (const { test, reason } of results.flatMap(({ skips }) => skips)) console.log(`skipped: ${test} (${reason})`);
  for (const complaint of verdict.complaints) console.log(`FAILED: ${complaint}`);
  console.log(`\n${closingLine(verdict)}`);
  return verdict.failed === 0 && verdict.complaints.length === 0 && verdict.passed > 0;
}
