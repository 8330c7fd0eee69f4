/**
 * Target propagation in loops over float64, written from the paper's boxes (Bartunov et al. 2018, Algorithms 1 and 2)
 * with targets ĥ as they stand there, and sharing nothing with the native code. Images are in the order
 * (batch, C, H, W); layers l = 1..L and h_0 = x as in the paper, so that layer l
 * has the parameters `layers.<l−1>` and the inverse `inverses.<l−1>`.
 */
import { isMap, type ActivationName } from '../../lib/model/layers.js';
import type { ResolvedSpec } from '../../lib/model/spec.js';
import { sigma, slope } from './activations.js';
import { count, naive, naiveDense, outputSize, type Geometry } from './maps.js';
import { rows, type Numbers } from './numbers.js';

export type TargetRule = 'tp' | 'dtp' | 'sdtp' | 'ao-sdtp';
export const targetRules: readonly TargetRule[] = ['tp', 'dtp', 'sdtp', 'ao-sdtp'];

export interface Settings {
  readonly rule: 'bp' | TargetRule;
  readonly targetStep?: number;
  readonly targetStepLoss?: 'example' | 'batch-mean';
  readonly lossReduction?: 'sum' | 'mean';
  readonly inverseLoss?: 'noise-preserving' | 'de-noising';
  /** (∂h_l/∂h_{l−1})ᵀ in place of the learned inverses of hidden layers (A.5.6). */
  readonly transposedJacobian?: boolean;
}

/** By name, as in the state dict. */
export type Values = ReadonlyMap<string, Numbers>;

const map = (a: Numbers, f: (value: number, i: number) => number): Float64Array =>
  Float64Array.from({ length: a.length }, (_, i) => f(a[i]!, i));
const minus = (a: Numbers, b: Numbers): Float64Array => map(a, (value, i) => value - b[i]!);

type MapResults = ReturnType<typeof naiveDense>;

interface Layer {
  readonly prefix: string;
  readonly activation: ActivationName;
  /** Of one example. */
  readonly inputShape: readonly number[];
  readonly shape: readonly number[];
  /**
   * How the input lies in memory, in which the noise is numbered: (H, W, batch, C), (batch, H, W, C) or as its shape.
   */
  readonly memory: 'location-major' | 'channels-last' | 'plain';
  readonly at: (x: Numbers, weight: Numbers, bias: Numbers | null, delta: Numbers) => MapResults;
}

function layersOf(spec: ResolvedSpec, batch: number): Layer[] {
  const layers: Layer[] = [];
  let shape = spec.input;
  let before: string | undefined;
  for (const layer of spec.layers) {
    const inputShape = shape;
    if (isMap(layer)) {
      const { activation } = layer;
      const prefix = layer.name ?? `layers.${layers.length}`;
      let at: Layer['at'];
      if (layer.type === 'dense') {
        shape = [layer.units];
        at = (x, weight, bias, delta) => naiveDense(batch, { x, weight, bias, delta });
      } else {
        const { type, channels, kernel, stride, padding, dilation } = layer;
        const [inputs, height, width] = inputShape as [number, number, number];
        const geometry: Geometry = {
          ...{ batch, channels: [inputs, channels], size: [height, width] },
          ...{ kernel, stride, padding, dilation },
        };
        shape = [channels, ...outputSize(geometry)];
        at = (x, weight, bias, delta) => naive(geometry, type, { x, weight, bias, delta });
      }
      layers.push({
        ...{ prefix, activation, inputShape, shape, at },
        memory: before === 'locally-connected2d' ? 'location-major' : before === 'conv2d' ? 'channels-last' : 'plain',
      });
    } else if (layer.type === 'flatten') {
      shape = [count(shape)];
    } else {
      throw new Error(`no inverse of ${layer.type}`);
    }
    before = layer.type;
  }
  return layers;
}

/** A network on one batch: what it computes, and the gradients of the losses that its layers have. */
export function targetReference(spec: ResolvedSpec, batch: number, settings: Settings) {
  const { rule, targetStep = 0.1, targetStepLoss = 'example', lossReduction = 'sum' } = settings;
  const { inverseLoss = rule === 'tp' || rule === 'dtp' ? 'noise-preserving' : 'de-noising' } = settings;
  const layers = layersOf(spec, batch);
  const L = layers.length;
  const layer = (l: number): Layer => layers[l - 1]!;
  const zeros = (shape: readonly number[]): Float64Array => new Float64Array(batch * count(shape));
  const mean = (shape: readonly number[]): number => 1 / batch / (lossReduction === 'mean' ? count(shape) : 1);
  /** The layers with an inverse, lowest first. */
  const inverses = rule === 'bp' ? [] : Array.from({ length: L - (rule === 'dtp' ? 2 : 1) }, (_, i) => i + 2);

  /** f_l(h) = σ_l(W_l h + b_l) */
  function f(l: number, p: Values, h: Numbers): Float64Array {
    const { prefix, activation, shape, at } = layer(l);
    const a = at(h, p.get(`${prefix}.weight`)!, p.get(`${prefix}.bias`) ?? null, zeros(shape)).apply;
    return map(a, sigma[activation]);
  }

  /** g_l(h) = σ_{l−1}(V_lᵀ h + c_l) */
  function g(l: number, p: Values, h: Numbers): Float64Array {
    const { inputShape, at } = layer(l);
    const v = p.get(`inverses.${l - 1}.weight`)!;
    const c = p.get(`inverses.${l - 1}.bias`)!;
    const a = at(zeros(inputShape), v, null, h).adjoint;
    return map(a, (value, i) => sigma[layer(l - 1).activation](value + c[i % c.length]!));
  }

  /** (∂h_l/∂h_{l−1})ᵀ u at h_l */
  function jacobian(l: number, p: Values, h: Numbers, u: Numbers): Float64Array {
    const { prefix, activation, inputShape, at } = layer(l);
    const delta = map(u, (value, i) => value * slope[activation](h[i]!));
    return at(zeros(inputShape), p.get(`${prefix}.weight`)!, null, delta).adjoint;
  }

  /** The gradients of weight and bias for an error δ at a. */
  function own(l: number, h: Numbers, delta: Numbers, p: Values, to: Map<string, Float64Array>): void {
    const { prefix, at } = layer(l);
    const { outer, biasSums } = at(h, p.get(`${prefix}.weight`)!, null, delta);
    to.set(`${prefix}.weight`, outer);
    if (p.has(`${prefix}.bias`)) to.set(`${prefix}.bias`, biasSums);
  }

  function activities(p: Values, x: Numbers): Numbers[] {
    const h: Numbers[] = [x];
    for (let l = 1; l <= L; l++) h.push(f(l, p, h[l - 1]!));
    return h;
  }

  /** One row an example. */
  const rowsOf = (a: Numbers): number[][] => rows(a, a.length / batch);

  function softmax(y: Numbers): Float64Array {
    return Float64Array.from(
      rowsOf(y).flatMap((row) => {
        const exps = row.map((value) => Math.exp(value - Math.max(...row)));
        const total = exps.reduce((a, b) => a + b, 0);
        return exps.map((value) => value / total);
      }),
    );
  }

  /** o of the last layer's outputs; with z of the layer below beside it, example by example. */
  const outputOf = (y: Numbers): Numbers => (spec.loss === 'softmax-cross-entropy' ? softmax(y) : y);
  function withAuxiliary(p: Values, o: Numbers, below: Numbers): Float64Array {
    if (rule !== 'ao-sdtp') return Float64Array.from(o);
    const bias = p.get('auxiliary.bias')!;
    const z = naiveDense(batch, { x: below, weight: p.get('auxiliary.weight')!, bias, delta: [] }).apply.map(Math.tanh);
    const zs = rowsOf(z);
    return Float64Array.from(rowsOf(o).flatMap((row, b) => [...row, ...zs[b]!]));
  }

  /** What the outputs should be: one-hot, the input, or values. */
  function aimOf(task: Numbers): Numbers {
    const outputs = count(layer(L).shape);
    if (task.length !== batch) return task;
    const aim = new Float64Array(batch * outputs);
    for (let b = 0; b < batch; b++) aim[b * outputs + task[b]!] = 1;
    return aim;
  }

  /**
   * The forward losses of one batch.
   *
   * @param task labels, or values of the outputs' count
   */
  function forward(p: Values, x: Numbers, task: Numbers) {
    const h = activities(p, x);
    const y = h[L]!;
    const o = outputOf(y);
    const aim = aimOf(task);
    const gradients = new Map<string, Float64Array>();
    const entropy = spec.loss === 'softmax-cross-entropy';
    const loss =
      map(o, (value, i) => (entropy ? -aim[i]! * Math.log(value) : (value - aim[i]!) ** 2)).reduce((a, b) => a + b, 0) /
      batch;
    // The gradient of each example's loss with respect to a_L.
    const delta = map(minus(o, aim), (e, i) => (entropy ? e : 2 * e) * slope[layer(L).activation](y[i]!));
    own(
      L,
      h[L - 1]!,
      map(delta, (value) => value / batch),
      p,
      gradients,
    );
    const down = layer(L).at(h[L - 1]!, p.get(`${layer(L).prefix}.weight`)!, null, delta).adjoint;

    const targets: Numbers[] = [];
    if (rule === 'bp') {
      let arriving: Numbers = down;
      for (let l = L - 1; l >= 1; l--) {
        const error = map(arriving, (value, i) => (value * slope[layer(l).activation](h[l]![i]!)) / batch);
        own(l, h[l - 1]!, error, p, gradients);
        arriving = jacobian(l, p, h[l]!, arriving);
      }
      return { h, o, loss, gradients, targets };
    }

    const through = (l: number, from: Numbers, to: Numbers): Float64Array => {
      if (rule === 'tp') return g(l, p, to);
      const inverse = (u: Numbers): Float64Array =>
        settings.transposedJacobian && l < L ? jacobian(l, p, h[l]!, u) : g(l, p, u);
      const [a, b] = [inverse(from), inverse(to)];
      return map(h[l - 1]!, (value, i) => value - a[i]! + b[i]!);
    };
    const below = h[L - 1]!;
    const step = targetStepLoss === 'example' ? targetStep : targetStep / batch;
    if (L > 1)
      targets[L - 1] =
        rule === 'dtp'
          ? minus(
              below,
              map(down, (value) => step * value),
            )
          : through(L, withAuxiliary(p, o, below), withAuxiliary(p, aim, below));
    for (let l = L - 1; l >= 2; l--) targets[l - 1] = through(l, h[l]!, targets[l]!);
    for (let l = 1; l < L; l++) {
      const difference = minus(h[l]!, targets[l]!);
      const share = mean(layer(l).shape);
      const error = map(difference, (d, i) => 2 * share * d * slope[layer(l).activation](h[l]![i]!));
      own(l, h[l - 1]!, error, p, gradients);
    }
    return { h, o, loss, gradients, targets };
  }

  /** ‖f_l(h_{l−1}) − ĥ_l‖² of a hidden layer, as the gradients see it. */
  function localLoss(l: number, p: Values, below: Numbers, target: Numbers): number {
    const difference = minus(f(l, p, below), target);
    return mean(layer(l).shape) * difference.reduce((sum, d) => sum + d * d, 0);
  }

  /**
   * The inverse losses of one batch.
   *
   * @param noise σ ε for each inverse, lowest first, in the order (batch, C, H, W)
   */
  function inverse(p: Values, x: Numbers, noise: readonly Numbers[]) {
    const h = activities(p, x);
    const gradients = new Map<string, Float64Array>();
    let loss = 0;
    inverses.forEach((l, i) => {
      const { inputShape, at } = layer(l);
      const clean = h[l - 1]!;
      const noisy = map(clean, (value, j) => value + noise[i]![j]!);
      const y = f(l, p, noisy);
      const u = l === L ? withAuxiliary(p, outputOf(y), noisy) : y;
      const back = g(l, p, u);
      const error = minus(back, inverseLoss === 'de-noising' ? clean : noisy);
      const share = mean(inputShape);
      loss += share * error.reduce((sum, e) => sum + e * e, 0);
      const delta = map(error, (e, j) => 2 * share * e * slope[layer(l - 1).activation](back[j]!));
      const units = count(inputShape);
      const c = new Float64Array(units);
      delta.forEach((value, j) => (c[j % units]! += value));
      // V occurs as Vᵀu, whose gradient is that of V δ in V with x and δ exchanged.
      gradients.set(`inverses.${l - 1}.weight`, at(delta, p.get(`inverses.${l - 1}.weight`)!, null, u).outer);
      gradients.set(`inverses.${l - 1}.bias`, c);
    });
    return { loss, gradients };
  }

  /** ε of each inverse at a step, in the order (batch, C, H, W); `draw` gives numbers in the order of the memory. */
  function noiseOf(draw: (layer: number, many: number) => Numbers): Float64Array[] {
    return inverses.map((l) => {
      const { inputShape, memory } = layer(l);
      const [channels, height, width] = [inputShape[0]!, inputShape[1] ?? 1, inputShape[2] ?? 1];
      const numbers = draw(l - 1, batch * count(inputShape));
      const result = zeros(inputShape);
      let at = 0;
      for (let b = 0; b < batch; b++)
        for (let c = 0; c < channels; c++)
          for (let i = 0; i < height; i++)
            for (let j = 0; j < width; j++) {
              const place = {
                'location-major': ((i * width + j) * batch + b) * channels + c,
                'channels-last': ((b * height + i) * width + j) * channels + c,
                plain: at,
              }[memory];
              result[at++] = numbers[place]!;
            }
      return result;
    });
  }

  return { layers, inverses, forward, inverse, localLoss, noiseOf, withAuxiliary };
}
