/** The one list of the learning rules, and what follows from it: their names, and the options that any of them has. */

import { CortorchError, invalid, isNumber, isPlainObject, isString } from '../errors.js';
import { didYouMean } from '../suggest.js';
import { dfa } from './direct.js';
import { bp, brsf, fa, frsf, usf } from './gradient.js';
import type { OptionTable, RuleOption, ValueOf } from './options.js';
import type { OwnRule, Rule, RuleValues } from './rule.js';
import { aoSdtp, dtp, sdtp, tp } from './target.js';

// A new rule has a place here.
const list = [bp, fa, dfa, usf, brsf, frsf, tp, dtp, sdtp, aoSdtp] as const;

type Listed = (typeof list)[number];

export const rules: readonly Rule[] = list;

export type RuleName = Listed['name'];

export const ruleNames: readonly RuleName[] = list.map(({ name }) => name);

/** @throws CortorchError ERR_UNKNOWN_OPTION */
export function parseRule(value: unknown): RuleName {
  if (ruleNames.includes(value as RuleName)) return value as RuleName;
  const name = String(value);
  throw new CortorchError(
    'ERR_UNKNOWN_OPTION',
    `unknown rule ${JSON.stringify(value)}${didYouMean(name, ruleNames) || '.'} The rules are ${ruleNames.join(', ')}`,
  );
}

/** Rules of files that this process has loaded. */
const loaded = new Map<string, OwnRule>();

/**
 * Makes a loaded rule known by its name. The addon has refused another one of that name.
 *
 * @returns the same object for the same rule
 */
export function registerRule(rule: OwnRule): OwnRule {
  const known = loaded.get(rule.name) ?? rule;
  loaded.set(rule.name, known);
  return known;
}

/** Is it what {@link registerRule} was given? */
export const isLoaded = (value: unknown): value is OwnRule =>
  value !== undefined && loaded.get((value as OwnRule | null)?.name ?? '') === value;

/** What is recorded of a rule of one's own: never where its file lies. */
export interface RecordedOwnRule {
  readonly rule: string;
  /** All that it has. */
  readonly ruleOptions: RuleValues;
  /** Of its file, and of what that includes. */
  readonly ruleSha256: string;
}

/**
 * Reads what was recorded of a rule of one's own. Nothing is loaded for it.
 *
 * @param record of which `ruleSha256` tells that it is one
 * @returns null: it is of a rule of ours
 * @throws CortorchError ERR_INVALID_ARGUMENT
 */
export function parseOwnRule(record: Readonly<Record<string, unknown>>): RecordedOwnRule | null {
  const { rule, ruleOptions = {}, ruleSha256 } = record;
  if (ruleSha256 === undefined || ruleSha256 === null) return null;
  if (!isString(ruleSha256) || !/^[0-9a-f]{64}$/.test(ruleSha256))
    throw invalid('ruleSha256', 'a SHA-256 of 64 small hexadecimal digits', ruleSha256);
  if (!isString(rule) || !/^[a-z][a-z0-9-]*$/.test(rule) || ruleNames.includes(rule as RuleName))
    throw invalid('rule', 'beside `ruleSha256` the name of a rule that is none of ours', rule);
  const isValue = (value: unknown): value is string | number => isNumber(value) || typeof value === 'string';
  if (!isPlainObject(ruleOptions) || !Object.values(ruleOptions).every(isValue))
    throw invalid('ruleOptions', 'an object of numbers and words by name', ruleOptions);
  return { rule, ruleOptions: ruleOptions as RuleValues, ruleSha256 };
}

/** A rule by its name, one of ours or a loaded one. @throws CortorchError ERR_UNKNOWN_OPTION */
export function ruleOf(name: unknown): Rule {
  if (isPlainObject(name)) throw invalid('rule', 'the name of a rule, or what loadRule() gave', name);
  const own = typeof name === 'string' ? loaded.get(name) : undefined;
  if (own !== undefined) return own;
  const parsed = parseRule(name);
  return rules.find((rule) => rule.name === parsed)!;
}

/** Without the tables of rules that have no options. */
type Named<Table> = Table extends unknown ? (string extends keyof Table ? never : Table) : never;
type KeyOf<Table> = Table extends unknown ? keyof Table : never;
type OptionIn<Table, Name> = Table extends unknown ? (Name extends keyof Table ? Table[Name] : never) : never;

/** One table of several: an option that differs from rule to rule is any of them. */
type Merged<Table> = { readonly [Name in KeyOf<Named<Table>>]: OptionIn<Named<Table>, Name> };

/** Each option behind the one that it follows in its own table; a choice has the words of all. */
export function merged<Table extends OptionTable>(tables: readonly Table[]): Merged<Table> {
  const all: [name: string, option: RuleOption][] = [];
  for (const table of tables) {
    let place = all.length;
    for (const [name, option] of Object.entries(table)) {
      const found = all.findIndex(([other]) => other === name);
      if (found < 0) all.splice(place, 0, [name, option]);
      else all[found] = [name, either(all[found]![1], option)];
      place = (found < 0 ? place : found) + 1;
    }
  }
  return Object.fromEntries(all) as Merged<Table>;
}

const either = (one: RuleOption, other: RuleOption): RuleOption =>
  one.kind === 'choice' && other.kind === 'choice'
    ? { ...one, words: [...new Set([...one.words, ...other.words])] }
    : one;

/** Options of a network that some rule has; the default of each is that of the first such rule. */
export const networkOptions = merged<Listed['options']>(list.map(({ options }) => options));

/** Options of a trainer that some rule has; the default of each is that of the first such rule. */
export const trainerOptions = merged<Listed['trainerOptions']>(list.map((rule) => rule.trainerOptions));

/** Options of a network's rule: those that are given, or that a rule has. */
export type RuleOptions = {
  readonly [Name in keyof typeof networkOptions]?: ValueOf<(typeof networkOptions)[Name]>;
};

/** Options of a trainer that belong to rules. */
export type RuleTrainerOptions = {
  readonly [Name in keyof typeof trainerOptions]?: ValueOf<(typeof trainerOptions)[Name]> | undefined;
};

/** What is recorded of a network's rule. */
export type RecordedRule = RuleOptions & { readonly rule: RuleName } & Partial<Omit<RecordedOwnRule, 'rule'>>;

export const networkOptionNames = Object.keys(networkOptions) as readonly (keyof RuleOptions)[];
export const trainerOptionNames = Object.keys(trainerOptions) as readonly (keyof RuleTrainerOptions)[];
