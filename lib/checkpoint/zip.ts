/**
 * The zip archives that PyTorch writes: stored entries, each one's bytes at a multiple of 64 in the file, so that
 * they can be mapped. Source: PKWARE's APPNOTE.TXT 6.3.10, and PyTorch's caffe2/serialize/inline_container.cc.
 */

import { constants } from 'node:buffer';
import type { FileHandle } from 'node:fs/promises';
import { crc32 } from 'node:zlib';
import { corrupt, unsupported } from './format-error.js';

const LOCAL_HEADER = 0x04034b50;
const DATA_DESCRIPTOR = 0x08074b50;
const CENTRAL_HEADER = 0x02014b50;
const END64 = 0x06064b50;
const END64_LOCATOR = 0x07064b50;
const END = 0x06054b50;

const LOCAL_HEADER_BYTES = 30;
const CENTRAL_HEADER_BYTES = 46;
const END64_BYTES = 56;
const END64_LOCATOR_BYTES = 20;
const END_BYTES = 22;

/** Sizes and offsets from here on stand in zip64 fields, which are 64 bits wide. */
const MAX32 = 0xffffffff;
const MAX16 = 0xffff;

/** Checksum and length follow the data, so that it can be streamed; the name is UTF-8. */
const FLAG_DESCRIPTOR = 0x0008;
const FLAG_UTF8 = 0x0800;
const FLAG_ENCRYPTED = 0x0001;

/** Every entry's data starts at a multiple of this. */
export const ALIGNMENT = 64;

/** Data is checksummed, read and written in pieces of this size, so that the event loop gets its turn. */
const PIECE_BYTES = 16 * 2 ** 20;

/** An entry that has been written. */
export interface WrittenEntry {
  readonly name: string;
  readonly size: number;
  readonly crc32: number;
  /** Where its local header starts. */
  readonly offset: number;
}

/**
 * Writes an archive as a stream: `yield* zip.entry(…)` for each entry, then `yield* zip.end()`.
 * Nothing of the data is kept.
 */
export class ZipWriter {
  /** The entries so far, in order. */
  readonly entries: WrittenEntry[] = [];
  #position = 0;

  /**
   * @param name path within the archive, with `/`
   * @param data the content
   */
  *entry(name: string, data: Uint8Array): Generator<Uint8Array> {
    const offset = this.#position;
    const encoded = Buffer.from(name);
    const size = data.length;
    yield this.#advance(localHeader(encoded, size, offset));
    let crc = 0;
    for (let at = 0; at < size; at += PIECE_BYTES) {
      const piece = data.subarray(at, Math.min(size, at + PIECE_BYTES));
      crc = crc32(piece, crc);
      yield this.#advance(piece);
    }
    // PyTorch's reader works out where storages lie without the directory, and expects none after empty ones.
    if (size > 0) yield this.#advance(dataDescriptor(crc, size));
    this.entries.push({ name, size, crc32: crc, offset });
  }

  /** The directory and the archive's end; always with the zip64 records, as PyTorch writes them. */
  *end(): Generator<Uint8Array> {
    const start = this.#position;
    for (const entry of this.entries) yield this.#advance(centralHeader(entry));
    yield endRecords(this.entries.length, start, this.#position - start);
  }

  #advance(bytes: Uint8Array): Uint8Array {
    this.#position += bytes.length;
    return bytes;
  }
}

function localHeader(name: Buffer, size: number, offset: number): Buffer {
  const zip64: bigint[] = [];
  // The order of the fields is APPNOTE's: original size, compressed size, offset. In a local header both sizes
  // are there or neither; the offset does not belong there, but PyTorch's writer (miniz) puts it there.
  if (size >= MAX32) zip64.push(BigInt(size), BigInt(size));
  if (offset >= MAX32) zip64.push(BigInt(offset));
  const zip64Extra = extraField(0x0001, ...zip64);
  // An extra field "FB" of filler moves the data to the boundary. At least its four header bytes are there.
  const unpadded = offset + LOCAL_HEADER_BYTES + name.length + zip64Extra.length + 4;
  const filler = ALIGNMENT - (unpadded % ALIGNMENT);
  const padding = Buffer.alloc(4 + filler, 'Z');
  padding.write('FB', 'latin1');
  padding.writeUInt16LE(filler, 2);

  const header = Buffer.alloc(LOCAL_HEADER_BYTES);
  header.writeUInt32LE(LOCAL_HEADER, 0);
  header.writeUInt16LE(size >= MAX32 || offset >= MAX32 ? 45 : 0, 4); // version needed
  header.writeUInt16LE(FLAG_UTF8 | (size > 0 ? FLAG_DESCRIPTOR : 0), 6);
  // Method 0 (stored), time and date 0, checksum and sizes 0: they are in the descriptor and the directory.
  if (size >= MAX32) {
    header.writeUInt32LE(MAX32, 18);
    header.writeUInt32LE(MAX32, 22);
  }
  header.writeUInt16LE(name.length, 26);
  header.writeUInt16LE(zip64Extra.length + padding.length, 28);
  return Buffer.concat([header, name, zip64Extra, padding]);
}

function dataDescriptor(crc: number, size: number): Buffer {
  const wide = size >= MAX32;
  const descriptor = Buffer.alloc(wide ? 24 : 16);
  descriptor.writeUInt32LE(DATA_DESCRIPTOR, 0);
  descriptor.writeUInt32LE(crc, 4);
  if (wide) {
    descriptor.writeBigUInt64LE(BigInt(size), 8);
    descriptor.writeBigUInt64LE(BigInt(size), 16);
  } else {
    descriptor.writeUInt32LE(size, 8);
    descriptor.writeUInt32LE(size, 12);
  }
  return descriptor;
}

function centralHeader(entry: WrittenEntry): Buffer {
  const { size, offset } = entry;
  const name = Buffer.from(entry.name);
  const zip64: bigint[] = [];
  if (size >= MAX32) zip64.push(BigInt(size), BigInt(size));
  if (offset >= MAX32) zip64.push(BigInt(offset));
  const extra = extraField(0x0001, ...zip64);
  const header = Buffer.alloc(CENTRAL_HEADER_BYTES);
  header.writeUInt32LE(CENTRAL_HEADER, 0);
  header.writeUInt16LE(extra.length > 0 ? 45 : 0, 6); // version needed
  header.writeUInt16LE(FLAG_UTF8 | (size > 0 ? FLAG_DESCRIPTOR : 0), 8);
  header.writeUInt32LE(entry.crc32, 16);
  header.writeUInt32LE(Math.min(size, MAX32), 20);
  header.writeUInt32LE(Math.min(size, MAX32), 24);
  header.writeUInt16LE(name.length, 28);
  header.writeUInt16LE(extra.length, 30);
  header.writeUInt32LE(Math.min(offset, MAX32), 42);
  return Buffer.concat([header, name, extra]);
}

function endRecords(count: number, start: number, bytes: number): Buffer {
  const end = Buffer.alloc(END64_BYTES + END64_LOCATOR_BYTES + END_BYTES);
  end.writeUInt32LE(END64, 0);
  end.writeBigUInt64LE(BigInt(END64_BYTES - 12), 4); // without the signature and this field
  end.writeUInt16LE(0x031e, 12); // made by: Unix, version 3.0, as miniz has it
  end.writeUInt16LE(45, 14); // version needed: zip64
  end.writeBigUInt64LE(BigInt(count), 24);
  end.writeBigUInt64LE(BigInt(count), 32);
  end.writeBigUInt64LE(BigInt(bytes), 40);
  end.writeBigUInt64LE(BigInt(start), 48);
  end.writeUInt32LE(END64_LOCATOR, 56);
  end.writeBigUInt64LE(BigInt(start + bytes), 64);
  end.writeUInt32LE(1, 72); // disks
  end.writeUInt32LE(END, 76);
  end.writeUInt16LE(Math.min(count, MAX16), 84);
  end.writeUInt16LE(Math.min(count, MAX16), 86);
  end.writeUInt32LE(Math.min(bytes, MAX32), 88);
  end.writeUInt32LE(Math.min(start, MAX32), 92);
  return end;
}

function extraField(id: number, ...values: bigint[]): Buffer {
  if (values.length === 0) return Buffer.alloc(0);
  const field = Buffer.alloc(4 + 8 * values.length);
  field.writeUInt16LE(id, 0);
  field.writeUInt16LE(8 * values.length, 2);
  for (const [i, value] of values.entries()) field.writeBigUInt64LE(value, 4 + 8 * i);
  return field;
}

/** An entry of an archive that is read. */
export interface ZipEntry {
  readonly name: string;
  /** 0: stored as it is. Entries that are compressed are listed but not read. */
  readonly method: number;
  /** Bytes of its content. */
  readonly size: number;
  /** Bytes that it takes in the file. */
  readonly compressed: number;
  /** 0 also where PyTorch was told to compute none (torch.serialization.set_crc32_options). */
  readonly crc32: number;
  /** Where its local header starts. */
  readonly offset: number;
  /** Where the next entry, or the directory, starts: its data ends before. */
  readonly limit: number;
}

/** More than this many entries are refused, so that a small file cannot fill the memory. */
const MAX_ENTRIES = 200_000;

/**
 * Reads an archive through a file handle, entry by entry. Strict: everything is checked against the file's size,
 * entries may not overlap, share a name or go up in the tree, and checksums are compared.
 * Throws FormatError.
 */
export class ZipReader {
  /** The entries by name, in the order of the directory. */
  readonly entries: ReadonlyMap<string, ZipEntry>;
  readonly #file: FileHandle;

  private constructor(file: FileHandle, entries: ReadonlyMap<string, ZipEntry>) {
    this.#file = file;
    this.entries = entries;
  }

  /**
   * @param file stays open and belongs to the caller
   * @param fileBytes the file's size
   */
  static async open(file: FileHandle, fileBytes: number): Promise<ZipReader> {
    const directory = await findDirectory(file, fileBytes);
    const bytes = await readAt(file, directory.start, directory.bytes);
    return new ZipReader(file, parseDirectory(bytes, directory.count, directory.start));
  }

  /** The content of an entry, in memory of its own; its checksum is compared. */
  async read(entry: ZipEntry): Promise<Uint8Array> {
    const start = await this.#dataStart(entry);
    requireHoldable(entry.name, entry.size);
    const data = new Uint8Array(entry.size);
    let crc = 0;
    for (let at = 0; at < data.length; at += PIECE_BYTES) {
      const piece = data.subarray(at, Math.min(data.length, at + PIECE_BYTES));
      await readInto(this.#file, piece, start + at);
      crc = crc32(piece, crc);
    }
    if (entry.crc32 !== 0 && crc !== entry.crc32) throw corrupt(`the checksum of ${entry.name} is wrong`);
    return data;
  }

  /** A part of an entry. The checksum, which is of the whole, is only compared if that is what is read. */
  async readPart(entry: ZipEntry, from: number, length: number): Promise<Uint8Array> {
    if (from === 0 && length === entry.size) return this.read(entry);
    if (from + length > entry.size) throw corrupt(`the entry ${entry.name} is too short`);
    const start = await this.#dataStart(entry);
    requireHoldable(entry.name, length);
    const data = new Uint8Array(length);
    await readInto(this.#file, data, start + from);
    return data;
  }

  /** Where an entry's data lie, once its local header has been compared with the directory. */
  async #dataStart(entry: ZipEntry): Promise<number> {
    if (entry.method !== 0) throw unsupported(`the entry ${entry.name} is compressed, which torch.save never does`);
    const name = Buffer.from(entry.name);
    const header = await readAt(this.#file, entry.offset, LOCAL_HEADER_BYTES + name.length);
    if (header.readUInt32LE(0) !== LOCAL_HEADER) throw corrupt(`the entry ${entry.name} is not where it should be`);
    const sameName = header.readUInt16LE(26) === name.length && header.subarray(LOCAL_HEADER_BYTES).equals(name);
    if (!sameName || header.readUInt16LE(8) !== entry.method) {
      throw corrupt(`the entry ${entry.name} is described otherwise in the directory`);
    }
    const dataStart = entry.offset + header.length + header.readUInt16LE(28);
    if (dataStart + entry.size > entry.limit) throw corrupt(`the entry ${entry.name} overlaps the next one`);
    return dataStart;
  }
}

function requireHoldable(name: string, bytes: number): void {
  if (bytes <= constants.MAX_LENGTH) return;
  throw unsupported(`${name} has ${bytes} bytes, more than this version of Node can hold`, 'use a newer Node.js');
}

interface Directory {
  readonly start: number;
  readonly bytes: number;
  readonly count: number;
}

async function findDirectory(file: FileHandle, fileBytes: number): Promise<Directory> {
  // The end record is followed by a comment of up to 65,535 bytes, which PyTorch leaves empty.
  const tailBytes = Math.min(fileBytes, END64_LOCATOR_BYTES + END_BYTES + MAX16);
  const tailStart = fileBytes - tailBytes;
  const tail = await readAt(file, tailStart, tailBytes);
  let at = tail.length - END_BYTES;
  while (at >= 0 && !(tail.readUInt32LE(at) === END && at + END_BYTES + tail.readUInt16LE(at + 20) === tail.length))
    at--;
  if (at < 0) throw corrupt('its end is missing');

  let count = tail.readUInt16LE(at + 10);
  let bytes = tail.readUInt32LE(at + 12);
  let start = tail.readUInt32LE(at + 16);
  let end = tailStart + at;
  if (tail.readUInt16LE(at + 4) !== 0 || tail.readUInt16LE(at + 6) !== 0 || tail.readUInt16LE(at + 8) !== count) {
    throw unsupported('it is one part of a zip archive in several files', 'join its parts');
  }
  const locator = at - END64_LOCATOR_BYTES;
  if (locator >= 0 && tail.readUInt32LE(locator) === END64_LOCATOR) {
    const end64 = asSize(tail.readBigUInt64LE(locator + 8));
    if (end64 + END64_BYTES > tailStart + locator) throw corrupt('its zip64 end record lies outside the file');
    const record = await readAt(file, end64, END64_BYTES);
    if (record.readUInt32LE(0) !== END64) throw corrupt('its zip64 end record is missing');
    count = asSize(record.readBigUInt64LE(32));
    bytes = asSize(record.readBigUInt64LE(40));
    start = asSize(record.readBigUInt64LE(48));
    end = end64;
  }
  if (start + bytes !== end) throw corrupt('its directory does not end where the end record says');
  if (count * CENTRAL_HEADER_BYTES > bytes) throw corrupt(`its directory is too short for ${count} entries`);
  if (count > MAX_ENTRIES) throw unsupported(`it has ${count} entries; at most ${MAX_ENTRIES} are read`);
  return { start, bytes, count };
}

function parseDirectory(bytes: Buffer, count: number, directoryStart: number): Map<string, ZipEntry> {
  const found: Omit<ZipEntry, 'limit'>[] = [];
  let at = 0;
  for (let i = 0; i < count; i++) {
    if (at + CENTRAL_HEADER_BYTES > bytes.length || bytes.readUInt32LE(at) !== CENTRAL_HEADER) {
      throw corrupt(`its directory breaks off at entry ${i + 1} of ${count}`);
    }
    const nameEnd = at + CENTRAL_HEADER_BYTES + bytes.readUInt16LE(at + 28);
    const extraEnd = nameEnd + bytes.readUInt16LE(at + 30);
    const next = extraEnd + bytes.readUInt16LE(at + 32);
    if (next > bytes.length) throw corrupt(`its directory breaks off at entry ${i + 1} of ${count}`);
    const name = entryName(bytes.subarray(at + CENTRAL_HEADER_BYTES, nameEnd));
    if ((bytes.readUInt16LE(at + 8) & FLAG_ENCRYPTED) !== 0) throw unsupported(`the entry ${name} is encrypted`);
    const [size, compressed, offset] = wideFields(bytes, at, bytes.subarray(nameEnd, extraEnd), name);
    const method = bytes.readUInt16LE(at + 10);
    if (method === 0 && size !== compressed) throw corrupt(`the entry ${name} gives two different sizes`);
    found.push({ name, method, size, compressed, crc32: bytes.readUInt32LE(at + 16), offset });
    at = next;
  }
  if (at !== bytes.length) throw corrupt('its directory is longer than its entries');

  const ordered = found.toSorted((a, b) => a.offset - b.offset);
  const limits = new Map<Omit<ZipEntry, 'limit'>, number>();
  for (const [i, entry] of ordered.entries()) {
    const limit = ordered[i + 1]?.offset ?? directoryStart;
    // The local header's extra field is not known yet; ZipReader.read looks again.
    if (entry.offset + LOCAL_HEADER_BYTES + Buffer.byteLength(entry.name) + entry.compressed > limit) {
      throw corrupt(`the entry ${entry.name} overlaps the next one`);
    }
    limits.set(entry, limit);
  }
  const entries = new Map<string, ZipEntry>();
  for (const entry of found) {
    if (entries.has(entry.name)) throw corrupt(`there are two entries called ${entry.name}`);
    entries.set(entry.name, { ...entry, limit: limits.get(entry)! });
  }
  return entries;
}

/** Size, compressed size and offset of a directory entry, from the zip64 field where they do not fit 32 bits. */
function wideFields(bytes: Buffer, at: number, extra: Buffer, name: string): [number, number, number] {
  const narrow = [bytes.readUInt32LE(at + 24), bytes.readUInt32LE(at + 20), bytes.readUInt32LE(at + 42)] as const;
  if (!narrow.includes(MAX32)) return [...narrow];
  for (let field = 0; field + 4 <= extra.length;) {
    const end = field + 4 + extra.readUInt16LE(field + 2);
    if (end > extra.length) break;
    if (extra.readUInt16LE(field) === 0x0001) {
      let value = field + 4;
      const wide = narrow.map((narrowValue) => {
        if (narrowValue !== MAX32) return narrowValue;
        if (value + 8 > end) throw corrupt(`the entry ${name} lacks its zip64 sizes`);
        value += 8;
        return asSize(extra.readBigUInt64LE(value - 8));
      });
      return [wide[0]!, wide[1]!, wide[2]!];
    }
    field = end;
  }
  throw corrupt(`the entry ${name} lacks its zip64 sizes`);
}

function entryName(bytes: Buffer): string {
  const name = bytes.toString();
  // Nothing is ever unpacked to the disk, so that such a name could do no harm; but no honest archive has one.
  if (!Buffer.from(name).equals(bytes) || name === '' || /^\/|\\|\0|(^|\/)\.\.?(\/|$)/.test(name)) {
    throw corrupt(`it has an entry with the unsafe name ${JSON.stringify(name.slice(0, 100))}`);
  }
  return name;
}

/** A size or offset of 64 bits; one beyond 2^53 is no file's. */
function asSize(value: bigint): number {
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw corrupt(`it claims a size or position of ${value} bytes`);
  return Number(value);
}

async function readAt(file: FileHandle, position: number, length: number): Promise<Buffer> {
  const bytes = Buffer.alloc(length);
  await readInto(file, bytes, position);
  return bytes;
}

/** Fills `bytes` from a place in the file. Throws FormatError. */
export async function readInto(file: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let at = 0; at < bytes.length;) {
    const { bytesRead } = await file.read(bytes, at, bytes.length - at, position + at);
    if (bytesRead === 0) throw corrupt('it ends too early');
    at += bytesRead;
  }
}
