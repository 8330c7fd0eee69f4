/** CIFAR-10, both versions and their archives: the reader, and the data set on the command line. */
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import t from 'tap';
import { CIFAR10_NORMALIZATION, readCifar10 } from '../../lib/data/cifar10.js';
import { cifar10 } from '../../lib/index.js';
import { readCheckpoint, writeCheckpoint } from '../../lib/training/checkpoint.js';
import { cortorch } from '../support/cli.js';
import { writeFiles, type Files } from '../support/folders.js';
import { int4, latin } from '../support/pickles.js';

const IMAGE = 3 * 32 * 32;

/** A batch of records; byte p of image i is (p + i + first) mod 251. */
const batch = (labels: readonly number[], first = 0): Buffer =>
  Buffer.concat(
    labels.map((label, i) => Buffer.from([label, ...Array.from({ length: IMAGE }, (_, p) => (p + i + first) % 251)])),
  );

const folder = t.testdir({ empty: {}, python: { data_batch_1: 'pickled' }, file: 'text' });

const writeBatches = (name: string, files: Files): string => writeFiles(path.join(folder, name), files);

const few = writeBatches('few/cifar-10-batches-bin', {
  'data_batch_10.bin': batch([9], 100),
  'data_batch_2.bin': batch([4, 5], 20),
  'test_batch.bin': batch([7]),
});

t.test('records in the order of the batches, from the folder or the one around it', async (t) => {
  for (const dataDir of [few, path.dirname(few)]) {
    const { train, test, folder } = await readCifar10(dataDir);
    t.equal(folder, few);
    t.strictSame([...train.labels], [4, 5, 9]);
    t.strictSame(train.shape, [3, 32, 32]);
    t.equal(train.classes, 10);
    const firsts = [0, 1, 2].map((i) => train.images[i * IMAGE]);
    t.strictSame(firsts, [20, 21, 100]);
    t.equal(train.images[IMAGE - 1], (IMAGE - 1 + 20) % 251, 'planes stay as they are: channel, row, column');
    t.strictSame([...test.labels], [7]);
    t.equal(test.images.length, IMAGE);
  }
  const { train, test } = await cifar10({ dataDir: few });
  t.match({ train, test }, { train: { size: 3, shape: [3, 32, 32], classes: 10 }, test: { size: 1 } });
  train.dispose();
  test.dispose();
});

t.test('what is wrong is said of the file', async (t) => {
  const good = { 'data_batch_1.bin': batch([0, 1]), 'test_batch.bin': batch([2]) };
  const refused = (files: Files, code: string, message: RegExp) => {
    const at = fs.mkdtempSync(path.join(folder, 'bad-'));
    return t.rejects(readCifar10(writeFiles(at, files)), { code, message });
  };
  const cut = good['data_batch_1.bin'].subarray(1);
  const size = /data_batch_1\.bin: expected records of 3073 bytes .*it has 6145 bytes; unpack/;
  await refused({ ...good, 'data_batch_1.bin': cut }, 'ERR_DATASET_CORRUPT', size);
  const none = /test_batch\.bin: expected records .*has 0 bytes/;
  await refused({ ...good, 'test_batch.bin': Buffer.alloc(0) }, 'ERR_DATASET_CORRUPT', none);
  const label = /data_batch_2\.bin: label 1 is 10, but labels go from 0 to 9/;
  await refused({ ...good, 'data_batch_2.bin': batch([0, 10]) }, 'ERR_DATASET_CORRUPT', label);
  const { 'test_batch.bin': test, ...train } = good;
  await refused(train, 'ERR_DATASET_NOT_FOUND', /holds no test_batch\.bin; /);
  await refused({ 'test_batch.bin': test }, 'ERR_DATASET_NOT_FOUND', /holds no data_batch_1\.bin; /);
  const missing = (dataDir: string | undefined, message: RegExp) =>
    t.rejects(readCifar10(dataDir), { code: 'ERR_DATASET_NOT_FOUND', message });
  for (const name of ['empty', 'nowhere']) {
    await missing(
      path.join(folder, name),
      /holds no files of CIFAR-10 \(data_batch_1\.bin or data_batch_1\), no folder .*, and no .*tar\.gz/,
    );
  }
  await missing(path.join(folder, 'python'), /holds no test_batch; unpack or download the Python version again/);
  await missing(undefined, /download its binary or its Python version, https:.*--data-dir/);
  await t.rejects(readCifar10(path.join(folder, 'file')), {
    code: 'ERR_DATASET_CORRUPT',
    message: /file: it is not a tar archive/,
  });
  const at = writeBatches('folder-for-file', { 'test_batch.bin': test });
  fs.mkdirSync(path.join(at, 'data_batch_1.bin'));
  await t.rejects(readCifar10(at), { code: 'ERR_READ_FAILED', message: /data_batch_1\.bin/ });
});

/** A dict as Python 2 pickles it: text and bytes are the same, and numpy's array is rebuilt from them. */
function pythonBatch(labels: readonly number[], images: Buffer, shape = [labels.length, IMAGE]): Buffer {
  const text = (value: string): Buffer => latin(`U${String.fromCharCode(value.length)}${value}`);
  const array = [
    latin('cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\0\x85U\x01bt\x52'),
    latin('(K\x01'),
    ...shape.map((size) => latin('J', int4(size))),
    latin('\x86cnumpy\ndtype\n(U\x02u1K\0K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb\x89T'),
    latin(int4(images.length)),
    images,
    latin('tb'),
  ];
  return Buffer.concat([
    latin('\x80\x02}('),
    text('batch_label'),
    text('a batch'),
    text('labels'),
    latin(`](${labels.map((label) => `K${String.fromCharCode(label)}`).join('')}e`),
    text('data'),
    ...array,
    latin('u.'),
  ]);
}

const imagesOf = (labels: readonly number[], first = 0): Buffer =>
  Buffer.concat(labels.map((_, i) => batch([0], first + i).subarray(1)));

const ascii = Buffer.alloc(IMAGE, 'a'); // bytes that could be text
const fewInPython = writeBatches('unpacked/cifar-10-batches-py', {
  data_batch_1: pythonBatch([4, 5], imagesOf([4, 5], 20)),
  data_batch_10: pythonBatch([9], ascii),
  data_batch_2: pythonBatch([1], imagesOf([1], 100)),
  test_batch: pythonBatch([7], imagesOf([7])),
  'batches.meta': Buffer.from('something else'),
});

t.test('the Python version', async (t) => {
  const at = fewInPython;
  for (const dataDir of [at, path.dirname(at)]) {
    const { train, test, folder } = await readCifar10(dataDir);
    t.equal(folder, at);
    t.strictSame([...train.labels], [4, 5, 1, 9]);
    t.ok(Buffer.from(train.images).equals(Buffer.concat([imagesOf([4, 5], 20), imagesOf([1], 100), ascii])));
    t.ok(Buffer.from(test.images).equals(imagesOf([7])));
  }
  const good = { data_batch_1: pythonBatch([1], imagesOf([1])), test_batch: pythonBatch([7], imagesOf([7])) };
  for (const [bytes, message] of [
    [pythonBatch([10], imagesOf([1])), /data_batch_1: label 0 is 10/],
    [pythonBatch([1, 2], imagesOf([1]), [1, IMAGE]), /data_batch_1: .*'labels' is a list of a label for each of its 1/],
    [pythonBatch([1], imagesOf([1]), [2, IMAGE]), /data_batch_1: .*bytes are too many or too few/],
    [pythonBatch([1], imagesOf([1]), [IMAGE, 1]), /data_batch_1: .*images × 3072/],
    [good.data_batch_1.subarray(0, 2000), /data_batch_1: its pickle ends too early/],
    [Buffer.from('\x80\x02cos\nsystem\nU\x02ls\x85R.', 'latin1'), /data_batch_1: it calls .*os\.system/],
    [Buffer.alloc(0), /data_batch_1: /],
  ] as const) {
    const bad = writeBatches('bad-python', { ...good, data_batch_1: bytes });
    await t.rejects(readCifar10(bad), { code: 'ERR_DATASET_CORRUPT', message });
  }
});

t.test('archives', async (t) => {
  const packed = path.join(folder, 'packed');
  fs.mkdirSync(packed);
  const archive = path.join(packed, 'cifar-10-binary.tar.gz');
  for (const format of ['ustar', 'pax', 'gnu']) {
    const tar = ['--format', format, '-czf', archive, '-C', path.dirname(few), 'cifar-10-batches-bin'];
    execFileSync('tar', tar);
    for (const dataDir of [archive, packed]) {
      const { train, test, folder } = await readCifar10(dataDir);
      t.equal(folder, archive);
      t.strictSame([...train.labels], [4, 5, 9], format);
      t.strictSame([...test.labels], [7]);
      t.equal(train.images[IMAGE], 21);
    }
  }
  const python = path.join(folder, 'anything.tar');
  execFileSync('tar', ['-cf', python, '-C', path.dirname(fewInPython), 'cifar-10-batches-py']);
  t.strictSame([...(await readCifar10(python)).train.labels], [4, 5, 1, 9], 'what it is, its content says');

  const bytes = fs.readFileSync(archive);
  const bad = path.join(folder, 'bad.tar.gz');
  const refused = async (content: Buffer, message: RegExp, code = 'ERR_DATASET_CORRUPT') => {
    fs.writeFileSync(bad, content);
    await t.rejects(readCifar10(bad), { code, message });
  };
  await refused(bytes.subarray(0, bytes.length - 30), /bad\.tar\.gz: its compressed bytes are damaged/);
  const flipped = Buffer.from(bytes);
  flipped[bytes.length >> 1]! ^= 0x10;
  await refused(flipped, /bad\.tar\.gz: /);
  // Zeros may fill an archive's last record, here so many that gzip's own checksum comes long after the last file.
  const filled = gzipSync(Buffer.concat([gunzipSync(bytes), Buffer.alloc(2 ** 22)]));
  fs.writeFileSync(bad, filled);
  t.strictSame([...(await readCifar10(bad)).train.labels], [4, 5, 9]);
  filled[filled.length - 8]! ^= 1;
  await refused(filled, /bad\.tar\.gz: its compressed bytes are damaged \(incorrect data check\)/);
  const wrong = writeBatches('wrong', { 'data_batch_1.bin': batch([10]), 'test_batch.bin': batch([0]) });
  execFileSync('tar', ['-czf', bad, '-C', wrong, '.']);
  await refused(fs.readFileSync(bad), /bad\.tar\.gz: \.\/data_batch_1\.bin: label 0 is 10/);
  const plain = gunzipSync(bytes);
  await refused(plain.subarray(0, 2000), /bad\.tar\.gz: it is cut off in /);
  const header = Buffer.from(plain);
  header[130]! ^= 1;
  await refused(header, /bad\.tar\.gz: (the header at byte 0 is damaged|it is not a tar archive)/);
  await refused(Buffer.alloc(1024), /is no archive of CIFAR-10/, 'ERR_DATASET_NOT_FOUND');
});

t.test('training and evaluating', async (t) => {
  const labels = Array.from({ length: 60 }, (_, i) => i % 10);
  const dataDir = writeBatches('small', {
    'data_batch_1.bin': batch(labels),
    'test_batch.bin': batch(labels),
  });
  const spec = path.join(folder, 'small.json');
  const layers = [{ type: 'flatten' }, { type: 'dense', units: 10 }];
  fs.writeFileSync(spec, JSON.stringify({ input: [3, 32, 32], layers, loss: 'softmax-cross-entropy' }));
  const out = path.join(folder, 'run');
  const data = ['--dataset', 'cifar10', '--data-dir', dataDir];
  const run = ['--model', spec, '--epochs', '1', '--threads', '1', '--batch-size', '10'];

  t.match(await cortorch(['train', '--dataset', 'cifar10', ...run]), {
    code: 1,
    stderr: /ERR_DATASET_NOT_FOUND.*--data-dir/,
  });
  t.match(await cortorch(['train', ...data, ...run]), {
    code: 2,
    stderr: /cannot hold out 5000 images.*hold out at most 50 \(--validation 50\)/,
  });
  const trained = await cortorch(['train', ...data, ...run, '--validation', '10', '--out', out, '--json']);
  t.equal(trained.code, 0, trained.stderr);
  t.match(trained.lines[0], { type: 'start', config: { dataset: 'cifar10', ...CIFAR10_NORMALIZATION } });
  const best = path.join(out, 'best.pt');
  const checkpoint = await readCheckpoint(best);
  t.match(checkpoint.config.normalization, CIFAR10_NORMALIZATION);

  const evaluate = async (file: string, ...more: string[]) => {
    const flags = ['--data-dir', dataDir, '--threads', '1', '--json'];
    const done = await cortorch(['eval', '--checkpoint', file, ...flags, ...more]);
    t.equal(done.code, 0, done.stderr);
    return done.lines[0]!.loss as number;
  };
  const loss = await evaluate(best);
  t.equal(loss, trained.lines.at(-1)!.best.test.loss);
  t.equal(await evaluate(best, '--mean', '0.4914,0.4822,0.4465', '--std', '0.2470,0.2435,0.2616'), loss);
  const plain = await evaluate(best, '--mean', '0,0,0', '--std', '1,1,1');
  t.not(plain, loss, 'flags win over the checkpoint');
  const without = path.join(folder, 'without.pt');
  await writeCheckpoint(without, { ...checkpoint, config: { ...checkpoint.config, normalization: null } });
  t.equal(await evaluate(without), plain, 'a checkpoint without normalisation gets none from its data set');
  t.match(await cortorch(['eval', '--checkpoint', best, '--mean', '0.5']), {
    code: 2,
    stderr: /--std is missing/,
  });
});
