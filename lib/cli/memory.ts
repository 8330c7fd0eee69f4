/** For `cortorch doctor`: the memory that training a model needs, beside what this machine has. */

import { CortorchError } from '../errors.js';
import { availableMemory, formatBytes } from '../memory.js';
import { budgetOf, requireMemoryForTraining, type MemoryBudget } from '../model/budget.js';
import { resolveRuleOptions, type RuleName, type RuleOptions } from '../rules/rules.js';
import { resolveOptimizer, type OptimizerName } from '../training/optimizer.js';
import { kebab, type Flags } from './options.js';
import { inverseOptimizerOf, loadModel, optimizerOf, ruleSettings, trainingSettings } from './settings.js';
import { table } from './table.js';

export interface Memory {
  /** Bytes. */
  readonly available: number;
  /** Of the model that was asked about. */
  readonly training: TrainingMemory | null;
}

interface TrainingMemory extends MemoryBudget, RuleOptions {
  readonly model: string;
  readonly rule: RuleName;
  readonly optimizer: OptimizerName;
  readonly inverseOptimizer?: OptimizerName | undefined;
  readonly batchSize: number;
  /** null: it fits */
  readonly problem: { readonly code: string; readonly message: string } | null;
}

/** @throws CortorchError ERR_USAGE, ERR_UNUSED_OPTION, ERR_UNKNOWN_OPTION, ERR_INVALID_SPEC */
export async function describeMemory(flags: Flags<'doctor'>): Promise<Memory> {
  const available = availableMemory();
  const { model, json: _, debug: __, ...ofModel } = flags;
  if (model === undefined) {
    const [alone] = Object.keys(ofModel);
    if (alone === undefined) return { available, training: null };
    throw new CortorchError(
      'ERR_UNUSED_OPTION',
      `--${kebab(alone)} is not used without --model; add --model mnist-lc, or leave it out`,
    );
  }
  const { rule = 'bp', batchSize = 100 } = ofModel;
  const spec = await loadModel(model);
  const ofRule = ruleSettings(flags, rule);
  const settings = trainingSettings(ofModel, spec, model, rule);
  const optimizer = resolveOptimizer(optimizerOf(settings));
  const inverse = inverseOptimizerOf(settings);
  const training = {
    rule,
    ...resolveRuleOptions(rule, ofRule),
    optimizer,
    inverseOptimizer: inverse === undefined ? null : resolveOptimizer(inverse),
    batchSize,
  };
  let problem: TrainingMemory['problem'] = null;
  try {
    requireMemoryForTraining(spec, training, { available });
  } catch (error) {
    if (!(error instanceof CortorchError)) throw error;
    problem = { code: error.code, message: error.message };
  }
  const asked = {
    ...{ model, rule, ...ofRule, optimizer: optimizer.type },
    ...(inverse && { inverseOptimizer: inverse.type }),
    batchSize,
  };
  return { available, training: { ...asked, ...budgetOf(spec, training), problem } };
}

/** The budget as a table, for people. */
export function memoryTable(available: number, training: TrainingMemory): string {
  const { model, rule, dfaFeedback, optimizer, batchSize } = training;
  const feedback = dfaFeedback === 'shared' ? ' (shared feedback)' : '';
  const rows: [string, number][] = [
    ['weights', training.weights],
    ['feedback', training.feedback],
    ...(training.inverses > 0 ? [['inverses', training.inverses] as [string, number]] : []),
    ...(training.auxiliaryWeights > 0
      ? [['auxiliary weights', training.auxiliaryWeights] as [string, number]]
      : []),
    ['gradients', training.gradients],
    ['optimizer state', training.optimizerState],
    ['activations', training.activations],
    ['in all', training.total],
    ['available here', available],
  ];
  return table(
    [
      { title: `${model} with ${rule}${feedback}, ${optimizer}, batches of ${batchSize}` },
      { title: 'memory', align: 'right' },
    ],
    rows.map(([name, bytes]) => [name, formatBytes(bytes)]),
  );
}
