/** Tensors as views of storages: where their elements lie, and how they are read. */

import { corrupt, unsupported } from './format-error.js';
import { contiguousStrides, DTYPES, elementCount, type DType } from './tensor-data.js';

/** A storage that a pickle refers to, or a window of one. */
export class StorageReference {
  readonly key: string;
  /** undefined: untyped, its elements are bytes */
  readonly dtype: DType | undefined;
  /** Of the whole storage. */
  readonly elements: number;
  /** Of the window, which begins at the element `start`. */
  readonly windowElements: number;
  readonly start: number;

  constructor(key: string, dtype: DType | undefined, elements: number, start = 0, windowElements = elements - start) {
    this.key = key;
    this.dtype = dtype;
    this.elements = elements;
    this.start = start;
    this.windowElements = windowElements;
  }

  get elementBytes(): number {
    return this.dtype === undefined ? 1 : DTYPES[this.dtype].bytes;
  }

  /** Of the whole storage. */
  get bytes(): number {
    return this.elements * this.elementBytes;
  }
}

/** A tensor as a pickle describes it: a view of a storage. Checked to lie within it. */
export interface TensorView {
  readonly storage: StorageReference;
  readonly dtype: DType;
  /** Elements from the start of the storage, or of its window. */
  readonly offset: number;
  readonly shape: readonly number[];
  /** In elements. */
  readonly strides: readonly number[];
}

/** Where the bytes of storages are. */
export interface StorageSource {
  /** Whether numbers have their highest byte first. */
  readonly bigEndian: boolean;
  /** Bytes of a storage, in memory of their own. Throws FormatError. */
  bytes(storage: StorageReference, start: number, length: number): Promise<Uint8Array>;
}

/** Copies of tensors that are not contiguous may take this much memory beyond the file's size. */
const MAX_COPIES = 32 * 2 ** 20;

export function isContiguous({ shape, strides }: Pick<TensorView, 'shape' | 'strides'>): boolean {
  const contiguous = contiguousStrides(shape);
  return shape.includes(0) || shape.every((size, i) => size === 1 || strides[i] === contiguous[i]);
}

export const viewSize = ({ shape, dtype }: TensorView): number => elementCount(shape) * DTYPES[dtype].bytes;

/** The elements of a view, contiguous and little-endian; of the file only what they span is read. */
export async function readView(source: StorageSource, view: TensorView): Promise<Uint8Array> {
  const { storage, dtype, offset, shape, strides } = view;
  const size = DTYPES[dtype].bytes;
  const length = viewSize(view);
  if (length === 0) return new Uint8Array(0);
  const span = shape.reduce((last, count, i) => last + (count - 1) * strides[i]!, 0) + 1;
  const bytes = await source.bytes(storage, storage.start * storage.elementBytes + offset * size, span * size);
  const elements = viewBytes({ ...view, offset: 0 }, bytes);
  return source.bigEndian ? swapped(elements, dtype) : elements;
}

/** The elements of a view of these bytes, contiguous: their own memory where they lie so there, else a copy. */
export function viewBytes(view: Omit<TensorView, 'storage'>, storage: Uint8Array): Uint8Array {
  const bytes = DTYPES[view.dtype].bytes;
  const length = elementCount(view.shape) * bytes;
  if (isContiguous(view)) {
    const start = length === 0 ? 0 : view.offset * bytes;
    return storage.subarray(start, start + length);
  }
  // Elements of more than four bytes are copied as several words, a further dimension.
  const words = Math.max(1, bytes / 4);
  const word = bytes / words;
  const WordArray: new (
    buffer: ArrayBufferLike,
    at?: number,
    length?: number,
  ) => Uint32Array | Uint16Array | Uint8Array = word === 4 ? Uint32Array : word === 2 ? Uint16Array : Uint8Array;
  const aligned = storage.byteOffset % word === 0 ? storage : new Uint8Array(storage);
  const source = new WordArray(aligned.buffer, aligned.byteOffset, Math.floor(aligned.length / word));
  const target = new WordArray(new ArrayBuffer(length));
  const shape = [...view.shape, words];
  const strides = [...view.strides.map((stride) => stride * words), 1];
  const last = shape.length - 1;
  let written = 0;
  const copy = (dimension: number, from: number): void => {
    const size = shape[dimension]!;
    const stride = strides[dimension]!;
    for (let i = 0; i < size; i++) {
      if (dimension === last) target[written++] = source[from + i]!;
      else copy(dimension + 1, from + i * stride);
    }
  };
  copy(0, view.offset * words);
  return new Uint8Array(target.buffer);
}

/** A copy with the bytes of each number reversed; a complex one is two numbers. */
export function swapped(bytes: Uint8Array, dtype: DType): Uint8Array {
  const size = DTYPES[dtype].bytes / (dtype.startsWith('complex') ? 2 : 1);
  const copy = Buffer.from(bytes);
  if (size === 2) copy.swap16();
  else if (size === 4) copy.swap32();
  else if (size === 8) copy.swap64();
  return new Uint8Array(copy.buffer, copy.byteOffset, copy.length);
}

/** Refuses a storage that a pickle names twice and differently. */
export function requireOneSize(before: StorageReference | undefined, now: StorageReference): void {
  if (before === undefined || before.bytes === now.bytes) return;
  throw corrupt(`its pickle says of its storage ${now.key} that it has ${before.bytes} bytes, and ${now.bytes}`);
}

/** What copies of tensors may still take, beyond the file's size: {@link MAX_COPIES}. */
export class CopyBudget {
  #left: number;

  constructor(fileBytes: number) {
    this.#left = fileBytes + MAX_COPIES;
  }

  take(bytes: number): void {
    this.#left -= bytes;
    if (this.#left < 0)
      throw unsupported('it has expanded tensors that take far more memory than the file', 'save them with .clone()');
  }
}

/** Refuses a storage whose bytes in the file are not as many as its pickle says. */
export function requireBytes({ key, bytes }: StorageReference, found: number): void {
  if (found === bytes) return;
  throw corrupt(`its storage ${key} has ${found} bytes, but its pickle says ${bytes}`);
}
