/**
 * CIFAR-10's ResNet-20 (He et al. 2016, section 4.2; zero-padded shortcuts) under the parameter names of most public
 * PyTorch implementations: evaluates one of their checkpoints on the CIFAR-10 test set in FOLDER.
 *
 *   npx tsx examples/resnet20.ts FILE.th FOLDER
 */

import { cifar10, Network, preset, readParameters } from 'cortorch';

/** Images of ImageNet have this mean and deviation; public CIFAR-10 models are often trained with them too. */
const IMAGENET = { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };

const [file, folder] = process.argv.slice(2);
if (file === undefined || folder === undefined) throw new Error('usage: npx tsx examples/resnet20.ts FILE.th FOLDER');
using resnet = new Network(preset('resnet20'), { normalization: IMAGENET });
await resnet.loadStateDict(await readParameters(file));
const { train, test } = await cifar10({ dataDir: folder });
train.dispose();
const { error, examples } = await resnet.evaluate(test);
console.log(`${examples} images, accuracy ${(100 * (1 - error)).toFixed(2)} %`);
