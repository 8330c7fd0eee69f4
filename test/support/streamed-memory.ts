/** The memory that a stream of images takes. */
import type { Test } from 'tap';
import { within } from './folders.js';
import { writePicture } from './pictures.js';
import { moduleOf, runScript } from './processes.js';

/** Reads so many images, in epochs of 200, and asks for the memory four times. @returns resident MiB */
export async function memoryOver(t: Test, images: number): Promise<number[]> {
  const at = within(t.testdir());
  for (let i = 0; i < 200; i++) {
    const size = { width: 24 + (i % 9), height: 20 + (i % 7) };
    await writePicture(at('train', 'abcd'[i % 4]!, `${i}.jpg`), size, { r: 50 * (i % 4), g: 90, b: (i * 37) % 200 });
  }
  const script = `
    import { ImageStream, listImages } from ${moduleOf('lib/index.ts')};
    const list = await listImages(${JSON.stringify(at('train'))});
    const stream = new ImageStream(list, { size: 64, batchSize: 20, crop: 'random', flip: 'horizontal' });
    const after = [];
    let images = 0;
    for (let epoch = 0; images < ${images}; epoch++) {
      for await (const { labels } of stream.epoch(epoch)) images += labels.length;
      if (images % ${images / 4} === 0) after.push(process.memoryUsage.rss() / 2 ** 20);
    }
    console.log(JSON.stringify(after));`;
  const { code, stdout, stderr } = await runScript(script);
  t.equal(code, 0, stderr);
  return JSON.parse(stdout) as number[];
}
