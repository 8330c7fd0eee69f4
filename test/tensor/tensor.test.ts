import t from 'tap';
import { CortorchError, liveTensors, scope, Tensor } from '../../lib/index.js';
import { gc } from '../support/gc.js';

t.test('typed arrays in and out, every dtype, with their shapes', async (t) => {
  for (const data of [
    Float32Array.of(1.5, -2, 3, 4, 5, 6),
    Float64Array.of(1.1, -2, 3, 4, 5, 6),
    Uint8Array.of(0, 1, 2, 3, 254, 255),
    Int32Array.of(-1, 0, 1, 2 ** 31 - 1, 4, 5),
    BigInt64Array.of(-(2n ** 63n), 0n, 1n, 2n ** 62n, 4n, 5n),
  ]) {
    using tensor = Tensor.from(data, [2, 3]);
    t.strictSame(tensor.shape, [2, 3]);
    t.strictSame(tensor.data(), data);
    t.equal(tensor.device, 'cpu');
  }
  using copy = Tensor.from(new Float32Array(2));
  copy.data()[0] = 7;
  t.equal(copy.data()[0], 0, 'data() is a copy');
  const source = Float32Array.of(1);
  using taken = Tensor.from(source);
  source[0] = 2;
  t.equal(taken.item(), 1, 'from() copies');
});

t.test('on a device', async (t) => {
  using a = Tensor.from([1, 2]);
  using there = a.on('cpu');
  t.strictSame([there.device, there.data()], ['cpu', Float32Array.of(1, 2)]);
  t.throws(() => a.on('gpu'), { code: 'ERR_INVALID_ARGUMENT', message: /device/ });
  t.throws(() => a.on('cuda:99'), { code: 'ERR_DEVICE_UNAVAILABLE', message: /cuda:99 is not available/ });
});

t.test('a view of a larger buffer, nested arrays, a scalar, nothing at all', async (t) => {
  using view = Tensor.from(new Float32Array([9, 1, 2, 9]).subarray(1, 3));
  t.strictSame(view.data(), Float32Array.of(1, 2));
  using nested = Tensor.from([
    [1, 2, 3],
    [4, 5, 6],
  ]);
  t.strictSame(nested.shape, [2, 3]);
  using scalar = Tensor.from(3);
  t.strictSame([scalar.shape, scalar.item()], [[], 3]);
  using empty = Tensor.from(new Float32Array(0), [0, 4]);
  t.strictSame([empty.shape, empty.data().length], [[0, 4], 0]);
});

t.test('arithmetic and gradients', async (t) => {
  using x = Tensor.from([
    [1, -2],
    [3, 4],
  ]);
  x.requiresGrad = true;
  using y = x.mul(x).add(x.mul(3)).sub(1).div(2).sum();
  t.equal(y.item(), (1 + 3 + 4 - 6 + 9 + 9 + 16 + 12 - 4) / 2);
  y.backward();
  using grad = x.grad!;
  t.strictSame(grad.data(), Float32Array.of(2.5, -0.5, 4.5, 5.5), '(2x + 3) / 2');
  x.clearGrad();
  t.equal(x.grad, null);
  using product = x.matmul(x.transpose());
  t.strictSame(product.data(), Float32Array.of(5, -5, -5, 25));
  using flat = x.reshape([-1]);
  t.strictSame(flat.shape, [4]);
  using p = x.softmax(1);
  t.ok(Math.abs(p.sum().item() - 2) < 1e-6);
  t.strictSame(x.softmax().data(), p.data(), 'of each example by default');
  using best = x.argmax(1);
  t.strictSame(best.data(), BigInt64Array.of(0n, 1n));
  using means = x.mean(1);
  t.strictSame(means.data(), Float32Array.of(-0.5, 3.5));
  using all = x.mean();
  t.equal(all.item(), 1.5);
  using powers = x.exp();
  t.ok(powers.data().every((value, i) => Math.abs(Number(value) / Math.exp([1, -2, 3, 4][i]!) - 1) < 1e-6));
  using back = powers.log();
  t.ok(back.data().every((value, i) => Math.abs(Number(value) - [1, -2, 3, 4][i]!) < 1e-6));
  using negative = x.neg();
  t.strictSame(negative.data(), Float32Array.of(-1, 2, -3, -4));
  using wide = x.to('float64');
  t.equal(wide.dtype, 'float64');
  using copy = Tensor.from([1]).to('float32');
  copy.requiresGrad = true;
  using whole = Tensor.from(Int32Array.of(1, 2));
  using half = whole.add(0.5);
  t.strictSame(half.data(), Float32Array.of(1.5, 2.5), 'a number is not cut to the tensor’s dtype');
});

t.test('mistakes are named', async (t) => {
  t.throws(() => Tensor.from(new Float32Array(5), [2, 3]), {
    code: 'ERR_INVALID_ARGUMENT',
    message: /holds the array's 5 values.*holds 6/,
  });
  t.throws(() => Tensor.from([[1, 2], [3]]), { message: /equal lengths/ });
  t.throws(() => Tensor.from(new Float32Array(1), [-1]), { message: /`shape`/ });
  t.throws(() => Tensor.from(new Int16Array(2) as never), {
    code: 'ERR_INVALID_ARGUMENT',
    message: /`data`/,
  });
  t.throws(() => Tensor.from(new Float32Array(new SharedArrayBuffer(8))), { message: /SharedArrayBuffer/ });
  t.throws(() => Tensor.from('no' as unknown as number), { message: /`data`/ });
  using a = Tensor.from([1, 2]);
  using b = Tensor.from([1, 2, 3]);
  t.throws(() => a.add(b), { code: 'ERR_NATIVE', message: /size of tensor a \(2\)/ });
  try {
    a.add(b);
  } catch (error) {
    t.ok(error instanceof CortorchError);
    t.notMatch((error as Error).message, /frame #/, 'no C++ backtrace');
    t.match((error as Error).stack, /tensor\.test\.ts/, 'a JavaScript stack');
  }
  t.throws(() => a.add({} as Tensor), { code: 'ERR_INVALID_ARGUMENT', message: /a Tensor for `other`/ });
  t.throws(() => a.backward(), { code: 'ERR_NATIVE' });
});

t.test('a handle of another class is refused', async (t) => {
  const { native } = await import('../../lib/native.js');
  const n = native();
  const dataset = new n.DatasetHandle(new Uint8Array(4), [1, 4], BigInt64Array.of(0n), 0, 1);
  t.throws(() => n.tensor.shape(dataset as never), { name: 'TypeError', message: /native tensor/ });
  t.throws(() => n.tensor.shape({} as never), { name: 'TypeError' });
  t.throws(() => n.tensor.shape(undefined as never), { name: 'TypeError' });
});

t.test('dispose, using and scope', async (t) => {
  const before = liveTensors();
  const a = Tensor.from([1, 2, 3]);
  a.dispose();
  a.dispose();
  t.throws(() => a.shape, { code: 'ERR_DISPOSED' });
  t.throws(() => a.add(1), { code: 'ERR_DISPOSED' });
  t.equal(liveTensors(), before);

  const kept = scope(() => {
    const x = Tensor.from([1, 2, 3]);
    const inner = scope(() => ({ y: x.mul(2), list: [x.add(1)], n: 4 }));
    return [inner.y, inner.list[0]!.add(0)] as const;
  });
  t.equal(liveTensors(), before + 2, 'only what was returned');
  t.strictSame(kept[0].data(), Float32Array.of(2, 4, 6));
  t.strictSame(kept[1].data(), Float32Array.of(2, 3, 4));
  for (const tensor of kept) tensor.dispose();
  t.throws(
    () =>
      scope(() => {
        Tensor.from([1]);
        throw new Error('inside');
      }),
    { message: 'inside' },
  );
  t.throws(() => scope(async () => Tensor.from([1])), { message: /synchronous/ });
  t.equal(liveTensors(), before);
});

t.test('the garbage collector frees what nobody disposed of', async (t) => {
  const { native } = await import('../../lib/native.js');
  const reported = (): number => native().tensor.externalMemory();
  const source = new Float32Array(250_000); // 1 MB
  for (let i = 0; i < 5; i++) {
    gc(); // what the tests above left
    await new Promise((resolve) => setImmediate(resolve));
  }
  const before = liveTensors();
  const external = reported();
  // Other memory outside the heap comes and goes meanwhile, but not tens of megabytes.
  const near = (bytes: number): boolean => Math.abs(reported() - external - bytes) < 5e6;
  (() => {
    const held = Array.from({ length: 50 }, () => Tensor.from(source));
    t.ok(near(50e6), 'V8 is told of the memory');
    for (const tensor of held.splice(0, 20)) tensor.dispose();
    t.ok(near(30e6), 'and told again');
  })();
  for (let i = 0; i < 20 && liveTensors() > before; i++) {
    gc();
    await new Promise((resolve) => setImmediate(resolve));
  }
  t.equal(liveTensors(), before);
  t.ok(near(0));
});
