import type { DType, TensorData } from './tensor-data.js';

/** A tensor of a file, not read yet. */
export class StoredTensor {
  readonly dtype: DType;
  /** Sizes of the dimensions; `[]` for a scalar. */
  readonly shape: readonly number[];
  /** Tensors of one storage have one of these; undefined for what shares nothing. */
  readonly storage: object | undefined;
  readonly #read: () => Promise<TensorData>;

  constructor(dtype: DType, shape: readonly number[], storage: object | undefined, read: () => Promise<TensorData>) {
    this.dtype = dtype;
    this.shape = shape;
    this.storage = storage;
    this.#read = read;
  }

  /** The elements, contiguous and little-endian. */
  read(): Promise<TensorData> {
    return this.#read();
  }
}
