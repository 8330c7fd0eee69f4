/** The settings of the data: what is held out, how images are scaled, and what changes in them at random. */

import { resolveAugmentation, type AugmentationOptions } from '../data/augmentation.js';
import { CIFAR10_AUGMENTATION, CIFAR10_NORMALIZATION } from '../data/cifar10.js';
import { IMAGENET_NORMALIZATION } from '../data/images/folders.js';
import { CortorchError } from '../errors.js';
import type { Normalization } from '../model/network.js';
import type { ResolvedSpec } from '../model/spec.js';
import { missing, pick, unused } from './given.js';
import { isStreamed, kebab, type DatasetName, type Given } from './options.js';

type DataSetting =
  'dataDir' | 'validation' | 'mean' | 'std' | (typeof IN_MEMORY)[number] | (typeof STREAMED)[number] | 'flip';
type DataSettings = Given<DataSetting>;

/** Those of data sets in memory alone. */
const IN_MEMORY = ['cropPadding', 'cropBorder'] as const;
/** Those of images that are read from files while they are trained on. */
const STREAMED = ['crop', 'resize', 'maxCorrupt'] as const;

/** Images held out of a training set that brings no validation set of its own. */
const DEFAULT_VALIDATION: Readonly<Record<DatasetName, number>> = {
  mnist: 5000,
  'fashion-mnist': 5000,
  cifar10: 5000,
  imagenet: 0,
  folder: 0,
};

/**
 * Fills in the defaults.
 *
 * @throws CortorchError ERR_USAGE, ERR_UNUSED_OPTION, ERR_INVALID_ARGUMENT
 */
export function dataSettings(given: DataSettings, dataset: DatasetName, network: ResolvedSpec) {
  if (isStreamed(dataset) && given.dataDir === undefined) {
    throw missing('dataDir', `--data-dir DIR, a folder with train and val in it, which ${dataset} needs`);
  }
  return {
    ...pick(given, ['dataDir']),
    validation: given.validation ?? DEFAULT_VALIDATION[dataset],
    ...(normalizationSettings(given, network) ?? defaultNormalization(dataset, network)),
    ...(isStreamed(dataset) ? streamSettings(given, dataset, network) : augmentationSettings(given, dataset, network)),
  };
}

/**
 * What a training set is normalised with unless somebody says: its own statistics, where the network takes colour
 * images.
 */
function defaultNormalization(dataset: DatasetName, { input }: ResolvedSpec): Normalization | undefined {
  if (input.length !== 3 || input[0] !== 3) return undefined;
  if (dataset === 'cifar10') return CIFAR10_NORMALIZATION;
  return dataset === 'imagenet' ? IMAGENET_NORMALIZATION : undefined;
}

/** Random crops and flips: the usual ones for CIFAR-10's training set, none for others. */
function augmentationSettings(given: DataSettings, dataset: DatasetName, { input }: ResolvedSpec) {
  refuse(given, STREAMED, `${dataset}, which lies in memory`);
  const usual = dataset === 'cifar10' && input.length === 3 ? CIFAR10_AUGMENTATION : {};
  return resolveAugmentation(
    { ...usual, ...pick(given, ['cropPadding', 'cropBorder', 'flip']) },
    input,
    (key) => `--${kebab(key)}`,
  );
}

/** How image files become squares. */
function streamSettings(given: DataSettings, dataset: DatasetName, network: ResolvedSpec) {
  refuse(given, IN_MEMORY, `${dataset}, whose images are cropped as --crop says`);
  const { crop = 'random', flip = 'horizontal', maxCorrupt = 10 } = given;
  const size = squareOf(network, dataset);
  return { crop, ...resizeSettings({ ...given, crop }, size), flip, maxCorrupt };
}

/**
 * How images are cut for an evaluation.
 *
 * @throws CortorchError ERR_UNUSED_OPTION, ERR_USAGE
 */
export function resizeSettings(
  { crop, resize }: Pick<DataSettings, 'crop' | 'resize'>,
  size: number,
): { readonly resize?: number } {
  if (crop === 'none') {
    if (resize === undefined) return {};
    throw unused('resize', 'whole images (--crop none)', 'leave one of them out');
  }
  // 256 for 224 (Krizhevsky et al. 2012)
  const side = resize ?? Math.round((size * 256) / 224);
  if (side >= size) return { resize: side };
  throw new CortorchError(
    'ERR_USAGE',
    `--resize: expected at least ${size}, the network's input, but received ${side}`,
  );
}

/** Height and width of the images that a network takes. @throws CortorchError ERR_USAGE */
export function squareOf({ input }: ResolvedSpec, dataset: DatasetName): number {
  const [channels, height, width] = input;
  if (input.length === 3 && channels === 3 && height === width) return height!;
  throw new CortorchError(
    'ERR_USAGE',
    `--model: the images of ${dataset} become colour squares, 3×N×N, but the network's input is ${input.join('×')}; ` +
      'choose a network such as imagenet-conv',
  );
}

function refuse(given: DataSettings, names: readonly (keyof DataSettings)[], by: string): void {
  for (const name of names) {
    if (given[name] !== undefined) throw unused(name, by, 'leave it out');
  }
}

export const normalizationOf = ({ mean, std }: Pick<DataSettings, 'mean' | 'std'>): Normalization | null =>
  mean === undefined || std === undefined ? null : { mean, std };

/** Of data sets in memory; image files are cut where they are read. */
export const augmentationOf = (
  config: Pick<DataSettings, 'cropPadding' | 'cropBorder' | 'flip'>,
): AugmentationOptions | undefined =>
  config.cropPadding === undefined ? undefined : pick(config, ['cropPadding', 'cropBorder', 'flip']);

/**
 * What --mean and --std say together.
 *
 * @returns undefined if neither is given
 * @throws CortorchError ERR_USAGE
 */
export function normalizationSettings(
  { mean, std }: Pick<DataSettings, 'mean' | 'std'>,
  { input }: ResolvedSpec,
): Normalization | undefined {
  if (mean === undefined && std === undefined) return undefined;
  if (mean === undefined) throw missing('mean', '--std is there, and each needs the other');
  if (std === undefined) throw missing('std', '--mean is there, and each needs the other');
  const channels = input.length === 3 ? input[0]! : 1;
  for (const [key, values] of [
    ['mean', mean],
    ['std', std],
  ] as const) {
    if (values.length === channels) continue;
    const what = `expected ${channels} number${channels === 1 ? '' : 's'}, one for each channel`;
    throw new CortorchError('ERR_USAGE', `--${key}: ${what}, but received ${values.join(',')}`);
  }
  if (!std.every((value) => value > 0)) {
    throw new CortorchError('ERR_USAGE', `--std: expected numbers above 0 but received ${std.join(',')}`);
  }
  return { mean, std };
}
