/** The data set that the settings name. */

import type { Dataset } from '../data/dataset.js';
import { readCifar10 } from '../data/cifar10.js';
import { cifar10, fashionMnist, mnist, type TrainAndTest } from '../data/index.js';
import { readFashionMnist, readMnist } from '../data/mnist.js';
import type { DatasetName } from './options.js';

const loaders = { mnist, 'fashion-mnist': fashionMnist, cifar10 };

/** @throws CortorchError ERR_DATASET_NOT_FOUND, ERR_DATASET_CORRUPT, ERR_READ_FAILED */
export function loadDataset(name: DatasetName, dataDir: string | undefined): Promise<TrainAndTest> {
  return loaders[name]({ dataDir });
}

const readers = { mnist: readMnist, 'fashion-mnist': readFashionMnist, cifar10: readCifar10 };

/** Images of the test set as bytes. @throws CortorchError as {@link loadDataset} */
export async function firstTestImages(
  name: DatasetName,
  dataDir: string | undefined,
  count: number,
): Promise<{ images: Uint8Array; shape: readonly [number, number, number] }> {
  const { test } = await readers[name](dataDir);
  const [channels, height, width] = test.shape;
  const images = test.images.subarray(0, count * channels * height * width);
  return { images, shape: test.shape };
}

/** The training set, what is held out of it, and the test set. */
export interface Parts {
  readonly train: Dataset;
  readonly validation: Dataset | null;
  readonly test: Dataset;
}

/**
 * Holds out a validation set.
 *
 * @param count images; 0: none
 * @throws CortorchError ERR_INVALID_ARGUMENT if there are not so many
 */
export function holdOut({ train, test }: TrainAndTest, count: number, seed: number): Parts {
  if (count === 0) return { train, validation: null, test };
  const parts = train.split(count, seed);
  train.dispose();
  return { ...parts, test };
}
