/** Target propagation as it trains: every rule and setting against loops over float64, and what may move when. */
import t, { type Test } from 'tap';
import {
  Dataset,
  Network,
  network,
  Trainer,
  type EpochEvent,
  type NetworkOptions,
  type StateDict,
  type TrainerOptions,
} from '../../lib/index.js';
import { readMnist } from '../../lib/data/mnist.js';
import type { ResolvedSpec } from '../../lib/model/spec.js';
import { agrees, differs, relativeError } from '../support/compare.js';
import { count } from '../support/maps.js';
import { epochsOf, gradientsFrom, randomState } from '../support/networks.js';
import { randomArray, sameBits, type Numbers } from '../support/numbers.js';
import { adam, sgd, type Update } from '../support/reference.js';
import { normals, permutation } from '../support/philox.js';
import { targetReference, targetRules, type Settings } from '../support/target-reference.js';

const batch = 6;
const classes = 3;
const auxiliary = 4;
const labelsOf = (many: number): number[] => Array.from({ length: many }, (_, b) => (b * 2) % classes);
const labels = labelsOf(batch);

/** Rectangles everywhere; each kind of layer above each other kind. */
const specs = {
  dense: network({ features: 7 })
    .dense(6, { activation: 'tanh' })
    .dense(5, { activation: 'sigmoid' })
    .dense(6, { activation: 'tanh', bias: false })
    .dense(classes)
    .softmaxCrossEntropy(),
  'locally connected': network({ channels: 2, height: 6, width: 5 })
    .locallyConnected2d(3, { kernel: [3, 2], stride: [2, 1], padding: [1, 0], activation: 'tanh' })
    .locallyConnected2d(2, { kernel: [2, 3], padding: [0, 1], activation: 'tanh' })
    .flatten()
    .dense(5, { activation: 'tanh' })
    .dense(classes)
    .softmaxCrossEntropy(),
  conv2d: network({ channels: 2, height: 6, width: 5 })
    .conv2d(3, { kernel: [3, 2], stride: [2, 1], padding: [1, 0], activation: 'tanh' })
    .conv2d(2, { kernel: [2, 3], padding: [0, 1], activation: 'tanh' })
    .flatten()
    .dense(5, { activation: 'tanh' })
    .dense(classes)
    .softmaxCrossEntropy(),
  'conv2d, locally connected, conv2d': network({ channels: 1, height: 6, width: 7 })
    .conv2d(3, { kernel: [3, 2], stride: [2, 1], padding: [1, 0], activation: 'tanh', name: 'eye' })
    .locallyConnected2d(3, { kernel: [1, 2], stride: [1, 2], activation: 'tanh' })
    .conv2d(2, { kernel: [2, 2], padding: [1, 0], activation: 'tanh' })
    .flatten()
    .dense(classes)
    .softmaxCrossEntropy(),
  autoencoder: network({ features: 8 })
    .dense(6, { activation: 'tanh' })
    .dense(3, { activation: 'tanh' })
    .dense(6, { activation: 'tanh' })
    .dense(8)
    .reconstruction(),
} satisfies Record<string, ResolvedSpec>;

const imagesOf = (spec: ResolvedSpec, many = batch): Float32Array => randomArray(many * count(spec.input), 7);

/** One thread: with networks so small a team would mostly wait for itself. */
const optionsOf = (rule: Settings['rule']): NetworkOptions => ({
  ...{ rule, seed: 3, threads: 1 },
  ...(rule === 'ao-sdtp' && { auxiliary }),
});

type Options = TrainerOptions & { readonly noise?: readonly number[] };

/** Of random parameters. */
const SCALE = 0.6;

interface Optimizers {
  readonly forward: [TrainerOptions['optimizer'], () => Update];
  readonly inverse: [TrainerOptions['optimizer'], () => Update];
}
const descent: Optimizers = {
  forward: [{ type: 'sgd', lr: 0.03, momentum: 0.5 }, () => sgd(0.03, 0.5)],
  inverse: [{ type: 'sgd', lr: 0.02, momentum: 0.6 }, () => sgd(0.02, 0.6)],
};
const adams: Optimizers = {
  forward: [{ lr: 0.01, beta1: 0.9, beta2: 0.95, eps: 1e-2 }, () => adam(0.01, 0.9, 0.95, 1e-2)],
  inverse: [
    { lr: 0.02, beta1: 0.8, beta2: 0.99, eps: 1e-2, weightDecay: 0.01 },
    () => adam(0.02, 0.8, 0.99, 1e-2, 0.01),
  ],
};

const drawn = new Map<string, Float64Array>();
/** {@link normals}, which are slow, once for all settings. */
function draw(...[seed, layer, step, many]: Parameters<typeof normals>): Float64Array {
  const key = [seed, layer, step, many].join();
  if (!drawn.has(key)) drawn.set(key, normals(seed, layer, step, many));
  return drawn.get(key)!;
}

/** A trainer in float64. Each step is that of one batch, all that is in it computed before anything moves. */
function referenceTrainer(
  net: Network,
  start: StateDict,
  settings: Settings,
  noise: readonly number[],
  seed: number,
  { forward, inverse }: Optimizers,
) {
  const values = new Map([...start].map(([name, { data }]) => [name, Array.from(data)]));
  const updates = new Map(
    [...values.keys()].map((name) => [name, (name.startsWith('inverses') ? inverse : forward)[1]()]),
  );
  let step = 0;
  return {
    values,
    step(phase: EpochEvent['phase'], x: Numbers, task: Numbers) {
      const reference = targetReference(net.spec, x.length / count(net.spec.input), settings);
      const up = phase === 'inverse' ? null : reference.forward(values, x, task);
      const epsilons = reference.noiseOf((layer, many) => draw(seed, layer, step, many));
      const scaled = epsilons.map((epsilon, i) => epsilon.map((value) => value * noise[i]!));
      const down = phase === 'forward' ? null : reference.inverse(values, x, scaled);
      step++;
      for (const [name, gradient] of [...(up?.gradients ?? []), ...(down?.gradients ?? [])])
        updates.get(name)!(values.get(name)!, [...gradient]);
      return { loss: up?.loss, inverseLoss: down?.loss };
    },
  };
}

/** Twenty epochs of one batch: every parameter after one, two and twenty. */
async function compare(
  t: Test,
  what: string,
  spec: ResolvedSpec,
  options: Omit<Options, 'noise'>,
  rule: Settings['rule'],
  optimizers = descent,
  { many = batch, until = 20, scale = SCALE } = {},
): Promise<void> {
  using net = new Network(spec, optionsOf(rule));
  const start = randomState(net, () => scale);
  await net.loadStateDict(start);
  const seed = 2 ** 33 + 5;
  const settings = { ...options, rule } as Settings;
  const { inverses } = targetReference(spec, batch, settings);
  const noise = inverses.map((_, i) => 0.3 - 0.1 * i);
  const trainer = new Trainer(net, {
    ...options,
    seed,
    optimizer: optimizers.forward[0]!,
    ...(rule !== 'bp' && { noise, inverseOptimizer: optimizers.inverse[0]! }),
  });
  const reference = referenceTrainer(net, start, settings, noise, seed, optimizers);
  const [images, labels] = [imagesOf(spec, many), labelsOf(many)];
  let [done, before] = [0, start];
  for (const steps of [1, 2, 20].filter((steps) => steps <= until)) {
    const events = await epochsOf(trainer.fit(() => [{ images, labels }], { epochs: steps }));
    const previous = new Map([...reference.values].map(([name, value]) => [name, [...value]]));
    for (const { phase, train } of events) {
      const [first, second] = options.firstPhase === 'forward' ? ['forward', 'inverse'] : ['inverse', 'forward'];
      const expected =
        rule === 'bp' ? 'forward' : options.schedule !== 'alternating' ? 'both' : done % 2 ? second : first;
      if (phase !== expected) t.fail(`${what}: phase ${phase} in epoch ${done + 1}`);
      const task = spec.loss === 'reconstruction' ? images : labels;
      const { loss, inverseLoss } = reference.step(phase, images, task);
      if (loss !== undefined && !(Math.abs(train.loss - loss) < 1e-5 * loss))
        t.fail(`${what}: loss ${train.loss} instead of ${loss}`);
      if (spec.loss === 'reconstruction' && !(Math.abs(train.error * count(spec.input) - train.loss) < 1e-5))
        t.fail(`${what}: error ${train.error}, which is not the loss per value`);
      if (inverseLoss === undefined) {
        if ('inverseLoss' in train) t.fail(`${what}: an inverse loss in a forward epoch`);
      } else if (!(Math.abs(train.inverseLoss! - inverseLoss) < 1e-5 * inverseLoss))
        t.fail(`${what}: inverse loss ${train.inverseLoss} instead of ${inverseLoss}`);
      done++;
    }
    t.equal(done, steps, `${what}: an event for each epoch`);
    const state = await net.stateDict();
    for (const { name } of net.parameters) {
      const [got, want] = [state.get(name)!.data, reference.values.get(name)!];
      const error = relativeError(got, want);
      // The values, and what they changed by: a small gradient hides in a large weight.
      if (!(error < 2e-5)) t.fail(`${what}, ${steps} steps, ${name}: ${error}`);
      const moved = want.map((value, i) => value - previous.get(name)![i]!);
      if (moved.every((value) => value === 0)) {
        if (!sameBits(got, before.get(name)!.data)) t.fail(`${what}, step ${steps}: ${name} moved`);
        continue;
      }
      const change = relativeError(
        got.map((value, i) => value - before.get(name)!.data[i]!),
        moved,
      );
      const largest = Math.max(...moved.map(Math.abs));
      if (largest < 1e-5) t.fail(`${what}, step ${steps}: ${name} by ${largest}, too little to compare`);
      // Float32 weights below 1 round by 2⁻²⁵ at each step.
      if (!(change < 1e-4 || change * largest < 1e-7 + 3e-8 * steps))
        t.fail(`${what}, step ${steps}: ${name} by ${largest}, off by ${change}`);
    }
    before = state;
  }
  t.ok(true, what);
}

/** The settings, each combination that a rule has. */
function* combinations(rule: Settings['rule']): Generator<Omit<Options, 'noise'>> {
  for (const schedule of ['parallel', 'alternating'] as const)
    for (const lossReduction of ['sum', 'mean'] as const)
      for (const inverseLoss of ['noise-preserving', 'de-noising'] as const)
        for (const targetStepLoss of ['example', 'batch-mean'] as const) {
          const base = { schedule, lossReduction, inverseLoss };
          if (rule === 'dtp') yield { ...base, targetStepLoss, targetStep: targetStepLoss === 'example' ? 0.7 : 6 };
          else if (targetStepLoss === 'example') yield base;
        }
}
const describe = (options: object): string => Object.values(options).join(', ');

for (const name of ['dense', 'locally connected', 'conv2d', 'conv2d, locally connected, conv2d'] as const) {
  t.test(`${name}: twenty steps of every rule and setting`, async (t) => {
    for (const rule of targetRules)
      for (const options of combinations(rule))
        await compare(t, `${rule}, ${describe(options)}`, specs[name], options, rule);
  });
}

t.test('the autoencoder: twenty steps of every rule and setting', async (t) => {
  await compare(t, 'bp', specs.autoencoder, {}, 'bp');
  for (const rule of ['dtp', 'sdtp'] as const)
    for (const options of combinations(rule))
      await compare(t, `${rule}, ${describe(options)}`, specs.autoencoder, options, rule);
});

t.test('reconstruction: what is compared is the scaled input', async (t) => {
  const spec = specs.autoencoder;
  const bytes = Uint8Array.from({ length: 11 * 8 }, (_, i) => (i * 37) % 256);
  for (const normalization of [null, { mean: [0.4], std: [0.3] }]) {
    using net = new Network(spec, { ...optionsOf('sdtp'), normalization });
    using data = Dataset.fromArrays({ images: bytes, labels: labelsOf(11), shape: [8], classes });
    const outputs = await net.predict(bytes);
    const { mean, std } = normalization ?? { mean: [0], std: [1] };
    const loss = outputs.reduce((sum, o, i) => sum + (o - (bytes[i]! / 255 - mean[0]!) / std[0]!) ** 2 / 11, 0);
    const found = await net.evaluate(data, { batchSize: 4 });
    t.ok(Math.abs(found.loss - loss) < 1e-5 * loss, `${found.loss}, ${loss}`);
    t.ok(Math.abs(found.error - loss / 8) < 1e-5 * loss, 'error is the mean per value');
  }
});

t.test('layers wider than a vector, and a batch that is no multiple of one', async (t) => {
  const input = { channels: 2, height: 9, width: 8 };
  const wide = {
    dense: network({ features: 70 })
      .dense(67, { activation: 'tanh' })
      .dense(130, { activation: 'tanh' })
      .dense(33, { activation: 'tanh' }),
    'locally connected': network(input)
      .locallyConnected2d(17, { kernel: 3, stride: 2, padding: 1, activation: 'tanh' })
      .locallyConnected2d(18, { kernel: [3, 2], padding: [1, 0], activation: 'tanh' })
      .flatten(),
    conv2d: network(input)
      .conv2d(17, { kernel: 3, stride: 2, padding: 1, activation: 'tanh' })
      .conv2d(18, { kernel: [3, 2], padding: [1, 0], activation: 'tanh' })
      .flatten(),
  };
  for (const [name, hidden] of Object.entries(wide)) {
    const spec = hidden.dense(classes).softmaxCrossEntropy();
    for (const rule of targetRules)
      await compare(t, `${name}, ${rule}`, spec, {}, rule, descent, { many: 37, until: 2, scale: 0.15 });
  }
});

t.test('squared error against labels', async (t) => {
  const spec = network({ features: 7 })
    .dense(6, { activation: 'tanh' })
    .dense(5, { activation: 'tanh' })
    .dense(classes, { activation: 'tanh' })
    .squaredError();
  for (const rule of targetRules) await compare(t, rule, spec, {}, rule);
});

t.test('Adam with settings of its own for the inverses; forward first; the defaults', async (t) => {
  for (const rule of targetRules) {
    for (const options of [{}, { schedule: 'alternating' }] as const)
      await compare(t, `${rule}, ${describe(options)}`, specs['locally connected'], options, rule, adams);
    const forward = { schedule: 'alternating', firstPhase: 'forward' } as const;
    await compare(t, `${rule}, forward first`, specs.dense, forward, rule);
  }
});

t.test(
  'a data set, shuffled, its last batch smaller: noise by the place in the batch and the step of all',
  async (t) => {
    const spec = specs['locally connected'];
    const many = 2 * batch - 2; // the second batch is smaller
    const images = imagesOf(spec, many);
    const all = labelsOf(many);
    for (const schedule of ['parallel', 'alternating'] as const) {
      using net = new Network(spec, optionsOf('sdtp'));
      using data = Dataset.fromArrays({ images, labels: all, shape: spec.input, classes });
      const start = randomState(net, () => SCALE);
      await net.loadStateDict(start);
      const settings: Settings = { rule: 'sdtp' };
      const reference = referenceTrainer(net, start, settings, [0.2, 0.2, 0.2], 9, descent);
      const trainer = new Trainer(net, {
        ...{ schedule, batchSize: batch, seed: 9, noise: 0.2 },
        optimizer: descent.forward[0]!,
        inverseOptimizer: descent.inverse[0]!,
      });
      const events = await epochsOf(trainer.fit(data, { epochs: 4 }));
      for (const [epoch, { phase, train }] of events.entries()) {
        const order = permutation(9, epoch, many);
        let loss = 0;
        for (let first = 0; first < many; first += batch) {
          const chosen = order.slice(first, first + batch);
          const size = count(spec.input);
          const x = Float64Array.from(chosen.flatMap((i) => [...images.subarray(i * size, (i + 1) * size)]));
          const made = reference.step(
            phase,
            x,
            chosen.map((i) => all[i]!),
          );
          loss += ((made.inverseLoss ?? 0) * chosen.length) / many;
        }
        if (phase !== 'forward')
          t.ok(Math.abs(train.inverseLoss! - loss) < 1e-5 * loss, `epoch ${epoch + 1}: inverse loss`);
      }
      for (const [name, { data: got }] of await net.stateDict()) {
        agrees(t, got, reference.values.get(name)!, 2e-5, `${schedule}, ${name}`);
      }
    }
  },
);

// --- what may move when ----------------------------------------------------------------------------------------

const dataOf = (spec: ResolvedSpec, many: number): Dataset =>
  Dataset.fromArrays({
    images: imagesOf(spec, many),
    labels: labelsOf(many),
    shape: spec.input,
    classes,
  });

t.test('an epoch moves all that it trains, bit by bit nothing else', async (t) => {
  for (const [name, spec] of Object.entries(specs)) {
    for (const rule of targetRules.filter((rule) => name !== 'autoencoder' || rule.endsWith('dtp'))) {
      if (name === 'autoencoder' && rule === 'ao-sdtp') continue;
      for (const schedule of ['parallel', 'alternating'] as const) {
        using net = new Network(spec, optionsOf(rule));
        using data = dataOf(spec, 20);
        const trainer = new Trainer(net, { schedule, batchSize: 7 });
        const roles = new Set(net.parameters.map(({ role }) => role));
        t.equal(roles.has('fixed'), rule === 'ao-sdtp');
        let before = await net.stateDict();
        for (let epoch = 1; epoch <= 4; epoch++) {
          const [{ phase }] = (await epochsOf(trainer.fit(data, { epochs: epoch }))) as [EpochEvent];
          const after = await net.stateDict();
          for (const { name: parameter, role, trainable } of net.parameters) {
            const phaseOfRole = role === 'learned' ? 'inverse' : role;
            const moved = !sameBits(after.get(parameter)!.data, before.get(parameter)!.data);
            t.equal(trainable, role !== 'fixed');
            const what = `${name}, ${rule}, ${schedule}, epoch ${epoch}: ${parameter}`;
            t.equal(moved, role !== 'fixed' && (phase === 'both' || phase === phaseOfRole), what);
          }
          before = after;
        }
      }
    }
  }
});

t.test('the inverses that a rule has', async (t) => {
  const names = (rule: Settings['rule'], spec: ResolvedSpec = specs['locally connected']): string[] => {
    using net = new Network(spec, optionsOf(rule));
    return net.parameters
      .filter(({ role }) => role !== 'forward')
      .map(({ name, shape, role }) => `${role} ${name} ${shape.join('×')}`);
  };
  const hidden = [
    'learned inverses.1.weight 2×4×2×3×3×2',
    'learned inverses.1.bias 3×3×4',
    'learned inverses.2.weight 5×16',
    'learned inverses.2.bias 16',
  ];
  const last = ['learned inverses.3.weight 3×5', 'learned inverses.3.bias 5'];
  t.strictSame(names('dtp').sort(), [...hidden].sort());
  for (const rule of ['tp', 'sdtp'] as const) t.strictSame(names(rule).sort(), [...hidden, ...last].sort());
  t.strictSame(
    names('ao-sdtp').sort(),
    [
      ...hidden,
      ...['learned inverses.3.weight 7×5', 'learned inverses.3.bias 5'],
      ...['fixed auxiliary.weight 4×5', 'fixed auxiliary.bias 4'],
    ].sort(),
  );
  t.strictSame(names('bp'), []);
});

t.test('networks that differ in their rule begin with equal weights; biases of inverses are zero', async (t) => {
  using bp = new Network(specs.conv2d, optionsOf('bp'));
  const want = await bp.stateDict();
  for (const rule of targetRules) {
    using net = new Network(specs.conv2d, optionsOf(rule));
    const state = await net.stateDict();
    for (const [name, { data }] of want) t.ok(sameBits(state.get(name)!.data, data), `${rule}, ${name}`);
    for (const { name, role } of net.parameters) {
      if (role === 'forward') continue;
      const { data } = state.get(name)!;
      t.ok(
        data.every((value) => (value === 0) === name.endsWith('bias')),
        `${rule}, ${name}`,
      );
    }
  }
});

t.test('a network of two layers has one inverse, that of the output', async (t) => {
  const spec = network({ features: 7 }).dense(6, { activation: 'tanh' }).dense(classes).softmaxCrossEntropy();
  for (const rule of ['tp', 'sdtp', 'ao-sdtp'] as const) await compare(t, rule, spec, {}, rule);
});

/** What one step of gradient descent with a learning rate of 1 subtracts. */
async function stepped(
  spec: ResolvedSpec,
  rule: Settings['rule'],
  state: StateDict | null,
  batches: { images: Float32Array; labels: number[] },
  more: TrainerOptions = {},
) {
  using net = new Network(spec, optionsOf(rule));
  const start = state ?? randomState(net, () => SCALE);
  await net.loadStateDict(start);
  const outputs = await net.predict(batches.images);
  const one = { type: 'sgd', lr: 1 } as const;
  const trainer = new Trainer(net, { ...more, optimizer: one, inverseOptimizer: one });
  await epochsOf(trainer.fit(() => [batches], { epochs: 1 }));
  const after = await net.stateDict();
  const moved = gradientsFrom(start, after, one.lr);
  return { start, outputs, moved };
}

t.test('the two inverse losses: the same without noise, and with it apart by what they should', async (t) => {
  const spec = specs['locally connected'];
  const batches = { images: imagesOf(spec), labels };
  for (const rule of targetRules) {
    for (const sigma of [0, 0.3]) {
      const [preserving, de] = [
        await stepped(spec, rule, null, batches, { noise: sigma, inverseLoss: 'noise-preserving' }),
        await stepped(spec, rule, null, batches, { noise: sigma, inverseLoss: 'de-noising' }),
      ];
      const wants = (['noise-preserving', 'de-noising'] as const).map((inverseLoss) => {
        const reference = targetReference(spec, batch, { rule, inverseLoss });
        const drawn = reference.noiseOf((layer, many) => normals(3, layer, 0, many));
        const values = new Map([...preserving.start].map(([name, { data }]) => [name, data]));
        return reference.inverse(
          values,
          batches.images,
          drawn.map((epsilon) => epsilon.map((value) => value * sigma)),
        ).gradients;
      });
      for (const [name, gradient] of wants[0]!) {
        const [a, b] = [preserving.moved.get(name)!, de.moved.get(name)!];
        if (sigma === 0) {
          t.ok(sameBits(a, b), `${rule}, no noise, ${name}`);
          continue;
        }
        const difference = gradient.map((value, i) => value - wants[1]!.get(name)![i]!);
        differs(t, a, b, 0.02, `${rule}, ${name}`);
        const found = a.map((value, i) => value - b[i]!);
        agrees(t, found, difference, 1e-4, `${rule}, ${name}: the difference`);
      }
    }
  }
});

t.test('sdtp hands no loss gradient down: what W_L is beside its outputs, no hidden layer feels', async (t) => {
  const spec = network({ features: 7 })
    .dense(9, { activation: 'tanh' })
    .dense(12, { activation: 'tanh' }) // more units than examples
    .dense(classes)
    .softmaxCrossEntropy();
  const batches = { images: imagesOf(spec), labels };
  for (const rule of targetRules) {
    const one = await stepped(spec, rule, null, batches);
    // Something orthogonal to all of the batch's h_{L−1}: Gram and Schmidt, twice.
    const values = new Map([...one.start].map(([name, { data }]) => [name, data]));
    const h = targetReference(spec, batch, { rule }).forward(values, batches.images, labels).h[2]!;
    const basis: number[][] = [];
    const orthogonal = (vector: number[]): number[] => {
      for (let again = 0; again < 2; again++)
        for (const unit of basis) {
          const along = vector.reduce((sum, value, j) => sum + value * unit[j]!, 0);
          vector = vector.map((value, j) => value - along * unit[j]!);
        }
      return vector;
    };
    for (let b = 0; b < batch; b++) {
      const rest = orthogonal(Array.from({ length: 12 }, (_, j) => h[b * 12 + j]!));
      const length = Math.hypot(...rest);
      basis.push(rest.map((value) => value / length));
    }
    const state = new Map(one.start);
    const weight = state.get('layers.2.weight')!;
    const extra = Array.from({ length: classes }, (_, k) => orthogonal([...randomArray(12, 60 + k, 1)])).flat();
    state.set('layers.2.weight', { ...weight, data: weight.data.map((value, i) => value + extra[i]!) });
    differs(t, state.get('layers.2.weight')!.data, weight.data, 0.5, 'other weights');
    const other = await stepped(spec, rule, state, batches);
    agrees(t, other.outputs, one.outputs, 1e-6, 'the same outputs');
    for (const [name, moved] of one.moved) {
      if (!/layers\.[01]/.test(name)) continue;
      const check = rule === 'dtp' ? differs : agrees;
      check(t, other.moved.get(name)!, moved, rule === 'dtp' ? 0.1 : 2e-5, `${rule}, ${name}`);
    }
  }
});

t.test('state() and loadState() inside an inverse epoch: it goes on bit for bit', async (t) => {
  const spec = specs['conv2d, locally connected, conv2d'];
  for (const rule of targetRules) {
    for (const [schedule, maxSteps, phase] of [
      ['alternating', 2, 'inverse'], // three steps an epoch
      ['alternating', 5, 'forward'],
      ['alternating', 8, 'inverse'],
      ['parallel', 5, 'both'],
    ] as const) {
      const settings = { schedule, batchSize: 7, noise: 0.2, seed: 5 };
      using data = dataOf(spec, 20);
      using whole = new Network(spec, optionsOf(rule));
      using one = new Network(spec, optionsOf(rule));
      using other = new Network(spec, { ...optionsOf(rule), seed: 8 });
      const all = await epochsOf(new Trainer(whole, settings).fit(data, { epochs: 5 }));
      const a = new Trainer(one, settings);
      const cut = await epochsOf(a.fit(data, { epochs: 5, maxSteps }));
      t.strictSame([cut.at(-1)!.phase, cut.at(-1)!.partial], [phase, true]);
      await other.loadStateDict(await one.stateDict());
      const b = new Trainer(other, settings);
      await b.loadState(structuredClone(await a.state()));
      const rest = await epochsOf(b.fit(data, { epochs: 5 }));
      t.strictSame(
        rest.map((event) => [event.epoch, event.phase, event.train]),
        all.slice(cut.length - 1).map((event) => [event.epoch, event.phase, event.train]),
      );
      const state = await other.stateDict();
      for (const [name, { data: want }] of await whole.stateDict())
        t.ok(sameBits(state.get(name)!.data, want), `${rule}, ${schedule}, after ${maxSteps} steps: ${name}`);
    }
  }
});

t.test('MNIST: the inverse loss falls', async (t) => {
  const { train } = await readMnist();
  const many = 1000;
  const images = train.images.slice(0, many * 784);
  using data = Dataset.fromArrays({ images, labels: train.labels.slice(0, many), shape: [784], classes: 10 });
  const spec = network({ features: 784 })
    .dense(64, { activation: 'tanh' })
    .dense(48, { activation: 'tanh' })
    .dense(10)
    .softmaxCrossEntropy();
  for (const rule of targetRules) {
    for (const schedule of ['parallel', 'alternating'] as const) {
      using net = new Network(spec, optionsOf(rule));
      const trainer = new Trainer(net, {
        ...{ schedule, batchSize: 50, noise: 0.1 },
        optimizer: { lr: 3e-4 },
        inverseOptimizer: { lr: 3e-3 },
      });
      const events = await epochsOf(trainer.fit(data, { epochs: schedule === 'parallel' ? 4 : 7 }));
      const losses = events.flatMap(({ train: { inverseLoss } }) => inverseLoss ?? []);
      t.equal(losses.length, 4);
      t.ok(losses[3]! < 0.75 * losses[0]!, `${rule}, ${schedule}: ${losses.join(', ')}`);
      const forward = events.filter(({ phase }) => phase !== 'inverse');
      t.ok(forward.at(-1)!.train.loss < forward[0]!.train.loss, `${rule}, ${schedule}: so does the task’s`);
    }
  }
});
