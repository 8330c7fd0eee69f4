/**
 * CIFAR-10's binary version, a folder of `data_batch_1.bin` to `data_batch_5.bin` and `test_batch.bin`. A file is
 * records without a header: one byte for the class, then 3 × 32 × 32 bytes, the red, green and blue planes row by row.
 * Source: https://www.cs.toronto.edu/~kriz/cifar.html, "Binary version".
 */

import { readdir, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { CortorchError } from '../errors.js';
import type { RawDataset, RawImages } from './mnist.js';

const SHAPE = [3, 32, 32] as const;
const CLASSES = 10;
const IMAGE_BYTES = 3 * 32 * 32;
const RECORD_BYTES = 1 + IMAGE_BYTES;

/** Where the archive says that it unpacks to. */
const ARCHIVE_FOLDER = 'cifar-10-batches-bin';
const DOWNLOAD = `https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz`;

/**
 * Mean and standard deviation of the 50,000 training images by channel, bytes divided by 255 (recomputed: 0.491400, 0.482158,
 * 0.446531; 0.247032, 0.243485, 0.261588), rounded to the values
 * that published CIFAR-10 code normalises with.
 */
export const CIFAR10_NORMALIZATION = {
  mean: [0.4914, 0.4822, 0.4465],
  std: [0.247, 0.2435, 0.2616],
} as const;

/** What is usual in training: crops of a border of 4 pixels and mirror images (He et al. 2016, section 4.2). */
export const CIFAR10_AUGMENTATION = { cropPadding: 4, flip: 'horizontal' } as const;

/**
 * Reads CIFAR-10 (Krizhevsky 2009): 50,000 and 10,000 colour photographs, 32 × 32, 10 classes. A sample of it, with
 * fewer batches or fewer records in them, is read as well.
 *
 * @param dataDir the folder with the batches, or the one with `cifar-10-batches-bin` in it
 * @throws CortorchError ERR_DATASET_NOT_FOUND, ERR_DATASET_CORRUPT or ERR_READ_FAILED, naming the file
 */
export async function readCifar10(dataDir?: string): Promise<RawDataset> {
  if (dataDir === undefined) {
    throw new CortorchError(
      'ERR_DATASET_NOT_FOUND',
      `CIFAR-10 does not come with this package; download its binary version, ${DOWNLOAD}, unpack it, ` +
        'and name the folder with --data-dir',
    );
  }
  const { folder, batches } = await findBatches(dataDir);
  return {
    train: await readBatches(batches.map((name) => join(folder, name))),
    test: await readBatches([join(folder, TEST)]),
    folder,
  };
}

const TEST = 'test_batch.bin';

/** The folder that holds the batches, and those for training in the order of their numbers. */
async function findBatches(dataDir: string): Promise<{ folder: string; batches: string[] }> {
  for (const folder of [dataDir, join(dataDir, ARCHIVE_FOLDER)]) {
    const files = await list(folder);
    const number = (name: string): number => Number(/^data_batch_(\d+)\.bin$/.exec(name)?.[1] ?? NaN);
    const batches = files.filter((name) => !Number.isNaN(number(name))).sort((a, b) => number(a) - number(b));
    if (batches.length === 0 && !files.includes(TEST)) continue;
    const missing = batches.length === 0 ? 'data_batch_1.bin' : TEST;
    if (batches.length === 0 || !files.includes(TEST)) {
      throw new CortorchError(
        'ERR_DATASET_NOT_FOUND',
        `${folder} holds no ${missing}; unpack the binary version again, ${DOWNLOAD}`,
      );
    }
    return { folder, batches };
  }
  const python = (await list(dataDir)).includes('data_batch_1') ? ' (its files are the Python version)' : '';
  throw new CortorchError(
    'ERR_DATASET_NOT_FOUND',
    `${dataDir} holds neither data_batch_1.bin nor a folder ${ARCHIVE_FOLDER}${python}; ` +
      `name the folder of CIFAR-10's binary version, ${DOWNLOAD}, with --data-dir`,
  );
}

/** Names in a folder; none if it is not there. */
async function list(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return [];
    throw unreadable(folder, error);
  }
}

async function readBatches(paths: readonly string[]): Promise<RawImages> {
  const files = [];
  for (const path of paths) files.push(await readBatch(path));
  const count = files.reduce((sum, bytes) => sum + bytes.length / RECORD_BYTES, 0);
  const images = new Uint8Array(count * IMAGE_BYTES);
  const labels = new Uint8Array(count);
  let at = 0;
  for (const bytes of files) {
    for (let start = 0; start < bytes.length; start += RECORD_BYTES, at++) {
      labels[at] = bytes[start]!;
      images.set(bytes.subarray(start + 1, start + RECORD_BYTES), at * IMAGE_BYTES);
    }
  }
  return { images, labels, shape: SHAPE, classes: CLASSES };
}

/** A file's bytes: whole records whose labels are in range. */
async function readBatch(path: string): Promise<Uint8Array> {
  const bytes = await readFile(path).catch((error: unknown) => {
    throw unreadable(path, error);
  });
  if (bytes.length === 0 || bytes.length % RECORD_BYTES !== 0) {
    throw corrupt(
      path,
      `expected records of ${RECORD_BYTES} bytes (a label and a 3 × 32 × 32 image), but it has ${bytes.length} bytes`,
    );
  }
  for (let start = 0; start < bytes.length; start += RECORD_BYTES) {
    if (bytes[start]! < CLASSES) continue;
    throw corrupt(
      path,
      `label ${start / RECORD_BYTES} is ${bytes[start]}, but labels go from 0 to ${CLASSES - 1}`,
    );
  }
  return bytes;
}

const corrupt = (path: string, what: string): CortorchError =>
  new CortorchError(
    'ERR_DATASET_CORRUPT',
    `${path}: ${what}; unpack ${basename(path)} again from the binary version, ${DOWNLOAD}`,
  );

const unreadable = (path: string, cause: unknown): CortorchError =>
  new CortorchError(
    'ERR_READ_FAILED',
    `cannot read ${path}: ${(cause as Error).message}; check its permissions, or name another folder with --data-dir`,
    { cause },
  );
