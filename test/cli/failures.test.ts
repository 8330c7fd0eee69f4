/** What can go wrong with disks, data and numbers: exit code 1, a remedy, and the old checkpoints whole. */
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import t, { type Test } from 'tap';
import { readCheckpoint } from '../../lib/training/checkpoint.js';
import { cortorch, metricsOf, smallSpec, writeTinyData, type Finished } from '../support/cli.js';
import { digests } from '../support/digests.js';
import { temporaryFolder, within } from '../support/folders.js';
import { BYTES, idx } from '../support/idx.js';

const folder = t.testdir({ 'small.json': JSON.stringify(smallSpec), file: '' });
const data = writeTinyData(path.join(folder, 'data'));
const at = within(folder);
const FLAGS = [
  ...['train', '--dataset', 'mnist', '--model', at('small.json'), '--validation', '100'],
  ...['--seed', '1', '--json'],
];
const DATA = ['--data-dir', data];

function failedWith(t: Test, { code, stderr }: Finished, error: string, message: RegExp) {
  t.equal(code, 1, stderr);
  t.match(stderr, `cortorch: [${error}]`);
  t.match(stderr, message);
  t.notMatch(stderr, /\n {4}at /, 'no stack');
}

t.test('an output folder that cannot be written', async (t) => {
  const train = (out: string) => cortorch([...FLAGS, ...DATA, '--epochs', '1', '--out', out]);
  failedWith(t, await train(at('file')), 'ERR_WRITE_FAILED', /it is not a folder; name another with --out/);
  failedWith(t, await train(at('file/below')), 'ERR_WRITE_FAILED', /is not a folder/);
  failedWith(t, await train('/proc/cortorch'), 'ERR_WRITE_FAILED', /cannot write \/proc\/cortorch: .*; .*another/);
  if (process.getuid!() === 0) t.comment('as root no permission is missing');
  else {
    fs.mkdirSync(at('locked'), { mode: 0o500 });
    failedWith(t, await train(at('locked/run')), 'ERR_WRITE_FAILED', /no permission/);
  }
  const init = await cortorch(['init', '--model', 'mnist-fc', '--out', at('nowhere/start.pt')]);
  failedWith(t, init, 'ERR_WRITE_FAILED', /the folder .*nowhere does not exist; create it/);
});

/** A small disk, or why there is none. */
function mount(at: string, size: string): string | false {
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', at], { stdio: 'pipe' });
    return false;
  } catch (error) {
    return `no tmpfs can be mounted here: ${String((error as { stderr?: Buffer }).stderr ?? error).trim()}`;
  }
}

/** The first checkpoint of a run, whole, and nothing half-written beside it. */
async function firstIsWhole(t: Test, run: string) {
  const last = await readCheckpoint(path.join(run, 'last.pt'));
  t.match(last, { epoch: 0, step: 0, training: { state: { stepInEpoch: 0 } } });
  t.strictSame(
    fs.readdirSync(run).filter((name) => name.endsWith('.tmp')),
    [],
  );
}

const disk = temporaryFolder(t, 'disk');
const noDisk = mount(disk, '700k'); // one last.pt is 310 KB and one best.pt 105: the third file is too much
t.teardown(() => noDisk === false && execFileSync('umount', [disk]));

t.test('a disk that fills', { skip: noDisk }, async (t) => {
  const out = path.join(disk, 'run');
  const finished = await cortorch([...FLAGS, ...DATA, '--epochs', '5', '--out', out]);
  failedWith(t, finished, 'ERR_WRITE_FAILED', /the disk is full; free some space or write to another disk/);
  await firstIsWhole(t, out);
});

t.test('a limit on the size of files', async (t) => {
  const out = at('limited');
  // In KiB: room for best.pt, and for last.pt not.
  const finished = await cortorch([...FLAGS, ...DATA, '--epochs', '5', '--out', out], {
    shell: 'ulimit -f 200',
  });
  failedWith(t, finished, 'ERR_WRITE_FAILED', /too large for this file system or limit/);
  t.notOk(fs.existsSync(path.join(out, 'last.pt')));
  fs.writeFileSync(path.join(out, 'metrics.jsonl'), '{"type":"start"}\n{"type":"epoch"');
  const again = await cortorch([...FLAGS, ...DATA, '--epochs', '1', '--out', out]);
  t.equal(again.code, 0, 'a run that never began does not stand in the way of the next one');
  t.strictSame(metricsOf(out), again.lines, 'and leaves it no lines');
});

t.test('a loss that becomes NaN', async (t) => {
  const out = at('nan');
  const finished = await cortorch([...FLAGS, ...DATA, '--lr', '1e38', '--epochs', '5', '--out', out]);
  failedWith(t, finished, 'ERR_LOSS_NOT_FINITE', /NaN or infinite.*smaller learning rate.*--lr/);
  t.match(finished.stderr, /step \d+/);
  t.match(finished.stderr, `${path.join(out, 'last.pt')} still holds the run after epoch 0, step 0`);
  await firstIsWhole(t, out);
  const without = await cortorch([...FLAGS, ...DATA, '--lr', '1e38', '--epochs', '5']);
  failedWith(t, without, 'ERR_LOSS_NOT_FINITE', /step \d+/);
});

t.test('a step of a finite loss to infinite weights', async (t) => {
  // Without a hidden layer a gradient of thousands times the rate is beyond float32, and none of it NaN.
  const layers = [{ type: 'flatten' }, { type: 'dense', units: 10 }];
  fs.writeFileSync(at('linear.json'), JSON.stringify({ ...smallSpec, layers }));
  const out = at('infinite');
  const finished = await cortorch([
    ...FLAGS.map((flag) => (flag === at('small.json') ? at('linear.json') : flag)),
    ...[...DATA, '--batch-size', '500', '--mean', '0', '--std', '1e-4', '--optimizer', 'sgd', '--lr', '1e38'],
    ...['--save-every', '1', '--epochs', '1', '--out', out],
  ]);
  failedWith(t, finished, 'ERR_LOSS_NOT_FINITE', /layers\.0\.weight became NaN or infinite by step 1/);
  await firstIsWhole(t, out);
});

t.test('a loss that becomes NaN later: the last good epoch is kept', async (t) => {
  const out = at('later');
  // Nobody should change a run's settings, but it is the shortest way to a run that goes wrong late.
  t.match(await cortorch([...FLAGS, ...DATA, '--lr', '0.01', '--epochs', '2', '--out', out]), { code: 0 });
  const before = await readCheckpoint(path.join(out, 'last.pt'));
  const config = path.join(out, 'config.json');
  fs.writeFileSync(config, fs.readFileSync(config, 'utf8').replace('"lr": 0.01', '"lr": 1e38'));
  const finished = await cortorch(['train', '--resume', out, '--epochs', '5']);
  failedWith(t, finished, 'ERR_LOSS_NOT_FINITE', /still holds the run after epoch 2, step 10/);
  const after = await readCheckpoint(path.join(out, 'last.pt'));
  t.strictSame(digests(after.parameters), digests(before.parameters));
});

t.test('data that are broken', async (t) => {
  const images = 'train-images-idx3-ubyte';
  const labels = 'train-labels-idx1-ubyte';
  const broken = async (name: string, file: string, content: (old: Buffer) => Buffer | null, message: RegExp) => {
    const folder = at(name);
    fs.cpSync(data, folder, { recursive: true });
    const changed = content(fs.readFileSync(path.join(folder, file)));
    if (changed === null) fs.rmSync(path.join(folder, file));
    else fs.writeFileSync(path.join(folder, file), changed);
    const finished = await cortorch([...FLAGS, '--data-dir', folder, '--out', at(`run-${name}`)]);
    t.equal(finished.code, 1, finished.stderr);
    t.match(finished.stderr, /^cortorch: \[ERR_DATASET_/);
    t.match(finished.stderr, message);
    t.ok(finished.stderr.includes(folder), 'the file is named');
    t.strictSame(fs.existsSync(path.join(at(`run-${name}`), 'last.pt')), false);
  };
  await broken('truncated', images, (old) => old.subarray(0, 5000), /ends|too short|truncated/i);
  await broken('magic', images, (old) => Buffer.concat([Buffer.from('\x01\x02'), old.subarray(2)]), /IDX/);
  await broken('label', labels, () => idx(BYTES, [600], Buffer.alloc(600, 10)), /label 0 is 10/);
  await broken('counts', labels, () => idx(BYTES, [599], Buffer.alloc(599)), /600 images, but .* 599 labels/);
  await broken('missing', labels, () => null, /holds no train-labels/);
  const nowhere = await cortorch([...FLAGS, '--data-dir', at('nowhere')]);
  failedWith(t, nowhere, 'ERR_DATASET_NOT_FOUND', /--data-dir/);
  const tooMany = await cortorch([...FLAGS.map((flag) => (flag === '100' ? '600' : flag)), ...DATA]);
  t.match(tooMany, { code: 2, stderr: /cannot hold out 600 images/ });
});

t.test('data that do not fit the network', async (t) => {
  const vector = { ...smallSpec, input: [100], layers: smallSpec.layers.slice(1) };
  fs.writeFileSync(at('vector.json'), JSON.stringify(vector));
  const flags = FLAGS.map((flag) => (flag === at('small.json') ? at('vector.json') : flag));
  const finished = await cortorch([...flags, ...DATA, '--out', at('unfitting')]);
  t.match(finished, { code: 2, stderr: /expected examples of shape 100, the network's input/ });
  t.strictSame(fs.readdirSync(at('unfitting')), [], 'no run was begun');
});

t.test('checkpoints that are none', async (t) => {
  fs.writeFileSync(at('text.pt'), 'not a checkpoint');
  const evaluate = (file: string) => cortorch(['eval', '--checkpoint', file, '--dataset', 'mnist', ...DATA]);
  failedWith(t, await evaluate(at('text.pt')), 'ERR_CHECKPOINT_CORRUPT', /text\.pt/);
  failedWith(t, await evaluate(at('none.pt')), 'ERR_CHECKPOINT_NOT_FOUND', /none\.pt/);
  t.match(await cortorch(['eval', '--dataset', 'mnist']), { code: 2, stderr: /--checkpoint is missing/ });
  const init = await cortorch([...FLAGS, ...DATA, '--init', at('text.pt')]);
  failedWith(t, init, 'ERR_CHECKPOINT_CORRUPT', /text\.pt/);

  const out = at('damaged');
  t.match(await cortorch([...FLAGS, ...DATA, '--epochs', '1', '--out', out]), { code: 0 });
  const last = path.join(out, 'last.pt');
  fs.writeFileSync(last, fs.readFileSync(last).subarray(0, 1000));
  failedWith(t, await cortorch(['train', '--resume', out]), 'ERR_CHECKPOINT_CORRUPT', /last\.pt/);
  fs.copyFileSync(path.join(out, 'best.pt'), last);
  failedWith(t, await cortorch(['train', '--resume', out]), 'ERR_CHECKPOINT_UNSUPPORTED', /no state of training/);
});
