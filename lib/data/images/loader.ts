/** Batches of images read from files while others are trained on. */

import { readFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { CortorchError, inRange, invalid, isCount, isInteger, isOneOf } from '../../errors.js';
import type { BatchStream } from '../batch-stream.js';
import { flipNames, type FlipName } from '../augmentation.js';
import { loadSharp } from '../sharp.js';
import { decodeImage, type ImageSize, type ImageTransform } from './decode.js';
import { ORDER, randomFor } from './draws.js';
import type { ImageList } from './folders.js';

export interface ImageStreamOptions {
  /** Height and width of the images. */
  readonly size: number;
  readonly batchSize: number;
  /** For training `random`, for evaluation `center`; `none` resizes the whole image. Default: center. */
  readonly crop?: ImageTransform['crop'];
  /** With `center`: the shorter side before cropping. Default: size × 256 / 224. */
  readonly resize?: number;
  /** The mirror image (horizontal), the image upside down (vertical) or both, half of the time each. Default: none. */
  readonly flip?: FlipName;
  /** A new order in each epoch, or the order of the list. Default: true. */
  readonly shuffle?: boolean;
  /** Default: 0. */
  readonly seed?: number;
  /** Batches in memory beside the one that was given out. Default: 2. */
  readonly prefetch?: number;
  /**
   * Images in work at once, of which as many are decoded as the thread pool has threads (UV_THREADPOOL_SIZE, 4).
   * Default: four for each core.
   */
  readonly concurrency?: number;
  /** How many different files may be corrupt. Default: 0. */
  readonly maxCorrupt?: number;
  /** Called once for each corrupt file. */
  readonly onCorrupt?: (path: string, reason: string) => void;
}

/** A batch of n ≤ `batchSize` images: fewer at the end of an epoch, or where some are corrupt. */
export interface ImageBatch {
  /** [n, size, size, 3] */
  readonly images: Uint8Array;
  readonly layout: 'channels-last';
  /** [n] */
  readonly labels: Int32Array;
  /** Its number in the epoch, from 0: to go on after it, start at `index + 1`. */
  readonly index: number;
}

/**
 * A list of images as epochs of batches, every image once in each. What an epoch holds is a function of the list, the
 * options and the epoch's number, whatever the concurrency and wherever it starts.
 *
 * @example const images = new ImageStream(await listImages('data/train'), { size: 224, batchSize: 128, crop: 'random',
 *   flip: 'horizontal' }); for await (const event of trainer.fit(images, { epochs: 90 })) …
 */
export class ImageStream implements BatchStream {
  readonly #list: ImageList;
  readonly #transform: ImageTransform;
  readonly #options: Required<Pick<ImageStreamOptions, 'batchSize' | 'shuffle' | 'seed' | 'prefetch' | 'maxCorrupt'>>;
  readonly #onCorrupt: (path: string, reason: string) => void;
  readonly #limit: Limit;
  readonly #corrupt = new Set<string>();
  /** Of the images that were read before. */
  readonly #sizes: (ImageSize | undefined)[] = [];
  /** Images in the list. */
  readonly size: number;
  readonly batchSize: number;
  /** Batches of an epoch. */
  readonly batches: number;

  /** @throws CortorchError ERR_INVALID_ARGUMENT */
  constructor(list: ImageList, options: ImageStreamOptions) {
    const {
      size,
      batchSize,
      crop = 'center',
      resize = Math.round((size * 256) / 224),
      flip = 'none',
      shuffle = true,
      seed = 0,
      prefetch = 2,
      concurrency = 4 * availableParallelism(),
      maxCorrupt = 0,
      onCorrupt = () => undefined,
    } = options;
    for (const [name, value] of Object.entries({ size, batchSize, resize, prefetch, concurrency })) {
      if (!isCount(value)) throw invalid(name, 'an integer of at least 1', value);
    }
    if (!isOneOf(crop, ['random', 'center', 'none'])) throw invalid('crop', 'random, center or none', crop);
    if (!isOneOf(flip, flipNames)) throw invalid('flip', `one of ${flipNames.join(', ')}`, flip);
    if (resize < size) throw invalid('resize', `at least the size, ${size},`, resize);
    for (const [name, value] of Object.entries({ seed, maxCorrupt })) {
      if (!isInteger(value) || value < 0) throw invalid(name, 'an integer of at least 0', value);
    }
    if (!inRange(list.files.length, 1, ORDER)) throw invalid('list', 'at least one image', list.files);
    if (list.labels.length !== list.files.length) {
      throw invalid('labels', `one label for each of ${list.files.length} files`, list.labels);
    }
    this.#list = list;
    this.#transform = { size, crop, resize, flip };
    this.#options = { batchSize, shuffle, seed, prefetch, maxCorrupt };
    this.#onCorrupt = onCorrupt;
    this.#limit = new Limit(concurrency);
    this.size = list.files.length;
    this.batchSize = batchSize;
    this.batches = Math.ceil(list.files.length / batchSize);
  }

  /** The files that were found corrupt. */
  get corrupt(): ReadonlySet<string> {
    return this.#corrupt;
  }

  /**
   * One pass.
   *
   * @param epoch an integer from 0 to 2^32 − 1
   * @param startBatch batches that are passed over without reading them
   * @throws CortorchError ERR_DATASET_CORRUPT beyond `maxCorrupt`; ERR_INVALID_ARGUMENT; ERR_DEPENDENCIES without sharp
   */
  async *epoch(epoch: number, startBatch = 0): AsyncGenerator<ImageBatch, void, undefined> {
    if (!isInteger(epoch) || !inRange(epoch, 0, 2 ** 32 - 1)) {
      throw invalid('epoch', 'an integer from 0 to 2^32 − 1', epoch);
    }
    if (!isInteger(startBatch) || !inRange(startBatch, 0, this.batches)) {
      throw invalid('startBatch', `an integer from 0 to ${this.batches}`, startBatch);
    }
    const order = this.#order(epoch);
    const ahead: Promise<ReadBatch>[] = [];
    const stop = new AbortController();
    let next = startBatch;
    const fill = (): void => {
      while (next < this.batches && ahead.length < this.#options.prefetch) {
        const batch = this.#read(order, epoch, next++, stop.signal);
        batch.catch(() => undefined); // thrown when its turn comes
        ahead.push(batch);
      }
    };
    try {
      fill();
      while (ahead.length > 0) {
        const read = await ahead.shift()!;
        fill();
        this.#account(read.failed);
        if (read.batch.labels.length > 0) yield read.batch;
      }
    } finally {
      stop.abort();
    }
  }

  #order(epoch: number): Uint32Array {
    const order = Uint32Array.from(this.#list.files, (_, i) => i);
    return this.#options.shuffle ? randomFor(this.#options.seed, epoch, ORDER).shuffle(order) : order;
  }

  async #read(order: Uint32Array, epoch: number, index: number, signal: AbortSignal): Promise<ReadBatch> {
    const sharp = await loadSharp();
    const { batchSize, seed } = this.#options;
    const { files, read = (i: number) => readFile(files[i]!) } = this.#list;
    const members = order.subarray(index * batchSize, (index + 1) * batchSize);
    const values = 3 * this.#transform.size ** 2;
    const images = new Uint8Array(members.length * values);
    const failed: Failure[] = [];
    const whole: boolean[] = [];
    await Promise.all(
      Array.from(members, (member, slot) =>
        this.#limit.run(async () => {
          if (signal.aborted) return;
          const path = files[member]!;
          const target = images.subarray(slot * values, (slot + 1) * values);
          try {
            const bytes = await read(member);
            if (bytes.length === 0) throw new Error('the file is empty');
            const random = randomFor(seed, epoch, member);
            const known = this.#sizes[member];
            this.#sizes[member] = await decodeImage(sharp, bytes, this.#transform, random, target, known);
            whole[slot] = true;
          } catch (error) {
            failed.push({ slot, path, reason: (error as Error).message.trim().replaceAll('\n', '; ') });
          }
        }),
      ),
    );
    failed.sort((a, b) => a.slot - b.slot);
    let count = 0;
    const labels = new Int32Array(members.length);
    for (const [slot, member] of members.entries()) {
      if (!whole[slot]) continue;
      if (slot !== count) images.copyWithin(count * values, slot * values, (slot + 1) * values);
      labels[count++] = this.#list.labels[member]!;
    }
    return {
      batch: {
        images: images.subarray(0, count * values),
        layout: 'channels-last',
        labels: labels.subarray(0, count),
        index,
      },
      failed,
    };
  }

  /** In the order of the epoch, whichever was decoded first. */
  #account(failed: readonly Failure[]): void {
    for (const { path, reason } of failed) {
      if (this.#corrupt.has(path)) continue;
      this.#corrupt.add(path);
      this.#onCorrupt(path, reason);
      const { maxCorrupt } = this.#options;
      if (this.#corrupt.size <= maxCorrupt) continue;
      throw new CortorchError(
        'ERR_DATASET_CORRUPT',
        `${path}: ${reason}; ${this.#corrupt.size} images could not be read, and ${maxCorrupt} may be: ` +
          'replace them, or allow for more',
      );
    }
  }
}

interface Failure {
  readonly slot: number;
  readonly path: string;
  readonly reason: string;
}

interface ReadBatch {
  readonly batch: ImageBatch;
  readonly failed: readonly Failure[];
}

/** At most so many tasks at a time, first come, first served. */
class Limit {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(count: number) {
    this.#free = count;
  }

  async run(task: () => Promise<void>): Promise<void> {
    if (this.#free > 0) this.#free--;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    try {
      await task();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#free++;
      else next();
    }
  }
}
