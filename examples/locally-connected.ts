/**
 * A locally connected network of one's own, without weight sharing, learns MNIST by direct feedback alignment.
 *
 *   npx tsx examples/locally-connected.ts
 */
import { mnist, network, Network, Trainer, trainingBudget } from 'cortorch';

const spec = network({ channels: 1, height: 28, width: 28 })
  .locallyConnected2d(16, { kernel: 5, stride: 2, padding: 'same', activation: 'tanh' }) // 16×14×14
  .locallyConnected2d(32, { kernel: 3, stride: 2, padding: 'same', activation: 'tanh' }) // 32×7×7
  .avgPool2d({ kernel: 3, stride: 2 }) // 32×3×3
  .flatten()
  .dense(128, { activation: 'tanh' })
  .dense(10)
  .softmaxCrossEntropy();

const { total } = trainingBudget(spec, { rule: 'dfa', batchSize: 100 });
const { train, test } = await mnist();
using net = new Network(spec, { rule: 'dfa', seed: 1 });
console.log(`${net.parameterCount} parameters; training needs about ${Math.round(total / 1e6)} MB`);

const trainer = new Trainer(net, { optimizer: { type: 'adam', lr: 1e-3 }, batchSize: 100 });
for await (const event of trainer.fit(train, { epochs: 3, test })) {
  if (event.type !== 'epoch') continue;
  const error = (100 * event.test!.error).toFixed(2);
  console.log(`epoch ${event.epoch}: test error ${error} %, ${Math.round(event.imagesPerSecond)} images/s`);
}
