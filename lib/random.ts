/**
 * A small seeded generator for what is decided in TypeScript, such as which images are held out.
 * xoshiro128** by Blackman and Vigna (https://prng.di.unimi.it/xoshiro128starstar.c): the same seed gives
 * the same numbers on every machine. What happens in native code has a generator of its own (Philox).
 */

import { invalid, isCount, isInteger } from './errors.js';

/** A seeded stream of random integers. Not for cryptography. */
export class Random {
  readonly #state: Uint32Array;

  /** @param seed an integer from 0 to 2^53 − 1 */
  constructor(seed: number) {
    if (!isInteger(seed) || seed < 0) throw invalid('seed', 'an integer from 0 to 2^53 − 1', seed);
    // Neighbouring seeds must not give similar states, and the state must not be all zero: each word is
    // the seed put through a mixer (splitmix32: a Weyl sequence and MurmurHash3's finalizer).
    let x = (seed >>> 0) ^ Math.imul(Math.floor(seed / 2 ** 32), 0x85ebca6b);
    this.#state = Uint32Array.from({ length: 4 }, () => {
      x = (x + 0x9e3779b9) | 0;
      let z = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
      z = Math.imul(z ^ (z >>> 13), 0xc2b2ae35);
      return (z ^ (z >>> 16)) >>> 0;
    });
  }

  /** A generator in a given state of four 32-bit words, not all zero: for comparing with the reference. */
  static fromState(state: readonly [number, number, number, number]): Random {
    const random = new Random(0);
    random.#state.set(state);
    return random;
  }

  /** The next 32 random bits, as an integer from 0 to 2^32 − 1. */
  nextUint32(): number {
    const s = this.#state;
    const result = Math.imul(rotateLeft(Math.imul(s[1]!, 5), 7), 9) >>> 0;
    const t = s[1]! << 9;
    s[2]! ^= s[0]!;
    s[3]! ^= s[1]!;
    s[1]! ^= s[2]!;
    s[0]! ^= s[3]!;
    s[2]! ^= t;
    s[3] = rotateLeft(s[3]!, 11);
    return result;
  }

  /** A uniform integer from 0 to `bound` − 1; `bound` from 1 to 2^32. */
  nextBelow(bound: number): number {
    if (!isCount(bound) || bound > 2 ** 32) throw invalid('bound', 'an integer from 1 to 2^32', bound);
    // Draws beyond the last whole multiple of the bound are thrown away: a plain remainder favours small numbers.
    const limit = 2 ** 32 - (2 ** 32 % bound);
    let draw = this.nextUint32();
    while (draw >= limit) draw = this.nextUint32();
    return draw % bound;
  }

  /** Puts `items` in random order, in place (Fisher-Yates), and returns them. */
  shuffle<T extends { readonly length: number; [index: number]: unknown }>(items: T): T {
    for (let i = items.length - 1; i > 0; i--) {
      const j = this.nextBelow(i + 1);
      const item = items[i];
      items[i] = items[j];
      items[j] = item;
    }
    return items;
  }
}

function rotateLeft(x: number, k: number): number {
  return (x << k) | (x >>> (32 - k));
}
