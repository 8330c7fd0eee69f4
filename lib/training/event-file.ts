/**
 * TensorBoard's event files. A file is records: length (uint64), its checksum, a protocol buffer `Event`, its checksum;
 * checksums are CRC-32C, masked as TFRecord does it. Only the few fields that are needed are written, by hand. Source:
 * tensorflow/core/util/event.proto, framework/summary.proto, lib/io/record_writer.cc.
 */

import { open, type FileHandle } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { writeFailure } from '../files.js';

const BUCKETS = 64;

/** Of files that this process opened: two in one second have different names. */
let opened = 0;

export class EventFile {
  readonly path: string;
  readonly #file: FileHandle;
  /** Records that were not handed to the system yet. */
  #pending: Buffer[] = [];

  private constructor(path: string, file: FileHandle) {
    this.path = path;
    this.#file = file;
  }

  /**
   * Begins a file; TensorBoard reads all that a folder holds as one run.
   *
   * @param from the step at which a run is resumed: TensorBoard then drops what earlier files have from there on
   * @throws CortorchError ERR_WRITE_FAILED
   */
  static async open(folder: string, from?: number): Promise<EventFile> {
    const seconds = String(Math.floor(Date.now() / 1000)).padStart(10, '0');
    const path = join(folder, `events.out.tfevents.${seconds}.${hostname()}.${process.pid}.${opened++}`);
    try {
      const events = new EventFile(path, await open(path, 'ax'));
      events.#add(0, stringField(3, 'brain.Event:2'));
      // SessionLog { status: START }
      if (from !== undefined) events.#add(from, bytesField(7, varintField(1, 1)));
      await events.flush();
      return events;
    } catch (error) {
      throw writeFailure(path, error);
    }
  }

  /** A point of a curve. What is not finite is left out. */
  scalar(tag: string, value: number, step: number): void {
    if (Number.isFinite(value)) this.#summary(tag, step, floatField(2, value));
  }

  /** How values are distributed, in 64 equal steps from the smallest to the largest. What is not finite is left out. */
  histogram(tag: string, values: Float32Array, step: number): void {
    let [min, max, sum, squares, count] = [Infinity, -Infinity, 0, 0, 0];
    for (let i = 0; i < values.length; i++) {
      const value = values[i]!;
      if (!Number.isFinite(value)) continue;
      if (value < min) min = value;
      if (value > max) max = value;
      sum += value;
      squares += value * value;
      count++;
    }
    if (count === 0) return;
    const buckets = new Float64Array(max > min ? BUCKETS : 1);
    const width = (max - min) / buckets.length;
    for (let i = 0; i < values.length; i++) {
      const value = values[i]!;
      if (Number.isFinite(value)) {
        const at = width > 0 ? Math.min(buckets.length - 1, Math.floor((value - min) / width)) : 0;
        buckets[at]!++;
      }
    }
    const limits = Float64Array.from(buckets, (_, i) => (i === buckets.length - 1 ? max : min + (i + 1) * width));
    const doubles = [min, max, count, sum, squares].map((value, i) => doubleField(i + 1, value));
    const proto = Buffer.concat([...doubles, bytesField(6, packed(limits)), bytesField(7, packed(buckets))]);
    this.#summary(tag, step, bytesField(5, proto));
  }

  /** @throws CortorchError ERR_WRITE_FAILED */
  async flush(): Promise<void> {
    const bytes = Buffer.concat(this.#pending);
    this.#pending = [];
    try {
      await this.#file.appendFile(bytes);
    } catch (error) {
      throw writeFailure(this.path, error);
    }
  }

  /** Writes nothing: what was not flushed is lost. */
  async close(): Promise<void> {
    await this.#file.close();
  }

  #summary(tag: string, step: number, value: Buffer): void {
    // Summary { value { tag, … } }
    this.#add(step, bytesField(5, bytesField(1, Buffer.concat([stringField(1, tag), value]))));
  }

  #add(step: number, what: Buffer): void {
    this.#pending.push(record(Buffer.concat([doubleField(1, Date.now() / 1000), varintField(2, step), what])));
  }
}

// ------------------------------------------------------------------------------------------- protocol buffers

const varint = (value: number): Buffer => {
  const bytes = [];
  for (; value >= 128; value = Math.floor(value / 128)) bytes.push((value % 128) + 128);
  return Buffer.from([...bytes, value]);
};

const varintField = (field: number, value: number): Buffer => Buffer.concat([varint(field * 8), varint(value)]);

const bytesField = (field: number, bytes: Uint8Array): Buffer =>
  Buffer.concat([varint(field * 8 + 2), varint(bytes.length), bytes]);

const stringField = (field: number, text: string): Buffer => bytesField(field, Buffer.from(text));

function doubleField(field: number, value: number): Buffer {
  const bytes = Buffer.alloc(9);
  bytes[0] = field * 8 + 1;
  bytes.writeDoubleLE(value, 1);
  return bytes;
}

function floatField(field: number, value: number): Buffer {
  const bytes = Buffer.alloc(5);
  bytes[0] = field * 8 + 5;
  bytes.writeFloatLE(value, 1);
  return bytes;
}

function packed(values: Float64Array): Buffer {
  const bytes = Buffer.alloc(8 * values.length);
  values.forEach((value, i) => bytes.writeDoubleLE(value, 8 * i));
  return bytes;
}

// ------------------------------------------------------------------------------------------------- records

function record(data: Buffer): Buffer {
  const bytes = Buffer.alloc(16 + data.length);
  bytes.writeBigUInt64LE(BigInt(data.length), 0);
  bytes.writeUInt32LE(masked(bytes.subarray(0, 8)), 8);
  data.copy(bytes, 12);
  bytes.writeUInt32LE(masked(data), 12 + data.length);
  return bytes;
}

function masked(bytes: Uint8Array): number {
  const crc = crc32c(bytes);
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}

/** Castagnoli's polynomial, reflected. */
const TABLE = Uint32Array.from({ length: 256 }, (_, i) => {
  let crc = i;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  return crc;
});

function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = TABLE[(crc ^ byte) & 0xff]! ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}
