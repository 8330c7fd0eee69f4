/**
 * One file of CIFAR-10 in both versions. Both keep an image as 3 × 32 × 32 bytes: the red, green and blue planes, row
 * by row. Source: https://www.cs.toronto.edu/~kriz/cifar.html, "Dataset layout".
 */

import { FormatError } from '../checkpoint/format-error.js';
import { numpyGlobals } from '../checkpoint/numpy-globals.js';
import { readPickle, type PickleEnvironment } from '../checkpoint/pickle.js';
import { isTensorData } from '../checkpoint/tensor-data.js';
import type { CheckpointValue } from '../checkpoint/value.js';
import { CortorchError } from '../errors.js';
import type { RawImages } from './mnist.js';

const SHAPE = [3, 32, 32] as const;
const CLASSES = 10;
const IMAGE_BYTES = 3 * 32 * 32;
const RECORD_BYTES = 1 + IMAGE_BYTES;

/** A file with images, by its place, which messages name, and its content. */
export interface BatchFile {
  readonly path: string;
  readonly bytes: Uint8Array;
}

/** One of the two forms in which CIFAR-10 is published for programs. */
export interface Cifar10Version {
  readonly title: string;
  /** The official archive, and the folder in it. */
  readonly archive: string;
  readonly folder: string;
  /** How the name of a file goes on behind `data_batch_1`. */
  readonly ending: string;
  /** The images of a file. @throws CortorchError ERR_DATASET_CORRUPT */
  read(file: BatchFile): RawImages;
}

export const CIFAR10_VERSIONS: readonly Cifar10Version[] = [
  {
    title: 'binary version',
    archive: 'cifar-10-binary.tar.gz',
    folder: 'cifar-10-batches-bin',
    ending: '.bin',
    read: readBinaryBatch,
  },
  {
    title: 'Python version',
    archive: 'cifar-10-python.tar.gz',
    folder: 'cifar-10-batches-py',
    ending: '',
    read: readPythonBatch,
  },
];

/** Batches one after the other. */
export function joinBatches(batches: readonly RawImages[]): RawImages {
  const count = batches.reduce((sum, { labels }) => sum + labels.length, 0);
  const images = new Uint8Array(count * IMAGE_BYTES);
  const labels = new Uint8Array(count);
  let at = 0;
  for (const batch of batches) {
    labels.set(batch.labels, at);
    images.set(batch.images, at * IMAGE_BYTES);
    at += batch.labels.length;
  }
  return { images, labels, shape: SHAPE, classes: CLASSES };
}

/** Records without a header: one byte for the class, then the image. */
function readBinaryBatch({ path, bytes }: BatchFile): RawImages {
  if (bytes.length === 0 || bytes.length % RECORD_BYTES !== 0) {
    throw corrupt(
      path,
      `expected records of ${RECORD_BYTES} bytes (a label and a 3 × 32 × 32 image), but it has ${bytes.length} bytes`,
    );
  }
  const count = bytes.length / RECORD_BYTES;
  const images = new Uint8Array(count * IMAGE_BYTES);
  const labels = [];
  for (let start = 0; start < bytes.length; start += RECORD_BYTES) {
    images.set(bytes.subarray(start + 1, start + RECORD_BYTES), labels.length * IMAGE_BYTES);
    labels.push(bytes[start]!);
  }
  return { images, labels: checkLabels(path, labels), shape: SHAPE, classes: CLASSES };
}

/** A pickled dict: `data`, numpy's uint8 array [count, 3072], and `labels`, a list of integers. */
function readPythonBatch({ path, bytes }: BatchFile): RawImages {
  const batch = unpickle(path, bytes);
  const item = (key: string): CheckpointValue | undefined =>
    batch instanceof Map ? (batch.get(key) as CheckpointValue | undefined) : undefined;
  const data = item('data');
  const labels = item('labels');
  if (!isTensorData(data) || data.dtype !== 'uint8' || data.shape.length !== 2 || data.shape[1] !== IMAGE_BYTES) {
    throw corrupt(path, `expected a dict whose 'data' is an array of bytes, images × ${IMAGE_BYTES}`);
  }
  const [count] = data.shape;
  if (!Array.isArray(labels) || labels.length !== count || count === 0) {
    throw corrupt(path, `expected a dict whose 'labels' is a list of a label for each of its ${count} images`);
  }
  const images = new Uint8Array(data.data.buffer, data.data.byteOffset, data.data.byteLength);
  return { images, labels: checkLabels(path, labels), shape: SHAPE, classes: CLASSES };
}

const PICKLES: PickleEnvironment = (() => {
  const globals = new Map(numpyGlobals().map((entry) => [entry.name, entry]));
  return {
    global: (module, name) => globals.get(`${module}.${name}`),
    // A stranger to this table: a batch refers to nothing outside itself.
    persistent: () => null,
  };
})();

function unpickle(path: string, bytes: Uint8Array): CheckpointValue {
  try {
    return readPickle(bytes, PICKLES);
  } catch (error) {
    throw error instanceof FormatError ? corrupt(path, error.message, error) : error;
  }
}

function checkLabels(path: string, labels: readonly unknown[]): Uint8Array {
  const wrong = labels.findIndex(
    (label) => !(Number.isInteger(label) && (label as number) >= 0 && (label as number) < CLASSES),
  );
  if (wrong >= 0)
    throw corrupt(path, `label ${wrong} is ${String(labels[wrong])}, but labels go from 0 to ${CLASSES - 1}`);
  return Uint8Array.from(labels as number[]);
}

const corrupt = (path: string, what: string, cause?: unknown): CortorchError =>
  new CortorchError('ERR_DATASET_CORRUPT', `${path}: ${what}; unpack or download the official archive again`, {
    cause,
  });
