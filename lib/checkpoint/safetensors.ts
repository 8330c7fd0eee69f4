/**
 * The safetensors format: a header of JSON that says where each tensor lies, then their bytes and nothing else.
 * Source: https://github.com/huggingface/safetensors (README.md and safetensors/src/tensor.rs).
 */

import { constants, isUtf8 } from 'node:buffer';
import type { FileHandle } from 'node:fs/promises';
import { CortorchError, show } from '../errors.js';
import { writeFileAtomic } from '../files.js';
import { StoredTensor, type CheckpointFile } from './checkpoint-file.js';
import { corrupt, unsupported } from './format-error.js';
import { DTYPES, elementCount, type DType, type TensorData } from './tensor-data.js';
import { openToRead, readFailure } from './open-file.js';
import { readInto } from './zip.js';

/** The format's names, in the order in which its writers sort tensors: the largest alignment first. */
const NAMES = {
  U64: 'uint64',
  I64: 'int64',
  F64: 'float64',
  C64: 'complex64',
  F32: 'float32',
  U32: 'uint32',
  I32: 'int32',
  BF16: 'bfloat16',
  F16: 'float16',
  U16: 'uint16',
  I16: 'int16',
  F8_E8M0: 'float8_e8m0fnu',
  F8_E4M3: 'float8_e4m3fn',
  F8_E5M2: 'float8_e5m2',
  I8: 'int8',
  U8: 'uint8',
  F4: 'float4_e2m1fn_x2',
  BOOL: 'bool',
} as const satisfies Record<string, DType>;

const ORDER = Object.values(NAMES) as readonly DType[];
const nameOf = new Map(Object.entries(NAMES).map(([name, dtype]) => [dtype as DType, name]));

/** Before the header: its length, 64 bits. */
const LENGTH_BYTES = 8;

/** The format's own limit. */
const MAX_HEADER_BYTES = 100_000_000;

/** What the parsed header may take in memory beyond the file's size, by the estimate below. */
const MAX_PARSED_BYTES = 48 * 2 ** 20;
const TENSOR_COST = 512;
const TEXT_COST = 128;

/** Dimensions of a tensor; PyTorch computes with at most 64. */
const MAX_DIMENSIONS = 64;

/**
 * Whether a file's first bytes are those of a safetensors file. Whether it is a sound one, reading it shows.
 *
 * @param head at least the first 9 bytes, if the file has so many
 */
export function isSafetensors(head: Buffer): boolean {
  if (head.length <= LENGTH_BYTES || head[LENGTH_BYTES] !== 0x7b) return false;
  // 0x80 begins a pickle as well: that has no zeros where a length has them.
  return head[0] !== 0x80 || head.readBigUInt64LE(0) <= MAX_HEADER_BYTES;
}

// ---------------------------------------------------------------------------------------------- reading

/**
 * Opens a safetensors file: its value is a Map of tensors in the header's order, none of them read yet.
 *
 * @throws CortorchError that names the file and the remedy: ERR_CHECKPOINT_NOT_FOUND, ERR_CHECKPOINT_CORRUPT,
 *   ERR_CHECKPOINT_UNSUPPORTED, ERR_READ_FAILED
 */
export async function openSafetensors(path: string): Promise<CheckpointFile> {
  let file: FileHandle | undefined;
  try {
    file = await openToRead(path);
    const handle = file;
    const { header, start } = await readHeader(handle);
    const value = new Map<string, StoredTensor>();
    for (const [name, { dtype, shape, begin, end }] of header.tensors) {
      const read = (): Promise<TensorData> =>
        readTensor(handle, { dtype, shape }, start + begin, end - begin).catch((error: unknown) => {
          throw readFailure(path, error);
        });
      value.set(name, new StoredTensor(dtype, shape, undefined, read));
    }
    let closed: Promise<void> | undefined;
    const close = (): Promise<void> => (closed ??= handle.close());
    return {
      path,
      format: 'safetensors',
      value,
      metadata: header.metadata,
      close,
      [Symbol.asyncDispose]: close,
    };
  } catch (error) {
    await file?.close();
    throw readFailure(path, error);
  }
}

async function readHeader(file: FileHandle): Promise<{ header: Header; start: number }> {
  const { size } = await file.stat();
  if (size <= LENGTH_BYTES) throw corrupt(`it has only ${size} bytes`);
  const length = Buffer.alloc(LENGTH_BYTES);
  await readInto(file, length, 0);
  const headerBytes = length.readBigUInt64LE(0);
  if (headerBytes > BigInt(size - LENGTH_BYTES)) {
    throw corrupt(`its header is said to have ${headerBytes} bytes, which are more than the file has`);
  }
  if (headerBytes > MAX_HEADER_BYTES) {
    throw unsupported(
      `its header has ${headerBytes} bytes; safetensors allows ${MAX_HEADER_BYTES}`,
      'write it anew in several files',
    );
  }
  const bytes = Buffer.alloc(Number(headerBytes));
  await readInto(file, bytes, LENGTH_BYTES);
  const start = LENGTH_BYTES + bytes.length;
  const header = new HeaderParser(bytes, size - start).parse();
  checkLayout(header.tensors, size - start);
  return { header, start };
}

async function readTensor(
  file: FileHandle,
  { dtype, shape }: Pick<TensorData, 'dtype' | 'shape'>,
  position: number,
  length: number,
): Promise<TensorData> {
  if (length > constants.MAX_LENGTH) {
    throw unsupported(
      `it has a tensor of ${length} bytes, more than this version of Node can hold`,
      'use a newer Node.js',
    );
  }
  const data = new Uint8Array(length);
  await readInto(file, data, position);
  return { dtype, shape, data };
}

/** A tensor as the header describes it; offsets count from the header's end. */
interface Entry {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly begin: number;
  readonly end: number;
}

interface Header {
  readonly tensors: ReadonlyMap<string, Entry>;
  readonly metadata: Readonly<Record<string, string>>;
}

/** Tensors follow each other without holes, and fill the file. */
function checkLayout(tensors: ReadonlyMap<string, Entry>, dataBytes: number): void {
  let at = 0;
  const ordered = [...tensors].sort(([, a], [, b]) => a.begin - b.begin || a.end - b.end);
  for (const [name, { begin, end }] of ordered) {
    if (end > dataBytes) throw corrupt(`its tensor ${show(name)} lies outside the file`);
    if (begin < at) throw corrupt(`its tensor ${show(name)} overlaps another one`);
    if (begin > at) throw corrupt(`before its tensor ${show(name)} are ${begin - at} bytes of no tensor`);
    at = end;
  }
  if (at < dataBytes) throw corrupt(`after its last tensor are ${dataBytes - at} bytes of no tensor`);
}

/**
 * JSON of the header's one form. Not JSON.parse: that lets the last of equal names win, and a hostile header can
 * make it take many times its own size.
 */
class HeaderParser {
  readonly #bytes: Buffer;
  #at = 0;
  /** What the result may still take. */
  #budget: number;

  constructor(bytes: Buffer, dataBytes: number) {
    this.#bytes = bytes;
    this.#budget = dataBytes + MAX_PARSED_BYTES;
  }

  parse(): Header {
    if (this.#bytes[0] !== 0x7b) throw corrupt('its header does not begin with {');
    if (!isUtf8(this.#bytes)) throw corrupt('its header is not UTF-8');
    const tensors = new Map<string, Entry>();
    let metadata: Header['metadata'] | undefined;
    this.#object('header', (name) => {
      if (name === '__metadata__') metadata = this.#metadata();
      else tensors.set(name, this.#tensor(name));
    });
    this.#space();
    if (this.#at < this.#bytes.length) throw this.#wrong('something follows its end');
    return { tensors, metadata: metadata ?? {} };
  }

  #metadata(): Record<string, string> {
    const texts = new Map<string, string>();
    this.#object('__metadata__', (key) => texts.set(key, this.#string()));
    return Object.fromEntries(texts);
  }

  #tensor(name: string): Entry {
    this.#pay(TENSOR_COST);
    const shown = `tensor ${show(name)}`;
    let dtypeName: string | undefined;
    let sizes: number[] | undefined;
    let offsets: number[] | undefined;
    this.#object(shown, (key) => {
      if (key === 'dtype') dtypeName = this.#string();
      else if (key === 'shape') sizes = this.#integers(MAX_DIMENSIONS);
      else if (key === 'data_offsets') offsets = this.#integers(2);
      else throw corrupt(`its ${shown} has ${show(key)}, which the format does not know`);
    });
    if (dtypeName === undefined || sizes === undefined || offsets?.length !== 2) {
      throw corrupt(`its ${shown} does not say all of dtype, shape and data_offsets`);
    }
    if (!Object.hasOwn(NAMES, dtypeName)) {
      throw unsupported(
        `its ${shown} has the element type ${show(dtypeName)}; known are ${Object.keys(NAMES).join(', ')}`,
        'convert that tensor in Python and write the file anew',
      );
    }
    const dtype = NAMES[dtypeName as keyof typeof NAMES];
    const shape = shapeOf(dtype, sizes, shown);
    const [begin, end] = offsets as [number, number];
    if (begin > end) throw corrupt(`its ${shown} ends before it begins`);
    const bytes = elementCount(shape) * DTYPES[dtype].bytes;
    // A product beyond 2^53 is rounded, but then no file's offsets are equal to it.
    if (bytes !== end - begin) {
      throw corrupt(
        `its ${shown}, ${dtypeName} of shape [${sizes.join(', ')}], has ${end - begin} bytes instead of ${bytes}`,
      );
    }
    return { dtype, shape, begin, end };
  }

  /** Calls `entry` at each value, which it reads. */
  #object(what: string, entry: (key: string) => void): void {
    const keys = new Set<string>();
    this.#expect('{');
    if (this.#next('}')) return;
    do {
      const key = this.#string();
      if (keys.has(key)) throw corrupt(`its ${what} has the name ${show(key)} twice`);
      keys.add(key);
      this.#expect(':');
      entry(key);
    } while (this.#next(','));
    this.#expect('}');
  }

  #integers(most: number): number[] {
    const values: number[] = [];
    this.#expect('[');
    if (this.#next(']')) return values;
    do {
      if (values.length === most) throw this.#wrong(`more than ${most} numbers`);
      this.#pay(8);
      values.push(this.#integer());
    } while (this.#next(','));
    this.#expect(']');
    return values;
  }

  #integer(): number {
    this.#space();
    const start = this.#at;
    while (isDigit(this.#bytes[this.#at])) {
      // 2^53 has 16 digits.
      if (this.#at - start === 16) throw this.#wrong('a number beyond 2^53');
      this.#at++;
    }
    const digits = this.#bytes.toString('latin1', start, this.#at);
    if (digits === '' || /^0./.test(digits)) throw this.#wrong('no whole number of at least 0');
    const value = Number(digits);
    if (!Number.isSafeInteger(value)) throw this.#wrong('a number beyond 2^53');
    return value;
  }

  #string(): string {
    this.#space();
    const start = this.#at;
    this.#expect('"');
    for (let byte; (byte = this.#bytes[this.#at]) !== 0x22; this.#at++) {
      if (byte === undefined) throw this.#wrong('a text without an end');
      if (byte === 0x5c) this.#at++;
    }
    this.#at++;
    this.#pay(TEXT_COST + 2 * (this.#at - start));
    const text = parseString(this.#bytes.toString('utf8', start, this.#at));
    if (text === undefined) throw this.#wrong('a text that is not valid JSON', start);
    return text;
  }

  #next(character: string): boolean {
    this.#space();
    if (this.#bytes[this.#at] !== character.charCodeAt(0)) return false;
    this.#at++;
    return true;
  }

  #expect(character: string): void {
    if (!this.#next(character)) throw this.#wrong(`no ${character}`);
  }

  #space(): void {
    while ([0x20, 0x0a, 0x0d, 0x09].includes(this.#bytes[this.#at]!)) this.#at++;
  }

  #pay(bytes: number): void {
    this.#budget -= bytes;
    if (this.#budget < 0) {
      throw unsupported(
        'its header describes more tensors and texts than fit the memory set aside for them',
        'write it anew in several files',
      );
    }
  }

  #wrong(what: string, at = this.#at): Error {
    return corrupt(`its header is not what safetensors has: ${what} at byte ${at}`);
  }
}

const isDigit = (byte: number | undefined): boolean => byte !== undefined && byte >= 0x30 && byte <= 0x39;

/** Half of a surrogate pair is no character, and could not be written again. */
const isText = (text: string): boolean => !/\p{Surrogate}/u.test(text);

function parseString(literal: string): string | undefined {
  try {
    const text = JSON.parse(literal) as string;
    return isText(text) ? text : undefined;
  } catch {
    return undefined;
  }
}

/** The shape that PyTorch gives: an element of float4_e2m1fn_x2 is two of F4. */
function shapeOf(dtype: DType, sizes: readonly number[], shown: string): readonly number[] {
  if (dtype !== 'float4_e2m1fn_x2') return sizes;
  const last = sizes.at(-1);
  if (last === undefined || last % 2 !== 0) throw corrupt(`its ${shown} has an odd number of half bytes`);
  return [...sizes.slice(0, -1), last / 2];
}

// ---------------------------------------------------------------------------------------------- writing

/** Whether safetensors has a name for an element type. */
export const fitsSafetensors = (dtype: DType): boolean => nameOf.has(dtype);

/**
 * Writes a safetensors file, atomically ({@link writeFileAtomic}); of tensors of a file, one at a time is in memory.
 * Equal tensors give equal bytes: they are sorted as the format's own writer does it.
 *
 * @param path the file; its folder must exist
 * @param tensors by name. Several over one storage are written each by itself
 * @param metadata beside `format`, which is `pt`
 * @throws CortorchError ERR_CHECKPOINT_UNSUPPORTED, naming the tensor, for what the format cannot hold;
 *   ERR_WRITE_FAILED; what reading a tensor throws
 */
export async function saveSafetensors(
  path: string,
  tensors: Iterable<readonly [name: string, tensor: StoredTensor | TensorData]>,
  metadata: Readonly<Record<string, string>> = {},
): Promise<void> {
  const refuse = (what: string): CortorchError =>
    new CortorchError('ERR_CHECKPOINT_UNSUPPORTED', `cannot write ${path}: ${what}`);
  const sorted = [...tensors].sort(
    ([a, { dtype: left }], [b, { dtype: right }]) =>
      ORDER.indexOf(left) - ORDER.indexOf(right) || Buffer.compare(Buffer.from(a), Buffer.from(b)),
  );
  const header = new Map<string, unknown>([['__metadata__', { format: 'pt', ...metadata }]]);
  for (const text of Object.entries(metadata).flat()) {
    if (!isText(text)) throw refuse(`the metadata ${show(text)} is not valid Unicode; leave it out`);
  }
  let position = 0;
  for (const [name, { dtype, shape }] of sorted) {
    const stored = nameOf.get(dtype);
    if (stored === undefined) {
      throw refuse(
        `safetensors has no element type ${dtype}, which ${show(name)} has; convert that tensor, or write a .pt file`,
      );
    }
    if (name === '__metadata__' || !isText(name)) {
      throw refuse(`safetensors cannot have a tensor called ${show(name)}; rename it`);
    }
    if (header.has(name)) throw refuse(`two tensors are called ${show(name)}; rename one`);
    const end = position + elementCount(shape) * DTYPES[dtype].bytes;
    header.set(name, {
      dtype: stored,
      shape: sizesOf(dtype, shape, () => refuse(`${show(name)} of ${dtype} has no dimensions; write a .pt file`)),
      data_offsets: [position, end],
    });
    position = end;
  }
  const text = Buffer.from(jsonOf(header));
  const bytes = Buffer.alloc(Math.ceil((LENGTH_BYTES + text.length) / 8) * 8, ' ');
  if (bytes.length - LENGTH_BYTES > MAX_HEADER_BYTES) {
    throw refuse(
      `its header would have more than the ${MAX_HEADER_BYTES} bytes that safetensors allows; write several files`,
    );
  }
  bytes.writeBigUInt64LE(BigInt(bytes.length - LENGTH_BYTES), 0);
  text.copy(bytes, LENGTH_BYTES);
  await writeFileAtomic(path, contents(bytes, sorted));
}

async function* contents(
  header: Uint8Array,
  tensors: readonly (readonly [string, StoredTensor | TensorData])[],
): AsyncGenerator<Uint8Array> {
  yield header;
  for (const [, tensor] of tensors) yield (tensor instanceof StoredTensor ? await tensor.read() : tensor).data;
}

function sizesOf(dtype: DType, shape: readonly number[], refuse: () => Error): readonly number[] {
  if (dtype !== 'float4_e2m1fn_x2') return shape;
  if (shape.length === 0) throw refuse();
  return shape.map((size, i) => (i === shape.length - 1 ? 2 * size : size));
}

/** An object in the order of the map: objects of JavaScript put names that are numbers first. */
const jsonOf = (entries: ReadonlyMap<string, unknown>): string =>
  `{${[...entries].map(([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`).join(',')}}`;
