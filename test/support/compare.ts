/**
 * How far numbers are from what they should be. A NaN, an infinity or another length is never close: where something
 * of the kind is on either side, the distance is Infinity. What has to be *far* from something asks `differs`, for
 * which such a distance is none.
 */
import type { Test } from 'tap';
import type { Numbers } from './numbers.js';

/** The largest |actual − expected|, in the unit of the values. */
export function largestDifference(actual: Numbers, expected: Numbers): number {
  if (actual.length !== expected.length) return Infinity;
  let most = 0;
  for (let i = 0; i < expected.length; i++) {
    const difference = Math.abs(actual[i]! - expected[i]!);
    if (!Number.isFinite(difference)) return Infinity;
    most = Math.max(most, difference);
  }
  return most;
}

/**
 * The largest |actual − expected| over the largest |expected|: of the arrays as wholes, as an element of its own may be
 * what rounding leaves of a zero. Of expected zeros only zeros are at a distance of 0; others are infinitely far.
 *
 * @param floor the least number to divide by, in the unit of the values: for what is known to be rounding of that size
 */
export function relativeError(actual: Numbers, expected: Numbers, floor = 0): number {
  const difference = largestDifference(actual, expected);
  if (difference === 0 || difference === Infinity) return difference;
  let size = floor;
  for (let i = 0; i < expected.length; i++) size = Math.max(size, Math.abs(expected[i]!));
  return difference / size;
}

/**
 * Passes where `actual` is `expected` but for rounding, by less than `limit` of its size. There has to be something to
 * compare: nothing at all, or zeros alone, fail. What is to be zero is compared exactly.
 */
export function agrees(t: Test, actual: Numbers, expected: Numbers, limit: number, what: string): boolean {
  const compared = Array.prototype.some.call(expected, (value) => value !== 0);
  const error = compared ? relativeError(actual, expected) : Infinity;
  const problem = compared ? `a relative error of ${error}, to be below ${limit}` : 'nothing but zeros is expected';
  return t.ok(error < limit, `${what}: ${problem}`);
}

/** Passes where `a` and `b` are two different sets of numbers: by more than `least` of the size of `b`. */
export function differs(t: Test, a: Numbers, b: Numbers, least: number, what: string): boolean {
  const error = relativeError(a, b);
  return t.ok(Number.isFinite(error) && error > least, `${what}: they differ by ${error}, to be over ${least}`);
}
