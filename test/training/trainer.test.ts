import path from 'node:path';
import t from 'tap';
import {
  Dataset,
  Network,
  network,
  Trainer,
  type OptimizerOptions,
  type ProgressEvent,
  type StateDict,
  type TrainerOptions,
} from '../../lib/index.js';
import { CortorchError } from '../../lib/errors.js';
import { readCheckpoint, writeCheckpoint } from '../../lib/training/checkpoint.js';
import { learningRateFactor, resolveLrSchedule } from '../../lib/training/lr-schedule.js';
import { agrees } from '../support/compare.js';
import { epochsOf } from '../support/networks.js';
import { randomArray, rows, sameBits } from '../support/numbers.js';
import { adam, gradients, rmsprop, sgd, type ReferenceLayer, type Update } from '../support/reference.js';
import { refusal } from '../support/refusal.js';

const spec = network({ features: 9 })
  .dense(7, { activation: 'tanh' })
  .dense(5, { activation: 'tanh' })
  .dense(4)
  .softmaxCrossEntropy();
const count = 30;
const images = randomArray(count * 9, 1);
const labels = Array.from({ length: count }, (_, i) => (i * 3) % 4);
const dataset = (): Dataset => Dataset.fromArrays({ images, labels, shape: [9], classes: 4 });

async function drain<T>(events: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const event of events) all.push(event);
  return all;
}

function sameState(a: StateDict, b: StateDict): boolean {
  return [...a].every(([name, { data }]) => sameBits(data, b.get(name)!.data));
}

t.test('twenty steps of every rule and optimizer against the float64 reference, parameter by parameter', async (t) => {
  const optimizers: [OptimizerOptions, () => Update][] = [
    [{ type: 'adam', lr: 0.01, beta1: 0.9, beta2: 0.95, eps: 1e-4 }, () => adam(0.01, 0.9, 0.95, 1e-4)],
    [{ type: 'adam', lr: 0.01, eps: 1e-3, weightDecay: 0.1 }, () => adam(0.01, 0.9, 0.999, 1e-3, 0.1)],
    [{ type: 'sgd', lr: 0.1 }, () => sgd(0.1)],
    [{ type: 'sgd', lr: 0.1, momentum: 0.9, weightDecay: 0.01 }, () => sgd(0.1, 0.9, 0.01)],
    [{ type: 'rmsprop', lr: 0.01, eps: 1e-3 }, () => rmsprop(0.01, 0.99, 1e-3)],
    [{ type: 'rmsprop', lr: 0.01, beta2: 0.9, eps: 1e-3, momentum: 0.5 }, () => rmsprop(0.01, 0.9, 1e-3, 0.5)],
    [{ type: 'rmsprop', lr: 0.01, eps: 1e-2, weightDecay: 0.1 }, () => rmsprop(0.01, 0.99, 1e-2, 0, 0.1)],
    [
      { type: 'rmsprop', lr: 0.01, eps: 1e-2, momentum: 0.5, weightDecay: 0.1 },
      () => rmsprop(0.01, 0.99, 1e-2, 0.5, 0.1),
    ],
  ];
  for (const rule of ['bp', 'fa', 'dfa'] as const) {
    for (const [optimizer, update] of optimizers) {
      using net = new Network(spec, { rule, seed: 4 });
      using data = dataset();
      const start = await net.stateDict();
      const sizes = [9, 7, 5];
      const layers = sizes.map((inputs, l): ReferenceLayer => {
        const feedback = start.get(`layers.${l}.weight_backward`);
        return {
          weight: rows(start.get(`layers.${l}.weight`)!.data, inputs),
          bias: [...start.get(`layers.${l}.bias`)!.data],
          feedback: feedback === undefined ? null : rows(feedback.data, feedback.shape[1]!),
          activation: l === 2 ? 'identity' : 'tanh',
        };
      });
      const updates = layers.map(() => ({ weight: update(), bias: update() }));
      // The whole set is one batch, so its order does not matter.
      const trainer = new Trainer(net, { optimizer, batchSize: count });
      const losses: number[] = [];
      for (const steps of [1, 20]) {
        const events = await drain(trainer.fit(data, { epochs: steps }));
        losses.push(...(await epochsOf(events)).map((event) => event.train.loss));
        for (let step = steps === 1 ? 0 : 1; step < steps; step++) {
          const result = gradients(layers, rule, rows(images, 9), labels);
          const loss = losses[step]!;
          if (!(Math.abs(loss - result.loss) <= 1e-4 * result.loss)) t.fail(`loss ${loss} instead of ${result.loss}`);
          layers.forEach((layer, l) => {
            const flat = layer.weight.flat();
            updates[l]!.weight(flat, result.gradients[l]!.weight.flat());
            layer.weight = rows(flat, sizes[l]!);
            updates[l]!.bias(layer.bias!, result.gradients[l]!.bias);
          });
        }
        const state = await net.stateDict();
        layers.forEach((layer, l) => {
          const name = `${rule}, ${optimizer.type}, ${steps} steps, layer ${l}`;
          agrees(t, state.get(`layers.${l}.weight`)!.data, layer.weight.flat(), 2e-5, `${name}, weight`);
          agrees(t, state.get(`layers.${l}.bias`)!.data, layer.bias!, 2e-5, `${name}, bias`);
        });
      }
    }
  }
});

t.test('every value of a large parameter has its own gradient and its own moments', async (t) => {
  // Parameters are updated in pieces of 16,384 values. The gradient of a squared error of linear outputs is a product.
  const [inputs, units] = [150, 300];
  const wide = network({ features: inputs }).dense(units, { bias: false }).squaredError();
  const x = randomArray(inputs, 3);
  const y = randomArray(units, 4);
  const all: [OptimizerOptions, () => Update][] = [
    [{ type: 'adam', lr: 0.01, eps: 1e-2 }, () => adam(0.01, 0.9, 0.999, 1e-2)],
    [{ type: 'sgd', lr: 0.001, momentum: 0.9 }, () => sgd(0.001, 0.9)],
    [{ type: 'rmsprop', lr: 0.001, eps: 1e-2, momentum: 0.5 }, () => rmsprop(0.001, 0.99, 1e-2, 0.5)],
  ];
  for (const [optimizer, update] of all) {
    using net = new Network(wide, { seed: 1 });
    using data = Dataset.fromArrays({ images: x, targets: y, shape: [inputs] });
    const weight = Array.from((await net.stateDict()).get('layers.0.weight')!.data);
    const before = [...weight];
    const step = update();
    for (let i = 0; i < 4; i++) {
      const errors = Array.from(y, (wanted, u) => {
        let output = -wanted;
        for (let j = 0; j < inputs; j++) output += weight[u * inputs + j]! * x[j]!;
        return output;
      });
      step(
        weight,
        weight.map((_, k) => 2 * errors[Math.floor(k / inputs)]! * x[k % inputs]!),
      );
    }
    const trainer = new Trainer(net, { optimizer, batchSize: 1 });
    await drain(trainer.fit(data, { epochs: 4 }));
    const after = (await net.stateDict()).get('layers.0.weight')!.data;
    const moved = (values: ArrayLike<number>): number[] => before.map((value, k) => values[k]! - value);
    agrees(t, moved(after), moved(weight), 1e-4, optimizer.type!);
  }
});

t.test('squared error with real-valued targets learns them', async (t) => {
  using net = new Network(network({ features: 9 }).dense(20, { activation: 'tanh' }).dense(2).squaredError(), {
    seed: 1,
  });
  const targets = Float32Array.from({ length: count * 2 }, (_, i) => Math.sin(i));
  using data = Dataset.fromArrays({ images, targets, shape: [9] });
  const trainer = new Trainer(net, { optimizer: { lr: 0.01 }, batchSize: 10 });
  const events = await epochsOf(trainer.fit(data, { epochs: 300, test: data }));
  const [first, last] = [events[0]!, events.at(-1)!];
  t.ok(last.test!.loss < 0.05 * first.train.loss, `${first.train.loss} → ${last.test!.loss}`);
  t.ok(Math.abs(last.test!.error - last.test!.loss / 2) < 1e-6, 'error is the mean per output');
  t.equal(last.test!.error5, null);
});

t.test('events: what they say, and that nothing is lost', async (t) => {
  using net = new Network(spec, { seed: 1 });
  using data = dataset();
  const trainer = new Trainer(net, { batchSize: 7, optimizer: { type: 'sgd', lr: 0 } });
  const events = await drain(trainer.fit(data, { epochs: 2, validation: data, test: data }));
  const epochs = await epochsOf(events);
  const [first, second] = epochs;
  t.equal(epochs.length, 2);
  const { loss, error } = await net.evaluate(data);
  // With a learning rate of 0 every pass, in whatever batches, sees the same network.
  for (const event of [first!, second!]) {
    t.ok(Math.abs(event.train.loss - loss) < 1e-6);
    t.equal(event.train.error, error);
    t.strictSame(event.validation, event.test);
    t.ok(event.seconds > 0 && event.evaluationSeconds > 0 && event.imagesPerSecond > 0);
    t.equal(event.partial, undefined);
  }
  const progress = events.filter((event): event is ProgressEvent => event.type === 'progress');
  t.equal(progress.at(-1)!.stepsPerEpoch, 5, '30 examples in batches of 7: the last has 2');
  t.equal(progress.at(-1)!.step, 10);
  t.equal(progress.at(-1)!.secondsLeft, 0, 'nothing is left of the last epoch');
  t.equal((await trainer.state()).step, 10);
});

t.test('the same seed gives the same bits; another seed does not', async (t) => {
  const run = async (seed: number): Promise<StateDict> => {
    using net = new Network(spec, { rule: 'dfa', seed });
    using data = dataset();
    await drain(new Trainer(net, { batchSize: 7 }).fit(data, { epochs: 3 }));
    return await net.stateDict();
  };
  const [a, b, c] = [await run(1), await run(1), await run(2)];
  t.ok(sameState(a, b));
  t.notOk(sameState(a, c));
  using net = new Network(spec, { seed: 2 });
  t.equal(new Trainer(net).seed, 2, 'the order of the examples is drawn by the network’s seed too');
  t.equal(new Trainer(net, { seed: 5 }).seed, 5);
});

t.test('every example once an epoch, in another order each time', async (t) => {
  // Each example switches on one weight alone, and SGD on one example moves it: so weights count visits.
  using net = new Network(network({ features: count }).dense(1, { bias: false, initializer: 'zeros' }).squaredError());
  const eye = Float32Array.from({ length: count * count }, (_, i) => (i % (count + 1) === 0 ? 1 : 0));
  using data = Dataset.fromArrays({ images: eye, targets: new Float32Array(count).fill(1), shape: [count] });
  const trainer = new Trainer(net, { batchSize: 1, optimizer: { type: 'sgd', lr: 0.25 }, seed: 3 });
  for (const epoch of [1, 2]) {
    await drain(trainer.fit(data, { epochs: epoch }));
    const { data: weight } = (await net.stateDict()).get('layers.0.weight')!;
    t.ok(
      weight.every((w) => w === 1 - 0.5 ** epoch),
      `epoch ${epoch}`,
    );
  }
  const seen = async (epochs: number, maxSteps: number): Promise<number[]> => {
    using one = new Network(
      network({ features: count }).dense(1, { bias: false, initializer: 'zeros' }).squaredError(),
    );
    const t1 = new Trainer(one, { batchSize: 1, optimizer: { type: 'sgd', lr: 0.25 }, seed: 3 });
    await drain(t1.fit(data, { epochs, maxSteps }));
    return [...(await one.stateDict()).get('layers.0.weight')!.data];
  };
  const first = (await seen(1, 10)).map((w) => w > 0);
  const second = (await seen(2, 40)).map((w) => w > 0.5);
  t.equal(first.filter(Boolean).length, 10);
  t.equal(second.filter(Boolean).length, 10);
  t.notSame(first, second, 'the first ten of another epoch are others');
  t.notSame(first.slice(0, 10), Array(10).fill(true), 'and not simply the first ten');
});

t.test('maxSteps ends inside an epoch, and training goes on from there as if nothing had been', async (t) => {
  const options = { batchSize: 7, lrSchedule: { type: 'cosine' } } as const;
  using whole = new Network(spec, { seed: 1 });
  using halves = new Network(spec, { seed: 1 });
  using data = dataset();
  const events = await drain(new Trainer(whole, options).fit(data, { epochs: 3 }));
  const trainer = new Trainer(halves, options);
  const before = await epochsOf(trainer.fit(data, { epochs: 3, maxSteps: 8, test: data }));
  t.strictSame(
    before.map((event) => [event.epoch, event.partial ?? false, event.test !== null]),
    [
      [1, false, true],
      [2, true, true],
    ],
  );
  const after = await epochsOf(trainer.fit(data, { epochs: 3 }));
  t.strictSame(
    after.map((event) => event.epoch),
    [2, 3],
  );
  t.ok(sameState(await whole.stateDict(), await halves.stateDict()));
  t.strictSame(
    after.map((event) => event.train),
    (await epochsOf(events)).slice(1).map((event) => event.train),
  );
});

t.test('state() and loadState(): another process’s trainer goes on bit for bit', async (t) => {
  for (const type of ['adam', 'sgd', 'rmsprop'] as const) {
    const optimizer = type === 'sgd' ? { type, momentum: 0.9 } : { type };
    using one = new Network(spec, { seed: 1 });
    using other = new Network(spec, { seed: 2 });
    using data = dataset();
    const a = new Trainer(one, { batchSize: 7, optimizer, seed: 9 });
    await drain(a.fit(data, { epochs: 2, maxSteps: 8 }));
    await other.loadStateDict(await one.stateDict());
    const b = new Trainer(other, { batchSize: 7, optimizer, seed: 9 });
    const state = await a.state();
    t.ok(state.sums.examples > 0 && state.sums.seconds > 0, 'in the middle of an epoch');
    t.equal(state.optimizer.steps, 8);
    const file = path.join(t.testdir(), 'last.pt');
    await writeCheckpoint(file, {
      ...{ parameters: await one.stateDict(), epoch: state.epoch, step: state.step, metrics: null },
      config: { network: one.spec, rule: 'bp', normalization: null, seed: 1 },
      training: { state, best: null },
    });
    const read = (await readCheckpoint(file)).training!.state;
    t.strictSame(read, state, `${type}: a file keeps all of it`);
    await b.loadState(read);
    const [left, right] = await Promise.all([drain(a.fit(data, { epochs: 4 })), drain(b.fit(data, { epochs: 4 }))]);
    t.ok(sameState(await one.stateDict(), await other.stateDict()), type);
    t.strictSame(
      (await epochsOf(right)).map((event) => event.train),
      (await epochsOf(left)).map((event) => event.train),
    );
  }
  using net = new Network(spec, { seed: 1 });
  const state = await new Trainer(net, { seed: 1 }).state();
  await t.rejects(new Trainer(net, { seed: 2 }).loadState(state), {
    code: 'ERR_CHECKPOINT_MISMATCH',
    message: /seed is 1/,
  });
  const more = { name: 'layers.3.weight', shape: [1], state: {} };
  const parameters = [...state.optimizer.parameters, more];
  await t.rejects(
    new Trainer(net, { seed: 1 }).loadState({ ...state, optimizer: { ...state.optimizer, parameters } }),
    { code: 'ERR_CHECKPOINT_MISMATCH', message: /its parameters are .*layers\.3\.weight/ },
    'of a deeper network',
  );
  await t.rejects(new Trainer(net, { seed: 1, optimizer: { type: 'sgd' } }).loadState(state), {
    message: /optimizer adam/,
  });
  using wider = new Network(network({ features: 9 }).dense(4).softmaxCrossEntropy(), { seed: 1 });
  await t.rejects(new Trainer(wider, { seed: 1 }).loadState(state), {
    message: /its parameters are layers\.0\.weight/,
  });
});

t.test('every optimizer follows the schedule', async (t) => {
  for (const type of ['adam', 'sgd', 'rmsprop'] as const) {
    /** What the first step moves; half of the first epoch is to warm up, which is one step of the two. */
    const moved = async (warmupEpochs: number): Promise<number[]> => {
      using net = new Network(spec, { seed: 1 });
      using data = dataset();
      const before = (await net.stateDict()).get('layers.1.weight')!.data;
      const options = { optimizer: { type, lr: 0.01, eps: type === 'sgd' ? undefined : 1e-4 }, batchSize: 15 };
      const trainer = new Trainer(net, { ...options, lrSchedule: { warmupEpochs } } as TrainerOptions);
      await drain(trainer.fit(data, { epochs: 1, maxSteps: 1 }));
      const after = (await net.stateDict()).get('layers.1.weight')!.data;
      return Array.from(before, (value, i) => after[i]! - value);
    };
    const whole = await moved(0);
    agrees(
      t,
      await moved(2),
      whole.map((value) => value / 4),
      1e-3,
      type,
    );
  }
});

t.test('learning-rate schedules', async (t) => {
  const factors = (options: object, steps: number[], perEpoch = 10, epochs = 4): number[] =>
    steps.map((step) => learningRateFactor(resolveLrSchedule(options), step, perEpoch, epochs));
  t.strictSame(factors({}, [0, 5, 39]), [1, 1, 1]);
  t.strictSame(factors({ type: 'step', steps: [1, 3], decay: 0.5 }, [0, 9, 10, 29, 30]), [1, 1, 0.5, 0.5, 0.25]);
  const cosine = factors({ type: 'cosine' }, [0, 20, 40]);
  t.ok(cosine[0] === 1 && Math.abs(cosine[1]! - 0.5) < 1e-12 && cosine[2] === 0);
  t.strictSame(factors({ type: 'cosine' }, [50, 80]), [0, 0], 'and there it stays');
  // Twenty steps of warm-up, and a fall in their middle.
  const risen = factors({ type: 'step', steps: [1], decay: 0.5, warmupEpochs: 2 }, [0, 9, 10, 19, 20]);
  [1 / 20, 10 / 20, 11 / 40, 1 / 2, 1 / 2].forEach((want, i) => t.ok(Math.abs(risen[i]! - want) < 1e-12));
  t.strictSame(factors({ warmupEpochs: 0.5 }, [0, 1, 4, 5, 30]), [0.2, 0.4, 1, 1, 1]);
  const warm = factors({ type: 'cosine', warmupEpochs: 2 }, [0, 19, 20, 30]);
  t.ok(warm[0] === 0.05 && warm[1] === 1 && warm[2] === 1 && Math.abs(warm[3]! - 0.5) < 1e-12);
  for (const [options, message] of [
    [{ type: 'linear' }, /`lrSchedule\.type`/],
    [{ type: 'step' }, /`lrSchedule\.steps`/],
    [{ type: 'step', steps: [3, 1] }, /rising/],
    [{ type: 'step', steps: [3], decay: 0 }, /`lrSchedule\.decay`/],
    [{ type: 'cosine', steps: [1] }, /not used by the cosine schedule/],
    [{ warmupEpochs: -1 }, /`lrSchedule\.warmupEpochs`/],
    [{ warmupEpoch: 1 }, /did you mean warmupEpochs\?/],
  ] as [object, RegExp][]) {
    t.throws(() => resolveLrSchedule(options), { message }, String(message));
  }
  // And that the factor arrives: SGD on a linear network with a constant gradient.
  using net = new Network(network({ features: 1 }).dense(1, { bias: false, initializer: 'zeros' }).squaredError());
  using data = Dataset.fromArrays({
    images: Float32Array.of(0, 0),
    targets: new Float32Array(2),
    shape: [1],
  });
  const state = await net.stateDict();
  state.get('layers.0.weight')!.data[0] = 1;
  await net.loadStateDict(state);
  const one = { images: Float32Array.of(0), targets: Float32Array.of(0) };
  for (const source of [data, () => [one, one]]) {
    await net.loadStateDict(state);
    const trainer = new Trainer(net, {
      optimizer: { type: 'sgd', lr: 0.1, weightDecay: 1 }, // the weight decays by lr each step
      lrSchedule: { type: 'step', steps: [1], decay: 0.5 },
      batchSize: 1,
    });
    await drain(trainer.fit(source, { epochs: 2, stepsPerEpoch: 2 }));
    const got = (await net.stateDict()).get('layers.0.weight')!.data[0]!;
    t.ok(Math.abs(got - 0.9 ** 2 * 0.95 ** 2) < 1e-6, String(got));
  }
  for (const lrSchedule of [{ type: 'cosine' }, { warmupEpochs: 0.5 }] as const) {
    const trainer = new Trainer(net, { lrSchedule });
    await t.rejects(
      drain(trainer.fit(() => [one], { epochs: 1 })),
      { message: /`stepsPerEpoch`/ },
      'nobody knows how many there will be',
    );
  }
});

t.test('a loss that becomes NaN or infinite: which step, and that it was not made', async (t) => {
  using net = new Network(spec, { seed: 1 });
  const broken = Float32Array.from(images);
  broken[17 * 9] = NaN; // one bad example
  using data = Dataset.fromArrays({ images: broken, labels, shape: [9], classes: 4 });
  const trainer = new Trainer(net, { batchSize: 5, optimizer: { lr: 0.01 }, seed: 1 });
  const { code, message } = await refusal(CortorchError, () => drain(trainer.fit(data, { epochs: 3 })));
  t.equal(code, 'ERR_LOSS_NOT_FINITE');
  const { step } = await trainer.state();
  t.ok(step < 6, `stopped at step ${step}`);
  t.match(message, `at step ${step + 1} (step ${step + 1} of epoch 1)`, 'the one that was not made');
  for (const [name, { data: values }] of await net.stateDict()) {
    t.ok(values.every(Number.isFinite), `${name} is whole`);
  }
  t.equal((await trainer.state()).optimizer.steps, step, 'the optimizer did not step');
  using wild = new Network(network({ features: 9 }).dense(4).squaredError(), { seed: 1 });
  using fine = dataset();
  await t.rejects(drain(new Trainer(wild, { optimizer: { type: 'sgd', lr: 1e10 } }).fit(fine, { epochs: 9 })), {
    code: 'ERR_LOSS_NOT_FINITE',
  });
});

t.test('batches of the caller’s own', async (t) => {
  using one = new Network(spec, { seed: 1 });
  using other = new Network(spec, { seed: 1 });
  const batches = [0, 1, 2].map((b) => ({
    images: images.slice(b * 90, (b + 1) * 90),
    labels: labels.slice(b * 10, (b + 1) * 10),
  }));
  let asked = 0;
  async function* stream(): AsyncGenerator<(typeof batches)[number]> {
    for (const batch of batches) {
      asked++;
      await new Promise((resolve) => setImmediate(resolve));
      yield batch;
    }
  }
  const a = new Trainer(one, { optimizer: { type: 'sgd', lr: 0.1 } });
  const events = await epochsOf(a.fit(stream, { epochs: 2 }));
  t.equal(asked, 6);
  // The same by hand: one data set a batch, of which each is a whole epoch.
  const b = new Trainer(other, { optimizer: { type: 'sgd', lr: 0.1 }, batchSize: 10 });
  for (let epoch = 0; epoch < 2; epoch++) {
    for (const [i, batch] of batches.entries()) {
      using data = Dataset.fromArrays({ ...batch, shape: [9], classes: 4 });
      await drain(b.fit(data, { epochs: epoch * 3 + i + 1 }));
    }
  }
  const [left, right] = [await one.stateDict(), await other.stateDict()];
  // An epoch of one batch is shuffled, so sums over the batch come in another order.
  for (const [name, { data }] of left) agrees(t, data, right.get(name)!.data, 1e-6, name);
  t.strictSame(
    events.map((event) => event.epoch),
    [1, 2],
  );

  // maxSteps in the middle of a stream: the epoch is not over, no batch too many is asked for, and it goes on.
  using third = new Network(spec, { seed: 1 });
  const c = new Trainer(third, { optimizer: { type: 'sgd', lr: 0.1 } });
  asked = 0;
  const cut = await epochsOf(c.fit(stream, { epochs: 2, maxSteps: 2 }));
  t.strictSame([cut.length, cut[0]!.partial, asked], [1, true, 2]);
  t.strictSame([(await c.state()).epoch, (await c.state()).stepInEpoch], [0, 2]);
  await drain(c.fit(stream, { epochs: 2 }));
  t.ok(sameState(await third.stateDict(), left), 'the same as without the cut');

  const abort = new AbortController();
  const stuck = async function* (): AsyncGenerator<(typeof batches)[number]> {
    yield batches[0]!;
    setTimeout(() => abort.abort(), 10);
    await new Promise(() => undefined); // never
  };
  await t.rejects(
    drain(new Trainer(third).fit(stuck, { epochs: 3, signal: abort.signal })),
    { code: 'ERR_ABORTED' },
    'not waited for',
  );
  await t.rejects(drain(new Trainer(third).fit(() => [undefined as never], { epochs: 9 })), {
    code: 'ERR_INVALID_ARGUMENT',
  });

  const failing = function* (): Generator<(typeof batches)[number]> {
    yield batches[0]!;
    throw new Error('the disk is gone');
  };
  await t.rejects(drain(new Trainer(third).fit(failing, { epochs: 3 })), { message: 'the disk is gone' });
  await t.rejects(drain(new Trainer(third).fit(() => [], { epochs: 9 })), { message: /at least one batch/ });
  await t.rejects(drain(new Trainer(third).fit(() => [{ images: new Float32Array(9), labels: [4] }], { epochs: 9 })), {
    message: /labels\[0\] is 4/,
  });
});

t.test('bad arguments', async (t) => {
  using net = new Network(spec);
  using data = dataset();
  const made =
    (options: object): (() => Trainer) =>
    () =>
      new Trainer(net, options);
  t.throws(made({ batchSize: 0 }), { message: /`batchSize`/ });
  t.throws(made({ optimizer: { type: 'adamw' } }), { message: /`optimizer\.type`/ });
  t.throws(made({ optimizer: { lr: -1 } }), { message: /`optimizer\.lr`/ });
  t.throws(made({ optimizer: { beta1: 1 } }), { message: /`optimizer\.beta1`/ });
  t.throws(made({ optimizer: { momentum: 0.9 } }), {
    code: 'ERR_UNUSED_OPTION',
    message: /not used by adam/,
  });
  t.throws(made({ optimizer: { weight_decay: 1 } }), {
    code: 'ERR_UNKNOWN_OPTION',
    message: /did you mean weightDecay\?/,
  });
  t.throws(() => new Trainer({} as Network), { message: /a Network/ });
  const trainer = new Trainer(net);
  await t.rejects(drain(trainer.fit(data, { epochs: 0 })), { message: /`epochs`/ });
  await t.rejects(drain(trainer.fit(data, { epochs: 1, maxSteps: 0 })), { message: /`maxSteps`/ });
  await t.rejects(drain(trainer.fit({} as Dataset, { epochs: 1 })), { message: /`data`/ });
  using narrow = Dataset.fromArrays({ images: new Float32Array(8), labels: [0], shape: [8], classes: 4 });
  await t.rejects(drain(trainer.fit(narrow, { epochs: 1 })), { message: /examples of shape 9/ });
  await t.rejects(drain(trainer.fit(data, { epochs: 1, test: narrow })), { message: /examples of shape 9/ });
  using pair = new Network(network({ features: 9 }).dense(2).squaredError());
  for (const outputs of [1, 3]) {
    const wrong = { images: new Float32Array(9), targets: new Float32Array(outputs) };
    using set = Dataset.fromArrays({ ...wrong, shape: [9] });
    for (const source of [set, () => [wrong]]) {
      await t.rejects(drain(new Trainer(pair).fit(source, { epochs: 1 })), {
        code: 'ERR_INVALID_ARGUMENT',
        message: new RegExp(`targets of 2 values.*\\b${outputs} values`),
      });
    }
  }
});
