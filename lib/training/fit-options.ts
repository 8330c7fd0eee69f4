/** What {@link Trainer.fit} is asked for. */

import { isAugmented, type ResolvedAugmentation } from '../data/augmentation.js';
import { checkStream, type BatchStream } from '../data/batch-stream.js';
import { Dataset } from '../data/dataset.js';
import { CortorchError, invalid, isCount, isFunction, isPlainObject } from '../errors.js';
import type { Network } from '../model/network.js';
import type { ResolvedLrSchedule } from './lr-schedule.js';

export interface FitOptions {
  /**
   * Passes over the data in all, those made before a resume included. Under an alternating schedule a pass trains one
   * of the two losses, so that n epochs are n/2 of each.
   */
  readonly epochs: number;
  /** Evaluated after each epoch. */
  readonly validation?: Dataset | BatchStream | null;
  /** Evaluated after each epoch; nothing is ever chosen by it. */
  readonly test?: Dataset | BatchStream | null;
  /** Optimizer steps in all, those made before a resume included, after which training ends. */
  readonly maxSteps?: number | undefined;
  /** Ends training between two steps, with ERR_ABORTED; the trainer can go on from there. */
  readonly signal?: AbortSignal | undefined;
  /**
   * Every so many steps, and before the first, a {@link DiagnosticsEvent}, which takes about two steps' time. Default:
   * none.
   */
  readonly diagnostics?: number | undefined;
  /** Batches in an epoch of a {@link BatchSource}: what schedules other than the constant one need. */
  readonly stepsPerEpoch?: number;
}

interface Settings {
  readonly batchSize: number;
  readonly augmentation: ResolvedAugmentation;
  readonly lrSchedule: ResolvedLrSchedule;
}

/** @throws CortorchError ERR_INVALID_ARGUMENT, ERR_UNUSED_OPTION, if a trainer with these settings cannot do that */
export function checkFit(
  network: Network,
  { batchSize, augmentation, lrSchedule }: Settings,
  data: unknown,
  options: FitOptions,
): void {
  if (!isPlainObject(options)) throw invalid('options', '{ epochs, … }', options);
  const { epochs, maxSteps, diagnostics, validation, test, stepsPerEpoch } = options;
  if (!isCount(epochs)) throw invalid('epochs', 'a positive integer', epochs);
  if (maxSteps !== undefined && !isCount(maxSteps)) throw invalid('maxSteps', 'a positive integer', maxSteps);
  if (diagnostics !== undefined && !isCount(diagnostics))
    throw invalid('diagnostics', 'a positive integer', diagnostics);
  if (stepsPerEpoch !== undefined && !isCount(stepsPerEpoch)) {
    throw invalid('stepsPerEpoch', 'a positive integer', stepsPerEpoch);
  }
  for (const [name, part] of Object.entries({ validation, test })) {
    if (part instanceof Dataset) network.checkData(part);
    else if (part) checkStream(part, name);
  }
  if (data instanceof Dataset) {
    network.checkData(data);
    return;
  }
  if (!isFunction(data)) {
    checkStream(data, 'data');
    if (data.batchSize !== batchSize) {
      throw invalid('data', `batches of ${batchSize}, the trainer's`, `batches of ${data.batchSize}`);
    }
  }
  if (isAugmented(augmentation)) {
    throw new CortorchError(
      'ERR_UNUSED_OPTION',
      'augmentation is not used on batches of your own; augment them where they are made, or train on a Dataset',
    );
  }
  const constant = lrSchedule.type === 'constant' && lrSchedule.warmupEpochs === 0;
  if (isFunction(data) && !constant && stepsPerEpoch === undefined) {
    throw invalid(
      'stepsPerEpoch',
      'the number of batches in an epoch, which the learning-rate schedule needs',
      stepsPerEpoch,
    );
  }
}
