/** A checkpoint as a whole, whatever its format. */

import { isSafetensorsFile, openCheckpoint, type CheckpointFormat } from './checkpoint-file.js';
import { tensorsOf } from './stored-values.js';
import { loadTorch } from './torch-file.js';
import { OrderedDict, type CheckpointValue } from './value.js';

/** All that a checkpoint holds, in memory. */
export interface LoadedCheckpoint {
  readonly format: CheckpointFormat;
  readonly value: CheckpointValue;
  /** Of safetensors; else empty. */
  readonly metadata: Readonly<Record<string, string>>;
}

/**
 * Reads a checkpoint; what it is, its content says, not its name. Tensors that share a storage in the file share it
 * here.
 *
 * @param options.exactFloats {@link PyFloat} for floats of Python that are whole, such as 1.0: to write them again
 * @throws CortorchError that names the file and the remedy, as {@link openCheckpoint}
 */
export async function loadCheckpoint(
  path: string,
  options: { readonly exactFloats?: boolean } = {},
): Promise<LoadedCheckpoint> {
  if (!(await isSafetensorsFile(path))) return { ...(await loadTorch(path, options)), metadata: {} };
  await using file = await openCheckpoint(path);
  const { format, metadata } = file;
  const value = new OrderedDict();
  for (const [name, tensor] of tensorsOf(file.value)) value.set(name, await tensor.read());
  return { format, value, metadata };
}
