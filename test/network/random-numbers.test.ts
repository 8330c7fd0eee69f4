/**
 * The numbers that parameters start with, one by one, from the definition of their generator. So each layer has a
 * stream of its own, and what a seed gives stays what it gave.
 */
import t, { type Test } from 'tap';
import { Dataset, Network, network, Trainer, type NetworkOptions, type StateDict } from '../../lib/index.js';
import type { ResolvedSpec } from '../../lib/model/spec.js';
import { agrees } from '../support/compare.js';
import { gradientsFrom } from '../support/networks.js';
import { rows } from '../support/numbers.js';
import { blockOf, cosines, toUniform, uniforms } from '../support/philox.js';

const SEED = 2 ** 40 + 77;

async function start(spec: ResolvedSpec, options: NetworkOptions = {}): Promise<StateDict> {
  using net = new Network(spec, { seed: SEED, ...options });
  return await net.stateDict();
}

/** Uniform within ±limit. */
const within = (limit: number, unit: number[]): number[] => unit.map((u) => (2 * u - 1) * limit);
const glorot = (fanIn: number, fanOut: number): number => Math.sqrt(6 / (fanIn + fanOut));

/** 37 values each, so that the last block of a stream is not used up. */
const MANY = 37;

function uniformly(
  t: Test,
  state: StateDict,
  name: string,
  limit: number,
  stream: Parameters<typeof uniforms>[1],
  index: number,
) {
  const { data } = state.get(name)!;
  const many = Math.min(MANY, data.length);
  agrees(t, data.subarray(0, many), within(limit, uniforms(SEED, stream, index, many)), 1e-6, name);
}

/** Three layers of one form, so that nothing but the stream tells them apart. */
const alike = network({ features: 7 })
  .dense(7, { activation: 'tanh' })
  .dense(7, { activation: 'tanh' })
  .dense(7, { activation: 'tanh' })
  .softmaxCrossEntropy();

t.test('weights, feedback, inverses and random features', async (t) => {
  const limit = glorot(7, 7);
  const fa = await start(alike, { rule: 'fa' });
  for (const i of [0, 1, 2]) uniformly(t, fa, `layers.${i}.weight`, limit, 'weight', i);
  for (const i of [1, 2]) uniformly(t, fa, `layers.${i}.weight_backward`, limit, 'feedback', i);
  const dfa = await start(alike, { rule: 'dfa' });
  for (const i of [0, 1]) uniformly(t, dfa, `layers.${i}.weight_backward`, limit, 'feedback', i);
  const shared = await start(alike, { rule: 'dfa', dfaFeedback: 'shared' });
  uniformly(t, shared, 'weight_backward', limit, 'feedback', 3);
  const sdtp = await start(alike, { rule: 'sdtp' });
  for (const i of [1, 2]) uniformly(t, sdtp, `inverses.${i}.weight`, limit, 'inverse', i);
  const ao = await start(alike, { rule: 'ao-sdtp', auxiliary: 6 });
  uniformly(t, ao, 'auxiliary.weight', glorot(7, 6), 'auxiliary', 0);
  uniformly(t, ao, 'inverses.1.weight', limit, 'inverse', 1);
  uniformly(t, ao, 'inverses.2.weight', glorot(7, 7 + 6), 'inverse', 2);
});

t.test('normal numbers', async (t) => {
  const spec = (initializer: 'he-normal' | 'glorot-normal') =>
    network({ features: 9 }).dense(5, { initializer }).dense(13, { initializer }).softmaxCrossEntropy();
  for (const [initializer, deviations] of [
    ['he-normal', [Math.sqrt(2 / 9), Math.sqrt(2 / 5)]],
    ['glorot-normal', [Math.sqrt(2 / 14), Math.sqrt(2 / 18)]],
  ] as const) {
    const state = await start(spec(initializer));
    for (const [i, deviation] of deviations.entries()) {
      const wanted = cosines(SEED, 'weight', i, MANY).map((value) => value * deviation);
      agrees(t, state.get(`layers.${i}.weight`)!.data.subarray(0, MANY), wanted, 2e-6, `${initializer}, layer ${i}`);
    }
  }
});

t.test('orthogonal: of tall and of wide matrices, by the factor of QR whose R has a positive diagonal', async (t) => {
  for (const [units, inputs] of [
    [8, 5],
    [5, 8],
  ] as const) {
    const spec = network({ features: inputs }).dense(units, { initializer: 'orthogonal' }).softmaxCrossEntropy();
    const w = rows((await start(spec)).get('layers.0.weight')!.data, inputs);
    const [tall, narrow] = [Math.max(units, inputs), Math.min(units, inputs)];
    /** As a matrix of more rows than columns. */
    const q = (i: number, j: number): number => (units >= inputs ? w[i]![j]! : w[j]![i]!);
    const gaussian = rows(cosines(SEED, 'weight', 0, tall * narrow), narrow);
    const dot = (f: (i: number) => number): number =>
      Array.from({ length: tall }, (_, i) => f(i)).reduce((a, b) => a + b, 0);
    for (let a = 0; a < narrow; a++) {
      for (let b = 0; b < narrow; b++) {
        const product = dot((i) => q(i, a) * q(i, b));
        t.ok(Math.abs(product - (a === b ? 1 : 0)) < 1e-5, `${units} × ${inputs}: columns ${a} and ${b}: ${product}`);
        const r = dot((i) => q(i, a) * gaussian[i]![b]!);
        if (a === b) t.ok(r > 0.01, `${units} × ${inputs}: R[${a}, ${a}] = ${r}`);
        if (a > b) t.ok(Math.abs(r) < 1e-5, `${units} × ${inputs}: R[${a}, ${b}] = ${r} below the diagonal`);
      }
    }
  }
});

const image = { channels: 3, height: 2, width: 2 };
/** Three convolutions, the last of which is dense in all but name; 3·2·5 = 30 and 2·1·7 = 14 are their fans out. */
const convolutions = network(image)
  .conv2d(4, { kernel: [1, 2] })
  .conv2d(5, { kernel: [2, 1], padding: [0, 0] })
  .flatten()
  .dense(3)
  .softmaxCrossEntropy();

t.test('Xiao’s feedback of convolutions: normal, of √(2 / (k_h·k_w·out)); of dense layers uniform', async (t) => {
  for (const rule of ['fa', 'frsf'] as const) {
    const sign = rule === 'frsf' ? Math.abs : (value: number): number => value;
    const state = await start(convolutions, { rule, feedbackScale: 'xiao', lastLayer: 'rule' });
    const deviation = Math.sqrt(2 / (2 * 1 * 5));
    const wanted = cosines(SEED, 'feedback', 1, MANY).map((value) => sign(value * deviation));
    agrees(t, state.get('layers.1.weight_backward')!.data.subarray(0, MANY), wanted, 2e-6, `${rule}, convolution`);
    const dense = state.get('layers.2.weight_backward')!.data;
    const uniform = within(1 / Math.sqrt(5), uniforms(SEED, 'feedback', 2, dense.length)).map(sign);
    agrees(t, dense, uniform, 1e-6, `${rule}, dense`);
  }
});

t.test('usf sends by s alone: of convolutions √(2 / (k_h·k_w·out)), of dense layers 1 / √in', async (t) => {
  // One example and linear layers: what each layer gets is what those above send down.
  const spec = network({ channels: 2, height: 1, width: 1 })
    .conv2d(3, { kernel: 1 })
    .conv2d(2, { kernel: 1 })
    .flatten()
    .dense(2)
    .squaredError();
  using data = Dataset.fromArrays({
    images: Float32Array.of(0.5, -1),
    targets: Float32Array.of(1, 2),
    shape: [2, 1, 1],
  });
  const { before, gradients } = await stepped(spec, { rule: 'usf', feedbackScale: 'xiao', lastLayer: 'rule' }, data);
  const bias = (i: number): Float64Array => gradients.get(`layers.${i}.bias`)!;
  for (const [above, s, inputs] of [
    [2, 1 / Math.sqrt(2), 2],
    [1, Math.sqrt(2 / 2), 3],
  ] as const) {
    const weight = rows(before.get(`layers.${above}.weight`)!.data, inputs);
    const sent = Array.from({ length: inputs }, (_, j) =>
      weight.reduce((sum, row, o) => sum + s * Math.sign(row[j]!) * bias(above)[o]!, 0),
    );
    agrees(t, bias(above - 1), sent, 1e-4, `what layer ${above} sends down`);
  }
});

t.test('brsf: a stream for each layer, a run of blocks for each step', async (t) => {
  // 6 and 3 magnitudes: the last block of each is not used up. One example and linear layers, as above.
  const spec = network({ features: 2 }).dense(2).dense(3).dense(1).squaredError();
  using data = Dataset.fromArrays({ images: Float32Array.of(0.5, -1), targets: Float32Array.of(3), shape: [2] });
  const options = { rule: 'brsf', feedbackScale: 'glorot', lastLayer: 'rule' } as const;
  for (const step of [0, 1, 5]) {
    const { before, gradients } = await stepped(spec, options, data, step);
    const bias = (i: number): Float64Array => gradients.get(`layers.${i}.bias`)!;
    for (const [layer, inputs, units] of [
      [2, 3, 1],
      [1, 2, 3],
    ] as const) {
      const count = inputs * units;
      const blocks = Math.ceil(count / 4);
      const magnitude = Array.from({ length: count }, (_, i) => {
        const words = blockOf(SEED, 'magnitude', layer, step * blocks + Math.floor(i / 4));
        return glorot(inputs, units) * toUniform(words[i % 4]!);
      });
      const weight = before.get(`layers.${layer}.weight`)!.data;
      const sent = Array.from({ length: inputs }, (_, j) =>
        Array.from(
          { length: units },
          (_, o) => magnitude[o * inputs + j]! * Math.sign(weight[o * inputs + j]!) * bias(layer)[o]!,
        ).reduce((a, b) => a + b, 0),
      );
      agrees(t, bias(layer - 1), sent, 1e-3, `step ${step}: what layer ${layer} sends down`);
    }
  }
});

/** What the step after `skip` others does, from the parameters before it. */
async function stepped(spec: ResolvedSpec, options: NetworkOptions, data: Dataset, skip = 0) {
  const lr = 0.25;
  using net = new Network(spec, { seed: SEED, ...options });
  const trainer = new Trainer(net, { optimizer: { type: 'sgd', lr }, batchSize: 1 });
  const start = await net.stateDict();
  const run = async (epochs: number): Promise<void> => {
    if (epochs > 0) for await (const _ of trainer.fit(data, { epochs }));
  };
  await run(skip);
  await net.loadStateDict(start); // the same numbers at each step, large beside rounding
  await run(skip + 1);
  return { before: start, gradients: gradientsFrom(start, await net.stateDict(), lr) };
}
