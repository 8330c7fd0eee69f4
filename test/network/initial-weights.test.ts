/** How parameters start: the fans of Glorot's uniform limits, of weights and of feedback; biases at zero. */
import t, { type Test } from 'tap';
import {
  Network,
  network,
  preset,
  type InitializerName,
  type NetworkOptions,
  type ParameterValue,
} from '../../lib/index.js';
import { initializerNames } from '../../lib/model/layers.js';
import { presetNames } from '../../lib/model/presets.js';
import type { ResolvedSpec } from '../../lib/model/spec.js';

async function start(spec: ResolvedSpec, options: NetworkOptions = {}): Promise<Map<string, ParameterValue>> {
  using net = new Network(spec, { seed: 11, ...options });
  return await net.stateDict();
}

/** Uniform on ±√(6 / (in + out)), and centred. Values are enough for the variance to be within 3 %. */
function glorot(t: Test, value: ParameterValue | undefined, fans: [number, number], what: string) {
  const { data } = value!;
  const limit = Math.sqrt(6 / (fans[0] + fans[1]));
  let [largest, sum, squares] = [0, 0, 0];
  for (const w of data) {
    largest = Math.max(largest, Math.abs(w));
    sum += w;
    squares += w * w;
  }
  const n = data.length;
  t.ok(n >= 7000, `${what}: ${n} values`);
  // The last bit is float32's.
  t.ok(largest <= limit * (1 + 2 ** -22), `${what}: ${largest} is not above ${limit}`);
  t.ok(largest > 0.99 * limit, `${what}: ${largest} is not far below ${limit}`);
  const ratio = squares / n / (limit ** 2 / 3);
  t.ok(Math.abs(ratio - 1) < 0.03, `${what}: variance ${ratio} of what is wanted`);
  t.ok(Math.abs(sum / n) < (5 * limit) / Math.sqrt(3 * n), `${what}: mean ${sum / n}`);
}

const classes = 90;
/**
 * Layers of every kind, each with thousands of weights; kernels are rectangles. Images are 13×10, 5×10, 3×4, 2×4, 2×2.
 */
const spec = (initializer: InitializerName = 'glorot-uniform'): ResolvedSpec =>
  network({ channels: 20, height: 13, width: 10 })
    .conv2d(50, {
      kernel: [3, 5],
      stride: [3, 1],
      padding: 'same',
      initializer,
      activation: 'tanh',
      name: 'conv',
    })
    .locallyConnected2d(7, { kernel: [1, 3], stride: [2, 2], initializer, activation: 'tanh', name: 'local' })
    .locallyConnected2d(80, { kernel: [2, 1], initializer, activation: 'tanh', name: 'upper' })
    .conv2d(90, { kernel: [1, 3], initializer, activation: 'tanh', name: 'conv2' })
    .flatten()
    .dense(100, { initializer, activation: 'tanh', name: 'dense' })
    .dense(classes, { initializer, name: 'out' })
    .softmaxCrossEntropy();

type Fans = Record<string, [fanIn: number, fanOut: number]>;

/** Of convolutions, with shared and with unshared weights, k_h·k_w·in and k_h·k_w·out. */
const contract: Fans = {
  conv: [3 * 5 * 20, 3 * 5 * 50],
  local: [1 * 3 * 50, 1 * 3 * 7],
  upper: [2 * 1 * 7, 2 * 1 * 80],
  conv2: [1 * 3 * 80, 1 * 3 * 90],
  dense: [90 * 2 * 2, 100],
  out: [100, classes],
};

/** Counting one location's outputs. */
const location: Fans = {
  ...{ conv: [300, 50], local: [150, 7], upper: [14, 80], conv2: [240, 90] },
  ...{ dense: contract['dense']!, out: contract['out']! },
};

/** Outputs of the hidden layers, all channels and places. */
const units: Record<string, number> = {
  conv: 50 * 5 * 10,
  local: 7 * 3 * 4,
  upper: 80 * 2 * 4,
  conv2: 90 * 2 * 2,
  dense: 100,
};

t.test('weights: the fans of every kind of layer, and biases of zero', async (t) => {
  for (const [initializer, fans] of [
    ['glorot-uniform', contract],
    ['glorot-uniform-location', location],
  ] as const) {
    const state = await start(spec(initializer));
    for (const [name, pair] of Object.entries(fans)) {
      glorot(t, state.get(`${name}.weight`), pair, `${initializer}, ${name}`);
    }
  }
  for (const initializer of initializerNames) {
    const state = await start(spec(initializer), { rule: 'fa' });
    for (const name of Object.keys(contract)) {
      const { data } = state.get(`${name}.bias`)!;
      t.ok(data.length > 0 && data.every((value) => value === 0), `${initializer}: ${name}.bias is zero`);
    }
  }
  const byDefault = network({ channels: 20, height: 5, width: 5 })
    .locallyConnected2d(30, { kernel: [2, 3] })
    .flatten()
    .dense(20);
  const state = await start(byDefault.softmaxCrossEntropy());
  glorot(t, state.get('layers.0.weight'), [120, 180], 'a layer that names no initializer');
});

t.test('networks of images start normal, as He et al. (2015) have it', async (t) => {
  const state = await start(preset('resnet20'));
  const { data, shape } = state.get('layer3.2.conv2.weight')!;
  t.strictSame(shape, [64, 64, 3, 3]);
  const variance = 2 / (64 * 9);
  const moment = (power: number): number => data.reduce((sum, w) => sum + w ** power, 0) / data.length;
  // Of 36,864 values: the deviations of these are 0.7 % and 0.03.
  t.ok(Math.abs(moment(2) / variance - 1) < 0.03, `variance ${moment(2)}, wanted ${variance}`);
  const kurtosis = moment(4) / moment(2) ** 2;
  t.ok(Math.abs(kurtosis - 3) < 0.15, `kurtosis ${kurtosis}: of a uniform distribution it is 1.8`);
});

t.test('a signal is a map of height 1', async (t) => {
  const signal = network({ channels: 16, length: 12 })
    .locallyConnected1d(20, { kernel: 5 })
    .conv1d(150, { kernel: 3 })
    .flatten()
    .dense(10)
    .softmaxCrossEntropy();
  const state = await start(signal);
  glorot(t, state.get('layers.0.weight'), [5 * 16, 5 * 20], 'locally connected');
  glorot(t, state.get('layers.1.weight'), [3 * 20, 3 * 150], 'convolution');
});

t.test('feedback of fa has the fans of the contract, whatever the weights have', async (t) => {
  for (const initializer of ['glorot-uniform', 'glorot-uniform-location', 'zeros'] as const) {
    const state = await start(spec(initializer), { rule: 'fa' });
    t.notOk(state.has('conv.weight_backward'), 'the lowest layer has none');
    for (const [name, fans] of Object.entries(contract)) {
      if (name === 'conv') continue;
      const feedback = state.get(`${name}.weight_backward`);
      t.strictSame(feedback?.shape, state.get(`${name}.weight`)!.shape);
      glorot(t, feedback, fans, `${initializer}, ${name}`);
    }
  }
});

t.test('feedback of dfa has the fans classes and units', async (t) => {
  const state = await start(spec('glorot-uniform-location'), { rule: 'dfa' });
  t.notOk(state.has('out.weight_backward'), 'the last layer has none');
  for (const [name, count] of Object.entries(units)) {
    const feedback = state.get(`${name}.weight_backward`);
    t.strictSame(feedback?.shape, [classes, count], name);
    glorot(t, feedback, [classes, count], name);
  }
  const shared = await start(spec(), { rule: 'dfa', dfaFeedback: 'shared' });
  const names = [...shared.keys()].filter((name) => name.endsWith('weight_backward'));
  t.strictSame(names, ['weight_backward']);
  const most = Math.max(...Object.values(units));
  t.strictSame(shared.get('weight_backward')!.shape, [classes, most]);
  glorot(t, shared.get('weight_backward'), [classes, most], 'shared');
});

t.test('presets: mnist-lc alone starts location by location, and only its maps', async (t) => {
  const papers = presetNames.filter((name) => !/^(alexnet|resnet)/.test(name));
  for (const name of papers) {
    for (const [i, layer] of preset(name).layers.entries()) {
      if (!('initializer' in layer)) continue;
      const isLocal = name === 'mnist-lc' && layer.type === 'locally-connected2d';
      const want = isLocal ? 'glorot-uniform-location' : 'glorot-uniform';
      t.equal(layer.initializer, want, `${name}, layers[${i}]`);
    }
  }
  const local = preset('mnist-lc').layers.filter(({ type }) => type === 'locally-connected2d');
  t.equal(local.length, 2);
  t.equal(papers.length, 9);

  const lc = await start(preset('mnist-lc'));
  glorot(t, lc.get('layers.0.weight'), [9 * 1, 32], 'mnist-lc, first');
  glorot(t, lc.get('layers.1.weight'), [9 * 32, 64], 'mnist-lc, second');
  glorot(t, lc.get('layers.2.weight'), [64 * 7 * 7, 1024], 'mnist-lc, third');
  glorot(t, lc.get('layers.3.weight'), [1024, 10], 'mnist-lc, last');
  const conv = await start(preset('mnist-conv'));
  glorot(t, conv.get('layers.1.weight'), [9 * 32, 9 * 64], 'mnist-conv, second');
  for (const [name, { data }] of [...lc, ...conv]) {
    if (name.endsWith('.bias')) {
      t.ok(
        data.every((value) => value === 0),
        `${name} is zero`,
      );
    }
  }
});
