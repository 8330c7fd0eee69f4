/** sharp (libvips), which reads and writes pictures: loaded when the first one is wanted. */

import { CortorchError } from '../errors.js';

export type Sharp = typeof import('sharp').default;

/** @throws CortorchError ERR_DEPENDENCIES */
export async function loadSharp(): Promise<Sharp> {
  try {
    const sharp = (await import('sharp')).default;
    sharp.concurrency(1); // images are what is done in parallel
    sharp.cache(false); // no image comes twice
    return sharp;
  } catch (error) {
    const [what] = (error as Error).message.split('\n');
    throw new CortorchError(
      'ERR_DEPENDENCIES',
      `sharp, which reads and writes images, cannot be used: ${what}; npm install sharp`,
      { cause: error },
    );
  }
}
