/**
 * The memory that training a model needs, beside what its device has: for `cortorch doctor`, and before a run on a GPU.
 */

import { CortorchError } from '../errors.js';
import { availableMemory, formatBytes } from '../memory.js';
import {
  budgetItems,
  budgetOf,
  requireMemoryForTraining,
  type MemoryBudget,
  type TrainingSettings,
} from '../model/budget.js';
import { availableOn, isGpu, lookForGpus, parsePlace, type LookForGpus, type Precision } from '../model/device.js';
import type { ResolvedSpec } from '../model/spec.js';
import { recordOf } from '../rules/ask.js';
import { ruleOf, type RecordedRule } from '../rules/names.js';
import { resolveOptimizer, type Moments, type OptimizerName } from '../training/optimizer.js';
import { kebab, type Flags } from './options.js';
import { ruleSettingsOf } from './own-rule.js';
import {
  inverseOptimizerOf,
  loadModel,
  optimizerOf,
  recipeOf,
  ruleSettings,
  ruleValuesOf,
  trainingSettings,
} from './settings.js';
import { table } from './table.js';

export interface Memory {
  /** Bytes, of this computer. */
  readonly available: number;
  /** Of the model that was asked about. */
  readonly training: TrainingMemory | null;
}

export interface TrainingMemory extends MemoryBudget, RecordedRule {
  readonly model: string;
  readonly optimizer: OptimizerName;
  readonly moments: Moments;
  readonly inverseOptimizer?: OptimizerName;
  readonly inverseMoments?: Moments;
  readonly batchSize: number;
  readonly device: string;
  readonly precision: Precision;
  /** Bytes, of the device; null: there is no such device here. */
  readonly available: number | null;
  /** null: it fits */
  readonly problem: { readonly code: string; readonly message: string } | null;
}

/**
 * @param look the GPUs that there are; asked only if one is to compute. One that is not there is planned for all the
 *   same.
 * @throws CortorchError ERR_USAGE, ERR_UNUSED_OPTION, ERR_UNKNOWN_OPTION, ERR_INVALID_SPEC; ERR_DEVICE_UNAVAILABLE for
 *   a GPU's precision on the CPU
 */
export async function describeMemory(flags: Flags<'doctor'>, look: LookForGpus = lookForGpus): Promise<Memory> {
  const available = availableMemory();
  const { model, json: _, debug: __, rule: ___, ruleOption: ____, ...rest } = flags;
  if (model === undefined) {
    const [alone] = Object.keys(flags).filter((name) => !['json', 'debug'].includes(name));
    if (alone === undefined) return { available, training: null };
    throw new CortorchError(
      'ERR_UNUSED_OPTION',
      `--${kebab(alone)} is not used without --model; add --model mnist-lc, or leave it out`,
    );
  }
  const ofModel = { ...rest, ...(await ruleSettingsOf(flags)) };
  const { rule = 'bp', batchSize = recipeOf(ofModel, model)?.batchSize ?? 100 } = ofModel;
  const spec = await loadModel(model);
  const { device, precision } = parsePlace(ofModel);
  const settings = trainingSettings(ofModel, spec, model, rule);
  const inverse = inverseOptimizerOf(settings);
  const training: TrainingSettings = {
    rule: ruleOf(rule),
    options: ruleValuesOf(ruleSettings(ofModel, rule)),
    ...{ device, precision },
    optimizer: resolveOptimizer(optimizerOf(settings)),
    inverseOptimizer: inverse === undefined ? null : resolveOptimizer(inverse),
    batchSize,
  };
  return { available, training: describeTraining(model, spec, training, look) };
}

/** The budget of checked settings, and whether it fits. */
export function describeTraining(
  model: string,
  spec: ResolvedSpec,
  settings: TrainingSettings,
  look: LookForGpus = lookForGpus,
): TrainingMemory {
  const { rule, options, optimizer, inverseOptimizer, batchSize, device, precision } = settings;
  let available: number | null = null;
  let problem: TrainingMemory['problem'] = null;
  try {
    available = availableOn(device, look);
    requireMemoryForTraining(spec, settings, { available });
  } catch (error) {
    if (!(error instanceof CortorchError)) throw error;
    problem = { code: error.code, message: error.message };
  }
  return {
    ...{ model, ...recordOf(rule, options) },
    ...{ optimizer: optimizer.type, moments: optimizer.moments },
    ...(inverseOptimizer && {
      inverseOptimizer: inverseOptimizer.type,
      inverseMoments: inverseOptimizer.moments,
    }),
    ...{ batchSize, device, precision },
    ...budgetOf(spec, settings),
    ...{ available, problem },
  };
}

/** The budget as a table, for people. */
export function memoryTable(training: TrainingMemory): string {
  const { model, rule, dfaFeedback, optimizer, moments, batchSize, device, precision, available } = training;
  const feedback = dfaFeedback === 'shared' ? ' (shared feedback)' : '';
  const bf16 = moments === 'bf16' ? ' (bf16 moments)' : '';
  const place = isGpu(device) ? `, ${device} in ${precision}` : '';
  const rows: [string, string][] = [
    ...budgetItems(training).map(([name, bytes]): [string, string] => [name, formatBytes(bytes)]),
    ['in all', formatBytes(training.total)],
    [isGpu(device) ? `available on ${device}` : 'available here', available === null ? 'none' : formatBytes(available)],
  ];
  return table(
    [
      { title: `${model} with ${rule}${feedback}, ${optimizer}${bf16}, batches of ${batchSize}${place}` },
      { title: 'memory', align: 'right' },
    ],
    rows,
  );
}
