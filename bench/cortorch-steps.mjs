/**
 * cortorch's side of training steps: one network and rule in a process of its own, through the package's public face
 * as a user has it (dist/, no TypeScript loader).
 *
 *     node cortorch-steps.mjs '{"preset":"mnist-fc","rule":"bp","threads":2,"batch":100,"unit":100}'
 *
 * `optimizer`, if given, has the trainer's settings of it. `root`, if given, is where the package lies.
 *
 * Says {"ready":true,…}, then answers each line on stdin with one line:
 *     step N     N training steps, a multiple of `unit`; they gather and scale their batches from bytes. Under
 *                "schedule":"alternating" N forward and N inverse ones, whose seconds come as {"forward":…,"inverse":…}
 *     epoch N    N passes over 55,000 images of MNIST: shuffle, gather, scale, train
 *     memory     peak resident memory so far
 */
import path from 'node:path';
import { createInterface } from 'node:readline';
import { peakMemory, say, settings } from './cortorch-side.mjs';

/**
 * @type {{
 *   preset: string, rule: import('../lib/index.js').RuleName, threads: number, batch: number, unit: number,
 *   schedule?: import('../lib/index.js').ScheduleName, optimizer?: import('../lib/index.js').OptimizerOptions,
 *   root?: string,
 * }}
 */
const given = settings();
const { preset: name, rule, threads, batch, unit, schedule } = given;
// Table 5 of Bartunov et al. 2018, bp on mnist-fc; the values do not change the time.
const { optimizer = { type: 'adam', lr: 1.52e-4, beta1: 0.9, beta2: 0.999, eps: 1e-8 } } = given;
const { root = path.dirname(import.meta.dirname) } = given;
const built = path.join(root, 'dist/index.js'); // not there when this file is type-checked
/** @type {unknown} */
const cortorch = await import(built);
const { Dataset, mnist, Network, preset, Trainer } = /** @type {typeof import('../lib/index.js')} */ (cortorch);

const network = new Network(preset(name), { rule, seed: 1, threads });
const trainer = new Trainer(network, {
  optimizer,
  batchSize: batch,
  seed: 1,
  ...(schedule && { schedule }),
});
let epochs = 0;

/** @param {import('../lib/index.js').Dataset} data @param {number} passes @returns seconds, in all and by phase */
async function train(data, passes) {
  epochs += passes;
  /** @type {Record<string, number>} */
  const seconds = {};
  const start = performance.now();
  let last = start;
  for await (const event of trainer.fit(data, { epochs })) {
    if (event.type !== 'epoch') continue;
    if (!Number.isFinite(event.train.loss)) throw new Error('the loss is not finite');
    const now = performance.now();
    seconds[event.phase] = (seconds[event.phase] ?? 0) + (now - last) / 1000;
    last = now;
  }
  return { seconds: (last - start) / 1000, ...seconds };
}

/** Passes over the data for one over which everything is learnt once. */
const phases = schedule === 'alternating' ? 2 : 1;

/** As many as a pass of `unit` steps takes; the presets here all have ten classes. */
function randomImages() {
  const shape = preset(name).input;
  const size = shape.reduce((a, b) => a * b, 1);
  const images = Uint8Array.from({ length: unit * batch * size }, () => Math.random() * 256);
  const labels = Uint8Array.from({ length: unit * batch }, () => Math.random() * 10);
  return Dataset.fromArrays({ images, labels, shape, classes: 10 });
}

const random = randomImages();
/** @type {import('../lib/index.js').Dataset | undefined} */
let images;
await train(random, phases);
say({ ready: true, threads: network.threads });

for await (const line of createInterface(process.stdin)) {
  const [what, count] = line.split(' ');
  if (what === 'memory') {
    say({ bytes: peakMemory() });
  } else if (what === 'step') {
    say(await train(random, (phases * Number(count)) / unit));
  } else {
    images ??= (await mnist()).train.split(5000, 1).train;
    say(await train(images, Number(count)));
  }
}
