/** The first epochs on MNIST, as anybody gets them. */
import t from 'tap';
import { cortorch } from '../support/cli.js';

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

for (const { rule, schedule, epochs, limit } of TARGET_RUNS) {
  t.test(`mnist-fc with ${rule}, ${schedule}`, async (t) => {
    const flags = `--dataset mnist --model mnist-fc --rule ${rule} --schedule ${schedule} --epochs ${epochs} --seed 1 --json`;
    const { code, lines, stderr } = await cortorch(['train', ...flags.split(' ')]);
    t.equal(code, 0, stderr);
    const { test, phase } = lines.at(-2)!;
    t.equal(phase, schedule === 'parallel' ? 'both' : 'forward');
    t.ok(test.error < limit, `test error ${test.error}, at most ${limit}`);
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
