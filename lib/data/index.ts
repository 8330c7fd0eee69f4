/** The data sets that the package knows by name. */

import { readCifar10 } from './cifar10.js';
import { Dataset } from './dataset.js';
import { readFashionMnist, readIdxFolder, readMnist, type RawDataset, type RawImages } from './mnist.js';

export interface LoadOptions {
  /** A folder with the data set's files, instead of its own place. */
  readonly dataDir?: string | undefined;
}

export interface TrainAndTest {
  readonly train: Dataset;
  readonly test: Dataset;
}

/** MNIST, which comes with the package. @throws CortorchError ERR_DATASET_NOT_FOUND, ERR_DATASET_CORRUPT */
export const mnist = async (options: LoadOptions = {}): Promise<TrainAndTest> =>
  toDatasets(await readMnist(options.dataDir));

/** Fashion-MNIST, from the system's package. @throws CortorchError ERR_DATASET_NOT_FOUND, ERR_DATASET_CORRUPT */
export const fashionMnist = async (options: LoadOptions = {}): Promise<TrainAndTest> =>
  toDatasets(await readFashionMnist(options.dataDir));

/**
 * CIFAR-10, its binary or its Python version, from the folder or the archive that `dataDir` names: whole, or a sample.
 *
 * @throws CortorchError ERR_DATASET_NOT_FOUND, ERR_DATASET_CORRUPT, ERR_READ_FAILED
 */
export const cifar10 = async (options: LoadOptions = {}): Promise<TrainAndTest> =>
  toDatasets(await readCifar10(options.dataDir));

/** Any folder of MNIST's form. @throws CortorchError ERR_DATASET_NOT_FOUND, ERR_DATASET_CORRUPT */
export const idxFolder = async (folder: string, options: { classes: number }): Promise<TrainAndTest> =>
  toDatasets(await readIdxFolder(folder, options.classes));

const toDatasets = ({ train, test }: RawDataset): TrainAndTest => ({
  train: toDataset(train),
  test: toDataset(test),
});

const toDataset = ({ images, labels, shape, classes }: RawImages): Dataset =>
  Dataset.fromArrays({ images, labels, shape, classes });
