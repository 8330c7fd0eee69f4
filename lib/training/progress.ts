/** Where a trainer is, and what came of the steps of the epoch so far. */

import { CortorchError } from '../errors.js';
import type { NativePass, NativePosition } from '../native.js';
import type { Phase } from '../rules/rule.js';
import type { EpochEvent, ProgressEvent } from './events.js';
import type { FitOptions } from './fit-options.js';
import { noSums, type EpochSums, type TrainerState } from './trainer-state.js';

export class TrainingProgress {
  readonly #seed: number;
  readonly #phaseOf: (epoch: number) => Phase;
  #epoch = 0;
  #step = 0;
  #stepInEpoch = 0;
  #sums = noSums;

  /** @param phaseOf what an epoch, from 0, trains */
  constructor(seed: number, phaseOf: (epoch: number) => Phase) {
    this.#seed = seed;
    this.#phaseOf = phaseOf;
  }

  /** Epochs completed. */
  get epoch(): number {
    return this.#epoch;
  }
  /** Optimizer steps in all. */
  get step(): number {
    return this.#step;
  }
  /** Steps of the epoch that is not complete. */
  get stepInEpoch(): number {
    return this.#stepInEpoch;
  }
  /** Over those steps. */
  get sums(): EpochSums {
    return this.#sums;
  }
  /** Of the epoch that is not complete. */
  get phase(): Phase {
    return this.#phaseOf(this.#epoch);
  }

  position(): NativePosition {
    return {
      seed: this.#seed,
      epoch: this.#epoch,
      firstStep: this.#stepInEpoch,
      step: this.#step,
      phase: this.phase,
    };
  }

  goTo({ epoch, step, stepInEpoch, sums }: TrainerState): void {
    this.#epoch = epoch;
    this.#step = step;
    this.#stepInEpoch = stepInEpoch;
    this.#sums = sums;
  }

  /**
   * Steps were made. `sums` are those of the epoch so far, `pass` included; `last`: the number of its last batch, where
   * batches have one.
   *
   * @throws CortorchError ERR_LOSS_NOT_FINITE if there was a step more, which was not made
   */
  take(
    pass: NativePass,
    { loss, error, inverse, examples }: Omit<EpochSums, 'seconds' | 'waited'>,
    seconds: number,
    { waited = 0, last = null }: { waited?: number; last?: number | null } = {},
  ): void {
    const before = this.#sums;
    this.#sums = {
      ...{ loss, error, inverse, examples },
      ...{ seconds: before.seconds + seconds, waited: before.waited + waited },
    };
    this.#step += pass.steps;
    this.#stepInEpoch = last === null ? this.#stepInEpoch + pass.steps : last + 1;
    if (pass.notFinite || pass.inverseNotFinite) {
      const whose = pass.notFinite ? '' : ' of the inverses';
      throw new CortorchError(
        'ERR_LOSS_NOT_FINITE',
        `the loss${whose} became NaN or infinite at step ${this.#step + 1} (step ${this.#stepInEpoch + 1} of epoch ${this.#epoch + 1}); ` +
          `that step was not made. A smaller learning rate${whose} is the usual remedy`,
      );
    }
  }

  /** For whoever waits. */
  event(options: FitOptions, stepsPerEpoch: number | null): ProgressEvent {
    const { loss, error, inverse, examples, seconds } = this.#sums;
    const { epochs, maxSteps = Infinity } = options;
    const phase = this.phase;
    const secondsPerStep = seconds / this.#stepInEpoch;
    const stepsLeft =
      stepsPerEpoch === null
        ? null
        : Math.min((epochs - this.#epoch) * stepsPerEpoch - this.#stepInEpoch, maxSteps - this.#step);
    return {
      type: 'progress',
      epoch: this.#epoch + 1,
      epochs,
      stepInEpoch: this.#stepInEpoch,
      stepsPerEpoch,
      step: this.#step,
      phase,
      loss: loss / examples,
      error: error / examples,
      ...(phase !== 'forward' && { inverseLoss: inverse / examples }),
      imagesPerSecond: examples / seconds,
      secondsLeft: stepsLeft === null ? null : stepsLeft * secondsPerStep,
    };
  }

  /** The epoch is over, or, if `partial`, training is. */
  endEpoch(
    { validation, test }: Pick<EpochEvent, 'validation' | 'test'>,
    how: { evaluationSeconds: number; partial: boolean; inMemory: boolean },
  ): EpochEvent {
    const { evaluationSeconds, partial, inMemory } = how;
    const { loss, error, inverse, examples, seconds, waited } = this.#sums;
    const phase = this.phase;
    const event: EpochEvent = {
      type: 'epoch',
      epoch: this.#epoch + 1,
      phase,
      train: {
        loss: loss / examples,
        error: error / examples,
        ...(phase !== 'forward' && { inverseLoss: inverse / examples }),
      },
      validation,
      test,
      seconds,
      evaluationSeconds,
      imagesPerSecond: examples / seconds,
      ...(!inMemory && { waiting: waited / seconds }),
      ...(partial && { partial }),
    };
    if (!partial) {
      this.#epoch++;
      this.#stepInEpoch = 0;
      this.#sums = noSums;
    }
    return event;
  }
}
