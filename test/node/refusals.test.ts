/** What TypeScript refuses is refused by the native half too: no number of a script's may lead beyond an array. */
import t from 'tap';
import { call } from '../../lib/native.js';

const none = { cropPadding: 0, blackBorder: false, flipHorizontal: false, flipVertical: false };

t.test('data sets', async (t) => {
  const make = (images: Uint8Array, shape: number[], labels: bigint[], classes: number) =>
    call((n) => new n.DatasetHandle(images, shape, BigInt64Array.from(labels), 0, classes));
  t.throws(() => make(new Uint8Array(8), [2, 4], [0n, 3n], 3), { message: /label 3 of example 1/ });
  t.throws(() => make(new Uint8Array(8), [2, 4], [-1n, 0n], 3), { message: /label -1 of example 0/ });
  t.throws(() => make(new Uint8Array(7), [2, 4], [0n, 0n], 3), { message: /shape \[2, 4\]/ });
  t.throws(() => make(new Uint8Array(9), [2, 4], [0n, 0n], 3), { message: /shape \[2, 4\]/ });
  t.throws(() => make(new Uint8Array(8), [2, 4], [0n], 3), { message: /shape \[2\] holds 2 values/ });
  const images = make(new Uint8Array(24), [2, 1, 3, 4], [0n, 1n], 2);
  const batch = (cropPadding: number) => () => images.batch(BigInt64Array.of(0n), null, { ...none, cropPadding }, 1, 0);
  t.equal(batch(2)().length, 12);
  t.throws(batch(3), { message: /a border of 3/ }, 'as wide as the shorter side');
  t.throws(batch(-1), { message: /a border of -1 pixels/ });
  for (const index of [2n, 5000n, -1n, 2n ** 62n]) {
    const read = () => images.batch(BigInt64Array.of(0n, index), null, none, 1, 0);
    t.throws(read, { message: `no example ${index} of 2` });
    t.throws(() => images.subset(BigInt64Array.of(index)), { message: /out of (range|bounds)/ });
  }
  images.dispose();
  t.throws(batch(0), { code: 'ERR_DISPOSED' }, 'nothing is left of what was disposed of');
});

t.test('tensors', async (t) => {
  for (const values of [5, 7]) {
    t.throws(() => call((n) => new n.TensorHandle(new Float32Array(values), [2, 3])), { message: /shape \[2, 3\]/ });
  }
});

t.test('windows', async (t) => {
  const tensor = (shape: number[]) =>
    call((n) => new n.TensorHandle(new Float32Array(shape.reduce((a, b) => a * b, 1)), shape));
  const [x, weight] = [tensor([1, 1, 4, 4]), tensor([1, 1, 2, 2])];
  for (const padding of [
    [-1, 0],
    [0, -1],
    [-1, -1],
  ] as const) {
    t.throws(() => call((n) => n.tensor.conv2d(x, weight, undefined, [1, 1], padding, [1, 1])), {
      message: /not negative/,
    });
  }
  t.throws(() => call((n) => n.tensor.conv2d(x, weight, undefined, [1, 0], [0, 0], [1, 1])), { message: /stride/ });
});
