/**
 * Checkpoints by other writers, made here by hand: byte orders, numpy, old Pythons; and the format before 1.6, damaged.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { openCheckpoint } from '../../lib/checkpoint/checkpoint-file.js';
import { readPickle } from '../../lib/checkpoint/pickle.js';
import { tensorsOf } from '../../lib/checkpoint/stored-values.js';
import { tensorDataFrom, typedArrayOf, type TensorData } from '../../lib/checkpoint/tensor-data.js';
import { loadTorchFile, saveTorchFile } from '../../lib/checkpoint/torch-file.js';
import { storageReference, torchGlobals } from '../../lib/checkpoint/torch-globals.js';
import { OpaqueObject, OrderedDict, Tuple, type CheckpointValue } from '../../lib/checkpoint/value.js';
import { ZipReader, ZipWriter } from '../../lib/checkpoint/zip.js';
import { Random } from '../../lib/random.js';
import { gc } from '../support/gc.js';
import { int4, latin, legacyFile, tensor, text, torchArchive, zipArchive } from '../support/pickles.js';
import { readAll } from '../support/read-all.js';

const folder = t.testdir();

/** A file of the format before 1.6: one storage of floats, and a tensor that sees part of it. */
function legacy(littleEndian = true): Buffer {
  const window = `(${text('w')}K\x01K\x03t`;
  const storage = `(${text('storage')}ctorch\nFloatStorage\n${text('0')}${text('cuda:0')}K\x04`;
  const view = (id: string, offset: string): string =>
    `ctorch._utils\n_rebuild_tensor_v2\n(${id}Q${offset}K\x02\x85K\x01\x85\x89ccollections\nOrderedDict\n)RtR`;
  const values = `}(${text('all')}${view(`${storage}Nt`, 'K\0')}${text('part')}${view(`${storage}${window}t`, 'K\x01')}u`;
  const floats = Buffer.alloc(24);
  if (littleEndian) floats.writeBigInt64LE(4n);
  else floats.writeBigInt64BE(4n);
  for (let i = 0; i < 4; i++) {
    if (littleEndian) floats.writeFloatLE(i + 0.5, 8 + 4 * i);
    else floats.writeFloatBE(i + 0.5, 8 + 4 * i);
  }
  return legacyFile(values, [latin(`\x80\x02](${text('0')}e.`), floats], littleEndian);
}

for (const littleEndian of [true, false]) {
  t.test(`before 1.6, ${littleEndian ? 'little' : 'big'}-endian, with a window of a storage`, async (t) => {
    const file = join(folder, 'legacy.pth');
    writeFileSync(file, legacy(littleEndian));
    const whole = (await loadTorchFile(file)) as Map<string, TensorData>;
    t.strictSame([...typedArrayOf(whole.get('all')!)], [0.5, 1.5]);
    t.strictSame(
      [...typedArrayOf(whole.get('part')!)],
      [2.5, 3.5],
      'the second element of a window from the second on',
    );
    await using lazy = await openCheckpoint(file);
    t.equal(lazy.format, 'torch-legacy');
    const tensors = new Map(tensorsOf(lazy.value));
    t.strictSame([...typedArrayOf(await tensors.get('part')!.read())], [2.5, 3.5]);
  });
}

t.test('before 1.6: a window too far, a long pickle, more bytes than storages', async (t) => {
  const file = join(folder, 'other-legacy.pth');
  const code = 'ERR_CHECKPOINT_CORRUPT';
  // The window has the same three elements, and begins one later.
  const shifted = legacy().toString('latin1').replace('K\x01K\x03t', 'K\x02K\x03t');
  writeFileSync(file, Buffer.from(shifted, 'latin1'));
  await t.rejects(loadTorchFile(file), { code, message: /a window of a storage that makes no sense/ });
  writeFileSync(file, Buffer.concat([legacy(), Buffer.of(0)]));
  await t.rejects(loadTorchFile(file), { code, message: /goes on behind its last storage/ });
  // Nothing says how long the pickles are: these go on behind what is read of a file at first.
  const long = 'x'.repeat(3e5);
  writeFileSync(file, legacyFile(text(long), [latin('\x80\x02].')]));
  t.equal(await loadTorchFile(file), long);
});

t.test('copies of tensors are counted, each once', async (t) => {
  const file = join(folder, 'copies.pt');
  const elements = `J${int4(2 ** 20)}`;
  // 4 MiB, named sixteen times: where the order of the bytes is another, each time is a copy.
  const whole = tensor({ elements, shape: `${elements}\x85`, strides: 'K\x01\x85' });
  const pickle = latin('\x80\x02(', whole.repeat(16), 't.');
  for (const order of ['little', 'big']) {
    const entries = { 'data.pkl': pickle, byteorder: latin(order), 'data/0': Buffer.alloc(2 ** 22) };
    writeFileSync(file, zipArchive(Object.entries(entries).map(([name, data]) => [`archive/${name}`, data])));
    if (order === 'little') t.equal(((await loadTorchFile(file)) as CheckpointValue[]).length, 16);
    else await t.rejects(loadTorchFile(file), { code: 'ERR_CHECKPOINT_UNSUPPORTED', message: /far more memory/ });
  }
  // One float as 20 MiB of them, twice: one of them may be read again, the other is too much.
  const expanded = tensor({ elements: 'K\x01', shape: `J${int4(5 * 2 ** 20)}\x85`, strides: 'K\0\x85' });
  writeFileSync(file, torchArchive(latin('\x80\x02(', expanded, expanded, 't.'), Buffer.of(0, 0, 128, 63)));
  await using open = await openCheckpoint(file);
  const [first, second] = [...tensorsOf(open.value)].map(([, lazy]) => lazy);
  for (const time of ['once', 'and again']) t.equal((await first!.read()).data.length, 20 * 2 ** 20, time);
  await t.rejects(second!.read(), { code: 'ERR_CHECKPOINT_UNSUPPORTED', message: /far more memory/ });
});

t.test('a storage that is named with two sizes', async (t) => {
  const float = (elements: string, shape: string, strides: string): string => tensor({ elements, shape, strides });
  // The second would see 40 floats where there are 10, every second one.
  const values = `(${float('K\x0a', 'K\x0a\x85', 'K\x01\x85')}${float('K\x28', 'K\x14\x85', 'K\x02\x85')}t`;
  const file = join(folder, 'two-sizes.pt');
  writeFileSync(file, torchArchive(latin(`\x80\x02${values}.`), Buffer.alloc(40)));
  const refusal = { code: 'ERR_CHECKPOINT_CORRUPT', message: /two-sizes\.pt.*storage 0.*40 bytes, and 160/ };
  await t.rejects(loadTorchFile(file), refusal);
  await t.rejects(openCheckpoint(file), refusal);
  // The same in the older format.
  const older = legacy()
    .toString('latin1')
    .replace(/K\x04(?=\(X\x01\0\0\0w)/, 'K\x05');
  writeFileSync(file, Buffer.from(older, 'latin1'));
  await t.rejects(loadTorchFile(file), { message: /storage 0.*16 bytes, and 20/ });
});

t.test('classes made from dict and list keep their items', (t) => {
  const environment = { global: () => undefined, persistent: storageReference };
  const read = (pickle: string): OpaqueObject =>
    readPickle(latin('\x80\x02', pickle, '.'), environment) as OpaqueObject;
  const dict = read(`ceasydict\nEasyDict\n)\x81(${text('lr')}K\x05u}${text('a')}K\x01sb`);
  t.equal(dict.className, 'easydict.EasyDict');
  t.strictSame([...(dict.items as Map<string, number>)], [['lr', 5]]);
  t.strictSame([...(dict.state as Map<string, number>)], [['a', 1]]);
  const list = read('cmine\nList\n)\x81(K\x01K\x02e');
  t.strictSame(list.items, [1, 2]);
  const globals = torchGlobals(() => tensorDataFrom(new Float32Array(0)));
  const names = { global: (module: string, name: string) => globals.get(`${module}.${name}`) };
  const deque = readPickle(latin('\x80\x02ccollections\ndeque\n)R(K\x07e.'), { ...environment, ...names });
  t.strictSame((deque as OpaqueObject).items, [7]);
  t.throws(() => read('cmine\nList\n)\x81(K\x01K\x02ee'), { message: /./ }, 'and nothing else does');
  t.end();
});

t.test('big-endian archives', async (t) => {
  const values = {
    ...{ f: Float32Array.of(1.5, -2), d: Float64Array.of(0.1), i: BigInt64Array.of(3n, -4n) },
    ...{ s: Int16Array.of(513), b: Uint8Array.of(7) },
  };
  const little = join(folder, 'little.pt');
  await saveTorchFile(
    little,
    new OrderedDict(Object.entries(values).map(([name, array]) => [name, tensorDataFrom(array)])),
  );
  const handle = await open(little, 'r');
  const reader = await ZipReader.open(handle, readFileSync(little).length);
  const writer = new ZipWriter();
  const pieces: Uint8Array[] = [];
  const sizes = Object.values(values).map((array) => array.BYTES_PER_ELEMENT);
  for (const [name, entry] of reader.entries) {
    let data = await reader.read(entry);
    if (name.endsWith('byteorder')) data = Buffer.from('big');
    const storage = /data\/(\d+)$/.exec(name);
    if (storage !== null) {
      const size = sizes[Number(storage[1])]!;
      for (let at = 0; at < data.length; at += size) data.subarray(at, at + size).reverse();
    }
    for (const piece of writer.entry(name, data)) pieces.push(Uint8Array.from(piece));
  }
  await handle.close();
  const big = join(folder, 'big.pt');
  writeFileSync(big, Buffer.concat([...pieces, ...writer.end()]));
  const read = (await loadTorchFile(big)) as Map<string, TensorData>;
  await using lazy = await openCheckpoint(big);
  const tensors = new Map(tensorsOf(lazy.value));
  for (const [name, array] of Object.entries(values)) {
    t.strictSame(typedArrayOf(read.get(name)!), array, name);
    t.strictSame(typedArrayOf(await tensors.get(name)!.read()), array, `${name}, alone`);
  }
});

const globals = torchGlobals(() => tensorDataFrom(new Float32Array(0)));
const read = (...parts: string[]): CheckpointValue =>
  readPickle(latin(...parts, '.'), {
    global: (module, name) => globals.get(`${module}.${name}`),
    persistent: storageReference,
  });

t.test('values of numpy', async (t) => {
  const dtype = (code: string, order = '<'): string =>
    `cnumpy\ndtype\n(${text(code)}K\0K\x01tR(K\x03${text(order)}NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb`;
  // Protocol 2 has bytes as UTF-8 of Latin-1: these have only ASCII.
  const encoded = (raw: string): string => `c_codecs\nencode\n(${text(raw)}${text('latin1')}tR`;
  const scalar = (code: string, raw: string, order?: string): CheckpointValue =>
    read(`cnumpy.core.multiarray\nscalar\n(${dtype(code, order)}${encoded(raw)}tR`);
  t.equal(scalar('i8', '\x05\0\0\0\0\0\0\0'), 5);
  t.equal(scalar('i4', '\0\0\0\x05', '>'), 5, 'big-endian');
  t.equal(scalar('f8', '\0\0\0\0\0\0\x08@'), 3);
  t.equal(scalar('f4', '\0\0`@'), 3.5);
  t.equal(scalar('b1', '\x01'), true);
  t.strictSame(
    [...typedArrayOf({ ...(scalar('c8', '@`\0\0@\0\0\0', '>') as TensorData), dtype: 'float32' })],
    [3.5, 2],
    'big-endian, each part by itself',
  );
  // Python 2's bytes are text of Latin-1, except where they could be UTF-8: these four are two characters of that.
  const ofPython2 = read(`cnumpy.core.multiarray\nscalar\n(${dtype('u4')}U\x04\xc3\xa9\xc3\xa9tR`);
  t.equal(ofPython2, 0xa9c3a9c3);
  const array = (order: string, fortran: string): TensorData =>
    read(
      'cnumpy._core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\0\x85C\x01bt',
      `R(K\x01K\x02K\x03\x86${dtype('i2', order)}${fortran}C\x0c`,
      order === '<' ? '\x01\0\x02\0\x03\0\x04\0\x05\0\x06\0' : '\0\x01\0\x02\0\x03\0\x04\0\x05\0\x06',
      'tb',
    ) as TensorData;
  for (const order of ['<', '>']) {
    t.strictSame([...typedArrayOf(array(order, '\x89'))], [1, 2, 3, 4, 5, 6]);
    t.strictSame([...typedArrayOf(array(order, '\x88'))], [1, 3, 5, 2, 4, 6], 'the first dimension fastest');
  }
  t.strictSame(array('<', '\x88').shape, [2, 3]);
  t.throws(() => scalar('i8', 'short'), { kind: 'corrupt', message: /too many or too few/ });
  t.throws(() => scalar('O', 'x'), { kind: 'unsupported', message: /numpy's type O/ });
  // Sixteen copies of the same 4 MiB, of which the pickle has one.
  const turned =
    'cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\0\x85C\x01btR' +
    `(K\x01K\x02J${int4(2 ** 18)}\x86${dtype('f8')}\x88h\0tb`;
  t.throws(() => read(`(B${int4(2 ** 22)}${'a'.repeat(2 ** 22)}q\0${turned.repeat(16)}t`), { message: /more memory/ });
});

t.test('old and new protocols', async (t) => {
  t.strictSame(
    read("(dp0\nS'a'\np1\nI1\nsS'b'\n(lp2\nF0.5\naI01\nag1\nas"),
    new Map<string, CheckpointValue>([
      ['a', 1],
      ['b', [0.5, true, 'a']],
    ]),
  );
  t.strictSame(read('(lp0\nL123456789012345678901L\naVtext\na'), [123456789012345678901n, 'text']);
  t.strictSame(
    read('\x80\x05\x95\x0b\0\0\0\0\0\0\0(\x8c\x01a\x94h\0C\x02xyt'),
    read('(X\x01\0\0\0aX\x01\0\0\0aC\x02xyt'),
  );
  t.strictSame(read('\x80\x04\x8f(K\x01K\x02\x90'), new OpaqueObject('builtins.set', [[1, 2]]));
  t.strictSame(read('(I00\nI01\nI0\nI1\nt'), Tuple.of<CheckpointValue>(false, true, 0, 1), 'what protocol 0 has');
  t.strictSame(read('K\x052\x86'), Tuple.of(5, 5), 'the top of the stack doubled');
  // The class, positional arguments, keywords: as Python makes objects from protocol 4 on.
  const withKeywords = (keywords: string): CheckpointValue => read(`\x80\x04cmine\nNet\n(K\x07t}${keywords}\x92`);
  t.strictSame(withKeywords(''), new OpaqueObject('mine.Net', [7]));
  t.throws(() => withKeywords(`${text('lr')}K\x01s`), { kind: 'unsupported', message: /an object with keywords/ });
  // Python gives the factory as the argument, and the items one by one.
  const grouped = read(`ccollections\ndefaultdict\nc__builtin__\nlist\n\x85R(${text('a')}]u`);
  t.strictSame(grouped, new Map([['a', []]]));
  const namespace = read(
    'ccopy_reg\n_reconstructor\n(cargparse\nNamespace\nc__builtin__\nobject\nNtR}U\x02lrG?\xb9\x99\x99\x99\x99\x99\x9asb',
  );
  t.match(namespace, { className: 'argparse.Namespace' });
  t.strictSame((namespace as OpaqueObject).state, new Map([['lr', 0.1]]));
});

t.test('no code is run, whatever the way to it', async (t) => {
  for (const way of [
    'cos\nsystem\n(X\x02\0\0\0idtR',
    '\x80\x04\x8c\x02os\x8c\x06system\x93(X\x02\0\0\0idtR',
    'cposix\nsystem\n(X\x02\0\0\0idtR',
    'c__builtin__\neval\n(X\x01\0\0\x001tR',
  ]) {
    t.throws(() => read(way), { kind: 'unsupported', message: /calls the Python .*(system|eval).*no code/ });
  }
  t.match(read('cos\nsystem\n)\x81'), { className: 'os.system', args: [] }, 'an object is only its name');
  t.throws(() => read('cmine\nNet\n)\x81}(X\x0b\0\0\0_parameters}X\x08\0\0\0_modules}ub'), {
    kind: 'unsupported',
    message: /whole pickled model, of the class mine\.Net/,
  });
});

t.test('a file cut off at any byte, or with bits flipped, is read or refused by its name', async (t) => {
  const zip = join(folder, 'good.pt');
  await saveTorchFile(zip, {
    epoch: 3,
    state_dict: new OrderedDict([['w', tensorDataFrom(new Float32Array(8), [2, 4])]]),
  });
  const file = join(folder, 'damaged.pth');
  const attempt = async (bytes: Uint8Array): Promise<boolean> => {
    writeFileSync(file, bytes);
    try {
      const opened = await openCheckpoint(file);
      try {
        await readAll(opened.value);
      } finally {
        await opened.close();
      }
      return true;
    } catch (error) {
      const { code, message } = error as { code?: string; message: string };
      if (!code?.startsWith('ERR_CHECKPOINT_') || !message.includes(file)) throw error;
      return false;
    }
  };
  const held = (): number => {
    gc();
    const { heapUsed, arrayBuffers } = process.memoryUsage();
    return heapUsed + arrayBuffers;
  };
  const before = held();
  const random = new Random(20240917); // a failure comes again
  for (const [name, good] of [
    ['before 1.6', legacy()],
    ['zip', readFileSync(zip)],
  ] as const) {
    t.equal(await attempt(good), true, name);
    const step = name === 'zip' ? 7 : 1;
    for (let length = 0; length < good.length; length += step)
      if (await attempt(good.subarray(0, length))) t.fail(`${name}: read with ${length} of ${good.length} bytes`);
    let refused = 0;
    for (let i = 0; i < 5000; i++) {
      const bytes = Buffer.from(good);
      const flips = 1 + random.nextBelow(3);
      for (let flip = 0; flip < flips; flip++) {
        bytes[random.nextBelow(bytes.length)]! ^= 1 << random.nextBelow(8);
      }
      if (!(await attempt(bytes))) refused++;
    }
    t.ok(refused > 1000, `${name}: ${refused} of 5000 with flipped bits are refused`);
  }
  t.ok(held() - before < 32 * 2 ** 20, 'nothing of them is kept');
});
