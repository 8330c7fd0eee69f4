/** Processes that a test started and nobody ended. */
import fs from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

/** Set for tap, and so for every process that descends from it. */
export const MARK = 'CORTORCH_TEST_RUN';

/** What is about to end by itself, killed or with its parent, has so long, in ms. */
const GRACE = 3000;

/**
 * Ends what still has the mark in its environment, and says what it was.
 * @param {string} mark the value of {@link MARK}
 * @returns {Promise<string[]>} a line for each
 */
export async function endLeftovers(mark) {
  const start = performance.now();
  while (find(mark).length > 0 && performance.now() - start < GRACE) await sleep(100);
  return find(mark).map(({ pid, command, file }) => {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // It has just ended by itself.
    }
    return `left running${file ? ` by ${file}` : ''}: process ${pid}, ${command}`;
  });
}

/** @param {string} mark */
function find(mark) {
  return fs
    .readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .map((pid) => ({ pid: Number(pid), environment: read(pid, 'environ'), command: read(pid, 'cmdline') }))
    .filter(({ environment }) => environment.includes(`${MARK}=${mark}`))
    .map(({ pid, environment, command }) => ({
      pid,
      command: command.filter(Boolean).join(' '),
      // tap names the file that it runs in a variable of its own.
      file: environment.map((line) => /^_TAPJS_PROCESSINFO_COV_EXCLUDE_FILES_=(.*)$/.exec(line)?.[1]).find(Boolean),
    }))
    .filter(({ command }) => command !== ''); // one that has ended and was not waited for has none
}

/** @param {string} pid @param {'environ' | 'cmdline'} what @returns {string[]} empty if it is gone or another user's */
function read(pid, what) {
  try {
    return fs.readFileSync(`/proc/${pid}/${what}`, 'utf8').split('\0');
  } catch {
    return [];
  }
}
