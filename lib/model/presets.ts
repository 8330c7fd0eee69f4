/** The networks of the paper (Bartunov et al. 2018, Table 3). */

import { CortorchError } from '../errors.js';
import { didYouMean } from '../suggest.js';
import { network } from './builder.js';
import type { ResolvedSpec } from './spec.js';

export type PresetName = 'mnist-fc';

const presets: Record<PresetName, () => ResolvedSpec> = {
  'mnist-fc': () => {
    let body = network({ channels: 1, height: 28, width: 28 }).flatten();
    for (let i = 0; i < 5; i++) body = body.dense(256, { activation: 'tanh' });
    return body.dense(10).softmaxCrossEntropy();
  },
};

export const presetNames = Object.keys(presets) as readonly PresetName[];

/** Presets of the contract that this version does not have. */
const laterPresets = [
  'mnist-lc',
  'mnist-conv',
  'mnist-autoencoder',
  'cifar10-fc',
  'cifar10-lc',
  'cifar10-conv',
  'imagenet-lc',
  'imagenet-conv',
  'alexnet',
  'resnet18',
  'resnet20',
];

export const isPreset = (name: string): name is PresetName => Object.hasOwn(presets, name);

/** @throws CortorchError ERR_UNKNOWN_OPTION */
export function preset(name: string): ResolvedSpec {
  if (isPreset(name)) return presets[name]();
  throw new CortorchError(
    'ERR_UNKNOWN_OPTION',
    laterPresets.includes(name)
      ? `model ${name} is not in this version of cortorch, which has ${presetNames.join(', ')}`
      : `unknown model ${JSON.stringify(name)}${didYouMean(name, presetNames) || '.'} The presets are ${presetNames.join(', ')}`,
  );
}
