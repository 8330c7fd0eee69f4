/** A checkpoint file that is open: what it holds is known, the bytes of its tensors are still in it. */

import { openToRead, readFailure } from './open-file.js';
import { isSafetensors, openSafetensors } from './safetensors.js';
import { StoredTensor } from './stored-tensor.js';
import { openTorchFile } from './torch-file.js';
import type { CheckpointKey, CheckpointValue } from './value.js';

export { StoredTensor };

/** `torch-zip`: torch.save since 1.6; `torch-legacy`: torch.save before; `torchscript`: torch.jit.save. */
export type CheckpointFormat = 'torch-zip' | 'torch-legacy' | 'torchscript' | 'safetensors';

/** A value as {@link CheckpointValue}, with {@link StoredTensor} for tensors; numpy's arrays are in memory. */
export type StoredValue =
  | Exclude<CheckpointValue, readonly CheckpointValue[] | ReadonlyMap<CheckpointKey, CheckpointValue>>
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
 * Opens a checkpoint; what it is, its content says, not its name. The file stays open until close().
 *
 * @throws CortorchError that names the file and the remedy, as {@link loadTorchFile}
 */
export async function openCheckpoint(path: string): Promise<CheckpointFile> {
  return (await isSafetensorsFile(path)) ? openSafetensors(path) : openTorchFile(path);
}

/** By its content. @throws CortorchError as {@link openCheckpoint} */
export const isSafetensorsFile = async (path: string): Promise<boolean> => isSafetensors(await headOf(path));

async function headOf(path: string): Promise<Buffer> {
  try {
    await using file = await openToRead(path);
    const { buffer, bytesRead } = await file.read(Buffer.alloc(64), 0, 64, 0);
    return buffer.subarray(0, bytesRead);
  } catch (error) {
    throw readFailure(path, error);
  }
}
