/** From the settings that were given to all the settings of a run. */

import { readFileSync } from 'node:fs';
import { resolve, sep } from 'node:path';
import { CortorchError } from '../errors.js';
import { isPreset, preset } from '../model/presets.js';
import type { TrainingSettings } from '../model/budget.js';
import { lookForGpus, resolvePlace, type LookForGpus } from '../model/device.js';
import type { Network, NetworkOptions } from '../model/network.js';
import type { ResolvedSpec } from '../model/spec.js';
import { native } from '../native.js';
import { learns, recordOf, requireFits, requireUsed, resolveRuleOptions, resolveSettingsOf } from '../rules/ask.js';
import {
  isLoaded,
  networkOptionNames,
  ruleOf,
  type RecordedRule,
  type RuleName,
  type RuleOptions,
  type RuleTrainerOptions,
} from '../rules/names.js';
import {
  fallsOf,
  optimizerDefaults,
  recipeFor,
  scheduleOf,
  settingsFor,
  usedBy,
  type Recipe,
} from '../training/hyperparameters.js';
import {
  optimizerNames,
  optimizerSettings,
  requireMomentsFit,
  resolveOptimizer,
  statesPerParameter,
  type Moments,
  type OptimizerName,
  type OptimizerOptions,
  type ResolvedOptimizer,
} from '../training/optimizer.js';
import type { LrScheduleName, LrScheduleOptions } from '../training/lr-schedule.js';
import { readConfigFile, readSpecFile } from './config-file.js';
import { dataSettings } from './data-settings.js';
import {
  commandOptions,
  kebab,
  trainerFlags,
  type CommandOption,
  type Flags,
  type Given,
  type OptionName,
} from './options.js';
import { missing, pick, unused } from './given.js';
import { ruleSettingsOf, type Recorded, type RuleSettings } from './own-rule.js';

/** What a configuration cannot say: where it is, and how to talk about it. */
const flagOnly = ['out', 'resume', 'config', 'json', 'debug'] as const;

type Setting = Exclude<CommandOption<'train'>, (typeof flagOnly)[number]>;
/** What was given; of the rule what it came to. */
type Settings = Omit<Given<Setting>, 'rule' | 'ruleOption'> & RuleSettings;

/** What a configuration file may say. */
export const settingNames = commandOptions.train.filter(
  (name): name is Setting => !(flagOnly as readonly string[]).includes(name),
);

type Needed =
  | 'dataset'
  | 'validation'
  | 'flip'
  | 'batchSize'
  | 'model'
  | 'rule'
  | 'optimizer'
  | 'lr'
  | 'weightDecay'
  | 'lrSchedule'
  | 'warmupEpochs'
  | 'epochs'
  | 'seed'
  | 'threads'
  | 'device'
  | 'precision'
  | 'deterministic';

/**
 * A run's settings, all of them; those that it does not use are left out. As JSON it is the run's `config.json`,
 * and that again is a configuration file.
 */
export type RunConfig = Settings &
  Required<Pick<Settings, Needed>> & {
    readonly network: ResolvedSpec;
    /** A digest of the names and labels of the images trained on, where they lie in files. */
    readonly images?: string;
    readonly versions: {
      readonly cortorch: string;
      readonly node: string;
      readonly libtorch: string;
      /** Its name, where one computes. */
      readonly gpu?: string;
    };
  };

/**
 * Flags and the configuration file together; flags win. A rule's file that the flags name is loaded.
 *
 * @param of what the run that goes on recorded of a rule of one's own
 * @throws CortorchError as {@link readConfigFile} and {@link ruleSettingsOf}
 */
export async function gatherSettings(
  flags: Flags<'train'>,
  of: readonly Recorded[] = [],
): Promise<{ settings: Settings; network: ResolvedSpec | undefined }> {
  const { out: _, resume: __, config, json: ___, debug: ____, ...given } = flags;
  const saved = config === undefined ? null : await readConfigFile(config, settingNames);
  const { rule: either, ruleOption, ...rest } = { ...saved?.values, ...given };
  // Only a flag names a file.
  const rule = given.rule ?? (typeof either === 'string' ? either : undefined);
  const own = saved?.own ?? null;
  // A rule of ours that is a flag stands in for the file's, options and all.
  const recorded = own === null || typeof rule === 'string' ? [] : [{ own, where: config! }];
  const options = { ...saved?.values.ruleOption, ...ruleOption };
  const ofRule = await ruleSettingsOf({ ...(rule && { rule }), ruleOption: options }, [...recorded, ...of]);
  const ruleOptions = { ...(recorded.length > 0 && own!.ruleOptions), ...ofRule.ruleOptions };
  return {
    settings: absolute({ ...rest, ...ofRule, ...(Object.keys(ruleOptions).length > 0 && { ruleOptions }) }),
    // A network that the file holds is that of the file's model.
    network: given.model === undefined ? saved?.network : undefined,
  };
}

/**
 * Fills in every default.
 *
 * @param saved the network, if it is known already
 * @param look the GPUs that there are; asked only if one is to compute
 * @throws CortorchError ERR_USAGE, ERR_UNUSED_OPTION, ERR_UNKNOWN_OPTION, ERR_INVALID_SPEC, ERR_DEVICE_UNAVAILABLE;
 *   ERR_NATIVE_NOT_BUILT
 */
export async function resolveSettings(
  given: Settings,
  saved?: ResolvedSpec,
  look: LookForGpus = lookForGpus,
): Promise<RunConfig> {
  const { dataset, model, rule = 'bp' } = given;
  if (dataset === undefined) throw missing('dataset', '--dataset mnist');
  if (model === undefined) throw missing('model', '--model mnist-fc, or --model FILE.json');
  const network = saved ?? (await loadModel(model));
  const { libtorch, threads } = native().info();
  const recipe = recipeOf(given, model);
  const epochs = given.epochs ?? recipe?.epochs ?? 10;
  const asked = {
    dataset,
    ...dataSettings(given, dataset, network),
    batchSize: given.batchSize ?? recipe?.batchSize ?? 100,
    model,
    ...ruleSettings(given, rule),
    ...initSettings(given),
    ...pick(given, ['hyperparameters']),
    ...trainingSettings(given, network, model, rule),
    ...lrScheduleSettings(given, recipe, epochs),
    epochs,
    ...pick(given, ['maxSteps', 'maxHours', 'saveEvery', 'keep', 'diagnostics']),
    seed: given.seed ?? 0,
    threads: given.threads ?? threads,
  };
  // What is wrong with the settings is said before what is wrong with the machine.
  const { place, gpu } = resolvePlace(given, look);
  const versions = { cortorch: packageVersion(), node: process.versions.node, libtorch };
  return {
    ...asked,
    ...place,
    network,
    versions: { ...versions, ...(gpu !== null && { gpu: gpu.name }) },
  };
}

/** A preset by name, or the spec in a file. @throws CortorchError ERR_UNKNOWN_OPTION, ERR_INVALID_SPEC, ERR_USAGE */
export async function loadModel(model: string): Promise<ResolvedSpec> {
  return isSpecFile(model) ? readSpecFile(model) : preset(model);
}

const isSpecFile = (model: string): boolean => !isPreset(model) && (model.endsWith('.json') || model.includes(sep));

export function optimizerOf(config: Pick<RunConfig, 'optimizer'> & Settings): OptimizerOptions {
  return { type: config.optimizer, ...pick(config, OPTIMIZER_KEYS) };
}

/** undefined: there are no inverses */
export function inverseOptimizerOf(config: Settings): OptimizerOptions | undefined {
  const { inverseOptimizer: type } = config;
  if (type === undefined) return undefined;
  const given = OPTIMIZER_KEYS.map((key) => [key, config[inverseFlag(key)]] as const);
  return { type, ...Object.fromEntries(given.filter(([, value]) => value !== undefined)) };
}

/** What a trainer sets for its rule. */
export function ruleTrainerOptionsOf(config: Settings): RuleTrainerOptions {
  const inverseOptimizer = inverseOptimizerOf(config);
  return { ...pick(config, trainerFlags), ...(inverseOptimizer && { inverseOptimizer }) };
}

export function lrScheduleOf(config: RunConfig): LrScheduleOptions {
  const { lrSchedule: type, lrSteps: steps, lrDecay: decay, warmupEpochs } = config;
  return { type, warmupEpochs, ...(steps && { steps }), ...(decay !== undefined && { decay }) };
}

/** The options of a configuration's rule. */
export const ruleValuesOf = (config: RecordedRule): RuleOptions => resolveRuleOptions(ruleOf(config.rule), config);

/** A configuration's rule, as a network takes it. */
export const ruleOptionsOf = (config: RecordedRule): Pick<NetworkOptions, 'rule' | 'ruleOptions'> & RuleOptions =>
  pick(config, ['rule', 'ruleOptions', ...networkOptionNames]);

/** What the memory of a run depends on, beside its network. */
export function memorySettingsOf(config: RunConfig): TrainingSettings {
  const { batchSize } = config;
  const rule = ruleOf(config.rule);
  const optimizer = resolveOptimizer(optimizerOf(config));
  const inverse = inverseOptimizerOf(config);
  const inverseOptimizer = inverse === undefined ? null : resolveOptimizer(inverse);
  const ofRule = { rule, options: ruleValuesOf(config) };
  const ofPlace = pick(config, ['device', 'precision']);
  const diagnostics = config.diagnostics !== undefined;
  return { ...ofRule, ...ofPlace, optimizer, inverseOptimizer, batchSize, diagnostics };
}

const OPTIMIZER_KEYS = ['lr', 'beta1', 'beta2', 'eps', 'momentum', 'weightDecay', 'batchManhattan', 'moments'] as const;
type OptimizerKey = (typeof OPTIMIZER_KEYS)[number];

const inverseFlag = <T extends string>(key: T) =>
  `inverse${key[0]!.toUpperCase()}${key.slice(1)}` as `inverse${Capitalize<T>}`;

const INVERSE_FLAGS = ['inverseOptimizer', ...OPTIMIZER_KEYS.map(inverseFlag)] as const;

/** What to start from. @throws CortorchError ERR_UNUSED_OPTION */
function initSettings(given: Settings): Settings {
  for (const key of ['map', 'partial'] as const) {
    if (given.init !== undefined || given[key] === undefined) continue;
    throw unused(key, 'a run that starts from its seed', 'add --init FILE, or leave it out');
  }
  return pick(given, ['init', 'map', 'partial']);
}

/** The rule, and its options, all that it has. @throws CortorchError ERR_UNUSED_OPTION */
export function ruleSettings(given: Pick<Settings, keyof RuleOptions | 'ruleOptions'>, rule: RuleName): RecordedRule {
  const entry = ruleOf(rule);
  return recordOf(entry, resolveRuleOptions(entry, given, flag));
}

/** How an error calls a setting. */
function flag(name: string): string {
  const [first, option] = name.split('.');
  if (first === 'ruleOptions') return option === undefined ? '--rule-option' : `--rule-option ${option}`;
  return `--${kebab(name)}`;
}

/**
 * The optimizers, and what the rule's trainer sets.
 *
 * @throws CortorchError ERR_UNUSED_OPTION, ERR_USAGE, ERR_INVALID_ARGUMENT; ERR_INVALID_SPEC for a network that the
 *   rule cannot train
 */
export function trainingSettings(
  given: Settings,
  network: ResolvedSpec,
  model: string,
  rule: RuleName,
): Pick<RunConfig, 'optimizer' | 'lr' | 'weightDecay'> & Settings {
  const { device = 'cpu' } = given;
  requireMomentsFit(given.moments, device, '--moments');
  const entry = ruleOf(rule);
  const asked = INVERSE_FLAGS.filter((key) => given[key] !== undefined);
  // Whether a rule of one's own has parameters to learn, its network tells: completed() adds the optimizer.
  const inverses = learns(entry) && (!isLoaded(entry) || asked.length > 0);
  if (inverses) requireMomentsFit(given.inverseMoments, device, '--inverse-moments');
  const schedule = scheduleOf(rule, given.schedule);
  const defaults = settingsFor(model, rule, schedule, given.hyperparameters);
  if (given.hyperparameters === 'paper' && defaults === undefined) {
    const what = schedule === null ? rule : `${rule} ${schedule}`;
    throw unused('hyperparameters', `${model} with ${what}, for which the paper gives none`, 'leave it out');
  }
  for (const key of ['optimizer', 'inverseOptimizer'] as const) {
    if (given.hyperparameters !== 'paper' || (given[key] ?? 'adam') === 'adam') continue;
    throw unused('hyperparameters', `optimizer ${given[key]}: the paper's are Adam's`, 'leave one of them out');
  }
  const forward = optimizerFlags(
    given,
    (key) => key,
    'optimizer',
    recipeOf(given, model)?.optimizer ?? defaults?.forward,
  );
  const { type: optimizer, ...values } = forward;
  for (const key of asked) requireUsed(entry, 'trainerOptions', 'inverseOptimizer', flag(key));
  requireFits(entry, network);
  const ofTrainer = { ...usedBy(rule, { ...defaults, inverse: undefined }), ...pick(given, trainerFlags) };
  const options = resolveRuleOptions(entry, pick(given, [...networkOptionNames, 'ruleOptions']), flag);
  const ruled = { spec: network, options };
  const resolved = { ...resolveSettingsOf(entry, ofTrainer, ruled, flag) } as Readonly<Record<string, unknown>>;
  const used = trainerFlags.filter((name) => (resolved[name] ?? null) !== null);
  return {
    ...{ optimizer, ...values },
    ...(inverses && inverseSettings(given, defaults?.inverse)),
    // As they were given: one number may stand for those of all inverses.
    ...Object.fromEntries(used.map((name) => [name, ofTrainer[name] ?? entry.trainerOptions[name]!.default])),
  };
}

/**
 * A run's settings, when its network is there: with the optimizer of what a rule of one's own learns, if it has
 * parameters to learn.
 *
 * @throws CortorchError ERR_UNUSED_OPTION if one is given, and it has none
 */
export function completed(config: RunConfig, network: Network): RunConfig {
  if (!isLoaded(ruleOf(config.rule))) return config;
  const learned = network.parameters.some(({ role }) => role === 'learned');
  if (learned) return config.inverseOptimizer === undefined ? { ...config, ...inverseSettings({}, undefined) } : config;
  if (config.inverseOptimizer === undefined) return config;
  throw unused('inverseOptimizer', `rule ${config.rule}, which has no parameters to learn`, 'leave --inverse-… out');
}

/** How the model is trained as a rule, unless another optimizer is given. */
export function recipeOf({ optimizer }: Settings, model: string): Recipe | undefined {
  const recipe = recipeFor(model);
  return optimizer === undefined || optimizer === recipe?.optimizer.type ? recipe : undefined;
}

/** Of the optimizer of what the rule learns. */
function inverseSettings(given: Settings, defaults: OptimizerOptions | undefined): Settings {
  const { type, ...values } = optimizerFlags(given, inverseFlag, 'inverseOptimizer', defaults);
  const flags = Object.entries(values).map(([key, value]) => [inverseFlag(key), value]);
  return { inverseOptimizer: type, ...(Object.fromEntries(flags) as Settings) };
}

/** One optimizer's settings, those that it uses. */
function optimizerFlags(
  given: Settings,
  flag: (key: OptimizerKey) => OptionName,
  kind: 'optimizer' | 'inverseOptimizer',
  defaults: OptimizerOptions | undefined,
): Pick<ResolvedOptimizer, 'type' | 'lr' | 'weightDecay'> & Partial<ResolvedOptimizer> {
  const type: OptimizerName = given[kind] ?? defaults?.type ?? 'adam';
  const used = optimizerSettings[type];
  const values: Partial<Record<OptimizerKey, number | boolean | string>> = {};
  for (const key of OPTIMIZER_KEYS) {
    const name = flag(key) as OptionName & keyof Settings;
    if (given[name] === undefined) continue;
    if (!used.includes(key)) {
      const users = optimizerNames.filter((other) => optimizerSettings[other].includes(key)).join(' or ');
      throw unused(
        name,
        `${kebab(kind).replace('-', ' ')} ${type}`,
        `choose --${kebab(kind)} ${users}, or leave it out`,
      );
    }
    values[key] = given[name] as number | boolean | string;
  }
  const { moments, ...others } = values;
  const plain = resolveOptimizer({ ...optimizerDefaults(defaults, type), ...others } as OptimizerOptions);
  const hasMoments = statesPerParameter(plain) > 0;
  if (moments !== undefined && !hasMoments) {
    throw unused(
      flag('moments'),
      `${kebab(kind).replace('-', ' ')} sgd without momentum, which keeps none`,
      `add --${kebab(flag('momentum'))}, or leave it out`,
    );
  }
  const resolved = { ...plain, ...(moments !== undefined && { moments: moments as Moments }) };
  const { lr, weightDecay } = resolved;
  const keys = OPTIMIZER_KEYS.filter((key) => used.includes(key) && (key !== 'moments' || hasMoments));
  return { type, ...pick(resolved, keys), lr, weightDecay };
}

function lrScheduleSettings(
  given: Settings,
  recipe: Recipe | undefined,
  epochs: number,
): Pick<RunConfig, 'lrSchedule' | 'warmupEpochs'> & Settings {
  const falls = recipe === undefined ? [] : fallsOf(recipe, epochs);
  const usual = falls.length > 0 || (recipe !== undefined && given.lrSteps !== undefined) ? 'step' : 'constant';
  const lrSchedule: LrScheduleName = given.lrSchedule ?? usual;
  const warmupEpochs = given.warmupEpochs ?? 0;
  if (lrSchedule !== 'step') {
    for (const key of ['lrSteps', 'lrDecay'] as const) {
      if (given[key] === undefined) continue;
      throw unused(key, `the ${lrSchedule} schedule`, 'choose --lr-schedule step, or leave it out');
    }
    return { lrSchedule, warmupEpochs };
  }
  const { lrSteps = falls.length > 0 ? falls : undefined, lrDecay = 0.1 } = given;
  if (lrSteps === undefined) throw missing('lrSteps', '--lr-steps 30,60: the epochs after which the rate falls');
  if (lrSteps.some((epoch, i) => i > 0 && epoch <= lrSteps[i - 1]!)) {
    throw new CortorchError('ERR_USAGE', `--lr-steps: expected rising epochs but received ${lrSteps.join(',')}`);
  }
  return { lrSchedule, lrSteps, lrDecay, warmupEpochs };
}

/** Files and folders by their whole names: a run may be resumed from another folder. */
function absolute(given: Settings): Settings {
  const { dataDir, init, model } = given;
  return {
    ...given,
    ...(dataDir !== undefined && { dataDir: resolve(dataDir) }),
    ...(init !== undefined && { init: resolve(init) }),
    ...(model !== undefined && isSpecFile(model) && { model: resolve(model) }),
  };
}

export function packageVersion(): string {
  const file = new URL('../../package.json', import.meta.url);
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}
