/** The memory that a network and its training need, known from the spec before anything is allocated. */

import { CortorchError, invalid, isCount } from '../errors.js';
import { availableMemory, formatBytes } from '../memory.js';
import {
  isTargetRule,
  parseRule,
  resolveRuleOptions,
  type DfaFeedback,
  type RuleName,
  type RuleOptions,
  type RuleSettings,
} from '../rules/rules.js';
import {
  resolveOptimizer,
  statesPerParameter,
  type OptimizerOptions,
  type ResolvedOptimizer,
} from '../training/optimizer.js';
import { errorPorts } from './error-ports.js';
import { auxiliaryShapes, inverseShapes, type InverseSettings } from './inverses.js';
import { mapShapes, placeLayers, product, type Shape } from './shapes.js';
import { parseNetworkSpec, type NetworkSpec, type ResolvedSpec } from './spec.js';

/** Bytes. */
export interface MemoryBudget {
  readonly weights: number;
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
  readonly total: number;
}

export interface BudgetOptions extends RuleOptions {
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
type ParameterSettings = InverseSettings & RuleSettings;

/** What a training step's memory depends on, beside the spec. */
export type TrainingSettings = ParameterSettings & {
  readonly optimizer: ResolvedOptimizer;
  /** null: there are no inverses */
  readonly inverseOptimizer: ResolvedOptimizer | null;
  readonly batchSize: number;
};

/**
 * The bytes that a training step needs, 4 for each value:
 * - weights: the trainable parameters, biases included
 * - feedback: under fa, brsf and frsf the weights of all layers but the lowest (and the last, where that is bp's), under
 *   all of sign-symmetry those of the largest such layer with their signs; under dfa classes × units of every layer that
 *   the error goes to, or of the largest one if it is shared
 * - inverses: under target propagation the weights and biases of the learned inverses; auxiliary weights: those of
 *   the random features of ao-sdtp
 * - gradients: one for each trainable parameter, those of the inverses too
 * - optimizer state: adam 2 for each, sgd with momentum 1, rmsprop 1 (with momentum 2)
 * - activations, for each example of the batch: the input, the output of every layer (a flatten copies into the
 *   order (C, H, W); max pooling has 8 bytes more for each output: where it came from), at the layer where it is
 *   most the errors of the backward sweep (the gradient that arrives, δ, and what is sent down: 2 · out + in), and
 *   the copies of x and δ, transposed for the kernels, of the largest locally connected or conv2d layer (in + out);
 *   conv2d has its input and output twice more, in the memory layouts that libtorch computes it in; under target
 *   propagation one layer's targets or its inverse's training come on top (3 · (in + out); under ao-sdtp also six times
 *   the auxiliary outputs)
 *
 * It is an estimate of training steps; the data set and libtorch itself (about 0.2 GB) come on top, and for a moment
 * an evaluation (its activations, up to about 1 GB) and the saving of a checkpoint (two copies of the parameters and
 * of the optimizer's state).
 *
 * @throws CortorchError ERR_INVALID_SPEC, ERR_INVALID_ARGUMENT, ERR_UNKNOWN_OPTION, ERR_UNUSED_OPTION
 */
export function trainingBudget(spec: NetworkSpec, options: BudgetOptions = {}): MemoryBudget {
  const { batchSize = 100 } = options;
  if (!isCount(batchSize)) throw invalid('batchSize', 'a positive integer', batchSize);
  const rule = parseRule(options.rule ?? 'bp');
  const { optimizer, inverseOptimizer } = options;
  if (inverseOptimizer !== undefined && !isTargetRule(rule)) {
    throw new CortorchError(
      'ERR_UNUSED_OPTION',
      `inverseOptimizer is not used by rule ${rule}; leave it out`,
    );
  }
  return budgetOf(parseNetworkSpec(spec), {
    rule,
    ...resolveRuleOptions(rule, options),
    optimizer: resolveOptimizer(optimizer),
    inverseOptimizer: isTargetRule(rule) ? resolveOptimizer(inverseOptimizer, 'inverseOptimizer') : null,
    batchSize,
  });
}

/** {@link trainingBudget} of settings that have been checked. */
export function budgetOf(spec: ResolvedSpec, settings: TrainingSettings): MemoryBudget {
  const { optimizer, inverseOptimizer, batchSize, rule, auxiliary } = settings;
  const parameters = parameterBytes(spec, settings);
  const { weights, inverses } = parameters;
  const gradients = weights + inverses;
  const optimizerState =
    statesPerParameter(optimizer) * weights +
    (inverseOptimizer === null ? 0 : statesPerParameter(inverseOptimizer) * inverses);
  const activations = batchSize * bytesPerExample(spec, rule, auxiliary);
  const total = sumOf(parameters) + gradients + optimizerState + activations;
  return { ...parameters, gradients, optimizerState, activations, total };
}

const FLOAT = 4;
const INDEX = 8;

type ParameterBytes = Pick<
  MemoryBudget,
  'weights' | 'feedback' | 'inverses' | 'auxiliaryWeights' | 'statistics'
>;

const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);
const sumOf = ({ weights, feedback, inverses, auxiliaryWeights, statistics }: ParameterBytes): number =>
  weights + feedback + inverses + auxiliaryWeights + statistics;

function parameterBytes(spec: ResolvedSpec, settings: ParameterSettings): ParameterBytes {
  const layers = mapShapes(spec);
  const norms = placeLayers(spec).filter(({ layer }) => layer.type === 'batch-norm');
  const channels = sum(norms.map(({ input }) => input[0]!));
  const weights = layers.map(({ weight }) => product(weight));
  const biases = layers.map(({ bias }) => (bias === null ? 0 : product(bias)));
  const values = (shapes: readonly { readonly weight: Shape; readonly bias: Shape }[]): number =>
    sum(shapes.map(({ weight, bias }) => product(weight) + product(bias)));
  const features = auxiliaryShapes(spec, settings);
  return {
    weights: FLOAT * (sum(weights) + sum(biases) + 2 * channels),
    statistics: FLOAT * 2 * channels,
    feedback: FLOAT * feedbackValues(spec, settings),
    inverses: FLOAT * values(inverseShapes(spec, settings)),
    auxiliaryWeights: FLOAT * values(features === null ? [] : [features]),
  };
}

/** Kept, or made at each step. */
function feedbackValues(
  spec: ResolvedSpec,
  { rule, dfaFeedback, lastLayer }: Pick<ParameterSettings, 'rule' | keyof RuleSettings>,
): number {
  if (rule === 'dfa') {
    const layers = mapShapes(spec);
    const units = errorPorts(spec).map((layer) => product(layers[layer]!.output));
    return product(layers.at(-1)!.output) * (dfaFeedback === 'shared' ? Math.max(0, ...units) : sum(units));
  }
  const sending = mapShapes(spec)
    .slice(1, lastLayer === 'bp' ? -1 : undefined)
    .map(({ weight }) => product(weight));
  const withSigns = Math.max(0, ...sending);
  switch (rule) {
    case 'fa':
      return sum(sending);
    case 'usf':
      return withSigns;
    case 'brsf':
    case 'frsf':
      return sum(sending) + withSigns;
    default:
      return 0;
  }
}

function bytesPerExample(spec: ResolvedSpec, rule: RuleName, auxiliary: number | null): number {
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
    errors = Math.max(errors, 2 * output + input + (isTargetRule(rule) ? 3 * (input + output) : 0));
    if (type === 'max-pool2d') indices += output;
    if (type === 'locally-connected2d' || type === 'conv2d') copies = Math.max(copies, input + output);
  }
  return FLOAT * (kept + errors + copies + 6 * (auxiliary ?? 0)) + INDEX * indices;
}

/** Of an evaluation's activations, where nobody says how large its batches are. */
const EVALUATION_BYTES = 1e9;

/** Examples that are evaluated at once: 1000, or fewer if their activations would take more than about 1 GB. */
export const evaluationBatch = (spec: ResolvedSpec): number =>
  Math.max(1, Math.min(1000, Math.floor(EVALUATION_BYTES / bytesPerExample(spec, 'bp', null))));

/**
 * Refuses a network whose parameters do not fit.
 *
 * @param available bytes
 * @throws CortorchError ERR_OUT_OF_MEMORY
 */
export function requireMemoryForParameters(
  spec: ResolvedSpec,
  settings: ParameterSettings,
  available = availableMemory(),
): void {
  const needs = (dfaFeedback: DfaFeedback | null): number =>
    sumOf(parameterBytes(spec, { ...settings, dfaFeedback }));
  if (needs(settings.dfaFeedback) <= available) return;
  throw outOfMemory(
    "the network's parameters need",
    { ...parameterBytes(spec, settings), total: needs(settings.dfaFeedback) },
    available,
    canShare(settings) && needs('shared') <= available ? [SHARE] : [],
  );
}

/**
 * Refuses training that does not fit.
 *
 * @param options.built the network is there: its parameters are no part of the available memory
 * @param options.available bytes
 * @throws CortorchError ERR_OUT_OF_MEMORY
 */
export function requireMemoryForTraining(
  spec: ResolvedSpec,
  settings: TrainingSettings,
  { built = false, available = availableMemory() } = {},
): void {
  const budget = budgetOf(spec, settings);
  const room = available + (built ? sumOf(budget) : 0);
  if (budget.total <= room) return;
  const shared: TrainingSettings = { ...settings, dfaFeedback: 'shared' };
  const batch = largestBatch(spec, settings, room);
  const sharedBatch = canShare(settings) ? largestBatch(spec, shared, room) : 0;
  const remedies = [
    ...(batch >= 1 ? [`a batch size of at most ${batch}`] : []),
    ...(sharedBatch >= settings.batchSize ? [SHARE] : []),
  ];
  if (remedies.length === 0 && sharedBatch >= 1) {
    remedies.push(`${SHARE} with a batch size of at most ${sharedBatch}`);
  }
  throw outOfMemory('training this network needs', budget, room, remedies);
}

const SHARE = 'dfaFeedback shared';

const canShare = ({ rule, dfaFeedback }: ParameterSettings): boolean =>
  rule === 'dfa' && dfaFeedback !== 'shared';

/** Below 1 if none fits. */
function largestBatch(spec: ResolvedSpec, settings: TrainingSettings, room: number): number {
  const { total, activations } = budgetOf(spec, settings);
  return Math.floor(
    (room - (total - activations)) / bytesPerExample(spec, settings.rule, settings.auxiliary),
  );
}

function outOfMemory(
  what: string,
  { total, ...parts }: Partial<MemoryBudget> & Pick<MemoryBudget, 'total'>,
  room: number,
  remedies: readonly string[],
): CortorchError {
  const names: Readonly<Record<string, string>> = {
    auxiliaryWeights: 'auxiliary weights',
    optimizerState: 'optimizer state',
  };
  const list = Object.entries(parts)
    .filter(([, bytes]) => bytes > 0)
    .map(([name, bytes]) => `${names[name] ?? name} ${formatBytes(bytes)}`);
  const remedy =
    remedies.length === 0 ? 'a smaller network or a machine with more memory' : remedies.join(' or ');
  return new CortorchError(
    'ERR_OUT_OF_MEMORY',
    `${what} ${formatBytes(total)} of memory (${list.join(', ')}), but there are ${formatBytes(room)}; use ${remedy}`,
  );
}
