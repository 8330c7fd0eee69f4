/**
 * Checkpoints in PyTorch's zip format (1.6 and later): a pickle that describes the values, and a record of raw
 * bytes for each storage. Source: torch/serialization.py and caffe2/serialize/inline_container.cc.
 */

import { open } from 'node:fs/promises';
import { crc32 } from 'node:zlib';
import { CortorchError } from '../errors.js';
import { writeFileAtomic } from '../files.js';
import { corrupt, FormatError, unsupported } from './format-error.js';
import { contiguousStrides, readPickle, writePickle, type StorageName } from './pickle.js';
import { DTYPES, elementCount, type TensorData } from './tensor-data.js';
import { storageReference, torchGlobals, type StorageReference, type TensorView } from './torch-globals.js';
import type { CheckpointValue } from './value.js';
import { ALIGNMENT, ZipReader, ZipWriter } from './zip.js';

// Storages are written as they lie in memory; the archive's byteorder record says that this is little-endian.
// Every processor that libtorch supports here is.

/** The folder within the archive. torch.save takes the file's name; here equal values give equal bytes. */
const FOLDER = 'archive';

/** The format's version, as PyTorch 1.6 to 2.14 write it. */
const VERSION = '3\n';

/**
 * Writes a checkpoint that Python reads with `torch.load(path, weights_only=True)`. Atomic, see
 * {@link writeFileAtomic}; equal values give equal bytes.
 *
 * @param path the file; its folder must exist
 * @param value the values; {@link CheckpointValue} says how they map to Python's. A tensor (or another tensor
 *   over exactly the same bytes) that comes several times is stored once and shares its storage in Python.
 *   Tensors must not change until the promise is settled: their bytes are not copied.
 * @throws CortorchError ERR_INVALID_ARGUMENT, naming the place, for a value that a checkpoint cannot hold;
 *   ERR_WRITE_FAILED if the file cannot be written
 */
export async function saveTorchFile(path: string, value: CheckpointValue | object): Promise<void> {
  const storages = new StorageTable();
  const pickle = writePickle(value, (tensor) => storages.nameOf(tensor));
  await writeFileAtomic(path, archive(pickle, storages.contents));
}

/**
 * Reads a checkpoint of torch.save or {@link saveTorchFile}.
 *
 * @returns the values as {@link CheckpointValue} says; tensors that share a storage in Python and are contiguous
 *   share their bytes here
 * @throws CortorchError that names the file and the remedy: ERR_CHECKPOINT_NOT_FOUND; ERR_CHECKPOINT_CORRUPT if
 *   it is damaged or no checkpoint; ERR_CHECKPOINT_UNSUPPORTED if it holds what is not read here, such as a
 *   pickled model; ERR_READ_FAILED if the system cannot read it
 */
export async function loadTorchFile(path: string): Promise<CheckpointValue> {
  try {
    const file = await open(path, 'r');
    try {
      const found = await file.stat();
      if (!found.isFile()) throw unsupported('it is not a regular file', 'name a checkpoint file');
      const head = (await file.read(Buffer.alloc(64), 0, 64, 0)).buffer.subarray(0, Math.min(64, found.size));
      checkHead(head);
      return await readArchive(await ZipReader.open(file, found.size), found.size);
    } finally {
      await file.close();
    }
  } catch (error) {
    throw readFailure(path, error);
  }
}

// ---------------------------------------------------------------------------------------------- writing

/** Names the storages of the tensors that are written. */
class StorageTable {
  /** Of the storage data/<i>. */
  readonly contents: Uint8Array[] = [];
  readonly #keys = new Map<ArrayBufferLike, Map<string, string>>();

  nameOf({ dtype, data }: TensorData): StorageName {
    // Tensors over the same bytes share a storage, so that tied weights stay tied. An empty one has no bytes.
    const sameBuffer = this.#keys.get(data.buffer) ?? new Map<string, string>();
    this.#keys.set(data.buffer, sameBuffer);
    const place = `${data.byteOffset} ${data.byteLength} ${dtype}`;
    let key = data.length === 0 ? undefined : sameBuffer.get(place);
    if (key === undefined) {
      key = String(this.contents.length);
      this.contents.push(data);
      sameBuffer.set(place, key);
    }
    const { bytes, storage } = DTYPES[dtype];
    if (storage === null) {
      return { type: ['torch.storage', 'UntypedStorage'], key, elements: data.length, dtype };
    }
    return { type: ['torch', storage], key, elements: data.length / bytes };
  }
}

/** The records in torch.save's order. */
function* archive(pickle: Uint8Array, storages: readonly Uint8Array[]): Generator<Uint8Array> {
  const zip = new ZipWriter();
  yield* zip.entry(`${FOLDER}/data.pkl`, pickle);
  yield* zip.entry(`${FOLDER}/.format_version`, Buffer.from('1'));
  yield* zip.entry(`${FOLDER}/.storage_alignment`, Buffer.from(String(ALIGNMENT)));
  yield* zip.entry(`${FOLDER}/byteorder`, Buffer.from('little'));
  for (const [i, data] of storages.entries()) yield* zip.entry(`${FOLDER}/data/${i}`, data);
  yield* zip.entry(`${FOLDER}/version`, Buffer.from(VERSION));
  yield* zip.entry(`${FOLDER}/.data/serialization_id`, Buffer.from(serializationId(zip)));
  yield* zip.end();
}

/** 40 digits that differ between files of different content: as PyTorch, from the names and the checksums. */
function serializationId(zip: ZipWriter): string {
  const names = crc32(zip.entries.map((entry) => entry.name).join('\n'));
  const contents = crc32(zip.entries.map((entry) => `${entry.crc32} ${entry.size}`).join('\n'));
  return String(names).padStart(20, '0') + String(contents).padStart(20, '0');
}

// ---------------------------------------------------------------------------------------------- reading

/** Copies of tensors that are not contiguous may take this much memory beyond the file's size. */
const MAX_COPIES = 32 * 2 ** 20;

async function readArchive(zip: ZipReader, fileBytes: number): Promise<CheckpointValue> {
  const pickleName = [...zip.entries.keys()].find((name) => /^[^/]*\/data\.pkl$/.test(name));
  if (pickleName === undefined) {
    throw unsupported(
      'it is a zip archive, but no checkpoint of torch.save (it has no data.pkl)',
      'check the name',
    );
  }
  const folder = pickleName.slice(0, -'data.pkl'.length);
  if (zip.entries.has(`${folder}constants.pkl`)) {
    throw unsupported(
      'it is a TorchScript archive',
      'save its parameters: in Python, torch.save(torch.jit.load(IN).state_dict(), OUT)',
    );
  }
  const record = async (name: string): Promise<Uint8Array> => {
    const entry = zip.entries.get(folder + name);
    if (entry === undefined) throw corrupt(`its record ${name} is missing`);
    return zip.read(entry);
  };
  if (zip.entries.has(`${folder}byteorder`)) {
    const order = Buffer.from(await record('byteorder')).toString();
    if (order !== 'little') {
      throw unsupported(
        `its byte order is ${JSON.stringify(order.slice(0, 20))}`,
        'save it on a little-endian machine',
      );
    }
  }

  // The pickle is run first, with tensors whose bytes are missing; then storage after storage is read.
  const pending: { view: TensorView; tensor: { -readonly [K in keyof TensorData]: TensorData[K] } }[] = [];
  const globals = torchGlobals((view) => {
    const tensor = { dtype: view.dtype, shape: [...view.shape], data: new Uint8Array(0) };
    pending.push({ view, tensor });
    return tensor;
  });
  const value = readPickle(await record('data.pkl'), {
    global: (module, name) => globals.get(`${module}.${name}`),
    persistent: storageReference,
  });

  const contents = new Map<string, { storage: StorageReference; bytes: Uint8Array }>();
  let copies = fileBytes + MAX_COPIES;
  for (const { view, tensor } of pending) {
    const { storage } = view;
    let content = contents.get(storage.key);
    if (content === undefined) {
      content = { storage, bytes: await record(`data/${storage.key}`) };
      contents.set(storage.key, content);
    }
    if (content.bytes.length !== storage.bytes) {
      throw corrupt(
        `its storage ${storage.key} has ${content.bytes.length} bytes, but its pickle says ${storage.bytes}`,
      );
    }
    if (!isContiguous(view)) copies -= elementCount(view.shape) * DTYPES[view.dtype].bytes;
    if (copies < 0) {
      throw unsupported(
        'it has expanded tensors that take far more memory than the file',
        'save them with .clone()',
      );
    }
    tensor.data = viewBytes(view, content.bytes);
  }
  return value;
}

function isContiguous({ shape, strides }: TensorView): boolean {
  const contiguous = contiguousStrides(shape);
  return shape.includes(0) || shape.every((size, i) => size === 1 || strides[i] === contiguous[i]);
}

/** The elements of a view, contiguous: the storage's own memory where they lie so there, else a copy. */
function viewBytes(view: TensorView, storage: Uint8Array): Uint8Array {
  const bytes = DTYPES[view.dtype].bytes;
  const length = elementCount(view.shape) * bytes;
  if (isContiguous(view)) {
    const start = length === 0 ? 0 : view.offset * bytes;
    return storage.subarray(start, start + length);
  }
  // Elements of more than four bytes are copied as several words, a further dimension.
  const words = Math.max(1, bytes / 4);
  const word = bytes / words;
  const WordArray: new (
    buffer: ArrayBufferLike,
    at?: number,
    length?: number,
  ) => Uint32Array | Uint16Array | Uint8Array =
    word === 4 ? Uint32Array : word === 2 ? Uint16Array : Uint8Array;
  const source = new WordArray(storage.buffer, storage.byteOffset, Math.floor(storage.length / word));
  const target = new WordArray(new ArrayBuffer(length));
  const shape = [...view.shape, words];
  const strides = [...view.strides.map((stride) => stride * words), 1];
  const last = shape.length - 1;
  let written = 0;
  const copy = (dimension: number, from: number): void => {
    const size = shape[dimension]!;
    const stride = strides[dimension]!;
    for (let i = 0; i < size; i++) {
      if (dimension === last) target[written++] = source[from + i]!;
      else copy(dimension + 1, from + i * stride);
    }
  };
  copy(0, view.offset * words);
  return new Uint8Array(target.buffer);
}

/** Tells files that are no zip archive apart, since the remedies differ. */
function checkHead(head: Buffer): void {
  const text = head.toString('latin1');
  if (text.startsWith('PK\x03\x04')) return;
  if (head.length === 0) throw corrupt('it is empty');
  // The pickled number 0x1950a86a20f9469cfc6c, with which torch.save began before 1.6.
  if (/^\x80.\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19/s.test(text)) {
    throw unsupported(
      'it is in the format of PyTorch before 1.6',
      'write it anew: in Python, torch.save(torch.load(IN), OUT)',
    );
  }
  if (head[0] === 0x80) throw unsupported('it is a plain pickle', 'write it with torch.save');
  if (head[8] === 0x7b && head.length > 8 && head.readBigUInt64LE(0) < 100_000_000n) {
    throw unsupported('it looks like a safetensors file', 'write it with torch.save');
  }
  if (text.startsWith('\x1f\x8b')) throw unsupported('it is compressed with gzip', 'unpack it with gunzip');
  if (text.startsWith('version https://git-lfs')) {
    throw corrupt('it is only a pointer of Git LFS', 'get the file itself with "git lfs pull"');
  }
  if (/^\s*<(!doctype|html)/i.test(text)) {
    throw corrupt('it is a web page, probably one that came instead of the download', 'download it again');
  }
  throw corrupt('it is no zip archive, as torch.save writes them');
}

/** What a reader threw, as the error that names the file. */
export function readFailure(path: string, error: unknown): unknown {
  if (error instanceof FormatError) {
    const code = error.kind === 'corrupt' ? 'ERR_CHECKPOINT_CORRUPT' : 'ERR_CHECKPOINT_UNSUPPORTED';
    return new CortorchError(code, `cannot read the checkpoint ${path}: ${error.message}; ${error.remedy}`);
  }
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === 'ENOENT' || code === 'ENOTDIR') {
    const text = `there is no checkpoint ${path}; check the name`;
    return new CortorchError('ERR_CHECKPOINT_NOT_FOUND', text, { cause: error });
  }
  if (code?.startsWith('E') && (error as NodeJS.ErrnoException).syscall !== undefined) {
    return new CortorchError('ERR_READ_FAILED', `cannot read the checkpoint ${path}: ${message}`, {
      cause: error,
    });
  }
  return error;
}
