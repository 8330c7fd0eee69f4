import t from 'tap';
import { FormatError } from '../../lib/checkpoint/format-error.js';
import { readPickle, type PickleEnvironment } from '../../lib/checkpoint/pickle.js';
import { MAX_DEPTH } from '../../lib/checkpoint/pickle-instructions.js';
import { writePickle } from '../../lib/checkpoint/pickle-writer.js';
import { type TensorView } from '../../lib/checkpoint/storages.js';
import { storageReference, torchGlobals } from '../../lib/checkpoint/torch-globals.js';
import { contiguousStrides, tensorDataFrom, type TensorData } from '../../lib/checkpoint/tensor-data.js';
import { OrderedDict, PyFloat, toPlain, Tuple, type CheckpointValue } from '../../lib/checkpoint/value.js';
import { tensor } from '../support/pickles.js';

const noStorage = (): never => {
  throw new Error('no tensors here');
};
const write = (value: unknown): Uint8Array => writePickle(value, noStorage);

const views: TensorView[] = [];
const globals = torchGlobals((view) => {
  views.push(view);
  return { dtype: view.dtype, shape: view.shape, data: new Uint8Array(0) } satisfies TensorData;
});
const torch: PickleEnvironment = {
  global: (module, name) => globals.get(`${module}.${name}`),
  persistent: storageReference,
};
const read = (bytes: Uint8Array): CheckpointValue => readPickle(bytes, torch);

/** A pickle from text and bytes: `pickle('c', 'os\nsystem\n')`. */
const pickle = (...parts: (string | number[] | Uint8Array)[]): Buffer =>
  Buffer.concat([
    Buffer.from([0x80, 2]),
    ...parts.map((part) => Buffer.from(part as string, 'latin1')),
    Buffer.from('.'),
  ]);

t.test('values come back as they were', async (t) => {
  const values: CheckpointValue[] = [
    ...[null, true, false, '', 'text', 'ünïcödé ✓ 🧠', 'x'.repeat(300)],
    ...[0, 1, 255, 256, 65535, 65536, 2 ** 31 - 1, 2 ** 31, -1, -128, -129, -(2 ** 31), -(2 ** 31) - 1],
    ...[Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER, 0.5, -0.1, 1e300, 5e-324, Infinity, -Infinity, NaN],
    ...[2n ** 53n, -(2n ** 63n), 2n ** 63n, 2n ** 64n - 1n, 2n ** 2000n, -(2n ** 2000n)],
    [],
    [1, [2, [3]]],
    Tuple.of(),
    Tuple.of<CheckpointValue>(1, 'two', [3]),
    new Map(),
    new Map<number | string | boolean | null | bigint, CheckpointValue>([
      [1, 'int'],
      ['1', 'text'],
      [null, 0],
      [true, 1],
      [2n ** 70n, 2],
      [0.5, 3],
    ]),
    new OrderedDict<CheckpointValue>([
      ['b', 1],
      ['a', new OrderedDict()],
    ]),
    new Map<string, CheckpointValue>([
      ['__proto__', 1],
      ['constructor', 2],
    ]),
  ];
  for (const value of values) t.strictSame(read(write(value)), value);
  t.ok(Object.is(read(write(-0)), -0));
  const many = Array.from({ length: 70_000 }, (_, i) => `${i}`);
  // The second time they come from the memo.
  const twice = [...many, ...many];
  t.equal(JSON.stringify(read(write(twice))), JSON.stringify(twice), 'more strings than one-byte memo indices');
});

t.test('forms that are read as another', async (t) => {
  t.strictSame(
    read(write({ a: 1, b: { c: [] } })),
    new Map<string, CheckpointValue>([
      ['a', 1],
      ['b', new Map([['c', []]])],
    ]),
  );
  t.equal(read(write(new PyFloat(1))), 1);
  t.equal(read(write(5n)), 5);
  const metadata = new OrderedDict();
  metadata.attributes.set('_metadata', new Map([['version', 1]]));
  const back = read(write(metadata)) as OrderedDict;
  t.ok(back instanceof OrderedDict);
  t.strictSame(back.attributes, metadata.attributes);
  t.ok(read(write(Tuple.of(1))) instanceof Tuple);
  t.notOk(read(write([1])) instanceof Tuple);
});

t.test('ints and floats are written as Python means them', async (t) => {
  const hex = (value: unknown): string => Buffer.from(write(value)).subarray(2, -1).toString('hex');
  t.equal(hex(7), '4b07', 'BININT1');
  t.equal(hex(300), '4d2c01', 'BININT2');
  t.equal(hex(-1), '4affffffff', 'BININT');
  t.equal(hex(2 ** 31), '8a050000008000', 'LONG1 with a byte for the sign');
  t.equal(hex(-(2n ** 63n)), '8a080000000000000080', 'LONG1, as short as it can be');
  t.equal(hex(0.5), '473fe0000000000000', 'BINFLOAT');
  t.equal(hex(new PyFloat(1)), '473ff0000000000000');
  t.equal(hex(1e20).slice(0, 2), '47', 'beyond 2^53 a number is a float');
  t.equal(hex(-0), '478000000000000000');
});

t.test('tuples are arrays', async (t) => {
  const tuple = Tuple.of(3, 4);
  t.ok(Array.isArray(tuple));
  t.strictSame(
    tuple.map((x) => x + 1),
    [4, 5],
  );
  t.equal(tuple.map((x) => x).constructor, Array);
  t.equal(JSON.stringify({ tuple, f: new PyFloat(2) }), '{"tuple":[3,4],"f":2}');
});

t.test('toPlain', async (t) => {
  const value = read(write({ a: [1, Tuple.of(2)], b: { c: null, d: 'x' }, ['__proto__']: 3 }));
  const plain = toPlain(value) as Record<string, unknown>;
  t.strictSame(JSON.stringify(plain), '{"a":[1,[2]],"b":{"c":null,"d":"x"},"__proto__":3}');
  t.equal(Object.getPrototypeOf(plain), Object.prototype);
  t.strictSame(toPlain({ f: new PyFloat(1) }), { f: 1 });
  const unsupported = { code: 'ERR_CHECKPOINT_UNSUPPORTED' };
  t.throws(() => toPlain({ a: [2n ** 60n] }, 'config'), { ...unsupported, message: /`config\.a\[0\]`/ });
  t.throws(() => toPlain(new Map([[1, 2]])), { ...unsupported, message: /the key 1/ });
  t.throws(() => toPlain({ w: tensorDataFrom(Float32Array.of(1)) }), { ...unsupported, message: /a tensor/ });
});

t.test('what cannot be written is refused with its place', async (t) => {
  const refuses = (value: unknown, message: RegExp): void => {
    t.throws(() => write(value), { code: 'ERR_INVALID_ARGUMENT', message });
  };
  refuses({ a: { b: undefined } }, /for `value\.a\.b` but received undefined/);
  refuses([1, () => 1], /for `value\[1\]`/);
  refuses(new Map([[{}, 1]]), /a key of value/);
  refuses(new Set([1]), /received a Set/);
  refuses(new Date(), /received a Date/);
  refuses('\ud800', /lone surrogates/);
  refuses(2n ** 2040n, /255 bytes/);
  refuses(new Float32Array(1), /Float32Array/);
  const circle: unknown[] = [];
  circle.push(circle);
  refuses(circle, /not in a circle/);
});

t.test('what a tensor becomes', async (t) => {
  views.length = 0;
  const bytes = writePickle(
    {
      w: tensorDataFrom(Float32Array.of(1, 2, 3, 4, 5, 6), [2, 3]),
      u: tensorDataFrom(Uint16Array.of(1)),
      s: tensorDataFrom(Float32Array.of(1), []),
    },
    ({ dtype, data }) =>
      dtype === 'uint16'
        ? { type: ['torch.storage', 'UntypedStorage'], key: '1', elements: 2, dtype }
        : { type: ['torch', 'FloatStorage'], key: '0', elements: data.length / 4 },
  );
  read(bytes);
  t.match(views, [
    { storage: { key: '0', elements: 6 }, dtype: 'float32', offset: 0, shape: [2, 3], strides: [3, 1] },
    { storage: { key: '1', elements: 2, dtype: undefined }, dtype: 'uint16', shape: [1], strides: [1] },
    { dtype: 'float32', shape: [], strides: [] },
  ]);
  t.strictSame(contiguousStrides([2, 0, 3]), [3, 3, 1]);
});

const refuses = (what: string, bytes: Uint8Array, kind: 'corrupt' | 'unsupported', message: RegExp): void => {
  t.test(what, async (t) => {
    t.throws(() => read(bytes), { kind, message });
  });
};

refuses(
  'os.system is refused by name',
  pickle('cos\nsystem\n', 'X\x02\0\0\0id', [0x85], 'R'),
  'unsupported',
  /os\.system.*no code/,
);
refuses('and so is everything else', pickle('c__builtin__\neval\n)R'), 'unsupported', /__builtin__\.eval/);
refuses('also a name that an object has', pickle('ctoString\nconstructor\n)R'), 'unsupported', /toString\.constructor/);
refuses(
  'a class by a name with a dot',
  pickle('ctorch\n_utils._rebuild_tensor_v2.__globals__\n)R'),
  'unsupported',
  /__globals__/,
);
refuses('calling what is no function', pickle('K\x01)R'), 'corrupt', /calls what cannot be called/);
refuses('calling a dtype', pickle('ctorch\nfloat32\n)R'), 'unsupported', /calls .* torch\.float32/);
refuses('calling without a tuple', pickle('ccollections\nOrderedDict\n]R'), 'corrupt', /calls what cannot be called/);
refuses(
  'a storage as a value',
  pickle('(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x01tQ'),
  'unsupported',
  /StorageReference/,
);
refuses('a persistent id that is no storage', pickle('X\x03\0\0\0abcQ'), 'corrupt', /is no storage/);
refuses('an instruction that is not known', pickle('\x82'), 'corrupt', /unknown instruction 0x82 at byte 2/);
refuses('protocol 6', Buffer.from([0x80, 6, 0x4e, 0x2e]), 'unsupported', /protocol 6/);
refuses('a list that holds itself', pickle(']q\0h\0a'), 'unsupported', /contains itself/);
refuses('a dict that holds itself', pickle('}q\0K\x01h\0s'), 'unsupported', /contains itself/);
refuses(
  'an attribute that holds its object',
  pickle('ccollections\nOrderedDict\n)Rq\0}X\x01\0\0\0ah\0sb'),
  'unsupported',
  /contains itself/,
);
refuses('attributes of a dict', pickle('}}b'), 'corrupt', /sets attributes/);
refuses('appending to a tuple', pickle(')K\x01a'), 'corrupt', /appends to no list/);
refuses('items of a list', pickle(']K\x01K\x02s'), 'corrupt', /items of no dict/);
refuses('an odd number of items', pickle('}(K\x01u'), 'corrupt', /items of no dict/);
refuses('a key that is a list', pickle('}]K\x02s'), 'unsupported', /keys are not strings or numbers/);
refuses('an empty stack', pickle(''), 'corrupt', /not there/);
refuses('a mark that is not there', pickle('t'), 'corrupt', /mark that is not there/);
refuses('a memo that is not there', pickle('h\x05'), 'corrupt', /value 5/);
refuses('two values', pickle('K\x01K\x02'), 'corrupt', /does not end where/);
refuses('an open mark', pickle('(K\x02'), 'corrupt', /does not end where/);
refuses('bytes behind the end', Buffer.concat([pickle('N'), Buffer.from('x')]), 'corrupt', /does not end where/);
refuses('a string of 4 GB', pickle('X\xff\xff\xff\xffabc'), 'corrupt', /ends too early/);
refuses('text that is not UTF-8', pickle('X\x01\0\0\0\xff'), 'corrupt', /not UTF-8/);
refuses('a name without end', pickle('c', 'x'.repeat(5000)), 'corrupt', /without end/);
refuses(
  'an OrderedDict of what are no pairs',
  pickle('ccollections\nOrderedDict\n]K\x01a', [0x85], 'R'),
  'corrupt',
  /made from what are no pairs/,
);

t.test('depth is bounded, and so is what shares', async (t) => {
  const nested = (depth: number): Buffer => pickle(']'.repeat(depth), 'a'.repeat(depth - 1));
  read(nested(MAX_DEPTH));
  t.throws(() => read(nested(MAX_DEPTH + 2)), { message: /nested more than/ });
  t.throws(() => read(nested(1_000_000)), { message: /more memory/ });
  // Chains through the memo: each list holds the one before it, met at depth 1 each time.
  const chain = Array.from({ length: 250 }, (_, i) =>
    i === 0 ? ']q\0' : `]q${String.fromCharCode(i)}h${String.fromCharCode(i - 1)}a`,
  );
  t.throws(() => read(pickle('(', ...chain, 't')), { message: /nested more than/ });
  // Ten lists of ten of the one before: 10^10 values in 600 bytes.
  const laughs = Array.from({ length: 10 }, (_, i) => {
    const inner = i === 0 ? 'N' : `h${String.fromCharCode(i - 1)}`;
    return `](${inner.repeat(10)}eq${String.fromCharCode(i)}`;
  });
  t.throws(() => read(pickle('(', ...laughs, 't')), { message: /contain one another too often/ });
  // The same list twice is fine, and it stays the same.
  const twice = read(pickle(']q\0h\0', [0x86])) as CheckpointValue[];
  t.equal(twice[0], twice[1]);
});

t.test('memory is bounded', async (t) => {
  const memo = Buffer.alloc(5 * 1_500_000);
  for (let i = 0; i < memo.length; i += 5) memo.writeUInt32LE(i, memo.writeUInt8(0x72, i));
  for (const [what, bytes] of [
    ['dicts', pickle('(', '}'.repeat(1_000_000), 't')],
    ['sets', pickle('(', '\x8f'.repeat(200_000), 't')],
    ['marks', pickle('('.repeat(1_000_000))],
    ['memo', pickle('N', memo)],
    ['tuples', pickle('N', '\x85'.repeat(1_000_000))],
    ['calls', pickle('ccollections\nOrderedDict\nq\0', 'h\0)R'.repeat(200_000))],
  ] as const) {
    t.throws(() => read(bytes), { constructor: FormatError, message: /more memory/ }, what);
  }
});

t.test('tensors that cannot be', async (t) => {
  const view = (offset: string, shape: string, strides: string, elements = 'K\x06'): Buffer =>
    pickle(tensor({ elements, offset, shape, strides }));
  const two60 = '\x8a\x08\0\0\0\0\0\0\0\x10';
  const two50 = '\x8a\x07\0\0\0\0\0\0\x04';
  read(view('K\0', 'K\x06\x85', 'K\x01\x85'));
  const refused = (what: string, bytes: Buffer, message: RegExp): void =>
    void t.throws(() => read(bytes), { constructor: FormatError, message }, what);
  refused('one element too many', view('K\0', 'K\x07\x85', 'K\x01\x85'), /does not fit its storage/);
  refused('an offset too large', view('K\x01', 'K\x06\x85', 'K\x01\x85'), /does not fit/);
  refused('a stride too large', view('K\0', 'K\x02\x85', 'K\x06\x85'), /does not fit/);
  refused('2^60 elements', view('K\0', `${two60}\x85`, 'K\x01\x85'), /integers of at least 0/);
  refused('2^50 elements', view('K\0', `${two50}\x85`, 'K\x01\x85'), /does not fit/);
  refused('2^50 × 2^50 elements', view('K\0', `${two50}${two50}\x86`, `${two50}K\x01\x86`), /does not fit/);
  refused('a negative size', view('K\0', 'J\xff\xff\xff\xff\x85', 'K\x01\x85'), /integers/);
  refused('a negative stride', view('K\x05', 'K\x06\x85', 'J\xff\xff\xff\xff\x85'), /integers/);
  refused('a negative offset', view('J\xff\xff\xff\xff', 'K\x01\x85', 'K\x01\x85'), /no sense/);
  refused('fewer strides than sizes', view('K\0', 'K\x01K\x01\x86', 'K\x01\x85'), /no sense/);
  refused('a shape that is a list', view('K\0', ']', ')'), /integers/);
  refused('a negative storage', view('K\0', ')', ')', 'J\xff\xff\xff\xff'), /no sense/);
  refused('65 dimensions', view('K\0', `(${'K\x01'.repeat(65)}t`, `(${'K\x01'.repeat(65)}t`), /no sense/);
});
