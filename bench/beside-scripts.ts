/**
 * `npm run bench -- beside-scripts`: does a script's own product slow training down? A product of two large matrices on
 * JavaScript's thread, between two measurements of the same training steps. Were it made by a second team of OpenMP
 * threads, that team would stay, and each barrier of a small step would cost a wake-up (native/node/serial_section.h).
 */
import { parseArgs } from 'node:util';
import { Dataset, Network, preset, Tensor, Trainer } from 'cortorch';
import { readRecord } from '../scripts/record.mjs';
import { finish, median, numberOf, printer, SHARED_USAGE, sharedOptions, table } from './harness.js';

const { values: options } = parseArgs({ options: sharedOptions });
const USAGE = `npm run bench -- beside-scripts [--threads N] [--rounds N] [--out FILE.json] [--json]

  --threads   of the network (default: all cores)
  --rounds    measurements of 200 steps, before and after (default 10)
${SHARED_USAGE}`;
if (options.help) {
  process.stdout.write(USAGE);
  process.exit();
}
const threads = numberOf('threads', options.threads);
const rounds = numberOf('rounds', options.rounds ?? '10');
const STEPS = 200;
const BATCH = 100;

using net = new Network(preset('mnist-fc'), { rule: 'bp', seed: 1, threads });
const trainer = new Trainer(net, { optimizer: { type: 'adam', lr: 1e-4 }, batchSize: BATCH, seed: 1 });
const images = Uint8Array.from({ length: STEPS * BATCH * 784 }, () => Math.random() * 256);
const labels = Uint8Array.from({ length: STEPS * BATCH }, () => Math.random() * 10);
const data = Dataset.fromArrays({ images, labels, shape: [1, 28, 28], classes: 10 });

let epochs = 0;
async function milliseconds(): Promise<number[]> {
  const times: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const start = performance.now();
    for await (const _ of trainer.fit(data, { epochs: ++epochs }));
    times.push((performance.now() - start) / STEPS);
  }
  return times;
}

await milliseconds(); // warms up
const before = await milliseconds();
const side = 1500;
using a = Tensor.from(new Float32Array(side * side).fill(1e-3), [side, side]);
using product = a.matmul(a);
product.data();
const after = await milliseconds();

const print = printer(options);
print(
  table(
    ['mnist-fc, bp', 'ms/step'],
    [
      ['before a product of 1500 × 1500', median(before).toFixed(3)],
      ['after it', median(after).toFixed(3)],
    ],
  ),
);
print(`\nafter / before: ${(median(after) / median(before)).toFixed(2)}`);
const versions = { cortorch: readRecord()?.version ?? 'unknown', torch: 'none' };
finish('beside-scripts', options, versions, threads, { before, after });
