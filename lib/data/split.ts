/** Holding out a validation set from a training set. */

import { CortorchError, invalid, isCount, isInteger } from '../errors.js';
import { Random } from '../random.js';

/** Which images train and which validate: indices into the full training set, ascending. */
export interface Split {
  readonly train: Uint32Array;
  readonly validation: Uint32Array;
}

/**
 * Chooses `count` images for validation: seeded and class-balanced.
 *
 * Every class gives equally many images, as far as it has them; at least one image of each class stays for
 * training, and what a small class cannot give is asked of the others in equal shares. What does not divide
 * evenly goes, one image each, to the classes with the most images, as proportion would have it (of equally
 * large classes, to those with the smaller number). Which images of a class are taken depends on the seed alone.
 *
 * @param labels class of each training image, integers from 0 to `classes` − 1
 * @param classes number of classes
 * @param count images to hold out; 0 holds out none
 * @param seed an integer from 0 to 2^53 − 1
 * @throws CortorchError ERR_INVALID_ARGUMENT if `count` is more than can be held out, or a label is out of range
 */
export function holdOut(labels: ArrayLike<number>, classes: number, count: number, seed: number): Split {
  if (!isCount(classes)) throw invalid('classes', 'a count of at least 1', classes);
  if (!isInteger(count) || count < 0) throw invalid('count', 'an integer of at least 0', count);
  const random = new Random(seed);

  const members: number[][] = Array.from({ length: classes }, () => []);
  for (let i = 0; i < labels.length; i++) {
    const images = members[labels[i]!];
    if (images === undefined) {
      throw invalid(`labels[${i}]`, `an integer from 0 to ${classes - 1}`, labels[i]);
    }
    images.push(i);
  }

  const quotas = shares(
    members.map((images) => images.length),
    count,
  );
  const held = new Uint8Array(labels.length);
  for (const [label, images] of members.entries()) {
    random.shuffle(images);
    for (const index of images.slice(0, quotas[label])) held[index] = 1;
  }

  const train = new Uint32Array(labels.length - count);
  const validation = new Uint32Array(count);
  let t = 0;
  let v = 0;
  for (let i = 0; i < labels.length; i++) {
    if (held[i] === 1) validation[v++] = i;
    else train[t++] = i;
  }
  return { train, validation };
}

/** How many images each class gives. */
function shares(sizes: readonly number[], count: number): number[] {
  const capacity = sizes.map((size) => Math.max(0, size - 1));
  const most = capacity.reduce((sum, n) => sum + n, 0);
  if (count > most) {
    throw new CortorchError(
      'ERR_INVALID_ARGUMENT',
      `cannot hold out ${count} images for validation: the training set has ${sizes.reduce((a, b) => a + b, 0)}, ` +
        `and one of each class must stay to train on; hold out at most ${most} (--validation ${most})`,
    );
  }
  const quotas = sizes.map(() => 0);
  let left = count;
  while (left > 0) {
    const open = [...capacity.keys()]
      .filter((label) => quotas[label]! < capacity[label]!)
      .sort((a, b) => sizes[b]! - sizes[a]! || a - b);
    const each = Math.floor(left / open.length);
    // With less than one image for each, the first classes in the order above give one.
    const givers = each > 0 ? open : open.slice(0, left);
    for (const label of givers) {
      const share = Math.min(Math.max(each, 1), capacity[label]! - quotas[label]!);
      quotas[label]! += share;
      left -= share;
    }
  }
  return quotas;
}
