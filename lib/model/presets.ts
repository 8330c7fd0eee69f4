/** The networks of the papers: Bartunov et al. (2018), Table 3, and those of Xiao et al. (2019). */

import { CortorchError } from '../errors.js';
import { didYouMean } from '../suggest.js';
import { network, type ImageBuilder, type ImageShape } from './builder.js';
import { alexnet, resnet18, resnet20, torchvisionAlexnet } from './image-networks.js';
import type { InitializerName } from './layers.js';
import type { ResolvedSpec } from './spec.js';

const mnist: ImageShape = { channels: 1, height: 28, width: 28 };
const cifar10: ImageShape = { channels: 3, height: 32, width: 32 };
const imagenet: ImageShape = { channels: 3, height: 224, width: 224 };

/** A row of Table 3. ConvNets have the same rows as the locally connected networks. */
type Row = readonly [kernel: number, channels: number, stride: number];

const mnistRows: readonly Row[] = [
  [3, 32, 2],
  [3, 64, 2],
];
const cifar10Rows: readonly Row[] = [
  [5, 64, 2],
  [5, 128, 2],
  [3, 256, 1], // the stride is not printed
];
const imagenetRows: readonly Row[] = [
  [9, 48, 4],
  [3, 48, 2],
  [5, 96, 1],
  [3, 96, 2],
  [3, 192, 1],
  [3, 192, 2],
  [3, 384, 1],
];

const presets = {
  'mnist-fc': () => fullyConnected(mnist, Array<number>(5).fill(256), 10),
  // Of the two readings of "Glorot" for an unshared layer this one learns: after three epochs of bp with Table 5's
  // values the test error is 3.6 %, with fans k_h·k_w·in and k_h·k_w·out 6.0 % (seed 1).
  'mnist-lc': () => withRows('locallyConnected2d', mnist, mnistRows, [1024], 10, 'glorot-uniform-location'),
  'mnist-conv': () => withRows('conv2d', mnist, mnistRows, [1024], 10),
  'mnist-autoencoder': () => autoencoder(mnist, [512, 64, 512]),
  'cifar10-fc': () => fullyConnected(cifar10, Array<number>(3).fill(1024), 10),
  'cifar10-lc': () => withRows('locallyConnected2d', cifar10, cifar10Rows, [1024], 10),
  'cifar10-conv': () => withRows('conv2d', cifar10, cifar10Rows, [1024], 10),
  'imagenet-lc': () => withRows('locallyConnected2d', imagenet, imagenetRows, [], 1000),
  'imagenet-conv': () => withRows('conv2d', imagenet, imagenetRows, [], 1000),
  alexnet,
  'alexnet-torchvision': torchvisionAlexnet,
  resnet18,
  resnet20,
} satisfies Record<string, () => ResolvedSpec>;

export type PresetName = keyof typeof presets;

export const presetNames = Object.keys(presets) as readonly PresetName[];

function withRows(
  map: 'locallyConnected2d' | 'conv2d',
  input: ImageShape,
  rows: readonly Row[],
  hidden: readonly number[],
  classes: number,
  initializer: InitializerName = 'glorot-uniform',
): ResolvedSpec {
  let image = network(input);
  for (const [kernel, channels, stride] of rows) {
    image = image[map](channels, { kernel, stride, padding: 'same', activation: 'tanh', initializer });
  }
  return withHead(image, hidden, classes);
}

const fullyConnected = (input: ImageShape, hidden: readonly number[], classes: number): ResolvedSpec =>
  withHead(network(input), hidden, classes);

function withHead(image: ImageBuilder, hidden: readonly number[], classes: number): ResolvedSpec {
  let vector = image.flatten();
  for (const units of hidden) vector = vector.dense(units, { activation: 'tanh' });
  return vector.dense(classes).softmaxCrossEntropy();
}

/** The paper's A.5.5: squared error, tanh, and outputs as they are. */
function autoencoder(input: ImageShape, hidden: readonly number[]): ResolvedSpec {
  let vector = network(input).flatten();
  for (const units of hidden) vector = vector.dense(units, { activation: 'tanh' });
  return vector.dense(input.channels * input.height * input.width).reconstruction();
}

export const isPreset = (name: string): name is PresetName => Object.hasOwn(presets, name);

/** @throws CortorchError ERR_UNKNOWN_OPTION */
export function preset(name: string): ResolvedSpec {
  if (isPreset(name)) return presets[name]();
  throw new CortorchError(
    'ERR_UNKNOWN_OPTION',
    `unknown model ${JSON.stringify(name)}${didYouMean(name, presetNames) || '.'} The presets are ${presetNames.join(', ')}`,
  );
}
