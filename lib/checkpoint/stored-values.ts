/** What an open checkpoint holds, walked: its tensors by path, and the rest as plain data. */

import { CortorchError } from '../errors.js';
import { StoredTensor, type StoredValue } from './checkpoint-file.js';
import { isTensorData } from './tensor-data.js';
import { OpaqueObject, PyFloat } from './value.js';

/** Values that lie in several places are visited in each: a small file can so describe a huge tree. */
const MAX_VISITS = 1_000_000;
const MAX_DEPTH = 500;

/** Characters of all paths together: a long key over many values is in the path of each. */
const MAX_TEXT = 2 ** 24;

/** What a walk may still do. */
class Walk {
  #left = MAX_VISITS;
  #text = MAX_TEXT;
  readonly #file: string;

  /** @param file for errors */
  constructor(file = 'the checkpoint') {
    this.#file = file;
  }

  visit(depth: number, text: number): void {
    this.#text -= text;
    if (--this.#left >= 0 && this.#text >= 0 && depth <= MAX_DEPTH) return;
    const message =
      `cannot list what ${this.#file} holds: its values are more than ${MAX_VISITS}, more than ${MAX_DEPTH} within ` +
      'each other, or their names are too long; save its state_dict alone';
    throw new CortorchError('ERR_CHECKPOINT_UNSUPPORTED', message);
  }
}

/**
 * Every tensor at any depth, with its path: keys and indices joined with dots, '' for a value that is a tensor.
 * One that lies in several places comes each time.
 *
 * @param file what to call it in an error
 * @throws CortorchError ERR_CHECKPOINT_UNSUPPORTED for values too many or too deep
 */
export function tensorsOf(value: StoredValue, file?: string): Generator<[path: string, tensor: StoredTensor]> {
  return walkTensors(value, '', 0, new Walk(file));
}

function* walkTensors(value: StoredValue, path: string, depth: number, walk: Walk): Generator<[string, StoredTensor]> {
  walk.visit(depth, path.length);
  const tensor = tensorOf(value);
  if (tensor !== undefined) yield [path, tensor];
  else {
    for (const [key, item] of childrenOf(value) ?? []) {
      yield* walkTensors(item, depth === 0 ? String(key) : `${path}.${String(key)}`, depth + 1, walk);
    }
  }
}

/** A tensor of the file, or an array of numpy, whose bytes are in the pickle and so in memory. */
function tensorOf(value: StoredValue): StoredTensor | undefined {
  if (value instanceof StoredTensor) return value;
  if (!isTensorData(value)) return undefined;
  return new StoredTensor(value.dtype, value.shape, value, () => Promise.resolve(value));
}

/** Items of a list or a dict, and what a record holds; undefined for what has none. */
export function childrenOf(value: StoredValue): [key: unknown, item: StoredValue][] | undefined {
  if (Array.isArray(value)) return [...(value as readonly StoredValue[]).entries()];
  if (value instanceof Map) return [...(value as ReadonlyMap<unknown, StoredValue>)];
  if (value instanceof OpaqueObject) {
    const { args, state, items } = value;
    const attributes = state === undefined ? [] : (childrenOf(state) ?? [['state', state]]);
    const own = items === undefined ? [] : childrenOf(items)!;
    return [...args.entries(), ...attributes, ...own] as [unknown, StoredValue][];
  }
  if (value instanceof PyFloat || value instanceof Uint8Array) return undefined;
  return typeof value === 'object' && value !== null ? Object.entries(value) : undefined;
}

/**
 * The values that are not tensors, for JSON: dicts as objects, bigints and numbers that JSON lacks as text, records as
 * objects with the class's name, bytes by their number. Tensors are left out of dicts, with the dicts that held nothing
 * else; in lists, null keeps their place.
 *
 * @returns undefined if there is nothing but tensors
 * @throws CortorchError ERR_CHECKPOINT_UNSUPPORTED for values too many or too deep
 */
export function withoutTensors(value: StoredValue, file?: string): unknown {
  return plain(value, '', 0, new Walk(file));
}

function plain(value: StoredValue, path: string, depth: number, walk: Walk): unknown {
  walk.visit(depth, path.length);
  if (tensorOf(value) !== undefined) return undefined;
  if (value instanceof Uint8Array) return `${value.length} bytes`;
  if (typeof value === 'bigint') return String(value);
  if (value instanceof PyFloat) return plain(value.value, path, depth, walk);
  if (typeof value === 'number') return Number.isFinite(value) ? value : String(value);
  const children = childrenOf(value);
  if (children === undefined) return value;
  const items = children.map(
    ([key, item]) => [String(key), plain(item, `${path}.${String(key)}`, depth + 1, walk)] as const,
  );
  const kept = items.filter(([, item]) => item !== undefined);
  if (value instanceof OpaqueObject) return { ...Object.fromEntries(kept), class: value.className };
  if (items.length > 0 && kept.length === 0) return undefined;
  if (Array.isArray(value)) return items.map(([, item]) => item ?? null);
  return Object.fromEntries(kept);
}
