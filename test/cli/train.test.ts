/** train, eval and init, end to end: lines, files and exit codes of the contract. */
import fs from 'node:fs';
import path from 'node:path';
import t, { type Test } from 'tap';
import { loadDataset, loadParts } from '../../lib/cli/data.js';
import { resolveSettings } from '../../lib/cli/settings.js';
import { readCheckpoint } from '../../lib/training/checkpoint.js';
import { cortorch, metricsOf, smallSpec, timeless, writeTinyData, type Line } from '../support/cli.js';
import type { Dataset } from '../../lib/index.js';
import { digests } from '../support/digests.js';
import { within } from '../support/folders.js';
import { lazy } from '../support/lazy.js';

const folder = t.testdir({ 'small.json': JSON.stringify(smallSpec) });
const data = writeTinyData(path.join(folder, 'data'));
const spec = path.join(folder, 'small.json');
const at = within(folder);

/** Flags of a run that takes a moment. */
const SMALL = [
  ...['--dataset', 'mnist', '--data-dir', data, '--model', spec],
  ...['--validation', '100', '--batch-size', '20', '--lr', '0.01', '--seed', '1'],
];

function checkScores(t: Test, scores: Record<string, unknown>) {
  t.strictSame(Object.keys(scores), ['loss', 'error', 'error5']);
  for (const value of Object.values(scores)) t.type(value, 'number');
  t.ok((scores.error as number) >= 0 && (scores.error as number) <= 1, 'a fraction');
}

function checkLines(t: Test, lines: readonly Line[], epochs: number, checkpoint: string | null) {
  const start = lines[0]!;
  const end = lines.at(-1)!;
  t.strictSame(Object.keys(start), ['type', 'config', 'parameters', 'device']);
  t.match(start, { type: 'start', parameters: 784 * 32 + 32 + 320 + 10, device: 'cpu' });
  t.strictSame(
    lines.slice(1, -1).map((line) => [line.type, line.epoch, line.phase]),
    Array.from({ length: epochs }, (_, i) => ['epoch', i + 1, 'forward']),
  );
  for (const line of lines.slice(1, -1)) {
    t.strictSame(Object.keys(line), [
      'type',
      'epoch',
      'phase',
      'train',
      'validation',
      'test',
      'seconds',
      'evaluationSeconds',
      'imagesPerSecond',
    ]);
    t.strictSame(Object.keys(line.train), ['loss', 'error']);
    checkScores(t, line.validation);
    checkScores(t, line.test);
    for (const key of ['seconds', 'evaluationSeconds', 'imagesPerSecond']) t.ok((line[key] as number) > 0, key);
  }
  t.strictSame(Object.keys(end), ['type', 'best', 'checkpoint']);
  t.strictSame(Object.keys(end.best), ['epoch', 'validation', 'test']);
  t.equal(end.checkpoint, checkpoint);
  // The first of the smallest validation errors.
  const errors = lines.slice(1, -1).map((line) => line.validation.error);
  t.equal(end.best.epoch, 1 + errors.indexOf(Math.min(...errors)));
}

const run = lazy(() => cortorch(['train', ...SMALL, '--epochs', '3', '--json', '--out', at('run')]));

t.test('a run with --out: lines, files, eval', async (t) => {
  const out = at('run');
  const { code, stdout, stderr, lines } = await run();
  t.equal(code, 0, stderr);
  checkLines(t, lines, 3, path.join(out, 'best.pt'));
  t.equal(stdout.trim().split('\n').length, lines.length, 'nothing but JSON on stdout');
  t.match(stderr, /epoch 3\/3 .*test .* %/);
  t.notMatch(stderr, '\r', 'nothing is rewritten where there is no terminal');
  t.match(fs.readdirSync(out).sort(), ['best.pt', 'config.json', /^events\.out\.tfevents/, 'last.pt', 'metrics.jsonl']);
  t.strictSame(metricsOf(out), lines, 'the same lines');

  const config = JSON.parse(fs.readFileSync(path.join(out, 'config.json'), 'utf8')) as object;
  t.strictSame(config, lines[0]!.config);
  t.match(config, {
    ...{ dataset: 'mnist', dataDir: data, model: spec, rule: 'bp', seed: 1, validation: 100, batchSize: 20 },
    ...{ optimizer: 'adam', lr: 0.01, beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0 },
    ...{ lrSchedule: 'constant', epochs: 3, device: 'cpu', precision: 'fp32', threads: Number },
    ...{ deterministic: false, moments: 'fp32' },
    network: { input: [1, 28, 28], loss: 'softmax-cross-entropy' },
    versions: { cortorch: String, node: process.versions.node, libtorch: /^2\./ },
  });
  t.notOk('momentum' in config, 'what adam does not use is not there');

  const { best } = lines.at(-1)!;
  t.ok(best.test.error < 0.2, `it learns: ${best.test.error}`);
  const saved = await readCheckpoint(path.join(out, 'best.pt'));
  t.equal(saved.config.precision, 'fp32');
  t.match(saved, { epoch: best.epoch, step: 25 * best.epoch, training: null, metrics: { test: best.test } });
  t.match(saved.config, { rule: 'bp', normalization: null, seed: 1, model: spec, dataset: 'mnist' });

  const flags = ['--checkpoint', path.join(out, 'best.pt'), '--data-dir', data];
  const evaluated = await cortorch(['eval', ...flags, '--dataset', 'mnist', '--json']);
  t.strictSame(evaluated.lines, [{ type: 'eval', ...best.test, examples: 200 }], 'the test error that training had');
  t.strictSame(Object.keys(evaluated.lines[0]!), ['type', 'loss', 'error', 'error5', 'examples']);
  const told = await cortorch(['eval', ...flags, '--batch-size', '7']);
  t.match(told, { code: 0, stdout: /^mnist test: error \d+\.\d\d %.*200 images/ });
});

t.test('without --out nothing is written; the same seed gives the same numbers', async (t) => {
  const cwd = t.testdir();
  const flags = ['train', ...SMALL, '--rule', 'fa', '--epochs', '2', '--json'];
  const [one, two] = [await cortorch(flags, { cwd }), await cortorch(flags, { cwd })];
  checkLines(t, one.lines, 2, null);
  t.strictSame(fs.readdirSync(cwd), []);
  t.match(one.stderr, /Nothing was written; --out DIR/);
  t.strictSame(one.lines.map(timeless), two.lines.map(timeless));
  const other = await cortorch([...flags, '--seed', '2']);
  t.equal(other.code, 2, 'a flag given twice');
});

t.test('a run is repeated from its config.json', async (t) => {
  await run();
  const before = metricsOf(at('run'));
  const { code, lines } = await cortorch(['train', '--config', path.join(at('run'), 'config.json'), '--json']);
  t.equal(code, 0);
  t.strictSame(lines.slice(0, -1).map(timeless), before.slice(0, -1).map(timeless));
});

t.test('--json is quiet without being asked for, and a run is not overwritten', async (t) => {
  const flags = ['train', ...SMALL, '--epochs', '1', '--out', at('quiet')];
  t.match(await cortorch(flags), { code: 0, stdout: '' });
  const before = fs.readFileSync(path.join(at('quiet'), 'last.pt'));
  t.match(await cortorch(flags), { code: 2, stderr: /holds a run already; go on with it \(--resume / });
  t.ok(before.equals(fs.readFileSync(path.join(at('quiet'), 'last.pt'))));
});

t.test('without validation the last epoch is the best', async (t) => {
  const flags = SMALL.map((flag, i) => (SMALL[i - 1] === '--validation' ? '0' : flag));
  const { lines } = await cortorch(['train', ...flags, '--epochs', '3', '--json', '--out', at('unvalidated')]);
  t.equal(lines[1]!.validation, null);
  t.match(lines.at(-1)!.best, { epoch: 3, validation: null, test: lines[3]!.test });
  t.equal((await readCheckpoint(path.join(at('unvalidated'), 'best.pt'))).epoch, 3);
});

t.test('what is held out for validation is drawn by the seed', async (t) => {
  const held = async (seed: number): Promise<string> => {
    const given = { dataset: 'mnist', dataDir: data, model: spec, validation: 20, seed } as const;
    const { validation } = await loadParts(await resolveSettings(given), () => undefined);
    return pixels(validation as Dataset);
  };
  const pixels = (set: Dataset): string => Buffer.from(set.batch([...Array(20).keys()]).buffer).toString('base64');
  for (const seed of [1, 2]) {
    const { train } = await loadDataset('mnist', data);
    t.ok((await held(seed)) === pixels(train.split(20, seed).validation), `seed ${seed}`);
  }
  t.ok((await held(1)) !== (await held(2)), 'other images');
});

t.test('--max-steps stops and saves', async (t) => {
  // Slowly, so that a few steps more are better.
  const slow = SMALL.map((flag, i) => (SMALL[i - 1] === '--lr' ? '0.0002' : flag));
  const { code, lines } = await cortorch(['train', ...slow, '--max-steps', '40', '--json', '--out', at('short')]);
  t.equal(code, 0);
  t.match(
    lines.slice(1, -1).map(({ epoch, partial }) => [epoch, partial]),
    [
      [1, undefined],
      [2, true],
    ],
  );
  const last = await readCheckpoint(path.join(at('short'), 'last.pt'));
  t.match(last, { epoch: 1, step: 40, training: { state: { stepInEpoch: 15 } } });
  const [whole, part] = [lines[1]!, lines[2]!].map(({ validation }) => validation.error);
  t.ok(part! < whole!, `${whole} → ${part}`);
  t.match(lines.at(-1)!.best, { epoch: 1, validation: { error: whole } }, 'the part of an epoch does not count');

  const tiny = await cortorch(['train', ...SMALL, '--max-steps', '3', '--json', '--out', at('tiny')]);
  t.match(tiny.lines.at(-1), {
    type: 'end',
    best: { epoch: 1 },
    checkpoint: path.join(at('tiny'), 'best.pt'),
  });
  t.match(await readCheckpoint(path.join(at('tiny'), 'best.pt')), { epoch: 0, step: 3 }, 'unless it is all there is');
  const { training } = await readCheckpoint(path.join(at('tiny'), 'last.pt'));
  t.equal(training!.best, null, 'the whole epoch need not beat it');
});

t.test('init writes the start that training with that seed has; --init takes it', async (t) => {
  const start = at('start.pt');
  const made = await cortorch(['init', '--model', spec, '--rule', 'fa', '--seed', '7', '--out', start]);
  t.match(made, { code: 0, stdout: '' });
  const flags = ['train', ...SMALL.slice(0, -2), '--rule', 'fa', '--max-steps', '4', '--json'];
  const drawn = await cortorch([...flags, '--seed', '7', '--out', at('drawn')]);
  const given = await cortorch([...flags, '--seed', '7', '--init', start, '--out', at('given')]);
  t.equal(given.code, 0, given.stderr);
  const [a, b] = [
    await readCheckpoint(path.join(at('drawn'), 'last.pt')),
    await readCheckpoint(path.join(at('given'), 'last.pt')),
  ];
  t.strictSame(digests(a.parameters), digests(b.parameters));
  t.strictSame(drawn.lines[1]!.test, given.lines[1]!.test);
  t.notSame(digests(a.parameters), digests((await readCheckpoint(start)).parameters), 'it has been trained');

  const wrong = await cortorch([...flags.map((flag) => (flag === 'fa' ? 'bp' : flag)), '--init', start]);
  t.match(wrong, {
    code: 1,
    stdout: '',
    stderr: /ERR_CHECKPOINT_MISMATCH.*start\.pt.*unexpected: .*weight_backward/,
  });
});

t.test('shared feedback of dfa is kept for eval, --resume and --init', async (t) => {
  const out = at('shared');
  const dfa = ['--rule', 'dfa', '--dfa-feedback', 'shared'];
  const { code, lines, stderr } = await cortorch(['train', ...SMALL, ...dfa, '--epochs', '2', '--json', '--out', out]);
  t.equal(code, 0, stderr);
  t.equal(lines[0]!.config.dfaFeedback, 'shared');
  const { parameters, config } = await readCheckpoint(path.join(out, 'last.pt'));
  t.equal(config.dfaFeedback, 'shared');
  t.strictSame(parameters.get('weight_backward')?.shape, [10, 32], '[classes, units of the largest layer]');
  const flags = ['--checkpoint', path.join(out, 'best.pt'), '--data-dir', data, '--json'];
  t.match((await cortorch(['eval', ...flags])).lines[0], lines.at(-1)!.best.test);

  const whole = await cortorch(['train', ...SMALL, ...dfa, '--epochs', '3', '--json', '--out', at('whole')]);
  const resumed = await cortorch(['train', '--resume', out, '--epochs', '3', '--json']);
  t.equal(resumed.code, 0, resumed.stderr);
  t.strictSame(timeless(resumed.lines.at(-2)!), timeless(whole.lines.at(-2)!), 'as if it had not been stopped');
  const other = await cortorch(['train', '--resume', out, '--dfa-feedback', 'per-layer']);
  t.match(other, { code: 2, stderr: /--dfa-feedback is per-layer, but the run in .* has shared/ });

  const start = at('shared-start.pt');
  const made = await cortorch(['init', '--model', spec, ...dfa, '--seed', '1', '--out', start]);
  t.match(made, { code: 0, stderr: /--rule dfa --dfa-feedback shared --init/ });
  const begun = ['train', ...SMALL, '--rule', 'dfa', '--init', start, '--max-steps', '1'];
  t.equal((await cortorch([...begun, '--dfa-feedback', 'shared'])).code, 0);
  t.match(await cortorch(begun), { code: 1, stderr: /ERR_CHECKPOINT_MISMATCH/ });
});

t.test("locally connected and convolutional networks of one's own", async (t) => {
  for (const type of ['locally-connected2d', 'conv2d']) {
    const layers = [
      { type, channels: 4, kernel: 5, stride: 4, padding: 'same', activation: 'tanh' },
      { type: type === 'conv2d' ? 'max-pool2d' : 'avg-pool2d', kernel: 2, stride: 1 },
      { type: 'flatten' },
      { type: 'dense', units: 10 },
    ];
    const file = at(`${type}.json`);
    fs.writeFileSync(file, JSON.stringify({ ...smallSpec, layers }));
    const flags = SMALL.map((flag) => (flag === spec ? file : flag));
    for (const rule of ['bp', 'fa', 'dfa']) {
      const out = at(`${type}-${rule}`);
      const trained = await cortorch(['train', ...flags, '--rule', rule, '--epochs', '3', '--json', '--out', out]);
      t.equal(trained.code, 0, trained.stderr);
      t.ok(
        trained.lines.at(-2)!.train.error < 0.3,
        `${type} with ${rule} learns: ${trained.lines.at(-2)!.train.error}`,
      );
      const saved = ['--checkpoint', path.join(out, 'best.pt'), '--data-dir', data, '--json'];
      t.match((await cortorch(['eval', ...saved])).lines[0], trained.lines.at(-1)!.best.test);
    }
  }
});

t.test('normalisation is kept for eval', async (t) => {
  const out = at('normalized');
  const flags = ['--mean', '0.25', '--std', '0.3', '--epochs', '1', '--json', '--out', out];
  const { lines } = await cortorch(['train', ...SMALL, ...flags]);
  const evaluated = await cortorch(['eval', '--checkpoint', path.join(out, 'best.pt'), '--data-dir', data, '--json']);
  t.match(evaluated.lines[0], lines.at(-1)!.best.test);
});

t.test('optimizers and schedules', async (t) => {
  for (const flags of [
    ['--optimizer', 'sgd', '--momentum', '0.9', '--weight-decay', '0.001'],
    ['--optimizer', 'rmsprop', '--beta2', '0.9'],
    ['--lr-schedule', 'cosine', '--warmup-epochs', '0.5'],
    ['--lr-schedule', 'step', '--lr-steps', '1,2', '--lr-decay', '0.5'],
  ]) {
    const { code, lines, stderr } = await cortorch(['train', ...SMALL, '--epochs', '3', '--json', ...flags]);
    t.equal(code, 0, stderr);
    t.ok(lines.at(-2)!.train.error < lines[1]!.train.error, flags.join(' '));
  }
});
