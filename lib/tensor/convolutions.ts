/**
 * The maps of images as differentiable functions of tensors: the locally connected map, whose weights are its
 * own at every place of the output, and the convolution, which shares them. Each has three operations: the map,
 * its adjoint (the transposed map, with any weights of its shape) and the gradient of its weights. Output place
 * (i, j) sees the inputs (i·stride − padding + tap·dilation, …); what lies outside of the image is zero.
 */

import { invalid } from '../errors.js';
import { pairOf, resolveWindow, type Pair, type Size2d, type Window2d, type WindowOptions } from '../model/geometry.js';
import { call } from '../native.js';
import { handleOf, optionalHandle, Tensor } from './tensor.js';

/**
 * y[b, o, i, j] = Σ W[i, j, kh, kw, c, o] · x[b, c, …] + bias[i, j, o]: the convolution without weight sharing.
 *
 * @param x [batch, in, height, width]
 * @param weight [out_h, out_w, k_h, k_w, in, out]
 * @param bias [out_h, out_w, out]
 * @returns [batch, out, out_h, out_w]
 * @throws CortorchError ERR_INVALID_ARGUMENT; ERR_NATIVE if shapes do not fit
 */
export function locallyConnected2d(
  x: Tensor,
  weight: Tensor,
  bias?: Tensor | null,
  options: WindowOptions = {},
): Tensor {
  const { stride, padding, dilation } = locallyConnected2dWindow(weight, 'weight', options);
  const [input, w, b] = [handleOf(x, 'x'), handleOf(weight, 'weight'), optionalHandle(bias, 'bias')];
  return new Tensor(call((n) => n.tensor.locallyConnected2d(input, w, b, stride, padding, dilation)));
}

/**
 * The transposed locally connected map. Has gradients of its own.
 *
 * @param v [out_h, out_w, k_h, k_w, in, out]
 * @param y [batch, out, out_h, out_w]
 * @param options.inputSize [height, width] of the result: two sizes of the input can give one of the output
 * @returns [batch, in, height, width]
 * @throws CortorchError ERR_INVALID_ARGUMENT; ERR_NATIVE if shapes do not fit
 */
export function locallyConnected2dAdjoint(
  v: Tensor,
  y: Tensor,
  options: WindowOptions & { readonly inputSize: Size2d },
): Tensor {
  const { stride, padding, dilation } = locallyConnected2dWindow(v, 'v', options);
  const [weight, output, size] = [handleOf(v, 'v'), handleOf(y, 'y'), inputSizeOf(options)];
  return new Tensor(call((n) => n.tensor.locallyConnected2dAdjoint(weight, output, size, stride, padding, dilation)));
}

/**
 * The gradient of the locally connected map's weights: δ ⊗ x, summed over the batch.
 *
 * @param x [batch, in, height, width]
 * @param delta [batch, out, out_h, out_w]
 * @returns [out_h, out_w, k_h, k_w, in, out]
 * @throws CortorchError ERR_INVALID_ARGUMENT; ERR_NATIVE if shapes do not fit
 */
export function locallyConnected2dOuter(
  x: Tensor,
  delta: Tensor,
  options: WindowOptions & { readonly kernel: Size2d },
): Tensor {
  const { kernel, stride, padding, dilation } = windowOf(options.kernel, options);
  const [input, error] = [handleOf(x, 'x'), handleOf(delta, 'delta')];
  return new Tensor(call((n) => n.tensor.locallyConnected2dOuter(input, error, kernel, stride, padding, dilation)));
}

/**
 * y[b, o, i, j] = Σ W[o, c, kh, kw] · x[b, c, …] + bias[o]: the convolution, as PyTorch's.
 *
 * @param x [batch, in, height, width]
 * @param weight [out, in, k_h, k_w]
 * @param bias [out]
 * @returns [batch, out, out_h, out_w]
 * @throws CortorchError ERR_INVALID_ARGUMENT; ERR_NATIVE if shapes do not fit
 */
export function conv2d(x: Tensor, weight: Tensor, bias?: Tensor | null, options: WindowOptions = {}): Tensor {
  const { stride, padding, dilation } = conv2dWindow(weight, 'weight', options);
  const [input, w, b] = [handleOf(x, 'x'), handleOf(weight, 'weight'), optionalHandle(bias, 'bias')];
  return new Tensor(call((n) => n.tensor.conv2d(input, w, b, stride, padding, dilation)));
}

/**
 * The transposed convolution. Has gradients of its own.
 *
 * @param v [out, in, k_h, k_w]
 * @param y [batch, out, out_h, out_w]
 * @param options.inputSize [height, width] of the result: two sizes of the input can give one of the output
 * @returns [batch, in, height, width]
 * @throws CortorchError ERR_INVALID_ARGUMENT; ERR_NATIVE if shapes do not fit
 */
export function conv2dAdjoint(v: Tensor, y: Tensor, options: WindowOptions & { readonly inputSize: Size2d }): Tensor {
  const { stride, padding, dilation } = conv2dWindow(v, 'v', options);
  const [weight, output, size] = [handleOf(v, 'v'), handleOf(y, 'y'), inputSizeOf(options)];
  return new Tensor(call((n) => n.tensor.conv2dAdjoint(weight, output, size, stride, padding, dilation)));
}

/**
 * The gradient of the convolution's weights, summed over the batch and all places.
 *
 * @param x [batch, in, height, width]
 * @param delta [batch, out, out_h, out_w]
 * @returns [out, in, k_h, k_w]
 * @throws CortorchError ERR_INVALID_ARGUMENT; ERR_NATIVE if shapes do not fit
 */
export function conv2dOuter(x: Tensor, delta: Tensor, options: WindowOptions & { readonly kernel: Size2d }): Tensor {
  const { kernel, stride, padding, dilation } = windowOf(options.kernel, options);
  const [input, error] = [handleOf(x, 'x'), handleOf(delta, 'delta')];
  return new Tensor(call((n) => n.tensor.conv2dOuter(input, error, kernel, stride, padding, dilation)));
}

/** How a window moves along a signal; `same` and `valid` as for images. */
export interface Window1dOptions {
  /** Default 1. */
  readonly stride?: number;
  /** Default 0. */
  readonly padding?: number | 'same' | 'valid';
  /** Default 1. */
  readonly dilation?: number;
}

/**
 * {@link locallyConnected2d} of signals.
 *
 * @param x [batch, in, length]
 * @param weight [out_l, k, in, out]
 * @param bias [out_l, out]
 * @returns [batch, out, out_l]
 * @throws CortorchError ERR_INVALID_ARGUMENT; ERR_NATIVE if shapes do not fit
 */
export function locallyConnected1d(
  x: Tensor,
  weight: Tensor,
  bias?: Tensor | null,
  options: Window1dOptions = {},
): Tensor {
  using image = asImage(x, 'x');
  using kernels = asKernels(weight, 'weight');
  using places = bias && asPlaces(bias);
  using y = locallyConnected2d(image, kernels, places, flat(options));
  return asSignal(y);
}

/**
 * {@link locallyConnected2dAdjoint} of signals.
 *
 * @param v [out_l, k, in, out]
 * @param y [batch, out, out_l]
 * @param options.inputSize length of the result
 * @returns [batch, in, length]
 * @throws CortorchError ERR_INVALID_ARGUMENT; ERR_NATIVE if shapes do not fit
 */
export function locallyConnected1dAdjoint(
  v: Tensor,
  y: Tensor,
  options: Window1dOptions & { readonly inputSize: number },
): Tensor {
  using image = asImage(y, 'y');
  using kernels = asKernels(v, 'v');
  using x = locallyConnected2dAdjoint(kernels, image, {
    ...flat(options),
    inputSize: [1, options.inputSize],
  });
  return asSignal(x);
}

/**
 * {@link locallyConnected2dOuter} of signals.
 *
 * @param x [batch, in, length]
 * @param delta [batch, out, out_l]
 * @returns [out_l, k, in, out]
 * @throws CortorchError ERR_INVALID_ARGUMENT; ERR_NATIVE if shapes do not fit
 */
export function locallyConnected1dOuter(
  x: Tensor,
  delta: Tensor,
  options: Window1dOptions & { readonly kernel: number },
): Tensor {
  using image = asImage(x, 'x');
  using errors = asImage(delta, 'delta');
  using weight = locallyConnected2dOuter(image, errors, { ...flat(options), kernel: [1, options.kernel] });
  const [, length, , kernel, inputs, outputs] = weight.shape;
  return weight.reshape([length!, kernel!, inputs!, outputs!]);
}

export interface Pool2dOptions {
  readonly kernel: Size2d;
  /** Default: the kernel. */
  readonly stride?: Size2d;
  /** At most half of the kernel; default 0. */
  readonly padding?: Size2d;
}

/**
 * The largest value in each window; padding never is.
 *
 * @param x [batch, channels, height, width]
 * @returns [batch, channels, out_h, out_w]
 * @throws CortorchError ERR_INVALID_ARGUMENT; ERR_NATIVE if shapes do not fit
 */
export function maxPool2d(x: Tensor, options: Pool2dOptions): Tensor {
  const { kernel, stride, padding } = poolOf(options);
  return new Tensor(call((n) => n.tensor.maxPool2d(handleOf(x, 'x'), kernel, stride, padding)));
}

/**
 * The mean of each window, of which the values of the padding are zero.
 *
 * @param x [batch, channels, height, width]
 * @returns [batch, channels, out_h, out_w]
 * @throws CortorchError ERR_INVALID_ARGUMENT; ERR_NATIVE if shapes do not fit
 */
export function avgPool2d(x: Tensor, options: Pool2dOptions): Tensor {
  const { kernel, stride, padding } = poolOf(options);
  return new Tensor(call((n) => n.tensor.avgPool2d(handleOf(x, 'x'), kernel, stride, padding)));
}

/** The window of a locally connected map with these weights. @throws CortorchError ERR_INVALID_ARGUMENT */
export const locallyConnected2dWindow = (weight: Tensor, name: string, options: WindowOptions): Window2d =>
  windowOf(kernelOf(weight, name, ['out_h', 'out_w', 'k_h', 'k_w', 'in', 'out']), options);

/** The same for a convolution. */
export const conv2dWindow = (weight: Tensor, name: string, options: WindowOptions): Window2d =>
  windowOf(kernelOf(weight, name, ['out', 'in', 'k_h', 'k_w']), options);

function kernelOf(weight: Tensor, name: string, sizes: readonly string[]): Pair {
  const shape = checkRank(weight, name, sizes);
  return [shape[sizes.indexOf('k_h')]!, shape[sizes.indexOf('k_w')]!];
}

const windowOf = (kernel: Size2d, { stride, padding, dilation }: WindowOptions): Window2d =>
  resolveWindow({ kernel, stride, padding, dilation }, invalid);

const poolOf = ({ kernel, stride = kernel, padding }: Pool2dOptions): Window2d =>
  resolveWindow({ kernel, stride, padding }, invalid);

const inputSizeOf = ({ inputSize }: { inputSize: Size2d }): Pair => pairOf('inputSize', inputSize, invalid);

function checkRank(tensor: Tensor, name: string, sizes: readonly string[]): readonly number[] {
  handleOf(tensor, name);
  const { shape } = tensor;
  if (shape.length === sizes.length) return shape;
  throw invalid(name, `a tensor of shape [${sizes.join(', ')}]`, `one of shape [${shape.join(', ')}]`);
}

// --- signals: images of height 1 --------------------------------------------------------------------------

function asImage(x: Tensor, name: string): Tensor {
  const [batch, channels, length] = checkRank(x, name, ['batch', 'channels', 'length']);
  return x.reshape([batch!, channels!, 1, length!]);
}

function asSignal(x: Tensor): Tensor {
  const [batch, channels, , length] = x.shape;
  return x.reshape([batch!, channels!, length!]);
}

function asKernels(weight: Tensor, name: string): Tensor {
  const [length, kernel, inputs, outputs] = checkRank(weight, name, ['out_l', 'k', 'in', 'out']);
  return weight.reshape([1, length!, 1, kernel!, inputs!, outputs!]);
}

function asPlaces(bias: Tensor): Tensor {
  const [length, outputs] = checkRank(bias, 'bias', ['out_l', 'out']);
  return bias.reshape([1, length!, outputs!]);
}

const flat = ({ stride = 1, padding = 0, dilation = 1 }: Window1dOptions): WindowOptions => ({
  stride: [1, stride],
  padding: typeof padding === 'number' ? [0, padding] : padding,
  dilation: [1, dilation],
});
