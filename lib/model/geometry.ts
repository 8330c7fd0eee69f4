/**
 * Windows that slide over an image: the kernels of convolutions, shared or not, and of pooling. One reading of
 * `stride: 2` and `padding: 'same'` for specs and for functions of tensors.
 */

import { isCount, isInteger, type CortorchError } from '../errors.js';

export type Pair = readonly [height: number, width: number];

/** One number for both directions, or [height, width]. */
export type Size2d = number | Pair;

/**
 * Zeros around the image: as many on opposite sides. `same` is dilation · (kernel − 1) / 2 at any stride, for odd
 * kernels: at stride 1 the size is kept. `valid` is none.
 */
export type Padding2d = Size2d | 'same' | 'valid';

/** How a window moves; each value may be left out. */
export interface WindowOptions {
  /** Default 1. */
  readonly stride?: Size2d;
  /** Default 0. */
  readonly padding?: Padding2d;
  /** Distance between neighbouring taps of the kernel; default 1. */
  readonly dilation?: Size2d;
}

/** A window with all its numbers. */
export interface Window2d {
  readonly kernel: Pair;
  readonly stride: Pair;
  readonly padding: Pair;
  readonly dilation: Pair;
}

/** Makes the error for a value, as {@link invalid} does for arguments. */
export type Refuse = (key: string, expected: string, received: unknown) => CortorchError;

/**
 * Checks a window's values and writes them out as [height, width].
 *
 * @throws what `refuse` makes
 */
export function resolveWindow(
  given: { kernel: unknown; stride?: unknown; padding?: unknown; dilation?: unknown },
  refuse: Refuse,
): Window2d {
  const kernel = pairOf('kernel', given.kernel, refuse);
  const stride = pairOf('stride', given.stride ?? 1, refuse);
  const dilation = pairOf('dilation', given.dilation ?? 1, refuse);
  return { kernel, stride, padding: paddingOf(given.padding ?? 0, kernel, dilation, refuse), dilation };
}

/** @param name of the value in an error */
export function pairOf(name: string, value: unknown, refuse: Refuse): Pair {
  if (isCount(value)) return [value, value];
  if (isPair(value) && value.every(isCount)) return [value[0], value[1]];
  throw refuse(name, 'a positive integer, or two: [height, width]', value);
}

function paddingOf(value: unknown, kernel: Pair, dilation: Pair, refuse: Refuse): Pair {
  if (value === 'valid') return [0, 0];
  if (value === 'same') {
    if (kernel.every(isOdd)) return [samePadding(kernel[0], dilation[0]), samePadding(kernel[1], dilation[1])];
    const what = `a number of zeros for the kernel ${describe(kernel)}, since 'same' needs an odd kernel`;
    throw refuse('padding', what, value);
  }
  if (isNotNegative(value)) return [value, value];
  if (isPair(value) && value.every(isNotNegative)) return [value[0], value[1]];
  throw refuse('padding', "'same', 'valid', an integer of at least 0, or two: [height, width]", value);
}

const isPair = (value: unknown): value is [number, number] => Array.isArray(value) && value.length === 2;
const isNotNegative = (value: unknown): value is number => isInteger(value) && value >= 0;
const isOdd = (value: number): boolean => value % 2 === 1;
const samePadding = (kernel: number, dilation: number): number => (dilation * (kernel - 1)) / 2;

/** Places of the input that a window spans, from its first tap to its last. */
export const reach = (kernel: number, dilation: number): number => dilation * (kernel - 1) + 1;

/** Places in one direction at which a window fits; below 1 if there are none. */
export const countPlaces = (size: number, kernel: number, stride: number, padding: number, dilation: number): number =>
  Math.floor((size + 2 * padding - reach(kernel, dilation)) / stride) + 1;

/** [3, 224, 224] as `3×224×224`. */
export const describe = (shape: readonly number[]): string => shape.join('×');
