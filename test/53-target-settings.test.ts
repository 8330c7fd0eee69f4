/** What target propagation refuses, by the name of the setting and with the remedy. */
import t from 'tap';
import {
  Network,
  network,
  Trainer,
  type NetworkSpec,
  type RuleName,
  type TrainerOptions,
} from '../lib/index.js';

const dense = (...units: number[]): NetworkSpec =>
  units
    .slice(0, -1)
    .reduce((net, size) => net.dense(size, { activation: 'tanh' }), network({ features: 5 }))
    .dense(units.at(-1)!)
    .softmaxCrossEntropy();

t.test('networks that have no inverse', async (t) => {
  const image = network({ channels: 2, height: 6, width: 6 });
  const build = (spec: NetworkSpec, rule: RuleName) => () => new Network(spec, { rule }).dispose();
  const pooled = image
    .conv2d(3, { kernel: 3, name: 'c1' })
    .maxPool2d({ kernel: 2 })
    .flatten()
    .dense(4)
    .dense(2);
  for (const rule of ['tp', 'dtp', 'sdtp', 'ao-sdtp'] as const) {
    t.throws(build(pooled.softmaxCrossEntropy(), rule), {
      code: 'ERR_INVALID_SPEC',
      message: new RegExp(
        `^layers\\[1\\]: a max-pool2d layer has no inverse, and rule ${rule} needs one.*stride`,
      ),
    });
  }
  const below = image.avgPool2d({ kernel: 2 }).conv2d(3, { kernel: 2 }).flatten().dense(4).dense(2);
  t.doesNotThrow(
    build(below.softmaxCrossEntropy(), 'dtp'),
    'no target goes down to the lowest layer’s input',
  );
  t.doesNotThrow(build(pooled.softmaxCrossEntropy(), 'fa'));
  t.throws(build(dense(2), 'sdtp'), {
    message: /needs 2 layers with parameters or more.*there is 1.*hidden layer/,
  });
  t.throws(build(dense(4, 2), 'dtp'), { message: /needs 3 layers with parameters or more.*there are 2/ });
  t.doesNotThrow(build(dense(4, 2), 'sdtp'));
  const local = image.flatten().dense(4);
  t.doesNotThrow(build(local.dense(2).softmaxCrossEntropy(), 'ao-sdtp'));
  const top = image.conv2d(3, { kernel: 3 }).conv2d(2, { kernel: 4 }).flatten().softmaxCrossEntropy();
  t.throws(build(top, 'ao-sdtp'), { message: /^layers\[1\]: auxiliary outputs need a dense last layer/ });
  t.doesNotThrow(build(top, 'sdtp'));
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
    t.throws(() => new Trainer(net, options as TrainerOptions), { code, message }, JSON.stringify(options));
  };
  const wrong = 'ERR_INVALID_ARGUMENT';
  for (const noise of [-0.1, NaN, '0.1', [0.1, -0.1], [0.1, 0.1, 0.1], []])
    refused(dtp, { noise }, wrong, /`noise`/);
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
  refused(
    dtp,
    { firstPhase: 'forward' },
    unused,
    /firstPhase is not used by the parallel schedule; choose the alt/,
  );
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
