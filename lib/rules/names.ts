/** The one list of the learning rules, and what follows from it: their names, and the options that any of them has. */

import { CortorchError } from '../errors.js';
import { didYouMean } from '../suggest.js';
import { dfa } from './direct.js';
import { bp, brsf, fa, frsf, usf } from './gradient.js';
import type { OptionTable, RuleOption, ValueOf } from './options.js';
import type { OwnRule, Rule } from './rule.js';
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

/** Makes a loaded rule known by its name. The addon has refused another one of that name. */
export function registerRule(rule: OwnRule): OwnRule {
  loaded.set(rule.name, rule);
  return rule;
}

/** Is it what {@link registerRule} was given? */
export const isLoaded = (value: unknown): value is OwnRule =>
  value !== undefined && loaded.get((value as OwnRule | null)?.name ?? '') === value;

/** A rule by its name, one of ours or a loaded one. @throws CortorchError ERR_UNKNOWN_OPTION */
export function ruleOf(name: unknown): Rule {
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

export const networkOptionNames = Object.keys(networkOptions) as readonly (keyof RuleOptions)[];
export const trainerOptionNames = Object.keys(trainerOptions) as readonly (keyof RuleTrainerOptions)[];
