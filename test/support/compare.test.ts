import t, { Test } from 'tap';
import { agrees, differs, largestDifference, relativeError } from './compare.js';

t.test('relative errors are relative, whatever the size', async (t) => {
  t.equal(relativeError([1, 2, 3], [1, 2, 3]), 0);
  t.equal(relativeError([1, 2, 5], [1, 2, 4]), 0.25);
  t.equal(relativeError([1.25e-9], [1e-9]).toFixed(9), '0.250000000', 'below 1 too');
  t.equal(relativeError([3e9, 0], [4e9, 1e9]), 0.25, 'the largest difference over the largest value');
  t.equal(relativeError([-1, 2], [1, 2]), 1);
  t.equal(relativeError(new Float32Array([1, 0]), new Float64Array([2, 1])), 0.5);
});

t.test('zeros are as far from anything as can be', async (t) => {
  t.equal(relativeError([0, 0], [0, 0]), 0);
  t.equal(relativeError([0, -0], [0, 0]), 0);
  t.equal(relativeError([0, 1e-30], [0, 0]), Infinity);
  t.equal(relativeError([0, 1e-3], [0, 0], 0.1), 0.01, 'but for a stated floor');
  t.equal(relativeError([0, 3], [0, 2], 0.1), 0.5, 'which larger values do not see');
});

t.test('what is no number is infinitely far, on either side and at any place', async (t) => {
  const good = [1, 2, 3];
  for (const wrong of [NaN, Infinity, -Infinity, undefined as unknown as number]) {
    for (const place of [0, 1, 2]) {
      const bad = good.with(place, wrong);
      for (const distance of [relativeError, largestDifference]) {
        t.equal(distance(bad, good), Infinity);
        t.equal(distance(good, bad), Infinity);
        t.equal(distance(bad, bad), Infinity, 'nor is it near itself');
      }
    }
  }
  t.equal(relativeError([5, NaN, 3], good), Infinity, 'also behind a difference');
});

t.test('and so is another length', async (t) => {
  for (const other of [[], [1], [1, 2, 3, 4]]) {
    t.equal(relativeError([1, 2, 3], other), Infinity);
    t.equal(relativeError(other, [1, 2, 3]), Infinity);
    t.equal(largestDifference(other, [1, 2, 3]), Infinity);
  }
});

t.test('assertions', async (t) => {
  const outcome = (check: (t: Test) => boolean): boolean => {
    let passed = false;
    check({ ok: (value: boolean) => (passed = value) } as unknown as Test);
    return passed;
  };
  const agree = (a: number[], b: number[]): boolean => outcome((t) => agrees(t, a, b, 0.1, 'numbers'));
  t.equal(agree([1, 2.1], [1, 2]), true);
  t.equal(agree([1, 2.3], [1, 2]), false);
  t.equal(agree([1e-9], [2e-9]), false);
  t.equal(agree([NaN], [1]), false);
  t.equal(agree([], []), false, 'nothing was compared');
  t.equal(agree([0, 0], [0, 0]), false, 'zeros alone show nothing');

  const differ = (a: number[], b: number[]): boolean => outcome((t) => differs(t, a, b, 0.1, 'numbers'));
  t.equal(differ([1, 2.3], [1, 2]), true);
  t.equal(differ([1, 2.1], [1, 2]), false);
  t.equal(differ([NaN, 2], [1, 2]), false, 'a NaN is no other number');
  t.equal(differ([1, 2, 3], [1, 2]), false);
});
