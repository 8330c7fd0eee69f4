import t from 'tap';
import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { network, parseNetworkSpec, preset, presetNames, trainingBudget } from '../../lib/index.js';
import type { PresetName, ResolvedSpec } from '../../lib/index.js';
import { placeLayers, product } from '../../lib/model/shapes.js';
import { sitesOf } from '../../lib/model/sites.js';
import { countParameters } from '../support/maps.js';

t.test('mnist-fc is the paper’s network', async (t) => {
  const spec = preset('mnist-fc');
  t.strictSame(spec.input, [1, 28, 28]);
  t.equal(spec.layers.length, 7);
  t.equal(countParameters(spec), 784 * 256 + 4 * 256 * 256 + 256 * 10 + 5 * 256 + 10);
  t.strictSame(parseNetworkSpec(JSON.parse(JSON.stringify(spec))), spec, 'plain data: saved and loaded');
  t.throws(() => preset('mnist-fcc'), { code: 'ERR_UNKNOWN_OPTION', message: /did you mean mnist-fc\?/ });
});

t.test('the presets have the paper’s numbers of weights', async (t) => {
  // Of the maps of images and of the fully connected layers; biases apart.
  const weights = (name: PresetName): { images: number; dense: number } => {
    const shapes = sitesOf(preset(name));
    const sum = (dense: boolean): number =>
      shapes
        .filter(({ weight }) => (weight.length === 2) === dense)
        .reduce((total, { weight }) => total + product(weight), 0);
    return { images: sum(false), dense: sum(true) };
  };
  t.strictSame(presetNames, [
    ...['mnist-fc', 'mnist-lc', 'mnist-conv', 'mnist-autoencoder'],
    ...['cifar10-fc', 'cifar10-lc', 'cifar10-conv'],
    ...['imagenet-lc', 'imagenet-conv'],
    ...['alexnet', 'alexnet-torchvision', 'resnet18', 'resnet20'],
  ]);
  t.equal(countParameters(preset('resnet20')), 268_346, 'maps alone; 1,376 of batch norm');
  t.strictSame(weights('mnist-lc'), { images: 959_616, dense: 3_221_504 }, '0.96 M local + 3.2 M');
  t.strictSame(weights('cifar10-lc'), { images: 33_210_368, dense: 16_787_456 }, '33.2 M + 16.8 M');
  t.strictSame(weights('imagenet-lc'), { images: 240_694_272, dense: 18_816_000 }, '240.7 M + 18.8 M');
  t.strictSame(weights('cifar10-fc'), { images: 0, dense: 3072 * 1024 + 2 * 1024 ** 2 + 10_240 });
  for (const data of ['mnist', 'cifar10', 'imagenet']) {
    const [lc, conv] = [preset(`${data}-lc`), preset(`${data}-conv`)];
    const outputs = (spec: ResolvedSpec) => placeLayers(spec).map(({ output }) => output);
    t.strictSame(outputs(lc), outputs(conv), `${data}: the same shapes with shared weights`);
    t.equal(weights(`${data}-lc` as PresetName).dense, weights(`${data}-conv` as PresetName).dense);
    t.ok(countParameters(lc) > countParameters(conv));
  }
  const outputs = placeLayers(preset('mnist-autoencoder')).map(({ output }) => output.join('×'));
  t.strictSame(outputs, ['784', '512', '64', '512', '784'], 'Bartunov et al. 2018, A.5.5');
  t.strictSame(weights('mnist-conv').images, 9 * 32 + 9 * 32 * 64, 'a convolution has the weights of one place');
  t.strictSame(
    placeLayers(preset('imagenet-lc')).map(({ output }) => output.join('×')),
    [...['48×56×56', '48×28×28', '96×28×28', '96×14×14', '192×14×14', '192×7×7', '384×7×7'], ...['18816', '1000']],
  );
  // One matrix [1000, units] for each hidden layer.
  const { feedback } = trainingBudget(preset('imagenet-lc'), { rule: 'dfa' });
  t.equal(feedback / 4, 348_096_000, '348 M, 1.4 GB');
});

t.test('networks of images: the sizes that are published, and PyTorch’s names', (t) => {
  const blocks = (name: PresetName): string[] =>
    placeLayers(preset(name))
      .filter(({ layer }) => layer.type === 'residual')
      .map(({ output }) => output.join('×'));
  const stages = (count: number, ...sizes: string[]): string[] =>
    sizes.flatMap((size) => Array<string>(count).fill(size));
  // He et al. 2016, Table 1, and section 4.2.
  t.strictSame(blocks('resnet18'), stages(2, '64×56×56', '128×28×28', '256×14×14', '512×7×7'));
  t.strictSame(blocks('resnet20'), stages(3, '16×32×32', '32×16×16', '64×8×8'));

  const namesOf = (name: PresetName, part: string): string[] =>
    preset(name).layers.flatMap((layer) => ('name' in layer && layer.name.startsWith(part) ? [layer.name] : []));
  // A Sequential numbers all that is in it.
  const numbered = (modules: string): string[] =>
    modules.split(' ').flatMap((module, i) => (/conv|norm/.test(module) ? [`features.${i}`] : []));
  const unit = 'conv norm relu';
  t.strictSame(namesOf('alexnet', 'features'), numbered(`${unit} pool ${unit} pool ${unit} ${unit} ${unit} pool`));
  t.strictSame(
    namesOf('alexnet-torchvision', ''),
    ['features.0', 'features.3', 'features.6', 'features.8', 'features.10'].concat([
      ...['classifier.1', 'classifier.4', 'classifier.6'],
    ]),
    'those of its published checkpoint',
  );
  t.end();
});

t.test('the builder and the spec are two ways to write one thing', async (t) => {
  const built = network({ channels: 3, height: 4, width: 5 })
    .flatten()
    .dense(8, { activation: 'tanh', name: 'hidden', initializer: 'he-normal' })
    .dense(3, { bias: false })
    .squaredError();
  t.strictSame(
    built,
    parseNetworkSpec({
      input: [3, 4, 5],
      layers: [
        { type: 'flatten' },
        { type: 'dense', units: 8, activation: 'tanh', name: 'hidden', initializer: 'he-normal' },
        { type: 'dense', units: 3, bias: false },
      ],
      loss: 'squared-error',
    }),
  );
  const stem = network({ features: 4 }).dense(5);
  t.strictSame(stem.shape, [5]);
  t.equal(stem.dense(2).softmaxCrossEntropy().layers.length, 2);
  t.equal(stem.dense(3).softmaxCrossEntropy().layers.length, 2, 'a stem can be used twice');
});

t.test('a mistake is named by its key, with what would be right', async (t) => {
  const good = { input: [4], layers: [{ type: 'dense', units: 3 }], loss: 'softmax-cross-entropy' };
  const cases: [object, RegExp][] = [
    [{ ...good, input: [4, 4] }, /^input: expected \[channels, height, width\] or \[features\]/],
    [{ ...good, input: [0] }, /^input/],
    [{ ...good, layer: [] }, /^layer: there is no such key; did you mean layers\?/],
    [{ ...good, loss: 'mse' }, /^loss: expected one of softmax-cross-entropy, squared-error/],
    [{ ...good, layers: [] }, /^layers: expected an array of at least one layer/],
    [{ ...good, layers: [{ type: 'flatten' }] }, /no layer has weights/],
    [{ ...good, layers: [{ type: 'dens', units: 3 }] }, /layers\[0\]\.type: .*did you mean dense\?/],
    [{ ...good, layers: [{ type: 'dense', units: 1.5 }] }, /layers\[0\]\.units: expected a positive integer/],
    [{ ...good, layers: [{ type: 'dense', unit: 1 }] }, /layers\[0\]\.unit: .*did you mean units\?/],
    [{ ...good, layers: [{ type: 'dense', units: 3, activation: 'tahn' }] }, /layers\[0\]\.activation/],
    [{ ...good, layers: [{ type: 'dense', units: 3, bias: 1 }] }, /layers\[0\]\.bias: expected true or false/],
    [{ ...good, layers: [{ type: 'dense', units: 3, initializer: 'xavier' }] }, /layers\[0\]\.initializer/],
    [
      { ...good, layers: [1, 2].map((units) => ({ type: 'dense', units, name: 'a' })) },
      /layers\[1\]\.name: another layer is called "a"/,
    ],
    [{ ...good, input: [1, 2, 2] }, /layers\[0\]: a dense layer takes a vector.*1×2×2; put a flatten before it/],
  ];
  for (const [spec, message] of cases) {
    t.throws(() => parseNetworkSpec(spec), { code: 'ERR_INVALID_SPEC', message }, String(message));
  }
  t.throws(() => parseNetworkSpec('mnist-fc'), { code: 'ERR_INVALID_SPEC' });
  t.throws(() => network({ features: -1 }), { code: 'ERR_INVALID_ARGUMENT' });
});

t.test('a layer that does not fit is an error when it runs, and when it compiles', async (t) => {
  const image = network({ channels: 1, height: 2, width: 2 });
  t.throws(() => (image as unknown as { dense(n: number): void }).dense(3), {
    code: 'ERR_INVALID_SPEC',
    message: /put a flatten before it/,
  });

  const folder = fileURLToPath(new URL('./.types/', import.meta.url));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  mkdirSync(folder, { recursive: true });
  writeFileSync(
    `${folder}wrong.ts`,
    `import { network, Trainer, Network, preset } from '../../../lib/index.js';
const image = network({ channels: 1, height: 28, width: 28 });
image.flatten().dense(10).softmaxCrossEntropy(); // right
image.dense(10);
image.flatten().dense(10, { activation: 'tahn' });
image.flatten().flatten();
image.conv2d(3, { kernel: 3 }).locallyConnected2d(3, { kernel: [3, 1], padding: 'same' }); // right
image.flatten().conv2d(3, { kernel: 3 });
image.flatten().maxPool2d({ kernel: 3 });
image.conv2d(3);
image.conv2d(3, { kernel: 3, padding: 'full' });
image.maxPool2d({ kernel: 3, padding: 'same' });
image.conv1d(3, { kernel: 3 });
image.conv2d(3, { kernel: 3 }).softmaxCrossEntropy();
const signal = network({ channels: 1, length: 28 });
signal.conv1d(3, { kernel: 3 }).avgPool1d({ kernel: 2 }).flatten().dense(3); // right
signal.conv1d(3, { kernel: [1, 3] });
signal.locallyConnected2d(3, { kernel: 3 });
new Network(preset('mnist-fc'), { rule: 'pb' });
new Trainer(new Network(preset('mnist-fc')), { optimizer: { type: 'adam', learningRate: 1 } });
`,
  );
  const config = { extends: '../../../tsconfig.json', include: ['wrong.ts'], exclude: [] };
  writeFileSync(`${folder}tsconfig.json`, JSON.stringify(config));
  const tsc = fileURLToPath(new URL('../../node_modules/typescript/bin/tsc', import.meta.url));
  let said = '';
  try {
    execFileSync(process.execPath, [tsc, '-p', folder], { encoding: 'utf8' });
  } catch (error) {
    said = (error as { stdout: string }).stdout;
  }
  const lines = [...said.matchAll(/wrong\.ts\((\d+),/g)].map((match) => Number(match[1]));
  t.strictSame(lines, [4, 5, 6, 8, 9, 10, 11, 12, 13, 14, 17, 18, 19, 20], said);
});
