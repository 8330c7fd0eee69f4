/** Tensors as plain bytes, between files, typed arrays and native code. */

import { invalid, isInteger, isPlainObject } from '../errors.js';

/** PyTorch's element types: bytes of an element, and the typed storage that torch.save names (none: untyped). */
export const DTYPES = {
  float64: { bytes: 8, storage: 'DoubleStorage' },
  float32: { bytes: 4, storage: 'FloatStorage' },
  float16: { bytes: 2, storage: 'HalfStorage' },
  bfloat16: { bytes: 2, storage: 'BFloat16Storage' },
  int64: { bytes: 8, storage: 'LongStorage' },
  int32: { bytes: 4, storage: 'IntStorage' },
  int16: { bytes: 2, storage: 'ShortStorage' },
  int8: { bytes: 1, storage: 'CharStorage' },
  uint8: { bytes: 1, storage: 'ByteStorage' },
  bool: { bytes: 1, storage: 'BoolStorage' },
  complex128: { bytes: 16, storage: 'ComplexDoubleStorage' },
  complex64: { bytes: 8, storage: 'ComplexFloatStorage' },
  complex32: { bytes: 4, storage: null },
  uint16: { bytes: 2, storage: null },
  uint32: { bytes: 4, storage: null },
  uint64: { bytes: 8, storage: null },
  qint8: { bytes: 1, storage: 'QInt8Storage' },
  quint8: { bytes: 1, storage: 'QUInt8Storage' },
  qint32: { bytes: 4, storage: 'QInt32Storage' },
  float8_e4m3fn: { bytes: 1, storage: null },
  float8_e4m3fnuz: { bytes: 1, storage: null },
  float8_e5m2: { bytes: 1, storage: null },
  float8_e5m2fnuz: { bytes: 1, storage: null },
  float8_e8m0fnu: { bytes: 1, storage: null },
  float4_e2m1fn_x2: { bytes: 1, storage: null },
} as const satisfies Record<string, { bytes: 1 | 2 | 4 | 8 | 16; storage: string | null }>;

/** The name of an element type, as PyTorch spells it without `torch.`. */
export type DType = keyof typeof DTYPES;

export const isDType = (name: unknown): name is DType => typeof name === 'string' && Object.hasOwn(DTYPES, name);

/** A tensor: element type, shape and bytes. */
export interface TensorData {
  readonly dtype: DType;
  /** Sizes of the dimensions; `[]` for a scalar. */
  readonly shape: readonly number[];
  /** The elements, little-endian, contiguous, the last dimension fastest. */
  readonly data: Uint8Array;
}

/** Whether a value is tensor data, judged by its form. */
export function isTensorData(value: unknown): value is TensorData {
  return isPlainObject(value) && isDType(value.dtype) && Array.isArray(value.shape) && value.data instanceof Uint8Array;
}

/** Number of elements of a shape; 1 for a scalar. */
export function elementCount(shape: readonly number[]): number {
  // Not the product alone: a long product of large sizes is Infinity, and Infinity · 0 is not 0.
  return shape.includes(0) ? 0 : shape.reduce((product, size) => product * size, 1);
}

/** The strides of a contiguous tensor, in elements. As in PyTorch, an empty dimension counts as one. */
export function contiguousStrides(shape: readonly number[]): number[] {
  const strides: number[] = [];
  let stride = 1;
  for (const size of shape.toReversed()) {
    strides.unshift(stride);
    stride *= Math.max(size, 1);
  }
  return strides;
}

/** @throws CortorchError ERR_INVALID_ARGUMENT if the shape is no shape or the bytes do not fit it */
export function checkTensorData(tensor: TensorData, name = 'tensor'): void {
  const { dtype, shape, data } = tensor;
  if (!shape.every((size) => isInteger(size) && size >= 0)) {
    throw invalid(`${name}.shape`, 'integers of at least 0', shape);
  }
  const bytes = elementCount(shape) * DTYPES[dtype].bytes;
  if (data.length !== bytes) {
    throw invalid(`${name}.data`, `${bytes} bytes (${dtype} of shape [${shape.join(', ')}])`, data);
  }
}

/** Typed arrays that hold a tensor's elements one for one. */
export type TypedArray =
  | Float32Array
  | Float64Array
  | Int8Array
  | Int16Array
  | Int32Array
  | BigInt64Array
  | Uint8Array
  | Uint16Array
  | Uint32Array
  | BigUint64Array;

const ARRAYS = {
  float32: Float32Array,
  float64: Float64Array,
  int8: Int8Array,
  int16: Int16Array,
  int32: Int32Array,
  int64: BigInt64Array,
  uint8: Uint8Array,
  uint16: Uint16Array,
  uint32: Uint32Array,
  uint64: BigUint64Array,
  bool: Uint8Array,
  qint8: Int8Array,
  quint8: Uint8Array,
  qint32: Int32Array,
} as const;

/**
 * Tensor data over a typed array's own memory: nothing is copied.
 *
 * @param array the elements; their type gives the dtype (Float32Array: float32, BigInt64Array: int64, …)
 * @param shape sizes whose product is `array.length`; left out: `[array.length]`
 * @throws CortorchError ERR_INVALID_ARGUMENT if array and shape do not fit
 */
export function tensorDataFrom(array: TypedArray, shape: readonly number[] = [array.length]): TensorData {
  const dtype = (Object.keys(ARRAYS) as (keyof typeof ARRAYS)[]).find((name) => array instanceof ARRAYS[name]);
  if (dtype === undefined) throw invalid('array', 'a typed array', array);
  const tensor = { dtype, shape, data: new Uint8Array(array.buffer, array.byteOffset, array.byteLength) };
  checkTensorData(tensor);
  return tensor;
}

/**
 * The elements as a typed array: over the same memory where it is aligned, else a copy. bool gives bytes 0 and 1.
 *
 * @throws CortorchError ERR_INVALID_ARGUMENT for types that JavaScript has no array of (float16, complex64, …)
 */
export function typedArrayOf(tensor: TensorData): TypedArray {
  const { dtype, data } = tensor;
  if (!Object.hasOwn(ARRAYS, dtype)) {
    throw invalid('tensor.dtype', `one of ${Object.keys(ARRAYS).join(', ')}`, dtype);
  }
  const bytes = DTYPES[dtype].bytes;
  // Not data.slice(): a Buffer's slice is no copy.
  const { buffer, byteOffset } = data.byteOffset % bytes === 0 ? data : new Uint8Array(data);
  const make: new (buffer: ArrayBufferLike, byteOffset: number, length: number) => TypedArray =
    ARRAYS[dtype as keyof typeof ARRAYS];
  return new make(buffer, byteOffset, data.length / bytes);
}
