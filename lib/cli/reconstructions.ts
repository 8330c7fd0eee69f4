/** `cortorch eval --images FILE.png`: what an autoencoder makes of the first test images. */

import { encodePng } from '../data/png.js';
import { CortorchError } from '../errors.js';
import { writeFileAtomic } from '../files.js';
import type { Network } from '../model/network.js';
import type { ResolvedSpec } from '../model/spec.js';
import { firstTestImages } from './data.js';
import type { MemoryName } from './options.js';

const COUNT = 16;

/**
 * Before anything is computed.
 *
 * @param checkpoint for the message
 * @throws CortorchError ERR_USAGE
 */
export function requireReconstruction(file: string, { loss }: ResolvedSpec, checkpoint: string): void {
  if (!/\.png$/i.test(file)) {
    throw new CortorchError('ERR_USAGE', `--images: expected a name that ends in .png but received ${file}`);
  }
  if (loss !== 'reconstruction') {
    throw new CortorchError(
      'ERR_USAGE',
      `--images shows reconstructions, but the network of ${checkpoint} has the loss ${loss}; ` +
        'leave it out, or name a checkpoint of mnist-autoencoder or another network with the loss reconstruction',
    );
  }
}

/**
 * Writes the originals and, below them, what the network gives for each.
 *
 * @throws CortorchError ERR_WRITE_FAILED; ERR_DEPENDENCIES without sharp
 */
export async function writeReconstructions(
  file: string,
  network: Network,
  dataset: MemoryName,
  dataDir: string | undefined,
): Promise<void> {
  const { images, shape } = await firstTestImages(dataset, dataDir, COUNT);
  const outputs = await network.predict(images);
  const [channels, height, width] = shape;
  // The network gives its input back as it gets it: scaled to 0 to 1, then normalised by channel.
  const { mean, std } = network.normalization ?? { mean: [], std: [] };
  const bytes = Uint8ClampedArray.from(outputs, (value, i) => {
    const channel = Math.floor(i / (height * width)) % channels;
    return 255 * (value * (std[channel] ?? 1) + (mean[channel] ?? 0));
  });
  await writeFileAtomic(file, await encodePng([images, new Uint8Array(bytes.buffer)], shape));
}
