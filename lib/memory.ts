/** How much memory this process can still get. */

import { readFileSync } from 'node:fs';
import { freemem, totalmem } from 'node:os';

/**
 * Bytes: what the system has left, or its control group (a container), if that is less. Both count the file
 * caches that the kernel would give up.
 */
export function availableMemory(): number {
  const free = freemem(); // on Linux MemAvailable
  const limit = process.constrainedMemory();
  if (limit === 0 || limit >= totalmem()) return free; // no limit is 0 or 2⁶⁴, as the kernel has it
  // Node's figure takes the group's file cache for used, so that reading a data set would use up the memory.
  return Math.min(free, process.availableMemory() + fileCache());
}

/** Bytes: the machine's memory, or what its control group may have, if that is less. */
export function memoryLimit(): number {
  const limit = process.constrainedMemory();
  return limit === 0 ? totalmem() : Math.min(limit, totalmem());
}

/** Of this process's control group; 0 if it cannot be read. */
function fileCache(): number {
  const groups = read('/proc/self/cgroup').split('\n');
  const path = (prefix: RegExp): string => groups.find((line) => prefix.test(line))?.split(':')[2] ?? '';
  // Inside a container its own group is mounted as the root.
  for (const file of [
    `/sys/fs/cgroup${path(/^0::/)}/memory.stat`,
    '/sys/fs/cgroup/memory.stat',
    `/sys/fs/cgroup/memory${path(/^\d+:memory:/)}/memory.stat`,
    '/sys/fs/cgroup/memory/memory.stat',
  ]) {
    const sizes = [...read(file).matchAll(/^(total_)?(?:in)?active_file (\d+)$/gm)];
    // The older hierarchy has figures of the group alone as well, before those of all below it.
    const whole = sizes.some(([, total]) => total) ? sizes.filter(([, total]) => total) : sizes;
    if (whole.length > 0) return whole.reduce((sum, [, , bytes]) => sum + Number(bytes), 0);
  }
  return 0;
}

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}

const UNITS = ['B', 'kB', 'MB', 'GB', 'TB', 'PB', 'EB'] as const;

/** Bytes for people, decimal: `1.04 GB`. */
export function formatBytes(bytes: number): string {
  let [value, unit] = [bytes, 0];
  for (; value >= 999.5 && unit < UNITS.length - 1; unit++) value /= 1000;
  return `${unit === 0 ? String(value) : value.toPrecision(3)} ${UNITS[unit]}`;
}
