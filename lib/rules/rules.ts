/** The learning rules by name. */

import { CortorchError } from '../errors.js';
import { didYouMean } from '../suggest.js';

/**
 * How the error reaches the layer below: `bp` by the transposed weights, `fa` by fixed random weights of the
 * same shape (Lillicrap et al. 2016), `dfa` from the output straight to every layer (Nøkland 2016).
 */
export type RuleName = 'bp' | 'fa' | 'dfa';

export const ruleNames: readonly RuleName[] = ['bp', 'fa', 'dfa'];

/** Rules of the two studies that this version does not have. */
const laterRules = ['usf', 'brsf', 'frsf', 'tp', 'dtp', 'sdtp', 'ao-sdtp'];

/** @throws CortorchError ERR_UNKNOWN_OPTION */
export function parseRule(value: unknown): RuleName {
  if (ruleNames.includes(value as RuleName)) return value as RuleName;
  const name = String(value);
  throw new CortorchError(
    'ERR_UNKNOWN_OPTION',
    laterRules.includes(name)
      ? `rule ${name} is not in this version of cortorch, which has ${ruleNames.join(', ')}`
      : `unknown rule ${JSON.stringify(value)}${didYouMean(name, ruleNames) || '.'} The rules are ${ruleNames.join(', ')}`,
  );
}
