/**
 * The presets learn something in a moment, through the command line, on the first 2,000 images of the real MNIST. What
 * they reach on all of it is `npm run soak -- accuracy`.
 */
import t from 'tap';
import { readMnist } from '../../lib/data/mnist.js';
import { cortorch } from '../support/cli.js';
import { writeFiles } from '../support/folders.js';
import { BYTES, idx } from '../support/idx.js';
import { lazy } from '../support/lazy.js';

/** The test error after the last epoch, at most; chance is .9, and a constant image's squared error of a pixel .067. */
const RUNS = [
  { model: 'mnist-fc', flags: '--rule dfa --epochs 1', parameters: 466_698, phase: 'forward', limit: 0.3 },
  { model: 'mnist-fc', flags: '--rule dtp --schedule alternating --epochs 4', phase: 'forward', limit: 0.3 },
  { model: 'mnist-fc', flags: '--rule sdtp --schedule parallel --epochs 2', phase: 'both', limit: 0.3 },
  { model: 'mnist-fc', flags: '--rule ao-sdtp --schedule parallel --epochs 2', phase: 'both', limit: 0.3 },
  { model: 'mnist-lc', flags: '--rule fa --epochs 2', parameters: 4_191_562, phase: 'forward', limit: 0.3 },
  { model: 'mnist-conv', flags: '--rule bp --epochs 2', parameters: 3_241_354, phase: 'forward', limit: 0.3 },
  { model: 'mnist-autoencoder', flags: '--rule bp --epochs 2', phase: 'forward', limit: 0.03 },
] as const;

/** The first images of both halves, as files. */
const data = lazy(async () => {
  const { train, test } = await readMnist();
  const files = [
    ['train', train, 2000],
    ['t10k', test, 1000],
  ] as const;
  return writeFiles(
    t.testdir(),
    Object.fromEntries(
      files.flatMap(([name, { images, labels }, count]) => [
        [`${name}-images-idx3-ubyte`, idx(BYTES, [count, 28, 28], images.subarray(0, count * 784))],
        [`${name}-labels-idx1-ubyte`, idx(BYTES, [count], labels.subarray(0, count))],
      ]),
    ),
  );
});

for (const { model, flags, phase, limit, ...more } of RUNS) {
  t.test(`${model} ${flags}`, async (t) => {
    const common = `--dataset mnist --data-dir ${await data()} --batch-size 10 --validation 0 --seed 1 --json`;
    const { code, lines, stderr } = await cortorch(['train', ...`--model ${model} ${flags} ${common}`.split(' ')]);
    t.equal(code, 0, stderr);
    if (code !== 0) return;
    if ('parameters' in more) t.match(lines[0], { type: 'start', parameters: more.parameters });
    const last = lines.at(-2)!;
    t.equal(last.phase, phase);
    t.ok(last.test.error < limit, `test error ${last.test.error}, at most ${limit}`);
    t.comment(`${model} ${flags}: ${last.test.error}`);
  });
}
