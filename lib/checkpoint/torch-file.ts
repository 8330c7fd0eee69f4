/**
 * Checkpoints of torch.save. Today's zip format (1.6 and later) is a pickle that describes the values, and a record of
 * raw bytes for each storage; torch-legacy has the format before. Source: torch/serialization.py and
 * caffe2/serialize/inline_container.cc.
 */

import type { FileHandle } from 'node:fs/promises';
import { crc32 } from 'node:zlib';
import { writeFileAtomic } from '../files.js';
import type { CheckpointFile, CheckpointFormat, StoredValue } from './checkpoint-file.js';
import { corrupt, unsupported } from './format-error.js';
import { openToRead, readFailure } from './open-file.js';
import { readPickle, type PickleEnvironment } from './pickle.js';
import { writePickle, type StorageName } from './pickle-writer.js';
import {
  CopyBudget,
  isContiguous,
  readView,
  requireBytes,
  requireOneSize,
  StorageReference,
  swapped,
  viewBytes,
  viewSize,
  type StorageSource,
  type TensorView,
} from './storages.js';
import { isSafetensors } from './safetensors.js';
import { StoredTensor } from './stored-tensor.js';
import { DTYPES, isTensorData, type TensorData } from './tensor-data.js';
import { storageReference, torchGlobals } from './torch-globals.js';
import { isLegacy, openLegacy } from './torch-legacy.js';
import { OpaqueObject, OrderedDict, type CheckpointValue } from './value.js';
import { ALIGNMENT, readInto, ZipReader, ZipWriter, type ZipEntry } from './zip.js';

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
 * Reads a checkpoint of torch.save, in today's format or that before PyTorch 1.6, or of {@link saveTorchFile}.
 *
 * @returns the values as {@link CheckpointValue} says; tensors that share a storage in Python and are contiguous
 *   share their bytes here
 * @throws CortorchError that names the file and the remedy: ERR_CHECKPOINT_NOT_FOUND; ERR_CHECKPOINT_CORRUPT if
 *   it is damaged or no checkpoint; ERR_CHECKPOINT_UNSUPPORTED if it holds what is not read here, such as a
 *   pickled model; ERR_READ_FAILED if the system cannot read it
 */
export async function loadTorchFile(path: string): Promise<CheckpointValue> {
  return (await loadTorch(path)).value;
}

/** The same, and in which format it was. */
export async function loadTorch(
  path: string,
  { exactFloats = false }: { readonly exactFloats?: boolean } = {},
): Promise<{ readonly format: TorchArchive['format']; readonly value: CheckpointValue }> {
  let file: FileHandle | undefined;
  try {
    file = await openToRead(path);
    const archive = await openArchive(file);
    // The pickle is run first, with tensors whose bytes are missing; then storage after storage is read.
    const pending: { view: TensorView; tensor: { -readonly [K in keyof TensorData]: TensorData[K] } }[] = [];
    const value = archive.parse((view) => {
      const tensor = { dtype: view.dtype, shape: [...view.shape], data: new Uint8Array(0) };
      pending.push({ view, tensor });
      return tensor;
    }, exactFloats);
    const storages = new Map<string, Uint8Array>();
    const copies = new CopyBudget(archive.fileBytes);
    for (const { view, tensor } of pending) {
      const { storage } = view;
      const bytes = storages.get(storage.key) ?? (await archive.bytes(storage, 0, storage.bytes));
      storages.set(storage.key, bytes);
      if (!isContiguous(view) || archive.bigEndian) copies.take(viewSize(view));
      const elements = viewBytes(view, bytes.subarray(storage.start * storage.elementBytes));
      tensor.data = archive.bigEndian ? swapped(elements, view.dtype) : elements;
    }
    return { format: archive.format, value: value as CheckpointValue };
  } catch (error) {
    throw readFailure(path, error);
  } finally {
    await file?.close();
  }
}

/** The same with tensors that are read one by one, of which the file must stay open. */
export async function openTorchFile(path: string): Promise<CheckpointFile> {
  let file: FileHandle | undefined;
  try {
    file = await openToRead(path);
    const archive = await openArchive(file);
    const copies = new CopyBudget(archive.fileBytes);
    const value = archive.parse((view) => {
      let toPay = isContiguous(view) ? 0 : viewSize(view);
      return new StoredTensor(view.dtype, [...view.shape], archive.identity(view.storage.key), async () => {
        try {
          copies.take(toPay);
          toPay = 0; // it may be read again
          return { dtype: view.dtype, shape: view.shape, data: await readView(archive, view) };
        } catch (error) {
          throw readFailure(path, error);
        }
      });
    });
    const opened = file;
    const close = (): Promise<void> => opened.close();
    const { format } = archive;
    return { path, format, value: value as StoredValue, metadata: {}, close, [Symbol.asyncDispose]: close };
  } catch (error) {
    await file?.close();
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

/** A file of torch.save, whichever its format. */
interface TorchArchive extends StorageSource {
  readonly format: Exclude<CheckpointFormat, 'safetensors'>;
  readonly fileBytes: number;
  /** The values, with what `tensor` makes of the views. Throws FormatError. */
  parse(tensor: (view: TensorView) => TensorData | StoredTensor, exactFloats?: boolean): unknown;
  /** One object for each storage. */
  identity(key: string): object;
}

async function openArchive(file: FileHandle): Promise<TorchArchive> {
  const found = await file.stat();
  const head = Buffer.alloc(Math.min(64, found.size));
  await readInto(file, head, 0);
  const identities = new Map<string, object>();
  const identity = (key: string): object => {
    const known = identities.get(key) ?? {};
    identities.set(key, known);
    return known;
  };
  if (isLegacy(head)) {
    const legacy = await openLegacy(file, found.size);
    return {
      ...{ format: 'torch-legacy', identity, fileBytes: found.size, bigEndian: legacy.bigEndian },
      bytes: (storage, start, length) => legacy.bytes(storage, start, length),
      parse: (tensor, exactFloats) => readPickle(legacy.pickle, environmentOf(tensor, exactFloats)),
    };
  }
  checkHead(head);
  return openZip(await ZipReader.open(file, found.size), found.size, identity);
}

const environmentOf = (
  tensor: (view: TensorView) => TensorData | StoredTensor,
  exactFloats = false,
): PickleEnvironment => {
  const globals = torchGlobals(tensor);
  const references = new Map<string, StorageReference>();
  return {
    exactFloats,
    global: (module, name) => globals.get(`${module}.${name}`),
    persistent: (id) => {
      const found = storageReference(id);
      if (found instanceof StorageReference) {
        requireOneSize(references.get(found.key), found);
        references.set(found.key, found);
      }
      return found;
    },
  };
};

async function openZip(zip: ZipReader, fileBytes: number, identity: (key: string) => object): Promise<TorchArchive> {
  const pickleName = [...zip.entries.keys()].find((name) => /^[^/]*\/data\.pkl$/.test(name));
  if (pickleName === undefined) {
    throw unsupported('it is a zip archive, but no checkpoint of torch.save (it has no data.pkl)', 'check the name');
  }
  const folder = pickleName.slice(0, -'data.pkl'.length);
  const entryOf = (name: string): ZipEntry => {
    const entry = zip.entries.get(folder + name);
    if (entry === undefined) throw corrupt(`its record ${name} is missing`);
    return entry;
  };
  let bigEndian = false;
  if (zip.entries.has(`${folder}byteorder`)) {
    const order = Buffer.from(await zip.read(entryOf('byteorder'))).toString();
    if (order !== 'little' && order !== 'big') throw corrupt(`its byte order is ${JSON.stringify(order.slice(0, 20))}`);
    bigEndian = order === 'big';
  }
  const pickle = await zip.read(entryOf('data.pkl'));
  const script = zip.entries.has(`${folder}constants.pkl`);
  return {
    format: script ? 'torchscript' : 'torch-zip',
    ...{ fileBytes, bigEndian, identity },
    bytes: (storage, start, length) => {
      const entry = entryOf(`data/${storage.key}`);
      requireBytes(storage, entry.size);
      return zip.readPart(entry, start, length);
    },
    parse: (tensor, exactFloats) => {
      const value = readPickle(pickle, environmentOf(tensor, exactFloats));
      return script ? scriptParameters(value) : value;
    },
  };
}

/** The tensors of a TorchScript module by the paths of their attributes, as its state_dict has them. */
function scriptParameters(root: CheckpointValue): OrderedDict {
  const parameters = new OrderedDict();
  const walk = (value: unknown, path: string): void => {
    if (isTensorData(value) || value instanceof StoredTensor) {
      parameters.set(path, value as TensorData);
      return;
    }
    const within = (key: unknown): string => (path === '' ? String(key) : `${path}.${String(key)}`);
    if (value instanceof OpaqueObject) {
      if (value.state !== undefined) walk(value.state, path);
      else value.args.forEach((item, i) => walk(item, within(i)));
    } else if (Array.isArray(value)) value.forEach((item, i) => walk(item, within(i)));
    else if (value instanceof Map) for (const [key, item] of value) walk(item, within(key));
  };
  walk(root, '');
  return parameters;
}

/** Tells files that are no zip archive apart, since the remedies differ. */
function checkHead(head: Buffer): void {
  const text = head.toString('latin1');
  if (text.startsWith('PK\x03\x04')) return;
  if (head.length === 0) throw corrupt('it is empty');
  if (head[0] === 0x80) throw unsupported('it is a plain pickle', 'write it with torch.save');
  if (isSafetensors(head)) throw unsupported('it is a safetensors file', 'read it with openCheckpoint');
  if (text.startsWith('\x1f\x8b')) throw unsupported('it is compressed with gzip', 'unpack it with gunzip');
  if (text.startsWith('version https://git-lfs')) {
    throw corrupt('it is only a pointer of Git LFS', 'get the file itself with "git lfs pull"');
  }
  if (/^\s*<(!doctype|html)/i.test(text)) {
    throw corrupt('it is a web page, probably one that came instead of the download', 'download it again');
  }
  throw corrupt('it is no zip archive, as torch.save writes them');
}
