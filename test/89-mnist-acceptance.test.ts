/** The first five epochs on MNIST, as anybody gets them. */
import t from 'tap';
import { cortorch } from './support/cli.js';

/** Test error after five epochs, at most. */
const LIMITS = { bp: 0.038, fa: 0.065, dfa: 0.045 };

for (const [rule, limit] of Object.entries(LIMITS)) {
  t.test(`mnist-fc with ${rule}`, async (t) => {
    const flags = [
      '--dataset',
      'mnist',
      '--model',
      'mnist-fc',
      '--rule',
      rule,
      '--epochs',
      '5',
      '--seed',
      '1',
    ];
    const { code, lines, stderr } = await cortorch(['train', ...flags, '--json']);
    t.equal(code, 0, stderr);
    t.match(lines[0], { type: 'start', parameters: 466_698 });
    const { test, imagesPerSecond } = lines.at(-2)!;
    t.match(lines.at(-2), { type: 'epoch', epoch: 5 });
    t.ok(test.error < limit, `test error ${test.error}, at most ${limit}`);
    t.ok(lines.at(-1)!.best.test.error < limit);
    t.comment(`${Math.round(imagesPerSecond)} images/s`);
  });
}
