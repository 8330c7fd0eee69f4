/** `cortorch train`: trains a network, from its beginning or from where a run was left. */

import { join } from 'node:path';
import { Dataset } from '../data/dataset.js';
import { CortorchError } from '../errors.js';
import { requireMemoryForTraining } from '../model/budget.js';
import { availableOn, isGpu } from '../model/device.js';
import { describeMismatch } from '../model/match-parameters.js';
import { Network, type StateDict } from '../model/network.js';
import { configOf, type Best, type Checkpoint, type ModelConfig } from '../training/checkpoint.js';
import { findParameters } from '../training/find-parameters.js';
import { RunDirectory } from '../training/run.js';
import type { EpochEvent } from '../training/events.js';
import { Trainer } from '../training/trainer.js';
import { loadParts, type Parts } from './data.js';
import { augmentationOf, normalizationOf } from './data-settings.js';
import { EXIT_INTERRUPTED, Interrupt, TimeLimit } from './interrupt.js';
import { describeTraining, memoryTable } from './memory.js';
import type { Flags } from './options.js';
import { goOn } from './resume.js';
import {
  completed,
  gatherSettings,
  lrScheduleOf,
  memorySettingsOf,
  optimizerOf,
  resolveSettings,
  ruleOptionsOf,
  ruleTrainerOptionsOf,
  type RunConfig,
} from './settings.js';
import { toMap } from './values.js';
import { TrainReport } from './train-report.js';

/** Of the curves within an epoch. */
const SECONDS_BETWEEN_POINTS = 30;

/** What is to be done: the settings, the folder if there is one, and where to go on. */
export interface Plan {
  readonly config: RunConfig;
  readonly run: RunDirectory | null;
  readonly from: Checkpoint | null;
  /** What somebody should know before it goes on. */
  readonly note?: string;
}

/**
 * @returns the exit code
 * @throws CortorchError for everything that goes wrong
 */
export async function train(flags: Flags<'train'>): Promise<number> {
  const report = new TrainReport(flags.json ?? false);
  using interrupt = new Interrupt((text) => report.note(text));
  const plan = flags.resume === undefined ? await begin(flags) : await goOn(flags, flags.resume);
  const ended = await follow(plan, report, interrupt.signal);
  return ended === 'interrupted' ? EXIT_INTERRUPTED : 0;
}

/**
 * Trains as planned.
 *
 * @returns what ended it; but for `done` it can be resumed
 * @throws CortorchError for everything that goes wrong
 */
export async function follow(
  { config: planned, run, from, note }: Plan,
  report: TrainReport,
  interrupt: AbortSignal,
): Promise<'done' | 'interrupted' | 'out of time'> {
  using limit = new TimeLimit(planned.maxHours);
  if (note !== undefined) report.note(note);
  if (isGpu(planned.device)) {
    report.note(memoryTable(describeTraining(planned.model, planned.network, memorySettingsOf(planned))));
  }
  const signal = AbortSignal.any([interrupt, limit.signal]);
  const data = await loadParts(planned, (text) => report.note(text));
  requireSameImages(planned, data);
  using network = new Network(planned.network, {
    ...ruleOptionsOf(planned),
    seed: planned.seed,
    threads: planned.threads,
    device: planned.device,
    precision: planned.precision,
    deterministic: planned.deterministic,
    normalization: normalizationOf(planned),
  });
  const config = { ...completed(planned, network), ...(data.digest !== null && { images: data.digest }) };
  if (data.train instanceof Dataset) network.checkData(data.train);
  const augmentation = augmentationOf(config);
  const trainer = new Trainer(network, {
    optimizer: optimizerOf(config),
    batchSize: config.batchSize,
    seed: config.seed,
    lrSchedule: lrScheduleOf(config),
    ...(augmentation && { augmentation }),
    ...ruleTrainerOptionsOf(config),
  });
  if (from) {
    await network.loadStateDict(from.parameters);
    await trainer.loadState(from.training!.state);
  } else if (config.init !== undefined) {
    await startFrom(config.init, config, network, report);
  }

  // Of the complete epochs; a last one that --max-steps cut short only counts where there is nothing better.
  let best: Best | null = from?.training?.best ?? null;
  let result = best;
  const checkpoint = async (event: EpochEvent | null): Promise<Checkpoint> => {
    const state = await trainer.state();
    const { epoch, step } = state;
    const parameters = await network.stateDict();
    requireFinite(parameters, step);
    const metrics = event && { train: event.train, validation: event.validation, test: event.test };
    const training = { state, best };
    return { parameters, config: modelConfig(config, network), epoch, step, metrics, training };
  };

  const start = {
    type: 'start',
    config,
    parameters: network.parameterCount,
    device: network.device,
  } as const;
  if (from) await run?.resume(config, from);
  else await run?.begin(config, await checkpoint(null));
  await run?.log(start);
  report.start(start, run, from);
  if (from && isDone(config, from)) report.note('There is nothing left to do; --epochs N goes on');
  const { saveEvery = Infinity, keep } = config;
  let saved = from?.step ?? 0;
  let plotted = performance.now();
  try {
    const { epochs, maxSteps, diagnostics } = config;
    const { validation, test } = data;
    const fitting = { epochs, maxSteps, diagnostics, validation, test, signal };
    let graphsFail = false;
    for await (const event of trainer.fit(data.train, fitting)) {
      if (event.type === 'epoch' && isGpu(config.device) && !graphsFail) {
        const why = await trainer.graphFailure();
        graphsFail = why !== null;
        if (graphsFail) report.note(`Steps are launched kernel by kernel, not as a CUDA graph: ${why}`);
      }
      if (event.type === 'epoch') await requireFiniteLosses(event, trainer);
      report.event(event);
      if (event.type === 'diagnostics') {
        await run?.diagnose(event);
        continue;
      }
      if (event.type === 'progress') {
        if (Math.floor(event.step / saveEvery) > Math.floor(saved / saveEvery)) {
          saved = event.step;
          await run?.saveLast(await checkpoint(null), keep);
        }
        if (performance.now() - plotted > 1000 * SECONDS_BETWEEN_POINTS) {
          plotted = performance.now();
          await run?.plotProgress(event);
        }
        continue;
      }
      await run?.log(event);
      const isBest = isBetter(event, result);
      if (isBest) result = { epoch: event.epoch, validation: event.validation, test: event.test };
      if (!event.partial) best = result;
      if (run) {
        const now = await checkpoint(event);
        if (isBest) await run.saveBest(now);
        await run.saveLast(now, keep);
        await run.plot(event, now);
        saved = now.step;
      }
    }
    const end = { type: 'end', best: result, checkpoint: run && join(run.path, 'best.pt') } as const;
    await run?.log(end);
    report.end(end, run, data);
    return 'done';
  } catch (error) {
    if (!(error instanceof CortorchError)) throw error;
    if (error.code !== 'ERR_ABORTED') throw await withWhatIsKept(error, run);
    try {
      await run?.saveLast(await checkpoint(null), keep);
    } catch (failure) {
      throw await withWhatIsKept(failure as CortorchError, run);
    }
    report.interrupted(run, limit.signal.aborted ? `${config.maxHours} hours are over` : 'Interrupted');
    return limit.signal.aborted ? 'out of time' : 'interrupted';
  } finally {
    report.clear();
    await run?.close();
  }
}

/** A new run. */
export async function begin(flags: Flags<'train'>): Promise<Plan> {
  const { settings, network } = await gatherSettings(flags);
  const config = await resolveSettings(settings, network);
  requireMemoryForTraining(config.network, memorySettingsOf(config), {
    available: availableOn(config.device),
  });
  const run = flags.out === undefined ? null : await RunDirectory.create(flags.out);
  return { config, run, from: null };
}

/** Image files may have changed since the run was left: the rest of an epoch would be of other images. */
function requireSameImages({ images, dataDir }: RunConfig, { digest }: Parts): void {
  if (images === undefined || digest === null || images === digest) return;
  throw new CortorchError(
    'ERR_CHECKPOINT_MISMATCH',
    `the training images in ${dataDir} are not those that the run began with: some were added, removed, renamed or ` +
      'moved to another class. Bring them back, or begin a new run with --init and --out',
  );
}

/** --init: the parameters of a file in place of those drawn from the seed. */
async function startFrom(
  file: string,
  { map, partial }: RunConfig,
  network: Network,
  report: TrainReport,
): Promise<void> {
  const { parameters, key } = await findParameters(file);
  if (key !== null && key !== 'state_dict') report.note(`${file}: its parameters are those of ${key}`);
  try {
    const rest = await network.loadStateDict(parameters, { map: toMap(map), partial });
    const left = describeMismatch(rest);
    if (left !== undefined) report.note(`${file}: not everything fits, ${left}`);
  } catch (error) {
    if (!(error instanceof CortorchError)) throw error;
    throw new CortorchError(error.code, `cannot start from ${file}: ${error.message}`, { cause: error });
  }
}

function modelConfig(config: RunConfig, network: Network): ModelConfig {
  const { model, dataset, crop, resize } = config;
  return {
    ...configOf(network),
    model,
    dataset,
    ...(crop && { crop }),
    ...(resize !== undefined && { resize }),
  };
}

export const isDone = ({ epochs, maxSteps = Infinity }: RunConfig, { epoch, step }: Checkpoint): boolean =>
  epoch >= epochs || step >= maxSteps;

/** By the validation error; without validation the last epoch is as good as any. Never by the test error. */
function isBetter({ validation, partial }: EpochEvent, best: Best | null): boolean {
  if (validation === null || best === null || best.validation === null) return true;
  return !partial && validation.error < best.validation.error;
}

/** Before it is reported: JSON has no NaN. */
async function requireFiniteLosses({ epoch, train, validation, test }: EpochEvent, trainer: Trainer): Promise<void> {
  for (const [name, scores] of Object.entries({ train, validation, test })) {
    if (scores === null || Number.isFinite(scores.loss)) continue;
    const { step } = await trainer.state();
    throw notFinite(`the ${name} loss became NaN or infinite by step ${step}, in epoch ${epoch}`);
  }
}

function requireFinite(parameters: StateDict, step: number): void {
  for (const [name, { data }] of parameters) {
    if (!data.every(Number.isFinite)) throw notFinite(`${name} became NaN or infinite by step ${step}`);
  }
}

const notFinite = (what: string): CortorchError =>
  new CortorchError('ERR_LOSS_NOT_FINITE', `${what}. A smaller learning rate is the usual remedy`);

/** Parameters that led to a NaN are worth nothing: the checkpoints stay as they were. */
async function withWhatIsKept(error: CortorchError, run: RunDirectory | null): Promise<CortorchError> {
  if (run === null || error.code !== 'ERR_LOSS_NOT_FINITE') return error;
  const { epoch, step } = await run.readLast();
  const flag = error.message.endsWith('of the inverses is the usual remedy') ? '--inverse-lr' : '--lr';
  const text = `${error.message} (${flag}).\n${run.last} still holds the run after epoch ${epoch}, step ${step}`;
  return new CortorchError(error.code, text, { cause: error });
}
