/** The paper's settings as defaults. */
import t from 'tap';
import { options } from '../../lib/cli/options.js';
import type { RuleName } from '../../lib/index.js';
import { presetNames } from '../../lib/model/presets.js';
import {
  fallsOf,
  optimizerDefaults,
  paper,
  publishedErrors,
  recipeFor,
  settingsFor,
  trainerDefaults,
  type AdamSettings,
  type PaperErrors,
  type PaperRule,
  type PaperSettings,
} from '../../lib/training/hyperparameters.js';
import { resolveOptimizer, type OptimizerOptions } from '../../lib/training/optimizer.js';
import type { ScheduleName } from '../../lib/rules/target.js';
import { columnsOf, TABLE_1, TABLE_2, TABLE_5 } from './bartunov-2018.js';

const defaultsOf = (model: string, rule: RuleName): OptimizerOptions =>
  optimizerDefaults(settingsFor(model, rule, null)?.forward);

/** The preset and the rule of a column: a ConvNet is a preset of its own. */
function cellOf(table: string, column: string): [preset: string, rule: PaperRule] {
  const [data, kind] = table.toLowerCase().replace('cifar', 'cifar10').split(' ');
  const rule = column.toLowerCase().replace(/ par$/, ' parallel').replace(/ alt$/, ' alternating');
  return rule === 'bp convnet' ? [`${data}-conv`, 'bp'] : [`${data}-${kind}`, rule as PaperRule];
}

t.test('Table 5', async (t) => {
  const printed: Record<string, Record<string, PaperSettings>> = {};
  for (const [table, columns] of columnsOf(TABLE_5)) {
    for (const [column, cells] of columns) {
      const number = (row: string): number => Number(cells.get(row));
      const adam = (of: string): AdamSettings => ({
        lr: number(`${of}lr`),
        beta1: cells.has(`${of}β1`) ? number(`${of}β1`) : 0.9,
        beta2: number(`${of}β2`),
        eps: number(`${of}ε`),
      });
      const [preset, rule] = cellOf(table, column);
      (printed[preset] ??= {})[rule] = {
        forward: adam(''),
        ...(cells.has('inverse lr') && { inverse: adam('inverse ') }),
        ...(cells.has('α') && { targetStep: number('α') }),
        ...(cells.has('σ') && { noise: number('σ') }),
      };
    }
  }
  t.strictSame(Object.fromEntries(Object.entries(paper).map(([preset, { settings }]) => [preset, settings])), printed);
  t.equal(Object.values(printed).flatMap((rules) => Object.keys(rules)).length, 36, 'all columns of the paper');
  for (const [preset, rules] of Object.entries(printed)) {
    for (const [cell, settings] of Object.entries(rules)) {
      const [rule, schedule = null] = cell.split(' ') as [RuleName, ScheduleName?];
      t.strictSame(settingsFor(preset, rule, schedule, 'paper'), settings, `${preset} ${cell}`);
      t.doesNotThrow(() => resolveOptimizer({ type: 'adam', ...settings.forward }), `${preset} ${cell}`);
      if (schedule === null) t.strictSame(defaultsOf(preset, rule), { type: 'adam', ...settings.forward });
    }
  }
});

t.test('Tables 1 and 2', async (t) => {
  const printed: Record<string, Record<string, PaperErrors>> = {};
  for (const text of [TABLE_1, TABLE_2]) {
    for (const columns of columnsOf(text).values()) {
      for (const [network, rows] of columns) {
        for (const [row, cell] of rows) {
          const [preset, rule] = cellOf(network, row);
          const [first, second] = cell.split(' / ').map(Number);
          const errors =
            text === TABLE_1 ? { train: first!, test: second! } : { train: null, test: first!, test5: second! };
          (printed[preset] ??= {})[rule] = errors;
        }
      }
    }
  }
  t.strictSame(Object.fromEntries(Object.entries(paper).map(([preset, { results }]) => [preset, results])), printed);
  t.equal(Object.values(printed).flatMap((rules) => Object.keys(rules)).length, 44, 'all cells of the paper');
});

t.test("PyTorch's defaults elsewhere", async (t) => {
  for (const model of ['mine.json', 'constructor', '__proto__']) {
    t.strictSame(defaultsOf(model, 'bp'), { type: 'adam' });
  }
  t.strictSame(optimizerDefaults(settingsFor('mnist-fc', 'bp', null)?.forward, 'sgd'), { type: 'sgd' });
  t.match(resolveOptimizer(defaultsOf('mine.json', 'fa')), {
    lr: 1e-3,
    beta1: 0.9,
    beta2: 0.999,
    eps: 1e-8,
  });
  t.match(resolveOptimizer({ type: 'rmsprop' }), { lr: 0.01, beta2: 0.99, eps: 1e-8, momentum: 0, weightDecay: 0 });
  // The rate is this package's own, as help and types say; torch.optim.SGD's is 0.001.
  t.match(resolveOptimizer({ type: 'sgd' }), { lr: 0.01, momentum: 0, weightDecay: 0 });
  t.match(options.lr.describe, /else 0\.001; sgd, rmsprop: 0\.01/);
});

t.test('target propagation: this package’s settings where the paper has none that work', async (t) => {
  // The bold rows of bench/RESULTS.md, "Searches"; β .9/.999 and ε 1e-8 unless it says otherwise.
  const adam = (lr: number, more: Partial<AdamSettings> = {}) => ({ lr, beta1: 0.9, beta2: 0.999, eps: 1e-8, ...more });
  const printed = (schedule: ScheduleName) => paper['mnist-fc']!.settings[`sdtp ${schedule}`]!;
  const { forward, inverse } = printed('parallel');
  const chosen: [RuleName, ScheduleName, PaperSettings][] = [
    [
      ...(['sdtp', 'parallel'] as const),
      { forward: { ...forward, beta1: 0.9 }, inverse: { ...inverse!, beta1: 0.9 }, noise: 0.213995 },
    ],
    ['sdtp', 'alternating', { ...printed('alternating'), inverse: adam(3e-4) }],
    ['ao-sdtp', 'parallel', { forward: adam(1e-3), inverse: adam(1e-3), noise: 0.25 }],
    ['ao-sdtp', 'alternating', { forward: adam(1e-3), inverse: adam(3e-4), noise: 0.1 }],
    ['tp', 'parallel', { forward: adam(1e-4), inverse: adam(1e-3), noise: 0.1 }],
    ['tp', 'alternating', { forward: adam(1e-4), inverse: adam(1e-3), noise: 0.1 }],
  ];
  for (const [rule, schedule, settings] of chosen) {
    t.strictSame(settingsFor('mnist-fc', rule, schedule), settings, `${rule} ${schedule}`);
    t.match(trainerDefaults('mnist-fc', rule, schedule), { noise: settings.noise, inverseOptimizer: settings.inverse });
    const letter = rule === 'sdtp' ? printed(schedule) : undefined;
    t.strictSame(settingsFor('mnist-fc', rule, schedule, 'paper'), letter, `${rule} ${schedule} in the paper`);
    t.equal(settingsFor('mnist-conv', rule, schedule), undefined, 'only where they were searched for');
  }
  for (const schedule of ['parallel', 'alternating'] as const) {
    const ofPaper = settingsFor('mnist-fc', 'dtp', schedule, 'paper');
    t.ok(ofPaper);
    t.strictSame(settingsFor('mnist-fc', 'dtp', schedule), ofPaper, 'dtp’s are the paper’s');
  }
});

t.test('recipes of the networks of other studies', async (t) => {
  for (const name of presetNames) {
    const recipe = recipeFor(name);
    t.equal(recipe !== undefined, /^(alexnet|resnet)/.test(name), name);
    if (recipe === undefined) continue;
    t.match(resolveOptimizer(recipe.optimizer), { type: 'sgd', momentum: 0.9, weightDecay: 1e-4 });
    t.match(trainerDefaults(name, 'usf'), { optimizer: recipe.optimizer });
    // As PyTorch's own ImageNet example has it: 0.01 for AlexNet, which has no batch norm there, else 0.1.
    t.equal(recipe.optimizer.lr, name === 'alexnet-torchvision' ? 0.01 : 0.1, name);
  }
  const resnet18 = recipeFor('resnet18')!;
  t.strictSame(fallsOf(resnet18, 90), [30, 60], 'Xiao et al.');
  t.strictSame(fallsOf(recipeFor('resnet20')!, 182), [91, 137], 'He et al.: 32,000 and 48,000 steps of 352 an epoch');
  t.strictSame(fallsOf(resnet18, 3), [1, 2]);
  t.strictSame(fallsOf(resnet18, 1), [], 'nothing falls in an only epoch');
});

t.test('published errors are of a preset on its own data set', async (t) => {
  t.match(publishedErrors('resnet20', 'usf', null, 'cifar10'), {
    errors: { test: 10.05 },
    source: /^An independent replication of Xiao et al\. 2019, whose own numbers are not these$/,
  });
  t.match(publishedErrors('mnist-fc', 'dtp', 'parallel', 'mnist'), {
    errors: { test: 2.86 },
    source: /Bartunov/,
  });
  t.equal(publishedErrors('mnist-fc', 'usf', null, 'mnist'), undefined);
  const sets = ['mnist', 'fashion-mnist', 'cifar10', 'imagenet', 'folder'];
  for (const [model, own] of [
    ...['mnist-fc', 'mnist-lc', 'mnist-conv'].map((name) => [name, 'mnist'] as const),
    ...['cifar10-fc', 'cifar10-lc', 'cifar10-conv', 'resnet20'].map((name) => [name, 'cifar10'] as const),
    ...['imagenet-lc', 'imagenet-conv', 'resnet18'].map((name) => [name, 'imagenet'] as const),
  ]) {
    const published = sets.filter((dataset) => publishedErrors(model, 'bp', null, dataset) !== undefined);
    t.strictSame(published, [own], model);
  }
  t.equal(publishedErrors('toString', 'bp', null, 'mnist'), undefined);
});
