import t from 'tap';
import {
  Dataset,
  Network,
  network,
  preset,
  Trainer,
  type InitializerName,
  type NetworkSpec,
  type StateDict,
} from '../../lib/index.js';
import { agrees } from '../support/compare.js';
import { randomArray, rows, sameBits } from '../support/numbers.js';
import { gradients, type ReferenceLayer } from '../support/reference.js';

t.test('parameters by the contract’s names and shapes, for every rule', async (t) => {
  for (const rule of ['bp', 'fa', 'dfa'] as const) {
    using net = new Network(preset('mnist-fc'), { rule, seed: 1 });
    const want: [string, number[], boolean][] = [];
    const sizes = [784, 256, 256, 256, 256, 256, 10];
    for (let l = 0; l < 6; l++) {
      const shape = [sizes[l + 1]!, sizes[l]!];
      want.push([`layers.${l}.weight`, shape, true], [`layers.${l}.bias`, [sizes[l + 1]!], true]);
      if (rule === 'fa' && l > 0) want.push([`layers.${l}.weight_backward`, shape, false]);
      if (rule === 'dfa' && l < 5) want.push([`layers.${l}.weight_backward`, [10, 256], false]);
    }
    t.strictSame(
      net.parameters.map((p) => [p.name, p.shape, p.trainable]),
      want,
      rule,
    );
    t.equal(net.parameterCount, 466_698);
  }
  using named = new Network(
    network({ features: 2 }).dense(3, { name: 'fc1' }).dense(2, { bias: false }).softmaxCrossEntropy(),
  );
  t.strictSame([...(await named.stateDict()).keys()], ['fc1.weight', 'fc1.bias', 'layers.1.weight']);
});

t.test('one seed, one start: forward weights do not depend on the rule', async (t) => {
  const state = async (rule: 'bp' | 'fa' | 'dfa', seed: number): Promise<StateDict> => {
    using net = new Network(preset('mnist-fc'), { rule, seed });
    return await net.stateDict();
  };
  const [bp, again, fa, dfa, other] = await Promise.all([
    state('bp', 7),
    state('bp', 7),
    state('fa', 7),
    state('dfa', 7),
    state('bp', 8),
  ]);
  for (const [name, { data }] of bp) {
    t.ok(sameBits(again.get(name)!.data, data), `${name} again`);
    t.ok(sameBits(fa.get(name)!.data, data) && sameBits(dfa.get(name)!.data, data), `${name} under fa, dfa`);
    if (name.endsWith('bias'))
      t.ok(
        data.every((value) => value === 0),
        `${name} is zero`,
      );
    else t.notOk(sameBits(other.get(name)!.data, data), `${name} of another seed`);
  }
  const forward = fa.get('layers.1.weight')!.data;
  t.notOk(sameBits(fa.get('layers.1.weight_backward')!.data, forward), 'feedback is not the forward weights');
  using large = new Network(network({ features: 3 }).dense(2).softmaxCrossEntropy(), { seed: 2 ** 53 - 1 });
  using small = new Network(network({ features: 3 }).dense(2).softmaxCrossEntropy(), { seed: 2 ** 32 - 1 });
  const weight = async (net: Network): Promise<Float32Array> => (await net.stateDict()).get('layers.0.weight')!.data;
  t.notOk(sameBits(await weight(large), await weight(small)), 'all bits of a seed count');
});

t.test('initialisers have the mean and the spread that they are named for', async (t) => {
  const [inputs, units] = [400, 600];
  const weights = async (initializer: InitializerName): Promise<Float32Array> => {
    using net = new Network(network({ features: inputs }).dense(units, { initializer }).softmaxCrossEntropy(), {
      seed: 3,
    });
    return (await net.stateDict()).get('layers.0.weight')!.data;
  };
  const want = {
    'glorot-uniform': [2 / (inputs + units), Math.sqrt(6 / (inputs + units))],
    'glorot-normal': [2 / (inputs + units), Infinity],
    'he-uniform': [2 / inputs, Math.sqrt(6 / inputs)],
    'he-normal': [2 / inputs, Infinity],
  } as const;
  for (const [name, [variance, limit]] of Object.entries(want)) {
    const data = await weights(name as InitializerName);
    const mean = data.reduce((a, b) => a + b, 0) / data.length;
    const spread = data.reduce((sum, value) => sum + value * value, 0) / data.length;
    // 240,000 values: the mean is within 5/√n deviations, the variance within about 1 %.
    t.ok(Math.abs(mean) < (5 * Math.sqrt(variance)) / Math.sqrt(data.length), `${name}: mean ${mean}`);
    t.ok(Math.abs(spread / variance - 1) < 0.015, `${name}: variance ${spread}, wanted ${variance}`);
    const largest = data.reduce((max, value) => Math.max(max, Math.abs(value)), 0);
    t.ok(largest <= limit && largest > 0.999 * Math.min(limit, 3 * Math.sqrt(variance)), `${name}: largest ${largest}`);
    const kurtosis = data.reduce((sum, value) => sum + value ** 4, 0) / data.length / spread ** 2;
    t.ok(Math.abs(kurtosis - (name.endsWith('normal') ? 3 : 1.8)) < 0.05, `${name}: kurtosis ${kurtosis}`);
  }
  t.ok((await weights('zeros')).every((value) => value === 0));
  const q = rows(await weights('orthogonal'), inputs); // 600 × 400: orthonormal columns
  let worst = 0;
  for (const [i, j] of [
    [0, 0],
    [1, 1],
    [399, 399],
    [0, 1],
    [5, 300],
    [398, 399],
  ] as const) {
    const dot = q.reduce((sum, row) => sum + row[i]! * row[j]!, 0);
    worst = Math.max(worst, Math.abs(dot - (i === j ? 1 : 0)));
  }
  t.ok(worst < 1e-4, `orthogonal: ${worst}`);
});

t.test('predict and evaluate against the reference, bytes and floats, normalised', async (t) => {
  const spec: NetworkSpec = {
    input: [2, 2, 3],
    layers: [{ type: 'flatten' }, { type: 'dense', units: 6, activation: 'tanh' }, { type: 'dense', units: 4 }],
    loss: 'softmax-cross-entropy',
  };
  const normalization = { mean: [0.2, 0.7], std: [0.5, 2] };
  using net = new Network(spec, { seed: 3, normalization });
  const state = await net.stateDict();
  const layers: ReferenceLayer[] = (['tanh', 'identity'] as const).map((activation, l) => ({
    weight: rows(state.get(`layers.${l}.weight`)!.data, l === 0 ? 12 : 6),
    bias: [...state.get(`layers.${l}.bias`)!.data],
    feedback: null,
    activation,
  }));
  const bytes = Uint8Array.from({ length: 5 * 12 }, (_, i) => (i * 37) % 256);
  const labels = [0, 1, 2, 3, 0];
  for (const images of [bytes, randomArray(5 * 12, 9)]) {
    const x = rows(images, 12).map((row) =>
      row.map((value, i) => {
        const channel = i < 6 ? 0 : 1;
        const scaled = images instanceof Uint8Array ? value / 255 : value;
        return (scaled - normalization.mean[channel]!) / normalization.std[channel]!;
      }),
    );
    const want = gradients(layers, 'bp', x, labels);
    agrees(t, await net.predict(images), want.outputs.flat(), 1e-6, 'outputs');
    using data = Dataset.fromArrays({ images, labels, shape: [2, 2, 3], classes: 4 });
    for (const batchSize of [1, 2, 5, 7]) {
      const got = await net.evaluate(data, { batchSize });
      t.ok(Math.abs(got.loss - want.loss) < 1e-6, `loss in batches of ${batchSize}`);
      const wrong = want.outputs.filter((row, b) => row.indexOf(Math.max(...row)) !== labels[b]).length;
      t.strictSame([got.error, got.examples], [wrong / 5, 5]);
    }
  }
});

t.test('predict: thousands of examples, of which the network takes a part at a time', async (t) => {
  using net = new Network(network({ features: 2 }).dense(3).softmaxCrossEntropy(), { seed: 4 });
  const state = await net.stateDict();
  const weight = rows(state.get('layers.0.weight')!.data, 2);
  const images = randomArray(2500 * 2, 8);
  const want = rows(images, 2).flatMap((x) => weight.map((w) => w[0]! * x[0]! + w[1]! * x[1]!));
  agrees(t, await net.predict(images), want, 1e-6, 'outputs');
});

t.test('loadStateDict lists everything that does not fit, and then changes nothing', async (t) => {
  using net = new Network(network({ features: 3 }).dense(2).dense(2).softmaxCrossEntropy(), { seed: 1 });
  const state = await net.stateDict();
  const wrong: StateDict = new Map([
    ['layers.0.weight', { shape: [2, 4], data: new Float32Array(8) }],
    ['layers.0.bias', { shape: [2], data: new Float32Array(2).fill(9) }],
    ['extra', { shape: [1], data: new Float32Array(1) }],
    ['layers.1.weight', state.get('layers.1.weight')!],
  ]);
  await t.rejects(net.loadStateDict(wrong), {
    code: 'ERR_CHECKPOINT_MISMATCH',
    message:
      /missing: layers\.1\.bias; unexpected: extra; of another shape: layers\.0\.weight \(is \[2, 4\], should be \[2, 3\]\)/,
  });
  t.strictSame(await net.stateDict(), state);
  state.get('layers.0.bias')!.data[0] = 5;
  await net.loadStateDict(state);
  t.equal((await net.stateDict()).get('layers.0.bias')!.data[0], 5);
});

t.test('bad arguments', async (t) => {
  const spec = network({ features: 3 }).dense(2).softmaxCrossEntropy();
  const refused = (options: object, code: string, message: RegExp): void => {
    t.throws(() => new Network(spec, options), { code, message });
  };
  refused({ rule: 'bpp' }, 'ERR_UNKNOWN_OPTION', /did you mean bp\?/);
  refused({ seed: -1 }, 'ERR_INVALID_ARGUMENT', /`seed`/);
  refused({ seed: 1.5 }, 'ERR_INVALID_ARGUMENT', /`seed`/);
  refused({ threads: 0 }, 'ERR_INVALID_ARGUMENT', /`threads`/);
  refused({ device: 'cuda:99' }, 'ERR_DEVICE_UNAVAILABLE', /^device cuda:99 is not available: .*;/);
  refused({ device: 'gpu' }, 'ERR_INVALID_ARGUMENT', /`device`/);
  refused({ precision: 'bf16' }, 'ERR_DEVICE_UNAVAILABLE', /use fp32/);
  refused({ normalization: { mean: [0, 0], std: [1, 1] } }, 'ERR_INVALID_ARGUMENT', /`normalization\.mean`/);
  refused({ normalization: { mean: [0], std: [0] } }, 'ERR_INVALID_ARGUMENT', /`normalization\.std`/);
  using net = new Network(spec);
  await t.rejects(net.predict(new Float32Array(4)), { message: /multiple of 3/ });
  await t.rejects(net.predict([1, 2, 3] as unknown as Float32Array), { message: /`images`/ });
  using images = Dataset.fromArrays({ images: new Uint8Array(4), labels: [0], shape: [1, 2, 2], classes: 2 });
  await t.rejects(net.evaluate(images), { message: /examples of shape 3/ });
  using many = Dataset.fromArrays({ images: new Uint8Array(3), labels: [4], shape: [3], classes: 5 });
  await t.rejects(net.evaluate(many), { message: /at most 2 classes/ });
  using values = Dataset.fromArrays({ images: new Uint8Array(3), targets: new Float32Array(2), shape: [3] });
  await t.rejects(net.evaluate(values), { message: /labels, which softmax-cross-entropy needs/ });
  net.dispose();
  net.dispose();
  await t.rejects(net.stateDict(), { code: 'ERR_DISPOSED' });
});

t.test('several networks at once; two that ask for different thread counts are refused', async (t) => {
  const spec = network({ features: 3 }).dense(2).softmaxCrossEntropy();
  using one = new Network(spec, { threads: 2, seed: 1 });
  using other = new Network(spec, { seed: 1 });
  t.strictSame([one.threads, other.threads], [2, 2], 'who asks for none takes what is in force');
  for (const threads of [1, 3]) {
    t.throws(() => new Network(spec, { threads }), { code: 'ERR_THREADS_CONFLICT', message: /runs on 2/ });
  }
  const x = randomArray(30, 1);
  const [a, b] = await Promise.all([one.predict(x), other.predict(x)]);
  t.ok(sameBits(a, b));
  const trainer = new Trainer(one); // what it keeps must not keep the network
  one.dispose();
  other.dispose();
  await t.rejects(trainer.state(), { code: 'ERR_DISPOSED' });
  using alone = new Network(spec, { threads: 1 });
  t.equal(alone.threads, 1, 'free again when they are gone');
});
