/** What cortorch's sides of the benchmarks share, as pytorch_side.py has it for PyTorch's. */
import fs from 'node:fs';

/** What this side was started with. */
export const settings = () => JSON.parse(/** @type {string} */ (process.argv[2]));

/** @param {object} message */
export const say = (message) => process.stdout.write(`${JSON.stringify(message)}\n`);

/** Peak resident bytes of this process so far; getrusage's number would begin with what the parent had at the fork. */
export function peakMemory() {
  const peak = /^VmHWM:\s*(\d+) kB$/m.exec(fs.readFileSync('/proc/self/status', 'utf8'));
  return Number(peak?.[1]) * 1024;
}
