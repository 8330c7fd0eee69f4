/** A checkpoint file that is open: what it holds is known, the bytes of its tensors are still in it. */

import { open } from 'node:fs/promises';
import { isSafetensors, openSafetensors } from './safetensors.js';
import { loadTorchFile, readFailure } from './torch-file.js';
import { isTensorData, type DType, type TensorData } from './tensor-data.js';
import { OrderedDict, Tuple, type CheckpointKey, type CheckpointValue } from './value.js';

/** `torch-zip`: torch.save since 1.6; `torch-legacy`: torch.save before; `torchscript`: torch.jit.save. */
export type CheckpointFormat = 'torch-zip' | 'torch-legacy' | 'torchscript' | 'safetensors';

/** A tensor of a file, not read yet. */
export class StoredTensor {
  readonly dtype: DType;
  /** Sizes of the dimensions; `[]` for a scalar. */
  readonly shape: readonly number[];
  /** Tensors of one storage have one of these; undefined for what shares nothing. */
  readonly storage: object | undefined;
  readonly #read: () => Promise<TensorData>;

  constructor(
    dtype: DType,
    shape: readonly number[],
    storage: object | undefined,
    read: () => Promise<TensorData>,
  ) {
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

/** A value as {@link CheckpointValue}, with {@link StoredTensor} where that has TensorData. */
export type StoredValue =
  | Exclude<
      CheckpointValue,
      TensorData | readonly CheckpointValue[] | ReadonlyMap<CheckpointKey, CheckpointValue>
    >
  | StoredTensor
  | readonly StoredValue[]
  | ReadonlyMap<CheckpointKey, StoredValue>;

export interface CheckpointFile extends AsyncDisposable {
  readonly path: string;
  readonly format: CheckpointFormat;
  readonly value: StoredValue;
  /** What the format keeps beside the values: safetensors' `__metadata__`. */
  readonly metadata: Readonly<Record<string, string>>;
  close(): Promise<void>;
}

/**
 * Opens a checkpoint; what it is, its content says, not its name.
 *
 * @throws CortorchError that names the file and the remedy, as {@link loadTorchFile}
 */
export async function openCheckpoint(path: string): Promise<CheckpointFile> {
  if (isSafetensors(await headOf(path))) return openSafetensors(path);
  const value = stored(await loadTorchFile(path));
  const close = async (): Promise<void> => undefined;
  return { path, format: 'torch-zip', value, metadata: {}, close, [Symbol.asyncDispose]: close };
}

async function headOf(path: string): Promise<Buffer> {
  try {
    await using file = await open(path, 'r');
    const { buffer, bytesRead } = await file.read(Buffer.alloc(64), 0, 64, 0);
    return buffer.subarray(0, bytesRead);
  } catch (error) {
    throw readFailure(path, error);
  }
}

function stored(value: CheckpointValue): StoredValue {
  if (isTensorData(value)) {
    return new StoredTensor(value.dtype, value.shape, value.data.buffer, () => Promise.resolve(value));
  }
  if (Array.isArray(value)) {
    const items = (value as CheckpointValue[]).map(stored);
    return value instanceof Tuple ? (Tuple.of(...(items as never[])) as unknown as StoredValue) : items;
  }
  if (value instanceof Map) {
    const items = [...(value as ReadonlyMap<CheckpointKey, CheckpointValue>)].map(
      ([key, item]) => [key, stored(item)] as const,
    );
    return value instanceof OrderedDict
      ? (new OrderedDict(items as never) as unknown as StoredValue)
      : new Map(items);
  }
  return value as StoredValue;
}
