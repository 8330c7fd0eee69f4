/** Questions to a rule; where the answer is no, it says which other rules would do. */

import { CortorchError, invalid, isPlainObject, show } from '../errors.js';
import { specError } from '../model/spec-error.js';
import type { ResolvedSpec } from '../model/spec.js';
import {
  isLoaded,
  networkOptionNames,
  rules,
  trainerOptionNames,
  type RecordedRule,
  type RuleName,
  type RuleOptions,
} from './names.js';
import { resolveEach, unusedOption, type Given, type Named } from './options.js';
import type { Rule, RuledNetwork, RuleSettings, RuleValues } from './rule.js';
import { didYouMean } from '../suggest.js';

/** @throws CortorchError ERR_INVALID_SPEC naming the layer and what would work, if the rule does not train a network */
export function requireFits(rule: Rule, spec: ResolvedSpec): void {
  const [refusal] = rule.refusals(spec);
  if (refusal === undefined) return;
  const { what, remedy } = refusal;
  const others = `rule ${oneOfThem(fitting(spec, rule.family))}`;
  throw specError(`${what}; ${remedy === undefined ? 'use' : `${remedy}, or use`} ${others}`);
}

/** The rules that train a network as it is: those of a family, where there are some, else all. */
function fitting(spec: ResolvedSpec, family: string): readonly string[] {
  const all = rules.filter((rule) => rule.refusals(spec).length === 0);
  const kin = all.filter((rule) => rule.family === family);
  return (kin.length > 0 ? kin : all).map(({ name }) => name);
}

const oneOfThem = (names: readonly string[]): string =>
  names.length === 1 ? names[0]! : `${names.slice(0, -1).join(', ')} or ${names.at(-1)!}`;

/** Whether a rule learns something beside the task, with an optimizer of its own. */
export const learns = (rule: Rule): boolean => Object.hasOwn(rule.trainerOptions, 'inverseOptimizer');

/**
 * Refuses an option that a rule does not have.
 *
 * @param shown how an error calls it
 * @throws CortorchError ERR_UNUSED_OPTION with the rules that have it
 */
export function requireUsed(rule: Rule, of: 'options' | 'trainerOptions', name: string, shown = name): void {
  if (Object.hasOwn(rule[of], name)) return;
  const users = rules.filter((other) => Object.hasOwn(other[of], name));
  const names = users.map((user) => user.name);
  const family = users[0]?.family;
  const whole = users.length > 1 && rules.every((other) => users.includes(other) === (other.family === family));
  const remedy = whole ? `choose a rule of ${family} (${names.join(', ')})` : `choose rule ${names.join(', ')}`;
  const why = rule.lacks[name];
  throw unusedOption(shown, `rule ${rule.name}${why === undefined ? '' : `, ${why}`}`, remedy);
}

/**
 * The options of a network's rule, all that it has.
 *
 * @param given with whatever else
 * @param named how an error calls one
 * @throws CortorchError ERR_INVALID_ARGUMENT; ERR_UNUSED_OPTION if one is given that the rule does not have
 */
export function resolveRuleOptions(rule: Rule, given: object = {}, named: Named = (name) => name): RuleOptions {
  const values: Given = { ...given };
  for (const name of networkOptionNames) {
    if (values[name] !== undefined) requireUsed(rule, 'options', name, named(name));
  }
  const ofOwn = values['ruleOptions'];
  if (isLoaded(rule)) {
    return resolveEach(rule.options, checkedOwn(rule, ofOwn, named), (name) => named(`ruleOptions.${name}`));
  }
  if (ofOwn !== undefined)
    throw unusedOption(named('ruleOptions'), `rule ${rule.name}`, 'it is for a rule of your own');
  return resolveEach(rule.options, values, named);
}

/** Without a prototype, whose properties are no options. */
function checkedOwn(rule: Rule, given: unknown, named: Named): Given {
  if (given !== undefined && !isPlainObject(given))
    throw invalid(named('ruleOptions'), 'an object of options by name', given);
  const known = Object.keys(rule.options);
  for (const key of Object.keys(given ?? {})) {
    if (known.includes(key)) continue;
    const has = known.length === 0 ? 'it has none' : `it has ${known.join(', ')}`;
    const what = `rule ${rule.name} has no option ${show(key)}`;
    throw new CortorchError(
      'ERR_UNKNOWN_OPTION',
      `${named('ruleOptions')}: ${what}${didYouMean(key, known) || `; ${has}`}`,
    );
  }
  return Object.assign(Object.create(null) as Given, given);
}

/** What checkpoints and config.json record of a network's rule: of one's own its digest, never where its file lies. */
export const recordOf = (rule: Rule, options: RuleValues): RecordedRule =>
  isLoaded(rule)
    ? { rule: rule.name as RuleName, ruleOptions: options, ruleSha256: rule.sha256 }
    : { rule: rule.name as RuleName, ...options };

/**
 * What a trainer sets for a network's rule.
 *
 * @param given with whatever else
 * @param named how an error calls an option
 * @returns null for a rule that has nothing to set
 * @throws CortorchError ERR_INVALID_ARGUMENT; ERR_UNUSED_OPTION for an option that the rule does not use
 */
export function resolveSettingsOf(
  rule: Rule,
  given: object,
  network: RuledNetwork,
  named: Named = (name) => name,
): RuleSettings | null {
  const values: Given = { ...given };
  for (const name of trainerOptionNames) {
    if (values[name] !== undefined) requireUsed(rule, 'trainerOptions', name, named(name));
  }
  return rule.settings(values, network, named);
}
