/** The optimizer's state of a checkpoint that a Python script wrote, for training to go on with. */

import { isTensorData } from '../checkpoint/tensor-data.js';
import { loadTorchFile } from '../checkpoint/torch-file.js';
import { isDict, type CheckpointValue } from '../checkpoint/value.js';
import { CortorchError } from '../errors.js';
import type { Network } from '../model/network.js';
import { withoutWrappers } from '../model/match-parameters.js';
import { isRulesOwn } from '../model/parameter-names.js';
import { fromTorchOptimizer, type NamedShape, type SavedOptimizer } from './checkpoint-optimizer.js';
import { entriesOf, stateDictIn } from './find-parameters.js';

/** What scripts call it: the first of these that is there. */
const OPTIMIZER_KEYS = ['optimizer', 'optimizer_state_dict', 'optim', 'optim_state_dict', 'optimizer_state'];

/** What batch norm has beside its parameters. */
const STATISTICS = /(^|\.)(running_mean|running_var|num_batches_tracked)$/;

/**
 * Reads the optimizer's state from a checkpoint of a Python script, or from a last.pt: torch.optim's Adam, SGD or
 * RMSprop with one group of parameters. Where the file does not name them, they are in the order of its state_dict, as
 * they are if the script said `optimizer(model.parameters())`.
 *
 * @example
 * const { options, state } = await readOptimizer('checkpoint.pth', network);
 * const trainer = new Trainer(network, { optimizer: options });
 * await trainer.loadOptimizer(state);
 *
 * @param path a dict with `state_dict` (or one dict of tensors under another name) and `optimizer` (or
 *   optimizer_state_dict, …)
 * @param network the names and the order of its parameters
 * @throws CortorchError ERR_CHECKPOINT_UNSUPPORTED if there is none, or one with what cortorch has not (amsgrad, …);
 *   ERR_CHECKPOINT_MISMATCH if its parameters are not the network's; and as {@link loadTorchFile}
 */
export async function readOptimizer(path: string, network: Network): Promise<SavedOptimizer> {
  const file = await loadTorchFile(path);
  const refuse = (what: string): CortorchError =>
    new CortorchError(
      'ERR_CHECKPOINT_UNSUPPORTED',
      `cannot go on with the optimizer of ${path}: ${what}; load its parameters alone and begin with a new optimizer`,
    );
  const optimizer = find(file, OPTIMIZER_KEYS);
  if (optimizer === undefined) throw refuse(`it has no ${OPTIMIZER_KEYS.join(', ')}`);
  const { key, dict: model } = stateDictIn(path, file);
  if (key === null) throw refuse('it has no state_dict, which says how the parameters are called');
  const { options, state } = fromTorchOptimizer(optimizer, null, trainableOf(model), refuse);
  const parameters = withoutWrappers(new Map(state.parameters.map((one) => [one.name, one])));
  const own = network.parameters.filter(({ role }) => role === 'forward').map(({ name }) => name);
  const missing = own.filter((name) => !parameters.has(name));
  const unexpected = [...parameters.keys()].filter((name) => !own.includes(name));
  if (missing.length + unexpected.length > 0) {
    throw new CortorchError(
      'ERR_CHECKPOINT_MISMATCH',
      `the optimizer of ${path} does not fit the network: missing: ${missing.join(', ') || 'none'}; unexpected: ` +
        `${unexpected.join(', ') || 'none'}; give the network's layers the names of the file's`,
    );
  }
  return {
    options,
    state: { ...state, parameters: own.map((name) => ({ ...parameters.get(name)!, name })) },
  };
}

function find(value: CheckpointValue, keys: readonly string[]): CheckpointValue | undefined {
  if (!isDict(value)) return undefined;
  const entries = new Map(entriesOf(value));
  const key = keys.find((name) => isDict(entries.get(name)));
  return key === undefined ? undefined : entries.get(key);
}

function trainableOf(model: CheckpointValue): readonly NamedShape[] {
  return entriesOf(isDict(model) ? model : {}).flatMap(([name, tensor]) =>
    isTensorData(tensor) && !STATISTICS.test(String(name)) && !isRulesOwn(String(name))
      ? [{ name: String(name), shape: tensor.shape }]
      : [],
  );
}
