/** The options of rules: what each may be, what it is unless somebody says, and how the command line describes it. */

import { CortorchError, invalid, isCount, isNumber, isOneOf } from '../errors.js';
import { resolveOptimizer, type OptimizerOptions, type ResolvedOptimizer } from '../training/optimizer.js';

interface OptionText {
  /** In the help of the command line; of an optimizer, which is several flags, none. */
  readonly describe: string;
  /** Under which heading of the help. */
  readonly heading: 'Model' | 'Target propagation';
  /** What a wrong value's error adds. */
  readonly hint?: string;
}

/** One of a few words. */
export interface Choice<Word extends string = string> extends OptionText {
  readonly kind: 'choice';
  readonly words: readonly Word[];
  readonly default: Word;
}

/** A number within bounds, both of them among it. */
export interface BoundedNumber extends OptionText {
  readonly kind: 'number';
  readonly whole: boolean;
  readonly least: number;
  readonly most: number;
  readonly default: number;
}

/** A number; `count`: a whole one of at least 1. */
export interface NumberOption extends OptionText {
  readonly kind: 'count' | 'positive';
  readonly default: number;
}

/** A number of at least 0, or one for each of the network's inverses from below. */
export interface PerInverse extends OptionText {
  readonly kind: 'per-inverse';
  readonly default: number;
}

/** The optimizer of what a rule learns beside the task. */
export interface OptimizerOption {
  readonly kind: 'optimizer';
  readonly default: OptimizerOptions;
}

export type RuleOption = Choice | NumberOption | BoundedNumber | PerInverse | OptimizerOption;

/** Options by name. */
export type OptionTable = Readonly<Record<string, RuleOption>>;

/** What may be given for an option. */
export type ValueOf<Option extends RuleOption> =
  Option extends Choice<infer Word>
    ? Word
    : Option extends NumberOption | BoundedNumber
      ? number
      : Option extends PerInverse
        ? number | readonly number[]
        : OptimizerOptions;

/** The value with every default. */
type ResolvedOf<Option extends RuleOption> = Option extends OptimizerOption ? ResolvedOptimizer : ValueOf<Option>;

/** Options as somebody gave them. */
export type Given = Readonly<Record<string, unknown>>;

export const choice = <const Word extends string>(
  words: readonly Word[],
  otherwise: Word,
  text: OptionText,
): Choice<Word> => ({ kind: 'choice', words, default: otherwise, ...text });

export const number = (kind: NumberOption['kind'], otherwise: number, text: OptionText): NumberOption => ({
  kind,
  default: otherwise,
  ...text,
});

export const perInverse = (otherwise: number, text: OptionText): PerInverse => ({
  kind: 'per-inverse',
  default: otherwise,
  ...text,
});

export const optimizer = (): OptimizerOption => ({ kind: 'optimizer', default: {} });

/** How an error calls an option: by its name, or as a flag. */
export type Named = (name: string) => string;

/**
 * The value of an option.
 *
 * @param value undefined: the default
 * @param name how an error calls it
 * @throws CortorchError ERR_INVALID_ARGUMENT; of an optimizer as {@link resolveOptimizer}
 */
export function resolveOption(option: RuleOption, value: unknown, name: string): unknown {
  const chosen = value ?? option.default;
  if (option.kind === 'optimizer') return resolveOptimizer(chosen, name);
  const expected = expectedOf(option, chosen);
  if (expected === null) return chosen;
  throw invalid(name, option.hint === undefined ? expected : `${expected} (${option.hint})`, chosen);
}

/** @returns null: the value is one of them */
function expectedOf(option: Exclude<RuleOption, OptimizerOption>, value: unknown): string | null {
  switch (option.kind) {
    case 'choice':
      return isOneOf(value, option.words) ? null : `one of ${option.words.join(', ')}`;
    case 'count':
      return isCount(value) ? null : 'a positive integer';
    case 'positive':
      return isNumber(value) && value > 0 ? null : 'a number above 0';
    case 'number': {
      const { whole, least, most } = option;
      const fits = isNumber(value) && value >= least && value <= most && (!whole || Number.isInteger(value));
      return fits ? null : `${whole ? 'an integer' : 'a number'}${bounds(least, most)}`;
    }
    case 'per-inverse': {
      const list: readonly unknown[] = Array.isArray(value) ? value : [value];
      const all = list.every((one) => isNumber(one) && one >= 0);
      return all ? null : PER_INVERSE;
    }
  }
}

function bounds(least: number, most: number): string {
  if (least === -Infinity) return most === Infinity ? '' : ` of at most ${most}`;
  return most === Infinity ? ` of at least ${least}` : ` from ${least} to ${most}`;
}

export const PER_INVERSE = 'σ, a number of at least 0, or one for each inverse';

/** The values of all options of a table. @throws CortorchError as {@link resolveOption} */
export const resolveEach = <Table extends OptionTable>(
  table: Table,
  given: Given,
  named: Named,
): { readonly [Name in keyof Table]: ResolvedOf<Table[Name]> } =>
  Object.fromEntries(
    Object.entries(table).map(([name, option]) => [name, resolveOption(option, given[name], named(name))]),
  ) as { readonly [Name in keyof Table]: ResolvedOf<Table[Name]> };

/** The error for an option that is given and not used. */
export const unusedOption = (name: string, by: string, remedy: string): CortorchError =>
  new CortorchError('ERR_UNUSED_OPTION', `${name} is not used by ${by}; ${remedy}, or leave it out`);
