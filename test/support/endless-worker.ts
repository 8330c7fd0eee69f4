/** Trains until its worker is terminated; says so once it is at it. */
import { parentPort } from 'node:worker_threads';
import { Dataset, Network, network, Tensor, Trainer } from '../../lib/index.js';

const net = new Network(network({ features: 50 }).dense(50).dense(10).softmaxCrossEntropy());
const data = Dataset.fromArrays({
  images: new Uint8Array(500 * 50),
  labels: new Uint8Array(500),
  shape: [50],
  classes: 10,
});
const kept = Tensor.full([1000], 1); // nobody disposes of it
let told = false;
for await (const event of new Trainer(net, { batchSize: 10 }).fit(data, { epochs: 1e9 })) {
  if (told) continue;
  told = true;
  parentPort!.postMessage([event.type, kept.shape]);
}
