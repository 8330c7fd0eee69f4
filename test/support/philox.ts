/**
 * The project's random numbers from the definition of their generator: number i of stream s of seed k is a function of
 * these three alone (native/base/random.h), here in whole numbers of any size. The third and fourth word of a
 * counter name the stream: its purpose, and a layer or an epoch.
 */

/** native/base/purpose.h, which checkpoints and runs of earlier versions count on. */
export const PURPOSES = {
  ...{ weight: 1n, feedback: 2n, shuffle: 3n, inverse: 4n, auxiliary: 5n, noise: 6n, augmentation: 7n, magnitude: 8n },
};

const word = (value: bigint): bigint => value & 0xffffffffn;

/** Philox4x32-10 (Salmon et al., SC 2011). */
export function philox(counter: readonly bigint[], key: readonly bigint[]): bigint[] {
  let [a, b, c, d] = counter as [bigint, bigint, bigint, bigint];
  let [k0, k1] = key as [bigint, bigint];
  for (let round = 0; round < 10; round++) {
    const [p, q] = [a * 0xd2511f53n, c * 0xcd9e8d57n];
    [a, b, c, d] = [(q >> 32n) ^ b ^ k0, word(q), (p >> 32n) ^ d ^ k1, word(p)];
    k0 = word(k0 + 0x9e3779b9n);
    k1 = word(k1 + 0xbb67ae85n);
  }
  return [a, b, c, d];
}

/** A seed of 53 bits as the two words of a key. */
export const keyOf = (seed: number): bigint[] => [word(BigInt(seed)), BigInt(seed) >> 32n];

/**
 * Standard normal numbers 0, 1, … of a layer at a step: sixteen blocks make 64 of them, cosines and sines of the first
 * pair of words, then those of the second.
 */
export function normals(seed: number, layer: number, step: number, many: number): Float64Array {
  const result = new Float64Array(many);
  for (let block = 0; Math.floor(block / 16) * 64 < many; block++) {
    const words = philox([BigInt(block), BigInt(step), PURPOSES.noise, BigInt(layer)], keyOf(seed));
    for (const pair of [0, 1]) {
      const radius = Math.sqrt(-2 * Math.log(1 - toUniform(words[2 * pair]!)));
      const angle = 2 * Math.PI * toUniform(words[2 * pair + 1]!);
      const at = Math.floor(block / 16) * 64 + 32 * pair + (block % 16);
      if (at < many) result[at] = radius * Math.cos(angle);
      if (at + 16 < many) result[at + 16] = radius * Math.sin(angle);
    }
  }
  return result;
}

/** The order of a data set's examples in an epoch, counted from 0 (Fisher–Yates). */
export function permutation(seed: number, epoch: number, many: number): number[] {
  const order = Array.from({ length: many }, (_, i) => i);
  for (let i = many - 1; i > 0; i--) {
    const [high, low] = philox([BigInt(i), 0n, PURPOSES.shuffle, BigInt(epoch)], keyOf(seed)) as [bigint, bigint];
    const j = Number((((high << 32n) | low) * BigInt(i + 1)) >> 64n);
    [order[i], order[j]] = [order[j]!, order[i]!];
  }
  return order;
}

type Purpose = keyof typeof PURPOSES;

/** The four words of a block of a stream. */
export const blockOf = (seed: number, purpose: Purpose, index: number, counter: number): bigint[] =>
  philox([word(BigInt(counter)), BigInt(counter) >> 32n, PURPOSES[purpose], BigInt(index)], keyOf(seed));

/** Uniform in [0, 1), of 24 bits. */
export const toUniform = (bits: bigint): number => Number(bits >> 8n) / 2 ** 24;

/** The first numbers of a stream, uniform in [0, 1): four a block. */
export const uniforms = (seed: number, purpose: Purpose, index: number, many: number): number[] =>
  Array.from({ length: many }, (_, i) => toUniform(blockOf(seed, purpose, index, Math.floor(i / 4))[i % 4]!));

/** The first standard normal numbers of a stream: two a block, the cosines of Box and Muller. */
export const cosines = (seed: number, purpose: Purpose, index: number, many: number): number[] =>
  Array.from({ length: many }, (_, i) => {
    const words = blockOf(seed, purpose, index, Math.floor(i / 2)).slice(2 * (i % 2));
    return Math.sqrt(-2 * Math.log(1 - toUniform(words[0]!))) * Math.cos(2 * Math.PI * toUniform(words[1]!));
  });
