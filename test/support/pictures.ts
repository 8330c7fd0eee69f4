/** Image files. */
import fs from 'node:fs';
import path from 'node:path';
import sharp from 'sharp';

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
