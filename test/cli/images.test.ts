/** The command line over image files: class folders, ImageNet's labels, corrupt files, resuming. */
import fs from 'node:fs';
import path from 'node:path';
import sharp from 'sharp';
import t from 'tap';
import { loadParts } from '../../lib/cli/data.js';
import { evaluate } from '../../lib/cli/eval.js';
import { resolveSettings } from '../../lib/cli/settings.js';
import { listImages } from '../../lib/data/images/folders.js';
import { ImageStream, type ImageStreamOptions } from '../../lib/data/images/loader.js';
import { splitList } from '../../lib/data/images/parts.js';
import { Network, parseNetworkSpec } from '../../lib/index.js';
import { readCheckpoint, writeCheckpoint } from '../../lib/training/checkpoint.js';
import { cortorch, runFiles, start } from '../support/cli.js';
import { within, writeFiles } from '../support/folders.js';
import { picture, writePicture } from '../support/pictures.js';
import { result } from '../support/run-result.js';

const SIDE = 16;
const spec = {
  input: [3, SIDE, SIDE],
  layers: [
    { type: 'conv2d', channels: 4, kernel: 5, stride: 2, activation: 'tanh' },
    { type: 'flatten' },
    { type: 'dense', units: 8 },
  ],
  loss: 'softmax-cross-entropy',
};
const folder = t.testdir({ 'small.json': JSON.stringify(spec) });
const at = within(folder);
const MODEL = ['--model', at('small.json')];

/** An image whose colour is its class, more or less. */
const write = (file: string, label: number, i: number): Promise<void> =>
  writePicture(
    file,
    { width: 24 + (i % 9), height: 20 + (i % 7) },
    { r: 30 + 70 * (label % 3), g: 30 + 70 * (label >> 1), b: (i * 37) % 200 },
  );

/** Class folders. @returns the folder that train and val are in */
async function dataset(name: string, classes: readonly string[], counts: Record<string, number>): Promise<string> {
  for (const [part, count] of Object.entries(counts)) {
    for (let i = 0; i < count; i++) {
      const label = i % classes.length;
      await write(at(name, part, classes[label]!, `${i}.jpg`), label, i);
    }
  }
  return at(name);
}

const FOUR = ['ant', 'bee', 'cat', 'dog'];
const SHORT = ['--batch-size', '10', '--lr', '0.01', '--seed', '4', '--json'];

t.test('a folder of class folders', async (t) => {
  const data = await dataset('plain', FOUR, { train: 120, val: 40 });
  const flags = ['train', '--dataset', 'folder', '--data-dir', data, ...MODEL, ...SHORT];
  const { code, stderr, lines } = await cortorch([...flags, '--epochs', '6', '--out', at('runs', 'plain')]);
  t.equal(code, 0, stderr);
  const { config } = lines[0]!;
  t.match(config, {
    ...{ dataset: 'folder', crop: 'random', resize: 18, flip: 'horizontal', maxCorrupt: 10 },
    ...{ validation: 0, images: /^sha256:[0-9a-f]{64}$/ },
  });
  t.notOk('mean' in config, 'nothing is known of its colours');
  t.notOk('cropPadding' in config);
  const epochs = lines.filter(({ type }) => type === 'epoch');
  t.equal(epochs.length, 6);
  for (const { waiting, test } of epochs) {
    t.ok(waiting >= 0 && waiting <= 1);
    t.equal(test, null, 'val is for validation');
  }
  t.ok(epochs[5]!.validation.error < 0.2, `it learns: ${epochs[5]!.validation.error}`);
  t.match(stderr, /epoch 6\/6 .*validation .* % of it waiting for data/);
  t.match(stderr, /Best epoch: \d \(smallest error on 40 validation images/);

  const whole = ['--epochs', '1', '--validation', '20', '--crop', 'none', '--out', at('runs', 'whole')];
  const held = await cortorch([...flags, ...whole]);
  t.equal(held.code, 0, held.stderr);
  t.equal((await readCheckpoint(at('runs', 'whole', 'best.pt'))).config.crop, 'none', 'for eval');
  t.match(held.lines[1], { validation: { error: Number }, test: { error: Number } });
  t.notOk('resize' in held.lines[0]!.config);

  // Without train and val it is the class folders themselves.
  const bare = [...flags.slice(0, 3), '--data-dir', path.join(data, 'train'), ...flags.slice(5)];
  const alone = await cortorch([...bare, '--epochs', '1']);
  t.equal(alone.code, 0, alone.stderr);
  t.match(alone.lines[1], { validation: null, test: null });
  t.match(alone.stderr, /the last, there being no validation set/);

  const evaluated = await cortorch([
    ...['eval', '--checkpoint', at('runs', 'plain', 'best.pt'), '--data-dir', data, '--json'],
  ]);
  const best = lines.at(-1)!.best.validation;
  t.match(evaluated.lines[0], { type: 'eval', error: best.error, error5: best.error5, examples: 40 });

  // Without the first class the others keep their numbers, or nothing is said.
  const fewer = at('fewer');
  for (const name of FOUR.slice(1)) {
    fs.mkdirSync(path.join(fewer, 'val'), { recursive: true });
    fs.cpSync(path.join(data, 'val', name), path.join(fewer, 'val', name), { recursive: true });
  }
  const evaluate = (dir: string) =>
    cortorch(['eval', '--checkpoint', at('runs', 'plain', 'best.pt'), '--data-dir', dir, '--json']);
  const refused = await evaluate(fewer);
  t.equal(refused.code, 1);
  t.match(refused.stderr, /has 3 classes in val and the network 8 outputs[^]*put the train folder/);
  // An autoencoder has no use for classes.
  const autoencoder = {
    input: [3, SIDE, SIDE],
    layers: [
      { type: 'flatten' },
      { type: 'dense', units: 4, activation: 'tanh' },
      { type: 'dense', units: 3 * SIDE * SIDE },
    ],
    loss: 'reconstruction',
  };
  fs.writeFileSync(at('autoencoder.json'), JSON.stringify(autoencoder));
  const fresh = await cortorch(['init', '--model', at('autoencoder.json'), '--out', at('autoencoder.pt')]);
  t.equal(fresh.code, 0, fresh.stderr);
  const reconstructed = await cortorch([
    ...['eval', '--checkpoint', at('autoencoder.pt'), '--dataset', 'folder', '--data-dir', fewer, '--json'],
  ]);
  t.equal(reconstructed.code, 0, reconstructed.stderr);
  t.match(reconstructed.lines[0], { error: Number, error5: null, examples: 30 });
  fs.symlinkSync(path.join(data, 'train'), path.join(fewer, 'train'));
  const numbered = await evaluate(fewer);
  t.equal(numbered.code, 0, numbered.stderr);
  t.equal(numbered.lines[0]!.examples, 30);
  t.ok(numbered.lines[0]!.error < 0.3, `as it learned them: ${numbered.lines[0]!.error}`);
});

t.test('what is evaluated is cut as --crop and --resize say, the same at each time', async (t) => {
  // Of pictures of one colour every part is the same.
  const files: Record<string, Uint8Array> = {};
  for (const [part, count] of [
    ['train', 24],
    ['val', 8],
  ] as const) {
    for (let i = 0; i < count; i++) {
      const jpeg = picture(24 + (i % 9), 20 + (i % 7), 5 * i).jpeg();
      files[`${part}/${FOUR[i % 4]}/${i}.jpg`] = await jpeg.toBuffer();
    }
  }
  const dataDir = writeFiles(at('cut'), files);
  const network = parseNetworkSpec(spec);
  const all = await listImages(path.join(dataDir, 'train'));
  const val = await listImages(path.join(dataDir, 'val'));
  const cut = { size: SIDE, batchSize: 8, shuffle: false } as const;
  const first = async (stream: unknown, epoch = 0): Promise<string> => {
    for await (const { images } of (stream as ImageStream).epoch(epoch)) return Buffer.from(images).toString('hex');
    throw new Error('no batch');
  };
  const seen = new Set<string>();
  for (const how of [{ crop: 'random', resize: 22 }, { crop: 'random', resize: 17 }, { crop: 'none' }] as const) {
    const what = JSON.stringify(how);
    const { crop, ...resize } = how;
    const expected: ImageStreamOptions = { ...cut, crop: crop === 'none' ? crop : 'center', ...resize };
    const given = { dataset: 'folder', dataDir, model: at('small.json'), validation: 8, batchSize: 8, ...how } as const;
    const parts = await loadParts(await resolveSettings(given), () => undefined);
    const held = await first(new ImageStream(splitList(all, 8, 0).validation, expected));
    for (const epoch of [0, 1]) t.ok((await first(parts.validation, epoch)) === held, `${what}: held out`);
    t.ok((await first(parts.test)) === (await first(new ImageStream(val, expected))), `${what}: of val`);
    seen.add(held);

    // A checkpoint says how, so eval need not be told.
    using net = new Network(network, { seed: 1 });
    const file = at('cut.pt');
    const config = { network, rule: 'bp', normalization: null, seed: 1, dataset: 'folder', ...how } as const;
    const parameters = await net.stateDict();
    await writeCheckpoint(file, { parameters, config, epoch: 1, step: 1, metrics: null, training: null });
    const said = t.capture(console, 'log');
    await evaluate({ checkpoint: file, dataDir, batchSize: 8, json: true });
    said.restore();
    const { loss } = JSON.parse(said()[0]!.args[0] as string) as { loss: number };
    t.equal(loss, (await net.evaluate(new ImageStream(val, expected))).loss, `${what}: eval`);
  }
  t.equal(seen.size, 3, 'each in a way of its own');
});

t.test('ImageNet: the official labels, and top-5', async (t) => {
  // Three of the thousand, in an index that is not in their sorted order.
  const ids = Array.from({ length: 1000 }, (_, i) => `n${String(20_000_000 - 7 * i).padStart(8, '0')}`);
  const some = [ids[6]!, ids[2]!, ids[7]!];
  const data = await dataset('imagenet', some, { train: 12, val: 9 });
  const index = Object.fromEntries(ids.map((id, i) => [i, [id, `class ${i}`]]));
  fs.writeFileSync(path.join(data, 'imagenet_class_index.json'), JSON.stringify(index));
  const flags = ['train', '--dataset', 'imagenet', '--data-dir', data, ...MODEL, '--json'];
  const run = at('runs', 'imagenet');
  const trained = await cortorch([...flags, '--batch-size', '5', '--epochs', '1', '--out', run]);
  t.equal(trained.code, 0, trained.stderr);
  t.match(trained.lines[0]!.config, { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] });

  // By hand: shorter side to 18, the middle, the network's outputs, and how many are larger than the right one.
  const best = path.join(run, 'best.pt');
  const { parameters, config } = await readCheckpoint(best);
  using net = new Network(config.network, { normalization: config.normalization });
  await net.loadStateDict(parameters);
  const [wrong, wrong5] = [
    [0, 0],
    [0, 0],
  ];
  let count = 0;
  for (const id of some) {
    for (const name of fs.readdirSync(path.join(data, 'val', id))) {
      const file = path.join(data, 'val', id, name);
      const { width, height } = await sharp(file).metadata();
      const side = (size: number): number => Math.trunc((18 * size) / Math.min(width, height));
      // Python's round(): halves to even numbers.
      const start = (rest: number): number => (rest % 4 === 3 ? (rest + 1) / 2 : Math.floor(rest / 2));
      const [left, top] = [start(side(width) - SIDE), start(side(height) - SIDE)];
      const pixels = await sharp(file)
        .resize(side(width), side(height), { fit: 'fill', kernel: 'linear' })
        .extract({ left, top, width: SIDE, height: SIDE })
        .raw()
        .toBuffer();
      const planes = Uint8Array.from(pixels, (_, i) => pixels[3 * (i % SIDE ** 2) + Math.floor(i / SIDE ** 2)]!);
      const outputs = await net.predict(planes);
      const right = outputs[ids.indexOf(id)]!;
      const larger = outputs.filter((value) => value > right).length;
      if (larger > 0) wrong[0]!++;
      if (larger > 4) wrong5[0]!++;
      count++;
    }
  }
  const evaluated = await cortorch(['eval', '--checkpoint', best, '--data-dir', data, '--json']);
  t.equal(evaluated.code, 0, evaluated.stderr);
  t.same(
    { ...evaluated.lines[0], loss: 0 },
    { type: 'eval', loss: 0, error: wrong[0]! / count, error5: wrong5[0]! / count, examples: count },
  );
  const people = await cortorch(['eval', '--checkpoint', best, '--data-dir', data]);
  t.match(people.stdout, /^imagenet val: error .* %, top-5 error .* %, loss .* \(9 images/);
});

t.test('stopped in the middle of an epoch, by each signal, then resumed: as an undisturbed run', async (t) => {
  const data = await dataset('stopped', FOUR, { train: 400, val: 12 });
  fs.writeFileSync(path.join(data, 'train', 'bee', '9.jpg'), 'not an image');
  const flags = [
    'train',
    '--dataset',
    'folder',
    '--data-dir',
    data,
    ...MODEL,
    '--batch-size',
    '2',
    '--seed',
    '3',
    '--json',
  ];
  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    const out = at('runs', signal);
    const run = start([...flags, '--epochs', '100000', '--save-every', '7', '--out', out]);
    await run.seen(/"epoch":1,/);
    // Some way into the second epoch: SIGKILL has something newer than its start to go on from.
    const deadline = Date.now() + 20_000;
    const where = async () => {
      const { epoch, training } = await readCheckpoint(path.join(out, 'last.pt'));
      return { epoch, stepInEpoch: training!.state.stepInEpoch };
    };
    for (let now = await where(); now.epoch === 0 || now.stepInEpoch === 0; now = await where()) {
      if (Date.now() > deadline) break;
    }
    run.process.kill(signal);
    const { code, stderr } = await run.finished;
    t.equal(code, signal === 'SIGTERM' ? 130 : null);
    t.match(stderr, /9\.jpg cannot be read .*1 of at most 10/);
    const { epoch, stepInEpoch } = await where();
    t.ok(stepInEpoch > 0, `${signal} after ${stepInEpoch} of 200 batches`);
    const epochs = ['--epochs', String(epoch + 2)];
    const resumed = await cortorch(['train', '--resume', out, ...epochs]);
    t.equal(resumed.code, 0, resumed.stderr);
    t.same(runFiles(out), ['best.pt', 'config.json', 'last.pt', 'metrics.jsonl']);
    const alone = `${out}-alone`;
    t.match(await cortorch([...flags, ...epochs, '--out', alone]), { code: 0 });
    t.strictSame(await result(out), await result(alone));
  }

  const out = at('runs', 'SIGTERM');
  await write(path.join(data, 'train', 'ant', 'new.jpg'), 0, 5);
  const changed = await cortorch(['train', '--resume', out, '--epochs', '90000']);
  t.equal(changed.code, 1);
  t.match(changed.stderr, /ERR_CHECKPOINT_MISMATCH.*not those that the run began with/s);
  fs.rmSync(path.join(data, 'train', 'ant', 'new.jpg'));
  fs.cpSync(data, `${data}-moved`, { recursive: true });
  const { epoch } = await readCheckpoint(path.join(out, 'last.pt'));
  const moved = ['--resume', out, '--data-dir', `${data}-moved`, '--epochs', String(epoch + 1)];
  const more = ['--max-corrupt', '11'];
  t.match(await cortorch(['train', ...moved, ...more]), { code: 0 }, 'the same images in another place');
});

t.test('images that vanish in the middle of a run', async (t) => {
  const data = await dataset('vanishing', FOUR, { train: 200 });
  const flags = ['train', '--dataset', 'folder', '--data-dir', data, ...MODEL, ...SHORT, '--epochs', '100000'];
  const run = start([...flags, '--max-corrupt', '3', '--out', at('runs', 'vanishing')]);
  await run.seen(/"epoch":1,/);
  fs.rmSync(path.join(data, 'train', 'cat'), { recursive: true });
  const { code, stderr } = await run.finished;
  t.equal(code, 1);
  t.match(stderr, /cat\/\d+\.jpg cannot be read \(ENOENT.*3 of at most 3/);
  t.match(stderr, /ERR_DATASET_CORRUPT.*4 images could not be read, and 3 may be/s);
  const { epoch } = await readCheckpoint(at('runs', 'vanishing', 'last.pt'));
  t.ok(epoch >= 1, 'what was trained is kept');
});

t.test('refused', async (t) => {
  const data = await dataset('refused', FOUR, { train: 8, val: 8 });
  const folderFlags = ['--dataset', 'folder', '--data-dir', data, ...MODEL];
  for (const [code, flags, message] of [
    [2, ['--dataset', 'folder', ...MODEL], /--data-dir is missing.*train and val/],
    [2, [...folderFlags, '--crop-padding', '4'], /--crop-padding is not used by folder/],
    [2, [...folderFlags, '--crop', 'none', '--resize', '20'], /--resize is not used by whole images/],
    [2, [...folderFlags, '--resize', '15'], /--resize: expected at least 16/],
    [2, [...folderFlags, '--crop', 'left'], /--crop: expected.*random/],
    [2, ['--dataset', 'folder', '--data-dir', data, '--model', 'mnist-fc'], /--model: .*colour squares/],
    [2, ['--dataset', 'mnist', '--model', 'mnist-fc', '--max-corrupt', '1'], /--max-corrupt is not used by mnist/],
    [1, ['--dataset', 'folder', '--data-dir', at('nowhere'), ...MODEL], /nowhere is not a folder/],
    [1, ['--dataset', 'imagenet', '--data-dir', data, ...MODEL], /1,000 class folders/],
  ] as const) {
    const got = await cortorch(['train', ...flags]);
    t.equal(got.code, code, flags.join(' '));
    t.match(got.stderr, message);
  }
  await write(path.join(data, 'val', 'eel', '1.jpg'), 1, 1);
  t.match(await cortorch(['train', ...folderFlags]), { code: 1, stderr: /eel: there is no class eel/ });
  const many = await dataset(
    'many',
    Array.from({ length: 9 }, (_, i) => `c${i}`),
    { train: 9 },
  );
  const tooMany = await cortorch(['train', '--dataset', 'folder', '--data-dir', many, ...MODEL]);
  t.match(tooMany, { code: 2, stderr: /at most 8 classes.*9 classes/s });
});
