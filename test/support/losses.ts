/** Losses in float64. */
import type { Numbers } from './numbers.js';

/**
 * Softmax cross-entropy over a batch, an example a label: its mean, and the derivative of that mean with respect to
 * the outputs.
 */
export function crossEntropy(outputs: Numbers, labels: ArrayLike<number>): { loss: number; error: Float64Array } {
  const batch = labels.length;
  const classes = outputs.length / batch;
  const error = new Float64Array(outputs.length);
  let loss = 0;
  for (let b = 0; b < batch; b++) {
    const logits = Array.from({ length: classes }, (_, k) => outputs[b * classes + k]!);
    const total = logits.reduce((sum, z) => sum + Math.exp(z), 0);
    loss += (Math.log(total) - logits[labels[b]!]!) / batch;
    logits.forEach((z, k) => {
      error[b * classes + k] = (Math.exp(z) / total - (k === labels[b] ? 1 : 0)) / batch;
    });
  }
  return { loss, error };
}
