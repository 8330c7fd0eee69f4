import t from 'tap';
import { readMnist } from '../../lib/data/mnist.js';
import { holdOut } from '../../lib/data/split.js';
import { Random } from '../../lib/random.js';
import { histogram } from '../support/numbers.js';

/** Labels with so many images of each class, mixed. */
function labelsOf(sizes: number[], seed = 1): Uint8Array {
  return new Random(seed).shuffle(Uint8Array.from(sizes.flatMap((size, label) => Array<number>(size).fill(label))));
}
const counts = (labels: ArrayLike<number>, indices: Uint32Array, classes: number): number[] =>
  histogram(
    Array.from(indices, (index) => labels[index]!),
    classes,
  );

t.test('MNIST: 500 of each digit', async (t) => {
  const { labels } = (await readMnist()).train;
  const { train, validation } = holdOut(labels, 10, 5000, 1);
  t.strictSame(counts(labels, validation, 10), Array<number>(10).fill(500));
  t.equal(train.length, 55_000);
  const all = Uint32Array.of(...train.slice(0, 100));
  t.strictSame(all, all.toSorted(), 'ascending');
  t.equal(new Set([...train, ...validation]).size, 60_000, 'every image is in one of them, and once');
  t.strictSame(validation, validation.toSorted());
  t.strictSame(holdOut(labels, 10, 5000, 1).validation, validation, 'the same seed, the same split');
  const other = holdOut(labels, 10, 5000, 2).validation;
  const common = other.filter((index) => validation.includes(index)).length;
  t.ok(
    common > 300 && common < 550,
    `another seed: ${common} in common, where chance gives 5000 · 5000 / 60,000 = 417`,
  );
  // Which images: not the first ones, nor the last ones.
  const mean = validation.reduce((sum, index) => sum + index, 0) / 5000;
  t.ok(mean > 28_500 && mean < 31_500, `mean index ${mean}`);
});

t.test('the split is the same on every machine', async (t) => {
  t.strictSame(holdOut(labelsOf([10, 10]), 2, 6, 42).validation, Uint32Array.from([5, 6, 10, 11, 14, 16]));
});

t.test('what does not divide evenly goes to the largest classes', async (t) => {
  const quota = (sizes: number[], count: number): number[] => {
    const labels = labelsOf(sizes);
    const { train, validation } = holdOut(labels, sizes.length, count, 3);
    t.equal(train.length, labels.length - count);
    return counts(labels, validation, sizes.length);
  };
  t.strictSame(quota([10, 10, 10], 7), [3, 2, 2], 'of equally large classes, to the first');
  t.strictSame(quota([10, 12, 11], 8), [2, 3, 3]);
  t.strictSame(quota([100, 2, 100], 31), [15, 1, 15], 'a small class keeps one, the others give more');
  t.strictSame(quota([100, 2, 50], 120), [70, 1, 49]);
  t.strictSame(quota([5, 1, 0, 5], 4), [2, 0, 0, 2], 'a class with one image or none gives none');
  t.strictSame(quota([5, 5], 0), [0, 0]);
  t.strictSame(quota([5, 3], 6), [4, 2], 'all but one of each');
});

t.test('what is refused', async (t) => {
  const labels = labelsOf([5, 3]);
  t.throws(() => holdOut(labels, 2, 7, 1), {
    code: 'ERR_INVALID_ARGUMENT',
    message: /cannot hold out 7 images .* the training set has 8, .* hold out at most 6 \(--validation 6\)/,
  });
  t.throws(() => holdOut(labels, 1, 1, 1), {
    message: /expected an integer from 0 to 0 for `labels\[\d\]` but received 1/,
  });
  t.throws(() => holdOut(labels, 2, -1, 1), { code: 'ERR_INVALID_ARGUMENT', message: /`count`/ });
  t.throws(() => holdOut(labels, 2, 1.5, 1), { message: /`count`/ });
  t.throws(() => holdOut(labels, 0, 1, 1), { message: /`classes`/ });
  t.throws(() => holdOut(labels, 2, 1, -1), { message: /`seed`/ });
  t.throws(() => holdOut(new Uint8Array(0), 2, 1, 1), { message: /at most 0/ });
});

t.test('Random is xoshiro128**', async (t) => {
  // From the authors' C code with the state 1, 2, 3, 4.
  const random = Random.fromState([1, 2, 3, 4]);
  const expected = [
    11520, 0, 5927040, 70819200, 2031721883, 1637235492, 1287239034, 3734860849, 3729100597, 4258142804,
  ];
  t.strictSame(
    expected.map(() => random.nextUint32()),
    expected,
  );
});

t.test('Random: seeds and ranges', async (t) => {
  const first = (seed: number): number => new Random(seed).nextUint32();
  const seeds = [0, 1, 2, 3, 2 ** 31, 2 ** 32, 2 ** 32 + 1, 2 ** 53 - 1];
  t.equal(new Set(seeds.map(first)).size, seeds.length, 'different seeds differ');
  t.equal(first(7), first(7));
  const random = new Random(1);
  const draws = Array.from({ length: 60_000 }, () => random.nextBelow(6));
  // Five degrees of freedom: chi-squared stays below 20.5 with a probability of 99.9 %.
  const chi2 = histogram(draws, 6).reduce((sum, n) => sum + (n - 10_000) ** 2 / 10_000, 0);
  t.ok(chi2 < 20.5, `chi-squared ${chi2}`);
  // A plain remainder by 3 · 2^30 would give the lowest third half of the draws.
  const low = Array.from({ length: 3000 }, () => random.nextBelow(3 * 2 ** 30)).filter((n) => n < 2 ** 30).length;
  t.ok(low > 880 && low < 1120, `${low} of 3000 in the lowest third`);
  t.equal(random.nextBelow(1), 0);
  t.ok(random.nextBelow(2 ** 32) < 2 ** 32);
  t.throws(() => random.nextBelow(0), { code: 'ERR_INVALID_ARGUMENT' });
  t.throws(() => new Random(0.5), { code: 'ERR_INVALID_ARGUMENT' });
  const places = Array.from({ length: 4 }, () => Array<number>(4).fill(0));
  for (let i = 0; i < 8000; i++) random.shuffle([0, 1, 2, 3]).forEach((item, at) => places[at]![item]!++);
  t.ok(
    places.flat().every((n) => n > 1800 && n < 2200),
    'a shuffle brings everything everywhere',
  );
});
