/** `cortorch data pack`: image files to tar shards. */

import { listTraining, listValidation } from '../data/images/parts.js';
import { packImages } from '../data/images/pack.js';
import { CortorchError } from '../errors.js';
import { integer, plural } from './format.js';
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
  using interrupt = new Interrupt((text) => console.error(text));
  const train = await listTraining(dataset, dataDir);
  const lists = { train, val: await listValidation(dataset, dataDir, train.classes) };
  for (const [part, list] of Object.entries(lists)) {
    if (list === null) continue;
    let last = performance.now();
    try {
      const shards = await packImages(list, out, {
        part,
        maxBytes: shardSize * MIB,
        signal: interrupt.signal,
        onProgress: ({ images, of, bytes }) => {
          if (performance.now() - last < 1000 * SECONDS) return;
          last = performance.now();
          console.error(`${part}: ${integer(images)} of ${plural(of, 'image')}, ${integer(bytes / MIB)} MiB`);
        },
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
