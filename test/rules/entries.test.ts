/** Each rule's one entry: its options, its parameters as the addon makes them, what it refuses, what it trains when. */
import t from 'tap';
import {
  CortorchError,
  Network,
  network,
  preset,
  ruleNames,
  trainingBudget,
  type NetworkOptions,
  type NetworkSpec,
  type RuleName,
} from '../../lib/index.js';
import { budgetOf } from '../../lib/model/budget.js';
import { isRulesOwn } from '../../lib/model/parameter-names.js';
import { parseNetworkSpec } from '../../lib/model/spec.js';
import { learns, requireFits, resolveRuleOptions, resolveSettingsOf } from '../../lib/rules/ask.js';
import {
  merged,
  networkOptionNames,
  ruleOf,
  rules,
  trainerOptionNames,
  trainerOptions,
} from '../../lib/rules/names.js';
import { choice, number, optimizer, type Choice, type OptionTable } from '../../lib/rules/options.js';
import { defineRule, inversesAmong, type OwnParameter } from '../../lib/rules/rule.js';
import { resolveOptimizer } from '../../lib/training/optimizer.js';
import { refusal } from '../support/refusal.js';

/** Options of a network's rule, with their defaults. */
const networkDefaults: Readonly<Record<RuleName, object>> = {
  bp: {},
  fa: { feedbackScale: 'glorot', lastLayer: 'rule' },
  dfa: { dfaFeedback: 'per-layer' },
  usf: { feedbackScale: 'xiao', lastLayer: 'bp' },
  brsf: { feedbackScale: 'xiao', lastLayer: 'bp' },
  frsf: { feedbackScale: 'xiao', lastLayer: 'bp' },
  tp: {},
  dtp: {},
  sdtp: {},
  'ao-sdtp': { auxiliary: 512 },
};

const targets = {
  ...{ schedule: 'parallel', firstPhase: null, inverseOptimizer: resolveOptimizer(), lossReduction: 'sum' },
  ...{ targetStep: null, targetStepLoss: null },
};
/** What a trainer sets without options, for three layers with weights. */
const trainerDefaults: Readonly<Record<RuleName, object | null>> = {
  ...{ bp: null, fa: null, dfa: null, usf: null, brsf: null, frsf: null },
  tp: { ...targets, inverseLoss: 'noise-preserving', noise: [0.1, 0.1] },
  dtp: { ...targets, inverseLoss: 'noise-preserving', noise: [0.1], targetStep: 0.1, targetStepLoss: 'example' },
  sdtp: { ...targets, inverseLoss: 'de-noising', noise: [0.1, 0.1] },
  'ao-sdtp': { ...targets, inverseLoss: 'de-noising', noise: [0.1, 0.1] },
};

const dense = network({ features: 4 }).dense(5, { name: 'first' }).dense(6).dense(3).softmaxCrossEntropy();

t.test('options and their defaults', async (t) => {
  t.strictSame(
    rules.map(({ name }) => name),
    ruleNames,
  );
  for (const rule of rules) {
    const { name } = rule;
    const options = resolveRuleOptions(rule);
    t.strictSame(options, networkDefaults[name as RuleName], name);
    t.strictSame(resolveSettingsOf(rule, {}, { spec: dense, options }), trainerDefaults[name as RuleName], name);
    t.equal(learns(rule), trainerDefaults[name as RuleName] !== null);
  }
  t.strictSame(networkOptionNames, ['feedbackScale', 'lastLayer', 'dfaFeedback', 'auxiliary']);
  t.strictSame(trainerOptionNames, [
    ...['schedule', 'firstPhase', 'inverseOptimizer', 'noise', 'inverseLoss'],
    ...['targetStep', 'targetStepLoss', 'lossReduction'],
  ]);
});

/** A value of each option that is right where the rule has it, and wrong ones. */
const values: Readonly<Record<string, { right: unknown; wrong: readonly unknown[] }>> = {
  dfaFeedback: { right: 'shared', wrong: ['Shared', 1, null] },
  feedbackScale: { right: 'xiao', wrong: ['he', 2] },
  lastLayer: { right: 'bp', wrong: ['fa', true] },
  auxiliary: { right: 3, wrong: [0, 1.5, '3', -1] },
  schedule: { right: 'parallel', wrong: ['both', {}] },
  firstPhase: { right: undefined, wrong: ['both', 1] },
  inverseOptimizer: { right: { type: 'sgd' }, wrong: ['sgd', { lr: -1 }] },
  noise: { right: 0.3, wrong: [-1, NaN, '0.1', [0.1, 0.1, 0.1], []] },
  inverseLoss: { right: 'de-noising', wrong: ['difference'] },
  targetStep: { right: 0.2, wrong: [0, -1, '1', Infinity] },
  targetStepLoss: { right: 'batch-mean', wrong: ['batch'] },
  lossReduction: { right: 'mean', wrong: ['none'] },
};

t.test('an option is taken by the rules that have it, and refused by the others, which name those', async (t) => {
  for (const of of ['options', 'trainerOptions'] as const) {
    for (const name of of === 'options' ? networkOptionNames : trainerOptionNames) {
      const users = rules.filter((rule) => Object.hasOwn(rule[of], name)).map((rule) => rule.name);
      const { right, wrong } = values[name]!;
      for (const rule of rules) {
        const give = (value: unknown) => (): unknown =>
          of === 'options'
            ? resolveRuleOptions(rule, { [name]: value })
            : resolveSettingsOf(rule, { [name]: value }, { spec: dense, options: resolveRuleOptions(rule) });
        const what = `${rule.name}: ${name}`;
        if (users.includes(rule.name)) {
          if (right !== undefined) t.hasProp(give(right)() as object, name, what);
          for (const value of wrong.filter((one) => one !== null))
            t.throws(give(value), { code: 'ERR_INVALID_ARGUMENT' }, what);
          continue;
        }
        const error = await refusal(CortorchError, give(wrong[0]));
        t.equal(error.code, 'ERR_UNUSED_OPTION', what);
        t.ok(error.message.startsWith(`${name} is not used by rule ${rule.name}`), error.message);
        for (const user of users) t.ok(error.message.includes(user), error.message);
      }
    }
  }
  const message = async (rule: RuleName, options: object): Promise<string> => {
    const settings = () => resolveSettingsOf(ruleOf(rule), options, { spec: dense, options: {} });
    return (await refusal(CortorchError, settings)).message;
  };
  t.equal(
    await message('bp', { noise: 0.1 }),
    'noise is not used by rule bp; choose a rule of target propagation (tp, dtp, sdtp, ao-sdtp), or leave it out',
  );
  t.equal(
    await message('bp', { targetStep: 1 }),
    'targetStep is not used by rule bp; choose rule dtp, or leave it out',
  );
  t.equal(
    await message('sdtp', { targetStep: 1 }),
    'targetStep is not used by rule sdtp, whose penultimate target comes from the inverse of the output layer; ' +
      'choose rule dtp, or leave it out',
  );
  t.equal(
    (await refusal(CortorchError, () => resolveRuleOptions(ruleOf('bp'), { lastLayer: 'bp' }))).message,
    'lastLayer is not used by rule bp; choose rule fa, usf, brsf, frsf, or leave it out',
  );
});

t.test('what each epoch trains', async (t) => {
  const phases = (rule: RuleName, given: object): string[] => {
    const entry = ruleOf(rule);
    const settings = resolveSettingsOf(entry, given, { spec: dense, options: resolveRuleOptions(entry) });
    return [0, 1, 2].map((epoch) => entry.phaseOf(settings, epoch));
  };
  for (const rule of rules.filter((one) => !learns(one)))
    t.strictSame(phases(rule.name as RuleName, {}), ['forward', 'forward', 'forward'], rule.name);
  for (const rule of rules.filter(learns)) {
    const name = rule.name as RuleName;
    t.strictSame(phases(name, {}), ['both', 'both', 'both'], name);
    const alternating = { schedule: 'alternating' };
    t.strictSame(phases(name, alternating), ['inverse', 'forward', 'inverse'], name);
    t.strictSame(phases(name, { ...alternating, firstPhase: 'forward' }), ['forward', 'inverse', 'forward'], name);
  }
});

t.test('parameters of its own, by hand', async (t) => {
  const of = (rule: RuleName, given: object = {}): [string, readonly number[], string, number | null][] => {
    const entry = ruleOf(rule);
    const own = entry.parameters(dense, resolveRuleOptions(entry, given));
    return own.map(({ name, shape, role, layer }) => [name, shape, role, layer]);
  };
  const feedback: ReturnType<typeof of> = [['layers.1.weight_backward', [6, 5], 'fixed', 1]];
  const last: (typeof feedback)[number] = ['layers.2.weight_backward', [3, 6], 'fixed', 2];
  t.strictSame(of('fa'), [...feedback, last]);
  t.strictSame(of('fa', { lastLayer: 'bp' }), feedback);
  t.strictSame(of('frsf'), feedback);
  t.strictSame(of('frsf', { lastLayer: 'rule' }), [...feedback, last]);
  for (const rule of ['bp', 'usf', 'brsf'] as const) t.strictSame(of(rule), [], rule);
  t.strictSame(of('dfa'), [
    ['first.weight_backward', [3, 5], 'fixed', 0],
    ['layers.1.weight_backward', [3, 6], 'fixed', 1],
  ]);
  t.strictSame(of('dfa', { dfaFeedback: 'shared' }), [['weight_backward', [3, 6], 'fixed', null]]);
  const hidden: ReturnType<typeof of> = [
    ['inverses.1.weight', [6, 5], 'learned', 1],
    ['inverses.1.bias', [5], 'learned', 1],
  ];
  const top = (outputs: number): ReturnType<typeof of> => [
    ['inverses.2.weight', [outputs, 6], 'learned', 2],
    ['inverses.2.bias', [6], 'learned', 2],
  ];
  t.strictSame(of('dtp'), hidden);
  for (const rule of ['tp', 'sdtp'] as const) t.strictSame(of(rule), [...hidden, ...top(3)], rule);
  t.strictSame(of('ao-sdtp', { auxiliary: 4 }), [
    ...hidden,
    ...top(7),
    ['auxiliary.weight', [4, 6], 'fixed', null],
    ['auxiliary.bias', [4], 'fixed', null],
  ]);
  t.strictSame(inversesAmong(ruleOf('dtp').parameters(dense, {})), [{ layer: 1, weight: [6, 5], bias: [5] }]);
});

/** Settings beside the defaults under which a rule's parameters are others. */
const variants: Readonly<Partial<Record<RuleName, readonly Omit<NetworkOptions, 'rule'>[]>>> = {
  fa: [{ lastLayer: 'bp' }],
  dfa: [{ dfaFeedback: 'shared' }],
  usf: [{ lastLayer: 'rule' }],
  brsf: [{ lastLayer: 'rule' }],
  frsf: [{ lastLayer: 'rule' }],
  'ao-sdtp': [{ auxiliary: 7 }],
};

t.test('parameters of its own are those that the addon makes', async (t) => {
  /** As a network reports it. */
  const described = ({ name, shape, role }: OwnParameter) => [name, { shape, role }] as const;
  const trained: string[] = [];
  for (const model of ['mnist-fc', 'mnist-lc', 'mnist-conv', 'resnet20'] as const) {
    const spec = preset(model);
    for (const entry of rules) {
      const rule = entry.name as RuleName;
      if (entry.refusals(spec).length > 0) {
        t.throws(() => new Network(spec, { rule }), { code: 'ERR_INVALID_SPEC' }, `${model}: ${rule}`);
        continue;
      }
      trained.push(`${model} ${rule}`);
      for (const options of [{}, ...(variants[rule] ?? [])]) {
        using net = new Network(spec, { rule, ...options });
        const own = entry.parameters(spec, resolveRuleOptions(entry, options));
        const made = net.parameters.filter(({ name }) => isRulesOwn(name));
        t.strictSame(
          new Map(made.map(({ name, shape, role }) => [name, { shape, role }])),
          new Map(own.map(described)),
          `${model}, ${rule}, ${JSON.stringify(options)}`,
        );
        const others = net.parameters.filter(({ name }) => !isRulesOwn(name));
        t.ok(
          others.every(({ name, role }) => role === (/\.running_(mean|var)$/.test(name) ? 'fixed' : 'forward')),
          'the others are the layers’ own',
        );
        t.strictSame(net.inverses, inversesAmong(own));
      }
    }
  }
  const plain = ['mnist-fc', 'mnist-lc', 'mnist-conv'].flatMap((model) => ruleNames.map((rule) => `${model} ${rule}`));
  const residual = ['bp', 'fa', 'dfa', 'usf', 'brsf', 'frsf'].map((rule) => `resnet20 ${rule}`);
  t.strictSame(trained, [...plain, ...residual]);
});

t.test('refusals name the layer, what would work, and rules that train the network as it is', async (t) => {
  const image = () => network({ channels: 2, height: 6, width: 6 });
  const conv = { kernel: 3, padding: 1 } as const;
  const gradients = 'bp, fa, dfa, usf, brsf or frsf';
  const cases: [spec: NetworkSpec, rule: RuleName, message: string][] = [
    [
      image().conv2d(3, conv).maxPool2d({ kernel: 2 }).flatten().dense(4).dense(2).softmaxCrossEntropy(),
      'dtp',
      'layers[1]: a max-pool2d layer has no inverse, and rule dtp needs one for every layer above the first with ' +
        `parameters; use a stride in the layer below instead, or use rule ${gradients}`,
    ],
    [
      network({ features: 4 }).dense(4).batchNorm({ name: 'bn' }).dense(2).softmaxCrossEntropy(),
      'tp',
      `layers[1] ("bn"): rule tp does not go through a batch-norm layer; use rule ${gradients}`,
    ],
    [
      network({ features: 4 })
        .dense(4)
        .residual((x) => x.dense(4))
        .dense(2)
        .softmaxCrossEntropy(),
      'ao-sdtp',
      `layers[1]: rule ao-sdtp does not go through a residual block; use rule ${gradients}`,
    ],
    [
      network({ features: 4 }).dense(2).softmaxCrossEntropy(),
      'sdtp',
      'layers: rule sdtp needs 2 layers with parameters or more, so that there is an inverse to learn, but there is 1; ' +
        `add a hidden layer, or use rule ${gradients}`,
    ],
    [
      network({ features: 4 }).dense(3).dense(2).softmaxCrossEntropy(),
      'dtp',
      'layers: rule dtp needs 3 layers with parameters or more, so that there is an inverse to learn, but there are 2; ' +
        'add a hidden layer, or use rule tp, sdtp or ao-sdtp',
    ],
    [
      image().conv2d(3, { kernel: 3 }).conv2d(2, { kernel: 4 }).flatten().softmaxCrossEntropy(),
      'ao-sdtp',
      'layers[1]: auxiliary outputs need a dense last layer; add one, or use rule tp or sdtp',
    ],
    [
      image().batchNorm().conv2d(2, conv).flatten().dense(2).softmaxCrossEntropy(),
      'dfa',
      'layers[0]: rule dfa needs a layer with weights directly before a batch norm, whose error it takes; ' +
        'put one there, or use rule bp, fa, usf, brsf or frsf',
    ],
    [
      network({ features: 4 }).dense(4).dense(3).batchNorm().softmaxCrossEntropy(),
      'dfa',
      'layers[2]: under rule dfa the output error is that of the last layer with weights, but a batch norm is behind ' +
        'it; end with a dense layer, or use rule bp, fa, usf, brsf or frsf',
    ],
  ];
  for (const [spec, rule, message] of cases) {
    for (const refused of [
      () => new Network(spec, { rule }),
      () => trainingBudget(spec, { rule }),
      () => requireFits(ruleOf(rule), parseNetworkSpec(spec)),
    ]) {
      const error = await refusal(CortorchError, refused);
      t.strictSame([error.code, error.message], ['ERR_INVALID_SPEC', message]);
    }
    const [, names = ''] = /use rule (.*)$/.exec(message) ?? [];
    for (const name of names.split(/, | or /)) {
      t.doesNotThrow(() => new Network(spec, { rule: name as RuleName }).dispose(), `${name} trains it`);
    }
  }
});

t.test('a rule that is in no list is asked the same questions', async (t) => {
  const mine = defineRule({
    name: 'mine',
    family: 'rules of mine',
    options: {
      gain: number('count', 2, { describe: '', heading: 'Model' }),
      lastLayer: choice(['rule', 'none'], 'none', { describe: '', heading: 'Model' }),
    },
    trainerOptions: {
      inverseOptimizer: optimizer(),
      inverseLoss: choice(['difference', 'control'], 'control', { describe: '', heading: 'Model' }),
    },
    refusals: (spec) => (spec.input.length === 1 ? [] : [{ what: 'input: rule mine takes vectors' }]),
    parameters: (_, { gain }) => [
      { name: 'own.weight', shape: [gain as number, 10], role: 'learned', kind: 'feedback', layer: null },
    ],
    stepMemory: () => ({ feedback: 3, atLayer: () => 0, perExample: 5 }),
  });
  const options = resolveRuleOptions(mine, { gain: 4 });
  t.strictSame(options, { gain: 4, lastLayer: 'none' });
  t.throws(() => resolveRuleOptions(mine, { gain: 0.5 }), { code: 'ERR_INVALID_ARGUMENT', message: /`gain`/ });
  t.throws(() => resolveRuleOptions(mine, { lastLayer: 'bp' }), { message: /one of rule, none/ });
  t.throws(() => resolveRuleOptions(mine, { dfaFeedback: 'shared' }), {
    code: 'ERR_UNUSED_OPTION',
    message: 'dfaFeedback is not used by rule mine; choose rule dfa, or leave it out',
  });
  t.strictSame(resolveSettingsOf(mine, { inverseLoss: 'difference' }, { spec: dense, options }), {
    inverseOptimizer: resolveOptimizer(),
    inverseLoss: 'difference',
  });
  t.equal(
    (await refusal(CortorchError, () => requireFits(mine, preset('mnist-lc')))).message,
    'input: rule mine takes vectors; use rule bp, fa, dfa, usf, brsf, frsf, tp, dtp, sdtp or ao-sdtp',
  );
  const settings = { device: 'cpu', precision: 'fp32', optimizer: resolveOptimizer(), batchSize: 10 } as const;
  const ours = budgetOf(dense, { ...settings, rule: mine, options, inverseOptimizer: resolveOptimizer() });
  const bp = budgetOf(dense, { ...settings, rule: ruleOf('bp'), options: {}, inverseOptimizer: null });
  t.equal(ours.feedback, 4 * (40 + 3));
  t.equal(ours.gradients - bp.gradients, 4 * 40);
  t.equal(ours.optimizerState - bp.optimizerState, 8 * 40);
  t.equal(ours.activations - bp.activations, 10 * 4 * 5);
});

t.test('options that rules share by name', async (t) => {
  const text = { describe: '', heading: 'Model' } as const;
  const [a, b, c] = ['a', 'b', 'c'].map((word) => choice([word], word, text)) as [Choice, Choice, Choice];
  const tables: OptionTable[] = [{ first: a, last: a }, { first: b, between: c, last: c }, { other: b }];
  const all = merged(tables) as OptionTable;
  t.strictSame(Object.keys(all), ['first', 'between', 'last', 'other'], 'in the order of each table');
  t.strictSame(all['first'], { ...a, words: ['a', 'b'] }, 'the words of all');
  t.strictSame(trainerOptions.inverseLoss.words, ['noise-preserving', 'de-noising']);
  t.strictSame(
    [ruleOf('tp'), ruleOf('sdtp')].map((rule) => rule.trainerOptions['inverseLoss']!.default),
    ['noise-preserving', 'de-noising'],
  );
});
