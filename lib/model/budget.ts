/** The memory that a network and its training need, known from the spec before anything is allocated. */

import { CortorchError, invalid, isCount } from '../errors.js';
import { availableMemory, formatBytes } from '../memory.js';
import { learns, requireFits, requireUsed, resolveRuleOptions } from '../rules/ask.js';
import { ruleOf, type RuleName, type RuleOptions } from '../rules/names.js';
import { noStepMemory, type OwnParameter, type Rule, type RuledNetwork, type StepMemory } from '../rules/rule.js';
import {
  requireMomentsFit,
  resolveOptimizer,
  statesPerParameter,
  type OptimizerOptions,
  type ResolvedOptimizer,
} from '../training/optimizer.js';
import { isGpu, parsePlace, type Place, type PlaceOptions } from './device.js';
import { placeLayers, product } from './shapes.js';
import { sitesOf } from './sites.js';
import { parseNetworkSpec, type NetworkSpec, type ResolvedSpec } from './spec.js';

/** Bytes. */
export interface MemoryBudget {
  readonly weights: number;
  /** Precision bf16: what is computed with, beside the float32 weights and inverses. */
  readonly workingCopies: number;
  /** Of fa, dfa and sign-symmetry. */
  readonly feedback: number;
  /** Learned, of target propagation. */
  readonly inverses: number;
  /** Of the random features of ao-sdtp. */
  readonly auxiliaryWeights: number;
  /** Running ones, of batch norm. */
  readonly statistics: number;
  readonly gradients: number;
  readonly optimizerState: number;
  /** All that a batch needs: see {@link trainingBudget}. */
  readonly activations: number;
  /** Gradients and activations once more, on a GPU: of a step that is not a replay of the recorded one. */
  readonly unrecorded: number;
  /** Of cuDNN, on a GPU. */
  readonly workspace: number;
  /** Of CUDA's context, cuBLAS and the kernels, on a GPU. */
  readonly runtime: number;
  readonly total: number;
}

export interface BudgetOptions extends RuleOptions, Pick<PlaceOptions, 'device' | 'precision'> {
  /** Default `bp`. */
  readonly rule?: RuleName;
  /** Default: Adam. */
  readonly optimizer?: OptimizerOptions;
  /** Of the inverses, under target propagation; default: Adam. */
  readonly inverseOptimizer?: OptimizerOptions;
  /** Default 100. */
  readonly batchSize?: number;
}

/** What the parameters' memory depends on, beside the spec. */
export type ParameterSettings = Pick<RuledNetwork, 'options'> &
  Pick<Place, 'device' | 'precision'> & { readonly rule: Rule };

/** What a training step's memory depends on, beside the spec. */
export type TrainingSettings = ParameterSettings & {
  readonly optimizer: ResolvedOptimizer;
  /** null: there are no inverses */
  readonly inverseOptimizer: ResolvedOptimizer | null;
  readonly batchSize: number;
  /** Whether a step is diagnosed now and then, for which bp's gradients stand beside the rule's. */
  readonly diagnostics?: boolean;
};

/**
 * The bytes that a training step needs, 4 for each value, or on a GPU with precision bf16 2 where it is said:
 * - weights: the trainable parameters, biases included
 * - working copies: with bf16 one of each trainable parameter, of 2 bytes; the weights themselves have 4
 * - feedback (bf16: 2 bytes): under fa, brsf and frsf the weights of all layers that send errors further down (not the
 *   lowest; not the last, where that is bp's), under all of sign-symmetry those of the largest such layer with their
 *   signs; under dfa classes × units of every place that the error goes to, or of the largest one if it is shared
 * - inverses: under target propagation the weights and biases of the learned inverses; auxiliary weights: those of
 *   the random features of ao-sdtp (bf16: 2 bytes)
 * - gradients (bf16: 2 bytes): one for each trainable parameter, those of the inverses too; with diagnostics bp's of
 *   the weights beside them
 * - optimizer state: adam 2 for each, sgd with momentum 1, rmsprop 1 (with momentum 2); moments in bf16 have 2 bytes
 * - activations (bf16: 2 bytes), for each example of the batch: the input, the output of every layer (a flatten copies
 *   into the order (C, H, W); max pooling has 8 bytes more for each output: where it came from), at the layer where it
 *   is most the errors of the backward sweep (the gradient that arrives, δ, and what is sent down: 2 · out + in), and
 *   on the CPU the copies of x and δ, transposed for the kernels, of the largest locally connected or conv2d layer (in
 *   + out); conv2d has its input and output twice more, in the memory layouts that libtorch computes it in; under
 *   target propagation one layer's targets or its inverse's training come on top (3 · (in + out); under ao-sdtp also
 *   six times the auxiliary outputs)
 * - on a GPU gradients and activations once more: the recorded step keeps its memory, and beside it are those steps
 *   that are no replay of it, of an epoch's last, smaller batch
 * - on a GPU: cuDNN's workspace, 256 MiB if there is a conv2d, and 0.6 GB for CUDA's context, cuBLAS and the kernels
 *
 * It is an estimate of training steps, and asks no GPU; the data set and on the CPU libtorch itself (about 0.2 GB) come
 * on top, and for a moment an evaluation (its activations, up to about 1 GB) and in the computer's memory the saving of
 * a checkpoint (two copies of the parameters and of the optimizer's state).
 *
 * @throws CortorchError ERR_INVALID_SPEC, ERR_INVALID_ARGUMENT, ERR_UNKNOWN_OPTION, ERR_UNUSED_OPTION;
 *   ERR_DEVICE_UNAVAILABLE for a GPU's precision on the CPU
 */
export function trainingBudget(spec: NetworkSpec, options: BudgetOptions = {}): MemoryBudget {
  const { batchSize = 100 } = options;
  if (!isCount(batchSize)) throw invalid('batchSize', 'a positive integer', batchSize);
  const rule = ruleOf(options.rule ?? 'bp');
  const { optimizer, inverseOptimizer } = options;
  if (inverseOptimizer !== undefined) requireUsed(rule, 'trainerOptions', 'inverseOptimizer');
  const { device, precision } = parsePlace({ device: options.device, precision: options.precision });
  const settings = {
    rule,
    options: resolveRuleOptions(rule, options),
    ...{ device, precision },
    optimizer: resolveOptimizer(optimizer),
    inverseOptimizer: learns(rule) ? resolveOptimizer(inverseOptimizer, 'inverseOptimizer') : null,
    batchSize,
  };
  requireMomentsFit(settings.optimizer.moments, device);
  requireMomentsFit(settings.inverseOptimizer?.moments, device, 'inverseOptimizer.moments');
  const parsed = parseNetworkSpec(spec);
  requireFits(rule, parsed);
  return budgetOf(parsed, settings);
}

/** {@link trainingBudget} of settings that have been checked. */
export function budgetOf(spec: ResolvedSpec, settings: TrainingSettings): MemoryBudget {
  const { optimizer, inverseOptimizer, batchSize } = settings;
  const { runtime, ...parameters } = heldBytes(spec, settings);
  const ofLayers = parameters.weights / FLOAT;
  const learned = valuesOf(ownParameters(spec, settings), ({ role }) => role === 'learned');
  const gradients = bytesPerValue(settings) * ((settings.diagnostics === true ? 2 : 1) * ofLayers + learned);
  const optimizerState =
    momentBytes(optimizer) * ofLayers + (inverseOptimizer === null ? 0 : momentBytes(inverseOptimizer) * learned);
  const activations = batchSize * bytesPerExample(spec, settings, stepMemory(spec, settings));
  const convolves = placeLayers(spec).some(({ layer }) => layer.type === 'conv2d');
  const workspace = isGpu(settings.device) && convolves ? CUDNN_WORKSPACE : 0;
  const unrecorded = isGpu(settings.device) ? bytesPerValue(settings) * (ofLayers + learned) + activations : 0;
  const items = { ...parameters, gradients, optimizerState, activations, unrecorded, workspace, runtime };
  return { ...items, total: sum(Object.values(items)) };
}

const FLOAT = 4;
const BFLOAT16 = 2;
const INDEX = 8;
/** Allowed for, once: its algorithms ask for more or less of it. */
const CUDNN_WORKSPACE = 2 ** 28;
/** CUDA's context, cuBLAS with its workspace, and the code of the kernels. */
const CUDA_RUNTIME = 600e6;

/** Of what is computed with: activations, errors, gradients, feedback. */
const bytesPerValue = ({ precision }: Pick<Place, 'precision'>): number => (precision === 'bf16' ? BFLOAT16 : FLOAT);

/** For each parameter. */
const momentBytes = (optimizer: ResolvedOptimizer): number =>
  statesPerParameter(optimizer) * (optimizer.moments === 'bf16' ? BFLOAT16 : FLOAT);

/** What a network holds from its beginning on. */
type HeldBytes = Pick<
  MemoryBudget,
  'weights' | 'workingCopies' | 'feedback' | 'inverses' | 'auxiliaryWeights' | 'statistics' | 'runtime'
>;

const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);

const ownParameters = (spec: ResolvedSpec, { rule, options }: ParameterSettings): readonly OwnParameter[] =>
  rule.parameters(spec, options);

const valuesOf = (parameters: readonly OwnParameter[], which: (one: OwnParameter) => boolean): number =>
  sum(parameters.filter(which).map(({ shape }) => product(shape)));

function heldBytes(spec: ResolvedSpec, settings: ParameterSettings): HeldBytes {
  const layers = sitesOf(spec);
  const norms = placeLayers(spec).filter(({ layer }) => layer.type === 'batch-norm');
  const channels = sum(norms.map(({ input }) => input[0]!));
  const weights = layers.map(({ weight }) => product(weight));
  const biases = layers.map(({ bias }) => (bias === null ? 0 : product(bias)));
  const ofLayers = sum(weights) + sum(biases) + 2 * channels;
  const own = ownParameters(spec, settings);
  const learned = valuesOf(own, ({ role }) => role === 'learned');
  const fixedSize = bytesPerValue(settings);
  const ofKind = (kind: OwnParameter['kind']): number =>
    FLOAT * valuesOf(own, (one) => one.kind === kind && one.role === 'learned') +
    fixedSize * valuesOf(own, (one) => one.kind === kind && one.role === 'fixed');
  return {
    weights: FLOAT * ofLayers,
    workingCopies: settings.precision === 'bf16' ? BFLOAT16 * (ofLayers + learned) : 0,
    // Kept, or made at each step.
    feedback: ofKind('feedback') + fixedSize * stepMemory(spec, settings).feedback,
    inverses: ofKind('inverse'),
    auxiliaryWeights: ofKind('auxiliary'),
    statistics: FLOAT * 2 * channels,
    runtime: isGpu(settings.device) ? CUDA_RUNTIME : 0,
  };
}

const totalHeld = (spec: ResolvedSpec, settings: ParameterSettings): number =>
  sum(Object.values(heldBytes(spec, settings)));

const stepMemory = (spec: ResolvedSpec, { rule, options }: ParameterSettings): StepMemory =>
  rule.stepMemory(spec, options);

/** @param step what the rule holds in a step */
function bytesPerExample(
  spec: ResolvedSpec,
  { device, precision }: Pick<Place, 'device' | 'precision'>,
  step: StepMemory,
): number {
  let kept = product(spec.input);
  let indices = 0;
  let errors = 0;
  let copies = 0;
  for (const { layer, ...shapes } of placeLayers(spec)) {
    const { type } = layer;
    const [input, output] = [product(shapes.input), product(shapes.output)];
    kept += output;
    if (type === 'flatten') continue;
    if (type === 'conv2d') kept += 2 * (input + output);
    // Batch norm and a sum with an activation keep what goes into it too; a shortcut's gradient waits for the layers'.
    if ((type === 'batch-norm' || type === 'residual') && layer.activation !== 'identity') kept += output;
    if (type === 'residual') kept += input + output;
    errors = Math.max(errors, 2 * output + input + step.atLayer(input, output));
    if (type === 'max-pool2d') indices += output;
    // The GPU's kernels read x and δ as they lie.
    if (!isGpu(device) && (type === 'locally-connected2d' || type === 'conv2d')) {
      copies = Math.max(copies, input + output);
    }
  }
  return bytesPerValue({ precision }) * (kept + errors + copies + step.perExample) + INDEX * indices;
}

/** Of an evaluation's activations, where nobody says how large its batches are. */
const EVALUATION_BYTES = 1e9;
/** The same on all devices, so that sums are taken in the same order. */
const EVALUATION = { device: 'cpu', precision: 'fp32' } as const;

/** Examples that are evaluated at once: 1000, or fewer if their activations would take more than about 1 GB. */
export const evaluationBatch = (spec: ResolvedSpec): number =>
  Math.max(1, Math.min(1000, Math.floor(EVALUATION_BYTES / bytesPerExample(spec, EVALUATION, noStepMemory))));

/**
 * Refuses a network whose parameters do not fit.
 *
 * @param available bytes, on its device
 * @throws CortorchError ERR_OUT_OF_MEMORY
 */
export function requireMemoryForParameters(
  spec: ResolvedSpec,
  settings: ParameterSettings,
  available = availableMemory(),
): void {
  const total = totalHeld(spec, settings);
  if (total <= available) return;
  const fitting = combinations(savingsOf(settings)).filter(
    (savings) => totalHeld(spec, applied(savings, settings)) <= available,
  );
  throw outOfMemory(
    "the network's parameters need",
    { ...heldBytes(spec, settings), total },
    { room: available, device: settings.device },
    fewest(fitting).map(named),
  );
}

/**
 * Refuses training that does not fit.
 *
 * @param options.built the network is there: what it holds is no part of the available memory
 * @param options.available bytes, on its device
 * @throws CortorchError ERR_OUT_OF_MEMORY: with what would fit
 */
export function requireMemoryForTraining(
  spec: ResolvedSpec,
  settings: TrainingSettings,
  { built = false, available = availableMemory() } = {},
): void {
  const budget = budgetOf(spec, settings);
  const room = available + (built ? totalHeld(spec, settings) : 0);
  if (budget.total <= room) return;
  const batch = largestBatch(spec, settings, room);
  const ways = combinations([...savingsOf(settings), ...momentSavings(settings)]).map((savings) => ({
    savings,
    batch: largestBatch(spec, applied(savings, settings), room),
  }));
  const whole = ways.filter((way) => way.batch >= settings.batchSize).map(({ savings }) => savings);
  const remedies = [...(batch >= 1 ? [`a batch size of at most ${batch}`] : []), ...fewest(whole).map(named)];
  if (remedies.length === 0) {
    const partly = fewest(ways.filter((way) => way.batch >= 1).map(({ savings }) => savings));
    for (const savings of partly) {
      const most = ways.find((way) => way.savings === savings)!.batch;
      remedies.push(`${named(savings)} with a batch size of at most ${most}`);
    }
  }
  throw outOfMemory('training this network needs', budget, { room, device: settings.device }, remedies);
}

/** A setting that makes training smaller. */
interface Saving<Settings> {
  readonly name: string;
  apply<S extends Settings>(settings: S): S;
}

/** Those of the rule, and of the precision. */
function savingsOf({ rule, options, device, precision }: ParameterSettings): readonly Saving<ParameterSettings>[] {
  const ofRule = rule.savings(options).map(({ name, options: changed }): Saving<ParameterSettings> => ({
    name,
    apply: (settings) => ({ ...settings, options: { ...settings.options, ...changed } }),
  }));
  return [...ofRule, ...(isGpu(device) && precision !== 'bf16' ? [BF16] : [])];
}

const BF16: Saving<ParameterSettings> = {
  name: 'precision bf16',
  apply: (settings) => ({ ...settings, precision: 'bf16' }),
};

function momentSavings({ device, optimizer, inverseOptimizer }: TrainingSettings): readonly Saving<TrainingSettings>[] {
  const helps = [optimizer, inverseOptimizer].some((one) => one !== null && one !== inBf16(one));
  return isGpu(device) && helps ? [BF16_MOMENTS] : [];
}

const BF16_MOMENTS: Saving<TrainingSettings> = {
  name: 'moments bf16',
  apply: (settings) => ({
    ...settings,
    optimizer: inBf16(settings.optimizer),
    inverseOptimizer: settings.inverseOptimizer && inBf16(settings.inverseOptimizer),
  }),
};

/** Itself, if nothing is to be saved. */
const inBf16 = (optimizer: ResolvedOptimizer): ResolvedOptimizer =>
  optimizer.moments === 'bf16' || statesPerParameter(optimizer) === 0 ? optimizer : { ...optimizer, moments: 'bf16' };

const named = (savings: readonly { readonly name: string }[]): string => savings.map(({ name }) => name).join(' and ');

const applied = <S extends Settings, Settings>(savings: readonly Saving<Settings>[], settings: S): S =>
  savings.reduce((changed, saving) => saving.apply(changed), settings);

/** All of them that are not empty. */
function combinations<Settings>(savings: readonly Saving<Settings>[]): readonly Saving<Settings>[][] {
  const all = savings.reduce<Saving<Settings>[][]>(
    (before, saving) => [...before, ...before.map((one) => [...one, saving])],
    [[]],
  );
  return all.filter((one) => one.length > 0);
}

/** The shortest lists. */
function fewest<T>(lists: readonly (readonly T[])[]): readonly (readonly T[])[] {
  const least = Math.min(...lists.map(({ length }) => length));
  return lists.filter(({ length }) => length === least);
}

/** Below 1 if none fits. */
function largestBatch(spec: ResolvedSpec, settings: TrainingSettings, room: number): number {
  const { total, activations } = budgetOf(spec, settings);
  const times = isGpu(settings.device) ? 2 : 1;
  return Math.floor(
    (room - (total - times * activations)) / (times * bytesPerExample(spec, settings, stepMemory(spec, settings))),
  );
}

/** In the order in which they are told. */
const ITEM_NAMES = {
  weights: 'weights',
  workingCopies: 'bf16 copies',
  feedback: 'feedback',
  inverses: 'inverses',
  auxiliaryWeights: 'auxiliary weights',
  statistics: 'statistics',
  gradients: 'gradients',
  optimizerState: 'optimizer state',
  activations: 'activations',
  unrecorded: 'unrecorded steps',
  workspace: "cuDNN's workspace",
  runtime: 'CUDA itself',
} as const satisfies Record<Exclude<keyof MemoryBudget, 'total'>, string>;

/** What a budget consists of, by names for people; without what is not there. */
export const budgetItems = (budget: Partial<MemoryBudget>): [name: string, bytes: number][] =>
  (Object.keys(ITEM_NAMES) as (keyof typeof ITEM_NAMES)[]).flatMap((key): [string, number][] => {
    const bytes = budget[key] ?? 0;
    return bytes > 0 ? [[ITEM_NAMES[key], bytes]] : [];
  });

function outOfMemory(
  what: string,
  budget: Partial<MemoryBudget> & Pick<MemoryBudget, 'total'>,
  { room, device }: { readonly room: number; readonly device: string },
  remedies: readonly string[],
): CortorchError {
  const list = budgetItems(budget).map(([name, bytes]) => `${name} ${formatBytes(bytes)}`);
  const there = isGpu(device) ? `${device} has ${formatBytes(room)} for it` : `there are ${formatBytes(room)}`;
  const larger = isGpu(device) ? 'a GPU' : 'a machine';
  const remedy = remedies.length === 0 ? `a smaller network or ${larger} with more memory` : remedies.join(' or ');
  return new CortorchError(
    'ERR_OUT_OF_MEMORY',
    `${what} ${formatBytes(budget.total)} of memory (${list.join(', ')}), but ${there}; use ${remedy}`,
  );
}
