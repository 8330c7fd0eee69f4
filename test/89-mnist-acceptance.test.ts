/** The first epochs on MNIST, as anybody gets them. */
import t from 'tap';
import { cortorch } from './support/cli.js';

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
