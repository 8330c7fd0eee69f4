/**
 * MATLAB's files of version 5, as far as ImageNet's devkit needs them: an array of structs with texts and single
 * numbers. Source: MathWorks, "MAT-File Format", chapter 1.
 */

import { inflateSync } from 'node:zlib';

/** What is wrong with the bytes, about "it": the file. */
export class MatFileError extends Error {}

/** A struct's fields that are a text or a number. */
export type MatStruct = Readonly<Record<string, string | number>>;

const HEADER = 128;
/** Of a compressed element: the devkit's has 3 MB. */
const MAX_BYTES = 64 * 2 ** 20;

const TYPE = { int8: 1, matrix: 14, compressed: 15, utf8: 16, utf16: 17 } as const;
const CLASS = { struct: 2, char: 4, double: 6, uint64: 15 } as const;

/**
 * The structs of the array `name`, in MATLAB's order.
 *
 * @throws MatFileError for what is no such file, is damaged or has no such array
 */
export function readMatStructs(file: Buffer, name: string): MatStruct[] {
  // The version, and M and I in the order of the writer's bytes.
  if (file.length < HEADER || file.readUInt16LE(124) !== 0x0100 || file.toString('latin1', 126, 128) !== 'IM') {
    throw new MatFileError('it is no MATLAB file of version 5 with its lowest bytes first');
  }
  for (const element of elementsOf(file.subarray(HEADER))) {
    const matrix = element.type === TYPE.compressed ? inflated(element.data) : element;
    if (matrix.type !== TYPE.matrix) continue;
    const array = arrayOf(matrix.data);
    if (array.name === name && array.kind === CLASS.struct) return structsOf(array);
  }
  throw new MatFileError(`it has no array of structs called ${name}`);
}

interface Element {
  readonly type: number;
  readonly data: Buffer;
}

/** A tag of eight bytes and the data, up to a multiple of eight; or both in eight bytes. */
function* elementsOf(bytes: Buffer): Generator<Element> {
  for (let at = 0; at < bytes.length;) {
    if (at + 8 > bytes.length) throw new MatFileError('it ends in the middle of an element');
    const first = bytes.readUInt32LE(at);
    const small = first >>> 16;
    const type = first & 0xffff;
    const size = small > 0 ? small : bytes.readUInt32LE(at + 4);
    const start = at + (small > 0 ? 4 : 8);
    if (small > 4 || start + size > bytes.length) throw new MatFileError('it ends in the middle of an element');
    yield { type, data: bytes.subarray(start, start + size) };
    // A compressed element is not filled up.
    at = small > 0 ? at + 8 : start + (type === TYPE.compressed ? size : Math.ceil(size / 8) * 8);
  }
}

function inflated(data: Buffer): Element {
  let bytes: Buffer;
  try {
    bytes = inflateSync(data, { maxOutputLength: MAX_BYTES });
  } catch (error) {
    throw new MatFileError(`its compressed bytes are damaged (${(error as Error).message})`);
  }
  const [element] = elementsOf(bytes);
  if (element === undefined) throw new MatFileError('it has an empty element');
  return element;
}

interface MatArray {
  readonly kind: number;
  readonly count: number;
  readonly name: string;
  readonly parts: Element[];
}

/** Flags, dimensions and name, then what the class says. */
function arrayOf(data: Buffer): MatArray {
  const [flags, sizes, name, ...parts] = elementsOf(data);
  if (flags === undefined || flags.data.length < 8 || sizes === undefined || name === undefined) {
    throw new MatFileError('it has an array without a class, a size or a name');
  }
  let count = 1;
  for (let i = 0; i + 4 <= sizes.data.length; i += 4) count *= sizes.data.readInt32LE(i);
  return { kind: flags.data[0]!, count, name: name.data.toString('latin1'), parts };
}

function structsOf({ count, parts }: MatArray): MatStruct[] {
  const [length, names, ...values] = parts;
  const width = length?.data.length === 4 ? length.data.readInt32LE() : 0;
  if (names === undefined || width < 1 || names.data.length % width !== 0) {
    throw new MatFileError('it has structs without names of fields');
  }
  const fields = Array.from({ length: names.data.length / width }, (_, i) =>
    names.data.toString('latin1', i * width, (i + 1) * width).replace(/\0.*$/s, ''),
  );
  if (values.length !== count * fields.length) throw new MatFileError('it has structs with too few values');
  return Array.from({ length: count }, (_, i) => {
    const known = fields.flatMap((field, f): [string, string | number][] => {
      const value = valueOf(values[i * fields.length + f]!);
      return value === undefined ? [] : [[field, value]];
    });
    return Object.fromEntries(known);
  });
}

/** A text, or a single number; undefined for anything else. */
function valueOf({ type, data }: Element): string | number | undefined {
  if (type !== TYPE.matrix || data.length === 0) return undefined;
  const { kind, count, parts } = arrayOf(data);
  const [value] = parts;
  if (value === undefined) return undefined;
  if (kind === CLASS.char) return textOf(value);
  return kind >= CLASS.double && kind <= CLASS.uint64 && count === 1 ? numberOf(value) : undefined;
}

const textOf = ({ type, data }: Element): string =>
  data.toString(type === TYPE.utf8 ? 'utf8' : type === TYPE.int8 || type === 2 ? 'latin1' : 'utf16le');

/** Numbers are stored in the smallest type that holds them. */
function numberOf({ type, data }: Element): number | undefined {
  const readers: Readonly<Record<number, readonly [bytes: number, read: () => number]>> = {
    1: [1, () => data.readInt8()],
    2: [1, () => data.readUInt8()],
    3: [2, () => data.readInt16LE()],
    4: [2, () => data.readUInt16LE()],
    5: [4, () => data.readInt32LE()],
    6: [4, () => data.readUInt32LE()],
    7: [4, () => data.readFloatLE()],
    9: [8, () => data.readDoubleLE()],
  };
  const [bytes, read] = readers[type] ?? [Infinity, () => NaN];
  return data.length < bytes ? undefined : read();
}
