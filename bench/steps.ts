/** Training steps of several sides: starting them, how many make a measurement, and whether two make the same ones. */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { besideThis, interleave, note, Side, watchOthers, type Reply } from './harness.js';

/** Of every side. Large pages where libtorch can ask for them: PyTorch's strongest form (cortorch asks by itself). */
export const environment = (threads: number) => ({
  OMP_NUM_THREADS: String(threads),
  THP_MEM_ALLOC_ENABLE: '1',
});

/** A program with its arguments. */
export type Command = readonly [program: string, ...args: string[]];

/** cortorch's side; what it takes is said there. */
export const ourSteps = (given: object): Command => [
  process.execPath,
  besideThis('cortorch-steps.mjs'),
  JSON.stringify(given),
];

export interface StepSide {
  readonly side: Side;
  /** What it said when it was ready. */
  readonly ready: Reply;
  /** Steps of one measurement. */
  readonly count: number;
}

/**
 * Starts a side that answers `step N`, and tries how long it takes.
 *
 * @param options `seconds`: how long a measurement takes about; `unit`: its steps are a multiple of this
 */
export async function startSteps(
  name: string,
  [program, ...args]: Command,
  { threads, seconds, unit = 1 }: { threads: number; seconds: number; unit?: number },
): Promise<StepSide> {
  const side = new Side(name, program, args, environment(threads));
  const ready = await side.read();
  const first = await secondsOfStep({ side, count: unit });
  return { side, ready, count: Math.max(1, Math.round(seconds / first / unit)) * unit };
}

/** One measurement. */
export async function secondsOfStep({ side, count }: Pick<StepSide, 'side' | 'count'>): Promise<number> {
  return Number((await side.ask(`step ${count}`)).seconds) / count;
}

/** Peak resident bytes so far. */
export const memoryOf = async (side: Side) => Number((await side.ask('memory')).bytes);

/**
 * Rounds that warm up, then rounds that count.
 *
 * @param sides whose use of the processor is not that of other programs
 */
export async function measureRounds(
  what: string,
  { warmUp, rounds }: { warmUp: number; rounds: number },
  work: ReadonlyMap<string, () => Promise<number>>,
  sides: readonly Side[],
): Promise<{ results: Map<string, number[]>; disturbance: number }> {
  await interleave(`${what}, warming up`, warmUp, work);
  const others = watchOthers(sides);
  const results = await interleave(what, rounds, work);
  return { results, disturbance: others() };
}

/**
 * Do both compute the same? A few steps from equal parameters, made by cortorch (check-steps.mjs), then by PyTorch.
 *
 * @param what how messages name it
 * @param ours what check-steps.mjs takes, but for the folder
 * @param theirs a program beside this one, and what it takes, but for `check`, the folder
 * @param agree the largest relative difference that may be
 * @returns the largest relative difference of a parameter's updates
 */
export async function compareSteps(
  what: string,
  ours: object,
  theirs: { readonly python: string; readonly program: string; readonly given: object },
  agree: number,
): Promise<number> {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'cortorch-bench-'));
  try {
    const side = new Side(`cortorch's steps, ${what}`, process.execPath, [
      besideThis('check-steps.mjs'),
      JSON.stringify({ ...ours, folder }),
    ]);
    await side.read();
    await side.close();
    const other = new Side(`PyTorch's steps, ${what}`, theirs.python, [
      besideThis(theirs.program),
      JSON.stringify({ ...theirs.given, check: folder }),
    ]);
    const said = (await other.read()) as unknown as { apart: Record<string, number> };
    await other.close();
    const [name, difference] = Object.entries(said.apart).reduce((a, b) => (b[1] <= a[1] ? a : b));
    note(`${what}: updates agree to ${difference.toExponential(1)} (${name})`);
    if (!(difference < agree)) {
      throw new Error(`cortorch and PyTorch do not compute the same: ${JSON.stringify(said.apart)}`);
    }
    return difference;
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
}
