import { writeFileSync } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { FormatError } from '../../lib/checkpoint/format-error.js';
import { ZipReader, ZipWriter } from '../../lib/checkpoint/zip.js';
import { zipArchive } from '../support/pickles.js';
import { runPython, whyNoPython } from '../support/python.js';

const folder = t.testdir();
let files = 0;

/** Opens the bytes as a file and reads every entry. */
async function readAll(bytes: Uint8Array): Promise<Map<string, Buffer>> {
  const path = join(folder, `file-${files++ % 10}`);
  writeFileSync(path, bytes);
  const file = await open(path);
  try {
    const zip = await ZipReader.open(file, bytes.length);
    const contents = new Map<string, Buffer>();
    for (const entry of zip.entries.values()) contents.set(entry.name, Buffer.from(await zip.read(entry)));
    return contents;
  } finally {
    await file.close();
  }
}

const small: [string, Buffer][] = [
  ['a/data.pkl', Buffer.from('pickle')],
  ['a/data/0', Buffer.alloc(100, 1)],
  ['a/data/1', Buffer.alloc(0)],
  ['a/ünïcode', Buffer.from('x')],
];

t.test('what is written is read', async (t) => {
  t.strictSame([...(await readAll(zipArchive(small)))], small);
  t.equal((await readAll(zipArchive([]))).size, 0);
});

t.test('data lies at multiples of 64', async (t) => {
  for (let length = 1; length < 70; length++) {
    const bytes = zipArchive([
      ['n'.repeat(length), Buffer.from('first data')],
      ['second', Buffer.from('second data')],
    ]);
    t.equal(bytes.indexOf('first data') % 64, 0);
    t.equal(bytes.indexOf('second data') % 64, 0);
  }
});

t.test("Python's zipfile finds no fault", { skip: whyNoPython() }, async (t) => {
  const path = join(folder, 'python.zip');
  const many = Array.from({ length: 66_000 }, (_, i): [string, Buffer] => [`a/data/${i}`, Buffer.from(`${i}`)]);
  const script =
    'import sys, zipfile; z = zipfile.ZipFile(sys.argv[1]); print(z.testzip(), len(z.namelist()), z.read(z.namelist()[-1]))';
  // More than 65,535 entries need the zip64 end record.
  for (const [entries, expected] of [
    [small, "None 4 b'x'\n"],
    [many, "None 66000 b'65999'\n"],
  ] as const) {
    writeFileSync(path, zipArchive(entries));
    t.equal(runPython(script, path), expected);
  }
  const file = await open(path);
  t.teardown(() => file.close());
  const zip = await ZipReader.open(file, (await file.stat()).size);
  t.equal(zip.entries.size, 66_000);
  t.equal(Buffer.from(await zip.read(zip.entries.get('a/data/65999')!)).toString(), '65999');
});

t.test('entries and offsets beyond 4 GiB', async (t) => {
  // The zeros are not written but skipped, so that the file takes almost no room on the disk.
  const path = join(folder, 'large.zip');
  const file = await open(path, 'w+');
  t.teardown(() => file.close());
  const zeros = new Uint8Array(16 * 2 ** 20);
  let position = 0;
  const write = async (chunks: Iterable<Uint8Array>): Promise<void> => {
    for (const chunk of chunks) {
      if (chunk.length < zeros.length) await file.write(chunk, 0, chunk.length, position);
      position += chunk.length;
    }
  };
  // An array that long would take its memory; this one only says that it is, piece by piece.
  const size = 2 ** 32 + zeros.length;
  const huge = { length: size, subarray: () => zeros } as unknown as Uint8Array;
  const zip = new ZipWriter();
  await write(zip.entry('first', Buffer.from('first data')));
  await write(zip.entry('huge', huge));
  await write(zip.entry('last', Buffer.from('last data')));
  await write(zip.end());
  const reader = await ZipReader.open(file, position);
  const entries = [...reader.entries.values()];
  t.strictSame(
    entries.map((entry) => entry.size),
    [10, size, 9],
  );
  t.ok(entries[2]!.offset > size);
  t.equal(Buffer.from(await reader.read(entries[2]!)).toString(), 'last data');
  const script = `import sys, zipfile; z = zipfile.ZipFile(sys.argv[1]); print(z.getinfo('huge').file_size, z.read('last'), z.open('huge').read(4))`;
  if (whyNoPython() === false) t.equal(runPython(script, path), `${size} b'last data' b'\\x00\\x00\\x00\\x00'\n`);
});

/** Bytes with a change at a place. */
const patched = (bytes: Buffer, change: (copy: Buffer) => void): Buffer => {
  const copy = Buffer.from(bytes);
  change(copy);
  return copy;
};

t.test('hostile archives are refused', async (t) => {
  const good = zipArchive(small);
  const directory = good.readUInt32LE(good.length - 6);
  const end64 = good.length - 22 - 20 - 56;
  const refuses = (what: string, bytes: Buffer, message: RegExp): Promise<unknown> =>
    t.rejects(readAll(bytes), { constructor: FormatError, message }, what);
  for (let length = 0; length < good.length; length++) {
    const outcome = await readAll(good.subarray(0, length)).catch((error: unknown) => error);
    if (!(outcome instanceof FormatError)) t.fail(`cut to ${length} bytes: ${String(outcome)}`);
  }
  await refuses(
    'a size beyond the file',
    patched(good, (b) => (b.writeUInt32LE(1e6, directory + 20), b.writeUInt32LE(1e6, directory + 24))),
    /overlaps/,
  );
  await refuses(
    'two sizes',
    patched(good, (b) => b.writeUInt32LE(1, directory + 24)),
    /two different sizes/,
  );
  await refuses(
    'a size that is a little too large',
    patched(good, (b) => (b.writeUInt32LE(7 + 64, directory + 20), b.writeUInt32LE(7 + 64, directory + 24))),
    /overlaps|checksum/,
  );
  await refuses(
    'one too small',
    patched(good, (b) => (b.writeUInt32LE(5, directory + 20), b.writeUInt32LE(5, directory + 24))),
    /checksum of a\/data.pkl/,
  );
  const second = directory + 46 + 'a/data.pkl'.length;
  await refuses(
    'two entries at one place',
    patched(good, (b) => b.writeUInt32LE(0, second + 42)),
    /overlaps/,
  );
  await refuses(
    'an offset beyond the file',
    patched(good, (b) => b.writeUInt32LE(2 ** 31, directory + 42)),
    /overlaps/,
  );
  await refuses(
    'a compressed entry',
    patched(good, (b) => b.writeUInt16LE(8, directory + 10)),
    /is compressed/,
  );
  await refuses(
    'an encrypted entry',
    patched(good, (b) => b.writeUInt16LE(0x0801, directory + 8)),
    /is encrypted/,
  );
  await refuses(
    '2^60 entries',
    patched(good, (b) => b.writeBigUInt64LE(2n ** 60n, end64 + 32)),
    /claims a size/,
  );
  await refuses(
    '2^40 entries',
    patched(good, (b) => b.writeBigUInt64LE(2n ** 40n, end64 + 32)),
    /too short for/,
  );
  // A directory of so many entries' length, so that nothing else is wrong with their number.
  const many = 2 ** 18;
  const claimed = Buffer.concat([Buffer.alloc(46 * many), zipArchive([])]);
  for (const at of [24, 32]) claimed.writeBigUInt64LE(BigInt(many), 46 * many + at);
  claimed.writeBigUInt64LE(BigInt(46 * many), 46 * many + 40);
  claimed.writeBigUInt64LE(BigInt(46 * many), 46 * many + 64);
  await refuses('2^18 entries', claimed, /it has 262144 entries; at most/);
  await refuses(
    'a directory of 2^50 bytes',
    patched(good, (b) => b.writeBigUInt64LE(2n ** 50n, end64 + 40)),
    /directory does not end/,
  );
  await refuses(
    'an end record elsewhere',
    patched(good, (b) => b.writeBigUInt64LE(2n ** 40n, end64 + 64)),
    /outside the file/,
  );
  await refuses(
    'changed data',
    patched(good, (b) => (b[b.indexOf('pickle')]! ^= 1)),
    /checksum of a\/data.pkl is wrong/,
  );
  await refuses(
    'another name inside',
    patched(good, (b) => b.write('b', 30)),
    /described otherwise/,
  );
  await refuses(
    'the same name twice',
    zipArchive([
      ['a', Buffer.from('1')],
      ['a', Buffer.from('2')],
    ]),
    /two entries called a/,
  );
  for (const name of ['../x', '/etc/passwd', 'a/../../x', 'a\\..\\x', 'a\0b', '..', 'a/.', '']) {
    await refuses(JSON.stringify(name), zipArchive([[name, Buffer.from('x')]]), /unsafe name/);
  }
  await refuses(
    'a name that is no UTF-8',
    patched(zipArchive([['xyz', Buffer.from('1')]]), (b) => (b[b.lastIndexOf('xyz')] = 0xff)),
    /unsafe name/,
  );
  await refuses('no zip archive', Buffer.alloc(1000, 'x'), /its end is missing/);
});

t.test('a zero checksum means that there is none', async (t) => {
  const good = zipArchive([['a', Buffer.from('data')]]);
  const directory = good.readUInt32LE(good.length - 6);
  const without = patched(good, (b) => b.writeUInt32LE(0, directory + 16));
  t.equal((await readAll(without)).get('a')?.toString(), 'data');
});

t.test('an entry that overlaps the next through its extra field', async (t) => {
  const good = zipArchive([
    ['a', Buffer.alloc(40, 'x')],
    ['b', Buffer.from('y')],
  ]);
  const grown = patched(good, (b) => b.writeUInt16LE(b.readUInt16LE(28) + 60, 28));
  await t.rejects(readAll(grown), { message: /the entry a overlaps the next one/ });
});

t.test('a file that shrinks while it is read', async (t) => {
  const bytes = zipArchive(small);
  const path = join(folder, 'shrinks');
  writeFileSync(path, bytes);
  const file: FileHandle = await open(path, 'r+');
  t.teardown(() => file.close());
  const zip = await ZipReader.open(file, bytes.length);
  await file.truncate(70);
  await t.rejects(zip.read(zip.entries.get('a/data/0')!), { message: /ends too early/ });
});
