/** The maps straight from their definitions: loops in float64 that share nothing with the native code. */
import { Tensor, type ResolvedSpec } from '../../lib/index.js';
import { sitesOf } from '../../lib/model/sites.js';
import { Random } from '../../lib/random.js';
import { randomArray } from './numbers.js';

export type MapName = 'locally-connected2d' | 'conv2d';

type Pair = readonly [number, number];

export interface Geometry {
  readonly batch: number;
  /** Channels of the input and of the output. */
  readonly channels: Pair;
  /** Height and width of the input; all that follows is in this order. */
  readonly size: Pair;
  readonly kernel: Pair;
  readonly stride: Pair;
  readonly padding: Pair;
  readonly dilation: Pair;
}

export const count = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

/** Values in the weights and biases of a spec's layers. */
export const countParameters = (spec: ResolvedSpec): number =>
  sitesOf(spec).reduce((sum, { weight, bias }) => sum + count(weight) + (bias ? count(bias) : 0), 0);

const both = (f: (axis: 0 | 1) => number): [number, number] => [f(0), f(1)];

export const outputSize = ({ size, kernel, stride, padding, dilation }: Geometry): [number, number] =>
  both((i) => Math.floor((size[i] + 2 * padding[i] - dilation[i] * (kernel[i] - 1) - 1) / stride[i]) + 1);

/** The shapes of x, y, the weights and the bias. */
export function shapesOf(g: Geometry, map: MapName) {
  const [inputs, outputs] = g.channels;
  const out = outputSize(g);
  return {
    x: [g.batch, inputs, ...g.size],
    y: [g.batch, outputs, ...out],
    weight: map === 'conv2d' ? [outputs, inputs, ...g.kernel] : [...out, ...g.kernel, inputs, outputs],
    bias: map === 'conv2d' ? [outputs] : [...out, outputs],
  };
}

export interface Operands {
  readonly x: ArrayLike<number>;
  readonly weight: ArrayLike<number>;
  readonly bias: ArrayLike<number> | null;
  /** Of y's shape, or nothing; what the adjoint and the gradient of the weights are given. */
  readonly delta: ArrayLike<number>;
}

/**
 * W x + b, Wᵀ δ, Σ x ⊗ δ, and Σ δ over all that share a bias. All arrays are contiguous, in the order of their shapes.
 */
export function naive(g: Geometry, map: MapName, { x, weight, bias, delta }: Operands) {
  const shapes = shapesOf(g, map);
  const [oh, ow] = outputSize(g);
  const [inputs, outputs] = g.channels;
  const [kh, kw] = g.kernel;
  const apply = new Float64Array(count(shapes.y));
  const adjoint = new Float64Array(count(shapes.x));
  const outer = new Float64Array(count(shapes.weight));
  const biasSums = new Float64Array(count(shapes.bias));
  for (let b = 0; b < g.batch; b++) {
    for (let o = 0; o < outputs; o++) {
      for (let i = 0; i < oh; i++) {
        for (let j = 0; j < ow; j++) {
          const y = ((b * outputs + o) * oh + i) * ow + j;
          const place = map === 'conv2d' ? o : (i * ow + j) * outputs + o;
          apply[y] = bias?.[place] ?? 0;
          biasSums[place]! += delta[y]!;
          for (let p = 0; p < kh; p++) {
            for (let q = 0; q < kw; q++) {
              const row = i * g.stride[0] - g.padding[0] + p * g.dilation[0];
              const column = j * g.stride[1] - g.padding[1] + q * g.dilation[1];
              if (row < 0 || row >= g.size[0] || column < 0 || column >= g.size[1]) continue;
              for (let c = 0; c < inputs; c++) {
                const at = ((b * inputs + c) * g.size[0] + row) * g.size[1] + column;
                const w =
                  map === 'conv2d'
                    ? ((o * inputs + c) * kh + p) * kw + q
                    : ((((i * ow + j) * kh + p) * kw + q) * inputs + c) * outputs + o;
                apply[y] += weight[w]! * x[at]!;
                adjoint[at]! += weight[w]! * delta[y]!;
                outer[w]! += x[at]! * delta[y]!;
              }
            }
          }
        }
      }
    }
  }
  return { apply, adjoint, outer, biasSums };
}

/** The same of a dense layer: as many outputs as the weights, [out, in], have rows. */
export function naiveDense(batch: number, { x, weight, bias, delta }: Operands) {
  const inputs = x.length / batch;
  const units = weight.length / inputs;
  const apply = new Float64Array(batch * units);
  const adjoint = new Float64Array(x.length);
  const outer = new Float64Array(weight.length);
  const biasSums = new Float64Array(units);
  for (let b = 0; b < batch; b++) {
    for (let k = 0; k < units; k++) {
      const d = delta[b * units + k] ?? 0;
      let sum = bias?.[k] ?? 0;
      biasSums[k]! += d;
      for (let j = 0; j < inputs; j++) {
        sum += weight[k * inputs + j]! * x[b * inputs + j]!;
        adjoint[b * inputs + j]! += weight[k * inputs + j]! * d;
        outer[k * inputs + j]! += x[b * inputs + j]! * d;
      }
      apply[b * units + k] = sum;
    }
  }
  return { apply, adjoint, outer, biasSums };
}

/** Multiply-adds of one operation. */
const work = (g: Geometry): number => Math.max(1, g.batch) * count(g.channels) * count(g.kernel) * count(outputSize(g));

/**
 * Sizes at random, the same for a seed: rectangles, channels around the widths of vectors and the cuts that kernels
 * make, windows that do not reach the last rows, and windows that see nothing but padding.
 */
export function randomGeometries(many: number, seed: number, mostWork = 300_000): Geometry[] {
  const random = new Random(seed);
  const between = (first: number, last: number): number => first + (random.nextUint32() % (last - first + 1));
  const of = (...values: number[]): number => values[between(0, values.length - 1)]!;
  const anyChannels = (): number =>
    between(0, 2) === 0 ? between(1, 20) : of(1, 3, 15, 16, 17, 31, 32, 33, 48, 64, 65, 130);
  const result: Geometry[] = [];
  while (result.length < many) {
    const kernel = both(() => between(1, 5));
    const stride = both(() => of(1, 1, 2, 3));
    const padding = both(() => of(0, 0, 1, 2, 3));
    const dilation = both(() => of(1, 1, 1, 2, 3));
    const least = (i: 0 | 1): number => Math.max(1, dilation[i] * (kernel[i] - 1) + 1 - 2 * padding[i]);
    const g: Geometry = {
      batch: of(1, 1, 2, 7, 15, 16, 17, 33, 100, 129, 257),
      channels: [anyChannels(), anyChannels()],
      size: both((i) => least(i) + between(0, 6)),
      kernel,
      stride,
      padding,
      dilation,
    };
    if (work(g) <= mostWork) result.push(g);
  }
  return result;
}

export const describeGeometry = (g: Geometry): string =>
  `${g.batch} × ${g.channels[0]} × ${g.size.join(' × ')} → ${g.channels[1]}, ` +
  (['kernel', 'stride', 'padding', 'dilation'] as const).map((name) => `${name} ${g[name].join('×')}`).join(', ');

/** A geometry that has everything: rectangles, padding, a stride that leaves rows out, dilation. */
export const mixed: Geometry = {
  batch: 5,
  channels: [3, 4],
  size: [9, 8],
  kernel: [3, 2],
  stride: [3, 2],
  padding: [1, 0],
  dilation: [1, 2],
};

/** Random tensors of the shapes that a map over images takes and gives, and their values. */
export function operands(g: Geometry, kind: MapName, dtype: 'float32' | 'float64' = 'float32') {
  const shapes = shapesOf(g, kind);
  const values = {
    x: randomArray(count(shapes.x), 1),
    weight: randomArray(count(shapes.weight), 2),
    bias: randomArray(count(shapes.bias), 3),
    delta: randomArray(count(shapes.y), 4),
  };
  const tensor = (data: Float32Array, shape: number[]): Tensor => Tensor.from(data, shape).to(dtype);
  return {
    values,
    shapes,
    x: tensor(values.x, shapes.x),
    weight: tensor(values.weight, shapes.weight),
    bias: tensor(values.bias, shapes.bias),
    delta: tensor(values.delta, shapes.y),
  };
}
