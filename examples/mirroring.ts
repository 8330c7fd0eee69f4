/**
 * A learning rule of one's own in C++, compiled when it is first asked for: weight mirroring, whose feedback learns the
 * forward weights from noise. Shows how its angle to them falls.
 *
 *   npx tsx examples/mirroring.ts
 */
import { loadRule, mnist, Network, preset, Trainer } from 'cortorch';

const mirroring = await loadRule(new URL('rules/mirroring.cpp', import.meta.url));
const { train, test } = await mnist();

using net = new Network(preset('mnist-fc'), { rule: mirroring, ruleOptions: { noise: 0.1 }, seed: 1 });
const trainer = new Trainer(net, {
  optimizer: { type: 'adam', lr: 2e-4 },
  inverseOptimizer: { type: 'sgd', lr: 0.05 }, // of the feedback
  batchSize: 100,
});

for await (const event of trainer.fit(train, { epochs: 2, test, diagnostics: 300 })) {
  if (event.type === 'diagnostics') {
    const angles = event.layers.flatMap(({ feedbackAngle }) => feedbackAngle ?? []);
    console.log(`step ${event.step}: feedback at ${angles.map((angle) => `${angle.toFixed(0)}°`).join(' ')}`);
  }
  if (event.type === 'epoch') console.log(`epoch ${event.epoch}: test error ${(100 * event.test!.error).toFixed(2)} %`);
}
