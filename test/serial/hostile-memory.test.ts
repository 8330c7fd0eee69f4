/** What hostile files cost: the peak of memory, in a process for each, of files that claim what they do not hold. */
import fs from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { PEAK } from '../support/peak-memory.js';
import { int4, latin, LEGACY_MAGIC, legacyFile, tensor, torchArchive } from '../support/pickles.js';
import { moduleOf, runScript } from '../support/processes.js';

const folder = t.testdir({});
const MIB = 2 ** 20;

/**
 * Reads a good file and then another one, by all ways there are, and says by how much that raised the peak of memory.
 */
const READER = `
import fs from 'node:fs';
import { openCheckpoint, tensorsOf } from ${moduleOf('lib/index.ts')};
import { loadCheckpoint } from ${moduleOf('lib/checkpoint/load-checkpoint.ts')};
${PEAK}
const read = async (file) => {
  const outcomes = [];
  for (const way of ['as a whole', 'tensor by tensor']) {
    let open;
    try {
      if (way === 'as a whole') await loadCheckpoint(file);
      else {
        open = await openCheckpoint(file);
        for (const [, tensor] of tensorsOf(open.value, file)) {
          await tensor.read();
          gc();
        }
      }
      outcomes.push('read');
    } catch (error) {
      outcomes.push(error.code + ': ' + error.message);
    }
    await open?.close();
    gc();
  }
  return outcomes;
};
const [good, file] = process.argv.slice(1);
await read(good);
const before = peak();
const outcomes = await read(file);
console.log(JSON.stringify({ file, outcomes, grown: peak() - before, bytes: fs.statSync(file).size }));
`;

interface Reading {
  readonly file: string;
  readonly outcomes: readonly string[];
  readonly grown: number;
  readonly bytes: number;
}

const le = (value: bigint): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(value);
  return bytes;
};

/** 2^60 as a LONG1. */
const HUGE = '\x8a\x08\0\0\0\0\0\0\0\x10';

const safetensors = (header: string, length = BigInt(header.length), data = Buffer.alloc(0)): Buffer =>
  Buffer.concat([le(length), latin(header), data]);

/** A list of two of the same list, so many times: 2^times values in few bytes. */
const laughs = (times: number): string =>
  `]q\0${Array.from({ length: times }, (_, i) => `0](h${String.fromCharCode(i)}h${String.fromCharCode(i)}eq${String.fromCharCode(i + 1)}`).join('')}`;
const keys = latin('\x80\x02]X\x01\0\0\x000a.');

const files: Record<string, Buffer> = {
  'zip, 2^60 elements': torchArchive(
    latin(`\x80\x02${tensor({ elements: HUGE, shape: `${HUGE}\x85`, strides: 'K\x01\x85' })}.`),
    Buffer.alloc(16),
  ),
  'zip, expanded': torchArchive(
    latin(`\x80\x02${tensor({ shape: 'J\0\0\0\x40J\0\0\0\x40\x86', strides: 'K\0K\0\x86' })}.`),
    Buffer.alloc(16),
  ),
  'zip, many times expanded to 16 MiB': torchArchive(
    latin(`\x80\x02(${tensor({ shape: 'J\0\0\x40\0\x85', strides: 'K\0\x85' }).repeat(64)}t.`),
    Buffer.alloc(16),
  ),
  'zip, laughs': torchArchive(latin(`\x80\x02${laughs(60)}.`)),
  'zip, a text of 2^50 bytes': torchArchive(Buffer.concat([latin('\x80\x04\x8d'), le(2n ** 50n), latin('abc.')])),
  'zip, a bytearray of 2^50 bytes': torchArchive(Buffer.concat([latin('\x80\x05\x96'), le(2n ** 50n), latin('abc.')])),
  'zip, a whole number of 2^30 bytes': torchArchive(latin('\x80\x02\x8b\0\0\0\x40abc.')),
  'zip, a memo at 2^31': torchArchive(latin('\x80\x02]r\xff\xff\xff\x7f.')),
  'zip, a million lists': torchArchive(latin(`\x80\x02(${']'.repeat(1e6)}l.`)),
  'zip, depth': torchArchive(latin(`\x80\x02${'('.repeat(1e6)}${'l'.repeat(1e6)}.`)),
  'zip, one text made bytes 500 times': torchArchive(
    latin(
      `\x80\x02X${int4(2 ** 21)}${'a'.repeat(2 ** 21)}q\0X\x06\0\0\0latin1q\x010](` +
        `${'c_codecs\nencode\nh\0h\x01\x86R'.repeat(500)}e.`,
    ),
  ),
  'zip, one list made a dict 500 times': torchArchive(
    latin(`\x80\x02](${'K\0K\0\x86'.repeat(20_000)}eq\0](${'ccollections\nOrderedDict\nh\0\x85R'.repeat(500)}e.`),
  ),
  'zip, one tuple given to 1000 calls': torchArchive(
    latin(`\x80\x02(${'K\0'.repeat(100_000)}tq\x000](${'ctorch\ndevice\nh\0R'.repeat(1000)}e.`),
  ),
  'zip, 190,000 dicts': torchArchive(latin(`\x80\x02](${'}'.repeat(190_000)}e.`)),
  'legacy, dicts in every pickle': Buffer.concat([
    LEGACY_MAGIC,
    ...[1, 2, 3, 4].map(() => latin(`\x80\x02](${'}'.repeat(100_000)}e.`)),
  ]),
  'zip, expanded once and named 40 times': torchArchive(
    latin(`\x80\x02](${tensor({ shape: 'J\0\0\x40\0\x85', strides: 'K\0\x85' })}q\0${'h\0'.repeat(40)}e.`),
    Buffer.alloc(16),
  ),
  'zip, a key of a megabyte over a thousand tensors': torchArchive(
    latin(
      `\x80\x02}X${int4(2 ** 20)}${'k'.repeat(2 ** 20)}](${tensor({ shape: 'K\x04\x85', strides: 'K\x01\x85' })}q\0${'h\0'.repeat(1000)}es.`,
    ),
    Buffer.alloc(16),
  ),
  'legacy, 2^60 elements': legacyFile(tensor({ elements: HUGE, shape: `${HUGE}\x85`, strides: 'K\x01\x85' }), [
    keys,
    le(2n ** 60n),
  ]),
  'legacy, 2^40 claimed by the record': legacyFile(tensor({ shape: 'K\x04\x85', strides: 'K\x01\x85' }), [
    keys,
    le(2n ** 40n),
  ]),
  'legacy, expanded': legacyFile(tensor({ shape: 'J\0\0\0\x40J\0\0\0\x40\x86', strides: 'K\0K\0\x86' }), [
    keys,
    le(4n),
    Buffer.alloc(16),
  ]),
  'legacy, laughs': legacyFile(laughs(60), [latin('\x80\x02].')]),
  'safetensors, a header of 2^60': safetensors('{}', 2n ** 60n),
  'safetensors, a header of 99 MB': safetensors('{}', 99_000_000n),
  'safetensors, 2^53 elements': safetensors(
    '{"a":{"dtype":"F32","shape":[9007199254740991],"data_offsets":[0,16]}}',
    undefined,
    Buffer.alloc(16),
  ),
  'safetensors, far offsets': safetensors(
    '{"a":{"dtype":"U8","shape":[16],"data_offsets":[1099511627776,1099511627792]}}',
    undefined,
    Buffer.alloc(16),
  ),
  'safetensors, a header of brackets': safetensors('{"a":'.repeat(200_000)),
  'safetensors, two million sizes': safetensors(
    `{"a":{"dtype":"U8","shape":[${'1,'.repeat(2e6)}1],"data_offsets":[0,1]}}`,
    undefined,
    Buffer.alloc(1),
  ),
};

/** These are no larger than they say, and are read: as a whole, tensor by tensor. All others are refused both ways. */
const READ: Readonly<Record<string, readonly [boolean, boolean]>> = {
  'zip, a memo at 2^31': [true, true],
  'zip, expanded once and named 40 times': [true, true],
  'zip, a key of a megabyte over a thousand tensors': [true, false], // the keys of the list would be a gigabyte
};

t.test('no file costs more than 64 MiB beyond its size', async (t) => {
  const good = path.join(folder, 'good');
  fs.writeFileSync(
    good,
    torchArchive(latin(`\x80\x02${tensor({ shape: 'K\x04\x85', strides: 'K\x01\x85' })}.`), Buffer.alloc(16)),
  );
  for (const [name, content] of Object.entries(files)) {
    const file = path.join(folder, name.replaceAll(/[ ,^]+/g, '-'));
    fs.writeFileSync(file, content);
    const { stdout, stderr, code } = await runScript(READER, {
      args: [good, file],
      flags: ['--expose-gc'],
      timeout: 60_000,
    });
    if (!t.equal(code, 0, `${name}: ${stderr.slice(-1000)}`)) continue;
    const { outcomes, grown, bytes } = JSON.parse(stdout) as Reading;
    t.ok(grown < 64 * MIB + bytes, `${name}: ${Math.round(grown / MIB)} MiB`);
    t.strictSame(
      outcomes.map((outcome) => outcome === 'read'),
      READ[name] ?? [false, false],
      `${name}: ${outcomes.join(' | ')}`,
    );
    for (const outcome of outcomes.filter((outcome) => outcome !== 'read')) {
      t.match(outcome, /^ERR_CHECKPOINT_(CORRUPT|UNSUPPORTED): .*/s, name);
      t.ok(outcome.includes(file), `${name}: the error names the file: ${outcome}`);
    }
    t.comment(`${name}: ${outcomes.map((o) => o.slice(0, 60)).join(' | ')}, ${Math.round(grown / MIB)} MiB`);
  }
});
