/** Small helpers with numbers that the tests share. */
import { Random } from '../../lib/random.js';

export type Numbers = ArrayLike<number>;

/** Uniform in ±scale, the same for a seed. */
export function randomArray(length: number, seed: number, scale = 1): Float32Array {
  const random = new Random(seed);
  return Float32Array.from({ length }, () => (random.nextUint32() / 2 ** 31 - 1) * scale);
}

/** A flat row-major matrix as rows. */
export function rows(data: ArrayLike<number>, columns: number): number[][] {
  return Array.from({ length: columns === 0 ? 0 : data.length / columns }, (_, i) =>
    Array.from({ length: columns }, (_, j) => data[i * columns + j]!),
  );
}

/** The largest magnitude. */
export const largest = (values: Numbers): number =>
  Array.from(values).reduce((most, value) => Math.max(most, Math.abs(value)), 0);

/** How often each of the values 0 … kinds − 1 occurs. */
export function histogram(values: Iterable<number>, kinds: number): number[] {
  const counts = Array<number>(kinds).fill(0);
  for (const value of values) counts[value]!++;
  return counts;
}

/** Bit for bit. */
export const sameBits = <A extends Float32Array | Float64Array>(a: A, b: A): boolean =>
  Buffer.from(a.buffer, a.byteOffset, a.byteLength).equals(Buffer.from(b.buffer, b.byteOffset, b.byteLength));
