/**
 * `cortorch reproduce table1`: trains the cells of the paper's Table 1 one after another, each a run in a folder of its
 * own, and puts the paper's numbers beside ours. What is done already is kept, what was interrupted goes on.
 */

import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CortorchError, isNumber } from '../errors.js';
import { paper, type PaperErrors } from '../training/hyperparameters.js';
import type { EpochEvent, TrainEvent } from '../training/events.js';
import { didYouMean } from '../suggest.js';
import { cellNames, cellsOf, modelOf, paperRuleOf, type ArchitectureName, type Cell } from './cells.js';
import { percent, plural } from '../format.js';
import { pick } from './given.js';
import { EXIT_INTERRUPTED, Interrupt } from './interrupt.js';
import type { Flags } from './options.js';
import { goOn } from './resume.js';
import { table } from './table.js';
import { TrainReport } from './train-report.js';
import { begin, follow, isDone, type Plan } from './train.js';

/** Table 2 is ImageNet's, which this version does not have. */
const TABLE = 'table1';
const DEFAULT_EPOCHS = 500;

/** What became of a cell. Errors are fractions. */
interface CellResult {
  readonly type: 'cell';
  readonly cell: string;
  readonly model: string;
  readonly rule: string;
  readonly schedule: string | null;
  /** trained: in this call; kept: in an earlier one. */
  readonly status: 'trained' | 'kept' | 'diverged';
  /** What went wrong. */
  readonly message?: string;
  readonly run: string;
  /** null: no epoch is complete */
  readonly ours: Errors | null;
  /** null: the paper has no such cell */
  readonly paper: { readonly train: number | null; readonly test: number } | null;
}

interface Errors {
  /** Passes over the data, each for one loss or for both. */
  readonly epochs: number;
  /** Of the last epoch. */
  readonly train: number;
  /** At the epoch with the smallest validation error; null without a validation set. */
  readonly chosen: { readonly epoch: number; readonly validation: number; readonly test: number } | null;
  /** Of the last epoch. */
  readonly test: number;
  /** The smallest there was: selected on the test set, as the paper's is. */
  readonly selectedOnTest: { readonly epoch: number; readonly test: number };
}

/**
 * @param word the table
 * @returns the exit code
 * @throws CortorchError for everything that goes wrong but divergence, which is a result
 */
export async function reproduce(flags: Flags<'reproduce'>, word: string | undefined): Promise<number> {
  const { architecture, dataset, epochs = DEFAULT_EPOCHS, json = false } = flags;
  if (word !== TABLE) {
    const what = word === undefined ? 'the table is missing' : `there is no table ${word} here`;
    throw new CortorchError('ERR_USAGE', `${what}: cortorch reproduce ${TABLE}`);
  }
  if (dataset === undefined) throw new CortorchError('ERR_USAGE', '--dataset is missing: --dataset mnist');
  if (architecture === undefined) {
    throw new CortorchError('ERR_USAGE', '--architecture is missing: --architecture fc, or lc');
  }
  if (!Object.hasOwn(paper, `${dataset}-${architecture}`)) {
    throw new CortorchError('ERR_USAGE', `--dataset: Table 1 has no ${dataset}; --dataset mnist`);
  }
  const chosen = chooseCells(architecture, flags.cells);
  const folder = flags.out ?? join('runs', `${TABLE}-${dataset}-${architecture}`);
  const report = new TrainReport(false); // the lines of a run are in its metrics.jsonl
  using interrupt = new Interrupt((text) => report.note(text));
  const results: CellResult[] = [];
  for (const [name, cell] of chosen) {
    const model = modelOf(dataset, architecture, cell);
    const path = join(folder, name);
    const outcome = await runCell(flags, epochs, cell, model, path, report, interrupt.signal);
    if (outcome === 'interrupted') {
      report.note('The same command goes on from there; cells that are done are kept');
      return EXIT_INTERRUPTED;
    }
    const { rule, schedule = null } = cell;
    const published = paper[model]?.results[paperRuleOf(cell)];
    const result: CellResult = {
      type: 'cell',
      ...{ cell: name, model, rule, schedule, run: path, ...outcome },
      ours: errorsOf(await readEpochs(path, epochs)),
      paper: published === undefined ? null : fractions(published),
    };
    results.push(result);
    if (json) console.log(JSON.stringify(result));
  }
  if (json) {
    const cells = results.map(({ type: _, ...rest }) => rest);
    console.log(JSON.stringify({ type: 'table', table: TABLE, dataset, architecture, epochs, cells }));
  } else console.log(draw(results, epochs));
  return 0;
}

function chooseCells(architecture: ArchitectureName, list: string | undefined): [string, Cell][] {
  const all = cellsOf(architecture);
  const wanted = list?.split(',').map((name) => name.trim());
  for (const name of wanted ?? []) {
    if (all.has(name)) continue;
    const names = [...all.keys()];
    const what = cellNames.includes(name) ? `is not in the ${architecture} column` : 'is no cell';
    throw new CortorchError(
      'ERR_USAGE',
      `--cells: ${JSON.stringify(name)} ${what}${didYouMean(name, names) || `; they are ${names.join(', ')}`}`,
    );
  }
  return [...all].filter(([name]) => wanted === undefined || wanted.includes(name));
}

type Outcome = Pick<CellResult, 'status' | 'message'>;

async function runCell(
  flags: Flags<'reproduce'>,
  epochs: number,
  cell: Cell,
  model: string,
  path: string,
  report: TrainReport,
  signal: AbortSignal,
): Promise<Outcome | 'interrupted'> {
  const { plan, done } = await planCell(flags, epochs, cell, model, path);
  if (done) {
    report.note(`${path} is done`);
    return { status: 'kept' };
  }
  if (signal.aborted) return 'interrupted';
  report.note(`\n${cell.title}, in ${path}`);
  try {
    return (await follow(plan, report, signal)) === 'done' ? { status: 'trained' } : 'interrupted';
  } catch (error) {
    if (!(error instanceof CortorchError)) throw error;
    if (error.code === 'ERR_ABORTED') return 'interrupted'; // before its first step
    if (error.code !== 'ERR_LOSS_NOT_FINITE') throw error;
    report.note(`Diverged: ${error.message}`);
    return { status: 'diverged', message: error.message };
  }
}

/** A new run, or the one that is there: with other settings than these it is refused. */
async function planCell(
  { dataset, dataDir, hyperparameters, maxSteps, seed = 0, ...rest }: Flags<'reproduce'>,
  epochs: number,
  cell: Cell,
  model: string,
  path: string,
): Promise<{ plan: Plan; done: boolean }> {
  const { rule, schedule } = cell;
  // The paper gives none for AO-SDTP.
  const unknown = hyperparameters === 'paper' && paper[model]?.settings[paperRuleOf(cell)] === undefined;
  const settings: Flags<'train'> = {
    ...{ model, rule, epochs, seed },
    ...(dataset && { dataset }),
    ...(schedule && { schedule }),
    ...(dataDir !== undefined && { dataDir }),
    ...(hyperparameters !== undefined && !unknown && { hyperparameters }),
    ...(maxSteps !== undefined && { maxSteps }),
    ...pick(rest, ['threads', 'device', 'precision', 'deterministic']),
  };
  if (!existsSync(join(path, 'last.pt'))) return { plan: await begin({ ...settings, out: path }), done: false };
  const plan = await goOn(settings, path);
  return { plan, done: isDone(plan.config, plan.from!) };
}

/** Of a run's metrics.jsonl, up to an epoch. */
async function readEpochs(path: string, epochs: number): Promise<EpochEvent[]> {
  const text = await readFile(join(path, 'metrics.jsonl'), 'utf8');
  const lines = text.split('\n').filter((line) => line !== '');
  return lines
    .map((line) => JSON.parse(line) as TrainEvent)
    .filter((event): event is EpochEvent => event.type === 'epoch' && event.epoch <= epochs);
}

function errorsOf(all: readonly EpochEvent[]): Errors | null {
  // One that --max-steps cut short only counts where there is nothing better, as in `train`.
  const complete = all.filter(({ partial }) => !partial);
  const events = complete.length > 0 ? complete : all;
  const last = events.at(-1);
  if (last === undefined) return null;
  const smallest = (error: (event: EpochEvent) => number): EpochEvent =>
    events.reduce((best, event) => (error(event) < error(best) ? event : best));
  const best = smallest(({ test }) => test!.error);
  const chosen = last.validation === null ? null : smallest(({ validation }) => validation!.error);
  return {
    epochs: last.epoch,
    train: last.train.error,
    chosen: chosen && {
      epoch: chosen.epoch,
      validation: chosen.validation!.error,
      test: chosen.test!.error,
    },
    test: last.test!.error,
    selectedOnTest: { epoch: best.epoch, test: best.test!.error },
  };
}

/** As it is written: 2.28 / 100 is not quite 0.0228. */
const fraction = (percent: number): number => Number(`${percent}e-2`);

const fractions = ({ train, test }: PaperErrors): CellResult['paper'] => ({
  train: train === null ? null : fraction(train),
  test: fraction(test),
});

function draw(results: readonly CellResult[], epochs: number): string {
  const show = (error: number | null | undefined): string => (isNumber(error) ? percent(error) : '–');
  const rows = results.map(({ cell, status, ours, paper }) => [
    cell,
    status === 'diverged' ? `diverged in epoch ${(ours?.epochs ?? 0) + 1}` : String(ours?.epochs ?? 0),
    show(ours?.train),
    show(paper?.train),
    ours?.chosen ? `${percent(ours.chosen.test)} (${ours.chosen.epoch})` : '–',
    show(ours?.test),
    ours ? `${percent(ours.selectedOnTest.test)} (${ours.selectedOnTest.epoch})` : '–',
    show(paper?.test),
  ]);
  const right = (title: string) => ({ title, align: 'right' }) as const;
  const drawn = table(
    [
      { title: 'cell' },
      right('epochs'),
      right('train'),
      right('paper'),
      right('test, by validation'),
      right('test, last'),
      right('test, selected on test'),
      right('paper'),
    ],
    rows,
  );
  return `${drawn}
 ours: ${plural(epochs, 'epoch')}; an epoch is one pass over the training images, under an alternating schedule for one of the
 two losses. In brackets the epoch: the one with the smallest validation error, or the smallest test error
 paper: Bartunov et al. 2018, Table 1: the best of 500 epochs, selected on test, as ours of the column beside it`;
}
