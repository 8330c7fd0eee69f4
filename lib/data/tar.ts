/**
 * Tar archives: POSIX's ustar and pax, and GNU's long names. Read from front to back, plain or gzipped; or only their
 * headers, for files whose place is all that is wanted; and written, one header at a time.
 *
 * Nothing is unpacked to the disk, so a name may say what it likes. Source: POSIX.1-2017, pax, "ustar Interchange
 * Format" and "pax Extended Header"; GNU tar's manual, "Basic Tar Format".
 */

import { createReadStream } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { pipeline, Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { CortorchError } from '../errors.js';

const BLOCK = 512;
/** Bytes unpacked at a time. */
const CHUNK = 2 ** 18;
/** Bytes read at a time where headers are looked for: a sample's label, and the headers before and after it. */
const WINDOW = 2 ** 12;
/** A file larger than this is not held in memory, a name or a pax header larger than that is no honest one. */
const MAX_FILE = 2 ** 30;
const MAX_HEADER = 2 ** 20;

/** A file in an archive. */
export interface TarFile {
  readonly name: string;
  readonly size: number;
  /** Its content, before the next file is asked for. */
  readonly read: () => Promise<Buffer>;
}

/**
 * The files of an archive in its order; folders and links are passed over. Only what is read of them is held in memory.
 *
 * @param source a path, or the archive's bytes, gzipped or not
 * @param name what messages call the archive
 * @throws CortorchError ERR_READ_FAILED, or ERR_DATASET_CORRUPT, also after the last file: an archive may be cut there
 */
export async function* readTar(
  source: string | AsyncIterable<Uint8Array>,
  name = typeof source === 'string' ? source : 'the archive',
): AsyncGenerator<TarFile> {
  const stream = typeof source === 'string' ? createReadStream(source, { highWaterMark: CHUNK }) : source;
  const bytes = new Bytes(unzipped(stream));
  try {
    for await (const file of members(bytes)) yield ofArchive(name, file);
  } catch (error) {
    throw failure(name, error);
  } finally {
    await bytes.close();
  }
}

/** Where a file of an archive lies. */
export interface TarPlace extends TarFile {
  /** Of its first byte; its header is the block before. */
  readonly offset: number;
  /** That block. */
  readonly header: Buffer;
}

/**
 * The places of the files of an archive that is not compressed. Their content is not read, unless it is asked for.
 *
 * @throws CortorchError as {@link readTar}
 */
export async function* walkTar(path: string): AsyncGenerator<TarPlace> {
  try {
    await using file = await open(path);
    const { size: end } = await file.stat();
    for await (const place of members(new FileBytes(file, end))) {
      // Before its place is given away: nobody may read it.
      if (place.offset + place.size > end) throw new TarError(`it is cut off in ${place.name}`);
      yield ofArchive(path, place);
    }
  } catch (error) {
    throw failure(path, error);
  }
}

/**
 * The header of a file, in POSIX's ustar; a name too long for it is said by a pax header before it. Owner and time are
 * 0, so that equal content gives equal bytes.
 */
export function tarHeader(name: string, size: number): Buffer {
  const bytes = Buffer.byteLength(name);
  if (bytes <= 100 && size < 8 ** 11) return ustar(name, size, '0');
  const records = [`path=${name}`, ...(size < 8 ** 11 ? [] : [`size=${size}`])].map(paxRecord).join('');
  const content = padded(Buffer.from(records));
  const short = Buffer.from(name).subarray(0, 100).toString('latin1');
  return Buffer.concat([
    ustar('PaxHeader', Buffer.byteLength(records), 'x'),
    content,
    ustar(short, size < 8 ** 11 ? size : 0, '0', 'latin1'),
  ]);
}

/** What follows a file's content up to the next block. */
export const tarPadding = (size: number): Buffer => Buffer.alloc((BLOCK - (size % BLOCK)) % BLOCK);

/** What an archive ends with. */
export const tarEnd = (): Buffer => Buffer.alloc(2 * BLOCK);

function ustar(name: string, size: number, type: string, encoding: BufferEncoding = 'utf8'): Buffer {
  const block = Buffer.alloc(BLOCK);
  block.write(name, 0, 100, encoding);
  block.write('0000444\0' + '0000000\0'.repeat(2), 100);
  block.write(`${size.toString(8).padStart(11, '0')}\0${'0'.repeat(11)}\0`, 124);
  block.write(`        ${type}`, 148);
  block.write('ustar\x0000', 257, 'latin1');
  let sum = 0;
  for (const byte of block) sum += byte;
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return block;
}

/** "LENGTH KEY=VALUE\n", LENGTH counting all of it, its own digits too. */
function paxRecord(text: string): string {
  const rest = Buffer.byteLength(text) + 2;
  let length = rest + String(rest).length;
  if (rest + String(length).length !== length) length++;
  return `${length} ${text}\n`;
}

const padded = (content: Buffer): Buffer => Buffer.concat([content, tarPadding(content.length)]);

/** What is wrong with the bytes, about "it": the archive. */
class TarError extends Error {}

const damaged = (name: string, { message }: TarError): CortorchError =>
  new CortorchError('ERR_DATASET_CORRUPT', `${name}: ${message}; download or copy the archive again`);

/** The file, whose reading fails as that of its archive does. */
const ofArchive = <File extends TarFile>(archive: string, file: File): File => ({
  ...file,
  read: () => file.read().catch((error: unknown) => Promise.reject(failure(archive, error))),
});

/** What a failure is to who asked for the archive. */
function failure(name: string, error: unknown): Error {
  if (error instanceof TarError) return damaged(name, error);
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === undefined || error instanceof CortorchError) return error as Error;
  // zlib's codes are Z_DATA_ERROR, Z_BUF_ERROR and the like.
  if (code.startsWith('Z_')) return damaged(name, new TarError(`its compressed bytes are damaged (${message})`));
  return new CortorchError('ERR_READ_FAILED', `cannot read ${name}: ${message}; check its path and permissions`, {
    cause: error,
  });
}

/** Bytes from front to back. */
interface Source {
  readonly position: number;
  /** The next `count` bytes; fewer at the end. */
  take(count: number): Promise<Buffer>;
  /** Passes over bytes; @returns whether there were as many */
  skip(count: number): Promise<boolean>;
  /** To the end. */
  drain(): Promise<void>;
}

async function* members(bytes: Source): AsyncGenerator<TarPlace> {
  /** What a header before the file's own says of it. */
  let extended: { path?: string; size?: number } = {};
  for (;;) {
    const at = bytes.position;
    const block = await bytes.take(BLOCK);
    if (block.length === 0) throw new TarError(at === 0 ? 'it is empty' : 'it is cut off: its end mark is missing');
    if (at === 0 && (block.length < BLOCK || !(isZero(block) || hasChecksum(block))))
      throw new TarError('it is not a tar archive');
    if (block.length < BLOCK) throw new TarError('it is cut off in a header');
    if (isZero(block)) return bytes.drain();
    if (!hasChecksum(block)) throw new TarError(`the header at byte ${at} is damaged: its checksum is wrong`);

    const type = String.fromCharCode(block[156] || FILE);
    const name = extended.path ?? nameOf(block);
    const size = HEADERS.has(type) ? sizeOf(block, at) : (extended.size ?? sizeOf(block, at));
    if (type === 'L') extended.path = text(await content(bytes, size, MAX_HEADER, `the name at byte ${at}`));
    else if (type === 'x')
      Object.assign(extended, paxOf(await content(bytes, size, MAX_HEADER, `the header at byte ${at}`), at));
    else if (HEADERS.has(type)) await content(bytes, size, MAX_HEADER, `the header at byte ${at}`);
    else {
      extended = {};
      if (FILES.has(type) && !name.endsWith('/')) {
        const offset = bytes.position;
        yield { name, size, offset, header: block, read: () => content(bytes, size, MAX_FILE, name) };
        if (!(await bytes.skip(offset + Math.ceil(size / BLOCK) * BLOCK - bytes.position)))
          throw new TarError(`it is cut off in ${name}`);
      } else if (!WITHOUT_CONTENT.has(type))
        throw new TarError(`${name} is of the type ${JSON.stringify(type)}, which is not read here`);
    }
  }
}

const FILE = '0'.charCodeAt(0);
/** Old archives' files have the type NUL, which is taken as '0'; '7' is a contiguous file. */
const FILES = new Set(['0', '7']);
/** GNU's long names of files and of links, pax's headers for the next file and for all. */
const HEADERS = new Set(['L', 'K', 'x', 'g']);
/**
 * Links, devices, folders and pipes; the size that some have is of what they stand for. Old folders are files by type.
 */
const WITHOUT_CONTENT = new Set(['0', '1', '2', '3', '4', '5', '6']);

async function content(bytes: Source, size: number, limit: number, what: string): Promise<Buffer> {
  if (size > limit) throw new TarError(`${what} has ${size} bytes; at most ${limit} are read`);
  const padded = Math.ceil(size / BLOCK) * BLOCK;
  const data = await bytes.take(padded);
  if (data.length < padded) throw new TarError(`it is cut off in ${what}`);
  return data.subarray(0, size);
}

const isZero = (block: Buffer): boolean => block.every((byte) => byte === 0);

/** The sum of the header's bytes, its own field counted as blanks; old programs added them as signed. */
function hasChecksum(block: Buffer): boolean {
  let unsigned = 0;
  let signed = 0;
  for (let i = 0; i < BLOCK; i++) {
    const byte = i >= 148 && i < 156 ? 32 : block[i]!;
    unsigned += byte;
    signed += (byte << 24) >> 24;
  }
  const sum = octal(block.subarray(148, 156));
  return sum === unsigned || sum === signed;
}

function octal(field: Buffer): number | undefined {
  const digits = /^ *([0-7]+)[ \0]*$/.exec(field.toString('latin1'))?.[1];
  return digits === undefined ? undefined : parseInt(digits, 8);
}

/** Octal digits, or GNU's big-endian number behind a byte 0x80. */
function sizeOf(block: Buffer, at: number): number {
  const field = block.subarray(124, 136);
  const size = field[0] === 0x80 ? Number(BigInt(`0x${field.toString('hex', 1)}`)) : octal(field);
  if (size === undefined) throw new TarError(`the header at byte ${at} is damaged: it has no size`);
  return size;
}

/** A text's bytes up to its NUL, where there is one. */
function text(field: Buffer): string {
  const end = field.indexOf(0);
  return field.toString('utf8', 0, end < 0 ? field.length : end);
}

/** POSIX's header has room for the start of a long path; GNU's has other things there. */
function nameOf(block: Buffer): string {
  const name = text(block.subarray(0, 100));
  const prefix = block.toString('latin1', 257, 263) === 'ustar\0' ? text(block.subarray(345, 500)) : '';
  return prefix === '' ? name : `${prefix}/${name}`;
}

/** Records "LENGTH KEY=VALUE\n", LENGTH counting all of it. */
function paxOf(header: Buffer, at: number): { path?: string; size?: number } {
  const wrong = new TarError(`the pax header at byte ${at} is damaged`);
  const found: { path?: string; size?: number } = {};
  for (let start = 0; start < header.length;) {
    const digits = /^(\d{1,7}) /.exec(header.toString('latin1', start, start + 8))?.[1];
    const end = start + Number(digits ?? NaN);
    const equals = header.indexOf('=', start);
    if (!(end <= header.length) || equals < 0 || equals >= end || header[end - 1] !== 10) throw wrong;
    const key = header.toString('utf8', start + digits!.length + 1, equals);
    const value = header.toString('utf8', equals + 1, end - 1);
    if (key === 'path') found.path = value;
    if (key === 'size') {
      if (!/^\d{1,15}$/.test(value)) throw wrong;
      found.size = Number(value);
    }
    if (key.startsWith('GNU.sparse.')) throw new TarError(`the file at byte ${at} is sparse, which is not read here`);
    start = end;
  }
  return found;
}

/** Chunks taken in pieces of another size. */
class Bytes implements Source {
  readonly #chunks: AsyncIterator<Uint8Array>;
  #rest: Uint8Array = Buffer.alloc(0);
  position = 0;

  constructor(chunks: AsyncIterable<Uint8Array>) {
    this.#chunks = chunks[Symbol.asyncIterator]();
  }

  /** The next `count` bytes; fewer at the end. Memory is taken as they come, whatever `count` is. */
  async take(count: number): Promise<Buffer> {
    const parts: Uint8Array[] = [];
    for (let missing = count; missing > 0;) {
      if (this.#rest.length === 0) {
        const next = await this.#chunks.next();
        if (next.done === true) break;
        this.#rest = next.value;
      }
      const part = this.#rest.subarray(0, missing);
      this.#rest = this.#rest.subarray(part.length);
      missing -= part.length;
      parts.push(part);
    }
    const taken = Buffer.concat(parts);
    this.position += taken.length;
    return taken;
  }

  async skip(count: number): Promise<boolean> {
    for (let missing = count; missing > 0;) {
      const { length } = await this.take(Math.min(missing, CHUNK));
      if (length === 0) return false;
      missing -= length;
    }
    return true;
  }

  /** To the end, where gzip's own checksum stands. */
  async drain(): Promise<void> {
    while ((await this.#chunks.next()).done !== true);
  }

  async close(): Promise<void> {
    await this.#chunks.return?.();
  }
}

/** A file of which only parts are read. */
class FileBytes implements Source {
  readonly #file: FileHandle;
  readonly #end: number;
  /** What was read last, from `#start` on: small files and the headers around them come together. */
  #window: Buffer = Buffer.alloc(0);
  #start = 0;
  position = 0;

  constructor(file: FileHandle, end: number) {
    this.#file = file;
    this.#end = end;
  }

  async take(count: number): Promise<Buffer> {
    const wanted = Math.min(count, Math.max(0, this.#end - this.position));
    let from = this.position - this.#start;
    if (from < 0 || from + wanted > this.#window.length) {
      this.#window = await readAt(this.#file, this.position, Math.max(wanted, WINDOW));
      this.#start = this.position;
      from = 0;
    }
    const taken = this.#window.subarray(from, from + wanted);
    this.position += taken.length;
    return taken;
  }

  skip(count: number): Promise<boolean> {
    this.position += count;
    return Promise.resolve(this.position <= this.#end);
  }

  drain(): Promise<void> {
    return Promise.resolve();
  }
}

/** Bytes of a file; fewer where it ends before. A system may give less than it is asked for. */
export async function readAt(file: FileHandle, position: number, count: number): Promise<Buffer> {
  const bytes = Buffer.allocUnsafeSlow(count);
  let read = 0;
  while (read < count) {
    const { bytesRead } = await file.read(bytes, read, count - read, position + read);
    if (bytesRead === 0) break;
    read += bytesRead;
  }
  return bytes.subarray(0, read);
}

/** The bytes, unpacked if they begin as gzip does. */
async function* unzipped(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const chunks = source[Symbol.asyncIterator]();
  try {
    const head: Uint8Array[] = [];
    for (let length = 0; length < 2;) {
      const next = await chunks.next();
      if (next.done === true) break;
      head.push(next.value);
      length += next.value.length;
    }
    const start = Buffer.concat(head);
    const all = joined(start, chunks);
    if (start[0] !== 0x1f || start[1] !== 0x8b) return yield* all;
    // An error of the source or of gzip is thrown where the result is read.
    yield* pipeline(Readable.from(all), createGunzip({ chunkSize: CHUNK }), () => undefined);
  } finally {
    await chunks.return?.();
  }
}

async function* joined(first: Uint8Array, rest: AsyncIterator<Uint8Array>): AsyncGenerator<Uint8Array, void> {
  if (first.length > 0) yield first;
  for (let next = await rest.next(); next.done !== true; next = await rest.next()) yield next.value;
}
