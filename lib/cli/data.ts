/** The data set that the settings name: in memory, or image files that are read while they are used. */

import type { Dataset } from '../data/dataset.js';
import { readCifar10 } from '../data/cifar10.js';
import type { ImageList } from '../data/images/folders.js';
import { ImageStream } from '../data/images/loader.js';
import { digestOf, listTraining, listValidation, splitList, trainingClasses } from '../data/images/parts.js';
import { cifar10, fashionMnist, mnist, type TrainAndTest } from '../data/index.js';
import { readFashionMnist, readMnist } from '../data/mnist.js';
import { CortorchError, invalid } from '../errors.js';
import { countOutputs } from '../model/shapes.js';
import type { ResolvedSpec } from '../model/spec.js';
import { squareOf } from './data-settings.js';
import { isStreamed, type Given, type MemoryName, type StreamName } from './options.js';
import type { RunConfig } from './settings.js';

const loaders = { mnist, 'fashion-mnist': fashionMnist, cifar10 };

/** @throws CortorchError ERR_DATASET_NOT_FOUND, ERR_DATASET_CORRUPT, ERR_READ_FAILED */
export function loadDataset(name: MemoryName, dataDir: string | undefined): Promise<TrainAndTest> {
  return loaders[name]({ dataDir });
}

const readers = { mnist: readMnist, 'fashion-mnist': readFashionMnist, cifar10: readCifar10 };

/** Images of the test set as bytes. @throws CortorchError as {@link loadDataset} */
export async function firstTestImages(
  name: MemoryName,
  dataDir: string | undefined,
  count: number,
): Promise<{ images: Uint8Array; shape: readonly [number, number, number] }> {
  const { test } = await readers[name](dataDir);
  const [channels, height, width] = test.shape;
  const images = test.images.subarray(0, count * channels * height * width);
  return { images, shape: test.shape };
}

export type Images = Dataset | ImageStream;

/** What is trained on, what chooses the best epoch, and what is only looked at. */
export interface Parts {
  readonly train: Images;
  readonly validation: Images | null;
  readonly test: Images | null;
  /** Of the training images, where they lie in files. */
  readonly digest: string | null;
}

/**
 * The data of a run.
 *
 * @param note says which files are corrupt
 * @throws CortorchError ERR_DATASET_NOT_FOUND, ERR_DATASET_CORRUPT, ERR_READ_FAILED, ERR_INVALID_ARGUMENT
 */
export async function loadParts(config: RunConfig, note: (text: string) => void): Promise<Parts> {
  const { dataset, dataDir, validation, seed } = config;
  if (isStreamed(dataset)) return streams(dataset, config, note);
  return { ...holdOut(await loadDataset(dataset, dataDir), validation, seed), digest: null };
}

/**
 * Holds out a validation set.
 *
 * @param count images; 0: none
 * @throws CortorchError ERR_INVALID_ARGUMENT if there are not so many
 */
export function holdOut(
  { train, test }: TrainAndTest,
  count: number,
  seed: number,
): { train: Dataset; validation: Dataset | null; test: Dataset } {
  if (count === 0) return { train, validation: null, test };
  const parts = train.split(count, seed);
  train.dispose();
  return { ...parts, test };
}

/** `val` is for validation; where a part of the training images is, `val` is for the test. */
async function streams(dataset: StreamName, config: RunConfig, note: (text: string) => void): Promise<Parts> {
  const { dataDir = '.', validation: count, seed, crop, flip, network } = config;
  const all = await listTraining(dataset, dataDir);
  const val = await listValidation(dataset, dataDir, all.classes);
  requireOutputs(all, network);
  const size = squareOf(network, dataset);
  const { batchSize, maxCorrupt = 0 } = config;
  const shared = () => ({ size, batchSize, maxCorrupt, onCorrupt: corruptTo(note, maxCorrupt) });
  const training = (list: ImageList): ImageStream =>
    new ImageStream(list, { ...shared(), crop: crop ?? 'random', flip, seed });
  const evaluation = (list: ImageList): ImageStream =>
    new ImageStream(list, { ...shared(), ...evaluationCrop(config), shuffle: false });
  const digest = digestOf(all, dataDir);
  if (count === 0) {
    return { train: training(all), validation: val && evaluation(val), test: null, digest };
  }
  const { train, validation } = splitList(all, count, seed);
  return { train: training(train), validation: evaluation(validation), test: val && evaluation(val), digest };
}

/**
 * The images to evaluate a checkpoint on: `val`.
 *
 * @throws CortorchError as {@link loadParts}
 */
export async function evaluationStream(
  dataset: StreamName,
  network: ResolvedSpec,
  settings: Given<'dataDir' | 'crop' | 'resize' | 'maxCorrupt'> & { readonly batchSize: number },
): Promise<ImageStream> {
  const { dataDir, batchSize, maxCorrupt = 0 } = settings;
  if (dataDir === undefined) {
    throw new CortorchError('ERR_USAGE', '--data-dir is missing: the folder with val in it');
  }
  const classes = dataset === 'folder' ? await trainingClasses(dataDir) : undefined;
  const list = await listValidation(dataset, dataDir, classes);
  if (list === null) {
    throw new CortorchError(
      'ERR_DATASET_NOT_FOUND',
      `${dataDir} has no folder val; name the folder that holds it with --data-dir`,
    );
  }
  requireOutputs(list, network);
  // Numbered among themselves, fewer classes than were trained would have other numbers.
  const outputs = countOutputs(network);
  const counts = network.loss !== 'reconstruction'; // an autoencoder has no use for classes
  if (dataset === 'folder' && classes === undefined && counts && list.classes.length !== outputs) {
    throw new CortorchError(
      'ERR_DATASET_NOT_FOUND',
      `${dataDir} has ${list.classes.length} classes in val and the network ${outputs} outputs, so their numbers are not known; ` +
        'put the train folder that it was trained on beside val',
    );
  }
  const onCorrupt = corruptTo((text) => console.error(text), maxCorrupt);
  const size = squareOf(network, dataset);
  const shared = { size, batchSize, maxCorrupt, onCorrupt };
  return new ImageStream(list, { ...shared, ...evaluationCrop(settings), shuffle: false });
}

const evaluationCrop = ({ crop, resize }: Given<'crop' | 'resize'>) =>
  crop === 'none' ? ({ crop } as const) : ({ crop: 'center', ...(resize !== undefined && { resize }) } as const);

function corruptTo(note: (text: string) => void, most: number): (path: string, reason: string) => void {
  let count = 0;
  return (path, reason) => {
    count++;
    note(`${path} cannot be read (${reason}): left out, ${count} of at most ${most}`);
  };
}

function requireOutputs({ labels }: ImageList, network: ResolvedSpec): void {
  const outputs = countOutputs(network);
  const most = labels.reduce((a, b) => Math.max(a, b), 0);
  if (network.loss === 'reconstruction' || most < outputs) return;
  throw invalid('data', `at most ${outputs} classes, the network's outputs`, `${most + 1} classes`);
}
