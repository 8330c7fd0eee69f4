/** What target propagation refuses, by the name of the setting and with the remedy. */
import t from 'tap';
import {
  Dataset,
  layer,
  Network,
  network,
  softmaxCrossEntropy,
  targetOutputLayer,
  Tensor,
  Trainer,
  trainingBudget,
  type NetworkSpec,
  type RuleName,
} from '../../lib/index.js';
import { call } from '../../lib/native.js';

const dense = (...units: number[]): NetworkSpec =>
  units
    .slice(0, -1)
    .reduce((net, size) => net.dense(size, { activation: 'tanh' }), network({ features: 5 }))
    .dense(units.at(-1)!)
    .softmaxCrossEntropy();

t.test('networks that have no inverse', async (t) => {
  const image = network({ channels: 2, height: 6, width: 6 });
  const build = (spec: NetworkSpec, rule: RuleName) => () => new Network(spec, { rule }).dispose();
  const pooled = image.conv2d(3, { kernel: 3, name: 'c1' }).maxPool2d({ kernel: 2 }).flatten().dense(4).dense(2);
  for (const rule of ['tp', 'dtp', 'sdtp', 'ao-sdtp'] as const) {
    t.throws(build(pooled.softmaxCrossEntropy(), rule), {
      code: 'ERR_INVALID_SPEC',
      message: new RegExp(`^layers\\[1\\]: a max-pool2d layer has no inverse, and rule ${rule} needs one.*stride`),
    });
  }
  const below = image.avgPool2d({ kernel: 2 }).conv2d(3, { kernel: 2 }).flatten().dense(4).dense(2);
  t.doesNotThrow(build(below.softmaxCrossEntropy(), 'dtp'), 'no target goes down to the lowest layer’s input');
  t.doesNotThrow(build(pooled.softmaxCrossEntropy(), 'fa'));
  t.throws(build(dense(2), 'sdtp'), {
    code: 'ERR_INVALID_SPEC',
    message: /needs 2 layers with parameters or more.*there is 1.*hidden layer/,
  });
  const shallow = { code: 'ERR_INVALID_SPEC', message: /needs 3 layers with parameters or more.*there are 2/ };
  t.throws(build(dense(4, 2), 'dtp'), shallow);
  t.throws(() => trainingBudget(dense(4, 2), { rule: 'dtp' }), shallow, 'nor is its memory counted');
  t.doesNotThrow(build(dense(4, 2), 'sdtp'));
  const local = image.flatten().dense(4);
  t.doesNotThrow(build(local.dense(2).softmaxCrossEntropy(), 'ao-sdtp'));
  const top = image.conv2d(3, { kernel: 3 }).conv2d(2, { kernel: 4 }).flatten().softmaxCrossEntropy();
  t.throws(build(top, 'ao-sdtp'), { message: /^layers\[1\]: auxiliary outputs need a dense last layer/ });
  t.doesNotThrow(build(top, 'sdtp'));
});

t.test('a loss of the inverses that is not finite: the step is not made, and nothing after it', async (t) => {
  using net = new Network(dense(4, 3, 2), { rule: 'sdtp', seed: 1 });
  using data = Dataset.fromArrays({
    images: new Uint8Array(30).fill(200),
    labels: new Uint8Array(6),
    shape: [5],
    classes: 2,
  });
  const start = await net.stateDict();
  start.get('inverses.1.bias')!.data[2] = NaN;
  await net.loadStateDict(start);
  const trainer = new Trainer(net, { batchSize: 2, noise: 0.1 });
  const training = (async () => {
    for await (const _ of trainer.fit(data, { epochs: 2 }));
  })();
  await t.rejects(training, { code: 'ERR_LOSS_NOT_FINITE', message: /inverse/ });
  t.equal((await trainer.state()).step, 0);
  t.strictSame(await net.stateDict(), start);
});

t.test('auxiliary outputs', async (t) => {
  const build = (rule: RuleName, auxiliary: unknown) => () =>
    new Network(dense(4, 2), { rule, auxiliary: auxiliary as number }).dispose();
  for (const wrong of [0, -1, 1.5, '3']) {
    t.throws(build('ao-sdtp', wrong), { code: 'ERR_INVALID_ARGUMENT', message: /`auxiliary`/ });
  }
  t.throws(build('sdtp', 3), { code: 'ERR_UNUSED_OPTION', message: /choose rule ao-sdtp/ });
  using net = new Network(dense(4, 2), { rule: 'ao-sdtp' });
  t.match(
    net.parameters.find(({ name }) => name === 'auxiliary.weight'),
    { shape: [512, 4], role: 'fixed' },
  );
});

t.test('settings of a trainer', async (t) => {
  using dtp = new Network(dense(4, 3, 4, 2), { rule: 'dtp' });
  using sdtp = new Network(dense(4, 3, 2), { rule: 'sdtp' });
  using bp = new Network(dense(4, 3, 2));
  const refused = (net: Network, options: object, code: string, message: RegExp): void => {
    t.throws(() => new Trainer(net, options), { code, message }, JSON.stringify(options));
  };
  const wrong = 'ERR_INVALID_ARGUMENT';
  for (const noise of [-0.1, NaN, '0.1', [0.1, -0.1], [0.1, 0.1, 0.1], []]) refused(dtp, { noise }, wrong, /`noise`/);
  refused(dtp, { noise: [0.1] }, wrong, /one number, or 2: one for each inverse from below/);
  for (const targetStep of [0, -1, '1', Infinity]) refused(dtp, { targetStep }, wrong, /`targetStep`/);
  refused(dtp, { targetStepLoss: 'batch' }, wrong, /`targetStepLoss`/);
  refused(dtp, { inverseLoss: 'denoising' }, wrong, /`inverseLoss`/);
  refused(dtp, { lossReduction: 'none' }, wrong, /`lossReduction`/);
  refused(dtp, { schedule: { type: 'cosine' } }, wrong, /`schedule`/);
  refused(dtp, { schedule: 'alternating', firstPhase: 'both' }, wrong, /`firstPhase`/);
  refused(dtp, { inverseOptimizer: { lr: -1 } }, wrong, /`inverseOptimizer\.lr`/);
  refused(dtp, { inverseOptimiser: {} }, 'ERR_UNKNOWN_OPTION', /did you mean inverseOptimizer/);
  const unused = 'ERR_UNUSED_OPTION';
  refused(sdtp, { targetStep: 0.1 }, unused, /targetStep is not used by rule sdtp.*choose rule dtp/);
  refused(sdtp, { targetStepLoss: 'example' }, unused, /targetStepLoss is not used by rule sdtp/);
  refused(dtp, { firstPhase: 'forward' }, unused, /firstPhase is not used by the parallel schedule; choose the alt/);
  for (const options of [
    { noise: 0.1 },
    { schedule: 'parallel' },
    { inverseOptimizer: {} },
    { lossReduction: 'sum' },
  ]) {
    refused(
      bp,
      options,
      unused,
      new RegExp(`${Object.keys(options)[0]} is not used by rule bp; choose a rule of target`),
    );
  }
  t.match(new Trainer(dtp, { noise: 0.3, schedule: 'alternating' }).targets, {
    noise: [0.3, 0.3],
    firstPhase: 'inverse',
    inverseLoss: 'noise-preserving',
    targetStep: 0.1,
    targetStepLoss: 'example',
  });
  t.match(new Trainer(dtp).targets, { noise: [0.1, 0.1], firstPhase: null }, 'σ as documented');
  t.match(new Trainer(sdtp).targets, { schedule: 'parallel', inverseLoss: 'de-noising', targetStep: null });
  t.equal(new Trainer(bp).targets, null);
});

t.test('an autoencoder gives its input back', async (t) => {
  const autoencoder = network({ channels: 1, height: 2, width: 3 }).flatten().dense(4);
  t.throws(() => autoencoder.reconstruction(), {
    code: 'ERR_INVALID_SPEC',
    message: /give the 6 values of its input back, but it gives 4; end with a layer of 6 units/,
  });
  t.equal(autoencoder.dense(6).reconstruction().loss, 'reconstruction');
});

t.test('names that the state dict needs itself', async (t) => {
  for (const name of ['auxiliary', 'inverses.1']) {
    t.throws(() => network({ features: 3 }).dense(4, { name }).dense(2).softmaxCrossEntropy(), {
      code: 'ERR_INVALID_SPEC',
      message: /^layers\[0\]\.name: expected a name other than those of target propagation/,
    });
  }
  t.doesNotThrow(() => network({ features: 3 }).dense(4, { name: 'inverse' }).dense(2).softmaxCrossEntropy());
  // The native half by itself.
  const make = (...names: string[]) => {
    const dense = { type: 'dense', units: 3, activation: 'identity', bias: true, initializer: 'zeros' };
    const layers = names.map((name) => ({ ...dense, name }));
    const spec = { input: [3], rule: 'sdtp', layers };
    return call((n) => new n.NetworkHandle(spec, 1, 0, { device: 'cpu', precision: 'fp32', deterministic: false }));
  };
  t.throws(() => make('a', 'a'), { message: 'network: two layers are called a' });
  t.throws(() => make('inverses.1', 'a'), { message: /^network: two parameters are called inverses\.1\.weight/ });
  make('a', 'b').dispose();
});

t.test('an autoencoder learns from a stream of images alone, whatever else it has', async (t) => {
  using net = new Network(network({ features: 5 }).dense(3).dense(5).reconstruction(), { rule: 'sdtp' });
  const images = Float32Array.from({ length: 20 }, (_, i) => Math.sin(i));
  const trainer = new Trainer(net, { optimizer: { lr: 0.01 }, inverseOptimizer: { lr: 0.01 } });
  const losses: number[] = [];
  const batches = () => [{ images }, { images, labels: [7, 8, 9, 10] }];
  for await (const event of trainer.fit(batches, { epochs: 100 })) {
    if (event.type === 'epoch') losses.push(event.train.loss);
  }
  t.ok(losses.at(-1)! < 0.5 * losses[0]!, `${losses[0]} → ${losses.at(-1)}`);
});

t.test('the inverse loss of an epoch over a stream is the mean over its examples', async (t) => {
  using net = new Network(dense(4, 3, 2), { rule: 'sdtp', seed: 1 });
  const still = { type: 'sgd', lr: 0 } as const;
  const inverseLoss = async (...sizes: number[]): Promise<number> => {
    const trainer = new Trainer(net, { optimizer: still, inverseOptimizer: still, noise: 0 });
    const batches = sizes.map((size) => ({
      images: Float32Array.from({ length: 5 * size }, (_, i) => Math.sin(i * size)),
      labels: new Uint8Array(size),
    }));
    for await (const event of trainer.fit(() => batches, { epochs: 1 }))
      if (event.type === 'epoch') return event.train.inverseLoss!;
    throw new Error('no epoch');
  };
  const [two, three] = [await inverseLoss(2), await inverseLoss(3)];
  t.ok(Math.abs(two - three) > 0.01 * two, 'of batches that differ');
  const mean = (2 * two + 3 * three) / 5;
  t.ok(Math.abs((await inverseLoss(2, 3)) - mean) < 1e-6 * mean);
});

t.test('inverses that diverge are told from a network that does', async (t) => {
  // Without a tanh, so that nothing bounds what an inverse gives.
  const spec = network({ features: 5 }).dense(4).dense(2).softmaxCrossEntropy();
  using net = new Network(spec, { rule: 'sdtp', seed: 1 });
  const images = Float32Array.from({ length: 40 }, (_, i) => Math.sin(i));
  const data = Dataset.fromArrays({ images, labels: [0, 1, 0, 1, 0, 1, 0, 1], shape: [5], classes: 2 });
  const before = await net.stateDict();
  const optimizer = { type: 'sgd', lr: 1e30 } as const;
  const trainer = new Trainer(net, { schedule: 'alternating', inverseOptimizer: optimizer, batchSize: 2 });
  await t.rejects(
    async () => {
      for await (const _ of trainer.fit(data, { epochs: 99 }));
    },
    {
      code: 'ERR_LOSS_NOT_FINITE',
      message: /^the loss of the inverses became NaN.*A smaller learning rate of the inverses is the usual remedy$/,
    },
  );
  const after = await net.stateDict();
  t.strictSame(after.get('layers.0.weight'), before.get('layers.0.weight'));
});

t.test('layers as functions', async (t) => {
  const x = Tensor.from([[1, 2]]);
  x.requiresGrad = true;
  const weight = Tensor.from([
    [1, 0],
    [0, 1],
    [1, 1],
  ]);
  const output = (options: object): Tensor => targetOutputLayer(x, { weight, rule: 'sdtp', ...options });
  const refused = (options: object, code: string, message: RegExp): void => {
    t.throws(() => output(options), { code, message }, JSON.stringify(options));
  };
  refused({ targetStep: 0.1 }, 'ERR_UNUSED_OPTION', /targetStep is not used by rule sdtp; choose rule dtp/);
  refused({ rule: 'dtp', targetStep: -1 }, 'ERR_INVALID_ARGUMENT', /`targetStep`/);
  refused({ rule: 'dtp', inverse: { weight } }, 'ERR_UNUSED_OPTION', /inverse is not used by rule dtp/);
  refused({ rule: 'ao-sdtp' }, 'ERR_INVALID_ARGUMENT', /`auxiliary`/);
  refused({ auxiliary: { weight } }, 'ERR_UNUSED_OPTION', /choose rule ao-sdtp/);
  const short = { weight: Tensor.from([[1, 2]]), bias: Tensor.from([1, 2]) };
  refused({ rule: 'ao-sdtp', auxiliary: short }, 'ERR_NATIVE', /expected auxiliary bias \[1\], but its shape is \[2\]/);
  const labels = Tensor.from(BigInt64Array.of(1n));
  t.throws(() => softmaxCrossEntropy(output({}), labels), {
    message: /has to hand down differences: pass \{ deliver/,
  });
  const deliver = { deliver: 'difference' } as const;
  t.throws(() => softmaxCrossEntropy(output({}).mul(2), labels, deliver), {
    message: /as it is; leave it out/,
  });
  const plain = layer(x, { weight, rule: 'bp' });
  t.throws(() => softmaxCrossEntropy(plain, labels, deliver), {
    message: /is for what targetOutputLayer gives/,
  });
  const sent = (options: object): unknown => {
    x.clearGrad();
    softmaxCrossEntropy(output({ rule: 'dtp', ...options }), labels, deliver).backward();
    return x.grad!.data();
  };
  const byDefault = sent({});
  t.strictSame(byDefault, sent({ targetStep: 0.1 }), 'α as documented');
  t.notSame(byDefault, sent({ targetStep: 0.2 }));
  t.doesNotThrow(() => softmaxCrossEntropy(output({}), labels, deliver));
  t.doesNotThrow(() => softmaxCrossEntropy(output({}).reshape([1, 3]), labels, deliver));
});
