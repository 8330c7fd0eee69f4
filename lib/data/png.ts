/** Pictures of images. */

import { loadSharp } from './sharp.js';

/**
 * A PNG of rows of images, without gaps.
 *
 * @param rows each with the same number of images, one after another, [channels, height, width] bytes
 * @param shape of an image: channels are 1 (grey) or 3
 */
export async function encodePng(
  rows: readonly Uint8Array[],
  [channels, height, width]: readonly [number, number, number],
): Promise<Uint8Array> {
  const columns = rows[0]!.length / (channels * height * width);
  const size = { width: columns * width, height: rows.length * height };
  const pixels = new Uint8Array(size.width * size.height * channels);
  for (const [r, row] of rows.entries()) {
    for (let i = 0; i < row.length; i++) {
      const [x, y] = [i % width, Math.floor(i / width) % height];
      const channel = Math.floor(i / (width * height)) % channels;
      const column = Math.floor(i / (width * height * channels));
      pixels[((r * height + y) * size.width + column * width + x) * channels + channel] = row[i]!;
    }
  }
  const sharp = await loadSharp();
  return sharp(pixels, { raw: { ...size, channels: channels as 1 | 3 } })
    .toColourspace(channels === 1 ? 'b-w' : 'srgb') // grey would become colour
    .png()
    .toBuffer();
}
