/**
 * Networks for photographs with batch norm and residual blocks, under the parameter names of their usual PyTorch forms,
 * so that checkpoints of those load: those that sign-symmetry was studied with (Xiao et al. 2019), and torchvision's.
 *
 * Weights are drawn with He's deviation √(2 / fan_in), the last layer's with Glorot's.
 */

import { network, type ConvolutionOptions, type ImageBuilder, type VectorBuilder } from './builder.js';
import type { ResolvedSpec } from './spec.js';

const CIFAR10 = { channels: 3, height: 32, width: 32 };
const IMAGENET = { channels: 3, height: 224, width: 224 };

/** Of everything below a ReLU (He et al. 2015). */
const HE = { initializer: 'he-normal' } as const;

/** A convolution without bias, and the batch norm that has one in its place. */
function normed(
  image: ImageBuilder,
  channels: number,
  options: Pick<ConvolutionOptions, 'kernel' | 'stride' | 'padding'>,
  [conv, norm]: readonly [string, string],
  activation: 'relu' | 'identity' = 'relu',
): ImageBuilder {
  return image.conv2d(channels, { ...options, ...HE, bias: false, name: conv }).batchNorm({ activation, name: norm });
}

/** Two 3×3 convolutions past which the input goes; the first may halve the size. */
function basicBlock(
  image: ImageBuilder,
  name: string,
  channels: number,
  stride: number,
  shortcut: 'pad' | 'convolution',
): ImageBuilder {
  const options = { kernel: 3, padding: 1 } as const;
  const grows = stride !== 1 || image.shape[0] !== channels;
  const projected = (x: ImageBuilder): ImageBuilder =>
    normed(x, channels, { kernel: 1, stride }, [`${name}.downsample.0`, `${name}.downsample.1`], 'identity');
  return image.residual(
    (x) => {
      const middle = normed(x, channels, { ...options, stride }, [`${name}.conv1`, `${name}.bn1`]);
      return normed(middle, channels, options, [`${name}.conv2`, `${name}.bn2`], 'identity');
    },
    { shortcut: !grows ? 'identity' : shortcut === 'pad' ? 'pad' : projected, activation: 'relu' },
  );
}

/** Stages of blocks, of which each but the first begins with half the size. */
function stages(
  image: ImageBuilder,
  channels: readonly number[],
  blocks: number,
  shortcut: 'pad' | 'convolution',
): ImageBuilder {
  let result = image;
  for (const [stage, width] of channels.entries()) {
    for (let i = 0; i < blocks; i++) {
      const stride = stage > 0 && i === 0 ? 2 : 1;
      result = basicBlock(result, `layer${stage + 1}.${i}`, width, stride, shortcut);
    }
  }
  return result;
}

/** CIFAR-10's ResNet-20 (He et al. 2016, section 4.2): shortcuts padded with zeros, 0.27 million parameters. */
export function resnet20(): ResolvedSpec {
  const stem = normed(network(CIFAR10), 16, { kernel: 3, padding: 1 }, ['conv1', 'bn1']);
  return stages(stem, [16, 32, 64], 3, 'pad')
    .globalAvgPool2d()
    .flatten()
    .dense(10, { name: 'linear' })
    .softmaxCrossEntropy();
}

/** torchvision's resnet18: 11.7 million parameters, 1000 classes. */
export function resnet18(): ResolvedSpec {
  const stem = normed(network(IMAGENET), 64, { kernel: 7, stride: 2, padding: 3 }, ['conv1', 'bn1']);
  return stages(stem.maxPool2d({ kernel: 3, stride: 2, padding: 1 }), [64, 128, 256, 512], 2, 'convolution')
    .globalAvgPool2d()
    .flatten()
    .dense(1000, { name: 'fc' })
    .softmaxCrossEntropy();
}

/**
 * The convolutions of AlexNet as torchvision has it (Krizhevsky 2014): channels, kernel, stride, padding; pooled
 * behind?
 */
const ALEXNET = [
  [64, 11, 4, 2, true],
  [192, 5, 1, 2, true],
  [384, 3, 1, 1, false],
  [256, 3, 1, 1, false],
  [256, 3, 1, 1, true],
] as const;

const POOL = { kernel: 3, stride: 2 } as const;

/** AlexNet as Xiao et al. (2019) trained it: batch norm before every ReLU, no bias before it, no dropout. */
export function alexnet(): ResolvedSpec {
  let image: ImageBuilder = network(IMAGENET);
  // The place in the PyTorch form's Sequential: convolution, norm, ReLU, pooling.
  let place = 0;
  for (const [channels, kernel, stride, padding, pooled] of ALEXNET) {
    image = normed(image, channels, { kernel, stride, padding }, [`features.${place}`, `features.${place + 1}`]);
    if (pooled) image = image.maxPool2d(POOL);
    place += pooled ? 4 : 3;
  }
  let vector: VectorBuilder = image.flatten();
  for (const at of [0, 3]) {
    vector = vector
      .dense(4096, { ...HE, bias: false, name: `classifier.${at}` })
      .batchNorm({ activation: 'relu', name: `classifier.${at + 1}` });
  }
  return vector.dense(1000, { name: 'classifier.6' }).softmaxCrossEntropy();
}

/** torchvision's alexnet without its dropout, for its checkpoints: 61.1 million parameters, 1000 classes. */
export function torchvisionAlexnet(): ResolvedSpec {
  let image: ImageBuilder = network(IMAGENET);
  let place = 0;
  for (const [channels, kernel, stride, padding, pooled] of ALEXNET) {
    image = image.conv2d(channels, {
      ...{ kernel, stride, padding },
      ...{ ...HE, activation: 'relu', name: `features.${place}` },
    });
    if (pooled) image = image.maxPool2d(POOL);
    place += pooled ? 3 : 2;
  }
  let vector: VectorBuilder = image.flatten();
  for (const at of [1, 4]) vector = vector.dense(4096, { ...HE, activation: 'relu', name: `classifier.${at}` });
  return vector.dense(1000, { name: 'classifier.6' }).softmaxCrossEntropy();
}
