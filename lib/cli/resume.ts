/** `cortorch train --resume DIR`: the settings are those of the run, but for what does not change its course. */

import { CortorchError } from '../errors.js';
import { requireMemoryForTraining } from '../model/budget.js';
import { availableOn } from '../model/device.js';
import { RunDirectory } from '../training/run.js';
import { readConfigFile } from './config-file.js';
import { kebab, type Flags, type Given, type OptionName } from './options.js';
import { gatherSettings, memorySettingsOf, resolveSettings, settingNames, type RunConfig } from './settings.js';
import type { Plan } from './train.js';

/** How far, how fast, on what and from where: these may change. */
const harmless: readonly OptionName[] = [
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
 * @throws CortorchError ERR_USAGE for a setting that would change the run; ERR_CHECKPOINT_NOT_FOUND, …
 */
export async function goOn(flags: Flags<'train'>, folder: string): Promise<Plan> {
  const run = RunDirectory.open(folder);
  if (flags.out !== undefined && !run.is(flags.out)) {
    throw new CortorchError(
      'ERR_USAGE',
      `--out is ${flags.out}, but a run goes on in its own folder, ${folder}; leave --out out`,
    );
  }
  const { values: saved, network, images } = await readConfigFile(run.config, settingNames);
  const { settings: given } = await gatherSettings(flags);
  const before: Given = saved;
  const changed = (Object.entries(given) as [OptionName, unknown][])
    .filter(([name, value]) => !harmless.includes(name) && JSON.stringify(value) !== JSON.stringify(before[name]))
    .map(([name, value]) => {
      const had = before[name] === undefined ? 'does not use it' : `has ${String(before[name])}`;
      return `--${kebab(name)} is ${String(value)}, but the run in ${folder} ${had}`;
    });
  if (changed.length > 0) {
    throw new CortorchError(
      'ERR_USAGE',
      `${changed.join('; ')}; leave ${changed.length === 1 ? 'it' : 'them'} out, or begin a new run with --out`,
    );
  }
  if (given.epochs !== undefined && given.epochs !== saved.epochs && saved.lrSchedule === 'cosine') {
    throw new CortorchError(
      'ERR_USAGE',
      `--epochs is ${given.epochs}, but the cosine schedule of the run in ${folder} ends with epoch ${saved.epochs}; leave it out`,
    );
  }
  // How many steps to make, and for how long, was said to the command of then, not to the run.
  const { maxSteps: _, maxHours: __, ...rest } = saved;
  const settings = await resolveSettings({ ...rest, ...given }, network).catch((error: unknown) => {
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
