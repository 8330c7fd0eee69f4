/** Optimizer settings: PyTorch's definitions (torch.optim.Adam, SGD, RMSprop), with their defaults. */

import { CortorchError, invalid, isBoolean, isNumber, isOneOf, isPlainObject } from '../errors.js';
import { didYouMean } from '../suggest.js';

export type OptimizerName = 'adam' | 'sgd' | 'rmsprop';
export const optimizerNames: readonly OptimizerName[] = ['adam', 'sgd', 'rmsprop'];

/** What an optimizer's moments are kept in; sums are float32 always. */
export type Moments = 'fp32' | 'bf16';
export const momentsNames: readonly Moments[] = ['fp32', 'bf16'];

export interface OptimizerOptions {
  /** Default `adam`. */
  readonly type?: OptimizerName;
  /** Learning rate; default 0.001 (sgd, rmsprop: 0.01). */
  readonly lr?: number;
  /** adam; default 0.9 */
  readonly beta1?: number;
  /** adam, default 0.999; rmsprop's smoothing constant, default 0.99 */
  readonly beta2?: number;
  /** adam, rmsprop; default 1e-8 */
  readonly eps?: number;
  /** sgd, rmsprop; default 0 */
  readonly momentum?: number;
  /** Added to the gradient, times the weight; default 0. */
  readonly weightDecay?: number;
  /**
   * Batch manhattan (Liao et al. 2016): of each gradient only its sign is used, before momentum and weight decay.
   * Default false.
   */
  readonly batchManhattan?: boolean;
  /**
   * What the moments are kept in: adam, rmsprop and sgd with momentum; `bf16`, half of the memory, on a GPU alone.
   * Default `fp32`.
   */
  readonly moments?: Moments;
}

export type ResolvedOptimizer = Required<OptimizerOptions>;

/** The settings that each optimizer uses. */
export const optimizerSettings: Readonly<Record<OptimizerName, readonly (keyof OptimizerOptions)[]>> = {
  adam: ['lr', 'beta1', 'beta2', 'eps', 'weightDecay', 'batchManhattan', 'moments'],
  sgd: ['lr', 'momentum', 'weightDecay', 'batchManhattan', 'moments'],
  rmsprop: ['lr', 'beta2', 'eps', 'momentum', 'weightDecay', 'batchManhattan', 'moments'],
};

/** Values that an optimizer keeps for each parameter. */
export function statesPerParameter({ type, momentum }: Pick<ResolvedOptimizer, 'type' | 'momentum'>): number {
  const withMomentum = momentum > 0 ? 1 : 0;
  return { adam: 2, sgd: withMomentum, rmsprop: 1 + withMomentum }[type];
}

const defaults: Readonly<Record<OptimizerName, ResolvedOptimizer>> = {
  adam: {
    type: 'adam',
    lr: 1e-3,
    beta1: 0.9,
    beta2: 0.999,
    eps: 1e-8,
    momentum: 0,
    weightDecay: 0,
    batchManhattan: false,
    moments: 'fp32',
  },
  sgd: {
    type: 'sgd',
    lr: 1e-2,
    beta1: 0,
    beta2: 0,
    eps: 0,
    momentum: 0,
    weightDecay: 0,
    batchManhattan: false,
    moments: 'fp32',
  },
  rmsprop: {
    type: 'rmsprop',
    lr: 1e-2,
    beta1: 0,
    beta2: 0.99,
    eps: 1e-8,
    momentum: 0,
    weightDecay: 0,
    batchManhattan: false,
    moments: 'fp32',
  },
};

/**
 * Checks the settings and fills in what is missing.
 *
 * @param name how an error calls it
 * @throws CortorchError ERR_INVALID_ARGUMENT, or ERR_UNUSED_OPTION for a setting that the optimizer does not use
 */
export function resolveOptimizer(options: OptimizerOptions = {}, name = 'optimizer'): ResolvedOptimizer {
  if (!isPlainObject(options)) throw invalid(name, 'an object such as { type: "adam", lr: 1e-3 }', options);
  const type = options.type ?? 'adam';
  if (!isOneOf(type, optimizerNames)) throw invalid(`${name}.type`, `one of ${optimizerNames.join(', ')}`, type);
  const used = optimizerSettings[type];
  for (const key of Object.keys(options) as (keyof OptimizerOptions)[]) {
    if (key === 'type' || options[key] === undefined) continue;
    if (!(key in defaults.adam)) {
      throw new CortorchError('ERR_UNKNOWN_OPTION', `${name}.${key}: there is no such setting${didYouMean(key, used)}`);
    }
    if (!used.includes(key)) {
      throw new CortorchError(
        'ERR_UNUSED_OPTION',
        `${name}.${key} is not used by ${type}, whose settings are ${used.join(', ')}`,
      );
    }
  }
  const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
  const resolved: ResolvedOptimizer = { ...defaults[type], ...given };
  notNegative(name, 'lr', resolved.lr);
  for (const key of ['beta1', 'beta2', 'momentum'] as const) {
    if (!isNumber(resolved[key]) || resolved[key] < 0 || resolved[key] >= 1) {
      throw invalid(`${name}.${key}`, 'a number from 0 up to but not including 1', resolved[key]);
    }
  }
  notNegative(name, 'eps', resolved.eps);
  notNegative(name, 'weightDecay', resolved.weightDecay);
  if (!isBoolean(resolved.batchManhattan))
    throw invalid(`${name}.batchManhattan`, 'true or false', resolved.batchManhattan);
  if (!isOneOf(resolved.moments, momentsNames))
    throw invalid(`${name}.moments`, `one of ${momentsNames.join(', ')}`, resolved.moments);
  if (given['moments'] !== undefined && statesPerParameter(resolved) === 0) {
    throw new CortorchError(
      'ERR_UNUSED_OPTION',
      `${name}.moments is not used by sgd without momentum, which keeps none; set ${name}.momentum, or leave it out`,
    );
  }
  return resolved;
}

/**
 * Moments in bf16 are a GPU's.
 *
 * @param name how an error calls the setting
 * @throws CortorchError ERR_UNUSED_OPTION
 */
export function requireMomentsFit(moments: Moments | undefined, device: string, name = 'optimizer.moments'): void {
  if (moments !== 'bf16' || device !== 'cpu') return;
  throw new CortorchError(
    'ERR_UNUSED_OPTION',
    `${name} bf16 is not used by device cpu; choose device cuda, or leave it out`,
  );
}

function notNegative(name: string, key: keyof OptimizerOptions, value: unknown): void {
  if (!isNumber(value) || value < 0) throw invalid(`${name}.${key}`, 'a number that is not negative', value);
}
