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
export type GradientRuleName = 'bp' | 'fa' | 'dfa' | SignSymmetricRuleName;

/**
 * Sign-symmetry (Liao et al. 2016; Xiao et al. 2019): the error goes down by weights with the signs of the forward
 * ones. `usf`: all of one magnitude; `brsf`: of random magnitudes, drawn afresh at each step; `frsf`: of fixed random
 * magnitudes.
 */
export type SignSymmetricRuleName = 'usf' | 'brsf' | 'frsf';

export type RuleName = GradientRuleName | TargetRuleName;

export const targetRuleNames: readonly TargetRuleName[] = ['tp', 'dtp', 'sdtp', 'ao-sdtp'];
const signSymmetricRuleNames: readonly SignSymmetricRuleName[] = ['usf', 'brsf', 'frsf'];
export const ruleNames: readonly RuleName[] = ['bp', 'fa', 'dfa', ...signSymmetricRuleNames, ...targetRuleNames];

export const isTargetRule = (rule: RuleName): rule is TargetRuleName =>
  (targetRuleNames as readonly RuleName[]).includes(rule);

const isSignSymmetric = (rule: RuleName): rule is SignSymmetricRuleName =>
  (signSymmetricRuleNames as readonly RuleName[]).includes(rule);

/** @throws CortorchError ERR_UNKNOWN_OPTION */
export function parseRule(value: unknown): RuleName {
  if (ruleNames.includes(value as RuleName)) return value as RuleName;
  const name = String(value);
  throw new CortorchError(
    'ERR_UNKNOWN_OPTION',
    `unknown rule ${JSON.stringify(value)}${didYouMean(name, ruleNames) || '.'} The rules are ${ruleNames.join(', ')}`,
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
function resolveDfaFeedback(rule: RuleName, value?: unknown, name = 'dfaFeedback'): DfaFeedback | null {
  if (value !== undefined && !isOneOf(value, dfaFeedbackNames))
    throw invalid(name, `one of ${dfaFeedbackNames.join(', ')}`, value);
  if (rule === 'dfa') return value ?? 'per-layer';
  if (value === undefined) return null;
  throw new CortorchError('ERR_UNUSED_OPTION', `${name} is not used by rule ${rule}; choose rule dfa, or leave it out`);
}

/**
 * How large the feedback of fa and of sign-symmetry is. `glorot`: uniform, with Glorot's deviation √(2 / (fan_in +
 * fan_out)). `xiao` (Xiao et al. 2019): for convolutions, shared or not, N(0, s²) with s = √(2 / (k_h k_w C_out)), for
 * dense layers U(−s, s) with s = 1/√fan_in. The one magnitude of usf is Glorot's deviation, or s.
 */
export type FeedbackScale = 'glorot' | 'xiao';

export const feedbackScaleNames: readonly FeedbackScale[] = ['glorot', 'xiao'];

/**
 * The scale of a network's feedback; default: the papers' own, `glorot` of fa and `xiao` of sign-symmetry.
 *
 * @param name how an error calls the setting
 * @returns null for a rule without it
 * @throws CortorchError ERR_INVALID_ARGUMENT; ERR_UNUSED_OPTION if it is given to another rule
 */
function resolveFeedbackScale(rule: RuleName, value?: unknown, name = 'feedbackScale'): FeedbackScale | null {
  return ofFeedback(rule, value, name, feedbackScaleNames, { fa: 'glorot', signSymmetric: 'xiao' });
}

/** Whether the last layer sends the error down as its rule has it, or by its own weights. */
export type LastLayer = 'rule' | 'bp';

export const lastLayerNames: readonly LastLayer[] = ['rule', 'bp'];

/**
 * How the last layer sends the error down; default: `rule` of fa, `bp` of sign-symmetry, as Xiao et al. (2019) have it.
 *
 * @param name how an error calls the setting
 * @returns null for a rule without it
 * @throws CortorchError ERR_INVALID_ARGUMENT; ERR_UNUSED_OPTION if it is given to another rule
 */
function resolveLastLayer(rule: RuleName, value?: unknown, name = 'lastLayer'): LastLayer | null {
  return ofFeedback(rule, value, name, lastLayerNames, { fa: 'rule', signSymmetric: 'bp' });
}

/** A setting that fa and sign-symmetry have, with a default for each. */
function ofFeedback<Name extends string>(
  rule: RuleName,
  value: unknown,
  name: string,
  names: readonly Name[],
  defaults: { readonly fa: Name; readonly signSymmetric: Name },
): Name | null {
  if (value !== undefined && !isOneOf(value, names)) throw invalid(name, `one of ${names.join(', ')}`, value);
  if (rule === 'fa') return value ?? defaults.fa;
  if (isSignSymmetric(rule)) return value ?? defaults.signSymmetric;
  if (value === undefined) return null;
  throw new CortorchError(
    'ERR_UNUSED_OPTION',
    `${name} is not used by rule ${rule}; choose rule fa, ${signSymmetricRuleNames.join(', ')}, or leave it out`,
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
export function resolveAuxiliary(rule: RuleName, value?: unknown, name = 'auxiliary'): number | null {
  if (value !== undefined && !isCount(value))
    throw invalid(name, 'a positive integer: how many auxiliary outputs there are (sdtp has none)', value);
  if (rule === 'ao-sdtp') return value ?? AUXILIARY;
  if (value === undefined) return null;
  throw new CortorchError(
    'ERR_UNUSED_OPTION',
    `${name} is not used by rule ${rule}; choose rule ao-sdtp, or leave it out`,
  );
}

/** What some rules have to set; null: this one has not. */
export interface RuleSettings {
  readonly dfaFeedback: DfaFeedback | null;
  readonly feedbackScale: FeedbackScale | null;
  readonly lastLayer: LastLayer | null;
  readonly auxiliary: number | null;
}

/** Those that are given, or that a rule has. */
export type RuleOptions = { readonly [Name in keyof RuleSettings]?: Exclude<RuleSettings[Name], null> };

export const ruleOptionNames = ['dfaFeedback', 'feedbackScale', 'lastLayer', 'auxiliary'] as const;

/**
 * The settings of a rule, with its defaults.
 *
 * @param named how an error calls a setting
 * @throws CortorchError ERR_INVALID_ARGUMENT; ERR_UNUSED_OPTION if one is given that the rule does not have
 */
export function resolveRuleOptions(
  rule: RuleName,
  given: { readonly [Name in keyof RuleSettings]?: unknown } = {},
  named: (name: keyof RuleSettings) => string = (name) => name,
): RuleSettings {
  return {
    dfaFeedback: resolveDfaFeedback(rule, given.dfaFeedback, named('dfaFeedback')),
    feedbackScale: resolveFeedbackScale(rule, given.feedbackScale, named('feedbackScale')),
    lastLayer: resolveLastLayer(rule, given.lastLayer, named('lastLayer')),
    auxiliary: resolveAuxiliary(rule, given.auxiliary, named('auxiliary')),
  };
}

/** Those that a rule has. */
export function usedRuleOptions(settings: RuleSettings): RuleOptions {
  const used = ruleOptionNames.filter((name) => settings[name] !== null);
  return Object.fromEntries(used.map((name) => [name, settings[name]]));
}
