/** What `inspect --sums` and `convert` say of files from Python is what torch says, for every element type. */
import { join } from 'node:path';
import t from 'tap';
import { openCheckpoint } from '../../lib/checkpoint/checkpoint-file.js';
import { tensorsOf } from '../../lib/checkpoint/stored-values.js';
import { DTYPES, tensorDataFrom, type DType } from '../../lib/checkpoint/tensor-data.js';
import { tensorSum } from '../../lib/checkpoint/tensor-sum.js';
import { convert } from '../../lib/cli/convert.js';
import { runTorchPython, whyNoTorchPython } from '../support/python.js';

const folder = t.testdir();
const skip = whyNoTorchPython();

const SCRIPT = `
import json, sys, torch
torch.manual_seed(3)
tensors = {}
for name in sys.argv[2].split(','):
    d = getattr(torch, name)
    if d is torch.bool: x = torch.rand(24) > 0.4
    elif d.is_complex: x = torch.randn(24, dtype=torch.complex64).to(d)
    elif d.is_floating_point: x = (torch.randn(24) * 3).abs().to(d) if 'e8m0' in name else (torch.randn(24) * 3).to(d)
    else: x = torch.randint(0, 100, (24,)).to(d)
    tensors[name] = x.reshape(4, 6)
torch.save({'state_dict': tensors, 'epoch': 7}, sys.argv[1])
sums = {}
for name, x in tensors.items():
    wide = x.to(torch.complex128) if x.dtype.is_complex else x.to(torch.float64)
    total = wide.sum()
    sums[name] = [total.real.item(), total.imag.item()] if x.dtype.is_complex else total.item()
print(json.dumps(sums))
`;

// float4 has no conversion in torch, and quantized types are made otherwise.
const names = Object.keys(DTYPES).filter((name) => !name.startsWith('q') && !name.startsWith('float4'));

t.test('sums of every element type', { skip }, async (t) => {
  const file = join(folder, 'all.pt');
  const expected = JSON.parse(runTorchPython(SCRIPT, file, names.join(','))) as Record<string, number | number[]>;
  const opened = await openCheckpoint(file);
  const found = new Map(tensorsOf(opened.value));
  t.equal(found.size, names.length);
  for (const name of names) {
    const tensor = found.get(`state_dict.${name}`)!;
    t.equal(tensor.dtype, name);
    const sum = [tensorSum(await tensor.read())].flat().map(Number);
    for (const [i, value] of [expected[name]!].flat().entries())
      t.ok(Math.abs(sum[i]! - value) <= 1e-9 * Math.max(1, Math.abs(value)), `${name}: ${sum[i]} and ${value}`);
  }
  await opened.close();
});

t.test('sums of bit patterns, by the definitions of the types', async (t) => {
  const sums = (dtype: DType, ...values: (readonly [bytes: readonly number[], sum: number])[]): void => {
    for (const [bytes, sum] of values)
      t.strictSame(tensorSum({ dtype, shape: [1], data: Uint8Array.from(bytes) }), sum, `${dtype} ${bytes.join(' ')}`);
  };
  // The lowest bits alone are subnormal: multiples of the smallest number.
  sums('float16', [[1, 0], 2 ** -24], [[0xff, 3], 1023 * 2 ** -24], [[0, 4], 2 ** -14], [[0, 0x7c], Infinity]);
  sums('bfloat16', [[1, 0], 2 ** -133], [[0x80, 0], 2 ** -126], [[0x80, 0xff], -Infinity], [[0xc0, 0x7f], NaN]);
  sums('float8_e5m2', [[1], 2 ** -16], [[0x83], -3 * 2 ** -16], [[0x7b], 57344], [[0x7c], Infinity], [[0x7d], NaN]);
  // Without infinities: the pattern before that of NaN is the largest number.
  sums('float8_e4m3fn', [[1], 2 ** -9], [[0x7e], 448], [[0xfe], -448], [[0x7f], NaN], [[0xff], NaN]);
  sums('float8_e4m3fnuz', [[1], 2 ** -10], [[0x7f], 240], [[0x80], NaN]);
  sums('float8_e5m2fnuz', [[1], 2 ** -17], [[0x7f], 57344], [[0x80], NaN]);
  sums('float8_e8m0fnu', [[0], 2 ** -127], [[127], 1], [[255], NaN]);
  // Two in a byte, the first in its lower half: 0, ½, 1, 1½, 2, 3, 4, 6, and with the fourth bit the same below zero.
  sums(
    'float4_e2m1fn_x2',
    [[0x21], 0.5 + 1],
    [[0x07], 6],
    [[0x70], 6],
    [[0xf5], 3 - 6],
    [[0x3b, 0x46], -1.5 + 1.5 + 4 + 2],
  );
});

t.test('sums of integers are exact', async (t) => {
  const large = tensorDataFrom(BigInt64Array.of(2n ** 53n, 1n));
  t.equal(tensorSum(large), 2n ** 53n + 1n);
  t.equal(tensorSum(tensorDataFrom(BigUint64Array.of(2n ** 64n - 1n, 2n ** 64n - 1n))), 2n ** 65n - 2n);
  t.equal(tensorSum(tensorDataFrom(BigInt64Array.of(2n ** 60n, -(2n ** 60n), -3n))), -3, 'a number where it fits');
});

t.test('through safetensors and back, torch finds the same bits', { skip }, async (t) => {
  const [from, between, to] = ['kept.pt', 'kept.safetensors', 'back.pt'].map((name) => join(folder, name));
  const kept = names.filter((name) => !name.startsWith('complex') || name === 'complex64');
  const plain = kept.filter((name) => !/fnuz|e8m0/.test(name));
  runTorchPython(SCRIPT, from!, plain.join(','));
  t.equal(await convert({}, from, between), 0);
  t.equal(await convert({}, between, to), 0);
  const same = runTorchPython(
    `
import sys, torch
a = torch.load(sys.argv[1], weights_only=True)['state_dict']
b = torch.load(sys.argv[2], weights_only=True)
b = b.get('state_dict', b)
print(sorted(a) == sorted(b) and all(torch.equal(a[k].view(torch.uint8), b[k].view(torch.uint8)) and a[k].dtype == b[k].dtype and a[k].shape == b[k].shape for k in a))
`,
    from!,
    to!,
  );
  t.equal(same.trim(), 'True');
});
