/** The kinds of layers, as plain data, and how a spec's entries are checked. */

import { isBoolean, isCount, isOneOf, isPlainObject, isString } from '../errors.js';
import { didYouMean } from '../suggest.js';
import {
  describe,
  resolveWindow,
  type Padding2d,
  type Pair,
  type Size2d,
  type Window2d,
} from './geometry.js';
import { checkKeys, specError, wrong } from './spec-error.js';

export type ActivationName = 'identity' | 'tanh' | 'relu' | 'sigmoid';
export const activationNames: readonly ActivationName[] = ['identity', 'tanh', 'relu', 'sigmoid'];

/**
 * Fans of a dense layer are its inputs and outputs; those of convolutions, shared or not, k_h·k_w·in and
 * k_h·k_w·out. `glorot-uniform-location` counts k_h·k_w·in and out: each location as the dense map it is. Biases
 * start at zero.
 */
export type InitializerName =
  | 'glorot-uniform'
  | 'glorot-uniform-location'
  | 'glorot-normal'
  | 'he-uniform'
  | 'he-normal'
  | 'orthogonal'
  | 'zeros';
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

export type LayerSpec =
  FlattenSpec | DenseSpec | LocallyConnected2dSpec | Conv2dSpec | MaxPool2dSpec | AvgPool2dSpec;
export type LayerType = LayerSpec['type'];

type Resolved<T extends ParametricSpec> = Required<Omit<T, 'name' | keyof Window2d>> & Pick<T, 'name'>;
export type ResolvedDense = Resolved<DenseSpec>;
export type ResolvedConvolution = Resolved<LocallyConnected2dSpec | Conv2dSpec> & Window2d;
export type ResolvedPool = Pick<MaxPool2dSpec | AvgPool2dSpec, 'type'> & Omit<Window2d, 'dilation'>;
export type ResolvedParametric = ResolvedDense | ResolvedConvolution;

/** A layer in which every default is written out, and sizes are [height, width]. */
export type ResolvedLayer = FlattenSpec | ResolvedParametric | ResolvedPool;

export const isParametric = (layer: ResolvedLayer): layer is ResolvedParametric => 'activation' in layer;

/** How an error names a layer: `layers[2] ("conv1")`. */
export const nameOf = (index: number, layer: ResolvedLayer): string =>
  `layers[${index}]${'name' in layer ? ` (${JSON.stringify(layer.name)})` : ''}`;

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
  }
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
};
const layerTypes = Object.keys(keys) as readonly LayerType[];

type Entry = Readonly<Record<string, unknown>>;

function countOf(value: Entry, key: string, where: string): number {
  const count = value[key];
  if (!isCount(count)) throw wrong(`${where}.${key}`, 'a positive integer', count);
  return count;
}

function parseParametric(value: Entry, where: string): Omit<ResolvedDense, 'type' | 'units'> {
  const { activation = 'identity', bias = true, initializer = 'glorot-uniform', name } = value;
  if (!isOneOf(activation, activationNames))
    throw wrong(`${where}.activation`, `one of ${activationNames.join(', ')}`, activation);
  if (!isBoolean(bias)) throw wrong(`${where}.bias`, 'true or false', bias);
  if (!isOneOf(initializer, initializerNames))
    throw wrong(`${where}.initializer`, `one of ${initializerNames.join(', ')}`, initializer);
  if (name !== undefined && !isString(name)) throw wrong(`${where}.name`, 'a name', name);
  if (name !== undefined && /^(auxiliary|inverses\.\d+)$/.test(name)) {
    throw wrong(
      `${where}.name`,
      'a name other than those of target propagation (auxiliary, inverses.<i>)',
      name,
    );
  }
  return { activation, bias, initializer, ...(name !== undefined && { name }) };
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
