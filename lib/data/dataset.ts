/** Examples in memory as bytes or floats, with what they should give; shuffled, gathered and scaled natively. */

import { checkMemory, CortorchError, invalid, isCount, isInteger, isPlainObject } from '../errors.js';
import { call, type DatasetHandle, type NativeNormalization } from '../native.js';
import { resolveAugmentation, toNative, type AugmentationOptions } from './augmentation.js';
import { holdOut } from './split.js';

export type Labels = Uint8Array | Int32Array | BigInt64Array | readonly number[];

export interface DatasetArrays {
  /** count × shape values: bytes (divided by 255 before use) or floats (used as they are). */
  readonly images: Uint8Array | Float32Array;
  /** Class of each example, 0 to `classes` − 1. */
  readonly labels?: Labels;
  /** Or real-valued targets, count × outputs. */
  readonly targets?: Float32Array;
  /** Of one example: [channels, height, width] or [features]. */
  readonly shape: readonly number[];
  /** With labels: how many classes there are. */
  readonly classes?: number;
}

/** How {@link Dataset.batch} prepares examples. */
export interface BatchOptions {
  readonly augmentation?: AugmentationOptions;
  /** Per channel, as the network's. */
  readonly normalization?: NativeNormalization | null;
  readonly seed?: number;
  readonly epoch?: number;
}

/** One batch of a stream: as {@link DatasetArrays}, for a few examples. */
export interface Batch extends Pick<DatasetArrays, 'images' | 'labels' | 'targets'> {
  /** Of the images: [n, channels, height, width] (the default) or [n, height, width, channels]. */
  readonly layout?: 'channels-first' | 'channels-last';
}

export class Dataset implements Disposable {
  readonly #handle: DatasetHandle;
  /** Only with labels: kept to split by class. */
  readonly #labels: Int32Array | null;
  readonly size: number;
  /** Of one example. */
  readonly shape: readonly number[];
  /** null with real-valued targets */
  readonly classes: number | null;
  /** Values of one target: 0 with labels. */
  readonly outputs: number;

  private constructor(
    handle: DatasetHandle,
    labels: Int32Array | null,
    size: number,
    shape: readonly number[],
    classes: number | null,
    outputs: number,
  ) {
    this.#handle = handle;
    this.#labels = labels;
    this.size = size;
    this.shape = shape;
    this.classes = classes;
    this.outputs = outputs;
  }

  /**
   * A data set of copies of these arrays.
   *
   * @throws CortorchError ERR_INVALID_ARGUMENT: counts that differ, a label out of range, no examples
   */
  static fromArrays(arrays: DatasetArrays): Dataset {
    if (!isPlainObject(arrays)) throw invalid('arrays', '{ images, labels or targets, shape, classes }', arrays);
    const { images, shape } = arrays;
    if (!Array.isArray(shape) || shape.length === 0 || !shape.every(isCount)) {
      throw invalid('shape', '[channels, height, width] or [features]', shape);
    }
    const size = countExamples(images, shape);
    if (size === 0) throw invalid('images', 'at least one example', images);
    const classes = arrays.labels === undefined ? null : (arrays.classes ?? 0);
    if (classes !== null && !isCount(classes)) throw invalid('classes', 'the number of classes', arrays.classes);
    const targets = targetsOf(arrays, size, classes);
    const handle = call(
      (n) => new n.DatasetHandle(images, [size, ...shape], targets.values, targets.outputs, classes ?? 0),
    );
    return new Dataset(handle, targets.labels, size, [...shape], classes, targets.outputs);
  }

  /**
   * Two data sets of copies: `validation` held out, the rest for training. Drawn by `seed`, class by class as
   * equally as the counts allow; both keep the order of this set.
   *
   * @throws CortorchError ERR_INVALID_ARGUMENT if there are not so many examples, or no labels
   */
  split(validation: number, seed: number): { train: Dataset; validation: Dataset } {
    if (this.#labels === null || this.classes === null) {
      throw new CortorchError(
        'ERR_INVALID_ARGUMENT',
        'split() balances classes, but this data set has real-valued targets; make two data sets from arrays instead',
      );
    }
    const parts = holdOut(this.#labels, this.classes, validation, seed);
    return { train: this.#subset(parts.train), validation: this.#subset(parts.validation) };
  }

  /**
   * Examples as a step of training sees them: scaled, normalised and augmented.
   *
   * @param indices of the examples
   * @param options `seed` and `epoch` (from 0) choose the augmentation, as a trainer's do
   * @returns [indices, …shape], float32
   * @throws CortorchError ERR_INVALID_ARGUMENT, ERR_UNKNOWN_OPTION
   */
  batch(indices: readonly number[], options: BatchOptions = {}): Float32Array {
    const { augmentation, normalization = null, seed = 0, epoch = 0 } = options;
    indices.forEach((index, i) => {
      if (isInteger(index) && index >= 0 && index < this.size) return;
      throw invalid(`indices[${i}]`, `an integer from 0 to ${this.size - 1}`, index);
    });
    const native = toNative(resolveAugmentation(augmentation, this.shape));
    return call(() => this.#handle.batch(toInt64(Int32Array.from(indices)), normalization, native, seed, epoch));
  }

  dispose(): void {
    this.#handle.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #subset(indices: Uint32Array): Dataset {
    const handle = call(() => this.#handle.subset(toInt64(indices)));
    const labels = Int32Array.from(indices, (i) => this.#labels![i]!);
    return new Dataset(handle, labels, indices.length, this.shape, this.classes, this.outputs);
  }

  /** For the package's own use. @throws CortorchError ERR_INVALID_ARGUMENT */
  static handleOf(value: unknown, name: string): DatasetHandle {
    if (!(value instanceof Dataset)) throw invalid(name, 'a Dataset', value);
    return value.#handle;
  }
}

/** How many examples of a shape an array holds. @throws CortorchError ERR_INVALID_ARGUMENT */
export function countExamples(images: unknown, shape: readonly number[]): number {
  if (!(images instanceof Uint8Array) && !(images instanceof Float32Array)) {
    throw invalid('images', 'a Uint8Array or a Float32Array', images);
  }
  checkMemory(images, 'images');
  const values = shape.reduce((a, b) => a * b, 1);
  if (images.length % values !== 0) {
    throw invalid('images', `a multiple of ${values} values (shape ${shape.join('×')})`, `${images.length} values`);
  }
  return images.length / values;
}

/**
 * The targets as the addon takes them.
 *
 * @param classes null for real-valued targets
 * @throws CortorchError ERR_INVALID_ARGUMENT
 */
export function targetsOf(
  { labels, targets }: Batch,
  size: number,
  classes: number | null,
): { values: BigInt64Array | Float32Array; outputs: number; labels: Int32Array | null } {
  if ((labels === undefined) === (targets === undefined)) {
    throw new CortorchError('ERR_INVALID_ARGUMENT', 'expected either `labels` or `targets`, and not both');
  }
  if (targets !== undefined) {
    if (!(targets instanceof Float32Array)) throw invalid('targets', 'a Float32Array', targets);
    checkMemory(targets, 'targets');
    if (targets.length === 0 || targets.length % size !== 0) {
      throw invalid(
        'targets',
        `a multiple of ${size} values, one or more for each example`,
        `${targets.length} values`,
      );
    }
    return { values: targets, outputs: targets.length / size, labels: null };
  }
  if (!isLabels(labels)) throw invalid('labels', 'a Uint8Array, Int32Array, BigInt64Array or array of numbers', labels);
  if (labels.length !== size) {
    throw new CortorchError(
      'ERR_INVALID_ARGUMENT',
      `there are ${size} images but ${labels.length} labels; give each image one label`,
    );
  }
  const checked = new Int32Array(size);
  for (let i = 0; i < size; i++) {
    const label = Number(labels[i]);
    if (!Number.isInteger(label) || label < 0 || (classes !== null && label >= classes)) {
      throw new CortorchError(
        'ERR_INVALID_ARGUMENT',
        `labels[${i}] is ${label}, but the classes are 0 to ${(classes ?? 0) - 1}; set \`classes\` or correct the label`,
      );
    }
    checked[i] = label;
  }
  return { values: toInt64(checked), outputs: 0, labels: checked };
}

const isLabels = (value: unknown): value is Labels =>
  Array.isArray(value) || value instanceof Uint8Array || value instanceof Int32Array || value instanceof BigInt64Array;

/** Without a BigInt for each value: the halves are written as 32-bit words. Values must not be negative. */
function toInt64(values: Int32Array | Uint32Array): BigInt64Array {
  const words = new Uint32Array(2 * values.length);
  for (let i = 0; i < values.length; i++) words[2 * i] = values[i]!;
  return new BigInt64Array(words.buffer);
}
