/**
 * A learning rule of one's own, scripted on tensors: feedback weights that drift towards the forward weights
 * (a Kolen-Pollack-like decay), on a toy problem. Shows the maps and layers as differentiable functions.
 *
 *   npx tsx examples/own-rule.ts
 */
import { layer, scope, squaredError, Tensor } from 'cortorch';

const inputs = 8;
const hidden = 32;
const outputs = 4;
const batch = 64;

const random = (rows: number, columns: number, scale: number): Tensor =>
  Tensor.from(
    Float32Array.from({ length: rows * columns }, () => (2 * Math.random() - 1) * scale),
    [rows, columns],
  );

const teacher = random(outputs, inputs, 1);
let w1 = random(hidden, inputs, 0.3);
let w2 = random(outputs, hidden, 0.3);
let feedback = random(outputs, hidden, 0.3);

for (let step = 0; step <= 500; step++) {
  const next = scope(() => {
    w1.requiresGrad = true;
    w2.requiresGrad = true;
    const x = random(batch, inputs, 1);
    const h = layer(x, { weight: w1, activation: 'tanh', rule: 'bp' });
    const y = layer(h, { weight: w2, rule: 'fa', feedback });
    const loss = squaredError(y, x.matmul(teacher.transpose()));
    loss.backward();
    if (step % 100 === 0) console.log(`step ${step}: loss ${loss.item().toFixed(4)}`);
    const g2 = w2.grad!.mul(0.05);
    return {
      w1: w1.detach().sub(w1.grad!.mul(0.05)),
      w2: w2.detach().mul(0.9995).sub(g2),
      feedback: feedback.mul(0.9995).sub(g2), // the same change, so that B and W grow alike
    };
  });
  for (const old of [w1, w2, feedback]) old.dispose();
  ({ w1, w2, feedback } = next);
}
