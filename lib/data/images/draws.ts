/** Random numbers for one image of one epoch, the same in whatever order and by whomever the images are read. */

import { Random } from '../../random.js';

/** Below it are the images; this one is the order of an epoch. */
export const ORDER = 2 ** 32 - 1;

/** A generator of its own for each seed, epoch and image: its state is a hash of the three. */
export function randomFor(seed: number, epoch: number, index: number): Random {
  const words = [seed >>> 0, Math.floor(seed / 2 ** 32), epoch, index];
  const word = (k: number): number => words.reduce(mix, mix(0x9e3779b9, k)) >>> 0;
  return Random.fromState([word(0), word(1), word(2), word(3) | 1]); // never all zero
}

/** MurmurHash3's finalizer over a hash and one more word. */
function mix(hash: number, word: number): number {
  let z = Math.imul(hash ^ word, 0x9e3779b1) + 0x7f4a7c15;
  z = Math.imul(z ^ (z >>> 16), 0x85ebca6b);
  z = Math.imul(z ^ (z >>> 13), 0xc2b2ae35);
  return z ^ (z >>> 16);
}
