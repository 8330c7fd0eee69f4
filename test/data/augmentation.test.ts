/**
 * Random crops and flips: the images against a loop over pixels, how often each comes, and that nothing but seed, epoch
 * and index counts.
 */
import path from 'node:path';
import t from 'tap';
import { Dataset, network, Network, Trainer, type AugmentationOptions } from '../../lib/index.js';
import { cortorch } from '../support/cli.js';
import { epochsOf } from '../support/networks.js';
import { blockOf } from '../support/philox.js';

// Wider than twice the padding and one more: else the outermost reflected windows are their own mirror images.
const [C, H, W] = [3, 6, 7];
const SIZE = C * H * W;
const COUNT = 400;
const images = Uint8Array.from({ length: COUNT * SIZE }, (_, i) => 1 + ((i * 7919 + (i >> 5)) % 255));
const labels = Uint8Array.from({ length: COUNT }, (_, i) => i % 2);
const normalization = { mean: [0.5, 0.25, 0.1], std: [0.5, 0.3, 0.2] };
const all = [...labels.keys()];

/** Pixel by pixel: the window at (top, left) of image i with a border, then flipped. */
function naive(
  i: number,
  [top, left]: readonly [number, number],
  [mirrored, upsideDown]: readonly [boolean, boolean],
  black: boolean,
): Float32Array {
  const out = new Float32Array(SIZE);
  for (let c = 0; c < C; c++) {
    for (let y = 0; y < H; y++) {
      for (let x = 0; x < W; x++) {
        const row = (upsideDown ? H - 1 - y : y) + top;
        const column = (mirrored ? W - 1 - x : x) + left;
        const inside = row >= 0 && row < H && column >= 0 && column < W;
        const [r, q] = [reflected(row, H), reflected(column, W)];
        const byte = inside || !black ? images[((i * C + c) * H + r) * W + q]! : 0;
        const value = Math.fround(Math.fround(byte) / 255);
        const mean = Math.fround(normalization.mean[c]!);
        out[(c * H + y) * W + x] = Math.fround(value - mean) / Math.fround(normalization.std[c]!);
      }
    }
  }
  return out;
}

/** 2 1 | 0 1 2 … n−1 | n−2 n−3 */
const reflected = (i: number, n: number): number => n - 1 - Math.abs(n - 1 - Math.abs(i));

const bytes = (array: Float32Array): string =>
  Buffer.from(array.buffer, array.byteOffset, array.byteLength).toString('base64');

t.test('each image’s place is that of its own block of random numbers', async (t) => {
  const [seed, epoch, padding] = [7, 2, 2];
  using data = Dataset.fromArrays({ images, labels, shape: [C, H, W], classes: 2 });
  const augmentation = { cropPadding: padding, flip: 'both' } as const;
  // In another order than that of the data set: a place is the image's, whatever batch it comes in.
  const indices = [9, 3, 3, 399, 0, 17, 250, 5];
  const batch = data.batch(indices, { augmentation, normalization, seed, epoch });
  for (const [at, i] of indices.entries()) {
    const words = blockOf(seed, 'augmentation', epoch, i);
    const [top, left] = words.slice(0, 2).map((word) => Number((word * BigInt(2 * padding + 1)) >> 32n) - padding);
    const [mirrored, upsideDown] = words.slice(2).map((word) => (word & 1n) === 1n);
    const wanted = naive(i, [top!, left!], [mirrored!, upsideDown!], false);
    t.equal(bytes(batch.slice(at * SIZE, (at + 1) * SIZE)), bytes(wanted), `image ${i}`);
  }
});

for (const [augmentation, crops, mirrors, upsideDowns] of [
  [{ cropPadding: 1 }, [-1, 0, 1], [false], [false]],
  [{ cropPadding: 2, cropBorder: 'black' }, [-2, -1, 0, 1, 2], [false], [false]],
  [{ cropPadding: 2, flip: 'horizontal' }, [-2, -1, 0, 1, 2], [false, true], [false]],
  [{ flip: 'vertical' }, [0], [false], [false, true]],
  [{ cropPadding: 1, flip: 'both' }, [-1, 0, 1], [false, true], [false, true]],
] as const) {
  t.test(`${JSON.stringify(augmentation)}: each image is one of those there can be, all about as often`, (t) => {
    using data = Dataset.fromArrays({ images, labels, shape: [C, H, W], classes: 2 });
    const batch = data.batch(all, { augmentation, normalization, seed: 3, epoch: 2 });
    const counts = new Map<string, number>();
    for (const i of all) {
      const found = bytes(batch.slice(i * SIZE, (i + 1) * SIZE));
      for (const top of crops) {
        for (const left of crops) {
          for (const mirrored of mirrors) {
            for (const upsideDown of upsideDowns) {
              if (bytes(naive(i, [top, left], [mirrored, upsideDown], 'cropBorder' in augmentation)) !== found)
                continue;
              const key = `${top} ${left} ${mirrored} ${upsideDown}`;
              counts.set(key, (counts.get(key) ?? 0) + 1);
            }
          }
        }
      }
    }
    t.equal(
      [...counts.values()].reduce((a, b) => a + b, 0),
      COUNT,
      'every image is found, and once',
    );
    const kinds = crops.length ** 2 * mirrors.length * upsideDowns.length;
    const expected = COUNT / kinds;
    t.equal(counts.size, kinds, 'all kinds come');
    // χ² of kinds − 1 degrees of freedom: mean kinds − 1, variance twice that; six deviations.
    const chi2 = [...counts.values()].reduce((sum, n) => sum + (n - expected) ** 2 / expected, 0);
    t.ok(chi2 < kinds - 1 + 6 * Math.sqrt(2 * (kinds - 1)), `χ² ${chi2}`);
    t.end();
  });
}

t.test('only seed, epoch and index count', (t) => {
  using data = Dataset.fromArrays({ images, labels, shape: [C, H, W], classes: 2 });
  const augmentation: AugmentationOptions = { cropPadding: 2, flip: 'both' };
  const at = (indices: number[], seed: number, epoch: number): string =>
    bytes(data.batch(indices, { augmentation, seed, epoch }).slice(0, SIZE));
  const alone = at([17], 5, 1);
  t.equal(at([17, 3, 4, 5], 5, 1), alone, 'in any batch');
  t.equal(at([17, 17], 5, 1), alone);
  const others = Array.from({ length: 20 }, (_, i) => at([17], 5, 2 + i));
  t.ok(new Set(others).size > 10, 'other epochs, other images');
  t.ok(new Set(Array.from({ length: 20 }, (_, i) => at([17], 6 + i, 1))).size > 10, 'other seeds too');
  const plain = data.batch([17]);
  t.same(
    plain,
    Float32Array.from(images.subarray(17 * SIZE, 18 * SIZE), (byte) => Math.fround(byte) / 255),
    'and none without',
  );
  t.end();
});

t.test('floats are augmented as bytes are', (t) => {
  using data = Dataset.fromArrays({ images, labels, shape: [C, H, W], classes: 2 });
  const floats = Float32Array.from(images, (byte) => Math.fround(byte) / 255);
  using same = Dataset.fromArrays({ images: floats, labels, shape: [C, H, W], classes: 2 });
  const options = {
    augmentation: { cropPadding: 2, flip: 'both' },
    normalization,
    seed: 1,
    epoch: 4,
  } as const;
  t.same(same.batch(all, options), data.batch(all, options));
  t.end();
});

const spec = network({ channels: C, height: H, width: W }).flatten().dense(2).softmaxCrossEntropy();

t.test('training sees these images, evaluation the plain ones', async (t) => {
  using data = Dataset.fromArrays({ images, labels, shape: [C, H, W], classes: 2 });
  const augmentation: AugmentationOptions = { cropPadding: 2, flip: 'horizontal' };
  const optimizer = { type: 'sgd', lr: 0.1 } as const;
  using augmented = new Network(spec, { seed: 1, normalization });
  const trainer = new Trainer(augmented, { augmentation, optimizer, batchSize: COUNT, seed: 9 });
  using byHand = new Network(spec, { seed: 1, normalization });
  const other = new Trainer(byHand, { optimizer, batchSize: COUNT, seed: 9 });
  const scores: number[] = [];
  for await (const event of trainer.fit(data, { epochs: 3, test: data })) {
    if (event.type === 'epoch') scores.push(event.test!.loss);
  }
  // The same batches, made beforehand; a batch is a whole epoch, so its order matters only to rounding.
  const batches = (epoch: number) => [{ images: data.batch(all, { augmentation, seed: 9, epoch: epoch - 1 }), labels }];
  t.equal(scores.length, 3);
  const epochs = await epochsOf(other.fit(batches, { epochs: 3, test: data }));
  t.equal(epochs.length, 3);
  for (const event of epochs) {
    const difference = Math.abs(event.test!.loss - scores[event.epoch - 1]!);
    t.ok(difference < 1e-5, `epoch ${event.epoch}: losses differ by ${difference}`);
  }
});

t.test('refused', async (t) => {
  using net = new Network(spec, {});
  const make = (augmentation: unknown) => () => new Trainer(net, { augmentation: augmentation as AugmentationOptions });
  t.throws(make({ cropPadding: -1 }), { code: 'ERR_INVALID_ARGUMENT', message: /augmentation\.cropPadding/ });
  t.throws(make({ cropPadding: 6 }), { code: 'ERR_INVALID_ARGUMENT', message: /at most 5/ });
  t.throws(make({ flip: 'diagonal' }), { code: 'ERR_INVALID_ARGUMENT', message: /horizontal/ });
  t.throws(make({ cropBorder: 'white' }), { code: 'ERR_INVALID_ARGUMENT', message: /reflect, black/ });
  t.throws(make({ flips: 'both' }), { code: 'ERR_UNKNOWN_OPTION', message: /flip/ });
  using vector = new Network(network({ features: 4 }).dense(2).softmaxCrossEntropy(), {});
  t.throws(() => new Trainer(vector, { augmentation: { flip: 'horizontal' } }), {
    code: 'ERR_INVALID_ARGUMENT',
    message: /is for images.*shape 4/,
  });
  for (const augmentation of [{ cropPadding: 1 }, { flip: 'vertical' } as const]) {
    const stream = new Trainer(net, { augmentation }).fit(() => [], { epochs: 1 });
    await t.rejects(stream.next(), { code: 'ERR_UNUSED_OPTION', message: /batches of your own/ });
  }
});

t.test('on the command line: CIFAR-10 has its own, others none', async (t) => {
  const record = (i: number): Buffer => Buffer.concat([Buffer.of(i % 10), Buffer.alloc(3072, (i * 37) % 256)]);
  const batch = Buffer.concat(Array.from({ length: 40 }, (_, i) => record(i)));
  const folder = t.testdir({
    'data_batch_1.bin': batch,
    'test_batch.bin': batch,
    'spec.json': JSON.stringify({
      input: [3, 32, 32],
      layers: [{ type: 'flatten' }, { type: 'dense', units: 10 }],
      loss: 'softmax-cross-entropy',
    }),
  });
  const configOf = async (...flags: string[]) => {
    const { code, stderr, lines } = await cortorch([
      ...['train', '--dataset', 'cifar10', '--data-dir', folder, '--model', path.join(folder, 'spec.json')],
      ...['--validation', '10', '--batch-size', '10', '--epochs', '1', '--json', ...flags],
    ]);
    t.equal(code, 0, stderr);
    return lines[0]!['config'] as object;
  };
  t.match(await configOf(), { cropPadding: 4, cropBorder: 'reflect', flip: 'horizontal' });
  t.match(await configOf('--crop-padding', '0', '--flip', 'none'), { cropPadding: 0, flip: 'none' });
});
