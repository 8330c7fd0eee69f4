import { existsSync, copyFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import t from 'tap';
import {
  embeddedMnistFolder,
  FASHION_MNIST_FOLDER,
  readFashionMnist,
  readIdxFolder,
  readMnist,
} from '../../lib/data/mnist.js';
import { sha256 } from '../support/digests.js';
import { BYTES, idx } from '../support/idx.js';
import { histogram } from '../support/numbers.js';

t.test('the embedded MNIST is the real one', async (t) => {
  const { train, test } = await readMnist();
  t.strictSame(train.shape, [1, 28, 28]);
  t.strictSame(test.shape, [1, 28, 28]);
  t.equal(train.classes, 10);
  t.equal(train.images.length, 60_000 * 784);
  t.equal(test.images.length, 10_000 * 784);
  t.strictSame([...train.labels.slice(0, 10)], [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]);
  t.strictSame([...test.labels.slice(0, 10)], [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]);
  // Counts as published: http://yann.lecun.com/exdb/mnist/
  t.strictSame(histogram(train.labels, 10), [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]);
  t.strictSame(histogram(test.labels, 10), [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]);
  // The mean that everybody normalises with, 0.1307.
  const mean = train.images.reduce((sum, byte) => sum + byte, 0) / train.images.length / 255;
  t.ok(Math.abs(mean - 0.1306604762738429) < 1e-9, `mean ${mean}`);
  t.equal(sha256(test.labels), sha256((await readMnist(embeddedMnistFolder())).test.labels));
});

/** A tiny data set: 3 training and 2 test images of 2 × 1. */
const images = (count: number, width = 1): Buffer =>
  idx(BYTES, [count, 2, width], new Uint8Array(2 * count * width).fill(9));
const labels = (...values: number[]): Buffer => idx(BYTES, [values.length], values);

t.test('an IDX folder, in every spelling', async (t) => {
  for (const [spell, pack] of [
    [(name: string, type: string) => `${name}-${type}`, (bytes: Buffer) => bytes],
    [(name: string, type: string) => `${name}-${type}.gz`, gzipSync],
    [(name: string, type: string) => `${name}.${type}`, (bytes: Buffer) => bytes],
    [(name: string, type: string) => `${name}.${type}.gz`, gzipSync],
    // unpacked, but still called .gz: the content counts
    [(name: string, type: string) => `${name}-${type}.gz`, (bytes: Buffer) => bytes],
  ] as const) {
    const folder = t.testdir({
      [spell('train-images', 'idx3-ubyte')]: pack(images(3)),
      [spell('train-labels', 'idx1-ubyte')]: pack(labels(0, 1, 2)),
      [spell('t10k-images', 'idx3-ubyte')]: pack(images(2)),
      [spell('t10k-labels', 'idx1-ubyte')]: pack(labels(2, 1)),
    });
    t.strictSame(await readIdxFolder(folder, 3), {
      train: {
        images: new Uint8Array(6).fill(9),
        labels: Uint8Array.of(0, 1, 2),
        shape: [1, 2, 1],
        classes: 3,
      },
      test: { images: new Uint8Array(4).fill(9), labels: Uint8Array.of(2, 1), shape: [1, 2, 1], classes: 3 },
      folder,
    });
    await t.rejects(readIdxFolder(folder, 2), { code: 'ERR_DATASET_CORRUPT', message: /label . is 2/ });
  }
});

t.test('folders with something wrong', async (t) => {
  const good = {
    'train-images-idx3-ubyte': images(3),
    'train-labels-idx1-ubyte': labels(0, 1, 2),
    't10k-images-idx3-ubyte': images(2),
    't10k-labels-idx1-ubyte': labels(2, 1),
  };
  const { 't10k-labels-idx1-ubyte': _, ...incomplete } = good;
  const folder = t.testdir(incomplete);
  await t.rejects(readMnist(folder), {
    code: 'ERR_DATASET_NOT_FOUND',
    message: new RegExp(
      `^${folder} holds no t10k-labels-idx1-ubyte \\(looked for .*\\.gz\\); name the folder .* --data-dir$`,
    ),
  });
  await t.rejects(readMnist(join(folder, 'nowhere')), { code: 'ERR_DATASET_NOT_FOUND' });
  await t.rejects(readMnist(t.testdir({ ...good, 't10k-images-idx3-ubyte': images(2, 2) })), {
    code: 'ERR_DATASET_CORRUPT',
    message: /its images are 2 × 2, but those of .*train-images-idx3-ubyte are 2 × 1/,
  });
  const higher = idx(BYTES, [2, 3, 1], new Uint8Array(6));
  await t.rejects(readMnist(t.testdir({ ...good, 't10k-images-idx3-ubyte': higher })), {
    code: 'ERR_DATASET_CORRUPT',
    message: /its images are 3 × 1, but those of .*train-images-idx3-ubyte are 2 × 1/,
  });
  await t.rejects(readMnist(t.testdir({ ...good, 't10k-labels-idx1-ubyte': labels(2) })), {
    code: 'ERR_DATASET_CORRUPT',
    message: /holds 2 images, but .* holds 1 labels/,
  });
  await t.rejects(readMnist(t.testdir({ ...good, 'train-images-idx3-ubyte': images(3).subarray(0, 20) })), {
    code: 'ERR_DATASET_CORRUPT',
    message: /train-images-idx3-ubyte: it ends too early/,
  });
});

const installed = existsSync(FASHION_MNIST_FOLDER);
t.test('Fashion-MNIST that is not installed', { skip: installed && 'it is installed' }, async (t) => {
  await t.rejects(readFashionMnist(), {
    code: 'ERR_DATASET_NOT_FOUND',
    message: /apt-get install dataset-fashion-mnist.*--data-dir/,
  });
});

// Debian's folder, or one that FASHION_MNIST names.
const fashion = process.env.FASHION_MNIST ?? FASHION_MNIST_FOLDER;
t.test('Fashion-MNIST', { skip: !existsSync(fashion) && `no ${fashion}` }, async (t) => {
  const { train, test } = await readFashionMnist(fashion);
  t.strictSame(histogram(train.labels, 10), Array<number>(10).fill(6000));
  t.strictSame(histogram(test.labels, 10), Array<number>(10).fill(1000));
  t.strictSame([...train.labels.slice(0, 10)], [9, 0, 0, 3, 0, 2, 7, 2, 5, 5]);
  const mean = train.images.reduce((sum, byte) => sum + byte, 0) / train.images.length / 255;
  t.ok(Math.abs(mean - 0.286) < 1e-3, `mean ${mean}`);
});

t.test('Fashion-MNIST is read from a named folder too', async (t) => {
  const folder = t.testdir();
  for (const name of ['train-images-idx3', 'train-labels-idx1', 't10k-images-idx3', 't10k-labels-idx1']) {
    copyFileSync(join(embeddedMnistFolder(), `${name}-ubyte`), join(folder, `${name}-ubyte`));
  }
  t.equal((await readFashionMnist(folder)).train.labels.length, 60_000);
});
