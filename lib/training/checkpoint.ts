/**
 * What the checkpoints of training hold: the parameters as a state_dict, how to make the network that they belong
 * to, and in `last.pt` all that is needed to go on bit for bit.
 *
 * In Python, `torch.load(path, weights_only=True)` gives a dict of
 * - `state_dict`: an OrderedDict of tensors, for `nn.Module.load_state_dict`
 * - `config`: `network` (the spec), `rule` and its settings (`dfaFeedback`, `auxiliary`, …; of a rule of one's own
 *   `ruleOptions` and `ruleSha256`), `normalization`, `seed`, `precision`, `model`, `dataset`; of image files `crop`
 *   and `resize`
 * - `epoch` (complete ones), `step`, `metrics` (of the epoch that ended here)
 * - `optimizer`, in last.pt (moments as float32, whatever they were kept in): for `torch.optim.Adam.load_state_dict`,
 *   or SGD's or RMSprop's; `inverse_optimizer`, under
 *   target propagation: that of the learned inverses
 * - `rng`, in last.pt: random numbers are counted, not drawn, so the seed, the epoch and the step are all of it
 * - `position`, in last.pt: where in the epoch training is, and the epoch's sums so far
 * - `best`, in last.pt: the epoch that best.pt is of
 */

import { openCheckpoint, StoredTensor } from '../checkpoint/checkpoint-file.js';
import { loadCheckpoint } from '../checkpoint/load-checkpoint.js';
import { tensorDataFrom } from '../checkpoint/tensor-data.js';
import { loadTorchFile, saveTorchFile } from '../checkpoint/torch-file.js';
import {
  isDict,
  OrderedDict,
  PyFloat,
  toPlain,
  type CheckpointObject,
  type CheckpointValue,
} from '../checkpoint/value.js';
import { CortorchError, isCount, isInteger, isNumber, isOneOf, isPlainObject, isString } from '../errors.js';
import { precisionNames, type Precision } from '../model/device.js';
import { Network, type Normalization, type ParameterValue, type StateDict } from '../model/network.js';
import { parseNetworkSpec, type ResolvedSpec } from '../model/spec.js';
import { recordOf, resolveRuleOptions } from '../rules/ask.js';
import { parseOwnRule, parseRule, ruleOf, type RecordedRule, type RuleName, type RuleOptions } from '../rules/names.js';
import type { RuleValues } from '../rules/rule.js';
import { fromTorchOptimizer, toTorchOptimizer } from './checkpoint-optimizer.js';
import { toFloat32 } from './float32.js';
import { entriesOf, parametersIn, parametersOf, unsupported, type FoundParameters } from './find-parameters.js';
import type { EpochEvent } from './events.js';
import type { EpochSums, OptimizerState, TrainerState } from './trainer-state.js';

/** The key in the metadata of safetensors under which convert keeps `config`, as JSON. */
const CONFIG_METADATA = 'cortorch.config';

/** How to make the network that the parameters belong to. */
export interface ModelConfig extends RuleOptions {
  readonly network: ResolvedSpec;
  /** Its name: of one's own if there is its digest. */
  readonly rule: RuleName;
  /** Of a rule of one's own. */
  readonly ruleOptions?: RuleValues | undefined;
  /** Of the file of a rule of one's own. */
  readonly ruleSha256?: string | undefined;
  readonly normalization: Normalization | null;
  readonly seed: number;
  /** What it was trained in; none with a network that was not. */
  readonly precision?: Precision | undefined;
  /** What it was called: a preset, or the file of its spec. */
  readonly model?: string | undefined;
  /** What it was trained on. */
  readonly dataset?: string | undefined;
  /** How image files became its inputs: `random` is random crops in training, the middle in evaluation. */
  readonly crop?: 'random' | 'none' | undefined;
  /** With random crops: the shorter side that the middle is cut from. */
  readonly resize?: number | undefined;
}

/** That of a network as it is. */
export function configOf(network: Network): ModelConfig {
  const { spec, normalization, seed, precision } = network;
  const { rule, options } = Network.ruleOf(network);
  return { network: spec, ...recordOf(rule, options), normalization, seed, precision };
}

/** How good the network was at the end of an epoch. */
export type Metrics = Pick<EpochEvent, 'train' | 'validation' | 'test'>;

/** The epoch with the smallest validation error; without validation the last one. Never chosen by the test error. */
export interface Best extends Pick<EpochEvent, 'validation' | 'test'> {
  readonly epoch: number;
}

/** A checkpoint of training. */
export interface Checkpoint {
  readonly parameters: StateDict;
  readonly config: ModelConfig;
  /** Complete epochs. */
  readonly epoch: number;
  /** Optimizer steps in all. */
  readonly step: number;
  readonly metrics: Metrics | null;
  /** Only in `last.pt`. */
  readonly training: { readonly state: TrainerState; readonly best: Best | null } | null;
}

/**
 * Writes a checkpoint, atomically.
 *
 * @throws CortorchError ERR_WRITE_FAILED
 */
export async function writeCheckpoint(path: string, checkpoint: Checkpoint): Promise<void> {
  const { parameters, config, epoch, step, metrics, training } = checkpoint;
  await saveTorchFile(path, {
    state_dict: new OrderedDict([...parameters].map(([name, value]) => [name, toTensor(value)])),
    config: plainToPython(config),
    epoch,
    step,
    metrics: plainToPython(metrics),
    ...(training && trainingToPython(training.state, training.best)),
  });
}

/**
 * Reads a checkpoint that {@link writeCheckpoint} wrote.
 *
 * @throws CortorchError ERR_CHECKPOINT_NOT_FOUND, ERR_CHECKPOINT_CORRUPT, ERR_READ_FAILED;
 *   ERR_CHECKPOINT_UNSUPPORTED, naming what is missing, for other people's checkpoints
 */
export async function readCheckpoint(path: string): Promise<Checkpoint> {
  const file = new Fields(path, await loadTorchFile(path));
  const config = file.plain('config');
  if (!isPlainObject(config)) throw file.wrong('config');
  const epoch = file.integer('epoch');
  const step = file.integer('step');
  const parameters = parametersOf(path, file.get('state_dict'));
  return {
    parameters,
    config: parseModelConfig(path, config),
    epoch,
    step,
    metrics: file.plain('metrics') as Metrics | null,
    training: file.has('optimizer') ? trainingFromPython(file, epoch, step, parameters) : null,
  };
}

/**
 * One parameter of a checkpoint that {@link writeCheckpoint} wrote: of a file of gigabytes no more than it is read.
 *
 * @param choose which, and what the caller wants to know of it; null: none
 * @throws CortorchError as {@link readCheckpoint}
 */
export async function readParameterOf<T extends { readonly parameter: string }>(
  path: string,
  choose: (config: ModelConfig) => T | null,
): Promise<(T & { readonly value: ParameterValue; readonly epoch: number }) | null> {
  await using opened = await openCheckpoint(path);
  // Its tensors are not read yet; nothing but state_dict holds any that is looked at here.
  const file = new Fields(path, opened.value as CheckpointValue);
  const config = file.plain('config');
  if (!isPlainObject(config)) throw file.wrong('config');
  const chosen = choose(parseModelConfig(path, config));
  if (chosen === null) return null;
  const state = file.within('state_dict');
  const tensor: unknown = state.get(chosen.parameter);
  const data = tensor instanceof StoredTensor ? toFloat32(await tensor.read()) : null;
  if (data === null) throw state.wrong(chosen.parameter);
  return {
    ...chosen,
    value: { shape: (tensor as StoredTensor).shape, data },
    epoch: file.integer('epoch'),
  };
}

/**
 * A checkpoint's parameters, and the network that they belong to where it says so, as those of cortorch do.
 *
 * @throws CortorchError as {@link findParameters}
 */
export async function readNetworkFile(
  path: string,
): Promise<FoundParameters & { readonly config: ModelConfig | null }> {
  const { value, metadata } = await loadCheckpoint(path);
  const said = metadata[CONFIG_METADATA];
  const file = new Fields(path, said === undefined ? value : { config: configIn(path, said) });
  // Other people's checkpoints may have a config too, but none with a network and a rule.
  const ours = file.has('config') && ['network', 'rule'].every((key) => file.within('config').has(key));
  const config = ours ? parseModelConfig(path, file.plain('config') as Record<string, unknown>) : null;
  return { ...parametersIn(path, value), config };
}

const toTensor = ({ data, shape }: ParameterValue) => tensorDataFrom(data, shape);

// ------------------------------------------------------------------------------------------------ config

function parseModelConfig(path: string, config: Record<string, unknown>): ModelConfig {
  const { network, normalization, seed, precision, model, dataset, crop, resize } = config;
  try {
    return {
      network: parseNetworkSpec(network),
      ...ruleIn(config),
      normalization: (normalization ?? null) as Normalization | null, // checked by the network that is made with it
      seed: isInteger(seed) ? seed : 0,
      ...(isOneOf(precision, precisionNames) && { precision }),
      ...(isString(model) && { model }),
      ...(isString(dataset) && { dataset }),
      ...(isOneOf(crop, ['random', 'none'] as const) && { crop }),
      ...(isCount(resize) && { resize }),
    };
  } catch (error) {
    if (!(error instanceof CortorchError)) throw error;
    throw unsupported(path, `its config is of no network of this version: ${error.message}`);
  }
}

/** One of one's own is not loaded: nothing that a file says makes this process load anything. */
function ruleIn(config: Record<string, unknown>): RecordedRule {
  const own = parseOwnRule(config);
  if (own !== null) return { ...own, rule: own.rule as RuleName };
  const rule = parseRule(config['rule']);
  return { rule, ...resolveRuleOptions(ruleOf(rule), config) };
}

/** What `cortorch convert` keeps in the metadata of safetensors. */
function configIn(path: string, text: string): CheckpointObject {
  try {
    return JSON.parse(text) as CheckpointObject;
  } catch {
    throw unsupported(path, `its metadata ${CONFIG_METADATA} is not JSON`);
  }
}

/** Plain data for Python: what is undefined is left out, and numbers that are not whole are floats by themselves. */
function plainToPython(value: unknown): CheckpointValue {
  return JSON.parse(JSON.stringify(value ?? null)) as CheckpointValue;
}

// ------------------------------------------------------------------------------------------------ training

function trainingToPython(state: TrainerState, best: Best | null): CheckpointObject {
  const { epoch, step, stepInEpoch, sums, seed, optimizer, inverseOptimizer } = state;
  return {
    optimizer: toTorchOptimizer(optimizer),
    ...(inverseOptimizer && { inverse_optimizer: toTorchOptimizer(inverseOptimizer) }),
    rng: { seed, epoch, step },
    position: {
      step_in_epoch: stepInEpoch,
      optimizer_steps: optimizer.steps,
      ...(inverseOptimizer && {
        inverse_optimizer_steps: inverseOptimizer.steps,
        inverse_sum: new PyFloat(sums.inverse),
      }),
      loss_sum: new PyFloat(sums.loss),
      error_sum: new PyFloat(sums.error),
      examples: sums.examples,
      seconds: new PyFloat(sums.seconds),
      waited: new PyFloat(sums.waited),
    },
    best: plainToPython(best),
  };
}

function trainingFromPython(file: Fields, epoch: number, step: number, parameters: StateDict): Checkpoint['training'] {
  const position = file.within('position');
  const sums: EpochSums = {
    loss: position.number('loss_sum'),
    error: position.number('error_sum'),
    inverse: position.has('inverse_sum') ? position.number('inverse_sum') : 0,
    examples: position.integer('examples'),
    seconds: position.number('seconds'),
    waited: position.has('waited') ? position.number('waited') : 0,
  };
  const shapes = [...parameters].map(([name, { shape }]) => ({ name, shape }));
  const optimizer = (key: string): OptimizerState =>
    fromTorchOptimizer(file.get(key), position.integer(`${key}_steps`), shapes, (what) => unsupported(file.path, what))
      .state;
  const state: TrainerState = {
    epoch,
    step,
    stepInEpoch: position.integer('step_in_epoch'),
    sums,
    seed: file.within('rng').integer('seed'),
    optimizer: optimizer('optimizer'),
    inverseOptimizer: file.has('inverse_optimizer') ? optimizer('inverse_optimizer') : null,
  };
  return { state, best: file.plain('best') as Best | null };
}

// ------------------------------------------------------------------------------------------------ reading

/** A dict of a checkpoint, and errors that name file and key. */
class Fields {
  readonly path: string;
  readonly #values: ReadonlyMap<unknown, CheckpointValue>;
  readonly #prefix: string;

  constructor(path: string, value: CheckpointValue, prefix = '') {
    this.path = path;
    this.#prefix = prefix;
    this.#values = isDict(value) ? new Map(entriesOf(value)) : new Map();
  }

  has(key: string): boolean {
    return this.#values.has(key);
  }

  get(key: string): CheckpointValue {
    const value = this.#values.get(key);
    if (value === undefined) throw this.wrong(key, 'has no');
    return value;
  }

  within(key: string): Fields {
    return new Fields(this.path, this.get(key), `${this.#prefix}${key}.`);
  }

  plain(key: string): unknown {
    return toPlain(this.get(key), this.#prefix + key);
  }

  integer(key: string): number {
    const value = this.get(key);
    if (!isInteger(value) || value < 0) throw this.wrong(key);
    return value;
  }

  number(key: string): number {
    const value = this.plain(key);
    if (!isNumber(value)) throw this.wrong(key);
    return value;
  }

  wrong(key: string, problem = 'has an unusable'): CortorchError {
    return unsupported(this.path, `it ${problem} \`${this.#prefix}${key}\``);
  }
}
