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
import { sigma, slope } from '../support/activations.js';
import { agrees, differs } from '../support/compare.js';
import { crossEntropy } from '../support/losses.js';
import { count, naive, naiveDense, outputSize, shapesOf, type Geometry, type MapName } from '../support/maps.js';
import { randomArray, sameBits, type Numbers } from '../support/numbers.js';
import { leaf } from '../support/tensors.js';

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
  const top = (matrix: Numbers, delta: Numbers) =>
    naiveDense(batch, { x: h[2]!, weight: matrix, bias: bias[2]!, delta });
  const { loss, error } = crossEntropy(top(weight[2]!, []).apply, labels);
  /** e times a matrix [classes, n]. */
  const down = (matrix: Numbers): Float64Array => {
    const x = new Float64Array((batch * matrix.length) / classes);
    return naiveDense(batch, { x, weight: matrix, bias: null, delta: error }).adjoint;
  };
  const { outer, biasSums } = top(weight[2]!, error);
  const gradients: { weight: Float64Array; bias: Float64Array }[] = [];
  gradients[2] = { weight: outer, bias: biasSums };
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
    const weights = shapes.map(({ weight }, l) => leaf(Tensor.from(parameters.weight[l]!, weight)));
    const biases = shapes.map(({ bias }, l) => leaf(Tensor.from(parameters.bias[l]!, bias)));
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
          agrees(t, got.gradients[l]![what], gradient[what], 2e-6, `${map}, ${rule}: ${what} ${l}`);
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
        differs(t, other[l]!.weight, bp[l]!.weight, 0.003, `${map}, ${rule}: layer ${l} differs`);
      }
    }
  }
});

t.test('differentiating FA twice is refused; BP can be', async (t) => {
  for (const map of maps) {
    scope(() => {
      const { weight } = parametersOf(map, 'bp');
      const { stride, padding, dilation } = lower;
      const w = leaf(Tensor.from(weight[0]!, shapesOf(lower, map).weight));
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
