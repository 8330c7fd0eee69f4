/**
 * ImageNet's validation images without class folders: labels from the devkit's MATLAB file and ground truth, and from
 * Kaggle's table.
 */
import fs from 'node:fs';
import path from 'node:path';
import { deflateSync } from 'node:zlib';
import t from 'tap';
import { listImagenet } from '../../lib/index.js';
import { MatFileError, readMatStructs } from '../../lib/data/images/mat-file.js';
import { Random } from '../../lib/random.js';
import { within, writeFiles, type Files } from '../support/folders.js';
import { runPython, whyNoPython } from '../support/python.js';

const folder = t.testdir({});
const at = within(folder);

/** The 1,000 ids in the devkit's order, which is not that of the ids; behind them two of their ancestors. */
const ids = Array.from({ length: 1000 }, (_, i) => `n${String(20_000_000 + ((i * 7919) % 100_003))}`);
const sorted = [...ids].sort();
const all = [...ids, 'n99999998', 'n99999999'];

// ------------------------------------------------------------------ a writer of MATLAB's format, for the tests alone

function tag(type: number, data: Buffer): Buffer {
  const head = Buffer.alloc(8);
  if (data.length > 0 && data.length <= 4) {
    head.writeUInt16LE(type, 0);
    head.writeUInt16LE(data.length, 2);
    data.copy(head, 4);
    return head;
  }
  head.writeUInt32LE(type, 0);
  head.writeUInt32LE(data.length, 4);
  return Buffer.concat([head, data, Buffer.alloc((8 - (data.length % 8)) % 8)]);
}
const int32 = (...values: number[]): Buffer => Buffer.from(Int32Array.from(values).buffer);
const matrix = (kind: number, size: number[], name: string, ...parts: Buffer[]): Buffer =>
  tag(14, Buffer.concat([tag(6, int32(kind, 0)), tag(5, int32(...size)), tag(1, Buffer.from(name)), ...parts]));
const char = (text: string): Buffer => matrix(4, [1, text.length], '', tag(4, Buffer.from(text, 'utf16le')));
const number = (value: number): Buffer => {
  const stored: [number, Buffer] =
    value < 256
      ? [2, Buffer.of(value)]
      : value < 65536
        ? [4, Buffer.from(Uint16Array.of(value).buffer)]
        : [9, Buffer.from(Float64Array.of(value).buffer)];
  return matrix(6, [1, 1], '', tag(...stored));
};
const vector = (...values: number[]): Buffer =>
  matrix(6, [1, values.length], '', tag(9, Buffer.from(Float64Array.from(values).buffer)));

function structs(name: string, fields: string[], rows: Buffer[][]): Buffer {
  const width = 32;
  const names = Buffer.alloc(width * fields.length);
  fields.forEach((field, i) => names.write(field, i * width));
  return matrix(2, [rows.length, 1], name, tag(5, int32(width)), tag(1, names), ...rows.flat());
}
const matFile = (...elements: Buffer[]): Buffer => {
  const head = Buffer.alloc(128, ' ');
  head.write('MATLAB 5.0 MAT-file');
  head.writeUInt16LE(0x0100, 124);
  head.write('IM', 126);
  return Buffer.concat([head, ...elements]);
};
const compressed = (element: Buffer): Buffer => {
  const data = deflateSync(element);
  const head = Buffer.alloc(8);
  head.writeUInt32LE(15, 0);
  head.writeUInt32LE(data.length, 4);
  return Buffer.concat([head, data]);
};
const synsets = structs(
  'synsets',
  ['ILSVRC2012_ID', 'WNID', 'words', 'children'],
  all.map((id, i) => [number(i + 1), char(id), char(i === 5 ? '' : 'thing, ünique'), vector(1, 2, 3)]),
);
const META = matFile(compressed(matrix(6, [1, 1], 'other', tag(2, Buffer.of(1)))), compressed(synsets));

// ------------------------------------------------------------------

t.test('MATLAB files', (t) => {
  for (const file of [META, matFile(synsets)]) {
    const read = readMatStructs(file, 'synsets');
    t.equal(read.length, 1002);
    t.same(read[5], { ILSVRC2012_ID: 6, WNID: ids[5], words: '' });
    t.same(read[999], { ILSVRC2012_ID: 1000, WNID: ids[999], words: 'thing, ünique' });
  }
  t.throws(() => readMatStructs(META, 'classes'), { message: /no array of structs called classes/ });
  t.throws(() => readMatStructs(Buffer.alloc(500), 'synsets'), { message: /no MATLAB file of version 5/ });
  // Cut off or changed anywhere: an error of this reader or a result, and soon.
  const small = matFile(structs('synsets', ['ILSVRC2012_ID', 'WNID'], [[number(1), char('n00000001')]]));
  for (let end = 0; end < small.length; end++) {
    t.throws(() => readMatStructs(small.subarray(0, end), 'synsets'), { message: /^it (is|has|ends) / });
  }
  const random = new Random(1);
  let refused = 0;
  for (let i = 0; i < 3000; i++) {
    const broken = Buffer.from(small);
    broken[128 + random.nextBelow(small.length - 128)] = random.nextBelow(256);
    try {
      readMatStructs(broken, 'synsets');
    } catch (error) {
      if (!(error instanceof MatFileError)) throw error;
      refused++;
    }
  }
  t.ok(refused > 1000, `${refused} refused`);
  const bomb = compressed(Buffer.alloc(200 * 2 ** 20));
  t.throws(() => readMatStructs(matFile(bomb), 'synsets'), { message: /compressed bytes are damaged/ });
  t.end();
});

t.test('and those of scipy', { skip: whyNoPython('scipy') }, (t) => {
  for (const compress of ['True', 'False']) {
    const file = at(`scipy-${compress}.mat`);
    const code = `
import numpy, scipy.io, sys
rows = numpy.zeros((3, 1), dtype=[('ILSVRC2012_ID', 'O'), ('WNID', 'O'), ('words', 'O'), ('children', 'O')])
for i, number in enumerate([1.0, 1000.0, 70000.0]):
    rows[i, 0] = (number, 'n0000000%d' % i, 'a, b', numpy.array([1.0, 2.0]))
scipy.io.savemat(sys.argv[1], {'synsets': rows}, do_compression=${compress})`;
    runPython(code, file);
    t.same(
      readMatStructs(fs.readFileSync(file), 'synsets'),
      [1, 1000, 70000].map((number, i) => ({ ILSVRC2012_ID: number, WNID: `n0000000${i}`, words: 'a, b' })),
    );
  }
  t.end();
});

/** A folder with images 1 to 4 in val, flat. */
function flat(name: string, files: Files): string {
  for (let i = 1; i <= 4; i++) files = { ...files, [`val/ILSVRC2012_val_0000000${i}.JPEG`]: '' };
  return writeFiles(at(name), files);
}

/** Of images 1 to 4, in the devkit's numbers. */
const TRUTH = [490, 361, 1, 1000];
const expected = TRUTH.map((number) => sorted.indexOf(ids[number - 1]!));
const truth = `${TRUTH.join('\n')}\n`;

t.test('labels', async (t) => {
  const kit = 'ILSVRC2012_devkit_t12/data';
  const lines = TRUTH.map((n, i) => `ILSVRC2012_val_0000000${i + 1},${ids[n - 1]} 85 1 499 272 n01440764 1 2 3 4\n`);
  const csv = `ImageId,PredictionString\n${lines.reverse().join('')}`;
  const mapping = sorted.map((id) => `${id} thing\n`).join('');
  for (const [name, files] of Object.entries({
    devkit: { [`${kit}/ILSVRC2012_validation_ground_truth.txt`]: truth, [`${kit}/meta.mat`]: META },
    beside: { 'ILSVRC2012_validation_ground_truth.txt': truth, 'data/meta.mat': META },
    kaggle: { 'LOC_val_solution.csv': csv, 'LOC_synset_mapping.txt': mapping },
  })) {
    const dir = flat(name, files);
    const { labels, classes, files: images } = await listImagenet(dir, 'val');
    t.same([...labels], expected, name);
    t.same(classes, sorted);
    t.equal(images[3], path.join(dir, 'val', 'ILSVRC2012_val_00000004.JPEG'));
  }
});

t.test('what is missing or wrong', async (t) => {
  const refused = async (files: Files, code: string, message: RegExp) => {
    const dir = fs.mkdtempSync(at('bad-'));
    await t.rejects(listImagenet(flat(path.basename(dir), files), 'val'), { code, message });
  };
  const name = 'ILSVRC2012_validation_ground_truth.txt';
  const [missing, corrupt] = ['ERR_DATASET_NOT_FOUND', 'ERR_DATASET_CORRUPT'];
  await refused({}, missing, /ground_truth.*LOC_val_solution\.csv/);
  await refused({ [name]: truth }, missing, /meta\.mat beside it/);
  await refused({ [name]: '1\n2\n', 'meta.mat': META }, corrupt, /says nothing of ILSVRC2012_val_00000003/);
  await refused({ [name]: '1\n2\n3\n1001\n', 'meta.mat': META }, corrupt, /says 1001 of ILSVRC2012_val_00000004/);
  await refused({ [name]: truth, 'meta.mat': META.subarray(0, 9000) }, corrupt, /meta\.mat: it ends in the middle/);
  const few = matFile(structs('synsets', ['ILSVRC2012_ID', 'WNID'], [[number(1), char('n00000001')]]));
  await refused({ [name]: truth, 'meta.mat': few }, corrupt, /names 1 classes.*instead of 1,000/);
  const mapping = sorted.map((id) => `${id} thing\n`).join('');
  const csv = `ILSVRC2012_val_00000001,${ids[0]} 1 2 3 4\n`;
  const kaggle = { 'LOC_val_solution.csv': csv, 'LOC_synset_mapping.txt': mapping };
  await refused(kaggle, corrupt, /no line for ILSVRC2012_val_00000002/);
  await refused({ 'LOC_val_solution.csv': csv }, corrupt, /no line for/);
});
