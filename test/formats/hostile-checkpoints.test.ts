/** Damaged and malicious checkpoints: always an error that names the file, never a crash, a hang or much memory. */
import { execFileSync } from 'node:child_process';
import { writeFileSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import t, { type Test } from 'tap';
import { CortorchError } from '../../lib/errors.js';
import { Random } from '../../lib/random.js';
import { loadTorchFile, saveTorchFile } from '../../lib/checkpoint/torch-file.js';
import { openCheckpoint } from '../../lib/checkpoint/checkpoint-file.js';
import { openSafetensors } from '../../lib/checkpoint/safetensors.js';
import { tensorDataFrom } from '../../lib/checkpoint/tensor-data.js';
import { OrderedDict, Tuple } from '../../lib/checkpoint/value.js';
import { latin, tensor, torchArchive, zipArchive } from '../support/pickles.js';
import { peakGrowth } from '../support/peak-memory.js';
import { moduleOf } from '../support/processes.js';

/** So many times the usual number of random cases (`npm run soak -- damage`). */
const TIMES = Number(process.env.CORTORCH_RANDOM_CASES ?? 1);

const folder = t.testdir();
const path = join(folder, 'hostile.pt');

await saveTorchFile(path, {
  state_dict: new OrderedDict([
    [
      'layers.0.weight',
      tensorDataFrom(
        Float32Array.from({ length: 12 }, (_, i) => i),
        [3, 4],
      ),
    ],
    ['layers.0.bias', tensorDataFrom(Float32Array.of(1, 2, 3))],
    ['count', tensorDataFrom(BigInt64Array.of(7n), [])],
  ]),
  config: { rule: 'fa', beta: Tuple.of(0.9, 0.999), layers: [{ units: 3 }] },
  epoch: 300,
  step: 2n ** 60n,
});
const good = readFileSync(path);

/** @returns the error's code, or 'read' */
async function outcome(t: Test, bytes: Uint8Array, what: string): Promise<string> {
  writeFileSync(path, bytes);
  try {
    await loadTorchFile(path);
    return 'read';
  } catch (error) {
    if (!(error instanceof CortorchError) || !error.message.includes(path)) t.fail(`${what}: ${String(error)}`);
    return (error as CortorchError).code;
  }
}

t.test('cut at every byte', async (t) => {
  for (let length = 0; length < good.length; length++) {
    const code = await outcome(t, good.subarray(0, length), `cut to ${length}`);
    if (code !== 'ERR_CHECKPOINT_CORRUPT') t.fail(`cut to ${length} bytes: ${code}`);
  }
  t.equal(await outcome(t, good, 'whole'), 'read');
});

t.test('bytes lost from the middle, or put in', async (t) => {
  for (let at = 0; at < good.length; at += 13) {
    const lost = Buffer.concat([good.subarray(0, at), good.subarray(at + 1)]);
    t.not(await outcome(t, lost, `without byte ${at}`), 'read');
    const more = Buffer.concat([good.subarray(0, at), Buffer.from([0]), good.subarray(at)]);
    t.not(await outcome(t, more, `one more at ${at}`), 'read');
  }
});

t.test('random flips of bits in the file', async (t) => {
  const random = new Random(1);
  const counts: Record<string, number> = {};
  for (let i = 0; i < 3000 * TIMES; i++) {
    const bytes = Buffer.from(good);
    for (let flips = 1 + random.nextBelow(3); flips > 0; flips--) {
      bytes[random.nextBelow(bytes.length)]! ^= 1 << random.nextBelow(8);
    }
    const code = await outcome(t, bytes, `flip ${i}`);
    counts[code] = (counts[code] ?? 0) + 1;
  }
  // What is not noticed lies in fields that nobody needs: times, attributes, filler, the local checksums.
  t.ok(counts.ERR_CHECKPOINT_CORRUPT! > 1000, JSON.stringify(counts));
  t.strictSame(
    Object.keys(counts).filter(
      (code) => !['read', 'ERR_CHECKPOINT_CORRUPT', 'ERR_CHECKPOINT_UNSUPPORTED'].includes(code),
    ),
    [],
  );
});

const start = good.indexOf('\x80\x02}', 0, 'latin1');
const pickle = good.subarray(start, good.indexOf('.PK\x07\x08', start, 'latin1') + 1);
const storages = [Buffer.alloc(48), Buffer.alloc(12), Buffer.alloc(8)];

t.test('the pickle is found, to damage it behind the checksum', async (t) => {
  t.equal(await outcome(t, torchArchive(pickle, ...storages), 'good'), 'read');
});

t.test('random flips of bits in the pickle', async (t) => {
  const random = new Random(2);
  const counts: Record<string, number> = {};
  for (let i = 0; i < 3000 * TIMES; i++) {
    const bytes = Buffer.from(pickle);
    for (let flips = 1 + random.nextBelow(3); flips > 0; flips--) {
      bytes[random.nextBelow(bytes.length)]! ^= 1 << random.nextBelow(8);
    }
    const code = await outcome(t, torchArchive(bytes, ...storages), `flip ${i}`);
    counts[code] = (counts[code] ?? 0) + 1;
  }
  t.ok(counts.ERR_CHECKPOINT_CORRUPT! > 1000 && counts.ERR_CHECKPOINT_UNSUPPORTED! > 50, JSON.stringify(counts));
  t.strictSame(Object.keys(counts).sort(), ['ERR_CHECKPOINT_CORRUPT', 'ERR_CHECKPOINT_UNSUPPORTED', 'read']);
});

t.test('random pickles', async (t) => {
  const random = new Random(3);
  // The instructions alone, so that some get far.
  const alphabet = Buffer.from('\x80\x85\x86\x87\x88\x89\x8aNKMJGX]ae)t}sucRbQqrhj(.', 'latin1');
  for (let i = 0; i < 3000 * TIMES; i++) {
    const body = Array.from({ length: 1 + random.nextBelow(60) }, () =>
      random.nextBelow(8) === 0 ? random.nextBelow(256) : alphabet[random.nextBelow(alphabet.length)]!,
    );
    await outcome(t, torchArchive(Buffer.from([0x80, 2, ...body, 0x2e])), `random ${i}`);
  }
  t.pass('no other error came');
});

t.test('cut pickles', async (t) => {
  const others: string[] = [];
  for (let length = 0; length < pickle.length; length++) {
    const code = await outcome(t, torchArchive(pickle.subarray(0, length), ...storages), `cut to ${length}`);
    if (code !== 'ERR_CHECKPOINT_CORRUPT') others.push(`cut to ${length} bytes: ${code}`);
  }
  t.strictSame(others, []);
});

t.test('storages that are missing, too short or too long', async (t) => {
  for (const [bytes, message] of [
    [torchArchive(pickle, storages[0]!, storages[1]!), /its record data\/2 is missing; it is damaged/],
    [
      torchArchive(pickle, storages[0]!.subarray(4), storages[1]!, storages[2]!),
      /storage 0 has 44 bytes, but its pickle says 48/,
    ],
    [
      torchArchive(pickle, storages[0]!, Buffer.alloc(13), storages[2]!),
      /storage 1 has 13 bytes, but its pickle says 12/,
    ],
  ] as const) {
    writeFileSync(path, bytes);
    await t.rejects(loadTorchFile(path), { code: 'ERR_CHECKPOINT_CORRUPT', message });
  }
});

t.test('a flipped bit in a storage is found by its checksum', async (t) => {
  const bytes = torchArchive(pickle, Buffer.alloc(48, 'A'), storages[1]!, storages[2]!);
  bytes[bytes.indexOf('AAAA')]! ^= 1;
  writeFileSync(path, bytes);
  await t.rejects(loadTorchFile(path), {
    code: 'ERR_CHECKPOINT_CORRUPT',
    message: /checksum of archive\/data\/0 is wrong/,
  });
});

t.test('other archives', async (t) => {
  for (const [bytes, message] of [
    [zipArchive([['readme.txt', latin('hello')]]), /no data\.pkl/],
    [zipArchive([['a/b/data.pkl', latin('N.')]]), /no data\.pkl/],
  ] as const) {
    writeFileSync(path, bytes);
    await t.rejects(loadTorchFile(path), { code: 'ERR_CHECKPOINT_UNSUPPORTED', message });
  }
});

t.test('what is no regular file is not opened: a pipe would be waited for', async (t) => {
  const pipe = join(t.testdir(), 'pipe');
  execFileSync('mkfifo', [pipe]);
  for (const [file, message] of [
    [pipe, /pipe: it is not a regular file/],
    ['/dev/zero', /it is not a regular file/],
    [dirname(path), /it is a folder; name a checkpoint file in it/],
  ] as const) {
    for (const read of [loadTorchFile, openCheckpoint, openSafetensors]) {
      await t.rejects(
        (): Promise<unknown> => read(file),
        { code: 'ERR_CHECKPOINT_UNSUPPORTED', message },
        `${read.name} ${file}`,
      );
    }
  }
});

t.test('views that copy far more than the file holds', async (t) => {
  // 4 floats in the file, expanded to 2^40 or copied ten thousand times.
  const million = 'J\x40\x42\x0f\0';
  const file = (body: string): Buffer => torchArchive(latin(`\x80\x02${body}.`), Buffer.alloc(16));
  for (const body of [
    tensor({ shape: `${million}${million}\x86`, strides: 'K\0K\0\x86' }),
    `(${tensor({ shape: `${million}\x85`, strides: 'K\0\x85' }).repeat(1000)}t`,
  ]) {
    writeFileSync(path, file(body));
    await t.rejects(loadTorchFile(path), {
      code: 'ERR_CHECKPOINT_UNSUPPORTED',
      message: /expanded tensors.*\.clone\(\)/,
    });
    const grown = await peakGrowth(
      `import { loadTorchFile } from ${moduleOf('lib/index.ts')};`,
      'await loadTorchFile(process.argv[1]).catch(() => {});',
      [path],
    );
    t.ok(grown < 64 * 2 ** 20, `${grown} bytes at the peak`);
  }
  writeFileSync(path, file(tensor({ shape: 'K\x03K\x04\x86', strides: 'K\0K\x01\x86' })));
  t.match(await loadTorchFile(path), { shape: [3, 4] }, 'a modest one is read');
});
