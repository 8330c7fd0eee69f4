/** The linear maps and losses as differentiable functions of tensors. */

import { invalid, isOneOf } from '../errors.js';
import { call } from '../native.js';
import { handleOf, optionalHandle, Tensor } from './tensor.js';

/**
 * y = x Wᵀ + b: the fully connected map.
 *
 * @param x [..., in]
 * @param weight [out, in]
 * @param bias [out]
 * @returns [..., out]
 */
export function dense(x: Tensor, weight: Tensor, bias?: Tensor | null): Tensor {
  return new Tensor(
    call((n) => n.tensor.dense(handleOf(x, 'x'), handleOf(weight, 'weight'), optionalHandle(bias, 'bias'))),
  );
}

/**
 * x = y V: the transposed map, with any weights of the map's shape. Has gradients of its own.
 *
 * @param v [out, in]
 * @param y [..., out]
 * @returns [..., in]
 */
export function denseAdjoint(v: Tensor, y: Tensor): Tensor {
  return new Tensor(call((n) => n.tensor.denseAdjoint(handleOf(v, 'v'), handleOf(y, 'y'))));
}

/**
 * Σ δ ⊗ x over all leading dimensions: the gradient of the map's weights.
 *
 * @param x [..., in]
 * @param delta [..., out]
 * @returns [out, in]
 */
export function denseOuter(x: Tensor, delta: Tensor): Tensor {
  return new Tensor(call((n) => n.tensor.denseOuter(handleOf(x, 'x'), handleOf(delta, 'delta'))));
}

export interface LossOptions {
  /**
   * What backward() hands to the layer below: the `gradient`, or for the layers of target propagation the
   * `difference` of each example's output and its target, o − y or o − t. Default `gradient`.
   */
  readonly deliver?: 'gradient' | 'difference';
}

function deliveryOf({ deliver = 'gradient' }: LossOptions): string {
  if (!isOneOf(deliver, ['gradient', 'difference'])) {
    throw invalid('deliver', "'gradient' or 'difference'", deliver);
  }
  return deliver;
}

/**
 * Mean over the batch of −log softmax(logits)[label], in nats.
 *
 * @param logits [batch, classes] float32
 * @param labels [batch] int64
 */
export function softmaxCrossEntropy(logits: Tensor, labels: Tensor, options: LossOptions = {}): Tensor {
  const deliver = deliveryOf(options);
  return new Tensor(
    call((n) => n.tensor.softmaxCrossEntropy(handleOf(logits, 'logits'), handleOf(labels, 'labels'), deliver)),
  );
}

/**
 * Mean over the batch of Σ (output − target)².
 *
 * @param outputs [batch, n] float32
 * @param targets [batch, n], or labels [batch] int64, which stand for one-hot targets
 */
export function squaredError(outputs: Tensor, targets: Tensor, options: LossOptions = {}): Tensor {
  const deliver = deliveryOf(options);
  return new Tensor(
    call((n) => n.tensor.squaredError(handleOf(outputs, 'outputs'), handleOf(targets, 'targets'), deliver)),
  );
}
