/**
 * One side of `npm run bench -- loader`: reads the images of a list of class folders, once to warm up and once for the
 * time, and says how many a second.
 *
 *     node loader-read.mjs folder|shards|sharp DIR BATCH
 *
 * `sharp` is what sharp does with the same crops in a bare loop, four images in work for each core: no order, no
 * batches, no labels, and the sizes of the images known beforehand.
 */
import { availableParallelism } from 'node:os';
import sharp from 'sharp';

const [side, dir, batch] = /** @type {[string, string, string]} */ (process.argv.slice(2));
const built = '../dist/index.js'; // not there when this file is type-checked
/** @type {unknown} */
const cortorch = await import(built);
const { ImageStream, listImages, listShards } = /** @type {typeof import('../lib/index.js')} */ (cortorch);

const SIZE = 224;
sharp.concurrency(1);
sharp.cache(false);

/** @returns {Promise<(epoch: number) => Promise<number>>} a pass, which gives the number of its images */
async function passOver() {
  const list = side === 'shards' ? await listShards(dir, 'train') : await listImages(dir);
  if (list === null) throw new Error(`no shards in ${dir}`);
  if (side !== 'sharp') {
    const stream = new ImageStream(list, {
      ...{ size: SIZE, batchSize: Number(batch), crop: 'random', flip: 'horizontal' },
    });
    return async (epoch) => {
      let count = 0;
      for await (const { labels } of stream.epoch(epoch)) count += labels.length;
      return count;
    };
  }
  /** @type {import('sharp').Metadata[]} */
  const sizes = [];
  for (const file of list.files) sizes.push(await sharp(file).metadata());
  return async () => {
    let next = 0;
    const work = async () => {
      for (let i = next++; i < sizes.length; i = next++) {
        const { width, height } = /** @type {import('sharp').Metadata} */ (sizes[i]);
        await sharp(list.files[i], { sequentialRead: true, ignoreIcc: true })
          .extract(crop(width, height))
          .resize(SIZE, SIZE, { fit: 'fill', kernel: 'linear' })
          .flop(Math.random() < 0.5)
          .removeAlpha()
          .toColourspace('srgb')
          .raw()
          .toBuffer();
      }
    };
    await Promise.all(Array.from({ length: 4 * availableParallelism() }, work));
    return sizes.length;
  };
}

/** torchvision's RandomResizedCrop. @param {number} width @param {number} height */
function crop(width, height) {
  for (let i = 0; i < 10; i++) {
    const area = width * height * (0.08 + 0.92 * Math.random());
    const ratio = Math.exp(Math.log(3 / 4) + Math.random() * Math.log(16 / 9));
    const [w, h] = [Math.round(Math.sqrt(area * ratio)), Math.round(Math.sqrt(area / ratio))];
    if (w > width || h > height) continue;
    const top = Math.floor(Math.random() * (height - h + 1));
    return { left: Math.floor(Math.random() * (width - w + 1)), top, width: w, height: h };
  }
  return { left: 0, top: 0, width, height };
}

const pass = await passOver();
await pass(0);
const start = performance.now();
const busy = performance.eventLoopUtilization();
const images = await pass(1);
const seconds = (performance.now() - start) / 1000;
const { utilization } = performance.eventLoopUtilization(busy);
console.log(JSON.stringify({ rate: images / seconds, loop: utilization }));
