import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import t from 'tap';
import { CortorchError } from '../../lib/errors.js';
import { readIdx, readIdxImages, readIdxImageSet, readIdxLabels } from '../../lib/data/idx.js';
import { idx } from '../support/idx.js';
import { refusal } from '../support/refusal.js';
import { peakGrowth } from '../support/peak-memory.js';
import { moduleOf } from '../support/processes.js';

const folder = t.testdir();
let files = 0;
function put(bytes: Uint8Array): string {
  const path = join(folder, `file-${files++}`);
  writeFileSync(path, bytes);
  return path;
}

t.test('every element type, big-endian', async (t) => {
  const cases = [
    [0x08, [1, 255], 'uint8', Uint8Array.of(1, 255)],
    [0x09, [1, 255], 'int8', Int8Array.of(1, -1)],
    [0x0b, [1, 2, 255, 254], 'int16', Int16Array.of(258, -2)],
    [0x0c, [0, 0, 1, 2, 255, 255, 255, 254], 'int32', Int32Array.of(258, -2)],
    [0x0d, [0x3f, 0x80, 0, 0, 0xc0, 0x20, 0, 0], 'float32', Float32Array.of(1, -2.5)],
    [0x0e, [0x3f, 0xf0, 0, 0, 0, 0, 0, 0, 0xc0, 4, 0, 0, 0, 0, 0, 0], 'float64', Float64Array.of(1, -2.5)],
  ] as const;
  for (const [type, bytes, dtype, data] of cases) {
    const plain = idx(type, [2], [...bytes]);
    for (const path of [put(plain), put(gzipSync(plain))]) {
      t.strictSame(await readIdx(path), { dtype, shape: [2], data });
    }
  }
});

t.test('shapes: many dimensions, none, empty', async (t) => {
  t.strictSame((await readIdx(put(idx(8, [2, 1, 3], [1, 2, 3, 4, 5, 6])))).shape, [2, 1, 3]);
  t.strictSame(await readIdx(put(idx(8, [], [7]))), { dtype: 'uint8', shape: [], data: Uint8Array.of(7) });
  t.strictSame((await readIdx(put(idx(13, [0, 5], [])))).data, new Float32Array(0));
});

t.test('several blocks and several gzip members', async (t) => {
  const elements = Uint8Array.from({ length: 300_000 }, (_, i) => i * 7);
  const plain = idx(8, [300, 1000], elements);
  const members = Buffer.concat([gzipSync(plain.subarray(0, 3)), gzipSync(plain.subarray(3))]);
  for (const path of [put(plain), put(gzipSync(plain)), put(members)]) {
    const { data } = await readIdx(path);
    t.ok(Buffer.from(data as Uint8Array).equals(elements));
  }
});

t.test('damaged files: the file, what is wrong, what to do', async (t) => {
  const good = idx(8, [2, 2, 2], [1, 2, 3, 4, 5, 6, 7, 8]);
  const packed = gzipSync(good);
  const rejects = async (bytes: Uint8Array, message: RegExp): Promise<void> => {
    const path = put(bytes);
    const error = await refusal(CortorchError, () => readIdx(path));
    t.match(error, { code: 'ERR_DATASET_CORRUPT', message });
    t.ok(error.message.startsWith(`${path}: `), 'names the file');
    t.match(error.message, /get the file again, or name the right folder with --data-dir$/);
  };
  for (let length = 0; length < good.length; length++) {
    await rejects(good.subarray(0, length), length < 4 + 12 ? /ends within the header/ : /ends too early/);
  }
  for (let length = 2; length < packed.length; length++) await rejects(packed.subarray(0, length), /too early/);
  await rejects(Buffer.concat([good, Buffer.from([0])]), /it is too long: uint8 of shape \[2, 2, 2\] takes 24 bytes/);
  await rejects(gzipSync(Buffer.concat([good, Buffer.from([0])])), /it is too long/);
  await rejects(Buffer.from('PK\x03\x04....'), /not an IDX file: it starts with the bytes 50 4b 03 04/);
  await rejects(idx(0x0a, [1], [1]), /not an IDX file/);
  await rejects(Buffer.from([1, 0, 8, 1, 0, 0, 0, 0]), /not an IDX file/);
  const flipped = Buffer.from(packed);
  flipped[packed.length - 8]! ^= 1; // the checksum
  await rejects(flipped, /the gzip file is damaged \(incorrect data check\)/);
});

t.test('a small file cannot claim or unpack to much', async (t) => {
  const huge = idx(8, [0xffffffff, 0xffffffff, 0xffffffff], [1]);
  await t.rejects(readIdx(put(huge)), { message: /ends too early/ });
  await t.rejects(readIdx(put(gzipSync(huge))), { message: /ends too early/ });
  // Half a megabyte that unpacks to 500.
  const members = Array<Buffer>(500).fill(gzipSync(Buffer.alloc(2 ** 20)));
  const bomb = Buffer.concat([gzipSync(idx(8, [10], [])), ...members]);
  const file = put(bomb);
  await t.rejects(readIdx(file), { message: /too long/ });
  const grown = await peakGrowth(
    `import { readIdx } from ${moduleOf('lib/data/idx.ts')};`,
    'await readIdx(process.argv[1]).catch(() => {});',
    [file],
  );
  t.ok(grown < 100 * 2 ** 20, `${grown} bytes at the peak`);
});

t.test('random flips of bits: read or refused, never anything else', async (t) => {
  const good = idx(8, [3, 2, 2], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
  const packed = gzipSync(good);
  let refused = 0;
  const path = put(good);
  for (const original of [good, packed]) {
    for (let bit = 0; bit < 8 * original.length; bit++) {
      const bytes = Buffer.from(original);
      bytes[bit >> 3]! ^= 1 << (bit & 7);
      writeFileSync(path, bytes);
      const outcome = await readIdxImages(path).catch((error: unknown) => (error as { code: string }).code);
      if (outcome === 'ERR_DATASET_CORRUPT') refused++;
      else if (typeof outcome === 'string') t.fail(`flip of bit ${bit}: ${outcome}`);
    }
  }
  t.ok(refused > 200, `${refused} refused`);
});

t.test('missing and unreadable files', async (t) => {
  await t.rejects(readIdx(join(folder, 'nothing')), {
    code: 'ERR_DATASET_NOT_FOUND',
    message: `${join(folder, 'nothing')}: there is no such file; name the folder that holds it with --data-dir`,
  });
  await t.rejects(readIdx(folder), { code: 'ERR_READ_FAILED', message: /EISDIR/ });
});

t.test('images and labels', async (t) => {
  const images = put(idx(8, [2, 1, 3], [1, 2, 3, 4, 5, 6]));
  const labels = put(idx(8, [2], [0, 9]));
  t.strictSame(await readIdxImageSet(images, labels, 10), {
    count: 2,
    height: 1,
    width: 3,
    data: Uint8Array.of(1, 2, 3, 4, 5, 6),
    labels: Uint8Array.of(0, 9),
  });
  await t.rejects(readIdxLabels(labels, 9), {
    code: 'ERR_DATASET_CORRUPT',
    message: `${labels}: label 1 is 9, but with 9 classes labels go from 0 to 8; get the file again, or name the right folder with --data-dir`,
  });
  await t.rejects(readIdxImages(labels), {
    message: /expected images, .*, but it holds uint8 of shape \[2\]/,
  });
  await t.rejects(readIdxLabels(images, 10), {
    message: /expected labels, .*, but it holds uint8 of shape \[2, 1, 3\]/,
  });
  await t.rejects(readIdxImages(put(idx(13, [1, 1, 1], [0, 0, 0, 0]))), { message: /it holds float32/ });
  for (const shape of [
    [0, 1, 3],
    [2, 0, 3],
    [2, 1, 0],
  ])
    await t.rejects(readIdxImages(put(idx(8, shape, []))), { code: 'ERR_DATASET_CORRUPT' });
  const three = put(idx(8, [3], [0, 1, 2]));
  await t.rejects(readIdxImageSet(images, three, 10), {
    code: 'ERR_DATASET_CORRUPT',
    message: new RegExp(`${images}: it holds 2 images, but ${three} holds 3 labels`),
  });
});

t.test('the file is not changed by reading it', async (t) => {
  const bytes = idx(0x0c, [1], [1, 2, 3, 4]);
  const path = put(bytes);
  await readIdx(path);
  t.ok(readFileSync(path).equals(bytes));
});
