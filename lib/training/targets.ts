/** Settings of target propagation, beside those of the optimizers: what its papers leave open is a choice here. */

import { CortorchError, invalid, isNumber, isOneOf } from '../errors.js';
import { isTargetRule, targetRuleNames, type RuleName } from '../rules/rules.js';
import type { NativeRuleTraining } from '../native.js';
import { resolveOptimizer, type OptimizerOptions, type ResolvedOptimizer } from './optimizer.js';

/**
 * When the two losses of target propagation are trained on: both on every batch, from the same parameters
 * (`parallel`), or in whole epochs by turns (`alternating`).
 */
export type ScheduleName = 'parallel' | 'alternating';
export const scheduleNames: readonly ScheduleName[] = ['parallel', 'alternating'];

/** What an epoch trains: the layers by their targets, the inverses, or both. */
export type Phase = 'forward' | 'inverse' | 'both';

/** What an inverse gives back from the noisy activity h̃ is compared with h̃ itself, or with h. */
export type InverseLoss = 'noise-preserving' | 'de-noising';
export const inverseLossNames: readonly InverseLoss[] = ['noise-preserving', 'de-noising'];

export type TargetStepLoss = 'example' | 'batch-mean';
export const targetStepLossNames: readonly TargetStepLoss[] = ['example', 'batch-mean'];

export type LossReduction = 'sum' | 'mean';
export const lossReductionNames: readonly LossReduction[] = ['sum', 'mean'];

export interface TargetOptions {
  /** Default `parallel`. */
  readonly schedule?: ScheduleName | undefined;
  /** Of an alternating schedule; default `inverse`, as in Lee's code. */
  readonly firstPhase?: 'inverse' | 'forward' | undefined;
  /** Of the inverses; default: Adam with a learning rate of 0.001. */
  readonly inverseOptimizer?: OptimizerOptions | undefined;
  /** σ of the noise that inverses are trained with: one number, or one for each inverse from below. Default 0.1. */
  readonly noise?: number | readonly number[] | undefined;
  /** Default: `noise-preserving` under tp and dtp, `de-noising` under sdtp and ao-sdtp. */
  readonly inverseLoss?: InverseLoss | undefined;
  /** α of dtp: the penultimate target is h − α ∂L/∂h. Default 0.1. */
  readonly targetStep?: number | undefined;
  /** Of dtp: whether L is the loss of an example or the mean over the batch. Default `example`. */
  readonly targetStepLoss?: TargetStepLoss | undefined;
  /** Local squared losses, forward and inverse: summed over the units or averaged. Default `sum`. */
  readonly lossReduction?: LossReduction | undefined;
}

export type TargetOption = keyof TargetOptions;
export const targetOptionNames = [
  'schedule',
  'firstPhase',
  'inverseOptimizer',
  'noise',
  'inverseLoss',
  'targetStep',
  'targetStepLoss',
  'lossReduction',
] as const satisfies readonly TargetOption[];

export interface ResolvedTargets {
  readonly schedule: ScheduleName;
  /** null: the schedule is parallel */
  readonly firstPhase: 'inverse' | 'forward' | null;
  readonly inverseOptimizer: ResolvedOptimizer;
  /** One for each inverse. */
  readonly noise: readonly number[];
  readonly inverseLoss: InverseLoss;
  /** null: not of dtp */
  readonly targetStep: number | null;
  readonly targetStepLoss: TargetStepLoss | null;
  readonly lossReduction: LossReduction;
}

const NOISE = 0.1;
const TARGET_STEP = 0.1;

/**
 * Checks the settings and fills in what is missing.
 *
 * @param inverses that the network has
 * @param named how an error calls a setting
 * @returns null for a rule without inverses
 * @throws CortorchError ERR_INVALID_ARGUMENT; ERR_UNUSED_OPTION for a setting that the rule or the schedule does not
 *   use
 */
export function resolveTargets(
  rule: RuleName,
  options: TargetOptions,
  inverses: number,
  named: (name: TargetOption) => string = (name) => name,
): ResolvedTargets | null {
  if (!isTargetRule(rule)) {
    for (const name of targetOptionNames) {
      if (options[name] !== undefined)
        throw unused(
          named(name),
          `rule ${rule}`,
          `choose a rule of target propagation (${targetRuleNames.join(', ')})`,
        );
    }
    return null;
  }
  const word = <T extends string>(name: TargetOption, words: readonly T[], standard: T): T => {
    const value = options[name] ?? standard;
    if (!isOneOf(value, words)) throw invalid(named(name), `one of ${words.join(', ')}`, value);
    return value;
  };
  const schedule = word('schedule', scheduleNames, 'parallel');
  if (options.firstPhase !== undefined && schedule === 'parallel') {
    throw unused(named('firstPhase'), 'the parallel schedule', 'choose the alternating one');
  }
  for (const name of ['targetStep', 'targetStepLoss'] as const) {
    if (rule === 'dtp' || options[name] === undefined) continue;
    throw unused(
      named(name),
      `rule ${rule}, whose penultimate target comes from the inverse of the output layer`,
      'choose rule dtp',
    );
  }
  const { targetStep = TARGET_STEP } = options;
  if (!isNumber(targetStep) || targetStep <= 0) {
    throw invalid(named('targetStep'), 'a number above 0: the step from an activity to its target', targetStep);
  }
  return {
    schedule,
    firstPhase: schedule === 'parallel' ? null : word('firstPhase', ['inverse', 'forward'] as const, 'inverse'),
    inverseOptimizer: resolveOptimizer(options.inverseOptimizer, named('inverseOptimizer')),
    noise: resolveNoise(options.noise ?? NOISE, inverses, named('noise')),
    inverseLoss: word('inverseLoss', inverseLossNames, defaultInverseLoss(rule)),
    targetStep: rule === 'dtp' ? targetStep : null,
    targetStepLoss: rule === 'dtp' ? word('targetStepLoss', targetStepLossNames, 'example') : null,
    lossReduction: word('lossReduction', lossReductionNames, 'sum'),
  };
}

const defaultInverseLoss = (rule: RuleName): InverseLoss =>
  rule === 'tp' || rule === 'dtp' ? 'noise-preserving' : 'de-noising';

function resolveNoise(value: unknown, inverses: number, name: string): readonly number[] {
  const list: readonly unknown[] = Array.isArray(value) ? value : Array<unknown>(inverses).fill(value);
  if (!list.every((sigma): sigma is number => isNumber(sigma) && sigma >= 0)) {
    throw invalid(name, 'a standard deviation of at least 0, or one for each inverse', value);
  }
  if (list.length !== inverses) {
    throw invalid(name, `one number, or ${inverses}: one for each inverse from below`, value);
  }
  return [...list];
}

function unused(name: string, by: string, remedy: string): CortorchError {
  return new CortorchError('ERR_UNUSED_OPTION', `${name} is not used by ${by}; ${remedy}, or leave it out`);
}

/** As the addon takes them. */
export function ruleTraining(targets: ResolvedTargets | null): NativeRuleTraining {
  if (targets === null) return { options: {}, optimizer: null };
  const { noise, inverseLoss, targetStep, targetStepLoss, lossReduction, inverseOptimizer } = targets;
  return { options: { noise, inverseLoss, targetStep, targetStepLoss, lossReduction }, optimizer: inverseOptimizer };
}

/** What epoch `epoch` (from 0) trains. */
export function phaseOf(targets: ResolvedTargets | null, epoch: number): Phase {
  if (targets === null) return 'forward';
  if (targets.firstPhase === null) return 'both';
  const other = targets.firstPhase === 'inverse' ? 'forward' : 'inverse';
  return epoch % 2 === 0 ? targets.firstPhase : other;
}
