/**
 * Checkpoints in PyTorch's format before 1.6: five pickles one after the other (a magic number, the version, the
 * writer's machine, the values, the storages' keys), then for each storage its number of elements and their bytes.
 * Source: torch/serialization.py, _legacy_save and _legacy_load.
 */

import type { FileHandle } from 'node:fs/promises';
import { show } from '../errors.js';
import { corrupt, unsupported } from './format-error.js';
import { Budget, runPickle, TooShort, type PickleEnvironment } from './pickle.js';
import { requireBytes, requireOneSize, StorageReference } from './storages.js';
import { storageReference, torchGlobals } from './torch-globals.js';
import { readInto } from './zip.js';

/** The first pickle: the number 0x1950a86a20f9469cfc6c. */
const MAGIC = /^\x80.\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19\./s;
const PROTOCOL = 1001;

/** Whether a file that begins so is of this format. */
export const isLegacy = (head: Buffer): boolean => MAGIC.test(head.toString('latin1'));

export interface LegacyFile {
  readonly bigEndian: boolean;
  /** Of the values. */
  readonly pickle: Uint8Array;
  bytes(storage: StorageReference, start: number, length: number): Promise<Uint8Array>;
}

/** Throws FormatError. */
export async function openLegacy(file: FileHandle, fileBytes: number): Promise<LegacyFile> {
  const { pickles, references, end } = await readPickles(file, fileBytes);
  const [, , system, values, keys] = pickles as [Pickle, Pickle, Pickle, Pickle, Pickle];
  const littleEndian = orderOf(system.value);
  if (!Array.isArray(keys.value)) throw corrupt('it has no list of its storages');

  const places = new Map<string, { start: number; bytes: number }>();
  let at = end;
  for (const name of keys.value as unknown[]) {
    const reference = typeof name === 'string' ? references.get(name) : undefined;
    if (reference === undefined || places.has(reference.key))
      throw corrupt('its list of storages is not that of its values');
    const count = Buffer.alloc(8);
    await readInto(file, count, at);
    const elements = littleEndian ? count.readBigInt64LE() : count.readBigInt64BE();
    const bytes = Number(elements) * reference.elementBytes;
    if (elements < 0n || at + 8 + bytes > fileBytes) throw corrupt('it ends too early');
    requireBytes(reference, bytes);
    places.set(reference.key, { start: at + 8, bytes });
    at += 8 + bytes;
  }
  if (at !== fileBytes) throw corrupt('it goes on behind its last storage');
  return {
    bigEndian: !littleEndian,
    pickle: Buffer.from(values.bytes),
    bytes: async ({ key }, start, length) => {
      const place = places.get(key);
      if (place === undefined) throw corrupt(`its storage ${key} is missing`);
      if (start + length > place.bytes) throw corrupt(`its storage ${key} is too short`);
      const bytes = new Uint8Array(length);
      await readInto(file, bytes, place.start + start);
      return bytes;
    },
  };
}

interface Pickle {
  readonly value: unknown;
  readonly bytes: Buffer;
}

/** Whether the writer's machine had the lowest byte of a number first. */
function orderOf(system: unknown): boolean {
  const littleEndian: unknown = system instanceof Map ? system.get('little_endian') : undefined;
  if (typeof littleEndian === 'boolean') return littleEndian;
  throw corrupt('it does not say in which order its bytes are');
}

/**
 * Pickles do not say how long they are: more and more of the file is read until all five are whole. The storages'
 * places follow from the bytes of an element, and those are said where the values refer to them.
 */
async function readPickles(
  file: FileHandle,
  fileBytes: number,
): Promise<{ pickles: Pickle[]; references: ReadonlyMap<string, StorageReference>; end: number }> {
  for (let size = 2 ** 18; ; size *= 4) {
    const head = Buffer.alloc(Math.min(size, fileBytes));
    await readInto(file, head, 0);
    const references = new Map<string, StorageReference>();
    const globals = torchGlobals(({ dtype }) => ({ dtype, shape: [0], data: new Uint8Array(0) }));
    const collecting: PickleEnvironment = {
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
    try {
      const pickles: Pickle[] = [];
      const budget = new Budget(head.length);
      let end = 0;
      while (pickles.length < 5) {
        const rest = head.subarray(end);
        const { value, length } = runPickle(rest, collecting, budget);
        if (pickles.length === 1 && value !== PROTOCOL) {
          throw unsupported(`its format has the version ${show(value)}`);
        }
        if (pickles.length === 2) orderOf(value);
        pickles.push({ value, bytes: rest.subarray(0, length) });
        end += length;
      }
      return { pickles, references, end };
    } catch (error) {
      if (!(error instanceof TooShort) || size >= fileBytes) throw error;
    }
  }
}
