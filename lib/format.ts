/** Numbers for people. */

import type { ResolvedSpec } from './model/spec.js';

/** A fraction: 0.0185 is `1.85 %`. */
export const percent = (fraction: number, digits = 2): string => `${(100 * fraction).toFixed(digits)} %`;

/** 55000 is `55,000`. */
export const integer = (value: number): string => Math.round(value).toLocaleString('en-US');

/** `0.4 s`, `12 s`, `3 min 20 s`, `2 h 05 min`, `3 d 04 h`. */
export function duration(seconds: number): string {
  if (!Number.isFinite(seconds)) return '?';
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  const s = Math.round(seconds);
  if (s < 60) return `${s} s`;
  const two = (value: number): string => String(value).padStart(2, '0');
  if (s < 3600) return `${Math.floor(s / 60)} min ${two(s % 60)} s`;
  const minutes = Math.round(s / 60);
  if (minutes < 24 * 60) return `${Math.floor(minutes / 60)} h ${two(minutes % 60)} min`;
  const hours = Math.round(minutes / 60);
  return `${Math.floor(hours / 24)} d ${two(hours % 24)} h`;
}

/** A number with four significant digits: a loss. */
export const significant = (value: number): string =>
  value !== 0 && (Math.abs(value) >= 1e4 || Math.abs(value) < 1e-3) ? value.toExponential(3) : value.toPrecision(4);

/** `1 image`, `5,000 images`. */
export const plural = (count: number, noun: string): string => `${integer(count)} ${noun}${count === 1 ? '' : 's'}`;

/** An error as a network's loss counts it: wrong answers in percent, or for an autoencoder a mean square. */
export const errorFormat = ({ loss }: Pick<ResolvedSpec, 'loss'>): ((error: number) => string) =>
  loss === 'reconstruction' ? significant : percent;
