// @ts-nocheck: the package is another version's
/**
 * Trains every rule on every map, under every schedule and optimizer, for 20 steps, and prints what came of each case:
 * `node digests.mjs DIST` takes the package whose compiled index.js lies in that folder. Public names alone, so that it
 * runs on older versions too. One line of JSON a case: { name, digest } or { name, error }.
 */
import { createHash } from 'node:crypto';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

const { Dataset, Network, Trainer, network } = await import(
  pathToFileURL(path.resolve(process.argv[2] ?? 'dist', 'index.js')).href
);

const IMAGES = 320;
const BATCH = 16; // 20 steps an epoch
const random = (() => {
  let state = 12345;
  return () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0);
})();
const data = Dataset.fromArrays({
  images: Uint8Array.from({ length: IMAGES * 3 * 8 * 8 }, () => random() >>> 24),
  labels: Uint8Array.from({ length: IMAGES }, () => (random() >>> 16) % 10),
  shape: [3, 8, 8],
  classes: 10,
});

const tanh = { activation: 'tanh' };
const window = { kernel: 3, stride: 2, padding: 1, ...tanh };
const image = () => network({ channels: 3, height: 8, width: 8 });
const maps = {
  dense: () => image().flatten().dense(40, tanh).dense(30, tanh).dense(10),
  'locally-connected2d': () => image().locallyConnected2d(6, window).locallyConnected2d(16, window).flatten().dense(10),
  conv2d: () => image().conv2d(6, window).conv2d(16, window).flatten().dense(10),
  pooled: () =>
    image()
      .conv2d(8, { ...window, stride: 1 })
      .maxPool2d({ kernel: 2 })
      .conv2d(8, window)
      .flatten()
      .dense(10),
  residual: () =>
    image()
      .conv2d(8, { kernel: 3, padding: 1, bias: false })
      .batchNorm({ activation: 'relu' })
      .residual((block) => block.conv2d(8, { kernel: 3, padding: 1 }).batchNorm(), { activation: 'relu' })
      .flatten()
      .dense(10),
};
const gradientRules = [
  ...['bp', 'fa', 'dfa', 'usf', 'brsf', 'frsf'].map((rule) => [rule, { rule }]),
  ['dfa shared', { rule: 'dfa', dfaFeedback: 'shared' }],
  ['fa xiao, last by bp', { rule: 'fa', feedbackScale: 'xiao', lastLayer: 'bp' }],
  ...['usf', 'brsf', 'frsf'].map((rule) => [
    `${rule} glorot, all`,
    { rule, feedbackScale: 'glorot', lastLayer: 'rule' },
  ]),
];
const targetRules = [
  ...['tp', 'dtp', 'sdtp'].map((rule) => [rule, { rule }]),
  ['ao-sdtp', { rule: 'ao-sdtp', auxiliary: 12 }],
];
const optimizers = {
  adam: { type: 'adam', lr: 2e-3 },
  sgd: { type: 'sgd', lr: 0.005, momentum: 0.9 },
  rmsprop: { type: 'rmsprop', lr: 1e-3 },
};

async function digest(built, networkOptions, trainerOptions, epochs) {
  const net = new Network(built, { seed: 7, ...networkOptions });
  const trainer = new Trainer(net, { batchSize: BATCH, seed: 7, ...trainerOptions });
  for await (const event of trainer.fit(data, { epochs })) void event;
  const hash = createHash('sha256');
  for (const [name, { data: values, shape }] of Object.entries(await net.stateDict())) {
    hash.update(`${name} ${shape.join()}\n`);
    hash.update(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
  }
  net.dispose();
  return hash.digest('hex').slice(0, 16);
}

async function print(name, ...of) {
  try {
    console.log(JSON.stringify({ name, digest: await digest(...of) }));
  } catch (error) {
    console.log(JSON.stringify({ name, error: error.code ?? error.message }));
  }
}

for (const [map, build] of Object.entries(maps)) {
  for (const loss of ['softmaxCrossEntropy', 'squaredError']) {
    for (const [kind, optimizer] of Object.entries(optimizers)) {
      if (loss === 'squaredError' && kind !== 'sgd') continue;
      for (const [name, options] of gradientRules)
        await print(`${map}, ${loss}, ${kind}: ${name}`, build()[loss](), options, { optimizer }, 1);
      for (const [name, options] of targetRules) {
        const inverseOptimizer = { ...optimizer, lr: 1e-3 };
        const of = (schedule) => ({ optimizer, inverseOptimizer, schedule, noise: 0.2 });
        await print(`${map}, ${loss}, ${kind}: ${name}, parallel`, build()[loss](), options, of('parallel'), 1);
        await print(`${map}, ${loss}, ${kind}: ${name}, alternating`, build()[loss](), options, of('alternating'), 2);
        if (kind === 'adam')
          await print(
            `${map}, ${loss}, ${kind}: ${name}, reduced, other inverse loss`,
            build()[loss](),
            options,
            {
              ...of('parallel'),
              lossReduction: 'mean',
              inverseLoss: options.rule === 'dtp' ? 'de-noising' : 'noise-preserving',
            },
            1,
          );
      }
    }
  }
}
