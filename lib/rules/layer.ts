/**
 * One layer as a differentiable function: map, bias and activation together, with a backward pass in which the
 * rule decides what travels down. {@link Network} is made of these; here they are for scripts of one's own.
 */

import { CortorchError, isNumber, isOneOf, isPlainObject, invalid } from '../errors.js';
import type { WindowOptions } from '../model/geometry.js';
import { activationNames, type ActivationName } from '../model/layers.js';
import { call, type NativeInverse, type NativeMap, type TensorHandle } from '../native.js';
import { conv2dWindow, locallyConnected2dWindow } from '../tensor/convolutions.js';
import { handleOf, optionalHandle, Tensor } from '../tensor/tensor.js';
import type { GradientRuleName } from './gradient.js';
import { targetRuleNames, type TargetRuleName } from './target.js';

/** The linear map of a layer; its sizes are those of the weights. */
export type LayerMap =
  { readonly type: 'dense' } | ({ readonly type: 'locally-connected2d' | 'conv2d' } & WindowOptions);

export interface LayerOptions {
  /** [out, in]; locally connected [out_h, out_w, k_h, k_w, in, out]; conv2d [out, in, k_h, k_w] */
  weight: Tensor;
  /** [out]; locally connected [out_h, out_w, out] */
  bias?: Tensor | null;
  /** Default `identity`. */
  activation?: ActivationName;
  /** Default dense. */
  map?: LayerMap;
}

/**
 * y = σ(W x + b). The gradients of weight and bias are δ = g ⊙ σ'(a) taken through the layer; what goes down to
 * x is Wᵀδ under `bp`, Bᵀδ under `fa`, (s sign W)ᵀδ under `usf`, and (|B| ⊙ sign W)ᵀδ under `frsf` and `brsf`, with
 * `feedback` B of W's shape (for brsf another one at each call) and `scale` s.
 *
 * @param x [batch, in], or [batch, in, height, width] for the maps of images
 * @returns [batch, out], or [batch, out, out_h, out_w]
 * @throws CortorchError ERR_INVALID_ARGUMENT; ERR_NATIVE if shapes do not fit; when differentiated twice under `fa`
 */
export function layer(
  x: Tensor,
  options: LayerOptions & {
    rule: Exclude<GradientRuleName, 'dfa'>;
    feedback?: Tensor | null;
    /** Of usf; default 1. */
    scale?: number;
  },
): Tensor {
  const { rule, scale = 1 } = options;
  if (!isOneOf(rule, ['bp', 'fa', 'usf', 'brsf', 'frsf']))
    throw invalid('rule', "'bp', 'fa', 'usf', 'brsf' or 'frsf' (dfa has functions of its own)", rule);
  if (!isNumber(scale) || scale <= 0) throw invalid('scale', 'a number above 0', scale);
  if (rule !== 'usf' && options.scale !== undefined)
    throw new CortorchError('ERR_UNUSED_OPTION', `scale is not used by rule ${rule}; choose rule usf, or leave it out`);
  const { input, weight, bias, activation, map } = checked(x, options);
  const feedback = optionalHandle(options.feedback, 'feedback');
  return new Tensor(call((n) => n.tensor.layer(input, weight, bias, feedback, activation, rule, map, scale)));
}

/**
 * A hidden layer under direct feedback alignment: δ = (e B) ⊙ σ'(a), where the output error e arrives through
 * `errorPort`, to be given to {@link dfaOutputLayer}. Nothing goes down to x.
 *
 * @param x [batch, in], or [batch, in, height, width]
 * @param options.feedback [classes, units], fixed; units in the order of y: out, or (out, out_h, out_w)
 * @returns y [batch, out] or [batch, out, out_h, out_w], and the port [batch, classes], which has no content
 */
export function dfaHiddenLayer(
  x: Tensor,
  options: LayerOptions & { feedback: Tensor },
): { y: Tensor; errorPort: Tensor } {
  const { input, weight, bias, activation, map } = checked(x, options);
  const feedback = handleOf(options.feedback, 'feedback');
  const [y, errorPort] = call((n) => n.tensor.dfaHiddenLayer(input, weight, bias, feedback, activation, map));
  return { y: new Tensor(y), errorPort: new Tensor(errorPort) };
}

/** The output layer under direct feedback alignment: sends its δ into every port. */
export function dfaOutputLayer(x: Tensor, options: LayerOptions & { errorPorts: readonly Tensor[] }): Tensor {
  const { input, weight, bias, activation, map } = checked(x, options);
  const ports = options.errorPorts.map((port) => handleOf(port, 'errorPorts'));
  return new Tensor(call((n) => n.tensor.dfaOutputLayer(input, weight, bias, activation, ports, map)));
}

/** A learned inverse g(h) = σ(Vᵀh + c) of a layer. */
export interface InverseOptions {
  /** V, of the layer's weight's shape; with auxiliary outputs [out + auxiliary, in]. */
  weight: Tensor;
  /** c, of the shape of the layer's input without the batch. */
  bias?: Tensor | null;
  /** Of the layer below; default `identity`. */
  activation?: ActivationName;
}

/**
 * A hidden layer of target propagation: y = σ(W x + b). What comes down to it is d = y − ŷ, the difference of its
 * activity and its target, for each example. The gradients of weight and bias are those of Σ‖y − ŷ‖² / batch; what
 * goes down to x is the difference g(y) − g(y − d), under `tp` x − g(y − d).
 *
 * @param x [batch, in], or [batch, in, height, width]
 * @param options.inverse g; `transposed-jacobian` is a control, g(h) = (∂y/∂x)ᵀh, with which all steps are
 *   backpropagation's, doubled (Bartunov et al. 2018, A.5.6); none where nothing below is trained
 * @param options.lossReduction whether ‖·‖² sums over the units (default) or averages
 * @throws CortorchError ERR_INVALID_ARGUMENT; ERR_NATIVE if shapes do not fit; when differentiated twice
 */
export function targetLayer(
  x: Tensor,
  options: LayerOptions & {
    rule: TargetRuleName;
    inverse?: InverseOptions | 'transposed-jacobian' | null;
    lossReduction?: 'sum' | 'mean';
  },
): Tensor {
  const { input, weight, bias, activation, map } = checked(x, options);
  const { rule, lossReduction = 'sum', inverse = null } = options;
  checkTargetRule(rule);
  if (!isOneOf(lossReduction, ['sum', 'mean'])) throw invalid('lossReduction', "'sum' or 'mean'", lossReduction);
  const settings = {
    rule,
    lossReduction,
    inverse: typeof inverse === 'string' ? inverse : inverseOf(inverse),
  };
  if (typeof inverse === 'string' && !isOneOf(inverse, ['transposed-jacobian']))
    throw invalid('inverse', "{ weight, bias, activation } or 'transposed-jacobian'", inverse);
  return new Tensor(call((n) => n.tensor.targetLayer(input, weight, bias, activation, map, settings)));
}

/**
 * The output layer of target propagation, y = σ(W x + b), below a loss that delivers differences: d = h − ĥ of the
 * topmost activity h, which is softmax(y) under a cross-entropy and y under a squared error. The gradients of weight
 * and bias are those of the mean loss; what goes down is α Wᵀδ under `dtp` (δ the gradient of an example's loss), else
 * g(h) − g(h − d), under `tp` x − g(h − d). With auxiliary outputs z = tanh(W_z x + b_z), h is [softmax(y), z].
 *
 * @throws CortorchError ERR_INVALID_ARGUMENT; ERR_NATIVE if shapes do not fit; when differentiated twice
 */
export function targetOutputLayer(
  x: Tensor,
  options: LayerOptions & {
    rule: TargetRuleName;
    /** Default `softmax-cross-entropy`. */
    loss?: 'softmax-cross-entropy' | 'squared-error';
    /** α of dtp; default 0.1 */
    targetStep?: number;
    /** Default `example`. */
    targetStepLoss?: 'example' | 'batch-mean';
    /** Of the rules other than dtp. */
    inverse?: InverseOptions | null;
    /** W_z [n, in] and b_z [n]. */
    auxiliary?: { weight: Tensor; bias?: Tensor | null } | null;
  },
): Tensor {
  const { input, weight, bias, activation, map } = checked(x, options);
  const { rule, loss = 'softmax-cross-entropy', targetStep = 0.1, targetStepLoss = 'example' } = options;
  const { inverse = null, auxiliary = null } = options;
  checkTargetRule(rule);
  const unused = (name: string, remedy: string): CortorchError =>
    new CortorchError('ERR_UNUSED_OPTION', `${name} is not used by rule ${rule}; ${remedy}, or leave it out`);
  if (rule !== 'dtp') {
    for (const name of ['targetStep', 'targetStepLoss'] as const) {
      if (options[name] !== undefined) throw unused(name, 'choose rule dtp');
    }
  } else if (inverse !== null) throw unused('inverse', 'choose another rule');
  if (auxiliary !== null && rule !== 'ao-sdtp') throw unused('auxiliary', 'choose rule ao-sdtp');
  if (auxiliary === null && rule === 'ao-sdtp') {
    throw invalid('auxiliary', '{ weight, bias } of the auxiliary outputs (without them the rule is sdtp)', auxiliary);
  }
  if (!isOneOf(loss, ['softmax-cross-entropy', 'squared-error']))
    throw invalid('loss', "'softmax-cross-entropy' or 'squared-error'", loss);
  if (!isNumber(targetStep) || targetStep <= 0) throw invalid('targetStep', 'a number above 0', targetStep);
  if (!isOneOf(targetStepLoss, ['example', 'batch-mean']))
    throw invalid('targetStepLoss', "'example' or 'batch-mean'", targetStepLoss);
  const settings = {
    rule,
    loss,
    targetStep,
    targetStepLoss,
    inverse: inverseOf(inverse),
    auxiliary: auxiliary && {
      weight: handleOf(auxiliary.weight, 'auxiliary.weight'),
      bias: optionalHandle(auxiliary.bias, 'auxiliary.bias'),
    },
  };
  return new Tensor(call((n) => n.tensor.targetOutputLayer(input, weight, bias, activation, map, settings)));
}

function checkTargetRule(rule: unknown): void {
  if (!isOneOf(rule, targetRuleNames)) throw invalid('rule', `one of ${targetRuleNames.join(', ')}`, rule);
}

function inverseOf(inverse: InverseOptions | null): NativeInverse | null {
  if (inverse === null) return null;
  const { weight, bias, activation = 'identity' } = inverse;
  if (!isOneOf(activation, activationNames))
    throw invalid('inverse.activation', `one of ${activationNames.join(', ')}`, activation);
  return {
    weight: handleOf(weight, 'inverse.weight'),
    bias: optionalHandle(bias, 'inverse.bias'),
    activation,
  };
}

/** What every kind of layer takes, as the addon takes it. */
interface Checked {
  readonly input: TensorHandle;
  readonly weight: TensorHandle;
  readonly bias: TensorHandle | undefined;
  readonly activation: ActivationName;
  readonly map: NativeMap;
}

function checked(x: Tensor, { weight, bias, activation = 'identity', map }: LayerOptions): Checked {
  if (!isOneOf(activation, activationNames))
    throw invalid('activation', `one of ${activationNames.join(', ')}`, activation);
  return {
    input: handleOf(x, 'x'),
    weight: handleOf(weight, 'weight'),
    bias: optionalHandle(bias, 'bias'),
    activation,
    map: mapOf(map, weight),
  };
}

const DENSE: NativeMap = { type: 'dense', stride: [1, 1], padding: [0, 0], dilation: [1, 1] };

const mapTypes = ['dense', 'locally-connected2d', 'conv2d'] as const;

function mapOf(map: LayerMap = DENSE, weight: Tensor): NativeMap {
  const given: unknown = map;
  if (!isPlainObject(given) || !isOneOf(given['type'], mapTypes))
    throw invalid('map', `an object whose type is one of ${mapTypes.join(', ')}`, map);
  if (map.type === 'dense') return DENSE;
  const window = map.type === 'conv2d' ? conv2dWindow : locallyConnected2dWindow;
  const { stride, padding, dilation } = window(weight, 'weight', map);
  return { type: map.type, stride, padding, dilation };
}
