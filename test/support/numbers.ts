/** Small helpers with numbers that the tests share. */
import { Random } from '../../lib/random.js';

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

/** The largest |a − b|, over the largest |b| (or 1 if that is smaller). */
export function relativeError(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) return Infinity;
  let difference = 0;
  let size = 1;
  for (let i = 0; i < b.length; i++) {
    if (!(Math.abs(a[i]! - b[i]!) <= difference)) difference = Math.abs(a[i]! - b[i]!);
    size = Math.max(size, Math.abs(b[i]!));
  }
  return difference / size;
}

/** Bit for bit. */
export const sameBits = (a: Float32Array, b: Float32Array): boolean =>
  Buffer.from(a.buffer, a.byteOffset, a.byteLength).equals(Buffer.from(b.buffer, b.byteOffset, b.byteLength));
