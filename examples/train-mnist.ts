/**
 * Trains the paper's fully connected network on MNIST by feedback alignment.
 *
 *   npx tsx examples/train-mnist.ts
 */
import { mnist, Network, preset, Trainer } from 'cortorch';

const { train, test } = await mnist();
const { train: training, validation } = train.split(5000, 1);

using net = new Network(preset('mnist-fc'), { rule: 'fa', seed: 1 });
const trainer = new Trainer(net, {
  optimizer: { type: 'adam', lr: 1.68e-4, eps: 1e-4 },
  batchSize: 100,
});

for await (const event of trainer.fit(training, { epochs: 5, validation, test })) {
  if (event.type !== 'epoch') continue;
  const percent = (error: number): string => `${(100 * error).toFixed(2)} %`;
  console.log(
    `epoch ${event.epoch}: test error ${percent(event.test!.error)}, ${Math.round(event.imagesPerSecond)} images/s`,
  );
}
