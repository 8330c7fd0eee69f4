/** Batches that come one after another, where a data set does not lie in memory. */

import { invalid, isCount, isFunction } from '../errors.js';
import type { Batch } from './dataset.js';

/** Epochs of batches that can begin anywhere, such as those of an `ImageStream`. */
export interface BatchStream {
  /** Batches in an epoch. */
  readonly batches: number;
  /** Examples in a batch; fewer in the last one, or where some cannot be read. */
  readonly batchSize: number;
  /**
   * One pass.
   *
   * @param epoch counted from 0
   * @param startBatch batches that are passed over; default 0
   */
  epoch(epoch: number, startBatch?: number): AsyncIterable<StreamBatch> | Iterable<StreamBatch>;
}

export interface StreamBatch extends Batch {
  /** Its number in the epoch, from 0, where batches can be missing. */
  readonly index?: number;
}

/** @throws CortorchError ERR_INVALID_ARGUMENT */
export function checkStream(value: unknown, name: string): asserts value is BatchStream {
  const stream = value as Partial<BatchStream> | null | undefined;
  if (isFunction(stream?.epoch) && isCount(stream.batches) && isCount(stream.batchSize)) return;
  throw invalid(name, 'a Dataset, or a stream of batches: { batches, batchSize, epoch() }', value);
}
