/** The parameters in a checkpoint, whoever wrote it and in whatever format. */

import { loadCheckpoint } from '../checkpoint/load-checkpoint.js';
import { isTensorData, type TensorData } from '../checkpoint/tensor-data.js';
import { isDict, type CheckpointMap, type CheckpointObject, type CheckpointValue } from '../checkpoint/value.js';
import { CortorchError } from '../errors.js';
import type { StateDict } from '../model/network.js';
import { toFloat32 } from './float32.js';

/** The parameters of a file, and where they were. */
export interface FoundParameters {
  readonly parameters: StateDict;
  /** Key of the state_dict in the file, such as `model_state_dict`; null: the file is the state_dict. */
  readonly key: string | null;
}

/**
 * Only the parameters of a checkpoint, also of other people's, .pt, .pth or safetensors: of a file that holds nothing
 * but a state_dict, or a dict with one in it, under `state_dict` or as its only dict of tensors. All real types become
 * float32, rounded to the nearest: float16, bfloat16, float64, integers and bool.
 *
 * @throws CortorchError ERR_CHECKPOINT_NOT_FOUND, ERR_CHECKPOINT_CORRUPT, ERR_READ_FAILED;
 *   ERR_CHECKPOINT_UNSUPPORTED if there is no state_dict, or several
 */
export async function findParameters(path: string): Promise<FoundParameters> {
  return parametersIn(path, (await loadCheckpoint(path)).value);
}

/** As {@link findParameters}, without saying where they were. @throws CortorchError as {@link findParameters} */
export const readParameters = async (path: string): Promise<StateDict> => (await findParameters(path)).parameters;

/** @param path for messages. @throws CortorchError ERR_CHECKPOINT_UNSUPPORTED as {@link findParameters} */
export function parametersIn(path: string, value: CheckpointValue): FoundParameters {
  const { key, dict } = stateDictIn(path, value);
  return { parameters: parametersOf(path, dict), key };
}

/**
 * The dict of a checkpoint that is its state_dict, and its key; a null key where the file is the state_dict.
 *
 * @throws CortorchError ERR_CHECKPOINT_UNSUPPORTED if there are several
 */
export function stateDictIn(
  path: string,
  value: CheckpointValue,
): { readonly key: string | null; readonly dict: CheckpointValue } {
  const entries = isDict(value) ? entriesOf(value) : [];
  const isStateDict = (dict: CheckpointValue): boolean => {
    const values = isDict(dict) ? entriesOf(dict) : [];
    return values.length > 0 && values.every(([, item]) => isTensorData(item));
  };
  const named = entries.find(([name]) => name === 'state_dict');
  const found = named ? [named] : entries.filter(([, dict]) => isStateDict(dict));
  if (found.length > 1) {
    throw new CortorchError(
      'ERR_CHECKPOINT_UNSUPPORTED',
      `cannot choose the parameters of ${path}: ${found.map(([name]) => String(name)).join(', ')} are each a dict of tensors; ` +
        'save the one that is meant in a file of its own with torch.save',
    );
  }
  if (found.length === 0) return { key: null, dict: value };
  return { key: String(found[0]![0]), dict: found[0]![1] };
}

/** A state_dict in float32. @throws CortorchError ERR_CHECKPOINT_UNSUPPORTED for what is no state_dict */
export function parametersOf(path: string, value: CheckpointValue): StateDict {
  if (!isDict(value)) throw unsupported(path, 'its state_dict is not a dict');
  const parameters: StateDict = new Map();
  for (const [name, tensor] of entriesOf(value)) {
    if (!isTensorData(tensor)) throw unsupported(path, `${String(name)} in its state_dict is not a tensor`);
    const data = toFloat32(tensor);
    if (data === null) {
      throw unsupported(path, `${String(name)} in its state_dict is ${tensor.dtype}, which is no float32`);
    }
    parameters.set(String(name), { shape: tensor.shape, data });
  }
  return parameters;
}

/** Of a dict of either form. */
export const entriesOf = (dict: Exclude<CheckpointValue, TensorData>): [unknown, CheckpointValue][] =>
  dict instanceof Map ? [...(dict as CheckpointMap)] : Object.entries(dict as CheckpointObject);

export function unsupported(path: string, what: string): CortorchError {
  return new CortorchError(
    'ERR_CHECKPOINT_UNSUPPORTED',
    `cannot use the checkpoint ${path}: ${what}; name one that cortorch wrote`,
  );
}
