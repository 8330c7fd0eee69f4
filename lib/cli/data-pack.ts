/** `cortorch data pack`: image files to tar shards. */

import { existsSync } from 'node:fs';
import { realpath } from 'node:fs/promises';
import { join } from 'node:path';
import type { ImageList } from '../data/images/folders.js';
import { packImages, type PackProgress } from '../data/images/pack.js';
import { listTraining, listValidation, type ImageDataset } from '../data/images/parts.js';
import { listShards } from '../data/images/shards.js';
import { CortorchError } from '../errors.js';
import { integer, plural } from '../format.js';
import { EXIT_INTERRUPTED, Interrupt } from './interrupt.js';
import { isStreamed, type Flags } from './options.js';

const MIB = 2 ** 20;
/** Between two lines of progress. */
const SECONDS = 10;

/** @returns the exit code */
export async function dataPack(flags: Flags<'data'>, word: string | undefined): Promise<number> {
  const { dataset, dataDir, shardSize = 256, out, json = false } = flags;
  if (word !== 'pack') {
    const what = word === undefined ? 'what to do is missing' : `there is no cortorch data ${word}`;
    throw new CortorchError('ERR_USAGE', `${what}: cortorch data pack`);
  }
  if (dataset === undefined || !isStreamed(dataset)) {
    const what = dataset === undefined ? 'is missing' : `is ${dataset}, which is no folder of image files`;
    throw new CortorchError('ERR_USAGE', `--dataset ${what}: --dataset imagenet, or folder`);
  }
  if (dataDir === undefined)
    throw new CortorchError('ERR_USAGE', '--data-dir is missing: the folder with train and val');
  if (out === undefined) throw new CortorchError('ERR_USAGE', '--out is missing: the folder for the shards');
  if (await isSameFolder(dataDir, out)) {
    throw new CortorchError('ERR_USAGE', `--out is ${dataDir}, where the images are; name another folder`);
  }
  using interrupt = new Interrupt((text) => console.error(text));
  for (const [part, list] of await listParts(dataset, dataDir)) {
    try {
      const shards = await packImages(list, out, {
        part,
        maxBytes: shardSize * MIB,
        signal: interrupt.signal,
        onProgress: reporter(part),
      });
      const bytes = shards.reduce((sum, shard) => sum + shard.bytes, 0);
      const images = list.files.length;
      if (json) console.log(JSON.stringify({ type: 'pack', part, images, shards: shards.length, bytes }));
      console.error(
        `${part}: ${plural(images, 'image')} in ${plural(shards.length, 'shard')}, ${integer(bytes / MIB)} MiB`,
      );
    } catch (error) {
      if (!(error instanceof CortorchError) || error.code !== 'ERR_ABORTED') throw error;
      console.error('Interrupted; the same command goes on behind the shards that are complete');
      return EXIT_INTERRUPTED;
    }
  }
  console.error(`To train on them: cortorch train --dataset ${dataset} --data-dir ${out}`);
  return 0;
}

/** Training images, validation images, or both. */
async function listParts(dataset: ImageDataset, dataDir: string): Promise<[part: string, ImageList][]> {
  const onlyVal =
    existsSync(join(dataDir, 'val')) &&
    !existsSync(join(dataDir, 'train')) &&
    (await listShards(dataDir, 'train')) === null;
  const train = onlyVal ? null : await listTraining(dataset, dataDir);
  const val = await listValidation(dataset, dataDir, train?.classes);
  const parts: [string, ImageList | null][] = [
    ['train', train],
    ['val', val],
  ];
  return parts.filter((part): part is [string, ImageList] => part[1] !== null);
}

const isSameFolder = async (a: string, b: string): Promise<boolean> => {
  const [left, right] = await Promise.all([a, b].map((path) => realpath(path).catch(() => undefined)));
  return left !== undefined && left === right;
};

/** A line now and then. */
function reporter(part: string): (progress: PackProgress) => void {
  let last = performance.now();
  return ({ phase, images, of, bytes }) => {
    if (performance.now() - last < 1000 * SECONDS) return;
    last = performance.now();
    const what = phase === 'sizes' ? 'looked up' : 'packed';
    console.error(`${part}: ${integer(images)} of ${plural(of, 'image')} ${what}, ${integer(bytes / MIB)} MiB`);
  };
}
