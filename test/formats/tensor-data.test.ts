import t from 'tap';
import {
  checkTensorData,
  DTYPES,
  elementCount,
  isTensorData,
  tensorDataFrom,
  typedArrayOf,
} from '../../lib/checkpoint/tensor-data.js';

t.test('typed arrays become tensors and come back, over the same memory', async (t) => {
  const arrays = [
    ['float32', Float32Array.of(1.5, -2)],
    ['float64', Float64Array.of(1.5, -2)],
    ['int8', Int8Array.of(1, -2)],
    ['int16', Int16Array.of(1, -2)],
    ['int32', Int32Array.of(1, -2)],
    ['int64', BigInt64Array.of(1n, -2n)],
    ['uint8', Uint8Array.of(1, 255)],
    ['uint16', Uint16Array.of(1, 65535)],
    ['uint32', Uint32Array.of(1, 2 ** 32 - 1)],
    ['uint64', BigUint64Array.of(1n, 2n ** 64n - 1n)],
  ] as const;
  for (const [dtype, array] of arrays) {
    const tensor = tensorDataFrom(array, [2, 1]);
    t.equal(tensor.dtype, dtype);
    t.equal(tensor.data.buffer, array.buffer);
    t.equal(tensor.data.length, 2 * DTYPES[dtype].bytes);
    const back = typedArrayOf(tensor);
    t.strictSame(back, array);
    t.equal(back.buffer, array.buffer);
  }
  t.strictSame(tensorDataFrom(Float32Array.of(1)).shape, [1]);
  t.strictSame([...tensorDataFrom(Uint16Array.of(258), []).data], [2, 1], 'little-endian');
});

t.test('a part of an array, and bytes that are not aligned', async (t) => {
  const part = Float32Array.of(1, 2, 3, 4).subarray(1, 3);
  t.strictSame(typedArrayOf(tensorDataFrom(part)), Float32Array.of(2, 3));
  const bytes = new Uint8Array(9);
  bytes.set(tensorDataFrom(Float32Array.of(5, 6)).data, 1);
  t.strictSame(typedArrayOf({ dtype: 'float32', shape: [2], data: bytes.subarray(1) }), Float32Array.of(5, 6));
  const buffer = Buffer.from(bytes.buffer, 1, 8);
  t.strictSame(typedArrayOf({ dtype: 'float32', shape: [2], data: buffer }), Float32Array.of(5, 6), 'a Buffer too');
  t.strictSame(typedArrayOf({ dtype: 'bool', shape: [2], data: Uint8Array.of(1, 0) }), Uint8Array.of(1, 0));
});

t.test('what does not fit is refused', async (t) => {
  t.throws(() => tensorDataFrom(Float32Array.of(1, 2), [3]), {
    code: 'ERR_INVALID_ARGUMENT',
    message: /expected 12 bytes \(float32 of shape \[3\]\) for `tensor.data` but received Uint8Array\(8\)/,
  });
  t.throws(() => tensorDataFrom([1, 2] as never), { message: /a typed array/ });
  for (const shape of [[-1], [0.5], [NaN], ['2' as never]]) {
    t.throws(() => checkTensorData({ dtype: 'uint8', shape, data: new Uint8Array(2) }, 'w'), {
      message: /`w.shape`/,
    });
  }
  t.throws(() => typedArrayOf({ dtype: 'float16', shape: [1], data: new Uint8Array(2) }), {
    message: /for `tensor.dtype` but received "float16"/,
  });
});

t.test('sizes', async (t) => {
  t.equal(elementCount([]), 1);
  t.equal(elementCount([2, 3]), 6);
  t.equal(elementCount([2, 0]), 0);
  t.equal(elementCount([...Array<number>(64).fill(2 ** 53), 0]), 0);
  for (const [name, { bytes, storage }] of Object.entries(DTYPES)) {
    // The number in the name is of bits; of a complex number both parts are in it, and of packed ones there are two.
    const bits = name === 'bool' ? 8 : Number(/^[a-z]+(\d+)/.exec(name)![1]) * (name.endsWith('_x2') ? 2 : 1);
    t.equal(bytes, bits / 8, name);
    t.ok(storage === null || /^[A-Z][A-Za-z0-9]+Storage$/.test(storage), name);
  }
  t.ok(isTensorData({ dtype: 'bool', shape: [], data: new Uint8Array(1) }));
  t.notOk(isTensorData({ dtype: 'bool', shape: [], data: [1] }));
  t.notOk(isTensorData({ dtype: 'toString', shape: [], data: new Uint8Array(1) }));
});
