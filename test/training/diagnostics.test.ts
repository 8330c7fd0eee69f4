/**
 * Diagnostics: every angle against one computed here from what a step does to the parameters, or from the parameters
 * themselves; and that asking changes nothing.
 */
import fs from 'node:fs';
import path from 'node:path';
import t from 'tap';
import {
  Dataset,
  Network,
  network,
  ruleNames,
  Trainer,
  type DiagnosticsEvent,
  type LayerDiagnosis,
  type NetworkOptions,
  type NetworkSpec,
  type RuleName,
  type StateDict,
  type TrainerOptions,
} from '../../lib/index.js';
import { cortorch, metricsOf, smallSpec, writeTinyData } from '../support/cli.js';
import { gradientsFrom } from '../support/networks.js';
import { randomArray } from '../support/numbers.js';
import { PEAK } from '../support/peak-memory.js';
import { permutation, uniforms } from '../support/philox.js';
import { moduleOf, runScript } from '../support/processes.js';

const LR = 0.25;
const COUNT = 10;
const isTarget = (rule: RuleName): boolean => ['tp', 'dtp', 'sdtp', 'ao-sdtp'].includes(rule);
const settingsOf = (rule: RuleName): TrainerOptions => ({
  optimizer: { type: 'sgd', lr: LR },
  batchSize: COUNT,
  ...(isTarget(rule) && { inverseOptimizer: { type: 'sgd', lr: LR } as const, noise: 0.1 }),
});

const dataOf = (count: number): Dataset =>
  Dataset.fromArrays({
    images: Float32Array.from(randomArray(count * 6, 3)),
    labels: Uint8Array.from({ length: count }, (_, i) => (i * 3) % 4),
    shape: [6],
    classes: 4,
  });
const data = dataOf(COUNT);
t.teardown(() => data.dispose());

/**
 * The first diagnosis, the parameters before and after one step, and what the step's updates divided by the rate are.
 */
async function oneStep(
  spec: NetworkSpec,
  options: NetworkOptions,
  set = data,
): Promise<{ layers: readonly LayerDiagnosis[]; before: StateDict; gradient: (name: string) => number[] }> {
  using net = new Network(spec, options);
  const trainer = new Trainer(net, { ...settingsOf(options.rule as RuleName), batchSize: set.size });
  const before = await net.stateDict();
  const found: DiagnosticsEvent[] = [];
  for await (const event of trainer.fit(set, { epochs: 1, diagnostics: 1 }))
    if (event.type === 'diagnostics') found.push(event);
  const after = await net.stateDict();
  const gradients = gradientsFrom(before, after, LR);
  const gradient = (name: string): number[] => [...gradients.get(name)!];
  return { layers: found[0]!.layers, before, gradient };
}

const dot = (a: readonly number[], b: readonly number[]): number => a.reduce((sum, value, i) => sum + value * b[i]!, 0);
const norm = (a: readonly number[]): number => Math.sqrt(dot(a, a));
const degrees = (a: readonly number[], b: readonly number[]): number =>
  (Math.acos(Math.min(1, dot(a, b) / norm(a) / norm(b))) * 180) / Math.PI;

const close = (a: number | undefined, b: number, within: number): boolean =>
  a !== undefined && Math.abs(a - b) < within;

const spec = network({ features: 6 })
  .dense(7, { activation: 'tanh' })
  .dense(8, { activation: 'tanh' })
  .dense(9, { activation: 'tanh' })
  .dense(4)
  .softmaxCrossEntropy();

t.test('the angle to the gradient of bp, under every rule', async (t) => {
  const bp = await oneStep(spec, { rule: 'bp', seed: 4 });
  for (const rule of ruleNames) {
    const { layers, gradient } = await oneStep(spec, { rule, seed: 4 });
    t.strictSame(
      layers.map(({ name }) => name),
      ['layers.0', 'layers.1', 'layers.2', 'layers.3'],
    );
    for (const { name, gradientAngle } of layers) {
      const expected = degrees(gradient(`${name}.weight`), bp.gradient(`${name}.weight`));
      // acos is steep at 0: float32 gives zero angles to about 0.03°.
      t.ok(close(gradientAngle, expected, 0.1), `${rule}, ${name}: ${gradientAngle}, expected ${expected}`);
    }
    const other = layers.slice(0, 3).filter(({ gradientAngle }) => gradientAngle! > 5).length;
    t.equal(
      other,
      { bp: 0, dtp: 2 }[rule as string] ?? (isTarget(rule) || rule === 'fa' || rule === 'dfa' ? 3 : 2),
      `${rule}: where it differs`,
    );
  }
});

t.test('the angle and the norm of the feedback', async (t) => {
  for (const rule of ruleNames) {
    for (const lastLayer of ['rule', 'bp'] as const) {
      const has = ['fa', 'usf', 'brsf', 'frsf'].includes(rule);
      if (!has && lastLayer === 'bp') continue;
      const { layers, before } = await oneStep(spec, { rule, seed: 4, ...(has && { lastLayer }) });
      for (const [l, { name, feedbackAngle, feedbackNormRatio }] of layers.entries()) {
        if (!has || l === 0 || (l === 3 && lastLayer === 'bp')) {
          t.strictSame([feedbackAngle, feedbackNormRatio], [undefined, undefined], `${rule}, ${name}: none`);
          continue;
        }
        const W = [...before.get(`${name}.weight`)!.data];
        const B = before.get(`${name}.weight_backward`)?.data;
        const s = 1 / Math.sqrt([6, 7, 8, 9][l]!);
        /** Of the first step. */
        const drawn = uniforms(4, 'magnitude', l, W.length);
        const magnitude = { fa: B, usf: W.map(() => s), brsf: drawn.map((u) => s * u), frsf: B }[rule as string]!;
        const sent = W.map((w, i) => (rule === 'fa' ? 1 : Math.sign(w)) * magnitude[i]!);
        const expected = degrees(sent, W);
        t.ok(close(feedbackAngle, expected, 1e-3), `${rule}, ${name}: ${feedbackAngle}, expected ${expected}`);
        t.ok(close(feedbackNormRatio, norm(sent) / norm(W), 1e-5), `${rule}, ${name}: the norms`);
        // The mistake of other people's code: the angle to the magnitudes without the signs of W.
        if (rule === 'frsf') t.ok(Math.abs(degrees([...B!], W) - feedbackAngle!) > 20);
      }
    }
  }
});

t.test('targets and inverses', async (t) => {
  // One example and no activation: the gradient of a bias is 2 (h − ĥ), under bp ∂L/∂h.
  const linear = network({ features: 6 }).dense(7).dense(8).dense(9).dense(4).softmaxCrossEntropy();
  using single = dataOf(1);
  const bp = await oneStep(linear, { rule: 'bp', seed: 4 }, single);
  for (const rule of ['tp', 'dtp', 'sdtp', 'ao-sdtp'] as const) {
    const { layers, before, gradient } = await oneStep(
      linear,
      { rule, seed: 4, ...(rule === 'ao-sdtp' && { auxiliary: 5 }) },
      single,
    );
    let h = [...single.batch([0])];
    for (const [l, { name, targetAngle, reconstructionError }] of layers.entries()) {
      if (l === 3) t.equal(targetAngle, undefined, 'the last layer is trained on the loss');
      else {
        const expected = degrees(gradient(`${name}.bias`), bp.gradient(`${name}.bias`));
        t.ok(close(targetAngle, expected, 0.1), `${rule}, ${name}: ${targetAngle}, expected ${expected}`);
        if (rule === 'dtp' && l === 2) t.ok(targetAngle! < 0.1, 'the penultimate target of dtp is on the gradient');
      }
      const values = (key: string): number[] => [...before.get(key)!.data];
      const [W, b] = [values(`${name}.weight`), values(`${name}.bias`)];
      const y = b.map((bias, i) => bias + dot(W.slice(i * h.length, (i + 1) * h.length), h));
      if (before.has(`inverses.${l}.weight`)) {
        const [V, c] = [values(`inverses.${l}.weight`), values(`inverses.${l}.bias`)];
        let top = y;
        if (l === 3) {
          const exps = y.map(Math.exp);
          top = exps.map((value) => value / exps.reduce((sum, other) => sum + other, 0));
          if (rule === 'ao-sdtp') {
            const [Wz, bz] = [values('auxiliary.weight'), values('auxiliary.bias')];
            top = [...top, ...bz.map((z, i) => Math.tanh(z + dot(Wz.slice(i * 9, (i + 1) * 9), h)))];
          }
        }
        const back = c.map((bias, j) => bias + top.reduce((sum, value, i) => sum + V[i * h.length + j]! * value, 0));
        const expected = norm(back.map((value, j) => value - h[j]!)) ** 2 / norm(h) ** 2;
        t.ok(close(reconstructionError! / expected, 1, 1e-4), `${rule}, ${name}: ${reconstructionError}`);
      } else t.equal(reconstructionError, undefined, `${rule}, ${name}: no inverse`);
      h = y;
    }
  }
});

t.test(
  'the inverse of the last layer is asked for what that layer gives: under a squared error its outputs',
  async (t) => {
    const linear = network({ features: 6 }).dense(7).dense(4).squaredError();
    using single = Dataset.fromArrays({ images: randomArray(6, 3), targets: randomArray(4, 4), shape: [6] });
    const { layers, before } = await oneStep(linear, { rule: 'sdtp', seed: 4 }, single);
    const of = (name: string): number[] => [...before.get(name)!.data];
    const affine = (w: number[], b: number[], x: number[]): number[] =>
      b.map((bias, i) => bias + dot(w.slice(i * x.length, (i + 1) * x.length), x));
    const h = affine(of('layers.0.weight'), of('layers.0.bias'), [...single.batch([0])]);
    const y = affine(of('layers.1.weight'), of('layers.1.bias'), h);
    const V = of('inverses.1.weight');
    const back = of('inverses.1.bias').map((c, j) => c + y.reduce((sum, value, i) => sum + V[i * 7 + j]! * value, 0));
    const expected = norm(back.map((value, j) => value - h[j]!)) ** 2 / norm(h) ** 2;
    t.ok(
      close(layers[1]!.reconstructionError! / expected, 1, 1e-4),
      `${layers[1]!.reconstructionError}, not ${expected}`,
    );
  },
);

t.test('targets of images, whatever order they and their gradients have in memory', async (t) => {
  const local = network({ channels: 2, height: 4, width: 3 })
    .locallyConnected2d(3, { kernel: 2 })
    .locallyConnected2d(4, { kernel: [2, 1] })
    .flatten()
    .dense(5)
    .dense(4)
    .softmaxCrossEntropy();
  using single = Dataset.fromArrays({ images: randomArray(24, 3), labels: [1], shape: [2, 4, 3], classes: 4 });
  const bp = await oneStep(local, { rule: 'bp', seed: 4 }, single);
  for (const rule of ['dtp', 'sdtp'] as const) {
    const { layers, gradient } = await oneStep(local, { rule, seed: 4 }, single);
    for (const { name, targetAngle } of layers.slice(0, 3)) {
      const expected = degrees(gradient(`${name}.bias`), bp.gradient(`${name}.bias`));
      t.ok(close(targetAngle, expected, 0.1), `${rule}, ${name}: ${targetAngle}, expected ${expected}`);
    }
  }
});

t.test('there is no angle to a vector of zeros', async (t) => {
  const zeros = network({ features: 6 })
    .dense(7, { activation: 'tanh' })
    .dense(8, { activation: 'tanh', initializer: 'zeros' })
    .dense(4)
    .softmaxCrossEntropy();
  const { layers } = await oneStep(zeros, { rule: 'fa', seed: 4 });
  // No weights to compare the feedback with, and under bp nothing gets past them.
  t.strictSame([layers[1]!.feedbackAngle, layers[1]!.feedbackNormRatio], [undefined, undefined]);
  t.equal(layers[0]!.gradientAngle, undefined);
  t.ok(layers[2]!.feedbackAngle! > 1);
});

t.test('a diagnosis is of the step’s own batch', async (t) => {
  using set = dataOf(30);
  using net = new Network(spec, { rule: 'fa', seed: 4 });
  // Without a rate the parameters stay, and only the batches differ.
  const trainer = new Trainer(net, { optimizer: { type: 'sgd', lr: 0 }, batchSize: 10, seed: 3 });
  const found: DiagnosticsEvent[] = [];
  for await (const event of trainer.fit(set, { epochs: 1, diagnostics: 1 }))
    if (event.type === 'diagnostics') found.push(event);
  t.equal(found.length, 3);
  const order = permutation(3, 0, 30);
  const images = set.batch(order);
  for (const [step, { layers }] of found.entries()) {
    const of = order.slice(10 * step, 10 * step + 10);
    using own = Dataset.fromArrays({
      images: images.slice(60 * step, 60 * step + 60),
      labels: of.map((i) => (i * 3) % 4),
      shape: [6],
      classes: 4,
    });
    const alone = await oneStep(spec, { rule: 'fa', seed: 4 }, own);
    for (const [i, { gradientAngle }] of layers.entries())
      t.ok(close(gradientAngle, alone.layers[i]!.gradientAngle!, 0.05), `step ${step}, layer ${i}`);
  }
});

t.test('asking changes nothing', async (t) => {
  const deep = network({ channels: 1, height: 2, width: 3 })
    .conv2d(4, { kernel: 2, padding: 1, bias: false })
    .batchNorm({ activation: 'relu' })
    .locallyConnected2d(3, { kernel: 2, activation: 'tanh' })
    .flatten()
    .dense(4)
    .softmaxCrossEntropy();
  using images = Dataset.fromArrays({
    images: Float32Array.from(randomArray(50 * 6, 5)),
    labels: Uint8Array.from({ length: 50 }, (_, i) => i % 4),
    shape: [1, 2, 3],
    classes: 4,
  });
  for (const rule of ruleNames) {
    const run = async (diagnostics?: number) => {
      using net = new Network(isTarget(rule) ? spec : deep, { rule, seed: 6 });
      const trainer = new Trainer(net, { ...settingsOf(rule), batchSize: 3 });
      const steps: number[] = [];
      for await (const event of trainer.fit(isTarget(rule) ? data : images, { epochs: 2, diagnostics })) {
        if (event.type === 'diagnostics') steps.push(event.step);
      }
      const { sums: _, ...state } = await trainer.state();
      return { steps, parameters: await net.stateDict(), state };
    };
    const without = await run();
    const diagnosed = await run(3);
    t.strictSame(without.steps, []);
    t.strictSame(diagnosed.steps, isTarget(rule) ? [0, 3, 6] : [0, 3, 6, 9, 12, 15, 18, 21, 24, 27, 30, 33], rule);
    t.strictSame(diagnosed.parameters, without.parameters, `${rule}: the parameters`);
    t.strictSame(diagnosed.state, without.state, `${rule}: the optimizer`);
  }
});

t.test('batches of one’s own, and wrong values', async (t) => {
  const normalization = { mean: [0.4], std: [0.3] };
  using net = new Network(spec, { rule: 'fa', seed: 4, normalization });
  const trainer = new Trainer(net, settingsOf('fa'));
  const images = data.batch([...Array(COUNT).keys()]);
  const labels = Uint8Array.from({ length: COUNT }, (_, i) => (i * 3) % 4);
  const events: DiagnosticsEvent[] = [];
  const source = async function* () {
    yield await Promise.resolve({ images, labels });
  };
  for await (const event of trainer.fit(source, { epochs: 1, diagnostics: 1 }))
    if (event.type === 'diagnostics') events.push(event);
  const { layers } = await oneStep(spec, { rule: 'fa', seed: 4, normalization });
  t.equal(events.length, 1);
  for (const [i, { gradientAngle }] of events[0]!.layers.entries())
    t.ok(close(gradientAngle, layers[i]!.gradientAngle!, 0.05), 'as of the same images in a data set');
  await t.rejects(trainer.fit(data, { epochs: 2, diagnostics: 0 }).next(), {
    code: 'ERR_INVALID_ARGUMENT',
    message: /`diagnostics`/,
  });
});

t.test('without targets nothing is kept of the activities but what the backward pass needs', async (t) => {
  // 8 hidden layers of 20 MB; that many gradients of them, twice, would be 320 MB more than a step needs.
  const script = `
    import { Dataset, Network, Trainer, network } from ${moduleOf('lib/index.ts')};
    ${PEAK}
    const COUNT = 20_000;
    let builder = network({ features: 16 });
    for (let i = 0; i < 8; i++) builder = builder.dense(256, { activation: 'tanh' });
    const net = new Network(builder.dense(4).softmaxCrossEntropy(), { rule: 'fa', threads: 1 });
    const images = new Float32Array(COUNT * 16).fill(0.5);
    const data = Dataset.fromArrays({ images, labels: new Uint8Array(COUNT), shape: [16], classes: 4 });
    const trainer = new Trainer(net, { batchSize: COUNT });
    const peaks = [];
    for (const diagnostics of [undefined, 1]) {
      const { epoch } = await trainer.state();
      for await (const _ of trainer.fit(data, { epochs: epoch + 2, diagnostics }));
      peaks.push(peak() / 2 ** 20);
    }
    console.log(JSON.stringify(peaks));`;
  const { code, stdout, stderr } = await runScript(script);
  t.equal(code, 0, stderr);
  const [step, diagnosed] = JSON.parse(stdout) as [number, number];
  t.ok(diagnosed - step < 150, `${Math.round(step)} MiB at most in a step, ${Math.round(diagnosed)} in a diagnosis`);
});

t.test('on the command line', async (t) => {
  const dir = t.testdir({});
  const dataDir = writeTinyData(path.join(dir, 'data'));
  const model = path.join(dir, 'model.json');
  fs.writeFileSync(model, JSON.stringify(smallSpec));
  const out = path.join(dir, 'run');
  const common = [
    '--dataset',
    'mnist',
    '--data-dir',
    dataDir,
    '--model',
    model,
    '--rule',
    'frsf',
    '--last-layer',
    'rule',
    '--json',
  ];
  const settings = ['--validation', '100', '--batch-size', '50', '--seed', '1', '--diagnostics', '4'];
  const whole = await cortorch(['train', ...common, ...settings, '--epochs', '2', '--out', `${out}-whole`]);
  t.equal(whole.code, 0, whole.stderr);
  t.match(whole.stderr, /step 4 {2}angles to backpropagation's gradients, from below: \d+°/);
  const first = await cortorch(['train', ...common, ...settings, '--epochs', '2', '--max-steps', '7', '--out', out]);
  t.equal(first.code, 0, first.stderr);
  const second = await cortorch(['train', '--resume', out, '--json']);
  t.equal(second.code, 0, second.stderr);
  const diagnoses = (run: string) => metricsOf(run).filter(({ type }) => type === 'diagnostics');
  t.strictSame(diagnoses(out), diagnoses(`${out}-whole`), 'a resumed run has each line once');
  t.strictSame(
    diagnoses(out).map(({ epoch, step }) => [epoch, step]),
    [0, 4, 8, 12, 16].map((step) => [step < 10 ? 1 : 2, step]),
  );
  t.strictSame(
    whole.lines.filter(({ type }) => type === 'diagnostics'),
    diagnoses(`${out}-whole`),
    '--json prints them',
  );
  const [events] = fs.readdirSync(`${out}-whole`).filter((name) => name.startsWith('events.'));
  const curves = fs.readFileSync(path.join(`${out}-whole`, events!), 'latin1');
  for (const tag of ['gradientAngle/layers.0', 'feedbackAngle/layers.1', 'feedbackNormRatio/layers.1'])
    t.ok(curves.includes(tag), `TensorBoard: ${tag}`);
});
