/** Batches of the caller's own: a stream that is asked one batch ahead, and that an abort does not wait for. */

import { CortorchError, invalid, isInteger, isOneOf, isPlainObject, throwIfAborted } from '../errors.js';
import type { StreamBatch } from '../data/batch-stream.js';
import { countExamples, targetsOf, type Batch } from '../data/dataset.js';
import type { NativeBatch } from '../native.js';
import { countOutputs } from './shapes.js';
import type { ResolvedSpec } from './spec.js';

/** One pass over batches; the function is called for each epoch, counted from 1. */
export type BatchSource = (epoch: number) => AsyncIterable<Batch> | Iterable<Batch>;

/** A batch as the addon takes it. */
export interface PreparedBatch extends NativeBatch {
  /** null: those before it were all there */
  readonly index: number | null;
}

export class BatchReader {
  readonly #iterator: AsyncIterator<unknown>;
  readonly #spec: ResolvedSpec;
  #ahead: Promise<IteratorResult<unknown, unknown>> | undefined;
  #waited = 0;

  constructor(batches: AsyncIterable<Batch> | Iterable<Batch>, spec: ResolvedSpec) {
    this.#spec = spec;
    this.#iterator = iterate(batches);
  }

  /** Asks for the next batch already. */
  lookAhead(): void {
    this.#ahead ??= this.#iterator.next();
    this.#ahead.catch(() => undefined); // thrown by read(), if anybody gets there
  }

  /**
   * @returns null at the end
   * @throws CortorchError ERR_ABORTED as soon as the signal is given; ERR_INVALID_ARGUMENT; what the stream throws
   */
  async read(signal: AbortSignal | undefined): Promise<PreparedBatch | null> {
    this.lookAhead();
    const start = performance.now();
    const { done, value } = await untilAborted(this.#ahead!, signal);
    this.#waited += (performance.now() - start) / 1000;
    this.#ahead = undefined;
    return done ? null : prepare(value, this.#spec);
  }

  /** Seconds that read() waited for the stream. */
  get waited(): number {
    return this.#waited;
  }

  /** Passes over batches that a run before had. */
  async skip(count: number, signal: AbortSignal | undefined): Promise<void> {
    for (let i = 0; i < count; i++) {
      const { done } = await untilAborted(this.#iterator.next(), signal);
      if (done) {
        throw new CortorchError(
          'ERR_INVALID_ARGUMENT',
          `the stream ended after ${i} batches, but ${count} of this epoch were trained on before; give the same stream`,
        );
      }
    }
  }

  /** Tells the stream that no more is wanted. Not waited for: it may be stuck, which is why we leave. */
  close(): void {
    void Promise.resolve(this.#iterator.return?.()).catch(() => undefined);
  }
}

function prepare(batch: unknown, spec: ResolvedSpec): PreparedBatch {
  if (!isPlainObject(batch)) throw invalid('batch', '{ images, labels or targets }', batch);
  const given = batch as unknown as StreamBatch;
  const { images, layout = 'channels-first', index = null } = given;
  if (!isOneOf(layout, ['channels-first', 'channels-last'])) {
    throw invalid('layout', 'channels-first or channels-last', layout);
  }
  if (index !== null && !(isInteger(index) && index >= 0)) throw invalid('index', 'an integer of at least 0', index);
  const size = countExamples(images, spec.input);
  if (size === 0) throw invalid('batch', 'at least one example', images);
  const channelsLast = layout === 'channels-last' && spec.input.length === 3;
  const rest = { images, shape: [size, ...spec.input], channelsLast, index };
  // Images are the targets of an autoencoder; what else the batch has does not matter.
  if (spec.loss === 'reconstruction') {
    return { ...rest, targets: new BigInt64Array(size), outputs: 0 };
  }
  const expected = countOutputs(spec);
  const classes = given.labels === undefined ? null : expected;
  const { values, outputs } = targetsOf(given, size, classes);
  if (classes === null && (spec.loss === 'softmax-cross-entropy' || outputs !== expected)) {
    const what = `labels, or with squared-error targets of ${expected} values`;
    throw invalid('batch', what, `targets of ${outputs} values`);
  }
  return { ...rest, targets: values, outputs };
}

function untilAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  throwIfAborted(signal);
  if (signal === undefined) return promise;
  return new Promise((resolve, reject) => {
    const aborted = (): void => {
      try {
        throwIfAborted(signal);
      } catch (error) {
        const reason = error as Error;
        reject(reason);
      }
    };
    signal.addEventListener('abort', aborted, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', aborted));
  });
}

function iterate(batches: AsyncIterable<unknown> | Iterable<unknown>): AsyncIterator<unknown> {
  if (Symbol.asyncIterator in batches) return batches[Symbol.asyncIterator]();
  const iterator = batches[Symbol.iterator]();
  return {
    next: () => new Promise((resolve) => resolve(iterator.next())),
    return: () => new Promise((resolve) => resolve(iterator.return?.() ?? { done: true, value: undefined })),
  };
}
