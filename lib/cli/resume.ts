/** `cortorch train --resume DIR`: the settings are those of the run, but for what does not change its course. */

import { CortorchError } from '../errors.js';
import { requireMemoryForTraining } from '../model/budget.js';
import { availableOn } from '../model/device.js';
import { RunDirectory } from '../training/run.js';
import { readConfigFile } from './config-file.js';
import { kebab, type Flags, type Given } from './options.js';
import { shownOwn, type RuleSettings } from './own-rule.js';
import { gatherSettings, memorySettingsOf, resolveSettings, settingNames, type RunConfig } from './settings.js';
import type { Plan } from './train.js';

type Value = string | number | boolean | readonly (string | number)[] | undefined;

/** How far, how fast, on what and from where: these may change. */
const harmless: readonly string[] = [
  'epochs',
  'maxSteps',
  'maxHours',
  'saveEvery',
  'keep',
  'diagnostics',
  'threads',
  'device',
  'deterministic',
  'dataDir',
  'maxCorrupt',
];

/**
 * @param folder of the run
 * @throws CortorchError ERR_USAGE for a setting that would change the run; ERR_RULE if it is one of a rule's file that
 *   the flags do not name, or not as it was; ERR_CHECKPOINT_NOT_FOUND, …
 */
export async function goOn(flags: Flags<'train'>, folder: string): Promise<Plan> {
  const run = RunDirectory.open(folder);
  if (flags.out !== undefined && !run.is(flags.out)) {
    throw new CortorchError(
      'ERR_USAGE',
      `--out is ${flags.out}, but a run goes on in its own folder, ${folder}; leave --out out`,
    );
  }
  const { values, network, images, own } = await readConfigFile(run.config, settingNames);
  const { rule: ofOurs, ruleOption: written, ...others } = values;
  const ofRule: RuleSettings = {
    ...(typeof ofOurs === 'string' && { rule: ofOurs }),
    ...(written && { ruleOptions: written }),
    ...(own as RuleSettings | null),
  };
  const saved = { ...others, ...ofRule };
  const change = (name: string, value: Value, had: Value): string =>
    `--${name} is ${String(value)}, but the run in ${folder} ${had === undefined ? 'does not use it' : `has ${String(had)}`}`;
  // One of ours for a file's, or the other way round: nothing has to be compiled to see that.
  const { rule } = flags;
  if (typeof rule === 'object' && own === null) throw changedSettings([change('rule', rule.file, saved.rule)]);
  if (typeof rule === 'string' && own !== null) {
    const what = `--rule is ${rule}, but the run in ${folder} has ${shownOwn(own)}, a file's`;
    throw new CortorchError('ERR_USAGE', `${what}; name that file, or begin a new run with --out`);
  }
  const { settings: given } = await gatherSettings(flags, own === null ? [] : [{ own, where: `the run in ${folder}` }]);
  const before = saved as Readonly<Record<string, Value>>; // but for ruleOptions, which come by themselves
  const { ruleOptions = {}, ruleSha256: ____, ...changing } = given;
  const changed = [
    ...Object.entries(changing)
      .filter(([name, value]) => !harmless.includes(name) && JSON.stringify(value) !== JSON.stringify(before[name]))
      .map(([name, value]) => change(kebab(name), value, before[name])),
    ...Object.entries(ruleOptions)
      .filter(([name, value]) => value !== saved.ruleOptions?.[name])
      .map(([name, value]) => change(`rule-option ${name}`, value, saved.ruleOptions?.[name])),
  ];
  if (changed.length > 0) throw changedSettings(changed);
  if (given.epochs !== undefined && given.epochs !== saved.epochs && saved.lrSchedule === 'cosine') {
    throw new CortorchError(
      'ERR_USAGE',
      `--epochs is ${given.epochs}, but the cosine schedule of the run in ${folder} ends with epoch ${saved.epochs}; leave it out`,
    );
  }
  // How many steps to make, and for how long, was said to the command of then, not to the run.
  const { maxSteps: __, maxHours: ___, ...rest } = saved;
  const settings = await resolveSettings({ ...rest, ...changing, ...ofRule }, network).catch((error: unknown) => {
    throw given.device === undefined ? withOtherDevice(error, folder) : error;
  });
  const config = { ...settings, ...(images !== undefined && { images }) };
  requireMemoryForTraining(config.network, memorySettingsOf(config), {
    available: availableOn(config.device),
  });
  const from = await run.readLast();
  if (from.training === null) {
    throw new CortorchError(
      'ERR_CHECKPOINT_UNSUPPORTED',
      `${run.last} holds no state of training; it is a best.pt under another name? Start from it with --init instead`,
    );
  }
  const note = describeMove(saved, config);
  return { config, run, from, ...(note !== undefined && { note }) };
}

const changedSettings = (changes: readonly string[]): CortorchError =>
  new CortorchError(
    'ERR_USAGE',
    `${changes.join('; ')}; leave ${changes.length === 1 ? 'it' : 'them'} out, or begin a new run with --out`,
  );

/** The GPU that a run began on may not be here. */
function withOtherDevice(error: unknown, folder: string): unknown {
  if (!(error instanceof CortorchError) || error.code !== 'ERR_DEVICE_UNAVAILABLE') return error;
  const text = `${error.message}. The run in ${folder} was computed there; --device goes on with it elsewhere`;
  return new CortorchError(error.code, text, { cause: error });
}

/** Devices sum in orders of their own. @returns undefined if the rest is bit for bit what it would have been */
function describeMove(
  before: Given<'device' | 'deterministic'>,
  { device, deterministic }: RunConfig,
): string | undefined {
  const { device: had = 'cpu' } = before;
  if (device !== had) {
    return `Going on on ${device}; the run was computed on ${had}, and devices differ in the last bits`;
  }
  if (device === 'cpu' || (deterministic && before.deterministic)) return undefined;
  return `Going on on ${device}; without --deterministic from the beginning it may differ in its last bits`;
}
