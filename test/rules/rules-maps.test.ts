/** Rules over the maps of images: two such layers, a dense one on top, and softmax cross-entropy. */
import t from 'tap';
import {
  dfaHiddenLayer,
  dfaOutputLayer,
  layer,
  scope,
  softmaxCrossEntropy,
  Tensor,
  type GradientRuleName,
} from '../../lib/index.js';
import { count, naive, outputSize, shapesOf, type Geometry, type MapName } from '../support/maps.js';
import { randomArray, relativeError, sameBits } from '../support/numbers.js';

const batch = 6;
const classes = 5;
const lower: Geometry = {
  batch,
  channels: [2, 17],
  size: [7, 9],
  kernel: [3, 3],
  stride: [2, 2],
  padding: [1, 0],
  dilation: [1, 1],
};
const upper: Geometry = {
  batch,
  channels: [17, 4],
  size: outputSize(lower),
  kernel: [2, 3],
  stride: [1, 2],
  padding: [0, 1],
  dilation: [2, 1],
};
const flat = upper.channels[1] * count(outputSize(upper));
const labels = Array.from({ length: batch }, (_, b) => (b * 3) % classes);

const sigma = { tanh: Math.tanh, relu: (a: number) => Math.max(0, a) };
/** σ' as a function of σ(a). */
const slope = { tanh: (y: number) => 1 - y * y, relu: (y: number) => (y > 0 ? 1 : 0) };
const activations = ['tanh', 'relu'] as const;

interface Parameters {
  readonly weight: Float32Array[];
  readonly bias: Float32Array[];
  /** fa: of the weights' shapes, null for the lowest; dfa: [classes, units], null for the last. */
  readonly feedback: (Float32Array | null)[];
}

function parametersOf(map: MapName, rule: GradientRuleName): Parameters {
  const [a, b] = [shapesOf(lower, map), shapesOf(upper, map)];
  const sizes = [count(a.weight), count(b.weight), classes * flat];
  const units = [count(a.y) / batch, count(b.y) / batch];
  return {
    weight: sizes.map((size, l) => randomArray(size, 10 + l, 0.3)),
    bias: [count(a.bias), count(b.bias), classes].map((size, l) => randomArray(size, 20 + l, 0.3)),
    feedback: [0, 1, 2].map((l) => {
      if (rule === 'fa' && l > 0) return randomArray(sizes[l]!, 30 + l, 0.3);
      return rule === 'dfa' && l < 2 ? randomArray(classes * units[l]!, 30 + l, 0.3) : null;
    }),
  };
}

const x = randomArray(count(shapesOf(lower, 'conv2d').x), 1);

/** The gradients in float64, from the equations; each error in the order (batch, channel, row, column). */
function reference(map: MapName, rule: GradientRuleName, { weight, bias, feedback }: Parameters) {
  const geometries = [lower, upper];
  const zero = (g: Geometry): Float64Array => new Float64Array(count(shapesOf(g, map).y));
  const h: ArrayLike<number>[] = [x];
  geometries.forEach((g, l) => {
    const { apply } = naive(g, map, { x: h[l]!, weight: weight[l]!, bias: bias[l]!, delta: zero(g) });
    h.push(apply.map(sigma[activations[l]!]));
  });
  let loss = 0;
  const error = new Float64Array(batch * classes);
  for (let b = 0; b < batch; b++) {
    const logits = Array.from({ length: classes }, (_, k) => {
      let sum = bias[2]![k]!;
      for (let j = 0; j < flat; j++) sum += weight[2]![k * flat + j]! * h[2]![b * flat + j]!;
      return sum;
    });
    const total = logits.reduce((sum, z) => sum + Math.exp(z), 0);
    loss += (Math.log(total) - logits[labels[b]!]!) / batch;
    logits.forEach((z, k) => {
      error[b * classes + k] = (Math.exp(z) / total - (k === labels[b] ? 1 : 0)) / batch;
    });
  }
  /** e times a matrix [classes, n]. */
  const down = (matrix: ArrayLike<number>): Float64Array => {
    const n = matrix.length / classes;
    const result = new Float64Array(batch * n);
    for (let b = 0; b < batch; b++)
      for (let k = 0; k < classes; k++)
        for (let j = 0; j < n; j++) result[b * n + j]! += error[b * classes + k]! * matrix[k * n + j]!;
    return result;
  };
  const gradients: { weight: Float64Array; bias: Float64Array }[] = [];
  const top = { weight: new Float64Array(classes * flat), bias: new Float64Array(classes) };
  for (let b = 0; b < batch; b++)
    for (let k = 0; k < classes; k++) {
      const e = error[b * classes + k]!;
      top.bias[k]! += e;
      for (let j = 0; j < flat; j++) top.weight[k * flat + j]! += e * h[2]![b * flat + j]!;
    }
  gradients[2] = top;
  let g = rule === 'dfa' ? null : down(rule === 'fa' ? feedback[2]! : weight[2]!);
  for (const l of [1, 0]) {
    const arriving = g ?? down(feedback[l]!);
    const delta = arriving.map((value, i) => value * slope[activations[l]!](h[l + 1]![i]!));
    const own = naive(geometries[l]!, map, { x: h[l]!, weight: weight[l]!, bias: null, delta });
    gradients[l] = { weight: own.outer, bias: own.biasSums };
    if (rule === 'bp') g = own.adjoint;
    if (rule === 'fa' && l > 0)
      g = naive(geometries[l]!, map, { x: h[l]!, weight: feedback[l]!, bias: null, delta }).adjoint;
  }
  return { loss, gradients };
}

/** The gradients that the native functions give. */
function native(map: MapName, rule: GradientRuleName, parameters: Parameters) {
  return scope(() => {
    const geometries = [lower, upper];
    const shapes = [...geometries.map((g) => shapesOf(g, map)), { weight: [classes, flat], bias: [classes] }];
    const leaf = (data: Float32Array, shape: number[]): Tensor => {
      const tensor = Tensor.from(data, shape);
      tensor.requiresGrad = true;
      return tensor;
    };
    const weights = shapes.map(({ weight }, l) => leaf(parameters.weight[l]!, weight));
    const biases = shapes.map(({ bias }, l) => leaf(parameters.bias[l]!, bias));
    const errorPorts: Tensor[] = [];
    let h = Tensor.from(x, shapesOf(lower, map).x);
    geometries.forEach((g, l) => {
      const { stride, padding, dilation } = g;
      const options = {
        weight: weights[l]!,
        bias: biases[l]!,
        activation: activations[l]!,
        map: { type: map, stride, padding, dilation },
      };
      const data = parameters.feedback[l] ?? null;
      if (rule === 'dfa') {
        const feedback = Tensor.from(data!, [classes, data!.length / classes]);
        const hidden = dfaHiddenLayer(h, { ...options, feedback });
        h = hidden.y;
        errorPorts.push(hidden.errorPort);
      } else {
        const feedback = data && Tensor.from(data, shapes[l]!.weight);
        h = layer(h, { ...options, rule, feedback });
      }
    });
    const top = { weight: weights[2]!, bias: biases[2]! };
    h = h.reshape([batch, flat]);
    const b = parameters.feedback[2] ?? null;
    h =
      rule === 'dfa'
        ? dfaOutputLayer(h, { ...top, errorPorts })
        : layer(h, { ...top, rule, feedback: b && Tensor.from(b, [classes, flat]) });
    const loss = softmaxCrossEntropy(h, Tensor.from(BigInt64Array.from(labels, BigInt)));
    loss.backward();
    return {
      loss: loss.item(),
      gradients: weights.map((weight, l) => ({
        weight: weight.grad!.data() as Float32Array,
        bias: biases[l]!.grad!.data() as Float32Array,
      })),
    };
  });
}

const maps = ['locally-connected2d', 'conv2d'] as const;

t.test('every rule over every map against the float64 reference', async (t) => {
  for (const map of maps) {
    for (const rule of ['bp', 'fa', 'dfa'] as const) {
      const parameters = parametersOf(map, rule);
      const want = reference(map, rule, parameters);
      const got = native(map, rule, parameters);
      t.ok(Math.abs(got.loss - want.loss) < 1e-5 * want.loss, `${map}, ${rule}: loss`);
      for (const [l, gradient] of want.gradients.entries()) {
        for (const what of ['weight', 'bias'] as const) {
          const error = relativeError(got.gradients[l]![what], gradient[what]);
          t.ok(error < 2e-6, `${map}, ${rule}: ${what} ${l}: ${error}`);
          t.ok(Math.max(...gradient[what].map(Math.abs)) > 1e-3, `${map}, ${rule}: ${what} ${l} is not zero`);
        }
      }
    }
  }
});

t.test('FA with B = W gives BP’s gradients bit for bit', async (t) => {
  for (const map of maps) {
    const parameters = parametersOf(map, 'bp');
    const { weight } = parameters;
    const bp = native(map, 'bp', parameters);
    const fa = native(map, 'fa', { ...parameters, feedback: [null, weight[1]!, weight[2]!] });
    for (const [l, gradient] of bp.gradients.entries()) {
      for (const what of ['weight', 'bias'] as const) {
        t.ok(sameBits(fa.gradients[l]![what], gradient[what]), `${map}: ${what} ${l}`);
      }
    }
  }
});

t.test('the hidden gradients of FA and DFA are not BP’s; the last layer’s are', async (t) => {
  for (const map of maps) {
    const bp = native(map, 'bp', parametersOf(map, 'bp')).gradients;
    for (const rule of ['fa', 'dfa'] as const) {
      const other = native(map, rule, parametersOf(map, rule)).gradients;
      t.ok(sameBits(other[2]!.weight, bp[2]!.weight), `${map}, ${rule}: last layer`);
      for (const l of [0, 1]) {
        const error = relativeError(other[l]!.weight, bp[l]!.weight);
        t.ok(error > 0.003, `${map}, ${rule}: layer ${l} differs by ${error}`);
      }
    }
  }
});

t.test('differentiating FA twice is refused; BP can be', async (t) => {
  for (const map of maps) {
    scope(() => {
      const { weight } = parametersOf(map, 'bp');
      const { stride, padding, dilation } = lower;
      const w = Tensor.from(weight[0]!, shapesOf(lower, map).weight);
      w.requiresGrad = true;
      const of = (rule: 'bp' | 'fa'): Tensor =>
        layer(Tensor.from(x, shapesOf(lower, map).x), {
          weight: w,
          activation: 'tanh',
          rule,
          map: { type: map, stride, padding, dilation },
        }).sum();
      t.throws(() => of('fa').backward({ createGraph: true }), { message: /cannot be differentiated twice/ });
      t.doesNotThrow(() => of('bp').backward({ createGraph: true }));
      w.grad!.mul(w.grad!).sum().backward();
      t.ok(w.grad!.data().every((value) => Number.isFinite(value)));
    });
  }
});
