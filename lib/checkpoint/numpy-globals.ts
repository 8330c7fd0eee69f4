/** Scalars and arrays of numpy, as pickles have them. Source: numpy/_core/src/multiarray (methods.c, descriptor.c). */

import { corrupt, unsupported } from './format-error.js';
import { Global, takesState } from './pickle.js';
import { swapped, viewBytes } from './storages.js';
import { contiguousStrides, DTYPES, elementCount, typedArrayOf, type DType, type TensorData } from './tensor-data.js';
import { OpaqueObject, Tuple } from './value.js';

/** numpy's codes, and the name of the element type. */
const CODES: Readonly<Record<string, DType>> = {
  ...{ f8: 'float64', f4: 'float32', f2: 'float16', c16: 'complex128', c8: 'complex64', b1: 'bool' },
  ...{
    i8: 'int64',
    i4: 'int32',
    i2: 'int16',
    i1: 'int8',
    u8: 'uint64',
    u4: 'uint32',
    u2: 'uint16',
    u1: 'uint8',
  },
};

/** numpy's core moved in its version 2. */
const modules = ['numpy.core.multiarray', 'numpy._core.multiarray'];

export function numpyGlobals(): Global[] {
  return [
    // (code, align, copy); its state says the order of the bytes.
    new Global('numpy.dtype', ([code]) => {
      if (typeof code !== 'string') throw corrupt('it has an element type of numpy without a name');
      return new OpaqueObject('numpy.dtype', [code]);
    }),
    new Global('numpy.ndarray'),
    // Bytes as protocol 2 writes them: text, each character a byte.
    new Global('_codecs.encode', ([text, encoding]) => {
      if (typeof text !== 'string' || encoding !== 'latin1') throw corrupt('it has bytes that make no sense');
      return latin1(text);
    }),
    ...modules.flatMap((module) => [
      new Global(`${module}.scalar`, ([dtype, bytes]) => scalar(dtype, bytes)),
      new Global(`${module}._reconstruct`, ([type]) => {
        if (!(type instanceof Global) || type.name !== 'numpy.ndarray')
          throw unsupported('it has an array of numpy of a class of its own');
        const array: { -readonly [K in keyof TensorData]: TensorData[K] } = {
          ...{ dtype: 'uint8', shape: [0], data: new Uint8Array(0) },
        };
        return takesState(array, (state, charge) => Object.assign(array, arrayOf(state, charge)));
      }),
    ]),
  ];
}

/** In memory of its own, as typed arrays over it need. */
function latin1(text: string): Uint8Array {
  const bytes = Buffer.allocUnsafeSlow(text.length);
  bytes.write(text, 'latin1');
  return new Uint8Array(bytes.buffer);
}

function elementType(dtype: unknown): { dtype: DType; bigEndian: boolean } {
  if (!(dtype instanceof OpaqueObject) || dtype.className !== 'numpy.dtype' || typeof dtype.args[0] !== 'string')
    throw corrupt('it has a value of numpy without an element type');
  const code = dtype.args[0].replace(/^[<>|=]/, '');
  const known = Object.hasOwn(CODES, code) ? CODES[code] : undefined;
  if (known === undefined) throw unsupported(`it has values of numpy's type ${code}`, 'save them as tensors');
  return { dtype: known, bigEndian: dtype.state instanceof Tuple && dtype.state[1] === '>' };
}

/** The bytes of so many elements, little-endian. */
function elements(type: unknown, bytes: unknown, count: number): { dtype: DType; data: Uint8Array } {
  const { dtype, bigEndian } = elementType(type);
  const length = count * DTYPES[dtype].bytes;
  // Python 2's bytes are text; the reader took them as UTF-8 where they could be that, which the length tells.
  const isText = typeof bytes === 'string';
  const data = !isText ? bytes : bytes.length === length ? latin1(bytes) : new Uint8Array(Buffer.from(bytes));
  if (!(data instanceof Uint8Array) || data.length !== length)
    throw corrupt('it has a value of numpy whose bytes are too many or too few');
  return { dtype, data: bigEndian ? swapped(data, dtype) : data };
}

function scalar(type: unknown, bytes: unknown): unknown {
  const { dtype, data } = elements(type, bytes, 1);
  const tensor = { dtype, shape: [], data };
  if (dtype === 'float16' || dtype.startsWith('complex')) return tensor;
  const value = typedArrayOf(tensor)[0]!;
  if (dtype === 'bool') return value !== 0;
  if (typeof value === 'bigint') return Number.isSafeInteger(Number(value)) ? Number(value) : value;
  return value;
}

/** (version, shape, dtype, whether the first dimension is the fastest, bytes) */
function arrayOf(state: unknown, charge: (bytes: number) => void): TensorData {
  const [, shape, type, fortran, bytes] = state instanceof Tuple ? (state as unknown[]) : [];
  const isShape = shape instanceof Tuple && shape.every((size) => Number.isSafeInteger(size) && Number(size) >= 0);
  if (!isShape || shape.length > 64) throw corrupt('it has an array of numpy whose shape makes no sense');
  const sizes = [...shape] as number[];
  const isCopied = typeof bytes === 'string' || fortran === true || elementType(type).bigEndian;
  if (isCopied && (typeof bytes === 'string' || bytes instanceof Uint8Array)) charge(bytes.length);
  const { dtype, data } = elements(type, bytes, elementCount(sizes));
  if (fortran !== true) return { dtype, shape: sizes, data };
  const strides = contiguousStrides(sizes.toReversed()).toReversed();
  return {
    dtype,
    shape: sizes,
    data: viewBytes({ dtype, shape: sizes, strides, offset: 0 }, data),
  };
}
