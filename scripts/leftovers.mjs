/** Processes that a test started and nobody ended. */
import fs from 'node:fs';

/** Set for tap, and so for every process that descends from it. */
export const MARK = 'CORTORCH_TEST_RUN';

/**
 * Ends what still has the mark in its environment, and says what it was.
 * @param {string} mark the value of {@link MARK}
 * @returns {string[]} a line for each
 */
export function endLeftovers(mark) {
  const lines = [];
  for (const pid of fs.readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    if (Number(pid) === process.pid) continue;
    const environment = read(pid, 'environ');
    const command = read(pid, 'cmdline'); // a process that has ended and was not waited for has none
    if (!command.some(Boolean) || !environment.includes(`${MARK}=${mark}`)) continue;
    // tap names the file that it runs in a variable of its own.
    const file = environment
      .map((line) => /^_TAPJS_PROCESSINFO_COV_EXCLUDE_FILES_=(.*)$/.exec(line)?.[1])
      .find(Boolean);
    lines.push(`left running${file ? ` by ${file}` : ''}: process ${pid}, ${command.filter(Boolean).join(' ')}`);
    try {
      process.kill(Number(pid), 'SIGKILL');
    } catch {
      // It has just ended by itself.
    }
  }
  return lines;
}

/** @param {string} pid @param {'environ' | 'cmdline'} what @returns {string[]} empty if it is gone or another user's */
function read(pid, what) {
  try {
    return fs.readFileSync(`/proc/${pid}/${what}`, 'utf8').split('\0');
  } catch {
    return [];
  }
}
