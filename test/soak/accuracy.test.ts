/** The first epochs on MNIST, as anybody gets them. */
import t from 'tap';
import { mnist, Network, preset, Trainer, trainerDefaults } from '../../lib/index.js';
import { cortorch } from '../support/cli.js';
import { epochsOf } from '../support/networks.js';

/** Test error after so many epochs, at most. The locally connected and convolutional nets take longest. */
const RUNS = [
  { model: 'mnist-fc', rule: 'bp', epochs: 5, limit: 0.038, parameters: 466_698 },
  { model: 'mnist-fc', rule: 'fa', epochs: 5, limit: 0.065, parameters: 466_698 },
  { model: 'mnist-fc', rule: 'dfa', epochs: 5, limit: 0.045, parameters: 466_698 },
  { model: 'mnist-lc', rule: 'bp', epochs: 3, limit: 0.04, parameters: 4_191_562 },
  { model: 'mnist-lc', rule: 'fa', epochs: 3, limit: 0.065, parameters: 4_191_562 },
  { model: 'mnist-lc', rule: 'dfa', epochs: 3, limit: 0.06, parameters: 4_191_562 },
  { model: 'mnist-conv', rule: 'bp', epochs: 3, limit: 0.03, parameters: 3_241_354 },
];

/** Target propagation; an epoch of the alternating schedule trains one of the two losses. Limits as above. */
const TARGET_RUNS = [
  { rule: 'tp', schedule: 'alternating', epochs: 6, limit: 0.18 },
  { rule: 'dtp', schedule: 'parallel', epochs: 5, limit: 0.045 },
  { rule: 'dtp', schedule: 'alternating', epochs: 6, limit: 0.065 },
  { rule: 'sdtp', schedule: 'parallel', epochs: 5, limit: 0.085 },
  { rule: 'sdtp', schedule: 'alternating', epochs: 6, limit: 0.1 },
  { rule: 'ao-sdtp', schedule: 'parallel', epochs: 5, limit: 0.07 },
  { rule: 'ao-sdtp', schedule: 'alternating', epochs: 6, limit: 0.085 },
];

/**
 * What the last layer learns alone, by the settings of a rule: under dfa with feedback of zeros nothing reaches a
 * hidden layer. A limit above it would say nothing of the hidden layers.
 */
async function shallow(model: string, rule: 'tp' | 'dfa', epochs: number): Promise<number> {
  const { train, test } = await mnist();
  const { train: training } = train.split(5000, 1);
  using net = new Network(preset(model), { rule: 'dfa', seed: 1 });
  const state = await net.stateDict();
  for (const [name, { data }] of state) if (name.endsWith('weight_backward')) data.fill(0);
  await net.loadStateDict(state);
  const { optimizer } = trainerDefaults(model, rule, 'alternating');
  const trainer = new Trainer(net, { optimizer, batchSize: 100, seed: 1 });
  const events = await epochsOf(trainer.fit(training, { epochs, test }));
  return events.at(-1)!.test!.error;
}

for (const [model, rule, epochs] of [
  ['mnist-fc', 'tp', 3], // of six epochs three are of the layers
  ['mnist-fc', 'dfa', 5],
  ['mnist-lc', 'dfa', 3],
] as const) {
  t.test(`the last layer of ${model} alone learns less than ${rule}`, async (t) => {
    const error = await shallow(model, rule, epochs);
    const runs = [...TARGET_RUNS.map((run) => ({ model: 'mnist-fc', ...run })), ...RUNS];
    const { limit } = runs.find((run) => run.model === model && run.rule === rule)!;
    t.ok(error > limit, `test error ${error}, and of ${rule} at most ${limit}`);
    t.comment(`${model}, the settings of ${rule}: ${error}`);
  });
}

for (const { rule, schedule, epochs, limit } of TARGET_RUNS) {
  t.test(`mnist-fc with ${rule}, ${schedule}`, async (t) => {
    const flags = `--dataset mnist --model mnist-fc --rule ${rule} --schedule ${schedule} --epochs ${epochs} --seed 1 --json`;
    const { code, lines, stderr } = await cortorch(['train', ...flags.split(' ')]);
    t.equal(code, 0, stderr);
    const { test, phase } = lines.at(-2)!;
    t.equal(phase, schedule === 'parallel' ? 'both' : 'forward');
    t.ok(test.error < limit, `test error ${test.error}, at most ${limit}`);
    t.comment(`test error ${test.error}`);
  });
}

for (const rule of ['bp', 'dtp', 'sdtp']) {
  t.test(`mnist-autoencoder with ${rule}`, async (t) => {
    const flags = `--dataset mnist --model mnist-autoencoder --rule ${rule} --epochs 1 --seed 1 --json`;
    const { code, lines, stderr } = await cortorch(['train', ...flags.split(' ')]);
    t.equal(code, 0, stderr);
    const { test } = lines.at(-2)!;
    // What a constant image gives is about 0.067.
    t.ok(test.error < 0.03, `mean squared error of a pixel ${test.error}`);
    t.ok(Math.abs(test.loss - 784 * test.error) < 1e-3 * test.loss, 'the loss is summed over pixels');
    t.equal(test.error5, null);
  });
}

for (const { model, rule, epochs, limit, parameters } of RUNS) {
  t.test(`${model} with ${rule}`, async (t) => {
    const flags = `--dataset mnist --model ${model} --rule ${rule} --epochs ${epochs} --seed 1 --json`;
    const { code, lines, stderr } = await cortorch(['train', ...flags.split(' ')]);
    t.equal(code, 0, stderr);
    t.match(lines[0], { type: 'start', parameters });
    const { test, imagesPerSecond } = lines.at(-2)!;
    t.match(lines.at(-2), { type: 'epoch', epoch: epochs });
    t.ok(test.error < limit, `test error ${test.error}, at most ${limit}`);
    t.ok(lines.at(-1)!.best.test.error < limit);
    t.comment(`${Math.round(imagesPerSecond)} images/s, test error ${test.error}`);
  });
}
