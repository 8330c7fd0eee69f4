/**
 * The settings of the command line: each is a flag and a key of configuration files. What belongs to later
 * versions is known by name, so that it is refused with a reason.
 */

import { CortorchError } from '../errors.js';
import { dfaFeedbackNames, parseRule, ruleNames } from '../rules/rules.js';
import { optimizerNames } from '../training/optimizer.js';
import { scheduleNames } from '../training/schedule.js';
import { didYouMean } from '../suggest.js';
import {
  belowOne,
  count,
  list,
  notNegative,
  oneOf,
  positive,
  text,
  whole,
  WrongValue,
  yesOrNo,
  type Parser,
} from './values.js';

interface Option<T> {
  readonly parse: Parser<T>;
  readonly describe: string;
  /** Heading of the help. */
  readonly group: 'Data' | 'Model' | 'Optimizer' | 'Run';
}

const option = <T>(group: Option<T>['group'], parse: Parser<T>, describe: string): Option<T> => ({
  parse,
  describe,
  group,
});

export const datasetNames = ['mnist', 'fashion-mnist'] as const;
export type DatasetName = (typeof datasetNames)[number];

/** Every setting of this version, by its camelCase name. */
export const options = {
  dataset: option(
    'Data',
    oneOf(datasetNames, ['cifar10', 'imagenet', 'folder']),
    `Data set: ${datasetNames.join(', ')}`,
  ),
  dataDir: option('Data', text, 'Folder with its files (default: where the data set belongs)'),
  validation: option('Data', whole, 'Training images held out for validation (default 5000)'),
  mean: option(
    'Data',
    numbers('numbers such as 0.1307'),
    'Mean to subtract, per channel: a,b,c (default none)',
  ),
  std: option(
    'Data',
    numbers('numbers such as 0.3081'),
    'Standard deviation to divide by, per channel: a,b,c',
  ),
  batchSize: option('Data', count, 'Images a step (default 100)'),

  model: option('Model', text, "Preset, such as mnist-lc (listed below), or a network's spec, FILE.json"),
  rule: option('Model', parseRule, `Learning rule: ${ruleNames.join(', ')} (default bp)`),
  dfaFeedback: option(
    'Model',
    oneOf(dfaFeedbackNames),
    'dfa: a feedback matrix per-layer (default), or one shared by all',
  ),
  init: option('Model', text, 'Checkpoint whose parameters to start from'),

  optimizer: option('Optimizer', oneOf(optimizerNames), `${optimizerNames.join(', ')} (default adam)`),
  lr: option('Optimizer', positive, "Learning rate (default: the paper's for a preset, else PyTorch's)"),
  beta1: option('Optimizer', belowOne, 'Decay of the mean of gradients: adam'),
  beta2: option('Optimizer', belowOne, 'Decay of the mean of squared gradients: adam, rmsprop'),
  eps: option('Optimizer', notNegative, 'Added to the denominator: adam, rmsprop'),
  momentum: option('Optimizer', belowOne, 'sgd, rmsprop (default 0)'),
  weightDecay: option('Optimizer', notNegative, 'Times the weight, added to the gradient (default 0)'),
  lrSchedule: option('Optimizer', oneOf(scheduleNames), `${scheduleNames.join(', ')} (default constant)`),
  lrSteps: option(
    'Optimizer',
    list('epochs such as 30,60', count),
    'step: epochs after which the rate falls: a,b',
  ),
  lrDecay: option('Optimizer', positive, 'step: what the rate is multiplied by then (default 0.1)'),
  warmupEpochs: option('Optimizer', notNegative, 'Epochs in which the rate rises from near 0 (default 0)'),

  epochs: option('Run', count, 'Passes over the training set (default 10)'),
  maxSteps: option('Run', count, 'Stop and save after so many optimizer steps in all'),
  seed: option('Run', whole, 'Seed of everything random (default 0)'),
  threads: option('Run', count, 'Threads to compute with (default: one for each processor)'),
  device: option('Run', device, 'cpu (default)'),
  precision: option('Run', precision, 'fp32 (default)'),
  out: option('Run', text, 'Folder for checkpoints and metrics (default: none are written)'),
  resume: option('Run', text, 'Folder of a run to go on with'),
  checkpoint: option('Model', text, 'Checkpoint, such as runs/a/best.pt'),
  config: option('Run', text, 'YAML or JSON file with any of these settings; flags win'),
  json: option('Run', yesOrNo, 'One JSON object a line on stdout'),
  debug: option('Run', yesOrNo, 'Errors with their stack'),
} as const;

export type OptionName = keyof typeof options;

/** Settings as somebody gave them, each checked by itself. */
export type Given<Name extends OptionName = OptionName> = {
  readonly [K in Name]?: ReturnType<(typeof options)[K]['parse']>;
};

/** The flags of each command, in the order of its help. */
export const commandOptions = {
  train: [
    'dataset',
    'dataDir',
    'validation',
    'mean',
    'std',
    'batchSize',
    'model',
    'rule',
    'dfaFeedback',
    'init',
    'optimizer',
    'lr',
    'beta1',
    'beta2',
    'eps',
    'momentum',
    'weightDecay',
    'lrSchedule',
    'lrSteps',
    'lrDecay',
    'warmupEpochs',
    'epochs',
    'maxSteps',
    'seed',
    'threads',
    'device',
    'precision',
    'out',
    'resume',
    'config',
    'json',
    'debug',
  ],
  eval: ['checkpoint', 'dataset', 'dataDir', 'batchSize', 'threads', 'device', 'precision', 'json', 'debug'],
  init: ['model', 'rule', 'dfaFeedback', 'seed', 'out', 'debug'],
  doctor: ['model', 'rule', 'dfaFeedback', 'optimizer', 'momentum', 'batchSize', 'json', 'debug'],
} as const satisfies Record<string, readonly OptionName[]>;

export type CommandName = keyof typeof commandOptions;
export type CommandOption<Command extends CommandName> = (typeof commandOptions)[Command][number];
export type Flags<Command extends CommandName> = Given<CommandOption<Command>>;

/** Settings of the documentation that no rule of this version uses, and what they belong to. */
const later: Readonly<Record<string, string>> = {
  schedule: 'target propagation',
  noise: 'target propagation',
  targetStep: 'target propagation',
  alpha: 'target propagation',
  auxiliary: 'rule ao-sdtp',
  inverseOptimizer: 'target propagation',
  inverseLr: 'target propagation',
  inverseBeta1: 'target propagation',
  inverseBeta2: 'target propagation',
  inverseEps: 'target propagation',
  inverseMomentum: 'target propagation',
  inverseWeightDecay: 'target propagation',
};

/** `batchSize` as a flag: `batch-size`. */
export const kebab = (name: string): string => name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
const camel = (name: string): string =>
  name.replace(/-([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());

/**
 * Checks settings by name and value.
 *
 * @param given by name, kebab-case or camelCase
 * @param known those that the command has
 * @param shown how an error names a setting: `--batch-size`, or `batch-size in run.yaml`
 * @throws CortorchError ERR_UNKNOWN_OPTION, ERR_UNUSED_OPTION, ERR_USAGE, ERR_DEVICE_UNAVAILABLE
 */
export function parseOptions<Name extends OptionName>(
  given: Readonly<Record<string, unknown>>,
  known: readonly Name[],
  shown: (name: string) => string,
): Given<Name> {
  const values: Record<string, unknown> = {};
  for (const [written, value] of Object.entries(given)) {
    const name = camel(written);
    if (!known.includes(name as Name)) throw unknown(written, known, shown);
    if (Object.hasOwn(values, name)) throw new CortorchError('ERR_USAGE', `${shown(written)} is given twice`);
    try {
      values[name] = options[name as Name].parse(value);
    } catch (error) {
      if (!(error instanceof WrongValue)) throw error;
      throw new CortorchError('ERR_USAGE', `${shown(written)}: ${error.message}`);
    }
  }
  return values as Given<Name>;
}

function unknown(
  written: string,
  known: readonly OptionName[],
  shown: (name: string) => string,
): CortorchError {
  const owner = Object.hasOwn(later, camel(written)) ? later[camel(written)] : undefined;
  if (owner !== undefined && known.includes('rule')) {
    return new CortorchError(
      'ERR_UNUSED_OPTION',
      `${shown(written)} belongs to ${owner}, which this version of cortorch does not have; its rules are ${ruleNames.join(', ')}`,
    );
  }
  const names = known.map(kebab);
  const hint = didYouMean(written, names).replace(/mean (.*)\?/, (_, name: string) => `mean ${shown(name)}?`);
  return new CortorchError(
    'ERR_UNKNOWN_OPTION',
    `there is no ${shown(written)}${hint || '; --help lists what there is'}`,
  );
}

function device(given: unknown): 'cpu' {
  if (given === 'cpu') return given;
  if (typeof given === 'string' && /^cuda(:\d+)?$/.test(given)) {
    throw new CortorchError(
      'ERR_DEVICE_UNAVAILABLE',
      `device ${given} is not available: this version of cortorch computes on the CPU only; leave --device out`,
    );
  }
  return oneOf(['cpu'] as const)(given);
}

function precision(given: unknown): 'fp32' {
  if (given === 'tf32' || given === 'bf16') {
    throw new CortorchError(
      'ERR_DEVICE_UNAVAILABLE',
      `precision ${given} is not available: this version of cortorch computes in fp32 only; leave --precision out`,
    );
  }
  return oneOf(['fp32'] as const)(given);
}

function numbers(what: string): Parser<readonly number[]> {
  return list(what, (item) => {
    const value = typeof item === 'string' && item.trim() !== '' ? Number(item) : item;
    if (typeof value !== 'number' || !Number.isFinite(value)) throw new WrongValue();
    return value;
  });
}
