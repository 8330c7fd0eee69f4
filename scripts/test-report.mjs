/** What a run of tap says, for people and for the verdict: a test is a `t.test()` of a file, whatever it asserts. */
import { Parser } from 'tap-parser';
import { stringify } from 'yaml';

/**
 * @typedef {import('tap-parser').Result} Result
 * @typedef {{ name: string, ok: boolean, failures: string[] }} Test one `t.test()` at a file's top
 * @typedef {{ failures: string[], assertions: number }} Found
 * @typedef {{ test: string, reason: string }} Skip `test`: the file, the test and its parts, joined by ` > `
 * @typedef {{ name: string, seconds: number, tests: Test[], skips: Skip[], names: string[] }} TestFile
 *   `names`: every test and part that was seen, as `Skip.test`
 *
 * @typedef {object} Verdict
 * @property {number} passed
 * @property {number} failed
 * @property {number} skipped
 * @property {string[]} complaints what fails the run beside its tests
 */

/** What is asserted outside of any test of its file. */
const OUTSIDE = 'outside of its tests';

/**
 * Reads TAP as it comes.
 * @param {NodeJS.ReadableStream} stream
 * @param {(file: TestFile) => void} onFile called when a file is done
 * @returns {Promise<TestFile[]>}
 */
export function readTap(stream, onFile) {
  /** @type {TestFile[]} */
  const files = [];
  /** @type {Map<string, TestFile>} */
  const open = new Map();
  return new Promise((resolve, reject) => {
    const parser = new Parser(() => resolve(files));
    parser.on('child', (/** @type {Parser} */ child) => open.set(child.name, readFile(child)));
    parser.on('assert', (/** @type {Result} */ result) => {
      const file = open.get(result.name) ?? newFile(result.name);
      file.seconds = (result.time ?? 0) / 1000;
      closeFile(file, result);
      files.push(file);
      onFile(file);
    });
    parser.on('bailout', (/** @type {string} */ reason) => reject(new Error(`tap gave up: ${reason}`)));
    stream.on('error', reject);
    stream.pipe(parser);
  });
}

/** @param {string} name @returns {TestFile} */
function newFile(name) {
  return { name, seconds: 0, tests: [], skips: [], names: [] };
}

/** @param {Parser} parser @returns {TestFile} */
function readFile(parser) {
  const file = newFile(parser.name);
  /** @type {Map<string, Found>} of tests whose own result is still to come */
  const running = new Map();
  parser.on('child', (/** @type {Parser} */ child) => {
    const found = running.get(child.name) ?? { failures: [], assertions: 0 };
    running.set(child.name, found);
    readParts(child, file, found);
  });
  parser.on('assert', (/** @type {Result} */ result) => {
    note(file, result);
    if (result.skip) return;
    const found = running.get(result.name);
    running.delete(result.name);
    if (found) {
      const { failures, assertions } = found;
      // Its own line says only that something inside failed, unless nothing did: a time-out, an error.
      if (failures.length === 0 && !isGood(result)) failures.push(describe(result));
      if (failures.length === 0 && assertions === 0) failures.push(`${result.fullname}\n    asserts nothing`);
      file.tests.push({ name: result.name, ok: failures.length === 0, failures });
      return;
    }
    let outside = file.tests.find(({ name }) => name === OUTSIDE);
    if (!outside) file.tests.push((outside = { name: OUTSIDE, ok: true, failures: [] }));
    if (isGood(result)) return;
    outside.ok = false;
    outside.failures.push(describe(result));
  });
  return file;
}

/** @param {Parser} parser @param {TestFile} file @param {Found} found what is inside of a test, at any depth */
function readParts(parser, file, found) {
  const { failures } = found;
  /** @type {Map<string, number>} how many failures there were before each part that is being read */
  const before = new Map();
  parser.on('child', (/** @type {Parser} */ child) => {
    before.set(child.name, failures.length);
    readParts(child, file, found);
  });
  parser.on('assert', (/** @type {Result} */ result) => {
    note(file, result);
    found.assertions++;
    const explained = failures.length > (before.get(result.name) ?? Infinity);
    before.delete(result.name);
    if (!isGood(result) && !result.skip && !explained) failures.push(describe(result));
  });
}

/** Work that is still to be done does not pass. @param {Result} result */
function isGood(result) {
  return result.ok && !result.todo;
}

/** @param {TestFile} file @param {Result} result */
function note(file, result) {
  file.names.push(result.fullname);
  if (result.skip) file.skips.push({ test: result.fullname, reason: String(result.skip) });
}

/** @param {TestFile} file @param {Result} result the file's own */
function closeFile(file, result) {
  if (result.skip) file.skips.push({ test: file.name, reason: String(result.skip) });
  else if (!result.ok && file.tests.every(({ ok }) => ok)) {
    file.tests.push({ name: 'the file as a whole', ok: false, failures: [describe(result)] });
  } else if (file.tests.length === 0 && file.skips.length === 0) {
    file.tests.push({ name: 'the file as a whole', ok: false, failures: [`${file.name} has no tests`] });
  }
}

/** @param {Result} result */
function describe({ fullname, diag, todo }) {
  const said = diag ? stringify(diag, { lineWidth: 0 }).trimEnd().replaceAll(/^/gm, '    ') : '';
  return [`${fullname}${todo ? ' (to do)' : ''}`, said].filter(Boolean).join('\n');
}

/** A line for each file, and all that went wrong in it. @param {TestFile} file */
export function describeFile({ name, seconds, tests, skips }) {
  const bad = tests.filter(({ ok }) => !ok);
  const counts = [
    tests.length === 1 ? '1 test' : `${tests.length} tests`,
    ...(bad.length > 0 ? [`${bad.length} FAILED`] : []),
    ...(skips.length > 0 ? [`${skips.length} skipped`] : []),
  ];
  const line = `${bad.length > 0 ? 'not ok' : 'ok'} ${name}: ${counts.join(', ')}, ${seconds.toFixed(1)} s`;
  return [line, ...bad.flatMap(({ failures }) => failures.map((text) => `  ${text}`))].join('\n');
}

/**
 * @param {TestFile[]} files
 * @param {{ strict: boolean, allowed: readonly Skip[], whole: boolean }} options
 *   `strict`: a skip that is not among `allowed` fails the run; `whole`: all tests ran, so that a name in `allowed`
 *   that no test has is a mistake
 * @returns {Verdict}
 */
export function judge(files, { strict, allowed, whole }) {
  const tests = files.flatMap((file) => file.tests);
  const skips = files.flatMap((file) => file.skips);
  const listed = new Set(allowed.map(({ test }) => test));
  const seen = new Set(files.flatMap(({ name, names }) => [name, ...names]));
  const complaints = [];
  for (const { test, reason } of skips) {
    if (strict && !listed.has(test)) {
      complaints.push(`skipped, and not listed in test/skips.json: ${test} (${reason})`);
    }
  }
  for (const { test } of whole ? allowed : []) {
    // Parts of a test that was skipped are not seen.
    const isPart = skips.some((skip) => test.startsWith(`${skip.test} > `));
    if (!seen.has(test) && !isPart) complaints.push(`test/skips.json lists a test that there is not: ${test}`);
  }
  return {
    passed: tests.filter(({ ok }) => ok).length,
    failed: tests.filter(({ ok }) => !ok).length,
    skipped: skips.length,
    complaints,
  };
}

/** The files that took longest, and their share of all. @param {TestFile[]} files @param {number} [many] */
export function slowest(files, many = 15) {
  const order = [...files].sort((a, b) => b.seconds - a.seconds);
  const all = order.reduce((sum, { seconds }) => sum + seconds, 0);
  const rows = order.slice(0, many).map(({ name, seconds }) => `${seconds.toFixed(1).padStart(8)} s  ${name}`);
  return [`The slowest of ${files.length} files, which took ${all.toFixed(0)} s in all:`, ...rows].join('\n');
}

/** @param {Verdict} verdict what other programs read: `N passed, N failed, N skipped` */
export function closingLine({ passed, failed, skipped, complaints }) {
  const bad = failed + complaints.length;
  return `${passed} passed, ${bad} failed${skipped ? `, ${skipped} skipped` : ''}`;
}
