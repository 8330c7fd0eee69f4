/** Any real-valued tensor as float32, which networks compute in. */

import { typedArrayOf, type DType, type TensorData } from '../checkpoint/tensor-data.js';

/**
 * The elements, rounded to the nearest float32: of float64 and of integers above 2^24; bool gives 0 and 1.
 *
 * @returns over the tensor's own memory where it is float32 already; null for a type that has no such values
 *   (complex numbers, 8-bit floats)
 */
export function toFloat32(tensor: TensorData): Float32Array | null {
  const { dtype, data } = tensor;
  if (dtype === 'float16' || dtype === 'bfloat16') return fromHalves(data, dtype);
  if (!READABLE.has(dtype)) return null;
  const values = typedArrayOf(tensor);
  if (values instanceof Float32Array) return values;
  return Float32Array.from(values as ArrayLike<number | bigint>, Number);
}

const READABLE: ReadonlySet<DType> = new Set<DType>([
  'float32',
  'float64',
  'int8',
  'int16',
  'int32',
  'int64',
  'uint8',
  'uint16',
  'uint32',
  'uint64',
  'bool',
]);

function fromHalves(data: Uint8Array, dtype: 'float16' | 'bfloat16'): Float32Array {
  const result = new Float32Array(data.length / 2);
  const bits = new Uint32Array(result.buffer);
  for (let i = 0; i < bits.length; i++) {
    const half = data[2 * i]! | (data[2 * i + 1]! << 8);
    if (dtype === 'bfloat16') bits[i] = half << 16;
    else result[i] = fromFloat16(half);
  }
  return result;
}

/** IEEE 754 binary16: a sign, 5 bits of exponent (bias 15), 10 of fraction. */
function fromFloat16(half: number): number {
  const sign = half & 0x8000 ? -1 : 1;
  const exponent = (half >> 10) & 0x1f;
  const fraction = half & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 0x1f) return fraction === 0 ? sign * Infinity : NaN;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}
