/** What TypeScript refuses is refused by the native half too: no number of a script's may lead beyond an array. */
import t from 'tap';
import { call } from '../../lib/native.js';

const none = { cropPadding: 0, cropBorder: 'reflect', flipHorizontal: false, flipVertical: false } as const;

const ofRule = { options: {}, optimizer: null };

t.test('data sets', async (t) => {
  const make = (images: Uint8Array, shape: number[], labels: bigint[], classes: number) =>
    call((n) => new n.DatasetHandle(images, shape, BigInt64Array.from(labels), 0, classes));
  t.throws(() => make(new Uint8Array(8), [2, 4], [0n, 3n], 3), { message: /label 3 of example 1/ });
  t.throws(() => make(new Uint8Array(8), [2, 4], [-1n, 0n], 3), { message: /label -1 of example 0/ });
  t.throws(() => make(new Uint8Array(7), [2, 4], [0n, 0n], 3), { message: /shape \[2, 4\]/ });
  t.throws(() => make(new Uint8Array(9), [2, 4], [0n, 0n], 3), { message: /shape \[2, 4\]/ });
  t.throws(() => make(new Uint8Array(8), [2, 4], [0n], 3), { message: /shape \[2\] holds 2 values/ });
  const images = make(new Uint8Array(24), [2, 1, 3, 4], [0n, 1n], 2);
  const batch = (cropPadding: number) => () => images.batch(BigInt64Array.of(0n), null, { ...none, cropPadding }, 1, 0);
  t.equal(batch(2)().length, 12);
  t.throws(batch(3), { message: /a border of 3/ }, 'as wide as the shorter side');
  t.throws(batch(-1), { message: /a border of -1 pixels/ });
  for (const index of [2n, 5000n, -1n, 2n ** 62n]) {
    const read = () => images.batch(BigInt64Array.of(0n, index), null, none, 1, 0);
    t.throws(read, { message: `no example ${index} of 2` });
    t.throws(() => images.subset(BigInt64Array.of(index)), { message: /out of (range|bounds)/ });
  }
  images.dispose();
  t.throws(batch(0), { code: 'ERR_DISPOSED' }, 'nothing is left of what was disposed of');
});

/** A network of one layer, and a trainer of it. */
const place = { device: 'cpu', precision: 'fp32', deterministic: false } as const;
const dense = { type: 'dense', units: 2, activation: 'identity', bias: true, initializer: 'zeros' };
const spec = { input: [3], rule: 'bp', layers: [dense] };
const sgd = { type: 'sgd', lr: 1, beta1: 0, beta2: 0, eps: 0, momentum: 0.5, weightDecay: 0, batchManhattan: false };
const loss = 'softmax-cross-entropy';

t.test('words', async (t) => {
  const network = (more: object, where: object = {}) =>
    call((n) => new n.NetworkHandle({ ...spec, ...more }, 1, 0, { ...place, ...where }));
  const block = (shortcut: string) => ({
    layers: [{ type: 'residual', activation: 'identity', layers: [], shortcut }],
  });
  const refused = (make: () => unknown, message: string): void => {
    t.throws(make, { code: 'ERR_NATIVE', message });
  };
  refused(
    () => network({ rule: 'fa', ruleOptions: { lastLayer: 'fa' } }),
    "unknown way of the last layer 'fa'; known are rule, bp",
  );
  refused(
    () => network({ rule: 'hebb' }),
    "unknown rule 'hebb'; known are bp, fa, dfa, usf, brsf, frsf, tp, dtp, sdtp, ao-sdtp",
  );
  refused(() => network({ ruleOptions: { lastLayer: 'bp' } }), 'rule bp has no option lastLayer');
  for (const word of ['layers', 'zeros']) {
    refused(() => network(block(word)), `unknown shortcut '${word}'; known are identity, pad`);
  }
  refused(() => network({}, { precision: 'fp16' }), "unknown precision 'fp16'; known are fp32, tf32, bf16");
  refused(() => network({}, { precision: 'bf16' }), 'precision bf16 needs a GPU; on the CPU use fp32');
  refused(
    () => network({ layers: [{ type: 'conv3d' }] }),
    "unknown layer type 'conv3d'; known are flatten, max-pool2d, avg-pool2d, dense, locally-connected2d, conv2d, " +
      'batch-norm, residual',
  );
  const one = network({});
  const trainer = (optimizer: object, augmentation: object) =>
    call(
      (n) =>
        new n.TrainerHandle(one, loss, { ...sgd, ...optimizer }, null, ofRule, {
          ...none,
          ...(augmentation as typeof none),
        }),
    );
  refused(() => trainer({ moments: 'fp16' }, {}), "unknown type of moments 'fp16'; known are fp32, bf16");
  refused(() => trainer({}, { cropBorder: 'grey' }), "unknown border 'grey'; known are reflect, black");
  const x = call((n) => new n.TensorHandle(new Float32Array(4), [2, 2]));
  const labels = call((n) => new n.TensorHandle(new BigInt64Array(2), [2]));
  refused(
    () => call((n) => n.tensor.softmaxCrossEntropy(x, labels, 'target')),
    "unknown delivery 'target'; known are gradient, difference",
  );
  const ofDense = { type: 'dense', stride: [1, 1], padding: [0, 0], dilation: [1, 1] } as const;
  const output = { rule: 'dtp', loss, targetStep: 1, targetStepLoss: 'mean', inverse: null, auxiliary: null };
  refused(
    () => call((n) => n.tensor.targetOutputLayer(x, x, undefined, 'identity', ofDense, output)),
    "unknown loss of the target's step 'mean'; known are example, batch-mean",
  );
  one.dispose();
});

t.test('the state of a trainer while steps are launched and not collected', async (t) => {
  const one = call((n) => new n.NetworkHandle(spec, 1, 0, place));
  const trainer = call((n) => new n.TrainerHandle(one, loss, sgd, null, ofRule, none));
  const batch = { images: Float32Array.of(1, 2, 3), shape: [1, 3], channelsLast: false, targets: BigInt64Array.of(1n) };
  const before = await trainer.read();
  await trainer.launch({ ...batch, outputs: 0 }, 1, { seed: 1, epoch: 0, firstStep: 0, step: 0, phase: 'forward' });
  const refused = { code: 'ERR_BUSY', message: /in the middle of steps on a stream/ };
  await t.rejects(trainer.read(), refused);
  await t.rejects(trainer.write(before), refused);
  t.equal((await trainer.collect()).steps, 1);
  const after = await trainer.read();
  t.strictSame([before.optimizer.steps, after.optimizer.steps], [0, 1]);
  t.notSame(after.optimizer.parameters, before.optimizer.parameters, 'what was launched stands in the moments');
  await trainer.write(before);
  t.strictSame(await trainer.read(), before);
  one.dispose();
});

t.test('tensors', async (t) => {
  for (const values of [5, 7]) {
    t.throws(() => call((n) => new n.TensorHandle(new Float32Array(values), [2, 3])), { message: /shape \[2, 3\]/ });
  }
});

t.test('windows', async (t) => {
  const tensor = (shape: number[]) =>
    call((n) => new n.TensorHandle(new Float32Array(shape.reduce((a, b) => a * b, 1)), shape));
  const [x, weight] = [tensor([1, 1, 4, 4]), tensor([1, 1, 2, 2])];
  for (const padding of [
    [-1, 0],
    [0, -1],
    [-1, -1],
  ] as const) {
    t.throws(() => call((n) => n.tensor.conv2d(x, weight, undefined, [1, 1], padding, [1, 1])), {
      message: /not negative/,
    });
  }
  t.throws(() => call((n) => n.tensor.conv2d(x, weight, undefined, [1, 0], [0, 0], [1, 1])), { message: /stride/ });
});
