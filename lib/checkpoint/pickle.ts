/**
 * Python's pickle format: read in all its protocols, 0 to 5; pickle-writer writes it.
 *
 * A pickle is a program for a machine with a stack and a memo. The reader here runs only the instructions that build
 * data. The classes and functions that a pickle may call come in a table (torch-globals.ts), and each stands for a few
 * lines of TypeScript; a call of any other is refused by name. An instance of another class, which is made without a
 * call, becomes a record of what is in it ({@link OpaqueObject}). Source: CPython's Lib/pickletools.py describes every
 * instruction.
 */

import { isUtf8 } from 'node:buffer';
import { show } from '../errors.js';
import { corrupt, FormatError, unsupported } from './format-error.js';
import { MAX_DEPTH, OP, READ_OP } from './pickle-instructions.js';
import { StoredTensor } from './stored-tensor.js';
import { isTensorData } from './tensor-data.js';
import { OpaqueObject, OrderedDict, PyFloat, Tuple, type CheckpointValue } from './value.js';

/** A class, function or constant of Python that a pickle may name. */
export class Global {
  /** Module and name, joined with a dot. */
  readonly name: string;
  /**
   * What calling it gives; undefined if it cannot be called. The arguments are whatever the pickle says: check all.
   */
  readonly call: ((args: readonly unknown[]) => unknown) | undefined;

  constructor(name: string, call?: (args: readonly unknown[]) => unknown) {
    this.name = name;
    this.call = call;
  }
}

/** Objects that are what they are only once their state is set, such as numpy's arrays, and what sets it. */
const builders = new WeakMap<object, TakeState>();

/** Sets an object's state; `charge` is told of the bytes that it copies, beforehand. */
type TakeState = (state: unknown, charge: (bytes: number) => void) => void;

/** Lets an object of the table take its state itself. */
export function takesState<T extends object>(object: T, take: TakeState): T {
  builders.set(object, take);
  return object;
}

/** A class as a value is a record too. */
export const plainValue = (value: unknown): CheckpointValue =>
  value instanceof Global ? new OpaqueObject(value.name) : (value as CheckpointValue);

/** A pickled nn.Module is code and data in one; which of its attributes are parameters is its class's affair. */
const isModule = (state: unknown): boolean => state instanceof Map && state.has('_parameters') && state.has('_modules');

/** What a pickle may refer to outside itself. */
export interface PickleEnvironment {
  /** The class or function `module.name`; undefined if it is not allowed. */
  global(module: string, name: string): Global | undefined;
  /** What a persistent id, usually a tuple, stands for: a storage. */
  persistent(id: unknown): unknown;
  /** Floats that are whole come as {@link PyFloat}; default: as numbers. */
  readonly exactFloats?: boolean;
}

/** Memory that a pickle's values may take beyond its own length, by the estimates of COST. */
const MEMORY = 48 * 2 ** 20;

/** About how many bytes V8 takes for things that an instruction of a byte or two creates. */
const COST = { array: 96, map: 450, item: 16, entry: 48, pair: 96, string: 32, memo: 48, call: 400 } as const;

/** About how many bytes a copy of an argument takes: a call may copy what costs two bytes to name again. */
function copyOf(argument: unknown): number {
  if (typeof argument === 'string' || argument instanceof Uint8Array) return argument.length;
  if (Array.isArray(argument)) return COST.pair * argument.length; // of a dict, at worst
  return argument instanceof Map ? COST.entry * argument.size : 0;
}

/** Memory that values may still take: of one pickle, or of all that a file is made of. */
export class Budget {
  #left: number;

  /** @param bytes of the pickles */
  constructor(bytes: number) {
    this.#left = MEMORY + bytes;
  }

  take(bytes: number): void {
    this.#left -= bytes;
    if (this.#left >= 0) return;
    throw unsupported('its values, tensors aside, take more memory than is allowed for the length of its pickle');
  }
}

/** A line after GLOBAL, or the digits of an integer, longer than this is no honest one. */
const MAX_NAME = 1024;

/**
 * Reads a pickle. No code is run; memory and depth are bounded whatever the bytes say.
 * Values that share a list or a dict in Python share it here; circles are refused.
 *
 * @throws FormatError
 */
export function readPickle(bytes: Uint8Array, environment: PickleEnvironment): CheckpointValue {
  const { value, length } = runPickle(bytes, environment);
  if (length !== bytes.length) throw corrupt('its pickle does not end where its value ends');
  return value;
}

/**
 * The same of bytes that go on behind the pickle, which has `length` of them. Throws {@link TooShort} if it has more.
 */
export function runPickle(
  bytes: Uint8Array,
  environment: PickleEnvironment,
  budget = new Budget(bytes.length),
): { readonly value: CheckpointValue; readonly length: number } {
  const unpickler = new Unpickler(bytes, environment, budget);
  const value = plainValue(unpickler.run());
  checkTree(value);
  return { value, length: unpickler.position };
}

/** The bytes end before the pickle does. */
export class TooShort extends FormatError {
  constructor() {
    const { kind, message, remedy } = corrupt('its pickle ends too early');
    super(kind, message, remedy);
  }
}

class Unpickler {
  readonly #bytes: Buffer;
  readonly #environment: PickleEnvironment;
  #at = 0;
  readonly #budget: Budget;
  #stack: unknown[] = [];
  /** The stacks below each MARK. */
  readonly #marks: unknown[][] = [];
  readonly #memo = new Map<number, unknown>();
  /** The class of the model that is pickled here, the outermost one, which is complete last. */
  #module: string | undefined;

  constructor(bytes: Uint8Array, environment: PickleEnvironment, budget: Budget) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#environment = environment;
    this.#budget = budget;
  }

  run(): unknown {
    for (;;) {
      const start = this.#at;
      const op = this.#uint8();
      if (op === OP.STOP) break;
      this.#step(op, start);
    }
    if (this.#module !== undefined) {
      throw unsupported(
        `it is a whole pickled model, of the class ${this.#module}, and not its parameters`,
        'save those: in Python, where the class is at hand, ' +
          'torch.save(torch.load(IN, weights_only=False).state_dict(), OUT)',
      );
    }
    const value = this.#pop();
    if (this.#stack.length > 0 || this.#marks.length > 0) {
      throw corrupt('its pickle does not end where its value ends');
    }
    return value;
  }

  /** Behind the last instruction that was run. */
  get position(): number {
    return this.#at;
  }

  #step(op: number, start: number): void {
    switch (op) {
      case OP.PROTO: {
        const version = this.#uint8();
        if (version > 5) {
          throw unsupported(`its pickle has protocol ${version}`, 'save it with pickle_protocol=2');
        }
        return;
      }
      case OP.MARK:
        this.#charge(COST.array);
        this.#marks.push(this.#stack);
        this.#stack = [];
        return;
      case OP.NONE:
        return this.#push(null);
      case OP.NEWTRUE:
        return this.#push(true);
      case OP.NEWFALSE:
        return this.#push(false);
      case OP.BININT:
        return this.#push(this.#bytes.readInt32LE(this.#take(4)));
      case OP.BININT1:
        return this.#push(this.#uint8());
      case OP.BININT2:
        return this.#push(this.#bytes.readUInt16LE(this.#take(2)));
      case OP.LONG1:
        return this.#push(this.#long(this.#uint8()));
      case OP.BINFLOAT:
        return this.#push(this.#float(this.#bytes.readDoubleBE(this.#take(8))));
      case OP.BINUNICODE:
        return this.#push(this.#text(this.#bytes.readUInt32LE(this.#take(4))));
      case OP.EMPTY_LIST:
        this.#charge(COST.array);
        return this.#push([]);
      case OP.APPEND: {
        const item = this.#pop();
        return this.#append([item], start);
      }
      case OP.APPENDS:
        return this.#append(this.#popMark(), start);
      case OP.EMPTY_TUPLE:
        return this.#pushTuple([]);
      case OP.TUPLE:
        return this.#pushTuple(this.#popMark());
      case OP.TUPLE1:
        return this.#pushTuple(this.#popMany(1));
      case OP.TUPLE2:
        return this.#pushTuple(this.#popMany(2));
      case OP.TUPLE3:
        return this.#pushTuple(this.#popMany(3));
      case OP.EMPTY_DICT:
        this.#charge(COST.map);
        return this.#push(new Map());
      case OP.SETITEM:
        return this.#setItems(this.#popMany(2), start);
      case OP.SETITEMS:
        return this.#setItems(this.#popMark(), start);
      case OP.GLOBAL:
        return this.#global();
      case OP.REDUCE:
        return this.#reduce(start);
      case OP.BUILD:
        return this.#build();
      case OP.BINPERSID:
        this.#charge(COST.call);
        return this.#push(this.#environment.persistent(this.#pop()));
      case OP.BINPUT:
        return this.#put(this.#uint8());
      case OP.LONG_BINPUT:
        return this.#put(this.#bytes.readUInt32LE(this.#take(4)));
      case OP.BINGET:
        return this.#get(this.#uint8());
      case OP.LONG_BINGET:
        return this.#get(this.#bytes.readUInt32LE(this.#take(4)));
      default:
        return this.#stepOfOthers(op, start);
    }
  }

  /** Instructions that torch.save itself does not use. */
  #stepOfOthers(op: number, start: number): void {
    switch (op) {
      case READ_OP.POP:
        if (this.#stack.length === 0 && this.#marks.length > 0) this.#popMark();
        else this.#pop();
        return;
      case READ_OP.POP_MARK:
        this.#popMark();
        return;
      case READ_OP.DUP: {
        const top = this.#pop();
        this.#push(top);
        return this.#push(top);
      }
      case READ_OP.FLOAT:
        return this.#push(this.#float(this.#number(this.#line(), start)));
      case READ_OP.INT: {
        const digits = this.#line();
        return this.#push(digits === '00' ? false : digits === '01' ? true : this.#integer(digits, start));
      }
      case READ_OP.LONG:
        return this.#push(this.#integer(this.#line().replace(/L$/, ''), start));
      case READ_OP.STRING: {
        const quoted = /^(['"])(.*)\1$/s.exec(this.#line());
        if (quoted === null || quoted[2]!.includes('\\'))
          throw unsupported(`its pickle has text of Python 2 with escapes, at byte ${start}`);
        return this.#push(quoted[2]!);
      }
      case READ_OP.UNICODE: {
        const text = this.#line();
        if (text.includes('\\')) throw unsupported(`its pickle has text with escapes, at byte ${start}`);
        return this.#push(text);
      }
      case READ_OP.BINSTRING:
        return this.#push(this.#latin1(this.#bytes.readUInt32LE(this.#take(4))));
      case READ_OP.SHORT_BINSTRING:
        return this.#push(this.#latin1(this.#uint8()));
      case READ_OP.BINBYTES:
        return this.#push(this.#raw(this.#bytes.readUInt32LE(this.#take(4))));
      case READ_OP.SHORT_BINBYTES:
        return this.#push(this.#raw(this.#uint8()));
      case READ_OP.BINBYTES8:
      case READ_OP.BYTEARRAY8:
        return this.#push(this.#raw(this.#size8()));
      case READ_OP.SHORT_BINUNICODE:
        return this.#push(this.#text(this.#uint8()));
      case READ_OP.BINUNICODE8:
        return this.#push(this.#text(this.#size8()));
      case READ_OP.LIST:
        this.#charge(COST.array);
        return this.#push(this.#popMark());
      case READ_OP.DICT: {
        const items = this.#popMark();
        this.#charge(COST.map);
        this.#push(new Map());
        return this.#setItems(items, start);
      }
      case READ_OP.PUT:
        return this.#put(this.#index(start));
      case READ_OP.GET:
        return this.#get(this.#index(start));
      case READ_OP.MEMOIZE:
        return this.#put(this.#memo.size);
      case READ_OP.FRAME:
        this.#take(8);
        return;
      case READ_OP.LONG4:
        return this.#push(this.#long(this.#longLength(start)));
      case OP.NEWOBJ: {
        const args = this.#pop();
        return this.#instance(this.#pop(), args, start);
      }
      case READ_OP.NEWOBJ_EX: {
        const keywords = this.#pop();
        const args = this.#pop();
        if (!(keywords instanceof Map) || keywords.size > 0)
          throw unsupported(`its pickle makes an object with keywords, at byte ${start}`);
        return this.#instance(this.#pop(), args, start);
      }
      case READ_OP.STACK_GLOBAL: {
        const name = this.#pop();
        const module = this.#pop();
        if (typeof name !== 'string' || typeof module !== 'string' || name.length + module.length > MAX_NAME)
          throw corrupt(`its pickle names a class without a name, at byte ${start}`);
        return this.#pushGlobal(module, name);
      }
      case READ_OP.EMPTY_SET:
        this.#charge(COST.call);
        return this.#push(new OpaqueObject('builtins.set', [[]]));
      case READ_OP.ADDITEMS: {
        const items = this.#popMark();
        const set = this.#stack.at(-1);
        const list = set instanceof OpaqueObject && set.className === 'builtins.set' ? set.args[0] : undefined;
        if (!Array.isArray(list)) throw corrupt(`its pickle adds items to no set, at byte ${start}`);
        this.#charge(COST.item * items.length);
        for (const item of items) (list as unknown[]).push(item);
        return;
      }
      case READ_OP.FROZENSET:
        this.#charge(COST.call);
        return this.#push(new OpaqueObject('builtins.frozenset', [this.#popMark() as CheckpointValue[]]));
      default:
        throw corrupt(`its pickle has the unknown instruction 0x${op.toString(16).padStart(2, '0')} at byte ${start}`);
    }
  }

  #global(): void {
    const module = this.#line();
    this.#pushGlobal(module, this.#line());
  }

  #pushGlobal(module: string, name: string): void {
    this.#charge(COST.call);
    this.#push(this.#environment.global(module, name) ?? new Global(`${module}.${name}`));
  }

  /** An object made without a call of its class's code: that of a class in the table is what the table says. */
  #instance(type: unknown, args: unknown, start: number): void {
    if (!(type instanceof Global) || !(args instanceof Tuple))
      throw corrupt(`its pickle makes an object of no class at byte ${start}`);
    this.#chargeCall(args);
    this.#push(type.call === undefined ? new OpaqueObject(type.name, args.map(plainValue)) : type.call(args));
  }

  #reduce(start: number): void {
    const args = this.#pop();
    const called = this.#pop();
    if (!(called instanceof Global) || !(args instanceof Tuple)) {
      throw corrupt(`its pickle calls what cannot be called at byte ${start}`);
    }
    if (called.call === undefined) {
      throw unsupported(
        `it calls the Python class or function ${called.name}, which is not read here ` +
          '(no code of a checkpoint is ever run)',
        'save tensors and plain values only: in Python, ' +
          'torch.save(model.state_dict(), FILE) instead of torch.save(model, FILE)',
      );
    }
    this.#chargeCall(args);
    this.#push(called.call(args));
  }

  /** Sets the attributes of an object. */
  #build(): void {
    const state = this.#pop();
    const target = this.#stack.at(-1);
    const take = typeof target === 'object' && target !== null ? builders.get(target) : undefined;
    if (take !== undefined) return take(state, (bytes) => this.#charge(bytes));
    if (target instanceof OpaqueObject) {
      if (isModule(state)) this.#module = target.className;
      target.state = plainValue(state);
      return;
    }
    if (!(target instanceof OrderedDict) || !(state instanceof Map)) {
      throw corrupt('its pickle sets attributes of something that has none');
    }
    for (const [name, value] of state as Map<unknown, unknown>) {
      if (typeof name !== 'string') throw corrupt('its pickle has an attribute whose name is not a string');
      this.#charge(COST.item);
      (target.attributes as Map<string, unknown>).set(name, value);
    }
  }

  #append(items: readonly unknown[], start: number): void {
    let list = this.#stack.at(-1);
    if (list instanceof OpaqueObject) list = list.items ??= [];
    if (!Array.isArray(list) || list instanceof Tuple) throw corrupt(`its pickle appends to no list at byte ${start}`);
    this.#charge(COST.item * items.length);
    for (const item of items) (list as unknown[]).push(plainValue(item));
  }

  #setItems(items: readonly unknown[], start: number): void {
    let dict = this.#stack.at(-1);
    if (dict instanceof OpaqueObject) dict = dict.items ??= new Map();
    if (!(dict instanceof Map) || items.length % 2 !== 0) {
      throw corrupt(`its pickle sets items of no dict at byte ${start}`);
    }
    this.#charge(2 * COST.item * items.length);
    for (let i = 0; i < items.length; i += 2) {
      const key = items[i];
      if (typeof key === 'object' && key !== null) {
        throw unsupported('it has a dict whose keys are not strings or numbers', 'save it with such keys');
      }
      dict.set(key, plainValue(items[i + 1]));
    }
  }

  #pushTuple(items: readonly unknown[]): void {
    this.#charge(COST.array + COST.item * items.length);
    const tuple = new Tuple();
    for (const item of items) tuple.push(item as CheckpointValue);
    this.#push(tuple);
  }

  #put(index: number): void {
    if (this.#stack.length === 0) throw corrupt('its pickle remembers a value that is not there');
    this.#charge(COST.memo);
    this.#memo.set(index, this.#stack.at(-1));
  }

  #get(index: number): void {
    if (!this.#memo.has(index)) throw corrupt(`its pickle recalls the value ${index}, which it never remembered`);
    this.#push(this.#memo.get(index));
  }

  #push(value: unknown): void {
    this.#charge(COST.item);
    this.#stack.push(value);
  }

  #pop(): unknown {
    if (this.#stack.length === 0) throw corrupt('its pickle takes a value that is not there');
    return this.#stack.pop();
  }

  #popMany(count: number): unknown[] {
    if (this.#stack.length < count) throw corrupt('its pickle takes a value that is not there');
    return this.#stack.splice(-count);
  }

  #popMark(): unknown[] {
    const below = this.#marks.pop();
    if (below === undefined) throw corrupt('its pickle goes back to a mark that is not there');
    const items = this.#stack;
    this.#stack = below;
    return items;
  }

  #long(count: number): number | bigint {
    const at = this.#take(count);
    if (count === 0) return 0;
    const hex = Buffer.from(this.#bytes.subarray(at, at + count))
      .reverse()
      .toString('hex');
    const value = BigInt.asIntN(8 * count, BigInt(`0x${hex}`));
    this.#charge(count);
    return Number.isSafeInteger(Number(value)) ? Number(value) : value;
  }

  #text(count: number): string {
    const at = this.#take(count);
    this.#charge(COST.string + count);
    const text = decode(this.#bytes.subarray(at, at + count));
    // V8 has two bytes for each character as soon as one is beyond Latin-1.
    if (/[^\0-\xff]/.test(text)) this.#charge(count);
    return text;
  }

  /** Text of Python 2: UTF-8 if it can be that, else bytes as Latin-1. */
  #latin1(count: number): string {
    const at = this.#take(count);
    const bytes = this.#bytes.subarray(at, at + count);
    const isText = isUtf8(bytes);
    this.#charge(COST.string + (isText ? 2 * count : count));
    return bytes.toString(isText ? 'utf8' : 'latin1');
  }

  #raw(count: number): Uint8Array {
    const at = this.#take(count);
    this.#charge(COST.array + count);
    return new Uint8Array(this.#bytes.subarray(at, at + count));
  }

  #size8(): number {
    const size = this.#bytes.readBigUInt64LE(this.#take(8));
    if (size > BigInt(this.#bytes.length)) throw new TooShort();
    return Number(size);
  }

  #longLength(start: number): number {
    const length = this.#bytes.readInt32LE(this.#take(4));
    if (length < 0 || length > MAX_NAME) throw unsupported(`its pickle has a huge integer at byte ${start}`);
    return length;
  }

  #number(text: string, start: number): number {
    const value = Number(text.replace(/^(-?)inf$/, '$1Infinity'));
    if (text === '' || (Number.isNaN(value) && text !== 'nan'))
      throw corrupt(`its pickle has no number at byte ${start}`);
    return value;
  }

  #float(value: number): number | PyFloat {
    if (this.#environment.exactFloats !== true || !Number.isInteger(value)) return value;
    this.#charge(COST.array);
    return new PyFloat(value);
  }

  #integer(digits: string, start: number): number | bigint {
    if (!/^-?\d+$/.test(digits)) throw corrupt(`its pickle has no integer at byte ${start}`);
    const value = BigInt(digits);
    return Number.isSafeInteger(Number(value)) ? Number(value) : value;
  }

  #index(start: number): number {
    const digits = this.#line();
    if (!/^\d{1,9}$/.test(digits)) throw corrupt(`its pickle has no place of its memo at byte ${start}`);
    return Number(digits);
  }

  #line(): string {
    const end = this.#bytes.subarray(this.#at, this.#at + MAX_NAME).indexOf(10);
    if (end < 0) {
      if (this.#at + MAX_NAME > this.#bytes.length) throw new TooShort();
      throw corrupt('its pickle names a class without end');
    }
    const at = this.#take(end + 1);
    return decode(this.#bytes.subarray(at, at + end));
  }

  #uint8(): number {
    return this.#bytes[this.#take(1)]!;
  }

  /** Moves on by `count` bytes and returns where they start. */
  #take(count: number): number {
    const at = this.#at;
    if (at + count > this.#bytes.length) throw new TooShort();
    this.#at += count;
    return at;
  }

  #charge(bytes: number): void {
    this.#budget.take(bytes);
  }

  #chargeCall(args: readonly unknown[]): void {
    this.#charge(args.reduce<number>((sum, argument) => sum + copyOf(argument), COST.call + copyOf(args)));
  }
}

const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function decode(bytes: Uint8Array): string {
  try {
    return UTF8.decode(bytes);
  } catch {
    throw corrupt('its pickle holds text that is not UTF-8');
  }
}

const isLeaf = (value: object): boolean =>
  isTensorData(value) || value instanceof StoredTensor || value instanceof Uint8Array || value instanceof PyFloat;

/** A tree may count this many values when what is shared is counted each time. */
const MAX_VALUES = 10_000_000;

/**
 * Refuses what would make the user's own code hang: circles, nesting too deep, and a few lists that hold each
 * other so often that walking them never ends. And whatever is no value: a class, a storage.
 */
function checkTree(root: unknown): asserts root is CheckpointValue {
  const known = new Map<object, { depth: number; values: number } | 'open'>();
  const measure = (value: unknown, level: number): { depth: number; values: number } => {
    if (typeof value !== 'object' || value === null || isLeaf(value)) return { depth: 0, values: 1 };
    const seen = known.get(value);
    if (seen === 'open') throw unsupported('it holds a value that contains itself');
    if (seen !== undefined) return seen;
    if (level > MAX_DEPTH) throw unsupported(`its values are nested more than ${MAX_DEPTH} deep`);
    if (!Array.isArray(value) && !(value instanceof Map) && !(value instanceof OpaqueObject)) {
      throw unsupported(`it holds ${show(value)} as a value`);
    }
    known.set(value, 'open');
    // A class among a tuple's items, where it may also have been part of a storage's name.
    if (Array.isArray(value)) value.forEach((item, i) => (value[i] = plainValue(item)));
    const result = { depth: 0, values: 1 };
    const add = (child: unknown): void => {
      const { depth, values } = measure(child, level + 1);
      result.depth = Math.max(result.depth, depth + 1);
      result.values += values;
    };
    const children: Iterable<unknown> =
      value instanceof OpaqueObject ? [...value.args, value.state ?? null, value.items ?? null] : value.values();
    for (const child of children) add(child);
    if (value instanceof OrderedDict) for (const child of value.attributes.values()) add(child);
    // The level is that of the first way to a shared value; another way to it may be longer.
    if (level + result.depth > MAX_DEPTH) throw unsupported(`its values are nested more than ${MAX_DEPTH} deep`);
    if (result.values > MAX_VALUES) throw unsupported('its values contain one another too often');
    known.set(value, result);
    return result;
  };
  measure(root, 0);
}
