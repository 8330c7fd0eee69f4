/** What is changed at random in the images of a data set while it is trained on, anew in every epoch. */

import { CortorchError, invalid, isInteger, isOneOf, isPlainObject } from '../errors.js';
import type { NativeAugmentation } from '../native.js';
import { didYouMean } from '../suggest.js';

export type FlipName = 'none' | 'horizontal' | 'vertical' | 'both';
export const flipNames: readonly FlipName[] = ['none', 'horizontal', 'vertical', 'both'];

export type CropBorderName = 'reflect' | 'black';
export const cropBorderNames: readonly CropBorderName[] = ['reflect', 'black'];

export interface AugmentationOptions {
  /**
   * Pixels of a border on every side of an image, of which a window of the image's size is then cut at random; 0, the
   * default: none. For CIFAR-10 4 is usual (He et al. 2016).
   */
  readonly cropPadding?: number;
  /**
   * The border: `reflect`, the default, mirrors the image at its outermost pixels; `black` is usual for convolutional
   * networks, but fully connected ones, to which images without it look unlike all they have seen, generalise badly
   * from it.
   */
  readonly cropBorder?: CropBorderName;
  /**
   * The mirror image (horizontal), the image upside down (vertical) or both, independently, each half of the time.
   * Default none. Bartunov et al. say "vertical flips" of CIFAR-10 and probably mean mirror images.
   */
  readonly flip?: FlipName;
}

export type ResolvedAugmentation = Required<AugmentationOptions>;

const names = ['cropPadding', 'cropBorder', 'flip'] as const;

/**
 * @param input the shape of an example
 * @param shown how an error names a setting
 * @throws CortorchError ERR_INVALID_ARGUMENT, also for examples that are no images; ERR_UNKNOWN_OPTION
 */
export function resolveAugmentation(
  options: AugmentationOptions | undefined,
  input: readonly number[],
  shown = (key: string): string => `augmentation.${key}`,
): ResolvedAugmentation {
  if (options === undefined) return { cropPadding: 0, cropBorder: 'reflect', flip: 'none' };
  if (!isPlainObject(options)) throw invalid('augmentation', '{ cropPadding, cropBorder, flip }', options);
  for (const key of Object.keys(options)) {
    if (isOneOf(key, names)) continue;
    throw new CortorchError(
      'ERR_UNKNOWN_OPTION',
      `augmentation.${key}: there is no such setting${didYouMean(key, names)}`,
    );
  }
  const { cropPadding = 0, cropBorder = 'reflect', flip = 'none' }: AugmentationOptions = options;
  if (!isOneOf(cropBorder, cropBorderNames)) {
    throw invalid(shown('cropBorder'), `one of ${cropBorderNames.join(', ')}`, cropBorder);
  }
  if (!isOneOf(flip, flipNames)) throw invalid(shown('flip'), `one of ${flipNames.join(', ')}`, flip);
  const most = input.length === 3 ? Math.min(input[1]!, input[2]!) - 1 : 0;
  if (!isInteger(cropPadding) || cropPadding < 0) {
    throw invalid(shown('cropPadding'), 'an integer of at least 0', cropPadding);
  }
  if (input.length !== 3 && (cropPadding > 0 || flip !== 'none')) {
    throw new CortorchError(
      'ERR_INVALID_ARGUMENT',
      `${shown(cropPadding > 0 ? 'cropPadding' : 'flip')} is for images, but the network's input has shape ${input.join('×')}; leave it out`,
    );
  }
  if (cropPadding > most) {
    throw invalid(shown('cropPadding'), `at most ${most}, less than the images' sides`, cropPadding);
  }
  return { cropPadding, cropBorder, flip };
}

export const isAugmented = ({ cropPadding, flip }: ResolvedAugmentation): boolean => cropPadding > 0 || flip !== 'none';

export const toNative = ({ cropPadding, cropBorder, flip }: ResolvedAugmentation): NativeAugmentation => ({
  cropPadding,
  cropBorder,
  flipHorizontal: flip === 'horizontal' || flip === 'both',
  flipVertical: flip === 'vertical' || flip === 'both',
});
