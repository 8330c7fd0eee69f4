/**
 * Rules of one's own, in one process: what is compiled, loaded and refused; that the two examples train every map, and
 * what they compute, against plain float64 arithmetic. test/cli/own-rules.test.ts has the command line.
 */
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import t from 'tap';
import {
  CortorchError,
  Dataset,
  loadRule,
  Network,
  network,
  preset,
  Trainer,
  type DiagnosticsEvent,
  type NetworkSpec,
  type OwnRule,
  type RuleName,
  type StateDict,
  type TrainerOptions,
} from '../../lib/index.js';
import { configOf } from '../../lib/training/checkpoint.js';
import { call, type NativeRuleDeclaration } from '../../lib/native.js';
import { entryOf } from '../../lib/rules/load-rule.js';
import { parseNetworkSpec } from '../../lib/model/spec.js';
import { compileRule } from '../../scripts/compile-rule.mjs';
import { packageRoot } from '../../scripts/paths.mjs';
import { relativeError } from '../support/compare.js';
import { temporaryFolder, within } from '../support/folders.js';
import { lazy } from '../support/lazy.js';
import { epochsOf } from '../support/networks.js';
import { randomArray } from '../support/numbers.js';
import { refusal } from '../support/refusal.js';

const folder = temporaryFolder(t, 'own-rules');
const at = within(folder);
process.env['XDG_CACHE_HOME'] = at('cache');
const cache = at('cache/cortorch/rules');

const example = (name: string): string => path.join(packageRoot, 'examples/rules', `${name}.cpp`);

/** A rule that says no, and one that sends errors down as backpropagation does. */
const PLAIN = `#include "rules/own_rule.h"
using namespace cortorch;
class Plain : public GradientRule {
 public:
  Plain(std::string name, Options& options) : GradientRule(std::move(name)) {
    options.integer("every", 3), options.number("decay", .5), options.text("mode", "slow");
  }
  std::vector<std::string> refusals(const Plan& plan) const override {
    if (plan.sites.size() < 3) return {};
    return {plan.sites[2].name + " is one too many"};
  }
 protected:
  Sender sender(const Layer&, const Pass&) const override { return by_weights(); }
};
CORTORCH_RULE("plain", Plain, whole_number("every", 3).at_least(1).at_most(9), number("decay", .5),
              one_of("mode", {"slow", "fast"}))
`;

/** What is read of a rule of a wrong name, without the headers, whose compilation takes its time. */
const namedOnly = (name: string): string => `#include <string>
struct Declaration { std::string name; void* others[4]; };
extern "C" const char* cortorch_rule_build() { return CORTORCH_BUILD; }
extern "C" const Declaration* cortorch_rule() { static const Declaration it{"${name}", {}}; return &it; }
`;

/** All that compiles, two at a time. */
const rules = lazy(async () => {
  const load = async (name: string): Promise<OwnRule> => loadRule(example(name));
  fs.writeFileSync(at('plain.cpp'), PLAIN);
  const [mirroring, lagging] = await Promise.all([load('mirroring'), load('lagging')]);
  return { mirroring, lagging, plain: await loadRule(at('plain.cpp')) };
});

const images = (count: number, size: number, shape: readonly number[]): Dataset =>
  Dataset.fromArrays({
    images: Float32Array.from(randomArray(count * size, 3)),
    labels: Uint8Array.from({ length: count }, (_, i) => i % 2),
    shape: [...shape],
    classes: 2,
  });

t.test('what a file declares', async (t) => {
  const { mirroring, lagging, plain } = await rules();
  t.match(mirroring, { name: 'mirroring', options: { noise: { default: 0.1 }, decay: { default: 1, least: 0 } } });
  t.match(mirroring.sha256, /^[0-9a-f]{64}$/);
  t.match(mirroring.trainerOptions, { schedule: { words: ['parallel', 'alternating'] }, inverseOptimizer: {} });
  t.notOk(Object.hasOwn(lagging.trainerOptions, 'schedule'), 'it learns with the layers');
  t.strictSame(plain.trainerOptions, {});
  t.match(plain.options, {
    every: { kind: 'number', whole: true, least: 1, most: 9 },
    mode: { kind: 'choice', words: ['slow', 'fast'], default: 'slow' },
  });
});

t.test('the same file twice is the same rule, and is not compiled again', async (t) => {
  const { mirroring } = await rules();
  const before = fs.readdirSync(cache).sort();
  t.equal(await loadRule(example('mirroring')), mirroring);
  t.equal(await loadRule(pathToFileURL(example('mirroring'))), mirroring);
  t.strictSame(fs.readdirSync(cache).sort(), before);
  t.equal(fs.statSync(cache).mode & 0o777, 0o700);
  for (const name of before.filter((one) => one.endsWith('.so')))
    t.equal(fs.statSync(path.join(cache, name)).mode & 0o077, 0, name);
});

t.test('options are checked like ours', async (t) => {
  const { plain, mirroring } = await rules();
  const spec = network({ features: 4 }).dense(2).softmaxCrossEntropy();
  const message = async (ruleOptions: unknown, rule: OwnRule | RuleName = plain): Promise<[string, string]> => {
    const make = (): Network => new Network(spec, { rule, ruleOptions: ruleOptions as Record<string, number> });
    const { code, message } = await refusal(CortorchError, make);
    return [code, message];
  };
  const INVALID = 'ERR_INVALID_ARGUMENT';
  for (const [given, code, text] of [
    [{ every: 0 }, INVALID, 'expected an integer from 1 to 9 for `ruleOptions.every` but received 0 of type number'],
    [{ every: 10 }, INVALID, 'expected an integer from 1 to 9 for `ruleOptions.every` but received 10'],
    [{ every: 1.5 }, INVALID, 'expected an integer from 1 to 9 for `ruleOptions.every` but received 1.5'],
    [
      { every: '2' },
      INVALID,
      'expected an integer from 1 to 9 for `ruleOptions.every` but received "2" of type string',
    ],
    [{ decay: NaN }, INVALID, 'expected a number for `ruleOptions.decay` but received NaN'],
    [{ mode: 'fats' }, INVALID, 'expected one of slow, fast for `ruleOptions.mode` but received "fats"'],
    [{ evry: 1 }, 'ERR_UNKNOWN_OPTION', 'ruleOptions: rule plain has no option "evry"; did you mean every?'],
    [{ x: 1 }, 'ERR_UNKNOWN_OPTION', 'ruleOptions: rule plain has no option "x"; it has every, decay, mode'],
    [{ toString: 1 }, 'ERR_UNKNOWN_OPTION', 'ruleOptions: rule plain has no option "toString"'],
    [[1], INVALID, 'expected an object of options by name for `ruleOptions` but received [1] of type array'],
  ] as const) {
    const found = await message(given);
    t.equal(found[0], code);
    t.ok(found[1].startsWith(text), found[1]);
  }
  t.match(await message({ every: 1 }, 'fa'), ['ERR_UNUSED_OPTION', 'ruleOptions is not used by rule fa']);
  t.match(
    (await refusal(CortorchError, () => new Network(spec, { rule: plain, lastLayer: 'bp' }))).message,
    'lastLayer is not used by rule plain',
  );
  t.match(await message({}, { ...mirroring }), [INVALID, /the name of a rule, or what loadRule\(\) gave/]);
  using net = new Network(spec, { rule: plain, ruleOptions: { mode: 'fast' } });
  t.match(configOf(net), {
    rule: 'plain',
    ruleOptions: { every: 3, decay: 0.5, mode: 'fast' },
    ruleSha256: plain.sha256,
  });
  t.notMatch(JSON.stringify(configOf(net)), folder, 'and no path');
});

t.test('a network that the rule refuses, in its words', async (t) => {
  const { plain } = await rules();
  const spec = network({ features: 4 }).dense(3).dense(3).dense(2, { name: 'top' }).softmaxCrossEntropy();
  t.match(await refusal(CortorchError, () => new Network(spec, { rule: plain })), {
    code: 'ERR_RULE',
    message: 'rule plain does not train this network: top is one too many',
  });
});

t.test('both examples train every map, and their feedback has an angle', async (t) => {
  const { mirroring, lagging } = await rules();
  const data = images(40, 784, [1, 28, 28]);
  t.teardown(() => data.dispose());
  for (const model of ['mnist-fc', 'mnist-lc', 'mnist-conv'] as const) {
    for (const rule of [mirroring, lagging]) {
      using net = new Network(preset(model), { rule, seed: 1 });
      const role = rule === mirroring ? 'learned' : 'fixed';
      const own = net.parameters.filter(({ name }) => name.endsWith('.weight_backward'));
      const below = net.parameters.filter(({ name }) => name.endsWith('.weight')).slice(1);
      t.strictSame(
        own.map((one) => [one.shape, one.role]),
        below.map(({ shape }) => [shape, role]),
        `${model}, ${rule.name}`,
      );
      const trainer = new Trainer(net, { batchSize: 20 });
      const diagnoses: DiagnosticsEvent[] = [];
      for await (const event of trainer.fit(data, { epochs: 1, diagnostics: 1 }))
        if (event.type === 'diagnostics') diagnoses.push(event);
      t.equal(diagnoses.length, 2);
      const angles = diagnoses[1]!.layers.map(({ feedbackAngle }) => feedbackAngle);
      t.equal(angles[0], undefined, 'the lowest layer sends nothing');
      for (const angle of angles.slice(1)) t.ok(angle! > 0 && angle! < 95, `${model}, ${rule.name}: ${angle}°`);
      const finite = [...(await net.stateDict()).values()].every(({ data }) => data.every(Number.isFinite));
      t.ok(finite, `${model}, ${rule.name}`);
    }
  }
});

/** Of features, so that a dense layer's arithmetic is a few loops. */
const spec: NetworkSpec = network({ features: 5 })
  .dense(4, { activation: 'tanh' })
  .dense(3, { activation: 'tanh' })
  .dense(2)
  .softmaxCrossEntropy();
const small = images(24, 5, [5]);
t.teardown(() => small.dispose());

/** The parameters before and after a step. */
async function step(net: Network, trainer: Trainer): Promise<[before: StateDict, after: StateDict]> {
  const before = await net.stateDict();
  const { step } = await trainer.state();
  await epochsOf(trainer.fit(small, { epochs: 1000, maxSteps: step + 1 }));
  return [before, await net.stateDict()];
}

const sgd = (lr: number): TrainerOptions['optimizer'] & object => ({ type: 'sgd', lr });

t.test('mirroring: the gradient of B, by its equation', async (t) => {
  const { mirroring } = await rules();
  const [sigma, decay, lr, batch] = [0.3, 0.7, 0.5, 8];
  using net = new Network(spec, { rule: mirroring, ruleOptions: { noise: sigma, decay }, seed: 3 });
  const trainer = new Trainer(net, { optimizer: sgd(0.1), inverseOptimizer: sgd(lr), batchSize: batch, seed: 9 });
  for (let s = 0; s < 3; s++) {
    const [before, after] = await step(net, trainer);
    for (const layer of [1, 2]) {
      const of = (name: string): readonly number[] => [...before.get(`layers.${layer}.${name}`)!.data];
      const [rows, columns] = before.get(`layers.${layer}.weight`)!.shape as [number, number];
      const [w, bias, b] = [of('weight'), of('bias'), of('weight_backward')];
      const x = [...call((n) => n.noise(9, layer, s, batch * columns))].map((value) => sigma * value);
      const want = b.map((value, k) => {
        const [i, j] = [Math.floor(k / columns), k % columns];
        let sum = 0;
        for (let e = 0; e < batch; e++) {
          let a = bias[i]!;
          for (let c = 0; c < columns; c++) a += w[i * columns + c]! * x[e * columns + c]!;
          sum += (layer === 2 ? a : Math.tanh(a)) * x[e * columns + j]!;
        }
        return value - lr * (-sum / (batch * sigma * sigma) + decay * value);
      });
      t.equal(rows * columns, want.length);
      const error = relativeError([...after.get(`layers.${layer}.weight_backward`)!.data], want);
      t.ok(error < 1e-5, `layer ${layer}, step ${s}: ${error}`);
    }
  }
});

t.test('mirroring: B learns W from noise alone', async (t) => {
  const { mirroring } = await rules();
  const wide = network({ features: 5 }).dense(20, { activation: 'tanh' }).dense(30, { activation: 'tanh' }).dense(2);
  using net = new Network(wide.softmaxCrossEntropy(), { rule: mirroring, seed: 3 });
  const settings = { optimizer: sgd(0.05), inverseOptimizer: sgd(0.05), batchSize: 12, schedule: 'alternating' };
  const trainer = new Trainer(net, settings as TrainerOptions);
  const diagnoses: DiagnosticsEvent[] = [];
  const phases: string[] = [];
  for await (const event of trainer.fit(small, { epochs: 200, diagnostics: 399 })) {
    if (event.type === 'diagnostics') diagnoses.push(event);
    if (event.type === 'epoch') phases.push(event.phase);
  }
  t.strictSame(phases.slice(0, 3), ['inverse', 'forward', 'inverse']);
  const angles = diagnoses.map(({ layers }) => layers.slice(1).map(({ feedbackAngle }) => feedbackAngle!));
  for (const angle of angles[0]!) t.ok(angle > 50, `${angle}° before`);
  for (const angle of angles.at(-1)!) t.ok(angle < 25, `${angle}° after`);
});

t.test('lagging: the state follows its recursion, and a step that is not made does not move it', async (t) => {
  const { lagging } = await rules();
  using net = new Network(spec, { rule: lagging, ruleOptions: { steps: 4 }, seed: 3 });
  const trainer = new Trainer(net, { optimizer: sgd(0.3), batchSize: 8 });
  const want = new Map<string, number[]>();
  for (let s = 0; s < 7; s++) {
    const [before, after] = await step(net, trainer);
    for (const layer of [1, 2]) {
      const name = `layers.${layer}.weight_backward`;
      const weight = before.get(`layers.${layer}.weight`)!.data;
      const state = want.get(name) ?? [...before.get(name)!.data];
      want.set(
        name,
        state.map((value, i) => value + (weight[i]! - value) / 4),
      ); // of the weights before the update
      const error = relativeError([...after.get(name)!.data], want.get(name)!);
      t.ok(error < 1e-6, `${name}, step ${s}: ${error}`);
    }
  }
  const broken = new Trainer(net, { optimizer: sgd(1e39), batchSize: 8 });
  await step(net, broken);
  const before = await net.stateDict();
  t.equal((await refusal(CortorchError, () => step(net, broken))).code, 'ERR_LOSS_NOT_FINITE');
  const after = await net.stateDict();
  for (const layer of [1, 2]) {
    const name = `layers.${layer}.weight_backward`;
    t.strictSame([...after.get(name)!.data], [...before.get(name)!.data], name);
  }
});

t.test('an optimizer of what it learns, where there is nothing to learn', async (t) => {
  const { lagging, plain } = await rules();
  using net = new Network(spec, { rule: lagging });
  const make = (): Trainer => new Trainer(net, { inverseOptimizer: sgd(0.1) });
  t.match(await refusal(CortorchError, make), {
    code: 'ERR_UNUSED_OPTION',
    message: /^inverseOptimizer is not used by rule lagging, which has no parameters to learn/,
  });
  t.equal(new Trainer(net).targets, null);
  using other = new Network(network({ features: 5 }).dense(2).softmaxCrossEntropy(), { rule: plain });
  const wrong = (): Trainer => new Trainer(other, { schedule: 'parallel' });
  t.match(await refusal(CortorchError, wrong), { code: 'ERR_UNUSED_OPTION', message: /not used by rule plain/ });
});

t.test('a file that does not compile: the compiler says why, and where', async (t) => {
  fs.writeFileSync(at('broken.cpp'), '// one\n// two\nint broken = "a text";\n');
  const { code, message } = await refusal(CortorchError, () => loadRule(at('broken.cpp')));
  t.equal(code, 'ERR_RULE');
  t.match(message, `${at('broken.cpp')}:3:`);
  t.match(message, 'error: invalid conversion');
});

t.test('files that are refused', async (t) => {
  await rules();
  fs.writeFileSync(at('nothing.cpp'), 'int nothing;\n');
  const named = (file: string, name: string): string => {
    fs.writeFileSync(at(file), namedOnly(name));
    return at(file);
  };
  const cases: readonly (readonly [file: string, words: RegExp])[] = [
    [at('nothing.cpp'), /nothing\.cpp: the file declares no rule: end it with CORTORCH_RULE/],
    [at('missing.cpp'), /missing\.cpp cannot be read[^]*no such file[^]*Needed: a C\+\+ file/],
    [folder, /cannot be read[^]*EISDIR/],
    [
      named('twin.cpp', 'lagging'),
      /another rule that is called lagging is loaded already; a process takes one of a name/,
    ],
    [named('name.cpp', 'My_Rule'), /a rule cannot be called 'My_Rule': expected small letters, digits and hyphens/],
    [named('ours.cpp', 'fa'), /the rule is called fa, which is one of cortorch's own; give it another name/],
  ];
  await Promise.all(
    cases.map(async ([file, words]) => {
      const { code, message } = await refusal(CortorchError, () => loadRule(file));
      t.equal(code, 'ERR_RULE', message);
      t.match(message, words);
    }),
  );
  for (const wrong of ['', 3, undefined])
    t.match(await refusal(CortorchError, () => loadRule(wrong as string)), { code: 'ERR_INVALID_ARGUMENT' });
});

t.test('what a file declares is checked, and says when it learns', async (t) => {
  const option = { name: 'every', help: '', default: 1, whole: true, least: 1, most: 9 };
  const declared = (options: readonly object[], learns = {}): NativeRuleDeclaration => ({
    ...{ name: 'declared', options: options as NativeRuleDeclaration['options'] },
    learns: { forward: false, inverse: false, both: false, ...learns },
  });
  for (const [options, words] of [
    [[{ ...option, default: 0 }], 'f.cpp: the default of its option every is none: expected an integer from 1 to 9'],
    [
      [{ ...option, words: ['a', 'b'], default: 'c' }],
      'f.cpp: the default of its option every is none: expected one of',
    ],
    [[{ ...option, name: 'a b' }], 'f.cpp: an option is called "a b"; its options have names of letters'],
    [[{ ...option, name: '__proto__' }], 'f.cpp: an option is called "__proto__"'],
    [
      [option, option],
      'f.cpp: an option is called "every"; its options have names of letters, digits and hyphens, each',
    ],
  ] as const) {
    const { code, message } = await refusal(CortorchError, () => entryOf(declared(options), 'f.cpp'));
    t.equal(code, 'ERR_RULE');
    t.ok(message.startsWith(words), message);
  }
  const phases = (learns: object, schedule?: string): string => {
    const entry = entryOf(declared([], learns), 'f.cpp');
    const given = { ...(schedule !== undefined && { schedule }) };
    const settings = entry.settings(given, { spec: parseNetworkSpec(spec), options: {} }, (name) => name);
    return [0, 1, 2].map((epoch) => entry.phaseOf(settings, epoch)).join(' ');
  };
  t.equal(phases({}), 'forward forward forward');
  t.equal(phases({ forward: true }), 'forward forward forward');
  t.equal(phases({ forward: true, both: true }), 'both both both');
  t.equal(phases({ inverse: true }), 'inverse forward inverse');
  t.equal(phases({ inverse: true, both: true }), 'both both both');
  t.equal(phases({ inverse: true, both: true }, 'alternating'), 'inverse forward inverse');
});

t.test('a library that was built for another build is not taken', async (t) => {
  await rules();
  const { library, build } = await compileRule(example('mirroring'));
  t.match(build, /^[0-9a-f]{64}$/);
  for (const other of ['', 'f'.repeat(64)])
    t.throws(() => call((n) => n.loadRule(library, other)), { message: /compiled for another version of cortorch/ });
});

/** With changes of the environment. */
async function environment<T>(changes: Readonly<Record<string, string>>, work: () => Promise<T>): Promise<T> {
  const before = Object.fromEntries(Object.keys(changes).map((name) => [name, process.env[name]]));
  Object.assign(process.env, changes);
  try {
    return await work();
  } finally {
    for (const [name, value] of Object.entries(before)) {
      if (value === undefined) Reflect.deleteProperty(process.env, name);
      else process.env[name] = value;
    }
  }
}

t.test('without a compiler one error names it, and what to install', async (t) => {
  const load = (): Promise<OwnRule> => loadRule(example('mirroring'));
  const found = await environment({ PATH: folder, CXX: '' }, () => refusal(CortorchError, load));
  t.equal(found.code, 'ERR_COMPILER_NOT_FOUND');
  for (const part of [
    "compile a learning rule's own file",
    'g++: not installed',
    'apt-get install g++',
    'g++ 12 or newer',
  ])
    t.match(found.message, part);
  t.notMatch(found.message, /cmake|setup/, 'which are of no use to a rule');
});

t.test('a cache folder that others can write, or that is somebody else’s, is not used', async (t) => {
  fs.mkdirSync(at('open/cortorch/rules'), { recursive: true });
  fs.chmodSync(at('open/cortorch/rules'), 0o777);
  fs.mkdirSync(at('link/cortorch'), { recursive: true });
  fs.symlinkSync(cache, at('link/cortorch/rules'));
  fs.writeFileSync(at('file'), '');
  fs.mkdirSync(at('below/cortorch/rules'), { recursive: true, mode: 0o700 });
  fs.chmodSync(at('below'), 0o777);
  for (const [home, code, words] of [
    ['open', 'ERR_RULE', /not a folder of yours alone[^]*mode 777[^]*chmod 700/],
    ['link', 'ERR_RULE', /not a folder of yours alone/],
    ['below', 'ERR_RULE', /below [^ ]*below, in which others can rename folders[^]*mode 777/],
    ['file', 'ERR_CACHE_NOT_WRITABLE', /which cannot be made/],
  ] as const) {
    const load = (): Promise<OwnRule> => loadRule(example('mirroring'));
    const found = await environment({ XDG_CACHE_HOME: at(home) }, () => refusal(CortorchError, load));
    t.equal(found.code, code, found.message);
    t.match(found.message, words);
  }
  t.strictSame(fs.readdirSync(at('open/cortorch/rules')), [], 'nothing was compiled into it');
});

t.test('a header of the user’s that changes is compiled again, and has another digest', async (t) => {
  fs.mkdirSync(at('c# $with header'));
  const file = at('c# $with header', 'counted.cpp');
  const header = at('c# $with header', 'count.h');
  fs.writeFileSync(header, 'constexpr int kCount = 1;\n');
  // What is compiled is no rule: that is found when it is loaded.
  fs.writeFileSync(file, '#include "count.h"\nextern "C" int counted() { return kCount; }\n');
  const first = await compileRule(file);
  t.strictSame(await compileRule(file), first);
  fs.writeFileSync(header, 'constexpr int kCount = 2;\n');
  const second = await compileRule(file);
  t.not(second.sha256, first.sha256);
  t.not(second.library, first.library);
  t.ok(fs.existsSync(first.library), 'the first one is there still');
  fs.writeFileSync(header, 'constexpr int kCount = 1;\n');
  t.strictSame(await compileRule(file), first, 'and is found again');
  const digest = spawnSync('sha256sum', [file], { encoding: 'utf8' }).stdout.split(' ')[0];
  t.not(first.sha256, digest, 'the header counts');
});
