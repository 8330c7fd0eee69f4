/** A checkpoint as a whole, whatever its format. */

import { openCheckpoint, type CheckpointFormat } from './checkpoint-file.js';
import { tensorsOf } from './stored-values.js';
import { loadTorchFile } from './torch-file.js';
import { OrderedDict, type CheckpointValue } from './value.js';

/** All that a checkpoint holds, in memory. */
export interface LoadedCheckpoint {
  readonly format: CheckpointFormat;
  readonly value: CheckpointValue;
  /** Of safetensors; else empty. */
  readonly metadata: Readonly<Record<string, string>>;
}

/**
 * Reads a checkpoint; what it is, its content says, not its name. Tensors that share a storage in the file share it here.
 *
 * @throws CortorchError that names the file and the remedy, as {@link loadTorchFile}
 */
export async function loadCheckpoint(path: string): Promise<LoadedCheckpoint> {
  await using file = await openCheckpoint(path);
  const { format, metadata } = file;
  if (format !== 'safetensors') return { format, value: await loadTorchFile(path), metadata };
  const value = new OrderedDict();
  for (const [name, tensor] of tensorsOf(file.value)) value.set(name, await tensor.read());
  return { format, value, metadata };
}
