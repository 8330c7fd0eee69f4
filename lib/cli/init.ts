/** `cortorch init`: writes a fresh network's parameters. */

import { CortorchError } from '../errors.js';
import { Network } from '../model/network.js';
import { writeCheckpoint } from '../training/checkpoint.js';
import { integer } from '../format.js';
import { networkOptionNames } from '../rules/names.js';
import { kebab, type Flags } from './options.js';
import { loadModel, ruleSettings } from './settings.js';

/** @returns the exit code */
export async function init(flags: Flags<'init'>): Promise<number> {
  const { model, rule = 'bp', seed = 0, out } = flags;
  if (model === undefined) throw new CortorchError('ERR_USAGE', '--model is missing: --model mnist-fc');
  if (out === undefined) throw new CortorchError('ERR_USAGE', '--out is missing: --out FILE.pt');
  const settings = ruleSettings(flags, rule);
  using network = new Network(await loadModel(model), { rule, ...settings, seed });
  await writeCheckpoint(out, {
    parameters: await network.stateDict(),
    config: { network: network.spec, rule, ...settings, normalization: null, seed, model },
    epoch: 0,
    step: 0,
    metrics: null,
    training: null,
  });
  const given = networkOptionNames.filter((name) => flags[name] !== undefined);
  const same = given.map((name) => ` --${kebab(name)} ${flags[name]}`).join('');
  console.error(
    `${out}: ${model} with ${rule}, seed ${seed}, ${integer(network.parameterCount)} parameters. ` +
      `To train from it: cortorch train --model ${model} --rule ${rule}${same} --init ${out}`,
  );
  return 0;
}
