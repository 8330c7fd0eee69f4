/** The activation functions in float64. */
import type { ActivationName } from '../../lib/model/layers.js';

export const sigma: Readonly<Record<ActivationName, (a: number) => number>> = {
  identity: (a) => a,
  tanh: Math.tanh,
  relu: (a) => Math.max(0, a),
  sigmoid: (a) => 1 / (1 + Math.exp(-a)),
};

/** σ' as a function of σ(a). */
export const slope: Readonly<Record<ActivationName, (y: number) => number>> = {
  identity: () => 1,
  tanh: (y) => 1 - y * y,
  relu: (y) => (y > 0 ? 1 : 0),
  sigmoid: (y) => y * (1 - y),
};
