/** What {@link Trainer.fit} reports. */

import type { LayerDiagnosis } from '../native.js';
import type { Evaluation } from '../model/network.js';
import type { Phase } from '../rules/rule.js';

/** Where training is, about five times a second. */
export interface ProgressEvent {
  readonly type: 'progress';
  /** Counted from 1. */
  readonly epoch: number;
  readonly epochs: number;
  readonly stepInEpoch: number;
  /** null if a {@link BatchSource} did not say. */
  readonly stepsPerEpoch: number | null;
  /** Optimizer steps in all. */
  readonly step: number;
  readonly phase: Phase;
  /** Means over the epoch so far. */
  readonly loss: number;
  readonly error: number;
  /** In the epochs that train inverses. */
  readonly inverseLoss?: number;
  readonly imagesPerSecond: number;
  /** Of training, to the end of the last epoch; null if unknown. */
  readonly secondsLeft: number | null;
}

/** The end of an epoch. Errors are fractions; losses are means over examples. */
export interface EpochEvent {
  readonly type: 'epoch';
  readonly epoch: number;
  /** What it trained: the layers (by whatever rule), the learned inverses, or both. */
  readonly phase: Phase;
  /**
   * Of the batches as they were trained on, each before its update. `inverseLoss`: the local losses of the inverses,
   * summed over them, in the epochs that train them.
   */
  readonly train: { readonly loss: number; readonly error: number; readonly inverseLoss?: number };
  readonly validation: Scores | null;
  readonly test: Scores | null;
  /** The training pass alone. */
  readonly seconds: number;
  readonly evaluationSeconds: number;
  readonly imagesPerSecond: number;
  /** Of streams: the fraction of `seconds` in which the next batch was not there yet. */
  readonly waiting?: number;
  /** Only when `maxSteps` ended training inside the epoch. */
  readonly partial?: true;
}

/** How the next step's batch would move the weights under the rule and under bp: see {@link LayerDiagnosis}. */
export interface DiagnosticsEvent {
  readonly type: 'diagnostics';
  readonly epoch: number;
  /** Optimizer steps made before, in all. */
  readonly step: number;
  /** Those with weights, from below. */
  readonly layers: readonly LayerDiagnosis[];
}

export type TrainEvent = ProgressEvent | DiagnosticsEvent | EpochEvent;
export type Scores = Pick<Evaluation, 'loss' | 'error' | 'error5'>;
