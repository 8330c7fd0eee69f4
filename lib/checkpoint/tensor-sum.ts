/** Sums of tensors, also of element types that JavaScript has no arrays of. */

import { DTYPES, typedArrayOf, type DType, type TensorData } from './tensor-data.js';

/** A sum: of integers beyond ±2^53 a bigint, of complex numbers the real and the imaginary part. */
export type TensorSum = number | bigint | readonly [real: number, imaginary: number];

/** The sum of the elements in float64, of integers exact; true counts as 1. */
export function tensorSum(tensor: TensorData): TensorSum {
  const { dtype, data } = tensor;
  const complex = COMPLEX[dtype];
  if (complex !== undefined) {
    const sums: [number, number] = [0, 0];
    let i = 0;
    for (const value of numbersOf(complex, data)) sums[i++ % 2]! += value;
    return sums;
  }
  if (dtype === 'int64' || dtype === 'uint64') {
    let sum = 0n;
    for (const value of typedArrayOf(tensor) as BigInt64Array) sum += value;
    return Number.isSafeInteger(Number(sum)) ? Number(sum) : sum;
  }
  let sum = 0;
  if (dtype === 'bool') for (const value of data) sum += value === 0 ? 0 : 1;
  else for (const value of numbersOf(dtype, data)) sum += value;
  return sum;
}

/** The parts of a complex number. */
const COMPLEX: { readonly [K in DType]?: DType } = {
  complex32: 'float16',
  complex64: 'float32',
  complex128: 'float64',
};

interface SmallFloat {
  readonly mantissa: number;
  readonly bias: number;
  /** What the largest exponent means: infinities and NaN; NaN with all ones alone; nothing special, but -0 is NaN. */
  readonly special: 'ieee' | 'fn' | 'fnuz';
}

const SMALL: { readonly [K in DType]?: SmallFloat } = {
  float16: { mantissa: 10, bias: 15, special: 'ieee' },
  bfloat16: { mantissa: 7, bias: 127, special: 'ieee' },
  float8_e4m3fn: { mantissa: 3, bias: 7, special: 'fn' },
  float8_e4m3fnuz: { mantissa: 3, bias: 8, special: 'fnuz' },
  float8_e5m2: { mantissa: 2, bias: 15, special: 'ieee' },
  float8_e5m2fnuz: { mantissa: 2, bias: 16, special: 'fnuz' },
};

/** Two elements a byte; the fourth bit is the sign. */
const FLOAT4 = [0, 0.5, 1, 1.5, 2, 3, 4, 6].flatMap((value, i, all) =>
  i < 7 ? [value] : [value, ...all.map((v) => -v)],
);

const tables = new Map<DType, Float64Array>();

/** The value of each bit pattern. */
function tableOf(dtype: DType): Float64Array | undefined {
  let table = tables.get(dtype);
  if (table !== undefined) return table;
  if (dtype === 'float8_e8m0fnu')
    table = Float64Array.from({ length: 256 }, (_, i) => (i === 255 ? NaN : 2 ** (i - 127)));
  else if (dtype === 'float4_e2m1fn_x2')
    table = Float64Array.from({ length: 256 }, (_, i) => FLOAT4[i & 15]! + FLOAT4[i >> 4]!);
  else {
    const format = SMALL[dtype];
    if (format === undefined) return undefined;
    const bits = 8 * DTYPES[dtype].bytes;
    table = Float64Array.from({ length: 2 ** bits }, (_, i) => smallFloat(i, bits, format));
  }
  tables.set(dtype, table);
  return table;
}

function smallFloat(pattern: number, bits: number, { mantissa, bias, special }: SmallFloat): number {
  const magnitude = pattern % 2 ** (bits - 1);
  const negative = pattern !== magnitude;
  const exponent = magnitude >> mantissa;
  const fraction = magnitude % 2 ** mantissa;
  const largest = 2 ** (bits - 1 - mantissa) - 1;
  if (special === 'fnuz' && negative && magnitude === 0) return NaN;
  if (special === 'fn' && magnitude === 2 ** (bits - 1) - 1) return NaN;
  let value =
    exponent === 0 ? fraction * 2 ** (1 - bias - mantissa) : (1 + fraction / 2 ** mantissa) * 2 ** (exponent - bias);
  if (special === 'ieee' && exponent === largest) value = fraction === 0 ? Infinity : NaN;
  return negative ? -value : value;
}

function* numbersOf(dtype: DType, data: Uint8Array): Generator<number> {
  const table = tableOf(dtype);
  const storage = table === undefined ? dtype : DTYPES[dtype].bytes === 1 ? 'uint8' : 'uint16';
  const values = typedArrayOf({ dtype: storage, shape: [], data }) as Float64Array;
  if (table === undefined) yield* values;
  else for (const pattern of values) yield table[pattern]!;
}
