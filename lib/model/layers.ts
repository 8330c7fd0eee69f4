/** The kinds of layers, as plain data, and how a spec's entries are checked. */

import { isBoolean, isCount, isNumber, isOneOf, isPlainObject, isString } from '../errors.js';
import { didYouMean } from '../suggest.js';
import { describe, resolveWindow, type Padding2d, type Pair, type Size2d, type Window2d } from './geometry.js';
import { isReservedPrefix } from './parameter-names.js';
import { checkKeys, specError, wrong } from './spec-error.js';

export type ActivationName = 'identity' | 'tanh' | 'relu' | 'sigmoid';
export const activationNames: readonly ActivationName[] = ['identity', 'tanh', 'relu', 'sigmoid'];

/**
 * Fans of a dense layer are its inputs and outputs; those of convolutions, shared or not, k_h·k_w·in and
 * k_h·k_w·out. `glorot-uniform-location` counts k_h·k_w·in and out: each location as the dense map it is. Biases
 * start at zero.
 */
export type InitializerName =
  'glorot-uniform' | 'glorot-uniform-location' | 'glorot-normal' | 'he-uniform' | 'he-normal' | 'orthogonal' | 'zeros';
export const initializerNames: readonly InitializerName[] = [
  'glorot-uniform',
  'glorot-uniform-location',
  'glorot-normal',
  'he-uniform',
  'he-normal',
  'orthogonal',
  'zeros',
];

/** An image (C, H, W) as a vector in that order. */
export interface FlattenSpec {
  readonly type: 'flatten';
}

/** What all layers with parameters have. */
interface ParametricSpec {
  /** Default `identity`. */
  readonly activation?: ActivationName;
  /** Default true. */
  readonly bias?: boolean;
  /** Default `glorot-uniform`. */
  readonly initializer?: InitializerName;
  /** Prefix of the parameter names; default `layers.<i>`, i counting the layers with parameters from 0. */
  readonly name?: string;
}

/** σ(W x + b), W [units, in]. */
export interface DenseSpec extends ParametricSpec {
  readonly type: 'dense';
  readonly units: number;
}

interface ConvolutionSpec extends ParametricSpec {
  /** Of the output. */
  readonly channels: number;
  readonly kernel: Size2d;
  /** Default 1. */
  readonly stride?: Size2d;
  /** Default 0. */
  readonly padding?: Padding2d;
  /** Default 1. */
  readonly dilation?: Size2d;
}

/** A convolution without weight sharing: W [out_h, out_w, k_h, k_w, in, out], bias [out_h, out_w, out]. */
export interface LocallyConnected2dSpec extends ConvolutionSpec {
  readonly type: 'locally-connected2d';
}

/** W [out, in, k_h, k_w], bias [out]. */
export interface Conv2dSpec extends ConvolutionSpec {
  readonly type: 'conv2d';
}

interface PoolSpec {
  readonly kernel: Size2d;
  /** Default: the kernel. */
  readonly stride?: Size2d;
  /** At most half of the kernel; default 0. */
  readonly padding?: Size2d;
}

export interface MaxPool2dSpec extends PoolSpec {
  readonly type: 'max-pool2d';
}

/** The mean of k_h·k_w values, of which those of the padding are zero. */
export interface AvgPool2dSpec extends PoolSpec {
  readonly type: 'avg-pool2d';
}

/**
 * σ(γ (x − mean) / √(variance + ε) + β), by channel (of a vector by feature): in training with the batch's own mean and
 * variance, in evaluation with running ones, as PyTorch's nn.BatchNorm1d and 2d have them (Ioffe and Szegedy 2015).
 * Its gradient is the ordinary one; targets do not go through it.
 */
export interface BatchNormSpec {
  readonly type: 'batch-norm';
  /** Default `identity`. */
  readonly activation?: ActivationName;
  /** How far the running statistics move towards a batch's, above 0 and at most 1; default 0.1. */
  readonly momentum?: number;
  /** Default 1e-5. */
  readonly epsilon?: number;
  /** Prefix of the parameter names; default as that of a map. */
  readonly name?: string;
}

/**
 * σ(layers(x) + shortcut(x)) (He et al. 2016). Its gradient is the ordinary one; targets do not go through it.
 */
export interface ResidualSpec {
  readonly type: 'residual';
  readonly layers: readonly LayerSpec[];
  /**
   * Default `identity`. `pad`, of images: every s-th row and column, s the product of the layers' strides, and the
   * missing channels as zeros, half of them before and half behind (option A of the paper). Layers, such as a 1×1
   * convolution: what they make of x.
   */
  readonly shortcut?: 'identity' | 'pad' | readonly LayerSpec[];
  /** Of the sum; default `identity`. */
  readonly activation?: ActivationName;
}

export type LayerSpec =
  | FlattenSpec
  | DenseSpec
  | LocallyConnected2dSpec
  | Conv2dSpec
  | MaxPool2dSpec
  | AvgPool2dSpec
  | BatchNormSpec
  | ResidualSpec;
export type LayerType = LayerSpec['type'];

type Resolved<T extends ParametricSpec> = Required<Omit<T, 'name' | keyof Window2d>> & Pick<T, 'name'>;
export type ResolvedDense = Resolved<DenseSpec>;
export type ResolvedConvolution = Resolved<LocallyConnected2dSpec | Conv2dSpec> & Window2d;
export type ResolvedPool = Pick<MaxPool2dSpec | AvgPool2dSpec, 'type'> & Omit<Window2d, 'dilation'>;
/** A linear map with its bias and activation. */
export type ResolvedMap = ResolvedDense | ResolvedConvolution;
export type ResolvedBatchNorm = Required<Omit<BatchNormSpec, 'name'>> & Pick<BatchNormSpec, 'name'>;

export interface ResolvedResidual {
  readonly type: 'residual';
  readonly layers: readonly ResolvedLayer[];
  readonly shortcut: 'identity' | 'pad' | readonly ResolvedLayer[];
  /** Of a padded shortcut: the product of the layers' strides; left out otherwise. */
  readonly stride?: Pair;
  readonly activation: ActivationName;
}

/** A layer in which every default is written out, and sizes are [height, width]. */
export type ResolvedLayer = FlattenSpec | ResolvedMap | ResolvedPool | ResolvedBatchNorm | ResolvedResidual;

export const isMap = (layer: ResolvedLayer): layer is ResolvedMap => 'initializer' in layer;

/** Whether it has parameters of its own, and so a name. */
export const isParametric = (layer: ResolvedLayer): layer is ResolvedMap | ResolvedBatchNorm =>
  isMap(layer) || layer.type === 'batch-norm';

/** How an error names a layer: `layers[2] ("conv1")`. */
export const nameOf = (where: string, layer: ResolvedLayer): string =>
  `${where}${'name' in layer ? ` (${JSON.stringify(layer.name)})` : ''}`;

/**
 * Checks one entry of a spec's layers.
 *
 * @throws CortorchError ERR_INVALID_SPEC that names the key, such as `layers[2].units`
 */
export function parseLayer(value: unknown, where: string): ResolvedLayer {
  if (!isPlainObject(value)) throw wrong(where, 'an object such as { "type": "dense", "units": 256 }', value);
  const { type } = value;
  if (!isOneOf(type, layerTypes)) {
    const near = typeof type === 'string' ? didYouMean(type, layerTypes) : '';
    throw wrong(`${where}.type`, `one of ${layerTypes.join(', ')}`, type, near);
  }
  checkKeys(value, keys[type], `${where}.`);
  switch (type) {
    case 'flatten':
      return { type };
    case 'dense':
      return { type, units: countOf(value, 'units', where), ...parseParametric(value, where) };
    case 'locally-connected2d':
    case 'conv2d':
      return {
        type,
        channels: countOf(value, 'channels', where),
        ...parseWindow(value, where),
        ...parseParametric(value, where),
      };
    case 'max-pool2d':
    case 'avg-pool2d':
      return { type, ...parsePool(value, where) };
    case 'batch-norm':
      return { type, ...parseBatchNorm(value, where) };
    case 'residual':
      return { type, ...parseResidual(value, where) };
  }
}

/**
 * Checks the entries of a list of layers.
 *
 * @throws CortorchError ERR_INVALID_SPEC
 */
export function parseLayers(value: unknown, where: string): readonly ResolvedLayer[] {
  if (!Array.isArray(value) || value.length === 0) throw wrong(where, 'an array of at least one layer', value);
  return value.map((layer, i) => parseLayer(layer, `${where}[${i}]`));
}

const ofParametric = ['activation', 'bias', 'initializer', 'name'];
const ofConvolution = ['type', 'channels', 'kernel', 'stride', 'padding', 'dilation', ...ofParametric];
const ofPool = ['type', 'kernel', 'stride', 'padding'];
const keys: Readonly<Record<LayerType, readonly string[]>> = {
  flatten: ['type'],
  dense: ['type', 'units', ...ofParametric],
  'locally-connected2d': ofConvolution,
  conv2d: ofConvolution,
  'max-pool2d': ofPool,
  'avg-pool2d': ofPool,
  'batch-norm': ['type', 'activation', 'momentum', 'epsilon', 'name'],
  residual: ['type', 'layers', 'shortcut', 'stride', 'activation'],
};
const layerTypes = Object.keys(keys) as readonly LayerType[];

type Entry = Readonly<Record<string, unknown>>;

function countOf(value: Entry, key: string, where: string): number {
  const count = value[key];
  if (!isCount(count)) throw wrong(`${where}.${key}`, 'a positive integer', count);
  return count;
}

function parseParametric(value: Entry, where: string): Omit<ResolvedDense, 'type' | 'units'> {
  const { bias = true, initializer = 'glorot-uniform' } = value;
  const activation = parseActivation(value, where);
  if (!isBoolean(bias)) throw wrong(`${where}.bias`, 'true or false', bias);
  if (!isOneOf(initializer, initializerNames))
    throw wrong(`${where}.initializer`, `one of ${initializerNames.join(', ')}`, initializer);
  return { activation, bias, initializer, ...parseName(value, where) };
}

function parseActivation({ activation = 'identity' }: Entry, where: string): ActivationName {
  if (!isOneOf(activation, activationNames))
    throw wrong(`${where}.activation`, `one of ${activationNames.join(', ')}`, activation);
  return activation;
}

function parseName({ name }: Entry, where: string): { readonly name?: string } {
  if (name === undefined) return {};
  if (!isString(name)) throw wrong(`${where}.name`, 'a name', name);
  if (isReservedPrefix(name)) {
    throw wrong(`${where}.name`, 'a name other than those of target propagation (auxiliary, inverses.<i>)', name);
  }
  return { name };
}

function parseBatchNorm(value: Entry, where: string): Omit<ResolvedBatchNorm, 'type'> {
  const { momentum = 0.1, epsilon = 1e-5 } = value;
  if (!isNumber(momentum) || momentum <= 0 || momentum > 1)
    throw wrong(`${where}.momentum`, 'a number above 0 and at most 1', momentum);
  if (!isNumber(epsilon) || epsilon <= 0) throw wrong(`${where}.epsilon`, 'a positive number', epsilon);
  return { activation: parseActivation(value, where), momentum, epsilon, ...parseName(value, where) };
}

function parseResidual(value: Entry, where: string): Omit<ResolvedResidual, 'type'> {
  const { shortcut = 'identity', stride } = value;
  const layers = parseLayers(value['layers'], `${where}.layers`);
  const activation = parseActivation(value, where);
  if (Array.isArray(shortcut)) return { layers, shortcut: parseLayers(shortcut, `${where}.shortcut`), activation };
  if (!isOneOf(shortcut, ['identity', 'pad'] as const))
    throw wrong(`${where}.shortcut`, "'identity', 'pad' or an array of layers", shortcut);
  if (shortcut === 'identity') return { layers, shortcut, activation };
  const strides = layers.flatMap((layer) => ('stride' in layer ? [layer.stride] : []));
  const total = ([0, 1] as const).map((i) => strides.reduce((all, one) => all * one[i], 1)) as unknown as Pair;
  if (stride !== undefined && JSON.stringify(stride) !== JSON.stringify(total)) {
    throw wrong(`${where}.stride`, `${JSON.stringify(total)}, the product of the layers' strides`, stride);
  }
  return { layers, shortcut, stride: total, activation };
}

function parseWindow(value: Entry, where: string): Window2d {
  const { kernel, stride, padding, dilation } = value;
  return resolveWindow({ kernel, stride, padding, dilation }, (key, expected, received) =>
    wrong(`${where}.${key}`, expected, received),
  );
}

function parsePool({ kernel, stride = kernel, padding }: Entry, where: string): Omit<Window2d, 'dilation'> {
  const { dilation: _, ...pool } = parseWindow({ kernel, stride, padding }, where);
  if (pool.padding.some((zeros, i) => 2 * zeros > pool.kernel[i as 0 | 1])) {
    const [height, width] = pool.kernel.map((size) => Math.floor(size / 2)) as unknown as Pair;
    throw specError(
      `${where}.padding: ${describe(pool.padding)} is more than half of the kernel ${describe(pool.kernel)}, ` +
        `so that some windows would see no input; use at most ${describe([height, width])}`,
    );
  }
  return pool;
}
