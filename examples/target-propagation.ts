/**
 * Difference target propagation on MNIST, by turns: an epoch for the inverses, an epoch for the layers. What travels
 * down is no gradient: each layer has a target, and learns to give it.
 *
 *   npx tsx examples/target-propagation.ts
 */
import { mnist, Network, preset, Trainer, trainerDefaults } from 'cortorch';

const { train, test } = await mnist();
using net = new Network(preset('mnist-fc'), { rule: 'dtp', seed: 1 });

// The inverses are parameters with an optimizer of their own.
for (const { name, shape, role } of net.parameters) {
  if (role === 'learned') console.log(`${name} [${shape.join(', ')}]`);
}

const trainer = new Trainer(net, {
  ...trainerDefaults('mnist-fc', 'dtp', 'alternating'), // the paper's Table 5; these are two of its settings:
  targetStep: 0.231758, // α: how far the penultimate target is from the activity, down the gradient
  noise: 0.220444, // σ: inverses learn from activities with noise
});

for await (const event of trainer.fit(train, { epochs: 6, test })) {
  if (event.type !== 'epoch') continue;
  const inverse = event.train.inverseLoss?.toFixed(1) ?? '-';
  console.log(
    `${event.epoch} ${event.phase}: test error ${event.test!.error.toFixed(4)}, loss of the inverses ${inverse}`,
  );
}
