/**
 * The IDX format of MNIST and its relatives, plain or gzip-compressed.
 *
 * Two zero bytes, a byte for the element type, a byte for the number of dimensions, the dimensions as
 * big-endian 32-bit integers, then the elements, big-endian, the last dimension fastest.
 * Source: http://yann.lecun.com/exdb/mnist/, "the IDX file format".
 */

import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { createGunzip } from 'node:zlib';
import { CortorchError } from '../errors.js';

/** An array as an IDX file holds it; `data` in this machine's byte order, row-major. */
export type IdxArray =
  | { readonly dtype: 'uint8'; readonly shape: readonly number[]; readonly data: Uint8Array }
  | { readonly dtype: 'int8'; readonly shape: readonly number[]; readonly data: Int8Array }
  | { readonly dtype: 'int16'; readonly shape: readonly number[]; readonly data: Int16Array }
  | { readonly dtype: 'int32'; readonly shape: readonly number[]; readonly data: Int32Array }
  | { readonly dtype: 'float32'; readonly shape: readonly number[]; readonly data: Float32Array }
  | { readonly dtype: 'float64'; readonly shape: readonly number[]; readonly data: Float64Array };

const TYPES: Readonly<Record<number, { dtype: IdxArray['dtype']; bytes: 1 | 2 | 4 | 8 }>> = {
  0x08: { dtype: 'uint8', bytes: 1 },
  0x09: { dtype: 'int8', bytes: 1 },
  0x0b: { dtype: 'int16', bytes: 2 },
  0x0c: { dtype: 'int32', bytes: 4 },
  0x0d: { dtype: 'float32', bytes: 4 },
  0x0e: { dtype: 'float64', bytes: 8 },
};

const REPLACE = 'get the file again, or name the right folder with --data-dir';

/**
 * Reads an IDX file. Whether it is compressed is told by its content, not by its name.
 *
 * @param path the file
 * @returns the elements with their type and shape; a scalar's shape is `[]`
 * @throws CortorchError ERR_DATASET_NOT_FOUND if there is no such file; ERR_DATASET_CORRUPT, naming the file, if it
 *   is no IDX file, ends too early, goes on too long, or is a damaged gzip file; ERR_READ_FAILED if the system
 *   cannot read it
 */
export async function readIdx(path: string): Promise<IdxArray> {
  const { header, body } = await readParts(path);
  const { dtype, shape, bytes } = header;
  const swapped = bytes === 2 ? body.swap16() : bytes === 4 ? body.swap32() : bytes === 8 ? body.swap64() : body;
  const { buffer, byteOffset } = swapped;
  const length = swapped.length / bytes;
  switch (dtype) {
    case 'uint8':
      return { dtype, shape, data: new Uint8Array(buffer, byteOffset, length) };
    case 'int8':
      return { dtype, shape, data: new Int8Array(buffer, byteOffset, length) };
    case 'int16':
      return { dtype, shape, data: new Int16Array(buffer, byteOffset, length) };
    case 'int32':
      return { dtype, shape, data: new Int32Array(buffer, byteOffset, length) };
    case 'float32':
      return { dtype, shape, data: new Float32Array(buffer, byteOffset, length) };
    case 'float64':
      return { dtype, shape, data: new Float64Array(buffer, byteOffset, length) };
  }
}

/** Grey images of one size. */
export interface IdxImages {
  readonly count: number;
  readonly height: number;
  readonly width: number;
  /** count × height × width bytes, 0 for background. */
  readonly data: Uint8Array;
}

/**
 * Reads images: an IDX file of bytes with the shape [count, height, width].
 *
 * @throws CortorchError as {@link readIdx}, and ERR_DATASET_CORRUPT if it holds something else
 */
export async function readIdxImages(path: string): Promise<IdxImages> {
  const { dtype, shape, data } = await readIdx(path);
  const [count, height, width] = shape;
  if (dtype !== 'uint8' || shape.length !== 3 || count === 0 || height === 0 || width === 0) {
    const found = `${dtype} of shape [${shape.join(', ')}]`;
    throw corrupt(path, `expected images, uint8 of shape [count, height, width], but it holds ${found}`);
  }
  return { count: count!, height: height!, width: width!, data };
}

/**
 * Reads labels: an IDX file of bytes with the shape [count].
 *
 * @param classes number of classes; every label must be below it
 * @throws CortorchError as {@link readIdx}, and ERR_DATASET_CORRUPT if it holds something else or a label is too large
 */
export async function readIdxLabels(path: string, classes: number): Promise<Uint8Array> {
  const { dtype, shape, data } = await readIdx(path);
  if (dtype !== 'uint8' || shape.length !== 1) {
    const found = `${dtype} of shape [${shape.join(', ')}]`;
    throw corrupt(path, `expected labels, uint8 of shape [count], but it holds ${found}`);
  }
  const wrong = data.findIndex((label) => label >= classes);
  if (wrong >= 0) {
    throw corrupt(
      path,
      `label ${wrong} is ${data[wrong]}, but with ${classes} classes labels go from 0 to ${classes - 1}`,
    );
  }
  return data;
}

/** Images with their labels. */
export interface IdxImageSet extends IdxImages {
  readonly labels: Uint8Array;
}

/**
 * Reads images and their labels and compares the counts.
 *
 * @throws CortorchError as {@link readIdxImages} and {@link readIdxLabels}
 */
export async function readIdxImageSet(imagesPath: string, labelsPath: string, classes: number): Promise<IdxImageSet> {
  const [images, labels] = await Promise.all([readIdxImages(imagesPath), readIdxLabels(labelsPath, classes)]);
  if (images.count !== labels.length) {
    throw corrupt(
      imagesPath,
      `it holds ${images.count} images, but ${labelsPath} holds ${labels.length} labels: they do not belong together`,
    );
  }
  return { ...images, labels };
}

function corrupt(path: string, what: string, cause?: unknown): CortorchError {
  return new CortorchError('ERR_DATASET_CORRUPT', `${path}: ${what}; ${REPLACE}`, { cause });
}

interface Header {
  readonly dtype: IdxArray['dtype'];
  readonly bytes: 1 | 2 | 4 | 8;
  readonly shape: readonly number[];
  readonly headerBytes: number;
  /** What the whole file must be long, uncompressed. */
  readonly totalBytes: number;
}

async function readParts(path: string): Promise<{ header: Header; body: Buffer }> {
  let file;
  try {
    file = await open(path, 'r');
  } catch (error) {
    throw readFailure(path, error);
  }
  let magic: Buffer;
  let fileBytes: number;
  try {
    fileBytes = (await file.stat()).size;
    const head = await file.read(Buffer.alloc(2), 0, 2, 0);
    magic = head.buffer.subarray(0, head.bytesRead);
  } catch (error) {
    throw readFailure(path, error);
  } finally {
    await file.close();
  }
  const compressed = magic[0] === 0x1f && magic[1] === 0x8b;

  // Chunks are collected until the length that the header promises, and no further: a few bytes of gzip
  // can unpack to gigabytes, and a header can promise anything.
  const input = createReadStream(path);
  const gunzip = compressed ? createGunzip() : undefined;
  // pipe() does not hand errors on.
  if (gunzip !== undefined) input.once('error', (error) => gunzip.destroy(error)).pipe(gunzip);
  const chunks: Buffer[] = [];
  let received = 0;
  let header: Header | undefined;
  try {
    for await (const chunk of (gunzip ?? input) as AsyncIterable<Buffer>) {
      chunks.push(chunk);
      received += chunk.length;
      if (header === undefined && received >= 4) {
        header = parseHeader(path, received <= chunk.length ? chunk : Buffer.concat(chunks));
        if (header !== undefined && !compressed) checkLength(path, header, fileBytes);
      }
      if (header !== undefined && received > header.totalBytes) break;
    }
  } catch (error) {
    if (error instanceof CortorchError) throw error;
    const code = (error as NodeJS.ErrnoException).code ?? '';
    if (code === 'Z_BUF_ERROR') throw corrupt(path, 'the gzip file ends too early', error);
    if (code.startsWith('Z_')) throw corrupt(path, `the gzip file is damaged (${(error as Error).message})`, error);
    throw readFailure(path, error);
  } finally {
    input.destroy();
    gunzip?.destroy();
  }
  if (header === undefined) throw corrupt(path, `it ends within the header, after ${received} bytes`);
  checkLength(path, header, received);
  return { header, body: Buffer.concat(chunks, received).subarray(header.headerBytes) };
}

/** @returns undefined while `bytes` does not reach to the header's end */
function parseHeader(path: string, bytes: Buffer): Header | undefined {
  const type = TYPES[bytes[2]!];
  if (bytes[0] !== 0 || bytes[1] !== 0 || type === undefined) {
    const found = [...bytes.subarray(0, 4)].map((byte) => byte.toString(16).padStart(2, '0')).join(' ');
    throw corrupt(path, `not an IDX file: it starts with the bytes ${found} (00 00, a type from 08 to 0e, dimensions)`);
  }
  const dimensions = bytes[3]!;
  const headerBytes = 4 + 4 * dimensions;
  if (bytes.length < headerBytes) return undefined;
  const shape = Array.from({ length: dimensions }, (_, i) => bytes.readUInt32BE(4 + 4 * i));
  // A product beyond 2^53 is no longer exact, but then it is no file's length either.
  const totalBytes = headerBytes + shape.reduce((product, n) => product * n, type.bytes);
  return { ...type, shape, headerBytes, totalBytes };
}

function checkLength(path: string, header: Header, bytes: number): void {
  if (bytes === header.totalBytes) return;
  const promised = `${header.dtype} of shape [${header.shape.join(', ')}]`;
  if (bytes < header.totalBytes) {
    throw corrupt(path, `it ends too early: ${promised} takes ${header.totalBytes} bytes, but there are ${bytes}`);
  }
  throw corrupt(path, `it is too long: ${promised} takes ${header.totalBytes} bytes, but there are more`);
}

function readFailure(path: string, error: unknown): CortorchError {
  const code = (error as NodeJS.ErrnoException).code;
  if (code === 'ENOENT' || code === 'ENOTDIR') {
    const message = `${path}: there is no such file; name the folder that holds it with --data-dir`;
    return new CortorchError('ERR_DATASET_NOT_FOUND', message, { cause: error });
  }
  return new CortorchError('ERR_READ_FAILED', `${path}: cannot be read (${(error as Error).message})`, {
    cause: error,
  });
}
