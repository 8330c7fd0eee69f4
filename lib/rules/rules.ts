/** The learning rules by name. */

import { CortorchError, invalid, isCount, isOneOf } from '../errors.js';
import { didYouMean } from '../suggest.js';

/**
 * Target propagation (Lee et al. 2015; Bartunov et al. 2018), by learned inverses: `tp` sends targets down, `dtp`
 * differences, with the penultimate target from the gradient, `sdtp` differences from the output on, `ao-sdtp` the
 * same with auxiliary outputs.
 */
export type TargetRuleName = 'tp' | 'dtp' | 'sdtp' | 'ao-sdtp';

/**
 * The error reaches the layer below `bp` by the transposed weights, `fa` by fixed random weights of the same shape
 * (Lillicrap et al. 2016), `dfa` from the output straight to every layer (Nøkland 2016).
 */
export type GradientRuleName = 'bp' | 'fa' | 'dfa';

export type RuleName = GradientRuleName | TargetRuleName;

export const targetRuleNames: readonly TargetRuleName[] = ['tp', 'dtp', 'sdtp', 'ao-sdtp'];
export const ruleNames: readonly RuleName[] = ['bp', 'fa', 'dfa', ...targetRuleNames];

export const isTargetRule = (rule: RuleName): rule is TargetRuleName =>
  (targetRuleNames as readonly RuleName[]).includes(rule);

/** Rules of the two studies that this version does not have. */
const laterRules = ['usf', 'brsf', 'frsf'];

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

/** Auxiliary outputs of the paper's CIFAR networks. */
const AUXILIARY = 512;

/**
 * How many auxiliary outputs a network with a rule has; default 512.
 *
 * @param name how an error calls the setting
 * @returns null for a rule without them
 * @throws CortorchError ERR_INVALID_ARGUMENT; ERR_UNUSED_OPTION if it is given to a rule other than ao-sdtp
 */
export function resolveAuxiliary(
  rule: RuleName,
  value: unknown = undefined,
  name = 'auxiliary',
): number | null {
  if (value !== undefined && !isCount(value))
    throw invalid(name, 'a positive integer: how many auxiliary outputs there are (sdtp has none)', value);
  if (rule === 'ao-sdtp') return value ?? AUXILIARY;
  if (value === undefined) return null;
  throw new CortorchError(
    'ERR_UNUSED_OPTION',
    `${name} is not used by rule ${rule}; choose rule ao-sdtp, or leave it out`,
  );
}
