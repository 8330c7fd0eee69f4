/** Image files. */
import fs from 'node:fs';
import path from 'node:path';
import sharp, { type Sharp } from 'sharp';

/** Writes an image of one colour: a PNG if its name says so, else a JPEG. */
export async function writePicture(
  file: string,
  size: { readonly width: number; readonly height: number },
  background: { readonly r: number; readonly g: number; readonly b: number },
): Promise<void> {
  const image = sharp({ create: { ...size, channels: 3, background } });
  fs.mkdirSync(path.dirname(file), { recursive: true });
  fs.writeFileSync(file, await (file.endsWith('.png') ? image.png() : image.jpeg()).toBuffer());
}

/** A smooth picture, so that JPEG keeps it closely; `hue` moves all of it. No two parts of it are alike. */
export function picture(width: number, height: number, hue = 0): Sharp {
  const pixels = new Uint8Array(width * height * 3);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      pixels.set([(200 * x) / width + 20, (200 * y) / height + 20, 20 + hue], (y * width + x) * 3);
    }
  }
  return sharp(pixels, { raw: { width, height, channels: 3 } });
}
