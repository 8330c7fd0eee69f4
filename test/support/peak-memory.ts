/** What an action takes at its peak: memory that is free again afterwards counts too. */
import { runScript } from './processes.js';

/**
 * Defines `peak()` in a script: bytes, of this process alone. Not `resourceUsage().maxRSS`: that begins with the peak
 * of the process that started it, so that a growth below that does not show.
 */
export const PEAK = `
  const { readFileSync: readStatus } = await import('node:fs');
  const peak = () => 1024 * /^VmHWM:\\s*(\\d+) kB$/m.exec(readStatus('/proc/self/status', 'utf8'))[1];`;

/**
 * Runs `before` and then `action`, both of them a module's source, in a Node of their own.
 *
 * @param args are `process.argv.slice(1)` there
 * @returns by how many bytes `action` raised the peak of resident memory, beyond what `before` had needed
 */
export async function peakGrowth(before: string, action: string, args: readonly string[] = []): Promise<number> {
  const script = `
    ${before}
    gc();
    ${PEAK}
    const before = peak();
    ${action}
    console.log(peak() - before);`;
  const { code, stdout, stderr } = await runScript(script, { args, flags: ['--expose-gc'], timeout: 120_000 });
  const grown = Number(stdout);
  if (code !== 0 || stdout.trim() === '' || !Number.isFinite(grown))
    throw new Error(`it ended with ${code}: ${stdout}${stderr}`);
  // The kernel adds up its counters of several processors now and then: a peak may be some pages lower than before.
  return Math.max(0, grown);
}
