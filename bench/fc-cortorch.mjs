/**
 * cortorch's side of the benchmark `fc`: one rule in a process of its own, through the package's public face as a
 * user has it (dist/, no TypeScript loader).
 *
 *     node fc-cortorch.mjs '{"rule":"bp","threads":2}'
 *
 * Says {"ready":true,…}, then answers each line on stdin with one line:
 *     step N     N training steps, a multiple of 100; they gather and scale their batches from bytes
 *     epoch N    N passes over 55,000 images of MNIST: shuffle, gather, scale, train
 *     memory     peak resident memory so far
 */
import { createInterface } from 'node:readline';

const { rule, threads } = JSON.parse(/** @type {string} */ (process.argv[2]));
const built = '../dist/index.js'; // not there when this file is type-checked
/** @type {typeof import('../lib/index.js')} */
const { Dataset, mnist, Network, preset, Trainer } = await import(built);

const BATCH = 100;
const STEPS_PER_PASS = 100;

const network = new Network(preset('mnist-fc'), { rule, seed: 1, threads });
const trainer = new Trainer(network, {
  // Table 5 of Bartunov et al. 2018, bp; the values do not change the time.
  optimizer: { type: 'adam', lr: 1.52e-4, beta1: 0.9, beta2: 0.999, eps: 1e-8 },
  batchSize: BATCH,
  seed: 1,
});
let epochs = 0;

/** @param {import('../lib/index.js').Dataset} data @param {number} passes @returns seconds */
async function train(data, passes) {
  epochs += passes;
  const start = performance.now();
  for await (const event of trainer.fit(data, { epochs })) {
    if (event.type === 'epoch' && !Number.isFinite(event.train.loss))
      throw new Error('the loss is not finite');
  }
  return (performance.now() - start) / 1000;
}

function randomImages() {
  const images = Uint8Array.from({ length: STEPS_PER_PASS * BATCH * 784 }, () => Math.random() * 256);
  const labels = Uint8Array.from({ length: STEPS_PER_PASS * BATCH }, () => Math.random() * 10);
  return Dataset.fromArrays({ images, labels, shape: [1, 28, 28], classes: 10 });
}

const say = (/** @type {object} */ message) => process.stdout.write(`${JSON.stringify(message)}\n`);

const random = randomImages();
/** @type {import('../lib/index.js').Dataset | undefined} */
let images;
await train(random, 1);
say({ ready: true, threads: network.threads });

for await (const line of createInterface(process.stdin)) {
  const [what, count] = line.split(' ');
  if (what === 'memory') {
    say({ bytes: process.resourceUsage().maxRSS * 1024 });
  } else if (what === 'step') {
    say({ seconds: await train(random, Number(count) / STEPS_PER_PASS) });
  } else {
    images ??= (await mnist()).train.split(5000, 1).train;
    say({ seconds: await train(images, Number(count)) });
  }
}
