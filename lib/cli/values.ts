/** What a setting's value may be. One parser serves flags (always text) and configuration files (JSON values). */

import { isCount, isInteger, isNumber, show } from '../errors.js';
import { didYouMean } from '../suggest.js';

/** The value is not what it should be; whoever knows where it came from says so. */
export class WrongValue extends Error {}

/** Turns what was given into a value, or throws {@link WrongValue}. */
export type Parser<T> = (given: unknown) => T;

const expected = (what: string, given: unknown): WrongValue =>
  new WrongValue(
    given === '' ? `expected ${what}, but it has no value` : `expected ${what} but received ${show(given)}`,
  );

/** A number: a JSON number, or text that is one. */
const number =
  (what: string, accepts: (value: number) => boolean): Parser<number> =>
  (given) => {
    const value = typeof given === 'string' && given.trim() !== '' ? Number(given) : given;
    if (!isNumber(value) || !accepts(value)) throw expected(what, given);
    return value;
  };

/** 1, 2, 3, … */
export const count = number('a whole number of at least 1', isCount);
/** 0, 1, 2, … */
export const whole = number('a whole number of at least 0', (value) => isInteger(value) && value >= 0);
/** What a timer can wait for: 2^31 ms. */
const MOST_HOURS = 596;
export const hours = number(`hours, above 0 and at most ${MOST_HOURS}`, (value) => value > 0 && value <= MOST_HOURS);
export const positive = number('a number above 0', (value) => value > 0);
export const notNegative = number('a number of at least 0', (value) => value >= 0);
/** Such as Adam's β. */
export const belowOne = number('a number of at least 0 and below 1', (value) => value >= 0 && value < 1);

export const text: Parser<string> = (given) => {
  if (typeof given !== 'string' || given === '') throw expected('a text', given);
  return given;
};

export const yesOrNo: Parser<boolean> = (given) => {
  if (typeof given !== 'boolean') throw expected('true or false', given);
  return given;
};

/** `a=b,c=d`, or a list of such texts: each renames what is before the = to what is after it. */
export const renamings: Parser<readonly string[]> = (given) => {
  const items: unknown[] = Array.isArray(given) ? given : [given];
  const all = items.flatMap((item) => (typeof item === 'string' ? item.split(',') : [item]));
  const isRenaming = (item: unknown): item is string => typeof item === 'string' && /^[^=]+=[^=]+$/.test(item);
  if (all.length === 0 || !all.every(isRenaming)) throw expected('FROM=TO, such as fc1=layers.0', given);
  const froms = all.map((item) => item.split('=')[0]!);
  const twice = froms.find((from, i) => froms.indexOf(from) < i);
  if (twice !== undefined) throw new WrongValue(`${twice} is renamed twice`);
  return all;
};

/** `every=5`, or a list of such texts: values, as texts, by name. */
export const valuesByName: Parser<Readonly<Record<string, string>>> = (given) => {
  const values = Object.create(null) as Record<string, string>; // any name is only a name
  for (const item of Array.isArray(given) ? (given as unknown[]) : [given]) {
    const [, name, value] = (typeof item === 'string' && /^([^=]+)=(.+)$/s.exec(item)) || [];
    if (name === undefined || value === undefined) throw expected('NAME=VALUE, such as every=5', item);
    if (name in values) throw new WrongValue(`${name} is given twice`);
    values[name] = value;
  }
  return values;
};

/** As an object: `{ a: 'b', c: 'd' }`. */
export const toMap = (renamings: readonly string[] = []): Readonly<Record<string, string>> =>
  Object.fromEntries(renamings.map((item) => item.split('=') as [string, string]));

/** `0.1,0.2`, or a list of numbers. */
export const list =
  (what: string, item: Parser<number>): Parser<readonly number[]> =>
  (given) => {
    const items: unknown[] = Array.isArray(given) ? given : typeof given === 'string' ? given.split(',') : [given];
    try {
      return items.map(item);
    } catch {
      throw expected(what, given);
    }
  };

/** One of a few words. */
export const oneOf =
  <T extends string>(words: readonly T[]): Parser<T> =>
  (given) => {
    if (words.includes(given as T)) return given as T;
    const near = typeof given === 'string' ? didYouMean(given, words) : '';
    throw new WrongValue(expected(`one of ${words.join(', ')}`, given).message + near);
  };
