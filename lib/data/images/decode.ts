/**
 * One image file's bytes to a square of RGB pixels, by sharp (libvips): decoded, turned upright, cropped and resized.
 */

import type { Metadata } from 'sharp';
import type { Random } from '../../random.js';
import type { FlipName } from '../augmentation.js';
import type { Sharp } from '../sharp.js';

/** How an image becomes a square. */
export interface ImageTransform {
  /** Height and width of the square. */
  readonly size: number;
  /**
   * `random`: torchvision's RandomResizedCrop, 8 to 100 % of the area, 3:4 to 4:3. `center`: the shorter side to
   * `resize`, then the middle. `none`: the whole image, its proportions changed.
   */
  readonly crop: 'random' | 'center' | 'none';
  /** With `center`: the shorter side before cropping. */
  readonly resize: number;
  /** The mirror image (horizontal), the image upside down (vertical) or both, independently, half of the time each. */
  readonly flip: FlipName;
}

/** What a crop depends on. */
export interface ImageSize {
  /** Of the image turned upright. */
  readonly width: number;
  readonly height: number;
  readonly isJpeg: boolean;
}

export interface Rectangle {
  readonly left: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
}

/**
 * Decodes one image into `target`: [size, size, 3] bytes. Grey, CMYK and 16-bit images become RGB, transparency is
 * dropped, and EXIF orientation is followed. Colour profiles are not, as in Pillow and torchvision: a quarter of
 * ImageNet's files have one, and following it takes as long as decoding.
 *
 * @param known the image's size, where it was decoded before: it costs a second look at the header
 * @returns the size, where it was asked for
 * @throws Error of libvips or of this file: not an image, truncated, more than 16,383² pixels
 */
export async function decodeImage(
  sharp: Sharp,
  bytes: Uint8Array,
  transform: ImageTransform,
  random: Random,
  target: Uint8Array,
  known?: ImageSize,
): Promise<ImageSize | undefined> {
  const { size, crop } = transform;
  if (isCutOff(bytes)) throw new Error('the JPEG ends before its end marker');
  const image = sharp(bytes, { failOn: 'error', sequentialRead: true, ignoreIcc: true }).autoOrient();
  // A window of the resized image; sharp flips before it cuts.
  let window: Rectangle | undefined;
  let found: ImageSize | undefined;
  const whole = { width: size, height: size };
  if (crop === 'random') {
    found = known ?? sizeOf(await image.metadata());
    const { width, height, isJpeg } = found;
    const part = randomCrop(width, height, random);
    // libjpeg decodes at half the size or less for next to nothing, but only whole images. Cropping afterwards moves
    // the crop by less than half a pixel of the result.
    if (isJpeg && Math.min(part.width, part.height) >= 2 * size) {
      const [across, down] = [size / part.width, size / part.height];
      whole.width = Math.round(width * across);
      whole.height = Math.round(height * down);
      window = {
        left: Math.min(Math.round(part.left * across), whole.width - size),
        top: Math.min(Math.round(part.top * down), whole.height - size),
        ...{ width: size, height: size },
      };
    } else {
      image.extract(part);
    }
    image.resize(whole.width, whole.height, STRETCH);
  } else if (crop === 'center') {
    found = known ?? sizeOf(await image.metadata());
    Object.assign(whole, shorterSide(found, transform.resize));
    image.resize(whole.width, whole.height, STRETCH);
    const [left, top] = [middle(whole.width - size), middle(whole.height - size)];
    window = { left, top, width: size, height: size };
  } else {
    image.resize(size, size, STRETCH);
  }
  const draw = (...flips: FlipName[]): boolean => flips.includes(transform.flip) && random.nextBelow(2) === 1;
  const mirrored = draw('horizontal', 'both');
  const upsideDown = draw('vertical', 'both');
  if (window !== undefined) {
    image.extract({
      ...window,
      ...(mirrored && { left: whole.width - size - window.left }),
      ...(upsideDown && { top: whole.height - size - window.top }),
    });
  }
  const pixels = await image.flop(mirrored).flip(upsideDown).removeAlpha().toColourspace('srgb').raw().toBuffer();
  if (pixels.length !== 3 * size * size) {
    throw new Error(`it decodes to ${pixels.length} values instead of ${3 * size * size}`);
  }
  target.set(pixels);
  return found;
}

const sizeOf = ({ autoOrient, format }: Metadata): ImageSize => ({
  width: autoOrient.width,
  height: autoOrient.height,
  isJpeg: format === 'jpeg',
});

/** The triangle filter, widened when shrinking: Pillow's and torchvision's bilinear. */
const STRETCH = { fit: 'fill', kernel: 'linear' } as const;

/** The size of an image whose shorter side is made `side` long, as torchvision's Resize has it. */
function shorterSide({ width, height }: ImageSize, side: number): Pick<Rectangle, 'width' | 'height'> {
  const longer = Math.trunc((side * Math.max(width, height)) / Math.min(width, height));
  return width < height ? { width: side, height: longer } : { width: longer, height: side };
}

/** Half of what is left over, as torchvision's CenterCrop has it: Python rounds halves to even numbers. */
function middle(rest: number): number {
  const half = rest >> 1;
  return rest % 2 === 0 ? half : half + (half % 2);
}

/** torchvision's RandomResizedCrop.get_params with its default scale and ratio. */
export function randomCrop(width: number, height: number, random: Random): Rectangle {
  const [minRatio, maxRatio] = [3 / 4, 4 / 3];
  for (let i = 0; i < 10; i++) {
    const area = width * height * between(0.08, 1, random);
    const ratio = Math.exp(between(Math.log(minRatio), Math.log(maxRatio), random));
    const w = Math.round(Math.sqrt(area * ratio));
    const h = Math.round(Math.sqrt(area / ratio));
    if (w < 1 || h < 1 || w > width || h > height) continue;
    const top = random.nextBelow(height - h + 1);
    return { left: random.nextBelow(width - w + 1), top, width: w, height: h };
  }
  // The middle, as much of it as the ratios allow.
  const w = Math.max(1, Math.min(width, Math.round(height * maxRatio)));
  const h = Math.max(1, Math.min(height, Math.round(width / minRatio)));
  return { left: (width - w) >> 1, top: (height - h) >> 1, width: w, height: h };
}

const between = (low: number, high: number, random: Random): number =>
  low + (high - low) * (random.nextUint32() / 2 ** 32);

/**
 * A JPEG without an end marker after its last scan. libvips sees it only if the crop reaches the place; a file must not
 * be corrupt in one epoch and whole in the next.
 */
function isCutOff(bytes: Uint8Array): boolean {
  if (bytes[0] !== 0xff || bytes[1] !== 0xd8) return false;
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  return buffer.lastIndexOf('ffd9', undefined, 'hex') < buffer.lastIndexOf('ffda', undefined, 'hex');
}
