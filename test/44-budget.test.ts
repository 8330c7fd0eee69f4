/** The memory that training needs, and what is refused before anything is allocated. */
import os from 'node:os';
import t from 'tap';
import {
  liveTensors,
  Network,
  network,
  parseNetworkSpec,
  preset,
  Trainer,
  trainingBudget,
} from '../lib/index.js';
import { availableMemory, formatBytes } from '../lib/memory.js';
import { resolveRuleOptions } from '../lib/rules/rules.js';
import {
  evaluationBatch,
  requireMemoryForParameters,
  requireMemoryForTraining,
  type TrainingSettings,
} from '../lib/model/budget.js';
import { resolveOptimizer } from '../lib/training/optimizer.js';

/** [2, 6, 6] → [3, 4, 4] → [3, 2, 2] → [12] → [5] → [4] */
const small = network({ channels: 2, height: 6, width: 6 })
  .locallyConnected2d(3, { kernel: 3 })
  .maxPool2d({ kernel: 2 })
  .flatten()
  .dense(5)
  .dense(4, { bias: false })
  .softmaxCrossEntropy();

const weights = 16 * 9 * 2 * 3 + 48 + 12 * 5 + 5 + 5 * 4;
// Of one example: the input, the outputs, the errors of the lowest layer (2 · 48 + 72), the copies of its x and δ.
const values = 72 + 48 + 12 + 12 + 5 + 4 + (2 * 48 + 72) + (72 + 48);

t.test('the bytes of a small network, by hand', async (t) => {
  const activations = 10 * (4 * values + 8 * 12); // 8 for each place of a largest value
  t.strictSame(trainingBudget(small, { batchSize: 10 }), {
    weights: 4 * weights,
    feedback: 0,
    inverses: 0,
    auxiliaryWeights: 0,
    statistics: 0,
    gradients: 4 * weights,
    optimizerState: 8 * weights,
    activations,
    total: 16 * weights + activations,
  });
  const feedback = (options: Parameters<typeof trainingBudget>[1]): number =>
    trainingBudget(small, options).feedback / 4;
  t.equal(feedback({ rule: 'fa' }), 12 * 5 + 5 * 4, 'none for the lowest layer');
  t.equal(feedback({ rule: 'dfa' }), 4 * (48 + 5));
  t.equal(feedback({ rule: 'dfa', dfaFeedback: 'shared' }), 4 * 48);
  const states = (type: 'adam' | 'sgd' | 'rmsprop', momentum?: number): number =>
    trainingBudget(small, { optimizer: { type, ...(momentum !== undefined && { momentum }) } })
      .optimizerState /
    (4 * weights);
  t.strictSame(
    [states('adam'), states('sgd'), states('sgd', 0.9), states('rmsprop'), states('rmsprop', 0.9)],
    [2, 0, 1, 1, 2],
  );
  t.equal(trainingBudget(small).activations, 10 * activations, 'batches of 100');
  const shared = parseNetworkSpec(JSON.parse(JSON.stringify(small).replace('locally-connected2d', 'conv2d')));
  t.equal(trainingBudget(shared, { batchSize: 10 }).activations, activations + 10 * 4 * 2 * (72 + 48));
  t.throws(() => trainingBudget(small, { batchSize: 0 }), { code: 'ERR_INVALID_ARGUMENT' });
  t.throws(() => trainingBudget(small, { dfaFeedback: 'shared' }), { code: 'ERR_UNUSED_OPTION' });
});

t.test('the paper’s ImageNet network: 259.5 M weights, 1.4 GB of feedback under dfa', async (t) => {
  const budget = trainingBudget(preset('imagenet-lc'), { rule: 'dfa' });
  t.equal(formatBytes(budget.weights), '1.04 GB');
  t.equal(formatBytes(budget.feedback), '1.39 GB');
  t.equal(formatBytes(budget.optimizerState), '2.08 GB');
  const shared = trainingBudget(preset('imagenet-lc'), { rule: 'dfa', dfaFeedback: 'shared' });
  t.equal(shared.feedback, 4 * 1000 * 48 * 56 * 56);
});

t.test('a network that cannot fit is refused at once', async (t) => {
  const huge = network({ features: 10 ** 7 })
    .dense(10 ** 6)
    .dense(10)
    .softmaxCrossEntropy();
  const start = performance.now();
  t.throws(() => new Network(huge), {
    code: 'ERR_OUT_OF_MEMORY',
    message:
      /^the network's parameters need 40\.0 TB of memory \(weights 40\.0 TB\), but there are .*; use a smaller network or a machine with more memory$/,
  });
  t.throws(() => new Network(huge, { rule: 'fa' }), { message: /feedback 40\.0 MB/ });
  const seconds = (performance.now() - start) / 1000;
  t.ok(seconds < 0.1, `${seconds} s`);
  // More weights than a double counts, and more bytes than units.
  const places = network({ channels: 1, height: 10 ** 6, width: 10 ** 6 })
    .locallyConnected2d(10 ** 15, { kernel: 3 })
    .flatten()
    .dense(10)
    .softmaxCrossEntropy();
  t.throws(() => new Network(places), { code: 'ERR_OUT_OF_MEMORY', message: /EB/ });
});

t.test('a trainer that cannot fit is refused', async (t) => {
  using net = new Network(small, { rule: 'dfa' });
  const live = liveTensors();
  t.throws(() => new Trainer(net, { batchSize: 10 ** 12 }), {
    code: 'ERR_OUT_OF_MEMORY',
    message:
      /^training this network needs .* PB of memory \(weights 3\.99 kB, feedback 848 B, gradients 3\.99 kB, optimizer state 7\.98 kB, activations .* PB\), but there are .*; use a batch size of at most \d+$/,
  });
  t.equal(liveTensors(), live, 'nothing was made');
});

t.test('inverses have weights, gradients and moments of their own', async (t) => {
  const fc = preset('mnist-fc');
  const bp = trainingBudget(fc);
  const hidden = 4 * 4 * (256 * 256 + 256);
  const dtp = trainingBudget(fc, { rule: 'dtp', inverseOptimizer: { type: 'sgd' } });
  t.strictSame([dtp.weights, dtp.inverses], [bp.weights, hidden], 'none for the output layer');
  t.equal(dtp.gradients, bp.gradients + hidden);
  t.equal(dtp.optimizerState, bp.optimizerState, 'sgd has no state');
  t.ok(dtp.activations > bp.activations);
  const sdtp = trainingBudget(fc, { rule: 'sdtp' });
  t.equal(sdtp.inverses, hidden + 4 * (10 * 256 + 256));
  t.equal(sdtp.optimizerState, bp.optimizerState + 2 * sdtp.inverses);
  const ao = trainingBudget(fc, { rule: 'ao-sdtp', auxiliary: 7 });
  t.strictSame([ao.inverses, ao.auxiliaryWeights], [sdtp.inverses + 4 * 7 * 256, 4 * 7 * 257]);
  t.equal(ao.activations, sdtp.activations + 100 * 6 * 4 * 7);
  t.throws(() => trainingBudget(fc, { inverseOptimizer: {} }), { code: 'ERR_UNUSED_OPTION' });
  t.throws(() => trainingBudget(fc, { auxiliary: 3 }), {
    code: 'ERR_UNUSED_OPTION',
    message: /rule ao-sdtp/,
  });
});

t.test('the error says what would fit', async (t) => {
  const settings: TrainingSettings = {
    rule: 'dfa',
    ...resolveRuleOptions('dfa'),
    optimizer: resolveOptimizer(),
    inverseOptimizer: null,
    batchSize: 100,
  };
  const lc = preset('imagenet-lc');
  const { total, activations, feedback } = trainingBudget(lc, { rule: 'dfa' });
  const room =
    (available: number, changes: Partial<TrainingSettings> = {}) =>
    () =>
      requireMemoryForTraining(lc, { ...settings, ...changes }, { available });
  const refused = (available: number, remedy: RegExp, changes = {}): void => {
    t.throws(room(available, changes), { code: 'ERR_OUT_OF_MEMORY', message: remedy });
  };
  t.doesNotThrow(room(total));
  refused(total - 1, /; use a batch size of at most 99 or dfaFeedback shared$/);
  t.doesNotThrow(room(total - 1, { batchSize: 99 }));
  t.doesNotThrow(room(total - 1, { dfaFeedback: 'shared' }));
  refused(total - activations, /; use dfaFeedback shared$/);
  const saved = feedback - trainingBudget(lc, { rule: 'dfa', dfaFeedback: 'shared' }).feedback;
  refused(total - saved - activations / 2, /; use dfaFeedback shared with a batch size of at most 50$/);
  t.doesNotThrow(room(total - saved - activations / 2, { dfaFeedback: 'shared', batchSize: 50 }));
  refused(1e9, /; use a smaller network or a machine with more memory$/);
  const bp = { rule: 'bp', dfaFeedback: null } as const;
  refused(total - feedback - 1, /; use a batch size of at most 99$/, bp);
  t.doesNotThrow(
    () => requireMemoryForTraining(lc, settings, { available: total - 4 * 259e6 - feedback, built: true }),
    'the parameters of a network that is there are not counted twice',
  );
  const parameters = { rule: 'dfa', ...resolveRuleOptions('dfa') } as const;
  t.throws(() => requireMemoryForParameters(lc, parameters, 2e9), {
    message:
      /need 2\.43 GB of memory \(weights 1\.04 GB, feedback 1\.39 GB\), but there are 2\.00 GB; use dfaFeedback shared$/,
  });
});

t.test('evaluation takes as many examples at once as fit into about 1 GB', async (t) => {
  t.equal(evaluationBatch(preset('mnist-lc')), 1000);
  const batch = evaluationBatch(preset('imagenet-lc'));
  const { activations } = trainingBudget(preset('imagenet-lc'), { batchSize: batch });
  t.ok(batch < 500 && activations <= 1e9 && activations > 0.99e9, `${batch}: ${activations}`);
  t.equal(
    evaluationBatch(
      network({ features: 10 ** 9 })
        .dense(1)
        .softmaxCrossEntropy(),
    ),
    1,
  );
});

t.test('available memory and its text', async (t) => {
  const available = availableMemory();
  t.ok(available > 1e6 && available <= os.totalmem(), formatBytes(available));
  t.strictSame([0, 999, 1000, 999_499, 999_500, 1.38e9, 4e13, 2e18, 3e22].map(formatBytes), [
    '0 B',
    '999 B',
    '1.00 kB',
    '999 kB',
    '1.00 MB',
    '1.38 GB',
    '40.0 TB',
    '2.00 EB',
    '3.00e+4 EB',
  ]);
});
