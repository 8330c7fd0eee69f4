/** Tensors in tests. */
import type { Test } from 'tap';
import type { Tensor } from '../../lib/index.js';
import { relativeError } from './compare.js';

/** The tensor, of which gradients are wanted. */
export function leaf(tensor: Tensor): Tensor {
  tensor.requiresGrad = true;
  return tensor;
}

/** Of one shape, and of values that are equal but for rounding; of zeros too, as some windows see only padding. */
export function checkClose(t: Test, what: string, a: Tensor, b: Tensor, limit = 1e-6): void {
  t.strictSame(a.shape, b.shape, what);
  const error = relativeError(a.data() as Float32Array, b.data() as Float32Array);
  t.ok(error < limit, `${what}: ${error}`);
}

/** Whether leaves get these gradients, of y times a gradient of it. Takes them off the leaves again. */
export function checkGradients(t: Test, what: string, y: Tensor, gradient: Tensor, want: [Tensor, Tensor][]): void {
  y.backward({ gradient: gradient.detach() });
  for (const [i, [leaf, expected]] of want.entries()) {
    const error = relativeError(leaf.grad!.data() as Float32Array, expected.data() as Float32Array);
    t.ok(error < 3e-6, `${what}, gradient ${i}: ${error}`);
    leaf.clearGrad();
  }
}
