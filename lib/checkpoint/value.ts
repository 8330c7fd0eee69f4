/** What a checkpoint holds, as JavaScript values, and how they correspond to Python's. */

import { CortorchError, isPlainObject } from '../errors.js';
import { isTensorData, type TensorData } from './tensor-data.js';

/**
 * A value of a checkpoint.
 *
 * | Python | read as | written from |
 * |---|---|---|
 * | None, bool, str | null, boolean, string | the same |
 * | int | number, or bigint beyond ±2^53 | a number that is a safe integer, bigint |
 * | float | number | any other number; {@link PyFloat} for one that is an integer, such as 1.0 |
 * | list | array | array |
 * | tuple, torch.Size | {@link Tuple} | {@link Tuple} |
 * | dict | Map | Map, plain object |
 * | OrderedDict | {@link OrderedDict} | {@link OrderedDict} |
 * | Tensor, Parameter, numpy's array | {@link TensorData} | {@link TensorData} |
 * | bytes | Uint8Array | Uint8Array |
 * | set, complex, …, torch.device; objects with attributes alone | {@link OpaqueObject} | {@link OpaqueObject} |
 * | object of another class | {@link OpaqueObject} | not written |
 */
export type CheckpointValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | PyFloat
  | TensorData
  | Uint8Array
  | OpaqueObject
  | CheckpointArray
  | CheckpointMap
  | CheckpointObject;

/** A list, or a tuple if it is a {@link Tuple}. */
export type CheckpointArray = readonly CheckpointValue[];

/** A dict, or an OrderedDict if it is an {@link OrderedDict}. */
export type CheckpointMap = ReadonlyMap<CheckpointKey, CheckpointValue>;

/** A dict whose keys are strings. */
export interface CheckpointObject {
  readonly [key: string]: CheckpointValue;
}

/** A key of a dict. */
export type CheckpointKey = null | boolean | number | bigint | string;

/** A number that Python is to see as a float, also where it is an integer: `new PyFloat(1)` is 1.0. */
export class PyFloat {
  readonly value: number;

  constructor(value: number) {
    this.value = value;
  }

  valueOf(): number {
    return this.value;
  }

  toJSON(): number {
    return this.value;
  }
}

/**
 * A Python object that means nothing here: its class, what it was made from and its attributes, as plain values. None
 * of its code is run.
 */
export class OpaqueObject {
  /** Module and name of the class, such as `argparse.Namespace`. */
  readonly className: string;
  readonly args: readonly CheckpointValue[];
  /** What pickle set on it, as a rule a dict of its attributes; undefined if nothing. */
  state: CheckpointValue | undefined;
  /** Of a class made from list or dict: its items, an array or a Map. */
  items: CheckpointValue | undefined;

  constructor(className: string, args: readonly CheckpointValue[] = [], state?: CheckpointValue) {
    this.className = className;
    this.args = args;
    this.state = state;
  }
}

/** An array that Python sees as a tuple: `Tuple.of(0.9, 0.999)`. */
export class Tuple<T extends CheckpointValue = CheckpointValue> extends Array<T> {
  /** What map, filter and slice return is an ordinary array. */
  static override get [Symbol.species](): ArrayConstructor {
    return Array;
  }
}

/** A Map that Python sees as a collections.OrderedDict, as a state_dict is one. */
export class OrderedDict<V extends CheckpointValue = CheckpointValue> extends Map<CheckpointKey, V> {
  /** Attributes of the Python object, such as the `_metadata` of a state_dict. */
  readonly attributes = new Map<string, CheckpointValue>();
}

/**
 * A value without tensors as plain JSON-like data: Maps become objects, tuples arrays, PyFloats numbers. For
 * configurations, which are objects when they are written and Maps when they are read.
 *
 * @param path what to call the value in an error
 * @throws CortorchError ERR_CHECKPOINT_UNSUPPORTED at a tensor, a bigint or a key that is not a string
 */
export function toPlain(value: CheckpointValue, path = 'value'): unknown {
  const refuse = (what: string): CortorchError =>
    new CortorchError('ERR_CHECKPOINT_UNSUPPORTED', `expected plain data for \`${path}\`, but it holds ${what}`);
  if (typeof value === 'bigint') throw refuse(`the integer ${value}, which is beyond ±2^53`);
  if (typeof value !== 'object' || value === null) return value;
  if (value instanceof PyFloat) return value.value;
  if (isTensorData(value)) throw refuse('a tensor');
  if (value instanceof OpaqueObject) throw refuse(`an object of the Python class ${value.className}`);
  if (value instanceof Uint8Array) throw refuse('bytes');
  if (Array.isArray(value)) return value.map((item: CheckpointValue, i) => toPlain(item, `${path}[${i}]`));
  const entries = value instanceof Map ? [...value] : Object.entries(value);
  const plain: Record<string, unknown> = {};
  for (const [key, item] of entries as [CheckpointKey, CheckpointValue][]) {
    if (typeof key !== 'string') throw refuse(`the key ${String(key)}, which is not a string`);
    // Not plain[key] = …: that would set the prototype for the key __proto__.
    Object.defineProperty(plain, key, {
      value: toPlain(item, `${path}.${key}`),
      enumerable: true,
      writable: true,
      configurable: true,
    });
  }
  return plain;
}

/** A dict of either form. */
export const isDict = (value: unknown): value is CheckpointMap | CheckpointObject =>
  value instanceof Map || (isPlainObject(value) && !isTensorData(value));
