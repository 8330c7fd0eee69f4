/** The settings of the command line: each is a flag and a key of configuration files. */

import { cropBorderNames, flipNames } from '../data/augmentation.js';
import { CortorchError, isOneOf, show } from '../errors.js';
import { isDevice, precisionNames } from '../model/device.js';
import {
  networkOptionNames,
  networkOptions,
  parseRule,
  ruleNames,
  type RuleName,
  trainerOptionNames,
  trainerOptions,
} from '../rules/names.js';
import {
  PER_INVERSE,
  type OptimizerOption,
  type OptionTable,
  type RuleOption,
  type ValueOf,
} from '../rules/options.js';
import { momentsNames, optimizerNames } from '../training/optimizer.js';
import { hyperparameterNames } from '../training/hyperparameters.js';
import { lrScheduleNames } from '../training/lr-schedule.js';
import { didYouMean } from '../suggest.js';
import { architectureNames } from './cells.js';
import {
  belowOne,
  count,
  hours,
  list,
  notNegative,
  oneOf,
  positive,
  renamings,
  text,
  valuesByName,
  whole,
  WrongValue,
  yesOrNo,
  type Parser,
} from './values.js';

interface Option<T> {
  readonly parse: Parser<T>;
  readonly describe: string;
  /** Heading of the help. */
  readonly group: 'Data' | 'Model' | 'Target propagation' | 'Optimizer' | 'Run';
}

const option = <T>(group: Option<T>['group'], parse: Parser<T>, describe: string): Option<T> => ({
  parse,
  describe,
  group,
});

/** Data sets that are held in memory. */
const memoryNames = ['mnist', 'fashion-mnist', 'cifar10'] as const;
/** Images in files, read while they are trained on. */
const streamNames = ['imagenet', 'folder'] as const;
export const datasetNames = [...memoryNames, ...streamNames] as const;
export type MemoryName = (typeof memoryNames)[number];
export type StreamName = (typeof streamNames)[number];
export type DatasetName = MemoryName | StreamName;

export const isStreamed = (name: DatasetName): name is StreamName => isOneOf(name, streamNames);

/** An option of a rule that is a flag; an optimizer is several. */
type FlagOption = Exclude<RuleOption, OptimizerOption>;
const isFlag = (of: RuleOption): of is FlagOption => of.kind !== 'optimizer';

/** The names of a table's options that are flags. */
type FlagOf<Table extends OptionTable> = {
  [Name in keyof Table]: Table[Name] extends FlagOption ? Name : never;
}[keyof Table];

/** The flags of rules' options. */
function flagsOf<Table extends OptionTable>(
  table: Table,
): { readonly [Name in FlagOf<Table>]: Option<ValueOf<Table[Name]>> } {
  const flags = Object.entries(table).flatMap(([name, of]) =>
    isFlag(of) ? [[name, option(of.heading, valueParser(of), of.describe)]] : [],
  );
  return Object.fromEntries(flags) as { readonly [Name in FlagOf<Table>]: Option<ValueOf<Table[Name]>> };
}

function valueParser(of: FlagOption): Parser<unknown> {
  const parse = parserOf(of);
  return (given) => {
    try {
      return parse(given);
    } catch (error) {
      if (!(error instanceof WrongValue) || of.hint === undefined) throw error;
      throw new WrongValue(`${error.message}; ${of.hint}`);
    }
  };
}

function parserOf(of: FlagOption): Parser<unknown> {
  switch (of.kind) {
    case 'choice':
      return oneOf(of.words);
    case 'count':
      return count;
    case 'number': // of rules of files alone: --rule-option
    case 'positive':
      return positive;
    case 'per-inverse':
      return (given) => {
        const values = list(PER_INVERSE, notNegative)(given);
        return values.length === 1 ? values[0] : values;
      };
  }
}

/** Every setting of this version, by its camelCase name. */
export const options = {
  dataset: option('Data', oneOf(datasetNames), `Data set: ${datasetNames.join(', ')}`),
  dataDir: option('Data', text, 'Folder with its files, or with train and val (mnist: not needed)'),
  validation: option(
    'Data',
    whole,
    'Training images held out for validation (default 5000; imagenet, folder 0: val is there)',
  ),
  mean: option(
    'Data',
    numbers('numbers such as 0.1307'),
    "Mean to subtract: a,b,c (cifar10, imagenet: their own; eval: the checkpoint's)",
  ),
  std: option(
    'Data',
    numbers('numbers such as 0.3081'),
    'Deviation to divide by, per channel: a,b,c (0,0,0 and 1,1,1: none)',
  ),
  cropPadding: option('Data', whole, 'Random crops: pixels of border to cut them from (default 0; cifar10 4)'),
  cropBorder: option('Data', oneOf(cropBorderNames), 'That border: reflect (default), the image mirrored, or black'),
  flip: option(
    'Data',
    oneOf(flipNames),
    'Flips at random: none, horizontal, vertical, both (default none; photographs horizontal)',
  ),
  crop: option(
    'Data',
    oneOf(['random', 'none'] as const),
    'imagenet, folder: random (resized; evaluation: the middle), or none: whole images',
  ),
  resize: option('Data', count, 'imagenet, folder: shorter side that the middle is cut from (default 256 for 224)'),
  maxCorrupt: option(
    'Data',
    whole,
    'imagenet, folder: image files that may be unreadable and are skipped (default 10)',
  ),
  shardSize: option('Data', count, 'About how large a shard may become, MiB (default 256)'),
  batchSize: option('Data', count, "Images a step (default 100; alexnet, resnet*: their recipe's)"),

  model: option('Model', text, "Preset, such as mnist-lc (listed below), or a network's spec, FILE.json"),
  rule: option('Model', ruleOrFile, `Rule: ${ruleNames.join(', ')} (default bp), or ./FILE.cpp`),
  ruleOption: option('Model', valuesByName, "NAME=VALUE, an option of your own rule's file; once for each option"),
  ...flagsOf(networkOptions),
  init: option('Model', text, 'Checkpoint whose parameters to start from: also one that PyTorch wrote'),
  map: option('Model', renamings, 'Names of its parameters, or their prefixes, to rename: FROM=TO,FROM=TO'),
  partial: option('Model', yesOrNo, 'Start from what fits by name and shape; the rest is drawn from the seed'),

  ...flagsOf(trainerOptions),

  hyperparameters: option(
    'Optimizer',
    oneOf(hyperparameterNames),
    "What a preset brings: tuned (default), or the paper's Table 5 to the letter",
  ),
  optimizer: option(
    'Optimizer',
    oneOf(optimizerNames),
    `${optimizerNames.join(', ')} (default adam; alexnet, resnet*: sgd)`,
  ),
  lr: option(
    'Optimizer',
    positive,
    "Learning rate (default: the paper's for a preset, else 0.001; sgd, rmsprop: 0.01)",
  ),
  beta1: option('Optimizer', belowOne, 'Decay of the mean of gradients: adam'),
  beta2: option('Optimizer', belowOne, 'Decay of the mean of squared gradients: adam, rmsprop'),
  eps: option('Optimizer', notNegative, 'Added to the denominator: adam, rmsprop'),
  momentum: option('Optimizer', belowOne, 'sgd, rmsprop (default 0; alexnet, resnet*: 0.9)'),
  weightDecay: option(
    'Optimizer',
    notNegative,
    'Times the weight, added to the gradient (default 0; alexnet, resnet*: 1e-4)',
  ),
  batchManhattan: option('Optimizer', yesOrNo, 'Of each gradient only its sign (Liao et al. 2016)'),
  moments: option('Optimizer', oneOf(momentsNames), 'What moments are kept in: fp32 (default), or on a GPU bf16'),
  inverseOptimizer: option('Optimizer', oneOf(optimizerNames), 'Of the learned inverses (default adam)'),
  inverseLr: option('Optimizer', positive, 'Learning rate of the inverses'),
  inverseBeta1: option('Optimizer', belowOne, 'As --beta1, of the inverses'),
  inverseBeta2: option('Optimizer', belowOne, 'As --beta2, of the inverses'),
  inverseEps: option('Optimizer', notNegative, 'As --eps, of the inverses'),
  inverseMomentum: option('Optimizer', belowOne, 'As --momentum, of the inverses'),
  inverseWeightDecay: option('Optimizer', notNegative, 'As --weight-decay, of the inverses'),
  inverseBatchManhattan: option('Optimizer', yesOrNo, 'As --batch-manhattan, of the inverses'),
  inverseMoments: option('Optimizer', oneOf(momentsNames), 'As --moments, of the inverses'),
  lrSchedule: option(
    'Optimizer',
    oneOf(lrScheduleNames),
    `${lrScheduleNames.join(', ')} (default constant; alexnet, resnet*: step)`,
  ),
  lrSteps: option('Optimizer', list('epochs such as 30,60', count), 'step: epochs after which the rate falls: a,b'),
  lrDecay: option('Optimizer', positive, 'step: what the rate is multiplied by then (default 0.1)'),
  warmupEpochs: option('Optimizer', notNegative, 'Epochs in which the rate rises from near 0 (default 0)'),

  epochs: option('Run', count, "Passes over the training set (default 10; alexnet, resnet*: their recipe's)"),
  maxSteps: option('Run', count, 'Stop and save after so many optimizer steps in all'),
  maxHours: option('Run', hours, 'Stop and save after so many hours: for batch schedulers'),
  saveEvery: option('Run', count, 'Save last.pt every so many optimizer steps, beside each epoch (default: epochs)'),
  keep: option('Run', whole, 'Checkpoints to keep beside last.pt and best.pt: the last N as step-*.pt (default 0)'),
  diagnostics: option(
    'Run',
    count,
    "Every so many steps: each layer's angles to the gradient of bp and to its feedback",
  ),
  seed: option('Run', whole, 'Seed of everything random (default 0)'),
  threads: option('Run', count, 'Threads to compute with (default: one for each processor)'),
  device: option('Run', device, 'cpu (default), cuda (the first GPU) or cuda:i'),
  precision: option(
    'Run',
    oneOf(precisionNames),
    "fp32 (default); on a GPU also tf32, or bf16 with fp32 weights (eval: the checkpoint's)",
  ),
  deterministic: option('Run', yesOrNo, 'On a GPU: bit for bit the same each time (the CPU is)'),
  out: option('Run', text, 'Folder for checkpoints and metrics (default: none are written); report: the page'),
  resume: option('Run', text, 'Folder of a run to go on with'),
  checkpoint: option('Model', text, 'Checkpoint, such as runs/a/best.pt'),
  architecture: option('Model', oneOf(architectureNames), 'Column of the table: fc, lc'),
  cells: option('Run', text, 'Cells to run, such as bp,dtp-parallel (default: all, listed below)'),
  images: option('Run', text, 'PNG file for test images above their reconstructions: autoencoders only'),
  config: option('Run', text, 'YAML or JSON file with any of these settings; flags win'),
  sums: option('Run', yesOrNo, 'With the sum of each tensor'),
  forwardOnly: option('Run', yesOrNo, 'Without feedback, inverses and auxiliary outputs: a state_dict alone'),
  json: option('Run', yesOrNo, 'One JSON object a line on stdout'),
  debug: option('Run', yesOrNo, 'Errors with their stack'),
} as const;

export type OptionName = keyof typeof options;

/** Settings as somebody gave them, each checked by itself. */
export type Given<Name extends OptionName = OptionName> = {
  readonly [K in Name]?: ReturnType<(typeof options)[K]['parse']>;
};

const networkFlags = (heading: FlagOption['heading']) =>
  networkOptionNames.filter((name) => networkOptions[name].heading === heading);

/** Options of rules that a trainer has, and that are flags by their own names. */
export const trainerFlags = trainerOptionNames.filter((name): name is FlagOf<typeof trainerOptions> =>
  isFlag(trainerOptions[name]),
);

/** The flags of each command, in the order of its help. */
export const commandOptions = {
  train: [
    'dataset',
    'dataDir',
    'validation',
    'mean',
    'std',
    'cropPadding',
    'cropBorder',
    'flip',
    'crop',
    'resize',
    'maxCorrupt',
    'batchSize',
    'model',
    'rule',
    'ruleOption',
    ...networkFlags('Model'),
    'init',
    'map',
    'partial',
    ...trainerFlags,
    ...networkFlags('Target propagation'),
    'hyperparameters',
    'optimizer',
    'lr',
    'beta1',
    'beta2',
    'eps',
    'momentum',
    'weightDecay',
    'batchManhattan',
    'moments',
    'inverseOptimizer',
    'inverseLr',
    'inverseBeta1',
    'inverseBeta2',
    'inverseEps',
    'inverseMomentum',
    'inverseWeightDecay',
    'inverseBatchManhattan',
    'inverseMoments',
    'lrSchedule',
    'lrSteps',
    'lrDecay',
    'warmupEpochs',
    'epochs',
    'maxSteps',
    'maxHours',
    'saveEvery',
    'keep',
    'diagnostics',
    'seed',
    'threads',
    'device',
    'precision',
    'deterministic',
    'out',
    'resume',
    'config',
    'json',
    'debug',
  ],
  eval: [
    'checkpoint',
    'model',
    'map',
    'dataset',
    'dataDir',
    'mean',
    'std',
    'crop',
    'resize',
    'maxCorrupt',
    'batchSize',
    'images',
    'threads',
    'device',
    'precision',
    'json',
    'debug',
  ],
  reproduce: [
    'dataset',
    'dataDir',
    'architecture',
    'hyperparameters',
    'cells',
    'epochs',
    'maxSteps',
    'seed',
    'threads',
    'device',
    'precision',
    'deterministic',
    'out',
    'json',
    'debug',
  ],
  data: ['dataset', 'dataDir', 'shardSize', 'out', 'json', 'debug'],
  report: ['out', 'json', 'debug'],
  inspect: ['sums', 'json', 'debug'],
  convert: ['forwardOnly', 'debug'],
  init: ['model', 'rule', 'ruleOption', ...networkOptionNames, 'seed', 'out', 'debug'],
  doctor: [
    'model',
    'rule',
    'ruleOption',
    ...networkOptionNames,
    'optimizer',
    'momentum',
    'moments',
    'inverseOptimizer',
    'inverseMomentum',
    'inverseMoments',
    'batchSize',
    'device',
    'precision',
    'json',
    'debug',
  ],
} as const satisfies Record<string, readonly OptionName[]>;

export type CommandName = keyof typeof commandOptions;
export type CommandOption<Command extends CommandName> = (typeof commandOptions)[Command][number];
export type Flags<Command extends CommandName> = Given<CommandOption<Command>>;

/** `batchSize` as a flag: `batch-size`. */
export const kebab = (name: string): string => name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
const camel = (name: string): string => name.replace(/-([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());

/**
 * Checks settings by name and value.
 *
 * @param given by name, kebab-case or camelCase
 * @param known those that the command has
 * @param shown how an error names a setting: `--batch-size`, or `batch-size in run.yaml`
 * @throws CortorchError ERR_UNKNOWN_OPTION, ERR_USAGE
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

function unknown(written: string, known: readonly OptionName[], shown: (name: string) => string): CortorchError {
  const names = known.map(kebab);
  const hint = didYouMean(written, names).replace(/mean (.*)\?/, (_, name: string) => `mean ${shown(name)}?`);
  return new CortorchError(
    'ERR_UNKNOWN_OPTION',
    `there is no ${shown(written)}${hint || '; --help lists what there is'}`,
  );
}

/** A rule's own file, which this call names. */
export interface RuleFile {
  readonly file: string;
}

/** Whether a text names a rule's file, and not a rule. */
export const isRuleFile = (given: unknown): given is string =>
  typeof given === 'string' && (/\.(cpp|cc|cxx)$/.test(given) || given.includes('/'));

function ruleOrFile(given: unknown): RuleName | RuleFile {
  if (isRuleFile(given)) return { file: given };
  try {
    return parseRule(given);
  } catch (error) {
    if (!(error instanceof CortorchError) || typeof given !== 'string' || error.message.includes('did you mean'))
      throw error;
    throw new CortorchError(error.code, `${error.message}; one of your own is a file: --rule ./FILE.cpp`);
  }
}

function device(given: unknown): string {
  if (isDevice(given)) return given;
  const received = given === '' ? 'it has no value' : `received ${show(given)}`;
  throw new WrongValue(`expected cpu, cuda or cuda:i, i the number of a GPU, but ${received}`);
}

function numbers(what: string): Parser<readonly number[]> {
  return list(what, (item) => {
    const value = typeof item === 'string' && item.trim() !== '' ? Number(item) : item;
    if (typeof value !== 'number' || !Number.isFinite(value)) throw new WrongValue();
    return value;
  });
}
