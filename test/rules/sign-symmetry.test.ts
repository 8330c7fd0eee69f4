/**
 * Sign-symmetry, the settings of feedback, and dfa through batch norm and residual blocks, against plain loops in
 * float64; the control that sends W itself; batch manhattan.
 */
import t from 'tap';
import {
  Dataset,
  layer,
  Network,
  network,
  parseNetworkSpec,
  preset,
  scope,
  Tensor,
  Trainer,
  trainingBudget,
  type NetworkOptions,
  type NetworkSpec,
  type OptimizerOptions,
  type RuleName,
  type StateDict,
  type TensorDType,
} from '../../lib/index.js';
import { agrees, differs } from '../support/compare.js';
import { crossEntropy } from '../support/losses.js';
import { count } from '../support/maps.js';
import { gradientsFrom } from '../support/networks.js';
import { randomArray, rows } from '../support/numbers.js';
import { gradients, type ReferenceLayer } from '../support/reference.js';

const LR = 0.5;
const sgd: OptimizerOptions = { type: 'sgd', lr: LR };

/** The gradients of one step on all the data, from what sgd does with them. */
async function gradientsOf(
  spec: NetworkSpec,
  options: NetworkOptions,
  data: Dataset,
  change: (state: StateDict) => void = () => undefined,
): Promise<{ before: StateDict; gradients: Map<string, Float64Array> }> {
  using net = new Network(spec, options);
  const before = await net.stateDict();
  change(before);
  await net.loadStateDict(before);
  const trainer = new Trainer(net, { optimizer: sgd, batchSize: data.size });
  for await (const _ of trainer.fit(data, { epochs: 1 }));
  const after = await net.stateDict();
  return { before, gradients: gradientsFrom(before, after, LR) };
}

const COUNT = 11;
const sizes = [9, 8, 12, 5] as const;
const dense = network({ features: sizes[0] })
  .dense(sizes[1], { activation: 'tanh' })
  .dense(sizes[2], { activation: 'relu' })
  .dense(sizes[3])
  .softmaxCrossEntropy();
const images = Float32Array.from(randomArray(COUNT * sizes[0], 7));
const labels = Uint8Array.from({ length: COUNT }, (_, i) => (i * 3) % sizes[3]);
const data = Dataset.fromArrays({ images, labels, shape: [sizes[0]], classes: sizes[3] });
t.teardown(() => data.dispose());

const matrix = (state: StateDict, name: string): number[][] => {
  const { data: values, shape } = state.get(name)!;
  return rows([...values], shape[1]!);
};

t.test('gradients under every kind of feedback', async (t) => {
  const deviation = (l: number): number => Math.sqrt(2 / (sizes[l]! + sizes[l + 1]!));
  for (const rule of ['usf', 'frsf', 'fa'] as const) {
    for (const feedbackScale of ['glorot', 'xiao'] as const) {
      for (const lastLayer of ['bp', 'rule'] as const) {
        const { before, gradients: found } = await gradientsOf(
          dense,
          { rule, feedbackScale, lastLayer, seed: 3 },
          data,
          // A weight of zero has no sign.
          (state) => state.get('layers.2.weight')!.data.fill(0, 3, 5),
        );
        const layers = ([0, 1, 2] as const).map((l): ReferenceLayer => {
          const weight = matrix(before, `layers.${l}.weight`);
          const stored = before.get(`layers.${l}.weight_backward`);
          const exact = l === 2 && lastLayer === 'bp';
          t.equal(stored !== undefined, rule !== 'usf' && l > 0 && !exact, 'where feedback is kept');
          const B = stored && rows([...stored.data], stored.shape[1]!);
          const s = feedbackScale === 'xiao' ? 1 / Math.sqrt(sizes[l]) : deviation(l);
          const feedback = weight.map((row, i) =>
            row.map((w, j) => {
              if (exact) return w;
              if (rule === 'fa') return B?.[i]![j] ?? 0;
              return Math.sign(w) * (rule === 'usf' ? s : (B?.[i]![j] ?? 0));
            }),
          );
          if (stored) {
            const bound = feedbackScale === 'xiao' ? s : Math.sqrt(3) * s;
            const largest = Math.max(...stored.data.map(Math.abs));
            t.ok(largest <= bound * 1.000001 && largest > 0.8 * bound, `${rule}: uniform up to ${bound}`);
            t.equal(Math.min(...stored.data) >= 0, rule === 'frsf', 'magnitudes have no sign');
          }
          const activation = (['tanh', 'relu', 'identity'] as const)[l];
          const bias = [...before.get(`layers.${l}.bias`)!.data];
          return { weight, bias, feedback: l > 0 ? feedback : null, activation };
        });
        const expected = gradients(layers, 'fa', rows([...images], sizes[0]), [...labels]).gradients;
        for (const [l, { weight, bias }] of expected.entries()) {
          const what = `${rule}, ${feedbackScale}, ${lastLayer}, layer ${l}`;
          agrees(t, found.get(`layers.${l}.weight`)!, weight.flat(), 2e-5, what);
          agrees(t, found.get(`layers.${l}.bias`)!, bias, 2e-5, what);
        }
      }
    }
  }
});

/** Past every kind of layer. */
const deep = network({ channels: 2, height: 6, width: 7 })
  .conv2d(4, { kernel: 3, padding: 1, bias: false })
  .batchNorm({ activation: 'relu' })
  .residual((x) => x.conv2d(4, { kernel: 3, padding: 1 }).batchNorm(), { activation: 'relu' })
  .locallyConnected2d(5, { kernel: 3, stride: 2, activation: 'tanh' })
  .conv2d(6, { kernel: 2, activation: 'tanh' })
  .maxPool2d({ kernel: [1, 2] })
  .flatten()
  .dense(8, { activation: 'relu' })
  .dense(3)
  .softmaxCrossEntropy();
const deepImages = Float32Array.from(randomArray(COUNT * 2 * 6 * 7, 17));
const deepLabels = Uint8Array.from({ length: COUNT }, (_, i) => (i * 5) % 3);
const deepData = Dataset.fromArrays({ images: deepImages, labels: deepLabels, shape: [2, 6, 7], classes: 3 });
t.teardown(() => deepData.dispose());

t.test('the control: magnitudes of W itself are bp, bit for bit', async (t) => {
  const bp = await gradientsOf(deep, { rule: 'bp', seed: 5 }, deepData);
  for (const lastLayer of ['bp', 'rule'] as const) {
    const frsf = await gradientsOf(deep, { rule: 'frsf', lastLayer, seed: 5 }, deepData, (state) => {
      for (const [name, { data: values }] of state) {
        if (!name.endsWith('.weight_backward')) continue;
        values.set(state.get(name.replace('_backward', ''))!.data.map(Math.abs));
      }
    });
    for (const [name, values] of bp.gradients) t.strictSame(frsf.gradients.get(name), values, name);
  }
  const usf = await gradientsOf(deep, { rule: 'usf', seed: 5 }, deepData);
  const name = 'layers.4.weight';
  differs(t, usf.gradients.get(name)!, [...bp.gradients.get(name)!], 0.05, 'another rule differs');
});

t.test('brsf draws its magnitudes at every step', async (t) => {
  const UNITS = 400;
  // One output, one example: the gradient of a hidden bias is B times the output error.
  const fc = network({ features: 3 }).dense(UNITS).dense(1).squaredError();
  const conv = network({ channels: 3, height: 1, width: 1 })
    .conv2d(UNITS, { kernel: 1 })
    .conv2d(1, { kernel: 1 })
    .flatten()
    .squaredError();
  const cases = [
    { spec: fc, shape: [3], scale: 'xiao', mean: 1 / Math.sqrt(UNITS) / 2, bounded: true },
    { spec: fc, shape: [3], scale: 'glorot', mean: Math.sqrt(6 / (UNITS + 1)) / 2, bounded: true },
    {
      spec: conv,
      shape: [3, 1, 1],
      scale: 'xiao',
      mean: Math.sqrt(2) * Math.sqrt(2 / Math.PI),
      bounded: false,
    },
  ] as const;
  for (const { spec, shape, scale, mean, bounded } of cases) {
    const targets = new Float32Array([1]);
    const one = Dataset.fromArrays({ images: new Float32Array([0.5, -1, 2]), targets, shape: [...shape] });
    using net = new Network(spec, { rule: 'brsf', feedbackScale: scale, lastLayer: 'rule', seed: 9 });
    const trainer = new Trainer(net, { optimizer: { type: 'sgd', lr: 1e-3 }, batchSize: 1 });
    const step = async (): Promise<number[]> => {
      const before = await net.stateDict();
      const { epoch } = await trainer.state();
      for await (const _ of trainer.fit(one, { epochs: epoch + 1 }));
      const after = await net.stateDict();
      const moved = (name: string): number[] =>
        [...before.get(name)!.data].map((value, i) => value - after.get(name)!.data[i]!);
      const [error] = moved('layers.1.bias');
      const sent = moved('layers.0.bias').map((value) => value / error!);
      const weight = before.get('layers.1.weight')!.data;
      t.ok(
        sent.every((value, i) => value * weight[i]! >= 0),
        'the signs are those of W',
      );
      return sent.map(Math.abs);
    };
    const state = await trainer.state();
    const parameters = await net.stateDict();
    const first = await step();
    const second = await step();
    t.notSame(first, second, 'drawn afresh');
    await net.loadStateDict(parameters);
    await trainer.loadState(state);
    t.strictSame(await step(), first, 'a function of the seed and the step');
    const found = first.reduce((a, b) => a + b, 0) / UNITS;
    t.ok(Math.abs(found / mean - 1) < 0.15, `mean magnitude ${found}, expected ${mean}`);
    if (bounded) t.ok(Math.max(...first) <= 2.001 * mean);
    t.notOk((await net.stateDict()).has('layers.1.weight_backward'), 'nothing is kept');
    one.dispose();
  }
});

t.test('layer() of a script', (t) => {
  const [x, w, b] = [randomArray(6, 1), randomArray(12, 2), randomArray(12, 3)];
  const sent = (options: object, dtype: TensorDType = 'float32'): number[] =>
    scope(() => {
      const input = Tensor.from(rows([...x], 3)).to(dtype);
      input.requiresGrad = true;
      const weight = Tensor.from(rows([...w], 3)).to(dtype);
      const feedback = Tensor.from(rows([...b], 3)).to(dtype);
      const y = layer(input, { weight, feedback, ...options } as Parameters<typeof layer>[1]);
      y.sum().backward();
      return Array.from(input.grad!.data(), Number);
    });
  const expected = (by: (i: number) => number): number[] =>
    Array.from({ length: 6 }, (_, i) => [0, 1, 2, 3].reduce((sum, o) => sum + by(3 * o + (i % 3)), 0));
  agrees(
    t,
    sent({ rule: 'usf', scale: 0.25 }),
    expected((i) => 0.25 * Math.sign(w[i]!)),
    1e-6,
    'usf',
  );
  t.ok(
    b.some((value) => value < 0),
    'magnitudes with a sign, which does not count',
  );
  for (const rule of ['frsf', 'brsf'])
    for (const dtype of ['float32', 'float64'] as const)
      agrees(
        t,
        sent({ rule }, dtype),
        expected((i) => Math.abs(b[i]!) * Math.sign(w[i]!)),
        1e-6,
        `${rule}, ${dtype}`,
      );
  t.throws(() => sent({ rule: 'frsf', scale: 2 }), { code: 'ERR_UNUSED_OPTION', message: /choose rule usf/ });
  t.throws(() => sent({ rule: 'usf', scale: 0 }), { code: 'ERR_INVALID_ARGUMENT', message: /`scale`/ });
  t.throws(() => sent({ rule: 'dfa' }), { code: 'ERR_INVALID_ARGUMENT', message: /functions of its own/ });
  t.end();
});

/** Of a loss's mean over the batch, with respect to the outputs: e of every example. */
const outputErrors = (logits: number[][]): number[][] =>
  rows(crossEntropy(logits.flat(), deepLabels).error, logits[0]!.length);
/** W x */
const times = (w: number[][], x: number[]): number[] =>
  w.map((row) => row.reduce((sum, value, j) => sum + value * x[j]!, 0));
/** The first of Wᵀ e */
const back = (w: number[][], e: number[], units: number): number[] =>
  Array.from({ length: units }, (_, j) => w.reduce((sum, row, i) => sum + row[j]! * e[i]!, 0));
/** Σ δ ⊗ h over the examples */
const outer = (delta: number[][], h: number[][]): number[] =>
  delta[0]!.flatMap((_, o) => h[0]!.map((__, j) => delta.reduce((sum, row, i) => sum + row[o]! * h[i]![j]!, 0)));

t.test('dfa through a residual block and batch norm', async (t) => {
  const wide = 5;
  const spec = network({ features: 4 })
    .dense(wide, { activation: 'tanh', name: 'a' })
    .residual((x) => x.dense(6, { name: 'b' }).batchNorm({ name: 'n' }).dense(wide, { name: 'c' }), {
      activation: 'tanh',
    })
    .dense(3, { name: 'out' })
    .softmaxCrossEntropy();
  const inputs = randomArray(COUNT * 4, 23);
  const set = Dataset.fromArrays({
    images: Float32Array.from(inputs),
    labels: deepLabels,
    shape: [4],
    classes: 3,
  });
  for (const dfaFeedback of ['per-layer', 'shared'] as const) {
    const { before, gradients: found } = await gradientsOf(spec, { rule: 'dfa', dfaFeedback, seed: 2 }, set);
    const names = [...before.keys()].filter((name) => name.endsWith('weight_backward'));
    const expectedNames =
      dfaFeedback === 'shared' ? ['weight_backward'] : ['a.weight_backward', 'b.weight_backward', 'c.weight_backward'];
    t.strictSame(names, expectedNames);
    const feedback = (name: string): number[][] =>
      matrix(before, dfaFeedback === 'shared' ? 'weight_backward' : `${name}.weight_backward`);
    const W = (name: string): number[][] => matrix(before, `${name}.weight`);
    const x = rows([...inputs], 4);
    const ha = x.map((row) => times(W('a'), row).map(Math.tanh));
    const hb = ha.map((row) => times(W('b'), row));
    const column = (all: number[][], j: number): number[] => all.map((row) => row[j]!);
    const mean = (values: number[]): number => values.reduce((a, b) => a + b, 0) / values.length;
    const stats = hb[0]!.map((_, j) => {
      const mu = mean(column(hb, j));
      return { mu, sigma: Math.sqrt(mean(column(hb, j).map((value) => (value - mu) ** 2)) + 1e-5) };
    });
    const normed = hb.map((row) => row.map((value, j) => (value - stats[j]!.mu) / stats[j]!.sigma));
    const block = ha.map((row, i) => {
      const c = times(W('c'), normed[i]!);
      return row.map((value, j) => Math.tanh(value + c[j]!));
    });
    const e = outputErrors(block.map((row) => times(W('out'), row)));
    const atSum = e.map((row, i) => back(feedback('c'), row, wide).map((value, j) => value * (1 - block[i]![j]! ** 2)));
    const deltaA = e.map((row, i) =>
      back(feedback('a'), row, wide).map((value, j) => (value + atSum[i]![j]!) * (1 - ha[i]![j]! ** 2)),
    );
    const atNorm = e.map((row) => back(feedback('b'), row, 6));
    // Batch norm's own derivative (Ioffe and Szegedy 2015), γ = 1.
    const deltaB = atNorm.map((row, i) =>
      row.map((value, j) => {
        const average = mean(column(atNorm, j));
        const along = mean(atNorm.map((other, k) => other[j]! * normed[k]![j]!));
        return (value - average - normed[i]![j]! * along) / stats[j]!.sigma;
      }),
    );
    const expected: Record<string, number[]> = {
      'a.weight': outer(deltaA, x),
      'b.weight': outer(deltaB, ha),
      'n.weight': stats.map((_, j) => atNorm.reduce((sum, row, i) => sum + row[j]! * normed[i]![j]!, 0)),
      'n.bias': stats.map((_, j) => atNorm.reduce((sum, row) => sum + row[j]!, 0)),
      'c.weight': outer(atSum, normed),
      'out.weight': outer(e, block),
    };
    for (const [name, values] of Object.entries(expected))
      agrees(t, found.get(name)!, values, 3e-5, `${dfaFeedback}: ${name}`);
  }
  set.dispose();
});

t.test('dfa: a block whose weights are in its shortcut alone', async (t) => {
  const spec = parseNetworkSpec({
    input: [4],
    layers: [
      { type: 'dense', units: 5, activation: 'tanh', name: 'a' },
      {
        type: 'residual',
        layers: [{ type: 'flatten' }],
        shortcut: [{ type: 'dense', units: 5, name: 'p' }],
        activation: 'tanh',
      },
      { type: 'dense', units: 3, name: 'out' },
    ],
  });
  const inputs = randomArray(COUNT * 4, 23);
  const images = Float32Array.from(inputs);
  using set = Dataset.fromArrays({ images, labels: deepLabels, shape: [4], classes: 3 });
  for (const dfaFeedback of ['per-layer', 'shared'] as const) {
    const options = { rule: 'dfa', dfaFeedback } as const;
    const { before, gradients: found } = await gradientsOf(spec, { ...options, seed: 2 }, set);
    const feedback = (name: string): number[][] =>
      matrix(before, dfaFeedback === 'shared' ? 'weight_backward' : `${name}.weight_backward`);
    const W = (name: string): number[][] => matrix(before, `${name}.weight`);
    const x = rows([...inputs], 4);
    const ha = x.map((row) => times(W('a'), row).map(Math.tanh));
    const block = ha.map((row) => times(W('p'), row).map((value, j) => Math.tanh(value + row[j]!)));
    const e = outputErrors(block.map((row) => times(W('out'), row)));
    const atSum = e.map((row, i) => back(feedback('p'), row, 5).map((value, j) => value * (1 - block[i]![j]! ** 2)));
    // The block's layers pass on what arrives at the sum.
    const deltaA = e.map((row, i) =>
      back(feedback('a'), row, 5).map((value, j) => (value + atSum[i]![j]!) * (1 - ha[i]![j]! ** 2)),
    );
    for (const [name, values] of Object.entries({
      a: outer(deltaA, x),
      p: outer(atSum, ha),
      out: outer(e, block),
    }))
      agrees(t, found.get(`${name}.weight`)!, values, 3e-5, `${dfaFeedback}: ${name}`);
    t.equal(trainingBudget(spec, options).feedback, 4 * 3 * 5 * (dfaFeedback === 'shared' ? 1 : 2));
  }
});

t.test('dfa: a block that pools behind its last layer with weights', async (t) => {
  const [CHANNELS, WIDTH] = [3, 4];
  const half = { kernel: [1, 2] } as const;
  const spec = network({ channels: 2, height: 1, width: WIDTH })
    .conv2d(CHANNELS, { kernel: 1, activation: 'tanh', name: 'a' })
    .residual((x) => x.conv2d(CHANNELS, { kernel: 1, name: 'c' }).avgPool2d(half), {
      shortcut: (x) => x.avgPool2d(half),
      activation: 'tanh',
    })
    .flatten()
    .dense(3, { name: 'out' })
    .softmaxCrossEntropy();
  const inputs = randomArray(COUNT * 2 * WIDTH, 29);
  const images = Float32Array.from(inputs);
  using set = Dataset.fromArrays({ images, labels: deepLabels, shape: [2, 1, WIDTH], classes: 3 });
  for (const dfaFeedback of ['per-layer', 'shared'] as const) {
    const options = { rule: 'dfa', dfaFeedback } as const;
    const { before, gradients: found } = await gradientsOf(spec, { ...options, seed: 2 }, set);
    const pooled = (CHANNELS * WIDTH) / 2;
    const kept = [...before].filter(([name]) => name.endsWith('weight_backward'));
    t.strictSame(
      kept.map(([name, { shape }]) => [name, shape]),
      dfaFeedback === 'shared'
        ? [['weight_backward', [3, CHANNELS * WIDTH]]]
        : [
            ['a.weight_backward', [3, CHANNELS * WIDTH]],
            ['c.weight_backward', [3, pooled]],
          ],
      'as large as what arrives',
    );
    const budget = trainingBudget(spec, options).feedback;
    t.equal(budget, 4 * kept.reduce((sum, [, { data: values }]) => sum + values.length, 0));
    const B = (name: string): number[][] =>
      matrix(before, dfaFeedback === 'shared' ? 'weight_backward' : `${name}.weight_backward`);
    const W = (name: string): number[][] =>
      rows([...before.get(`${name}.weight`)!.data], before.get(`${name}.weight`)!.shape[1]!);
    // Of an example: [place][channel].
    const places = [...Array(WIDTH).keys()];
    const x = rows([...inputs], 2 * WIDTH).map((row) => places.map((w) => [row[w]!, row[WIDTH + w]!]));
    const ha = x.map((one) => one.map((row) => times(W('a'), row).map(Math.tanh)));
    const block = ha.map((one) => {
      const sums = one.map((row) => times(W('c'), row).map((value, o) => value + row[o]!));
      return [0, 1].map((w) => sums[2 * w]!.map((value, o) => Math.tanh((value + sums[2 * w + 1]![o]!) / 2)));
    });
    const flat = block.map((one) => Array.from({ length: pooled }, (_, j) => one[j % 2]![j >> 1]!));
    const e = outputErrors(flat.map((row) => times(W('out'), row)));
    const atSum = e.map((row, i) => back(B('c'), row, pooled).map((value, j) => value * (1 - flat[i]![j]! ** 2)));
    // Each mean hands its half to both places, in the block's layers and in its shortcut.
    const atPlaces = atSum.map((row) =>
      places.map((w) => Array.from({ length: CHANNELS }, (_, o) => row[2 * o + (w >> 1)]! / 2)),
    );
    const deltaA = e.map((row, i) => {
      const sent = back(B('a'), row, CHANNELS * WIDTH);
      return places.map((w) => ha[i]![w]!.map((h, o) => (sent[o * WIDTH + w]! + atPlaces[i]![w]![o]!) * (1 - h ** 2)));
    });
    for (const [name, values] of Object.entries({
      a: outer(deltaA.flat(), x.flat()),
      c: outer(atPlaces.flat(), ha.flat()),
    }))
      agrees(t, found.get(`${name}.weight`)!, values, 3e-5, `${dfaFeedback}: ${name}`);
  }
});

t.test('a batch norm below the first layer with weights waits for its error', async (t) => {
  const [IN, HIDDEN, OUT] = [4, 5, 3];
  const make = (hidden: number): NetworkSpec =>
    network({ features: IN })
      .batchNorm({ name: 'n' })
      .dense(hidden, { activation: 'tanh', name: 'a' })
      .dense(OUT, { name: 'out' })
      .softmaxCrossEntropy();
  const inputs = randomArray(COUNT * IN, 31);
  const images = Float32Array.from(inputs);
  using set = Dataset.fromArrays({ images, labels: deepLabels, shape: [IN], classes: OUT });
  const x = rows([...inputs], IN);
  const normed = x.map((row) =>
    row.map((value, j) => {
      const column = x.map((other) => other[j]!);
      const mean = column.reduce((a, b) => a + b, 0) / COUNT;
      const variance = column.reduce((sum, one) => sum + (one - mean) ** 2, 0) / COUNT;
      return (value - mean) / Math.sqrt(variance + 1e-5);
    }),
  );
  for (const rule of ['bp', 'fa', 'usf', 'frsf'] as const) {
    const { before, gradients: found } = await gradientsOf(make(HIDDEN), { rule, seed: 2 }, set);
    const layerOf = (name: string, exact: boolean, activation: 'tanh' | 'identity'): ReferenceLayer => {
      const weight = matrix(before, `${name}.weight`);
      const B = before.has(`${name}.weight_backward`) ? matrix(before, `${name}.weight_backward`) : null;
      const s = 1 / Math.sqrt(weight[0]!.length);
      const feedback = weight.map((row, i) =>
        row.map((w, j) => {
          if (rule === 'bp' || exact) return w;
          return rule === 'fa' ? B![i]![j]! : Math.sign(w) * (rule === 'usf' ? s : B![i]![j]!);
        }),
      );
      return { weight, bias: [...before.get(`${name}.bias`)!.data], feedback, activation };
    };
    // γ and β as the diagonal and the bias of a dense layer.
    const weight = normed[0]!.map((_, i) => normed[0]!.map((__, j) => (i === j ? 1 : 0)));
    const norm: ReferenceLayer = {
      weight,
      bias: Array<number>(IN).fill(0),
      feedback: null,
      activation: 'identity',
    };
    const layers = [norm, layerOf('a', false, 'tanh'), layerOf('out', rule !== 'fa', 'identity')];
    const [n, a, out] = gradients(layers, 'fa', normed, [...deepLabels]).gradients;
    for (const [name, values] of Object.entries({
      'n.weight': n!.weight.map((row, j) => row[j]!),
      'n.bias': n!.bias,
      'a.weight': a!.weight.flat(),
      'out.weight': out!.weight.flat(),
    }))
      agrees(t, found.get(name)!, values, 3e-5, `${rule}: ${name}`);
  }
  // brsf keeps no magnitudes; those of a single unit show in γ and in β alike.
  const { before, gradients: found } = await gradientsOf(make(1), { rule: 'brsf', seed: 2 }, set);
  const [gamma, beta] = [found.get('n.weight')!, found.get('n.bias')!];
  const [w, b] = [found.get('a.weight')!, found.get('a.bias')![0]!];
  for (const [j, weight] of before.get('a.weight')!.data.entries()) {
    const sent = beta[j]! / b;
    t.ok(sent * weight > 0 && Math.abs(sent) <= 0.5, `brsf: ${sent} with the sign of ${weight}, up to 1/√4`);
    t.ok(Math.abs(gamma[j]! / w[j]! / sent - 1) < 1e-3, 'brsf: γ');
  }
  // What diagnostics say of it.
  for (const rule of ['fa', 'usf', 'brsf', 'frsf'] as const) {
    using net = new Network(make(HIDDEN), { rule, seed: 2 });
    const trainer = new Trainer(net, { optimizer: sgd, batchSize: COUNT });
    const angles: number[] = [];
    for await (const event of trainer.fit(set, { epochs: 1, diagnostics: 1 })) {
      if (event.type === 'diagnostics') angles.push(event.layers[0]!.feedbackAngle ?? NaN);
    }
    t.ok(
      angles.length > 0 && angles.every((angle) => angle > 1),
      `${rule}: the lowest layer's feedback: ${angles.join()}`,
    );
  }
});

t.test('what dfa cannot train is named', (t) => {
  const image = () => network({ channels: 2, height: 6, width: 6 });
  const conv = { kernel: 3, padding: 1 } as const;
  const refused = (spec: NetworkSpec, message: RegExp): void => {
    t.throws(() => new Network(spec, { rule: 'dfa' }), { code: 'ERR_INVALID_SPEC', message });
    t.throws(() => trainingBudget(spec, { rule: 'dfa' }), { code: 'ERR_INVALID_SPEC', message });
  };
  refused(
    image().batchNorm().conv2d(2, conv).flatten().dense(2).softmaxCrossEntropy(),
    /layers\[0\]: rule dfa needs a layer with weights directly before a batch norm/,
  );
  refused(
    image()
      .conv2d(2, conv)
      .residual((x) => x.batchNorm().conv2d(2, conv))
      .flatten()
      .dense(2)
      .softmaxCrossEntropy(),
    /layers\[1\]\.layers\[0\]: rule dfa needs/,
  );
  refused(
    network({ features: 4 }).dense(4).dense(3).batchNorm().softmaxCrossEntropy(),
    /layers\[2\]: under rule dfa the output error is that of the last layer with weights, but a batch norm/,
  );
  refused(
    network({ features: 4 })
      .dense(4)
      .residual((x) => x.dense(4))
      .softmaxCrossEntropy(),
    /layers\[1\]\.layers\[0\]: under rule dfa .* but a sum is behind it; end with a dense layer/,
  );
  t.end();
});

t.test('the budget counts what is kept', async (t) => {
  const conv = { kernel: 3, padding: 1 } as const;
  const same = { kernel: 3, stride: 1, padding: 1 } as const;
  const specs = {
    resnet20: preset('resnet20'),
    'mnist-fc': preset('mnist-fc'),
    'a batch norm below': network({ features: 4 }).batchNorm().dense(5).dense(3).softmaxCrossEntropy(),
    // Its shortcut has the second layer with weights, and nothing below it either.
    'a block below': network({ features: 4 })
      .residual((x) => x.dense(5), { shortcut: (x) => x.dense(5) })
      .dense(6)
      .dense(3)
      .softmaxCrossEntropy(),
    'weights in a shortcut alone, below': network({ channels: 2, height: 6, width: 6 })
      .residual((x) => x.maxPool2d(same), { shortcut: (x) => x.conv2d(2, { kernel: 1 }) })
      .conv2d(3, conv)
      .flatten()
      .dense(3)
      .softmaxCrossEntropy(),
    'blocks without weights': network({ channels: 2, height: 6, width: 6 })
      .conv2d(2, conv)
      .residual((x) => x.conv2d(3, conv).residual((y) => y.maxPool2d(same)), { shortcut: 'pad' })
      .residual((x) => x.maxPool2d(same))
      .residual((x) => x.maxPool2d({ kernel: 2 }), {
        shortcut: (x) => x.conv2d(3, { kernel: 1, stride: 2 }).batchNorm(),
      })
      .flatten()
      .dense(3)
      .softmaxCrossEntropy(),
  };
  for (const [name, spec] of Object.entries(specs)) {
    const keptBy = (rule: RuleName, options: NetworkOptions = {}): number[] => {
      using net = new Network(spec, { rule, ...options });
      const kept = net.parameters.filter((parameter) => parameter.name.endsWith('weight_backward'));
      return kept.map(({ shape }) => count(shape));
    };
    const total = (sizes: number[]): number => sizes.reduce((sum, size) => sum + size, 0);
    // The last layer's errors go down by the rule under fa alone.
    const sent = keptBy('fa', { lastLayer: 'bp' });
    t.ok(sent.length > 0, `${name}: errors are sent down`);
    // The signed weights of a step are made for a layer at a time; brsf's magnitudes are drawn for all of them.
    const signed = Math.max(...sent);
    const wanted: Record<string, number> = {
      fa: total(keptBy('fa')),
      dfa: name === 'a batch norm below' ? NaN : total(keptBy('dfa')), // NaN: refused
      frsf: total(sent) + signed,
      brsf: total(sent) + signed,
      usf: signed,
      bp: 0,
    };
    for (const [rule, values] of Object.entries(wanted)) {
      if (Number.isNaN(values)) continue;
      t.equal(trainingBudget(spec, { rule: rule as RuleName }).feedback, 4 * values, `${name} ${rule}`);
    }
    t.strictSame(keptBy('frsf'), sent, `${name}: frsf keeps what fa keeps`);
    t.strictSame([keptBy('brsf'), keptBy('usf'), keptBy('bp')], [[], [], []], `${name}: others keep nothing`);
  }
});

t.test('settings that a rule does not have', (t) => {
  const make = (options: NetworkOptions) => () => new Network(dense, options);
  for (const rule of ['bp', 'dfa', 'dtp'] as const) {
    t.throws(make({ rule, feedbackScale: 'xiao' }), {
      code: 'ERR_UNUSED_OPTION',
      message: /feedbackScale .*fa, usf/,
    });
    t.throws(make({ rule, lastLayer: 'bp' }), { code: 'ERR_UNUSED_OPTION', message: /lastLayer .*fa, usf/ });
  }
  t.throws(make({ rule: 'usf', feedbackScale: 'x' as 'xiao' }), {
    code: 'ERR_INVALID_ARGUMENT',
    message: /glorot, xiao/,
  });
  t.throws(make({ rule: 'fa', lastLayer: 'fa' as 'bp' }), {
    code: 'ERR_INVALID_ARGUMENT',
    message: /rule, bp/,
  });
  using fa = new Network(dense, { rule: 'fa' });
  using usf = new Network(dense, { rule: 'usf' });
  t.strictSame([fa.feedbackScale, fa.lastLayer], ['glorot', 'rule'], 'Lillicrap et al.');
  t.strictSame([usf.feedbackScale, usf.lastLayer], ['xiao', 'bp'], 'Xiao et al.');
  t.end();
});

t.test('batch manhattan', async (t) => {
  const plain = await gradientsOf(dense, { seed: 3 }, data);
  for (const optimizer of [
    { type: 'sgd', lr: 0.01 },
    { type: 'sgd', lr: 0.01, momentum: 0.9, weightDecay: 0.1 },
  ] as const) {
    using net = new Network(dense, { seed: 3 });
    const before = await net.stateDict();
    const trainer = new Trainer(net, { optimizer: { ...optimizer, batchManhattan: true }, batchSize: COUNT });
    for await (const _ of trainer.fit(data, { epochs: 1 }));
    const decay = 'weightDecay' in optimizer ? optimizer.weightDecay : 0;
    for (const [name, { data: after }] of await net.stateDict()) {
      const start = before.get(name)!.data;
      const expected = [...start].map(
        (value, i) => value - 0.01 * (Math.sign(plain.gradients.get(name)![i]!) + decay * value),
      );
      agrees(t, after, expected, 1e-6, name);
    }
  }
  t.throws(() => new Trainer(new Network(dense), { optimizer: { batchManhattan: 1 as unknown as boolean } }), {
    code: 'ERR_INVALID_ARGUMENT',
    message: /optimizer\.batchManhattan/,
  });
});
