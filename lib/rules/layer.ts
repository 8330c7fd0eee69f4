/**
 * One layer as a differentiable function: map, bias and activation together, with a backward pass in which the
 * rule decides what travels down. {@link Network} is made of these; here they are for scripts of one's own.
 */

import { isOneOf, invalid } from '../errors.js';
import { activationNames, type ActivationName } from '../model/spec.js';
import { call } from '../native.js';
import { handleOf, optionalHandle, Tensor } from '../tensor/tensor.js';

export interface LayerOptions {
  /** [out, in] */
  weight: Tensor;
  /** [out] */
  bias?: Tensor | null;
  /** Default `identity`. */
  activation?: ActivationName;
}

/**
 * y = σ(x Wᵀ + b). The gradients of weight and bias are δ = g ⊙ σ'(a) taken through the layer; what goes down to
 * x is δ W under `bp` and δ B under `fa`, with `feedback` B of W's shape.
 *
 * @param x [batch, in]
 * @returns [batch, out]
 * @throws CortorchError ERR_NATIVE if shapes do not fit; when differentiated twice under `fa`
 */
export function layer(
  x: Tensor,
  options: LayerOptions & { rule: 'bp' | 'fa'; feedback?: Tensor | null },
): Tensor {
  if (!isOneOf(options.rule, ['bp', 'fa']))
    throw invalid('rule', "'bp' or 'fa' (dfa has functions of its own)", options.rule);
  return new Tensor(
    call((n) =>
      n.tensor.layer(
        handleOf(x, 'x'),
        handleOf(options.weight, 'weight'),
        optionalHandle(options.bias, 'bias'),
        optionalHandle(options.feedback, 'feedback'),
        activationOf(options.activation),
        options.rule,
      ),
    ),
  );
}

/**
 * A hidden layer under direct feedback alignment: δ = (e B) ⊙ σ'(a), where the output error e arrives through
 * `errorPort`, to be given to {@link dfaOutputLayer}. Nothing goes down to x.
 *
 * @param x [batch, in]
 * @param options.feedback [classes, out], fixed
 * @returns y [batch, out], and the port [batch, classes], which has no content
 */
export function dfaHiddenLayer(
  x: Tensor,
  options: LayerOptions & { feedback: Tensor },
): { y: Tensor; errorPort: Tensor } {
  const [y, errorPort] = call((n) =>
    n.tensor.dfaHiddenLayer(
      handleOf(x, 'x'),
      handleOf(options.weight, 'weight'),
      optionalHandle(options.bias, 'bias'),
      handleOf(options.feedback, 'feedback'),
      activationOf(options.activation),
    ),
  );
  return { y: new Tensor(y), errorPort: new Tensor(errorPort) };
}

/** The output layer under direct feedback alignment: sends its δ into every port. */
export function dfaOutputLayer(x: Tensor, options: LayerOptions & { errorPorts: readonly Tensor[] }): Tensor {
  return new Tensor(
    call((n) =>
      n.tensor.dfaOutputLayer(
        handleOf(x, 'x'),
        handleOf(options.weight, 'weight'),
        optionalHandle(options.bias, 'bias'),
        activationOf(options.activation),
        options.errorPorts.map((port) => handleOf(port, 'errorPorts')),
      ),
    ),
  );
}

function activationOf(name: ActivationName = 'identity'): ActivationName {
  if (!isOneOf(name, activationNames))
    throw invalid('activation', `one of ${activationNames.join(', ')}`, name);
  return name;
}
