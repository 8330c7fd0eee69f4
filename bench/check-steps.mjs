/**
 * A few steps in cortorch, and everything that another implementation needs to make the same ones: parameters before
 * and after, in a folder, as float32.
 *
 *     node check-steps.mjs \
 *       '{"preset":"mnist-fc","rule":"dtp","threads":2,"batch":100,"trainer":{"noise":0,…},"folder":"…"}'
 *
 * `trainer` has the trainer's options but for the size of a batch.
 *
 * Says {"loss":…} of the last step.
 */
import fs from 'node:fs';
import path from 'node:path';

const STEPS = 5;
/** @type {unknown} */
const json = JSON.parse(/** @type {string} */ (process.argv[2]));
const given =
  /**
   * @type {{
   *   preset: string, rule: import('../lib/index.js').RuleName, threads: number, batch: number, folder: string,
   *   trainer: import('../lib/index.js').TrainerOptions,
   * }}
   */ (json);
const { preset: name, rule, threads, batch, folder } = given;
const built = '../dist/index.js'; // not there when this file is type-checked
/** @type {unknown} */
const cortorch = await import(built);
const { Dataset, Network, preset, Trainer } = /** @type {typeof import('../lib/index.js')} */ (cortorch);

const spec = preset(name);
const network = new Network(spec, { rule, seed: 1, threads });
const trainer = new Trainer(network, { ...given.trainer, batchSize: batch });

const size = spec.input.reduce((a, b) => a * b, 1);
let random = 1; // a linear congruential generator
const next = () => (random = (Math.imul(random, 1664525) + 1013904223) >>> 0) / 2 ** 32;
const images = Float32Array.from({ length: batch * size }, next);
const labels = Uint8Array.from({ length: batch }, (_, i) => i % 10);
const oneHot = new Float32Array(batch * 10);
labels.forEach((label, i) => (oneHot[10 * i + label] = 1));

const write = (/** @type {string} */ file, /** @type {Float32Array} */ { buffer, byteOffset, byteLength }) =>
  fs.writeFileSync(path.join(folder, file), Buffer.from(buffer, byteOffset, byteLength));

async function writeParameters(/** @type {string} */ when) {
  for (const [name, { data }] of await network.stateDict()) write(`${when}-${name}`, data);
}

write('images', images);
write('labels', oneHot);
await writeParameters('before');
// A data set of one batch: in which order it is shuffled does not matter.
const data = Dataset.fromArrays({ images, labels, shape: spec.input, classes: 10 });
let loss = NaN;
for await (const event of trainer.fit(data, { epochs: STEPS })) {
  if (event.type === 'epoch') loss = event.train.loss;
}
await writeParameters('after');
const parameters = network.parameters.filter(({ trainable }) => trainable);
fs.writeFileSync(path.join(folder, 'index.json'), JSON.stringify({ steps: STEPS, parameters }));
process.stdout.write(`${JSON.stringify({ loss })}\n`);
