import t from 'tap';
import {
  dfaHiddenLayer,
  dfaOutputLayer,
  layer,
  Network,
  scope,
  softmaxCrossEntropy,
  squaredError,
  Tensor,
  Trainer,
  Dataset,
  type NetworkSpec,
  type GradientRuleName,
  type StateDict,
} from '../../lib/index.js';
import { agrees, differs } from '../support/compare.js';
import { randomArray, rows, sameBits } from '../support/numbers.js';
import { gradients, type ReferenceLayer } from '../support/reference.js';
import { leaf } from '../support/tensors.js';

const sizes = [23, 18, 40, 7] as const; // no multiple of 16
const activations = ['tanh', 'relu', 'identity'] as const;
const batch = 13;

function layersOf(rule: GradientRuleName, bias: boolean): ReferenceLayer[] {
  return activations.map((activation, l) => {
    const [inputs, outputs] = [sizes[l]!, sizes[l + 1]!];
    const feedback =
      rule === 'fa' && l > 0
        ? rows(randomArray(outputs * inputs, 50 + l, 0.4), inputs)
        : rule === 'dfa' && l < 2
          ? rows(randomArray(7 * outputs, 50 + l, 0.4), outputs)
          : null;
    return {
      weight: rows(randomArray(outputs * inputs, 10 + l, 0.4), inputs),
      bias: bias ? [...randomArray(outputs, 20 + l, 0.4)] : null,
      feedback,
      activation,
    };
  });
}

/** The gradients that the native functions give. */
function nativeGradients(
  layers: ReferenceLayer[],
  rule: GradientRuleName,
  x: number[][],
  labels: number[],
  loss: 'softmax-cross-entropy' | 'squared-error',
  createGraph = false,
): { loss: number; weight: Float32Array[]; bias: (Float32Array | null)[] } {
  return scope(() => {
    const parameters = layers.map((l) => ({
      weight: leaf(Tensor.from(l.weight)),
      bias: l.bias === null ? null : leaf(Tensor.from(l.bias)),
      feedback: l.feedback === null ? null : Tensor.from(l.feedback),
    }));
    let h = Tensor.from(x);
    const errorPorts: Tensor[] = [];
    layers.forEach((l, i) => {
      const { weight, bias, feedback } = parameters[i]!;
      const options = { weight, bias, activation: l.activation };
      if (rule !== 'dfa') {
        h = layer(h, { ...options, rule, feedback });
      } else if (i < layers.length - 1) {
        const hidden = dfaHiddenLayer(h, { ...options, feedback: feedback! });
        h = hidden.y;
        errorPorts.push(hidden.errorPort);
      } else {
        h = dfaOutputLayer(h, { ...options, errorPorts });
      }
    });
    const targets = Tensor.from(BigInt64Array.from(labels, BigInt));
    const value = loss === 'squared-error' ? squaredError(h, targets) : softmaxCrossEntropy(h, targets);
    value.backward({ createGraph });
    return {
      loss: value.item(),
      weight: parameters.map((p) => p.weight.grad!.data() as Float32Array),
      bias: parameters.map((p) => (p.bias === null ? null : (p.bias.grad!.data() as Float32Array))),
    };
  });
}

const x = rows(randomArray(batch * sizes[0], 1), sizes[0]);
const labels = Array.from({ length: batch }, (_, b) => (b * 5) % 7);

t.test('every rule and loss against the float64 reference, with and without bias', async (t) => {
  for (const rule of ['bp', 'fa', 'dfa'] as const) {
    for (const loss of ['softmax-cross-entropy', 'squared-error'] as const) {
      for (const bias of [true, false]) {
        const layers = layersOf(rule, bias);
        const want = gradients(layers, rule, x, labels, loss);
        const got = nativeGradients(layers, rule, x, labels, loss);
        const name = `${rule}, ${loss}, ${bias ? 'bias' : 'no bias'}`;
        t.ok(Math.abs(got.loss - want.loss) < 1e-5 * want.loss, `${name}: loss`);
        layers.forEach((_, l) => {
          agrees(t, got.weight[l]!, want.gradients[l]!.weight.flat(), 1e-6, `${name}: weight ${l}`);
          if (bias) {
            agrees(t, got.bias[l]!, want.gradients[l]!.bias, 1e-6, `${name}: bias ${l}`);
          }
        });
      }
    }
  }
});

t.test('bp with createGraph: the same gradients, of which others can be taken', async (t) => {
  for (const loss of ['softmax-cross-entropy', 'squared-error'] as const) {
    for (const bias of [true, false]) {
      const layers = layersOf('bp', bias);
      const want = gradients(layers, 'bp', x, labels, loss);
      const got = nativeGradients(layers, 'bp', x, labels, loss, true);
      layers.forEach((_, l) => {
        agrees(t, got.weight[l]!, want.gradients[l]!.weight.flat(), 1e-6, `${loss}: weight ${l}`);
        if (bias) agrees(t, got.bias[l]!, want.gradients[l]!.bias, 1e-6, `${loss}: bias ${l}`);
      });
    }
  }
});

t.test('FA with B = W gives BP’s gradients bit for bit', async (t) => {
  const layers = layersOf('bp', true);
  const bp = nativeGradients(layers, 'bp', x, labels, 'softmax-cross-entropy');
  const aligned = layers.map((l, i) => ({ ...l, feedback: i === 0 ? null : l.weight }));
  const fa = nativeGradients(aligned, 'fa', x, labels, 'softmax-cross-entropy');
  layers.forEach((_, l) => {
    t.ok(sameBits(fa.weight[l]!, bp.weight[l]!), `weight ${l}`);
    t.ok(sameBits(fa.bias[l]!, bp.bias[l]!), `bias ${l}`);
  });
});

t.test('the hidden gradients of FA and DFA are neither BP’s nor zero; the last layer’s are BP’s', async (t) => {
  const bp = nativeGradients(layersOf('bp', true), 'bp', x, labels, 'softmax-cross-entropy');
  for (const rule of ['fa', 'dfa'] as const) {
    const other = nativeGradients(layersOf(rule, true), rule, x, labels, 'softmax-cross-entropy');
    t.ok(sameBits(other.weight[2]!, bp.weight[2]!), `${rule}: last layer`);
    for (const l of [0, 1]) {
      differs(t, other.weight[l]!, bp.weight[l]!, 0.01, `${rule}: layer ${l} differs`);
      t.ok(Math.max(...other.weight[l]!.map(Math.abs)) > 1e-3, `${rule}: layer ${l} is not zero`);
    }
  }
});

/** One step of plain SGD on one batch with a network, from given parameters. */
async function stepped(spec: NetworkSpec, rule: GradientRuleName, state: StateDict | null): Promise<StateDict> {
  using network = new Network(spec, { rule, seed: 5 });
  if (state !== null) await network.loadStateDict(state);
  const trainer = new Trainer(network, { optimizer: { type: 'sgd', lr: 0.5 }, batchSize: batch });
  using data = Dataset.fromArrays({
    images: Float32Array.from(x.flat()),
    labels,
    shape: [sizes[0]],
    classes: 7,
  });
  for await (const _event of trainer.fit(data, { epochs: 1 }));
  return await network.stateDict(); // before `using` disposes of the network
}

t.test('networks: FA with B = W is BP; DFA with one hidden layer is FA with the same B', async (t) => {
  const hidden = (count: number): NetworkSpec => ({
    input: [sizes[0]],
    layers: [
      ...Array.from({ length: count }, () => ({ type: 'dense', units: 18, activation: 'tanh' }) as const),
      { type: 'dense', units: 7 },
    ],
    loss: 'softmax-cross-entropy',
  });
  using start = new Network(hidden(2), { rule: 'fa', seed: 5 });
  const parameters = await start.stateDict();
  for (const [name, value] of parameters) {
    if (name.endsWith('weight_backward')) value.data.set(parameters.get(name.replace('_backward', ''))!.data);
  }
  const fa = await stepped(hidden(2), 'fa', parameters);
  const bp = await stepped(hidden(2), 'bp', null);
  for (const [name, { data }] of bp) t.ok(sameBits(fa.get(name)!.data, data), `fa, bp: ${name}`);
  t.notOk(sameBits(bp.get('layers.0.weight')!.data, parameters.get('layers.0.weight')!.data), 'and it moved');

  using faStart = new Network(hidden(1), { rule: 'fa', seed: 5 });
  using dfaStart = new Network(hidden(1), { rule: 'dfa', seed: 5 });
  const faParameters = await faStart.stateDict();
  const dfaParameters = await dfaStart.stateDict();
  t.strictSame(
    [...faParameters.keys()].filter((n) => n.endsWith('backward')),
    ['layers.1.weight_backward'],
  );
  t.strictSame(
    [...dfaParameters.keys()].filter((n) => n.endsWith('backward')),
    ['layers.0.weight_backward'],
  );
  t.strictSame(dfaParameters.get('layers.0.weight_backward')!.shape, [7, 18], '[classes, units]');
  faParameters.get('layers.1.weight_backward')!.data.set(dfaParameters.get('layers.0.weight_backward')!.data);
  const one = await stepped(hidden(1), 'fa', faParameters);
  const other = await stepped(hidden(1), 'dfa', null);
  for (const name of ['layers.0.weight', 'layers.0.bias', 'layers.1.weight', 'layers.1.bias']) {
    t.ok(sameBits(one.get(name)!.data, other.get(name)!.data), `fa, dfa: ${name}`);
  }
  t.ok(
    sameBits(other.get('layers.0.weight_backward')!.data, dfaParameters.get('layers.0.weight_backward')!.data),
    'feedback is fixed',
  );
});

t.test('what a rule cannot do is refused', async (t) => {
  scope(() => {
    const weight = leaf(Tensor.from(layersOf('fa', false)[1]!.weight));
    const input = leaf(Tensor.from(rows(randomArray(2 * 18, 3), 18)));
    const feedback = Tensor.full([40, 18], 1);
    t.throws(() => layer(input, { weight, rule: 'fa', feedback }).sum().backward({ createGraph: true }), {
      message: /rule fa cannot be differentiated twice/,
    });
    t.throws(() => layer(input, { weight, rule: 'fa' }).sum().backward(), { message: /no feedback weights/ });
    t.throws(() => layer(input, { weight, rule: 'fa', feedback: Tensor.full([18, 40], 1) }), {
      message: /feedback of weight's shape \[40, 18\]/,
    });
    t.throws(() => layer(input, { weight, rule: 'dfa' as 'fa' }), { code: 'ERR_INVALID_ARGUMENT' });
    t.throws(() => layer(input, { weight, rule: 'bp', activation: 'tanhh' as 'tanh' }), {
      message: /`activation`/,
    });
    const { y, errorPort } = dfaHiddenLayer(input, { weight, feedback: Tensor.full([7, 40], 1) });
    const last = Tensor.full([7, 40], 1);
    for (const rows of [1, 3]) {
      t.throws(() => dfaOutputLayer(Tensor.full([rows, 40], 1), { weight: last, errorPorts: [errorPort] }), {
        message: new RegExp(`error ports \\[${rows}, 7\\], but one's shape is \\[2, 7\\]`),
      });
    }
    t.throws(() => layer(Tensor.full([2, 17], 1), { weight, rule: 'bp' }), { message: /\[2, 17\]/ });
    t.throws(() => layer(Tensor.full([2, 19], 1), { weight, rule: 'bp' }), { message: /\[2, 19\]/ });
    t.throws(() => layer(input.to('float64'), { weight, rule: 'bp' }), {
      message: /x is Double on cpu, but another tensor of the layer is Float/,
    });
    t.throws(() => layer(input, { weight, bias: Tensor.full([40], 1).to('float64'), rule: 'bp' }), {
      message: /another tensor of the layer is Double/,
    });
    t.throws(() => y.sum().backward(), { message: /port must be given to the output layer/ });
    t.throws(() => dfaHiddenLayer(input, { weight, feedback: Tensor.full([7, 41], 1) }), {
      message: /\[classes, 40\]/,
    });
    const second = layer(input, { weight, rule: 'bp', activation: 'tanh' });
    second.sum().backward({ createGraph: true });
    t.ok(input.grad, 'bp can be differentiated twice');
    const logits = Tensor.full([2, 3], 0);
    t.throws(() => softmaxCrossEntropy(logits, Tensor.from(BigInt64Array.of(0n, 3n))), {
      message: /label 3 of example 1 is not one of the 3 classes/,
    });
    t.throws(() => softmaxCrossEntropy(logits, Tensor.from(BigInt64Array.of(0n))), {
      message: /2 outputs but/,
    });
  });
});
