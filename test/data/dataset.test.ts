import t from 'tap';
import { Dataset } from '../../lib/index.js';

t.test('mistakes in arrays are named', async (t) => {
  const good = { images: new Uint8Array(12), labels: [0, 1, 2], shape: [4], classes: 3 };
  const refused = (change: object, message: RegExp): void => {
    t.throws(() => Dataset.fromArrays({ ...good, ...change }), {
      code: 'ERR_INVALID_ARGUMENT',
      message,
    });
  };
  refused({ labels: [0, 1] }, /3 images but 2 labels/);
  refused({ labels: [0, 1, 3] }, /labels\[2\] is 3, but the classes are 0 to 2/);
  refused({ labels: [0, -1, 1] }, /labels\[1\] is -1/);
  refused({ labels: [0, 0.5, 1] }, /labels\[1\] is 0\.5/);
  refused({ labels: 'abc' }, /`labels`/);
  refused({ images: new Uint8Array(13) }, /multiple of 4 values/);
  refused({ images: new Uint8Array(0), labels: [] }, /at least one example/);
  refused({ images: [1, 2, 3, 4] }, /Uint8Array or a Float32Array/);
  refused({ images: new Uint8Array(new SharedArrayBuffer(12)) }, /for `images` .*SharedArrayBuffer/);
  refused({ shape: [] }, /`shape`/);
  refused({ shape: [0] }, /`shape`/);
  refused({ classes: 0 }, /`classes`/);
  refused({ targets: new Float32Array(3) }, /not both/);
  refused({ labels: undefined }, /either `labels` or `targets`/);
  refused({ labels: undefined, targets: new Float32Array(4) }, /multiple of 3 values/);
  using dataset = Dataset.fromArrays(good);
  t.strictSame([dataset.size, dataset.shape, dataset.classes], [3, [4], 3]);
  t.throws(() => dataset.split(3, 1), { code: 'ERR_INVALID_ARGUMENT' });
  using values = Dataset.fromArrays({
    images: new Float32Array(4),
    targets: new Float32Array(2),
    shape: [2],
  });
  t.strictSame([values.size, values.classes, values.outputs], [2, null, 1]);
  t.throws(() => values.split(1, 1), { message: /real-valued targets/ });
  for (const labels of [Uint8Array.of(0, 1, 2), Int32Array.of(0, 1, 2), BigInt64Array.of(0n, 1n, 2n)]) {
    Dataset.fromArrays({ ...good, labels }).dispose();
  }
});
