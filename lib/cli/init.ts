/** `cortorch init`: writes a fresh network's parameters. */

import { CortorchError } from '../errors.js';
import { Network } from '../model/network.js';
import { writeCheckpoint } from '../training/checkpoint.js';
import { integer } from '../format.js';
import { networkOptionNames } from '../rules/names.js';
import { kebab, type Flags } from './options.js';
import { ruleOptionFlags, ruleSettingsOf } from './own-rule.js';
import { loadModel, ruleOptionsOf, ruleSettings } from './settings.js';

/** @returns the exit code */
export async function init(flags: Flags<'init'>): Promise<number> {
  const { model, seed = 0, out } = flags;
  if (model === undefined) throw new CortorchError('ERR_USAGE', '--model is missing: --model mnist-fc');
  if (out === undefined) throw new CortorchError('ERR_USAGE', '--out is missing: --out FILE.pt');
  const { rule: _, ruleOption: __, ...others } = flags;
  const { rule = 'bp', ...ofRule } = await ruleSettingsOf(flags);
  const settings = ruleSettings({ ...others, ...ofRule }, rule);
  using network = new Network(await loadModel(model), { ...ruleOptionsOf(settings), seed });
  await writeCheckpoint(out, {
    parameters: await network.stateDict(),
    config: { network: network.spec, ...settings, normalization: null, seed, model },
    epoch: 0,
    step: 0,
    metrics: null,
    training: null,
  });
  const given = networkOptionNames.filter((name) => flags[name] !== undefined);
  const same = given.map((name) => ` --${kebab(name)} ${flags[name]}`).join('') + ruleOptionFlags(ofRule.ruleOptions);
  const named = typeof flags.rule === 'object' ? flags.rule.file : rule;
  console.error(
    `${out}: ${model} with ${rule}, seed ${seed}, ${integer(network.parameterCount)} parameters. ` +
      `To train from it: cortorch train --model ${model} --rule ${named}${same} --init ${out}`,
  );
  return 0;
}
