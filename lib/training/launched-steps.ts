/**
 * Steps on batches of a stream. The model's thread is given one after the other; what comes of them is collected when
 * there is something to report, since on a GPU to collect is to wait.
 */

import { callAsync, type TrainerHandle } from '../native.js';
import type { BatchReader, PreparedBatch } from '../model/batches.js';
import type { TrainingProgress } from './progress.js';

export class LaunchedSteps {
  readonly #handle: TrainerHandle;
  readonly #progress: TrainingProgress;
  readonly #reader: BatchReader;
  #count = 0;
  /** Numbers of the batches whose steps the addon has taken. */
  readonly #given: (number | null)[] = [];
  /** Of the steps that are not collected: since when, and what the reader had waited until then. */
  #since = performance.now();
  #waited: number;

  constructor(handle: TrainerHandle, progress: TrainingProgress, reader: BatchReader) {
    this.#handle = handle;
    this.#progress = progress;
    this.#reader = reader;
    this.#waited = reader.waited;
  }

  /** Optimizer steps in all, with those that are not collected. */
  get step(): number {
    return this.#progress.step + this.#count;
  }

  /** Gives the step; the promise is kept when the batch's memory may be used again. */
  async launch(batch: PreparedBatch, lrFactor: number): Promise<void> {
    const position = { ...this.#progress.position(), step: this.step };
    this.#count++;
    await callAsync(() => this.#handle.launch(batch, lrFactor, position));
    this.#given.push(batch.index);
  }

  /** Waits for the steps, and adds what came of them to the progress. @throws as {@link TrainingProgress.take} */
  async collect(): Promise<void> {
    if (this.#count === 0) return;
    this.#count = 0;
    const indices = this.#given.splice(0);
    const pass = await callAsync(() => this.#handle.collect());
    const before = this.#progress.sums;
    const sums = {
      loss: before.loss + pass.loss,
      error: before.error + pass.error,
      inverse: before.inverse + pass.inverse,
      examples: before.examples + pass.examples,
    };
    const now = performance.now();
    const seconds = (now - this.#since) / 1000;
    const waited = this.#reader.waited - this.#waited;
    this.#since = now;
    this.#waited = this.#reader.waited;
    this.#progress.take(pass, sums, seconds, { waited, last: indices[pass.steps - 1] ?? null });
  }

  /** What happened since `start` (of performance.now()) is no part of training. */
  leaveOut(start: number): void {
    this.#since += performance.now() - start;
  }
}
