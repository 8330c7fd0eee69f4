/**
 * CIFAR-10's ResNet-20 (He et al. 2016, section 4.2; zero-padded shortcuts) with the parameter names of most public PyTorch
 * implementations, so that their checkpoints load.
 *
 *   npx tsx examples/resnet20.ts FILE.th FOLDER      evaluates a checkpoint on the CIFAR-10 test set in FOLDER
 *   npx tsx examples/resnet20.ts > resnet20.json     the network as a spec, for cortorch's --model
 */

import { pathToFileURL } from 'node:url';
import {
  cifar10,
  Network,
  network,
  readParameters,
  type ImageBuilder,
  type ResolvedSpec,
} from '../lib/index.js';

/** Images of ImageNet have this mean and deviation; public CIFAR-10 models are often trained with them too. */
export const IMAGENET = { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };

/** Two 3×3 convolutions past which the input goes; the first may halve the size. */
function block(input: ImageBuilder, name: string, channels: number, stride: number): ImageBuilder {
  const conv = { kernel: 3, padding: 1, bias: false };
  return input.residual(
    (x) =>
      x
        .conv2d(channels, { ...conv, stride, name: `${name}.conv1` })
        .batchNorm({ activation: 'relu', name: `${name}.bn1` })
        .conv2d(channels, { ...conv, name: `${name}.conv2` })
        .batchNorm({ name: `${name}.bn2` }),
    { shortcut: stride === 1 ? 'identity' : 'pad', activation: 'relu' },
  );
}

export function resnet20(): ResolvedSpec {
  let image = network({ channels: 3, height: 32, width: 32 })
    .conv2d(16, { kernel: 3, padding: 1, bias: false, name: 'conv1' })
    .batchNorm({ activation: 'relu', name: 'bn1' });
  for (const [stage, channels] of [16, 32, 64].entries()) {
    for (let i = 0; i < 3; i++) {
      image = block(image, `layer${stage + 1}.${i}`, channels, stage > 0 && i === 0 ? 2 : 1);
    }
  }
  return image.globalAvgPool2d().flatten().dense(10, { name: 'linear' }).softmaxCrossEntropy();
}

if (import.meta.url === pathToFileURL(process.argv[1]!).href) {
  const [file, folder] = process.argv.slice(2);
  if (file === undefined || folder === undefined) console.log(JSON.stringify(resnet20(), null, 2));
  else {
    using resnet = new Network(resnet20(), { normalization: IMAGENET });
    await resnet.loadStateDict(await readParameters(file));
    const { train, test } = await cifar10({ dataDir: folder });
    train.dispose();
    const { error, examples } = await resnet.evaluate(test);
    console.log(`${examples} images, accuracy ${(100 * (1 - error)).toFixed(2)} %`);
  }
}
