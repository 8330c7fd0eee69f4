/** The layers of target propagation as functions of tensors, and the reference that all its tests stand on. */
import t from 'tap';
import {
  layer,
  network,
  scope,
  softmaxCrossEntropy,
  squaredError,
  targetLayer,
  targetOutputLayer,
  Tensor,
  type LayerMap,
} from '../../lib/index.js';
import { isMap, type ResolvedMap } from '../../lib/model/layers.js';
import type { ResolvedSpec } from '../../lib/model/spec.js';
import { agrees, differs } from '../support/compare.js';
import { count } from '../support/maps.js';
import { randomArray, rows, type Numbers } from '../support/numbers.js';
import { gradients as reference } from '../support/reference.js';
import { targetReference, targetRules, type Settings } from '../support/target-reference.js';
import { leaf } from '../support/tensors.js';

const batch = 5;
const classes = 4;
const auxiliary = 7;
const labels = Array.from({ length: batch }, (_, b) => (b * 3) % classes);

/** Rectangles everywhere, activations that differ, and every order of maps. */
const hidden = {
  dense: network({ features: 9 })
    .dense(8, { activation: 'tanh' })
    .dense(7, { activation: 'sigmoid' })
    .dense(6, { activation: 'tanh' }),
  'locally connected': network({ channels: 2, height: 7, width: 5 })
    .locallyConnected2d(3, { kernel: [3, 2], stride: [2, 1], padding: [1, 0], activation: 'tanh' })
    .locallyConnected2d(4, { kernel: [2, 3], dilation: [2, 1], padding: [1, 1], activation: 'sigmoid' })
    .flatten()
    .dense(6, { activation: 'tanh' }),
  conv2d: network({ channels: 2, height: 7, width: 5 })
    .conv2d(3, { kernel: [3, 2], stride: [2, 1], padding: [1, 0], activation: 'tanh' })
    .conv2d(4, { kernel: [2, 3], dilation: [2, 1], padding: [1, 1], activation: 'sigmoid', bias: false })
    .flatten()
    .dense(6, { activation: 'tanh' }),
  mixed: network({ channels: 2, height: 6, width: 5 })
    .conv2d(4, { kernel: [3, 2], padding: [1, 0], activation: 'tanh' })
    .locallyConnected2d(3, { kernel: [2, 3], stride: [2, 1], activation: 'relu' })
    .conv2d(3, { kernel: [1, 2], activation: 'tanh' })
    .flatten(),
};
const names = Object.keys(hidden) as (keyof typeof hidden)[];
const specOf = (
  name: keyof typeof hidden,
  loss: 'softmax-cross-entropy' | 'squared-error' = 'softmax-cross-entropy',
) =>
  loss === 'squared-error'
    ? hidden[name].dense(classes, { activation: 'tanh' }).squaredError()
    : hidden[name].dense(classes).softmaxCrossEntropy();

interface Shaped {
  readonly shape: readonly number[];
  readonly data: Float64Array;
}

/** Parameters at random, inverses of all layers and auxiliary outputs among them. */
function parametersOf(spec: ResolvedSpec, rule: Settings['rule']): Map<string, Shaped> {
  const { layers } = targetReference(spec, batch, { rule });
  const result = new Map<string, Shaped>();
  const add = (name: string, shape: readonly number[]): void => {
    const data = Float64Array.from(randomArray(count(shape), 100 + result.size, 0.5));
    result.set(name, { shape, data });
  };
  spec.layers.filter(isMap).forEach((layer, i) => {
    const { inputShape, shape, prefix } = layers[i]!;
    const [inputs, outputs] = [inputShape[0]!, shape[0]!];
    const of = (units: number): number[] => {
      if (layer.type === 'dense') return [units, inputs];
      return layer.type === 'conv2d'
        ? [outputs, inputs, ...layer.kernel]
        : [...shape.slice(1), ...layer.kernel, inputs, outputs];
    };
    add(`${prefix}.weight`, of(outputs));
    if (layer.bias)
      add(`${prefix}.bias`, layer.type === 'locally-connected2d' ? [...shape.slice(1), outputs] : [outputs]);
    if (i === 0) return;
    const extra = rule === 'ao-sdtp' && i === layers.length - 1 ? auxiliary : 0;
    add(`inverses.${i}.weight`, of(outputs + extra));
    add(`inverses.${i}.bias`, inputShape);
    if (extra > 0) {
      add('auxiliary.weight', [auxiliary, inputs]);
      add('auxiliary.bias', [auxiliary]);
    }
  });
  return result;
}

const valuesOf = (p: ReadonlyMap<string, Shaped>): Map<string, Float64Array> =>
  new Map([...p].map(([name, { data }]) => [name, data]));

const imagesOf = (spec: ResolvedSpec): Float64Array => Float64Array.from(randomArray(batch * count(spec.input), 7));

// --- the reference ---------------------------------------------------------------------------------------------

t.test('the reference: each gradient is the difference quotient of its own loss', async (t) => {
  const h = 1e-5;
  const quotient = (values: Float64Array, i: number, loss: () => number): number => {
    const value = values[i]!;
    values[i] = value + h;
    const above = loss();
    values[i] = value - h;
    const below = loss();
    values[i] = value;
    return (above - below) / (2 * h);
  };
  for (const name of names) {
    for (const [rule, lossReduction, inverseLoss] of [
      ['tp', 'sum', 'noise-preserving'],
      ['dtp', 'mean', 'de-noising'],
      ['sdtp', 'mean', 'noise-preserving'],
      ['ao-sdtp', 'sum', 'de-noising'],
    ] as const) {
      for (const loss of ['softmax-cross-entropy', 'squared-error'] as const) {
        const spec = specOf(name, loss);
        const net = targetReference(spec, batch, { rule, lossReduction, inverseLoss });
        const p = valuesOf(parametersOf(spec, rule));
        const x = imagesOf(spec);
        const { h: activities, targets, gradients } = net.forward(p, x, labels);
        const noise = net.noiseOf((i, many) => randomArray(many, i, 0.5));
        const inverse = net.inverse(p, x, noise);
        const L = net.layers.length;
        const expected = [...p.keys()].filter(
          (key) => !key.startsWith('aux') && !(rule === 'dtp' && key.startsWith(`inverses.${L - 1}`)),
        );
        t.strictSame([...gradients.keys(), ...inverse.gradients.keys()].sort(), expected.sort());
        for (const key of expected) {
          const l = Number(/\d+/.exec(key)![0]) + 1;
          const found = (gradients.get(key) ?? inverse.gradients.get(key))!;
          const of = (): number => {
            if (key.startsWith('inverses')) return net.inverse(p, x, noise).loss;
            if (l === L) return net.forward(p, x, labels).loss;
            return net.localLoss(l, p, activities[l - 1]!, targets[l]!);
          };
          // Some of each, spread over the tensor.
          for (const part of [0, 0.37, 0.81]) {
            const i = Math.floor(part * found.length);
            const wanted = quotient(p.get(key)!, i, of);
            // A loss near 1 is rounded to 1e-16, and its quotient by 2h to 1e-11: below 0.01 that is what counts.
            const error = Math.abs(found[i]! - wanted) / Math.max(1e-2, Math.abs(wanted));
            if (!(error <= 1e-6)) t.fail(`${name}, ${rule}, ${loss}, ${key}[${i}]: ${found[i]} ≠ ${wanted}`);
          }
        }
      }
    }
  }
});

t.test('the reference: its bp is that of the other tests, and A.5.6 holds in it', async (t) => {
  const dense = specOf('dense');
  const p = valuesOf(parametersOf(dense, 'bp'));
  const bp = targetReference(dense, batch, { rule: 'bp' }).forward(p, imagesOf(dense), labels);
  const layers = dense.layers.filter(isMap).map(({ activation }, i) => {
    const weight = p.get(`layers.${i}.weight`)!;
    const bias = [...p.get(`layers.${i}.bias`)!];
    return { weight: rows(weight, weight.length / bias.length), bias, feedback: null, activation };
  });
  const want = reference(layers, 'bp', rows(imagesOf(dense), 9), labels);
  t.ok(Math.abs(bp.loss - want.loss) < 1e-12);
  want.gradients.forEach(({ weight, bias }, i) => {
    agrees(t, bp.gradients.get(`layers.${i}.weight`)!, weight.flat(), 1e-12, `weight ${i}`);
    agrees(t, bp.gradients.get(`layers.${i}.bias`)!, bias, 1e-12, `bias ${i}`);
  });

  for (const name of names) {
    const spec = specOf(name);
    const values = valuesOf(parametersOf(spec, 'dtp'));
    const of = (settings: Settings): Map<string, Float64Array> =>
      targetReference(spec, batch, settings).forward(values, imagesOf(spec), labels).gradients;
    const tp = of({ rule: 'dtp', targetStep: 1, transposedJacobian: true });
    const last = `layers.${spec.layers.filter(isMap).length - 1}`;
    for (const [key, gradient] of of({ rule: 'bp' })) {
      const factor = key.startsWith(last) ? 1 : 2;
      agrees(
        t,
        tp.get(key)!,
        gradient.map((value) => factor * value),
        1e-12,
        `${name}, ${key}`,
      );
    }
  }
});

// --- the functions ---------------------------------------------------------------------------------------------

type DType = 'float32' | 'float64';

const tensorOf = ({ shape, data }: Shaped, dtype: DType): Tensor =>
  Tensor.from(dtype === 'float64' ? data : Float32Array.from(data), shape);

const leafOf = (value: Shaped, dtype: DType): Tensor => leaf(tensorOf(value, dtype));

const mapOf = (spec: ResolvedMap): LayerMap => {
  if (spec.type === 'dense') return { type: 'dense' };
  const { type, stride, padding, dilation } = spec;
  return { type, stride, padding, dilation };
};

type Way = Settings['rule'] | 'transposed-jacobian';

/** Layer i of a network, from leaves that it adds to `leaves`; `below` is the activation of the layer under it. */
function nativeLayer(
  x: Tensor,
  spec: ResolvedSpec,
  i: number,
  way: Way,
  p: ReadonlyMap<string, Shaped>,
  settings: Omit<Settings, 'rule'>,
  dtype: DType,
  leaves: Map<string, Tensor>,
): Tensor {
  const layers = spec.layers.filter(isMap);
  const map = layers[i]!;
  const { prefix, inputShape } = targetReference(spec, batch, { rule: 'bp' }).layers[i]!;
  const own = (name: string): Tensor | null => {
    const value = p.get(name);
    if (value === undefined) return null;
    const tensor = leafOf(value, dtype);
    leaves.set(name, tensor);
    return tensor;
  };
  const input = x.shape.length === inputShape.length + 1 ? x : x.reshape([batch, ...inputShape]);
  const options = {
    weight: own(`${prefix}.weight`)!,
    bias: own(`${prefix}.bias`),
    activation: map.activation,
    map: mapOf(map),
  };
  if (way === 'bp') return layer(input, { ...options, rule: 'bp' });
  const rule = way === 'transposed-jacobian' ? 'dtp' : way;
  const last = i === layers.length - 1;
  const learned =
    i === 0 || (last && rule === 'dtp')
      ? undefined
      : {
          weight: tensorOf(p.get(`inverses.${i}.weight`)!, dtype),
          bias: tensorOf(p.get(`inverses.${i}.bias`)!, dtype),
          activation: layers[i - 1]!.activation,
        };
  if (!last) {
    const inverse = way === 'transposed-jacobian' ? way : learned;
    const { lossReduction = 'sum' } = settings;
    return targetLayer(input, { ...options, rule, lossReduction, ...(inverse && { inverse }) });
  }
  const { targetStep = 0.1, targetStepLoss = 'example' } = settings;
  return targetOutputLayer(input, {
    ...options,
    rule,
    loss: spec.loss === 'squared-error' ? spec.loss : 'softmax-cross-entropy',
    ...(rule === 'dtp' && { targetStep, targetStepLoss }),
    ...(learned && { inverse: learned }),
    ...(rule === 'ao-sdtp' && {
      auxiliary: {
        weight: tensorOf(p.get('auxiliary.weight')!, dtype),
        bias: tensorOf(p.get('auxiliary.bias')!, dtype),
      },
    }),
  });
}

const gradientsOf = (leaves: ReadonlyMap<string, Tensor>): Map<string, Numbers> =>
  new Map([...leaves].map(([name, tensor]) => [name, tensor.grad!.data() as Float64Array]));

const settingsOf: readonly Omit<Settings, 'rule'>[] = [
  { lossReduction: 'sum', targetStep: 0.3 },
  { lossReduction: 'mean', targetStep: 0.2, targetStepLoss: 'batch-mean' },
];

t.test('each layer alone, in float64: its gradients and the d that it hands down', async (t) => {
  for (const name of names) {
    for (const loss of ['softmax-cross-entropy', 'squared-error'] as const) {
      const spec = specOf(name, loss);
      for (const rule of targetRules) {
        for (const settings of settingsOf) {
          const p = parametersOf(spec, rule);
          const net = targetReference(spec, batch, { ...settings, rule });
          const want = net.forward(valuesOf(p), imagesOf(spec), labels);
          const L = net.layers.length;
          const aim = want.o.length;
          const topDifference = Float64Array.from(
            { length: aim },
            (_, i) => want.o[i]! - (labels[Math.floor(i / classes)] === i % classes ? 1 : 0),
          );
          const d = (l: number): Numbers =>
            l === L ? topDifference : Float64Array.from(want.h[l]!, (value, i) => value - want.targets[l]![i]!);
          for (let l = 1; l <= L; l++) {
            const what = `${name}, ${loss}, ${rule}, ${settings.lossReduction}, layer ${l}`;
            scope(() => {
              const { inputShape, shape } = net.layers[l - 1]!;
              const below = { shape: [batch, ...inputShape], data: Float64Array.from(want.h[l - 1]!) };
              // Nothing goes down to the input, which has no inverse.
              const x = l === 1 ? tensorOf(below, 'float64') : leafOf(below, 'float64');
              const leaves = new Map<string, Tensor>();
              const y = nativeLayer(x, spec, l - 1, rule, p, settings, 'float64', leaves);
              agrees(t, y.data() as Float64Array, want.h[l]!, 1e-12, `${what}: y`);
              y.backward({ gradient: Tensor.from(Float64Array.from(d(l)), [batch, ...shape]) });
              for (const [key, gradient] of gradientsOf(leaves)) {
                agrees(t, gradient, want.gradients.get(key)!, 1e-12, `${what}: ${key}`);
              }
              if (l === 1) return;
              agrees(t, x.grad!.data() as Float64Array, d(l - 1), 1e-11, `${what}: d`);
            });
          }
        }
      }
    }
  }
});

/** One sweep through a whole network in float32. */
function sweep(
  spec: ResolvedSpec,
  way: Way,
  p: ReadonlyMap<string, Shaped>,
  settings: Omit<Settings, 'rule'>,
): { loss: number; gradients: Map<string, Numbers> } {
  return scope(() => {
    const leaves = new Map<string, Tensor>();
    let h = Tensor.from(Float32Array.from(imagesOf(spec)), [batch, ...spec.input]);
    spec.layers.filter(isMap).forEach((_, i) => {
      h = nativeLayer(h, spec, i, way, p, settings, 'float32', leaves);
    });
    const value = lossOf(spec, h, way !== 'bp');
    value.backward();
    return { loss: value.item(), gradients: gradientsOf(leaves) };
  });
}

function lossOf(spec: ResolvedSpec, outputs: Tensor, difference: boolean): Tensor {
  const targets = Tensor.from(BigInt64Array.from(labels, BigInt));
  const head = spec.loss === 'squared-error' ? squaredError : softmaxCrossEntropy;
  return difference ? head(outputs, targets, { deliver: 'difference' }) : head(outputs, targets);
}

t.test('a loss on another shape of the last layer’s outputs delivers a difference there', (t) => {
  // Outputs lie location by location, [height, width, batch, channels]. Each shape is all that one node's name is for.
  const shapes = {
    'a view, where they are contiguous (ViewBackward0)': [classes, 1, 1],
    'an alias, where their strides allow for it (ReshapeAliasBackward0)': [1, 2, 2],
    'a view of a copy (UnsafeViewBackward0 of CloneBackward0)': [2, 1, 2],
  } as const;
  const map = { type: 'locally-connected2d' } as const;
  const target = Tensor.from(BigInt64Array.from(labels, BigInt));
  for (const [what, [channels, height, width]] of Object.entries(shapes)) {
    const inputShape = [batch, 3, height, width];
    const weightShape = [height, width, 1, 1, 3, channels];
    const x = leafOf({ shape: inputShape, data: Float64Array.from(randomArray(count(inputShape), 3)) }, 'float32');
    const weight = leafOf(
      { shape: weightShape, data: Float64Array.from(randomArray(count(weightShape), 4)) },
      'float32',
    );
    const gradients = (): Numbers[] => {
      const both = [weight, x].map((leaf) => Float64Array.from(leaf.grad!.data(), Number));
      for (const leaf of [weight, x]) leaf.clearGrad();
      return both;
    };
    softmaxCrossEntropy(layer(x, { weight, map, rule: 'bp' }).reshape([batch, classes]), target).backward();
    const [ofWeight, down] = gradients();
    const outputs = targetOutputLayer(x, { weight, map, rule: 'dtp', targetStep: 0.3 }).reshape([batch, classes]);
    for (const head of [softmaxCrossEntropy, squaredError]) {
      t.throws(() => head(outputs, target), { message: /has to hand down differences/ }, what);
    }
    softmaxCrossEntropy(outputs, target, { deliver: 'difference' }).backward();
    const got = gradients();
    agrees(t, got[0]!, ofWeight!, 1e-5, `${what}: the weights’ gradient is that of the mean loss`);
    const step = Float64Array.from(down!, (value) => 0.3 * batch * value);
    agrees(t, got[1]!, step, 1e-5, `${what}: what goes down is a step on an example’s loss`);
  }
  t.end();
});

// With steps so large that differences of float32 activities keep their digits.
t.test('whole networks in one sweep, from the loss down', async (t) => {
  for (const name of names) {
    for (const loss of ['softmax-cross-entropy', 'squared-error'] as const) {
      const spec = specOf(name, loss);
      for (const rule of targetRules) {
        for (const settings of settingsOf.map((one, i) => ({ ...one, targetStep: [2, 20][i]! }))) {
          const p = parametersOf(spec, rule);
          const want = targetReference(spec, batch, { ...settings, rule }).forward(valuesOf(p), imagesOf(spec), labels);
          const got = sweep(spec, rule, p, settings);
          t.ok(Math.abs(got.loss - want.loss) < 1e-6 * want.loss, `${name}, ${loss}, ${rule}: loss`);
          t.equal(got.gradients.size, want.gradients.size);
          for (const [key, gradient] of want.gradients) {
            agrees(
              t,
              got.gradients.get(key)!,
              gradient,
              1e-5,
              `${name}, ${loss}, ${rule}, ${settings.lossReduction}, ${key}`,
            );
          }
        }
      }
    }
  }
});

t.test('A.5.6: with transposed Jacobians for inverses the local step is backpropagation’s', async (t) => {
  for (const name of names) {
    const spec = specOf(name);
    const p = parametersOf(spec, 'dtp');
    const last = spec.layers.filter(isMap).length - 1;

    // Hidden layers in float64: d at the top of them, and the gradient 2 d / batch.
    const { shape } = targetReference(spec, batch, { rule: 'bp' }).layers[last - 1]!;
    const d = Float64Array.from(randomArray(batch * count(shape), 9));
    const run = (way: 'bp' | 'transposed-jacobian') =>
      scope(() => {
        const leaves = new Map<string, Tensor>();
        const x = leafOf({ shape: [batch, ...spec.input], data: imagesOf(spec) }, 'float64');
        let h = x;
        for (let i = 0; i < last; i++) h = nativeLayer(h, spec, i, way, p, {}, 'float64', leaves);
        const factor = way === 'bp' ? 2 / batch : 1;
        h.backward({
          gradient: Tensor.from(
            d.map((value) => factor * value),
            [batch, ...shape],
          ),
        });
        return { gradients: gradientsOf(leaves), down: Float64Array.from(x.grad!.data(), Number) };
      });
    const [bp, tp] = [run('bp'), run('transposed-jacobian')];
    for (const [key, gradient] of bp.gradients) {
      agrees(t, tp.gradients.get(key)!, gradient, 1e-12, `${name}, ${key}`);
    }
    agrees(
      t,
      tp.down,
      bp.down.map((value) => (value * batch) / 2),
      1e-12,
      `${name}, what reaches the input`,
    );

    // And a whole network, α = 1, from the loss: hidden layers have twice the gradient, as the local loss is not
    // halved.
    for (const loss of ['softmax-cross-entropy', 'squared-error'] as const) {
      const whole = specOf(name, loss);
      const want = sweep(whole, 'bp', p, {}).gradients;
      const got = sweep(whole, 'transposed-jacobian', p, { targetStep: 1 }).gradients;
      t.equal(got.size, want.size);
      for (const [key, gradient] of want) {
        const factor = key.startsWith(`layers.${last}.`) ? 1 : 2;
        agrees(
          t,
          Array.from(got.get(key)!).map((value) => value / factor),
          gradient,
          1e-5,
          `${name}, ${loss}, ${key}`,
        );
      }
    }
  }
});

t.test('tp through transposed Jacobians: ĥ of the layer below is Jᵀ ĥ', async (t) => {
  const spec = specOf('dense');
  const p = parametersOf(spec, 'tp');
  const values = (name: string) => p.get(name)!;
  scope(() => {
    const x = { shape: [batch, 8], data: Float64Array.from(randomArray(batch * 8, 5)) };
    const d = Float64Array.from(randomArray(batch * 7, 6));
    const options = { activation: 'sigmoid', bias: tensorOf(values('layers.1.bias'), 'float64') } as const;
    const weight = (): Tensor => leafOf(values('layers.1.weight'), 'float64');
    const below = leafOf(x, 'float64');
    const y = targetLayer(below, { ...options, weight: weight(), rule: 'tp', inverse: 'transposed-jacobian' });
    y.backward({ gradient: Tensor.from(d, [batch, 7]) });
    // bp sends Jᵀ v down for any v: here ĥ = h − d.
    const other = leafOf(x, 'float64');
    const h = layer(other, { ...options, weight: weight(), rule: 'bp' });
    const target = (h.data() as Float64Array).map((value, i) => value - d[i]!);
    h.backward({ gradient: Tensor.from(target, [batch, 7]) });
    const wanted = Float64Array.from(x.data, (value, i) => value - Number(other.grad!.data()[i]));
    agrees(t, below.grad!.data() as Float64Array, wanted, 1e-12, 'h − ĥ');
  });
});

t.test('a small difference keeps its digits on its way through an inverse', async (t) => {
  // g(h) − g(h − d) of a d near the last digits of h: subtracted as it stands there would be little left of it.
  const spec = specOf('dense');
  for (const [i, activation] of (['tanh', 'sigmoid', 'relu', 'identity'] as const).entries()) {
    const p = parametersOf(spec, 'dtp');
    const at = (dtype: 'float32' | 'float64') =>
      scope(() => {
        const x = leafOf({ shape: [batch, 8], data: Float64Array.from(randomArray(batch * 8, 5 + i)) }, dtype);
        const value = (name: string): Tensor => tensorOf(p.get(name)!, dtype);
        const y = targetLayer(x, {
          weight: leafOf(p.get('layers.1.weight')!, dtype),
          activation: 'tanh',
          rule: 'dtp',
          inverse: { weight: value('inverses.1.weight'), bias: value('inverses.1.bias'), activation },
        });
        const d = Float64Array.from(randomArray(batch * 7, 6)).map((value) => value * 1e-5);
        y.backward({ gradient: tensorOf({ shape: [batch, 7], data: d }, dtype) });
        return Array.from(x.grad!.data(), Number);
      });
    agrees(t, at('float32'), at('float64'), 1e-4, activation);
  }
});

t.test('on its way down no rule but dtp sees the last layer’s weights', async (t) => {
  const p = parametersOf(specOf('dense'), 'ao-sdtp');
  const inputs = 6;
  // Inputs that all have a zero in one place, where the weights are then changed: the outputs stay as they are.
  const x = { shape: [batch, inputs], data: Float64Array.from(randomArray(batch * inputs, 3)) };
  for (let b = 0; b < batch; b++) x.data[b * inputs + 2] = 0;
  const weight = p.get('layers.3.weight')!;
  const changed = { ...weight, data: weight.data.map((w, i) => (i % inputs === 2 ? -3 * w : w)) };
  const spec = specOf('dense');
  for (const rule of targetRules) {
    const parameters = parametersOf(spec, rule);
    const [one, other] = [weight, changed].map((value) =>
      scope(() => {
        const input = leafOf(x, 'float32');
        const y = nativeLayer(
          input,
          spec,
          3,
          rule,
          new Map([...parameters, ['layers.3.weight', value]]),
          {},
          'float32',
          new Map(),
        );
        lossOf(spec, y, true).backward();
        return { outputs: y.data() as Float32Array, down: input.grad!.data() as Float32Array };
      }),
    );
    t.strictSame(one!.outputs, other!.outputs);
    t.ok(one!.down.some((value) => value !== 0));
    if (rule === 'dtp') differs(t, other!.down, one!.down, 0.1, 'dtp does');
    else t.strictSame(one!.down, other!.down, rule);
  }
});

t.test('what target propagation cannot do is refused', async (t) => {
  const spec = specOf('dense');
  for (const rule of targetRules) {
    const p = parametersOf(spec, rule);
    const outputs = (): Tensor => {
      let h = Tensor.from(Float32Array.from(imagesOf(spec)), [batch, 9]);
      for (let i = 0; i < 4; i++) h = nativeLayer(h, spec, i, rule, p, {}, 'float32', new Map());
      return h;
    };
    scope(() => {
      t.doesNotThrow(() => lossOf(spec, outputs(), true).backward());
      t.throws(
        () => lossOf(spec, outputs(), true).mul(2).backward(),
        { code: 'ERR_NATIVE', message: /scal|multipl/ },
        `${rule}: a scaled loss`,
      );
      t.throws(
        () => lossOf(spec, outputs(), true).div(batch).backward(),
        { code: 'ERR_NATIVE', message: /scal|multipl/ },
        `${rule}: a divided loss`,
      );
      t.throws(
        () => lossOf(spec, outputs(), true).backward({ createGraph: true }),
        { code: 'ERR_NATIVE', message: /differentiated twice/ },
        `${rule}: twice`,
      );
    });
    scope(() => {
      const value = (name: string): Tensor => leafOf(p.get(name)!, 'float32');
      const options = {
        weight: value('layers.1.weight'),
        bias: value('layers.1.bias'),
        activation: 'tanh',
        rule,
      } as const;
      const x = Tensor.from(randomArray(batch * 8, 5), [batch, 8]);
      t.doesNotThrow(() => targetLayer(x, options).sum().backward(), 'nothing below is trained: no inverse is needed');
      x.requiresGrad = true;
      t.throws(() => targetLayer(x, options).sum().backward(), { message: /inverse/ }, `${rule}: no inverse`);
      t.throws(
        () =>
          targetLayer(x, {
            ...options,
            inverse: {
              weight: Tensor.full([8, 7], 1), // transposed
              bias: Tensor.full([8], 0),
              activation: 'tanh',
            },
          })
            .sum()
            .backward(),
        { message: /\[7, 8\]/ },
      );
      const inverse = { weight: Tensor.full([7, 8], 1), bias: Tensor.full([8], 0), activation: 'tanh' } as const;
      for (const shape of [[7], [1], [9]]) {
        const wrong = { ...inverse, bias: Tensor.full(shape, 0) };
        t.throws(
          () => targetLayer(x, { ...options, inverse: wrong }),
          { message: /the inverse's bias/ },
          `bias ${shape.join()}`,
        );
      }
      t.throws(
        () =>
          targetLayer(x, { ...options, inverse })
            .sum()
            .backward({ createGraph: true }),
        { message: /differentiated twice/ },
        `${rule}: a hidden layer, twice`,
      );
    });
  }
});
