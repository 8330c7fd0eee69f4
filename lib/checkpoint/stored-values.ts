/** What an open checkpoint holds, walked: its tensors by path, and the rest as plain data. */

import { CortorchError } from '../errors.js';
import { StoredTensor, type StoredValue } from './checkpoint-file.js';
import type { TensorData } from './tensor-data.js';
import { OrderedDict, PyFloat, Tuple, type CheckpointValue } from './value.js';

/** Values that lie in several places are visited in each: a small file can so describe a huge tree. */
const MAX_VISITS = 1_000_000;
const MAX_DEPTH = 500;

/** What a walk may still do. */
class Walk {
  #left = MAX_VISITS;

  visit(depth: number): void {
    if (--this.#left >= 0 && depth <= MAX_DEPTH) return;
    const message = `cannot show what the checkpoint holds: its values are more than ${MAX_VISITS}, or more than ${MAX_DEPTH} within each other; save its state_dict alone`;
    throw new CortorchError('ERR_CHECKPOINT_UNSUPPORTED', message);
  }
}

/**
 * Every tensor at any depth, with its path: keys and indices joined with dots, '' for a value that is a tensor.
 * One that lies in several places comes each time.
 *
 * @throws CortorchError ERR_CHECKPOINT_UNSUPPORTED for values too many or too deep
 */
export function tensorsOf(value: StoredValue): Generator<[path: string, tensor: StoredTensor]> {
  return walkTensors(value, '', 0, new Walk());
}

function* walkTensors(
  value: StoredValue,
  path: string,
  depth: number,
  walk: Walk,
): Generator<[string, StoredTensor]> {
  walk.visit(depth);
  if (value instanceof StoredTensor) yield [path, value];
  else {
    for (const [key, item] of childrenOf(value) ?? []) {
      yield* walkTensors(item, depth === 0 ? String(key) : `${path}.${String(key)}`, depth + 1, walk);
    }
  }
}

/** Items of a list or a dict; undefined for what has none. */
export function childrenOf(value: StoredValue): [key: unknown, item: StoredValue][] | undefined {
  if (Array.isArray(value)) return [...(value as readonly StoredValue[]).entries()];
  if (value instanceof Map) return [...(value as ReadonlyMap<unknown, StoredValue>)];
  if (isOpaque(value)) return undefined;
  return typeof value === 'object' && value !== null ? Object.entries(value) : undefined;
}

/** Instances of classes stand for what is no plain data. */
function isOpaque(value: unknown): value is object {
  if (typeof value !== 'object' || value === null) return false;
  if (Array.isArray(value) || value instanceof Map) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype !== Object.prototype && prototype !== null;
}

/**
 * The values that are not tensors, for JSON: dicts as objects, bigints and numbers that JSON lacks as text, what is
 * no plain data by its name. Tensors are left out of dicts, with the dicts that held nothing else; in lists, null
 * keeps their place.
 *
 * @returns undefined if there is nothing but tensors
 * @throws CortorchError ERR_CHECKPOINT_UNSUPPORTED for values too many or too deep
 */
export function withoutTensors(value: StoredValue): unknown {
  return plain(value, 0, new Walk());
}

function plain(value: StoredValue, depth: number, walk: Walk): unknown {
  walk.visit(depth);
  if (value instanceof StoredTensor) return undefined;
  if (typeof value === 'bigint') return String(value);
  if (value instanceof PyFloat) return plain(value.value, depth, walk);
  if (typeof value === 'number') return Number.isFinite(value) ? value : String(value);
  if (isOpaque(value)) {
    const { name } = value as { name?: unknown };
    return typeof name === 'string' ? name : value.constructor.name;
  }
  const children = childrenOf(value);
  if (children === undefined) return value;
  const items = children.map(([key, item]) => [String(key), plain(item, depth + 1, walk)] as const);
  const kept = items.filter(([, item]) => item !== undefined);
  if (items.length > 0 && kept.length === 0) return undefined;
  if (Array.isArray(value)) return items.map(([, item]) => item ?? null);
  return Object.fromEntries(kept);
}

/** The value with its tensors read. Tensors that come several times are read once and stay shared. */
export async function readAll(value: StoredValue): Promise<CheckpointValue> {
  const walk = new Walk();
  const done = new Map<StoredTensor, TensorData>();
  const read = async (item: StoredValue, depth: number): Promise<CheckpointValue> => {
    walk.visit(depth);
    if (item instanceof StoredTensor) {
      const tensor = done.get(item) ?? (await item.read());
      done.set(item, tensor);
      return tensor as CheckpointValue;
    }
    const children = childrenOf(item);
    if (children === undefined) return item as CheckpointValue;
    const items: [unknown, CheckpointValue][] = [];
    for (const [key, child] of children) items.push([key, await read(child, depth + 1)]);
    if (Array.isArray(item)) {
      const values = items.map(([, child]) => child);
      return item instanceof Tuple ? Tuple.from(values) : values;
    }
    if (item instanceof OrderedDict) return new OrderedDict(items as never);
    return new Map(items as never) as CheckpointValue;
  };
  return read(value, 0);
}
