/** Learning-rate schedules, as a factor of the optimizer's learning rate for each step. */

import { CortorchError, invalid, isCount, isNumber, isOneOf, isPlainObject } from '../errors.js';
import { didYouMean } from '../suggest.js';

export type LrScheduleName = 'constant' | 'step' | 'cosine';
export const lrScheduleNames: readonly LrScheduleName[] = ['constant', 'step', 'cosine'];

export interface LrScheduleOptions {
  /** Default `constant`. */
  readonly type?: LrScheduleName;
  /** step: epochs after which the rate is multiplied by `decay`, rising. */
  readonly steps?: readonly number[];
  /** step; default 0.1 */
  readonly decay?: number;
  /** Epochs (also a fraction) over which the rate rises linearly from near 0; default 0. */
  readonly warmupEpochs?: number;
}

export interface ResolvedLrSchedule {
  readonly type: LrScheduleName;
  readonly steps: readonly number[];
  readonly decay: number;
  readonly warmupEpochs: number;
}

/** @throws CortorchError ERR_INVALID_ARGUMENT, ERR_UNKNOWN_OPTION, ERR_UNUSED_OPTION */
export function resolveLrSchedule(options: LrScheduleOptions = {}): ResolvedLrSchedule {
  if (!isPlainObject(options)) throw invalid('lrSchedule', 'an object such as { type: "cosine" }', options);
  const { type = 'constant', steps, decay, warmupEpochs = 0 } = options as LrScheduleOptions;
  const known = ['type', 'steps', 'decay', 'warmupEpochs'];
  for (const key of Object.keys(options)) {
    if (!known.includes(key)) {
      throw new CortorchError(
        'ERR_UNKNOWN_OPTION',
        `lrSchedule.${key}: there is no such setting${didYouMean(key, known)}`,
      );
    }
  }
  if (!isOneOf(type, lrScheduleNames)) throw invalid('lrSchedule.type', `one of ${lrScheduleNames.join(', ')}`, type);
  if (type !== 'step' && (steps !== undefined || decay !== undefined)) {
    const key = steps !== undefined ? 'steps' : 'decay';
    throw new CortorchError(
      'ERR_UNUSED_OPTION',
      `lrSchedule.${key} is not used by the ${type} schedule; choose the step schedule, or leave it out`,
    );
  }
  if (type === 'step') {
    const rising = Array.isArray(steps) && steps.every((s, i) => isCount(s) && (i === 0 || s > steps[i - 1]!));
    if (!rising || steps.length === 0)
      throw invalid('lrSchedule.steps', 'rising epoch numbers such as [30, 60]', steps);
    if (decay !== undefined && (!isNumber(decay) || decay <= 0))
      throw invalid('lrSchedule.decay', 'a positive number', decay);
  }
  if (!isNumber(warmupEpochs) || warmupEpochs < 0) {
    throw invalid('lrSchedule.warmupEpochs', 'a number of epochs that is not negative', warmupEpochs);
  }
  return { type, steps: steps ?? [], decay: decay ?? 0.1, warmupEpochs };
}

/**
 * The factor for one step.
 *
 * @param step optimizer steps made before it, over all epochs
 * @param epochs of the whole run, which the cosine schedule ends with
 */
export function learningRateFactor(
  schedule: ResolvedLrSchedule,
  step: number,
  stepsPerEpoch: number,
  epochs: number,
): number {
  const warmup = schedule.warmupEpochs * stepsPerEpoch;
  const rise = step < warmup ? (step + 1) / warmup : 1;
  switch (schedule.type) {
    case 'constant':
      return Math.min(1, rise);
    case 'step': {
      const epoch = Math.floor(step / stepsPerEpoch);
      return Math.min(1, rise) * schedule.decay ** schedule.steps.filter((s) => epoch >= s).length;
    }
    case 'cosine': {
      if (step < warmup) return Math.min(1, rise);
      const rest = Math.max(1, epochs * stepsPerEpoch - warmup);
      return 0.5 * (1 + Math.cos(Math.PI * Math.min(1, (step - warmup) / rest)));
    }
  }
}
