/** safetensors: written and read again, and the format's rules on files that break them. */
import fs from 'node:fs';
import t from 'tap';
import { openCheckpoint } from '../../lib/checkpoint/checkpoint-file.js';
import { saveSafetensors } from '../../lib/checkpoint/safetensors.js';
import { tensorDataFrom, type TensorData } from '../../lib/checkpoint/tensor-data.js';
import { Random } from '../../lib/random.js';
import { within } from '../support/folders.js';
import { readAll } from '../support/read-all.js';

/** So many times the usual number of random cases (`npm run soak -- damage`). */
const TIMES = Number(process.env.CORTORCH_RANDOM_CASES ?? 1);

const folder = t.testdir({});
const at = within(folder);

function file(header: string | Buffer, data = 0): Buffer {
  const text = Buffer.from(header);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  return Buffer.concat([length, text, Buffer.alloc(data, 1)]);
}

async function read(bytes: Buffer): Promise<unknown> {
  fs.writeFileSync(at('x.safetensors'), bytes);
  await using open = await openCheckpoint(at('x.safetensors'));
  return await readAll(open.value);
}

const u8 = (name: string, shape: string, begin: number, end: number): string =>
  `"${name}":{"dtype":"U8","shape":[${shape}],"data_offsets":[${begin},${end}]}`;

t.test('what is written is read again', async (t) => {
  const tensors = new Map<string, TensorData>([
    ['b', { dtype: 'bool', shape: [3], data: Uint8Array.of(1, 0, 1) }],
    ['w', { dtype: 'float32', shape: [1, 2], data: Uint8Array.of(0, 0, 128, 63, 1, 2, 3, 4) }],
    ['half', { dtype: 'float16', shape: [], data: Uint8Array.of(0, 60) }],
    ['empty', { dtype: 'int64', shape: [0, 2], data: new Uint8Array(0) }],
  ]);
  await saveSafetensors(at('a.safetensors'), tensors, { note: 'é' });
  await using open = await openCheckpoint(at('a.safetensors'));
  t.equal(open.format, 'safetensors');
  t.strictSame(open.metadata, { format: 'pt', note: 'é' });
  const values = (await readAll(open.value)) as Map<string, TensorData>;
  for (const [name, tensor] of tensors) t.strictSame(values.get(name), tensor, name);
});

t.test('what is written, byte by byte', async (t) => {
  const tensors: Record<string, TensorData> = {
    ...{ b: { dtype: 'uint8', shape: [1], data: Uint8Array.of(7) } },
    ...{ a: { dtype: 'uint8', shape: [1], data: Uint8Array.of(8) } },
    ...{ Z: { dtype: 'uint8', shape: [1], data: Uint8Array.of(9) } },
    ...{ wide: { dtype: 'float32', shape: [1], data: Uint8Array.of(1, 2, 3, 4) } },
    ...{ packed: { dtype: 'float4_e2m1fn_x2', shape: [2, 3], data: Uint8Array.of(10, 11, 12, 13, 14, 15) } },
  };
  await saveSafetensors(at('bytes.safetensors'), Object.entries(tensors));
  const bytes = fs.readFileSync(at('bytes.safetensors'));
  const start = 8 + Number(bytes.readBigUInt64LE(0));
  // The format's own writer puts wide numbers first, so that all are aligned, and sorts names by their bytes.
  t.strictSame([...bytes.subarray(start)], [1, 2, 3, 4, 9, 8, 7, 10, 11, 12, 13, 14, 15]);
  const header = JSON.parse(bytes.toString('utf8', 8, start)) as Record<string, { dtype: string; shape: number[] }>;
  t.match(header['packed'], { dtype: 'F4', shape: [2, 6] }, 'the format counts halves of bytes, torch whole ones');
  await using open = await openCheckpoint(at('bytes.safetensors'));
  t.strictSame(await readAll(open.value), new Map(Object.entries(tensors)));
});

t.test('whatever the names, tensors begin where all types are aligned', async (t) => {
  for (let length = 1; length <= 8; length++) {
    await saveSafetensors(at('aligned.safetensors'), [['n'.repeat(length), tensorDataFrom(Float64Array.of(1))]]);
    const bytes = fs.readFileSync(at('aligned.safetensors'));
    t.equal(Number(bytes.readBigUInt64LE(0)) % 8, 0, `a name of ${length}`);
    t.equal(bytes.readDoubleLE(8 + Number(bytes.readBigUInt64LE(0))), 1);
  }
});

t.test('rules', async (t) => {
  t.ok(await read(file(`{${u8('a', '2', 0, 2)}}  `, 2)));
  t.ok(await read(file(`{${u8('a', '2', 0, 2)},${u8('none', '0', 0, 0)}}`, 2)), 'an empty one at the place of another');
  // A pickle begins with 0x80 too.
  t.ok(await read(file(`{${u8('a', '2', 0, 2)}}`.padEnd(0x80), 2)), 'a header of 128 bytes');
  const quoted = (await read(file(`{${u8('a\\"b\\\\', '2', 0, 2)}}`, 2))) as Map<string, TensorData>;
  t.strictSame([...quoted.keys()], ['a"b\\'], 'quotes in a name');
  for (const [name, bytes, message] of [
    ['overlap', file(`{${u8('a', '2', 0, 2)},${u8('b', '2', 1, 3)}}`, 3), /overlaps/],
    ['hole', file(`{${u8('a', '1', 1, 2)}}`, 2), /of no tensor/],
    ['rest', file(`{${u8('a', '1', 0, 1)}}`, 2), /of no tensor/],
    ['outside', file(`{${u8('a', '3', 0, 3)}}`, 2), /outside/],
    ['size', file(`{${u8('a', '3', 0, 2)}}`, 2), /bytes instead/],
    ['overflow', file(`{${u8('a', '4294967296,4294967296', 0, 0)}}`), /bytes instead/],
    ['backwards', file(`{${u8('a', '0', 2, 1)}}`, 2), /ends before/],
    ['twice', file(`{${u8('a', '1', 0, 1)},${u8('a', '1', 0, 1)}}`, 1), /twice/],
    ['dtype', file(`{${u8('a', '1', 0, 1).replace('U8', 'Q8')}}`, 1), /"Q8"/],
    ['UTF-8', file(Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x7d])), /UTF-8/],
    ['deep', file(`{${'['.repeat(100000)}`), /header/],
    ['length', Buffer.concat([Buffer.alloc(8, 0x7f), Buffer.from('{}')]), /more than the file/],
  ] as const) {
    await t.rejects(read(bytes), { name: 'CortorchError', message }, name);
  }
});

t.test('a file that is cut off once it is open', async (t) => {
  const path = at('cut.safetensors');
  fs.writeFileSync(path, file(`{${u8('a', '2', 0, 2)}}`, 2));
  await using open = await openCheckpoint(path);
  fs.truncateSync(path, fs.statSync(path).size - 1);
  const message = /^cannot read the checkpoint .*cut\.safetensors: it ends too early/;
  await t.rejects(readAll(open.value), { code: 'ERR_CHECKPOINT_CORRUPT', message });
});

t.test('truncated at each byte', async (t) => {
  const whole = file(`{${u8('a', '2', 0, 2)}}`, 2);
  let refused = 0;
  for (let end = 0; end < whole.length; end++) {
    await read(whole.subarray(0, end)).catch((error: unknown) => {
      if ((error as Error).name === 'CortorchError') refused++;
    });
  }
  t.equal(refused, whole.length);
});

t.test('bits flipped: read, or refused by the name of the file', async (t) => {
  const whole = file(`{${u8('a', '2', 0, 2)},${u8('b', '1,3', 2, 5)}}   `, 5);
  const random = new Random(1);
  let refused = 0;
  for (let i = 0; i < 5000 * TIMES; i++) {
    const bytes = Buffer.from(whole);
    for (let flips = 1 + random.nextBelow(3); flips > 0; flips--)
      bytes[random.nextBelow(bytes.length)]! ^= 1 << random.nextBelow(8);
    try {
      await read(bytes);
    } catch (error) {
      const { code, message } = error as { code?: string; message: string };
      if (!code?.startsWith('ERR_CHECKPOINT_') || !message.includes('.safetensors')) throw error;
      refused++;
    }
  }
  t.ok(refused > 2500, `${refused} of 5000 are refused`);
});
