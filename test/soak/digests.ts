/**
 * Trains every rule on every map, under every schedule and optimizer, for 20 steps an epoch, and prints what came of
 * each case, a digest of the parameters, of two diagnoses on the way and of predictions: `node --import tsx digests.ts
 * DIST`, DIST a folder with the package's compiled index.js. Public names alone, so that it runs on other versions too.
 * One line of JSON a case: { name, digest } or { name, error }.
 */
import { createHash } from 'node:crypto';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import type { NetworkOptions, OptimizerOptions, ResolvedSpec, TrainerOptions } from '../../lib/index.js';

type Package = typeof import('../../lib/index.js');

const url = pathToFileURL(path.resolve(process.argv[2] ?? 'dist', 'index.js')).href;
const { Dataset, Network, Trainer, network } = (await import(url)) as Package;

const IMAGES = 320;
const BATCH = 16;
const STEPS = IMAGES / BATCH; // of an epoch
const EXAMPLE = 3 * 8 * 8;
const PREDICTED = 24;
const random = (() => {
  let state = 12345;
  return () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0);
})();
const images = Uint8Array.from({ length: IMAGES * EXAMPLE }, () => random() >>> 24);
const data = Dataset.fromArrays({
  images,
  labels: Uint8Array.from({ length: IMAGES }, () => (random() >>> 16) % 10),
  shape: [3, 8, 8],
  classes: 10,
});

const tanh = { activation: 'tanh' } as const;
const window = { kernel: 3, stride: 2, padding: 1, ...tanh } as const;
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
type Named = readonly [name: string, options: NetworkOptions];
const gradientRules: Named[] = [
  ...(['bp', 'fa', 'dfa', 'usf', 'brsf', 'frsf'] as const).map((rule): Named => [rule, { rule }]),
  ['dfa shared', { rule: 'dfa', dfaFeedback: 'shared' }],
  ['fa xiao, last by bp', { rule: 'fa', feedbackScale: 'xiao', lastLayer: 'bp' }],
  ...(['usf', 'brsf', 'frsf'] as const).map((rule): Named => [
    `${rule} glorot, all`,
    { rule, feedbackScale: 'glorot', lastLayer: 'rule' },
  ]),
];
const targetRules: Named[] = [
  ...(['tp', 'dtp', 'sdtp'] as const).map((rule): Named => [rule, { rule }]),
  ['ao-sdtp', { rule: 'ao-sdtp', auxiliary: 12 }],
];
const optimizers: Record<string, OptimizerOptions> = {
  adam: { type: 'adam', lr: 2e-3 },
  sgd: { type: 'sgd', lr: 0.005, momentum: 0.9 },
  rmsprop: { type: 'rmsprop', lr: 1e-3 },
};

async function digest(
  spec: ResolvedSpec,
  networkOptions: NetworkOptions,
  trainerOptions: TrainerOptions,
  epochs: number,
): Promise<string> {
  using net = new Network(spec, { seed: 7, ...networkOptions });
  const trainer = new Trainer(net, { batchSize: BATCH, seed: 7, ...trainerOptions });
  const hash = createHash('sha256');
  const add = (values: Float32Array): void =>
    void hash.update(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
  // Before the first step, and in the middle: of two epochs before the second.
  for await (const event of trainer.fit(data, { epochs, diagnostics: (epochs * STEPS) / 2 })) {
    if (event.type === 'diagnostics') hash.update(`${event.step} ${JSON.stringify(event.layers)}\n`);
  }
  for (const [name, { data: values, shape }] of await net.stateDict()) {
    hash.update(`${name} ${shape.join()}\n`);
    add(values);
  }
  add(await net.predict(images.subarray(0, PREDICTED * EXAMPLE)));
  return hash.digest('hex').slice(0, 16);
}

async function print(name: string, ...of: Parameters<typeof digest>): Promise<void> {
  try {
    console.log(JSON.stringify({ name, digest: await digest(...of) }));
  } catch (error) {
    console.log(JSON.stringify({ name, error: (error as { code?: string }).code ?? String(error) }));
  }
}

for (const [map, build] of Object.entries(maps)) {
  for (const loss of ['softmaxCrossEntropy', 'squaredError'] as const) {
    for (const [kind, optimizer] of Object.entries(optimizers)) {
      if (loss === 'squaredError' && kind !== 'sgd') continue;
      const of = `${map}, ${loss}, ${kind}`;
      for (const [name, options] of gradientRules)
        await print(`${of}: ${name}`, build()[loss](), options, { optimizer }, 1);
      for (const [name, options] of targetRules) {
        const shared = { optimizer, inverseOptimizer: { ...optimizer, lr: 1e-3 }, noise: 0.2 };
        const train = (what: string, more: TrainerOptions, epochs: number) =>
          print(`${of}: ${name}, ${what}`, build()[loss](), options, { ...shared, ...more }, epochs);
        await train('parallel', {}, 1);
        await train('alternating', { schedule: 'alternating' }, 2);
        if (kind !== 'adam') continue;
        const inverseLoss = options.rule === 'dtp' ? 'de-noising' : 'noise-preserving';
        await train('reduced, other inverse loss', { lossReduction: 'mean', inverseLoss }, 1);
      }
    }
  }
}
