import { mkdirSync, readdirSync, readFileSync, readlinkSync, statSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { loadTorchFile, openTorchFile, saveTorchFile } from '../../lib/checkpoint/torch-file.js';
import { DTYPES, tensorDataFrom, type DType, type TensorData } from '../../lib/checkpoint/tensor-data.js';
import { OrderedDict, Tuple, type CheckpointValue } from '../../lib/checkpoint/value.js';
import { ZipReader } from '../../lib/checkpoint/zip.js';
import { CortorchError } from '../../lib/errors.js';
import { refusal } from '../support/refusal.js';
import { peakGrowth } from '../support/peak-memory.js';
import { moduleOf } from '../support/processes.js';

const folder = t.testdir();
const path = join(folder, 'file.pt');

t.test('a checkpoint comes back as it was', async (t) => {
  const folder = t.testdir();
  const path = join(folder, 'file.pt');
  const weight = tensorDataFrom(Float32Array.of(1, 2, 3, 4, 5, 6), [2, 3]);
  const value = new Map<string, CheckpointValue>([
    [
      'state_dict',
      new OrderedDict([
        ['layers.0.weight', weight],
        ['layers.0.bias', tensorDataFrom(Float32Array.of(7, 8))],
      ]),
    ],
    [
      'config',
      new Map<string, CheckpointValue>([
        ['rule', 'fa'],
        ['layers', [new Map([['units', 256]])]],
        ['beta', Tuple.of(0.9, 0.999)],
      ]),
    ],
    ['epoch', 3],
    ['best', null],
    ['empty', tensorDataFrom(new Float32Array(0), [0, 3])],
    ['scalar', tensorDataFrom(BigInt64Array.of(-5n), [])],
  ]);
  await saveTorchFile(path, value);
  t.strictSame(await loadTorchFile(path), value);
  t.strictSame(readdirSync(folder), ['file.pt'], 'nothing is left beside it');
});

t.test('every dtype, and parts of a larger array', async (t) => {
  const bytes = Uint8Array.from({ length: 100 }, (_, i) => i * 37);
  const value = new Map<string, CheckpointValue>(
    (Object.keys(DTYPES) as DType[]).map((dtype) => [
      dtype,
      { dtype, shape: [3], data: bytes.slice(0, 3 * DTYPES[dtype].bytes) },
    ]),
  );
  value.set('part', { dtype: 'int16', shape: [2, 2], data: bytes.slice(3, 11) });
  const unaligned = new Map(value);
  unaligned.set('part', { dtype: 'int16', shape: [2, 2], data: bytes.subarray(3, 11) });
  await saveTorchFile(path, unaligned);
  t.strictSame(await loadTorchFile(path), value);
});

t.test('what is shared is stored once and stays shared', async (t) => {
  const array = new Float32Array(50_000);
  const tensor = tensorDataFrom(array);
  const alias = tensorDataFrom(array, [500, 100]);
  await saveTorchFile(path, { a: tensor, b: tensor, c: alias, d: tensorDataFrom(new Float32Array(50_000)) });
  const size = statSync(path).size;
  t.ok(size > 400_000 && size < 405_000, `${size} bytes: two storages of 200,000`);
  const back = (await loadTorchFile(path)) as Map<string, TensorData>;
  t.equal(back.get('a')!.data.buffer, back.get('b')!.data.buffer);
  t.equal(back.get('a')!.data.buffer, back.get('c')!.data.buffer);
  t.strictSame(back.get('c')!.shape, [500, 100]);
  t.not(back.get('a')!.data.buffer, back.get('d')!.data.buffer);
});

t.test('the same bytes as numbers of two types are two storages', async (t) => {
  // In Python a storage has one type, and all tensors over it have that.
  const data = new Uint8Array(Float32Array.of(1, 2).buffer);
  await saveTorchFile(path, { f: { dtype: 'float32', shape: [2], data }, i: { dtype: 'int32', shape: [2], data } });
  const file = await open(path);
  t.teardown(() => file.close());
  const { entries } = await ZipReader.open(file, statSync(path).size);
  t.strictSame(
    [...entries.keys()].filter((name) => name.startsWith('archive/data/')),
    ['archive/data/0', 'archive/data/1'],
  );
});

t.test('no file stays open', { skip: process.platform !== 'linux' }, async (t) => {
  const good = join(folder, 'closed.pt');
  const bad = join(folder, 'closed-bad.pt');
  await saveTorchFile(good, { w: tensorDataFrom(Float32Array.of(1)) });
  writeFileSync(bad, 'no checkpoint');
  await t.rejects(loadTorchFile(bad));
  await t.rejects(openTorchFile(bad));
  await loadTorchFile(good);
  await (await openTorchFile(good)).close();
  const held = readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      return [readlinkSync(`/proc/self/fd/${fd}`)];
    } catch {
      return []; // the folder that is being read
    }
  });
  t.strictSame(
    held.filter((file) => [good, bad].includes(file)),
    [],
  );
});

t.test('equal values give equal bytes, whatever the name; other values other bytes', async (t) => {
  const value = (x: number): object => ({ w: tensorDataFrom(Float32Array.of(x)), n: 1 });
  await saveTorchFile(path, value(1));
  await saveTorchFile(join(folder, 'other.name.pth'), value(1));
  await saveTorchFile(join(folder, 'different.pt'), value(2));
  const first = readFileSync(path);
  t.ok(first.equals(readFileSync(join(folder, 'other.name.pth'))));
  const id = (bytes: Buffer): string => /\d{40}/.exec(bytes.toString('latin1'))![0];
  t.not(id(first), id(readFileSync(join(folder, 'different.pt'))));
});

t.test('saving does not copy', async (t) => {
  const grown = await peakGrowth(
    `import { saveTorchFile, tensorDataFrom } from ${moduleOf('lib/index.ts')};
    const small = tensorDataFrom(new Float32Array(10));
    await saveTorchFile(process.argv[1], { small });
    const large = tensorDataFrom(new Float32Array(2 ** 25).fill(1)); // 128 MiB, all of it in memory`,
    'await saveTorchFile(process.argv[1], { large });',
    [join(folder, 'large.pt')],
  );
  t.ok(grown < 64 * 2 ** 20, `${grown} bytes at the peak`);
});

t.test('saving does not block the event loop for long', async (t) => {
  const large = tensorDataFrom(new Float32Array(2 ** 25).fill(1)); // 128 MiB, all of it in memory
  let longest = 0;
  let last = performance.now();
  const timer = setInterval(() => {
    longest = Math.max(longest, performance.now() - last);
    last = performance.now();
  }, 1);
  await saveTorchFile(path, { large });
  clearInterval(timer);
  t.ok(longest < 500, `the loop stood still for ${longest.toFixed()} ms`);
  const back = ((await loadTorchFile(path)) as Map<string, TensorData>).get('large')!;
  t.equal(back.data.length, 2 ** 27);
});

t.test('what cannot be written leaves the old file', async (t) => {
  await saveTorchFile(path, { a: 1 });
  await t.rejects(saveTorchFile(path, { config: { a: undefined } }), {
    code: 'ERR_INVALID_ARGUMENT',
    message: /value\.config\.a/,
  });
  const wrong = { dtype: 'float32', shape: [3], data: new Uint8Array(8) } as const;
  await t.rejects(saveTorchFile(path, { w: wrong }), {
    code: 'ERR_INVALID_ARGUMENT',
    message: /`value\.w\.data`/,
  });
  await t.rejects(saveTorchFile(join(folder, 'no', 'file.pt'), {}), {
    code: 'ERR_WRITE_FAILED',
    message: /does not exist/,
  });
  t.strictSame(await loadTorchFile(path), new Map([['a', 1]]));
});

t.test('files that are no checkpoint: which, why and what to do', async (t) => {
  const refuses = async (content: Uint8Array | string, code: string, message: RegExp): Promise<void> => {
    const file = join(folder, 'foreign.pt');
    writeFileSync(file, content);
    const error = await refusal(CortorchError, () => loadTorchFile(file));
    t.match(error, { code, message });
    t.ok(error.message.startsWith(`cannot read the checkpoint ${file}: `));
    t.match(error.message, /; /, 'a remedy follows');
  };
  await refuses('', 'ERR_CHECKPOINT_CORRUPT', /it is empty/);
  await refuses('PK', 'ERR_CHECKPOINT_CORRUPT', /no zip archive/);
  await refuses('hello, world', 'ERR_CHECKPOINT_CORRUPT', /no zip archive/);
  await refuses('<!DOCTYPE html><html>404', 'ERR_CHECKPOINT_CORRUPT', /web page.*download it again/);
  await refuses('version https://git-lfs.github.com/spec/v1\noid', 'ERR_CHECKPOINT_CORRUPT', /Git LFS.*git lfs pull/);
  await refuses(Buffer.from('1f8b0800', 'hex'), 'ERR_CHECKPOINT_UNSUPPORTED', /gunzip/);
  await refuses(Buffer.from('80028a0a6cfc9c46f9206aa850192e', 'hex'), 'ERR_CHECKPOINT_CORRUPT', /ends too early/);
  await refuses(Buffer.from('80027d2e', 'hex'), 'ERR_CHECKPOINT_UNSUPPORTED', /plain pickle/);
  const header = Buffer.from('\0\0\0\0\0\0\0\0{"w":{}}');
  header.writeBigUInt64LE(8n);
  await refuses(header, 'ERR_CHECKPOINT_UNSUPPORTED', /safetensors/);
  await t.rejects(loadTorchFile(join(folder, 'nothing.pt')), {
    code: 'ERR_CHECKPOINT_NOT_FOUND',
    message: `there is no checkpoint ${join(folder, 'nothing.pt')}; check the name`,
  });
  await t.rejects(loadTorchFile(join(folder, 'foreign.pt', 'below.pt')), {
    code: 'ERR_CHECKPOINT_NOT_FOUND',
    message: /there is no checkpoint .*below\.pt/,
  });
  mkdirSync(join(folder, 'sub'), { recursive: true });
  await t.rejects(loadTorchFile(join(folder, 'sub')), {
    code: 'ERR_CHECKPOINT_UNSUPPORTED',
    message: /it is a folder/,
  });
});
