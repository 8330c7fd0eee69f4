/** The learning rules by name. */

import { CortorchError, invalid, isOneOf } from '../errors.js';
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

/**
 * The feedback of dfa: a matrix [classes, units] for each hidden layer, or `shared`, one for all of them: as wide
 * as the widest, of which each uses its first columns (a choice of this package, for networks whose feedback would
 * be larger than their weights).
 */
export type DfaFeedback = 'per-layer' | 'shared';

export const dfaFeedbackNames: readonly DfaFeedback[] = ['per-layer', 'shared'];

/**
 * The feedback of a network with a rule; default `per-layer`.
 *
 * @param name how an error calls the setting
 * @returns null for a rule without it
 * @throws CortorchError ERR_INVALID_ARGUMENT; ERR_UNUSED_OPTION if it is given to a rule other than dfa
 */
export function resolveDfaFeedback(
  rule: RuleName,
  value: unknown = undefined,
  name = 'dfaFeedback',
): DfaFeedback | null {
  if (value !== undefined && !isOneOf(value, dfaFeedbackNames))
    throw invalid(name, `one of ${dfaFeedbackNames.join(', ')}`, value);
  if (rule === 'dfa') return value ?? 'per-layer';
  if (value === undefined) return null;
  throw new CortorchError(
    'ERR_UNUSED_OPTION',
    `${name} is not used by rule ${rule}; choose rule dfa, or leave it out`,
  );
}
