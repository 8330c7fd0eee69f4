/** The memory that training needs, and what is refused before anything is allocated. */
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import os from 'node:os';
import t from 'tap';
import {
  liveTensors,
  Network,
  network,
  parseNetworkSpec,
  preset,
  ruleNames,
  Trainer,
  trainingBudget,
  type NetworkSpec,
  type RuleName,
} from '../../lib/index.js';
import { availableMemory, formatBytes } from '../../lib/memory.js';
import { memorySettingsOf, resolveSettings } from '../../lib/cli/settings.js';
import { dfa } from '../../lib/rules/direct.js';
import { bp, fa } from '../../lib/rules/gradient.js';
import { resolveRuleOptions } from '../../lib/rules/ask.js';
import {
  budgetOf,
  evaluationBatch,
  requireMemoryForParameters,
  requireMemoryForTraining,
  type TrainingSettings,
} from '../../lib/model/budget.js';
import { resolveOptimizer } from '../../lib/training/optimizer.js';

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
    workingCopies: 0,
    feedback: 0,
    inverses: 0,
    auxiliaryWeights: 0,
    statistics: 0,
    gradients: 4 * weights,
    optimizerState: 8 * weights,
    activations,
    unrecorded: 0,
    workspace: 0,
    runtime: 0,
    total: 16 * weights + activations,
  });
  const feedback = (options: Parameters<typeof trainingBudget>[1]): number =>
    trainingBudget(small, options).feedback / 4;
  t.equal(feedback({ rule: 'fa' }), 12 * 5 + 5 * 4, 'none for the lowest layer');
  t.equal(feedback({ rule: 'dfa' }), 4 * (48 + 5));
  t.equal(feedback({ rule: 'dfa', dfaFeedback: 'shared' }), 4 * 48);
  const states = (type: 'adam' | 'sgd' | 'rmsprop', momentum?: number): number =>
    trainingBudget(small, { optimizer: { type, ...(momentum !== undefined && { momentum }) } }).optimizerState /
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

t.test('what a residual block adds, by hand', (t) => {
  const units = 5;
  const below = network({ features: 6 }).dense(units);
  const activations = (spec: NetworkSpec): number => trainingBudget(spec, { batchSize: 10 }).activations;
  const plain = activations(below.dense(units).dense(2).softmaxCrossEntropy());
  for (const activation of ['identity', 'tanh'] as const) {
    const block = below.residual((x) => x.dense(units), { activation });
    // The sum, its activation if it has one, and what waits while errors go down through the block's layers: the
    // error of the sum, and the shortcut's.
    const more = units + (activation === 'identity' ? 0 : units) + 2 * units;
    t.equal(activations(block.dense(2).softmaxCrossEntropy()) - plain, 10 * 4 * more, activation);
  }
  t.end();
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

t.test('a trainer does not count once more what its network has already', (t) => {
  using net = new Network(small, { rule: 'fa' });
  const { total, weights: layers, feedback } = trainingBudget(small, { rule: 'fa', batchSize: 10 });
  let left = 0;
  // As if the machine had so much left, and no control group less.
  const replaced = [t.capture(process, 'constrainedMemory', () => 0), t.capture(os, 'freemem', () => left)];
  syncBuiltinESMExports();
  t.teardown(() => {
    for (const one of replaced) one.restore();
    syncBuiltinESMExports();
  });
  left = total - layers - feedback;
  t.equal(availableMemory(), left);
  t.doesNotThrow(() => new Trainer(net, { batchSize: 10 }));
  left--;
  t.throws(() => new Trainer(net, { batchSize: 10 }), { code: 'ERR_OUT_OF_MEMORY' });
  t.end();
});

t.test('diagnostics hold the gradients of bp beside those of the rule', async (t) => {
  const settings: TrainingSettings = {
    ...{ rule: fa, options: resolveRuleOptions(fa) },
    ...{ optimizer: resolveOptimizer(), inverseOptimizer: null, batchSize: 10 },
    ...{ device: 'cpu', precision: 'fp32' },
  };
  const without = budgetOf(small, settings);
  const diagnosed = budgetOf(small, { ...settings, diagnostics: true });
  t.equal(diagnosed.gradients, without.gradients + 4 * weights);
  t.equal(diagnosed.total, without.total + 4 * weights);
  const { total: available } = without;
  t.doesNotThrow(() => requireMemoryForTraining(small, settings, { available }));
  t.throws(() => requireMemoryForTraining(small, { ...settings, diagnostics: true }, { available }), {
    code: 'ERR_OUT_OF_MEMORY',
  });
  const given = { dataset: 'mnist', model: 'mnist-fc', rule: 'fa' } as const;
  const asked = memorySettingsOf(await resolveSettings({ ...given, diagnostics: 100 }));
  t.equal(asked.diagnostics, true, '--diagnostics asks for them');
  t.equal(memorySettingsOf(await resolveSettings(given)).diagnostics, false);
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
    ...{ rule: dfa, options: resolveRuleOptions(dfa) },
    ...{ device: 'cpu', precision: 'fp32' },
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
  t.doesNotThrow(room(total - 1, { options: { dfaFeedback: 'shared' } }));
  refused(total - activations, /; use dfaFeedback shared$/);
  const saved = feedback - trainingBudget(lc, { rule: 'dfa', dfaFeedback: 'shared' }).feedback;
  refused(total - saved - activations / 2, /; use dfaFeedback shared with a batch size of at most 50$/);
  t.doesNotThrow(room(total - saved - activations / 2, { options: { dfaFeedback: 'shared' }, batchSize: 50 }));
  refused(1e9, /; use a smaller network or a machine with more memory$/);
  refused(total - feedback - 1, /; use a batch size of at most 99$/, { rule: bp, options: {} });
  t.doesNotThrow(
    () => requireMemoryForTraining(lc, settings, { available: total - 4 * 259e6 - feedback, built: true }),
    'the parameters of a network that is there are not counted twice',
  );
  const parameters = {
    ...{ rule: dfa, options: resolveRuleOptions(dfa) },
    ...({ device: 'cpu', precision: 'fp32' } as const),
  };
  t.throws(() => requireMemoryForParameters(lc, parameters, 2e9), {
    message:
      /need 2\.43 GB of memory \(weights 1\.04 GB, feedback 1\.39 GB\), but there are 2\.00 GB; use dfaFeedback shared$/,
  });
});

/**
 * imagenet-lc on a GPU. Values, counted by hand from Table 3: of the inverses, the feedback, the random features, and
 * of one example (for bp the input, 150,528, the outputs, 367,912 with the flatten's copy, and the errors of the lowest
 * layer, 3 · 150,528); then the bytes of a step, batches of 128 and 256: in fp32, in bf16, in bf16 with bf16 moments.
 */
// prettier-ignore
const imagenetLc: readonly (readonly [RuleName, ...number[]])[] = [
  ['bp', 0, 0, 0, 970_024, 6_790_491_936, 7_783_796_512, 5_774_120_912, 6_270_773_200, 4_734_683_440, 5_231_335_728],
  ['fa', 0, 222_931_968, 0, 970_024, 7_682_219_808, 8_675_524_384, 6_219_984_848, 6_716_637_136, 5_180_547_376, 5_677_199_664],
  ['dfa', 0, 348_096_000, 0, 970_024, 8_182_875_936, 9_176_180_512, 6_470_312_912, 6_966_965_200, 5_430_875_440, 5_927_527_728],
  ['usf', 0, 90_316_800, 0, 970_024, 7_151_759_136, 8_145_063_712, 5_954_754_512, 6_451_406_800, 4_915_317_040, 5_411_969_328],
  ['brsf', 0, 294_432_768, 0, 970_024, 7_968_223_008, 8_961_527_584, 6_362_986_448, 6_859_638_736, 5_323_548_976, 5_820_201_264],
  ['frsf', 0, 294_432_768, 0, 970_024, 7_968_223_008, 8_961_527_584, 6_362_986_448, 6_859_638_736, 5_323_548_976, 5_820_201_264],
  ['tp', 223_280_064, 0, 0, 1_873_192, 12_180_937_248, 14_099_085_856, 10_255_584_080, 11_214_658_384, 8_323_026_352, 9_282_100_656],
  ['dtp', 204_445_248, 0, 0, 1_873_192, 11_804_240_928, 13_722_389_536, 9_916_557_392, 10_875_631_696, 8_059_338_928, 9_018_413_232],
  ['sdtp', 223_280_064, 0, 0, 1_873_192, 12_180_937_248, 14_099_085_856, 10_255_584_080, 11_214_658_384, 8_323_026_352, 9_282_100_656],
  ['ao-sdtp', 232_913_856, 0, 9_634_304, 1_876_264, 12_415_296_032, 14_336_590_368, 10_449_833_808, 11_410_480_976, 8_478_740_912, 9_439_388_080],
];

t.test('imagenet-lc on a GPU, under every rule', async (t) => {
  const layers = 259_859_368;
  t.strictSame(
    imagenetLc.map(([rule]) => rule),
    ruleNames,
  );
  for (const [rule, inverses, feedback, features, example, ...totals] of imagenetLc) {
    const found: number[] = [];
    for (const [precision, moments] of [
      ['fp32', 'fp32'],
      ['bf16', 'fp32'],
      ['bf16', 'bf16'],
    ] as const) {
      for (const batchSize of [128, 256]) {
        const inverse = inverses! > 0 && { inverseOptimizer: { moments } };
        const options = { rule, batchSize, device: 'cuda', precision, optimizer: { moments }, ...inverse };
        const budget = trainingBudget(preset('imagenet-lc'), options);
        const [size, moment] = [precision === 'bf16' ? 2 : 4, moments === 'bf16' ? 2 : 4];
        const trainable = layers + inverses!;
        t.strictSame(
          budget,
          {
            weights: 4 * layers,
            workingCopies: precision === 'bf16' ? 2 * trainable : 0,
            feedback: size * feedback!,
            inverses: 4 * inverses!,
            auxiliaryWeights: size * features!,
            statistics: 0,
            gradients: size * trainable,
            optimizerState: 2 * moment * trainable,
            activations: size * batchSize * example!,
            unrecorded: size * trainable + size * batchSize * example!, // a step beside the recorded one
            workspace: 0,
            runtime: 600_000_000,
            total: budget.total,
          },
          `${rule}, ${precision}, moments ${moments}, ${batchSize}`,
        );
        found.push(budget.total);
      }
    }
    t.strictSame(found, totals, rule);
  }
});

t.test('what else is another on a GPU', async (t) => {
  const lc = preset('imagenet-lc');
  const onGpu = { device: 'cuda:1', precision: 'tf32' } as const;
  t.strictSame(trainingBudget(lc, onGpu), trainingBudget(lc, { device: 'cuda' }), 'tf32 is stored as fp32');
  const copies = 4 * 100 * (150_528 + 150_528);
  t.equal(trainingBudget(lc).activations - trainingBudget(lc, onGpu).activations, copies);
  const [conv, lenet] = [trainingBudget(preset('imagenet-conv'), onGpu), trainingBudget(small, onGpu)];
  t.strictSame([conv.workspace, lenet.workspace], [2 ** 28, 0], "cuDNN's");
  // The indices of max pooling stay 8 bytes.
  t.equal(
    trainingBudget(small, { device: 'cuda', precision: 'bf16', batchSize: 10 }).activations,
    10 * (2 * (values - (72 + 48)) + 8 * 12),
  );
  const resnet = trainingBudget(preset('resnet20'), { device: 'cuda', precision: 'bf16' });
  t.equal(resnet.statistics, trainingBudget(preset('resnet20')).statistics, 'statistics stay float32');
  const sgd = { type: 'sgd', momentum: 0.9, moments: 'bf16' } as const;
  t.equal(trainingBudget(small, { device: 'cuda', optimizer: sgd }).optimizerState, 2 * weights);
  t.throws(() => trainingBudget(small, { optimizer: sgd }), {
    code: 'ERR_UNUSED_OPTION',
    message: /^optimizer\.moments bf16 is not used by device cpu; choose device cuda, or leave it out$/,
  });
  const inverseOptimizer = { moments: 'bf16' } as const;
  t.throws(() => trainingBudget(preset('mnist-fc'), { rule: 'dtp', inverseOptimizer }), {
    code: 'ERR_UNUSED_OPTION',
    message: /^inverseOptimizer\.moments/,
  });
  t.throws(() => trainingBudget(small, { precision: 'bf16' }), { code: 'ERR_DEVICE_UNAVAILABLE' });
  t.throws(() => trainingBudget(small, { device: 'cuda:x' }), { code: 'ERR_INVALID_ARGUMENT' });
});

t.test('the error on a GPU says what would fit', async (t) => {
  const lc = preset('imagenet-lc');
  const settings: TrainingSettings = {
    ...{ rule: dfa, options: resolveRuleOptions(dfa) },
    ...{ device: 'cuda:0', precision: 'fp32' },
    optimizer: resolveOptimizer(),
    inverseOptimizer: null,
    batchSize: 128,
  };
  const total = (options: Parameters<typeof trainingBudget>[1]): number =>
    trainingBudget(lc, { rule: 'dfa', device: 'cuda', batchSize: 128, ...options }).total;
  const refused = (available: number, message: RegExp, changes = {}): void => {
    t.throws(() => requireMemoryForTraining(lc, { ...settings, ...changes }, { available }), {
      code: 'ERR_OUT_OF_MEMORY',
      message,
    });
  };
  const fits = (available: number, changes: Partial<TrainingSettings>): void => {
    t.doesNotThrow(() => requireMemoryForTraining(lc, { ...settings, ...changes }, { available }));
  };
  t.equal(total({}), 8_182_875_936);
  refused(
    8_182_875_935,
    /^training this network needs 8\.18 GB of memory \(weights 1\.04 GB, feedback 1\.39 GB, gradients 1\.04 GB, optimizer state 2\.08 GB, activations 497 MB, unrecorded steps 1\.54 GB, CUDA itself 600 MB\), but cuda:0 has 8\.18 GB for it; use a batch size of at most 127 or dfaFeedback shared or precision bf16 or moments bf16$/,
  );
  fits(8_182_875_936, {});
  const bf16 = total({ precision: 'bf16' });
  const shared = total({ dfaFeedback: 'shared' });
  t.ok(bf16 < shared);
  refused(shared - 1, /; use a batch size of at most 26 or precision bf16 or moments bf16$/);
  refused(
    bf16 - 1,
    /; use dfaFeedback shared and precision bf16 or dfaFeedback shared and moments bf16 or precision bf16 and moments bf16$/,
  );
  const optimizer = resolveOptimizer({ moments: 'bf16' });
  const both = total({ precision: 'bf16', optimizer: { moments: 'bf16' } });
  const sharedMoments = total({ dfaFeedback: 'shared', optimizer: { moments: 'bf16' } });
  t.ok(both < sharedMoments);
  refused(both, /; use precision bf16 and moments bf16$/);
  fits(both, { precision: 'bf16', optimizer });
  const all = { dfaFeedback: 'shared', precision: 'bf16', optimizer: { moments: 'bf16' } } as const;
  refused(total(all), /; use dfaFeedback shared and precision bf16 and moments bf16$/);
  refused(
    total(all) - 2 * 64 * 2 * 970_024, // of the recorded step and of one beside it
    /; use dfaFeedback shared and precision bf16 and moments bf16 with a batch size of at most 64$/,
  );
  refused(1e9, /but cuda:0 has 1\.00 GB for it; use a smaller network or a GPU with more memory$/);
  refused(2.9e9, /use a smaller network or a GPU/, {
    optimizer: resolveOptimizer({ type: 'sgd' }), // it keeps no moments
    precision: 'bf16',
    dfaFeedback: 'shared',
  });

  const held = 4 * 259_859_368 + 4 * 348_096_000 + 600e6;
  t.doesNotThrow(
    () => requireMemoryForTraining(lc, settings, { available: total({}) - held, built: true }),
    'what the network holds, and CUDA, are there already',
  );
  t.throws(() => requireMemoryForTraining(lc, settings, { available: total({}) - held - 1, built: true }));
  t.throws(() => requireMemoryForParameters(lc, settings, held - 1), {
    message: /^the network's parameters need 3\.03 GB .*CUDA itself.*; use dfaFeedback shared or precision bf16$/,
  });
  t.doesNotThrow(() => requireMemoryForParameters(lc, settings, held));
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

t.test("in a container its file cache counts as available, as the kernel's two hierarchies say it", (t) => {
  t.capture(process, 'constrainedMemory', () => os.totalmem() / 2);
  t.capture(process, 'availableMemory', () => 1000);
  const kernels: Record<string, string>[] = [
    {
      '/proc/self/cgroup': '0::/jobs/a\n',
      '/sys/fs/cgroup/jobs/a/memory.stat': 'anon 7\nfile 90\ninactive_file 300\nactive_file 200\n',
    },
    {
      '/proc/self/cgroup': '5:cpu:/other\n4:memory:/jobs/b\n',
      // Of the group alone, and with those below it, which count.
      '/sys/fs/cgroup/memory/jobs/b/memory.stat':
        'inactive_file 2\nactive_file 1\ntotal_inactive_file 400\ntotal_active_file 100\n',
    },
  ];
  t.teardown(syncBuiltinESMExports);
  for (const files of kernels) {
    t.capture(fs, 'readFileSync', (file: string) => {
      if (Object.hasOwn(files, file)) return files[file];
      throw new Error(`no ${file}`);
    });
    syncBuiltinESMExports();
    t.equal(availableMemory(), 1500);
  }
  t.end();
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
