/** Values as a pickle of protocol 2: what torch.save writes and torch.load(weights_only=True) reads. */

import { invalid, isPlainObject } from '../errors.js';
import { MAX_DEPTH, OP } from './pickle-instructions.js';
import { checkTensorData, contiguousStrides, isTensorData, type TensorData } from './tensor-data.js';
import { isDict, OpaqueObject, OrderedDict, PyFloat, Tuple } from './value.js';

/** How a pickle names a storage that lies outside it, and a tensor that views all of it. */
export interface StorageName {
  /** torch's class of it, such as `torch FloatStorage`: module and name. */
  readonly type: readonly [module: string, name: string];
  readonly key: string;
  /** Elements of the storage; bytes if it is untyped. */
  readonly elements: number;
  /** For an untyped storage the tensor's dtype, such as `uint16`. */
  readonly dtype?: string;
}

/**
 * Pickles a value as torch.save does.
 *
 * @param root the value
 * @param storageOf gives each tensor's storage its name; called for the tensors in the order they are met
 * @throws CortorchError ERR_INVALID_ARGUMENT naming the place of a value that a checkpoint cannot hold
 */
export function writePickle(root: unknown, storageOf: (tensor: TensorData) => StorageName): Uint8Array {
  const out = new Bytes();
  // Strings and globals that come again are fetched from the memo, as Python does it.
  const memo = new Map<string, number>();
  const once = (id: string, write: () => void): void => {
    const index = memo.get(id);
    if (index === undefined) {
      write();
      out.indexed(OP.BINPUT, OP.LONG_BINPUT, memo.size);
      memo.set(id, memo.size);
    } else {
      out.indexed(OP.BINGET, OP.LONG_BINGET, index);
    }
  };
  const global = (module: string, name: string): void => {
    once(`c${module} ${name}`, () => {
      out.op(OP.GLOBAL);
      out.text(`${module}\n${name}\n`);
    });
  };
  const string = (value: string, path: string): void => {
    // Half of a surrogate pair has no UTF-8: it would silently become another character.
    if (/\p{Surrogate}/u.test(value)) throw invalid(path, 'text without lone surrogates', value);
    once(`X${value}`, () => {
      out.op(OP.BINUNICODE);
      out.uint32(Buffer.byteLength(value));
      out.text(value);
    });
  };
  const float = (value: number): void => {
    out.op(OP.BINFLOAT);
    out.float64BE(value);
  };
  const emptyOrderedDict = (): void => {
    global('collections', 'OrderedDict');
    out.op(OP.EMPTY_TUPLE);
    out.op(OP.REDUCE);
  };
  const sizes = (values: readonly number[]): void => {
    if (values.length === 0) return out.op(OP.EMPTY_TUPLE);
    out.op(OP.MARK);
    for (const value of values) integer(out, BigInt(value));
    out.op(OP.TUPLE);
  };
  // torch._utils._rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks), or _v3 with the dtype
  const tensor = (value: TensorData, path: string): void => {
    checkTensorData(value, path);
    const storage = storageOf(value);
    global('torch._utils', storage.dtype === undefined ? '_rebuild_tensor_v2' : '_rebuild_tensor_v3');
    out.op(OP.MARK);
    out.op(OP.MARK);
    string('storage', path);
    global(...storage.type);
    string(storage.key, path);
    string('cpu', path);
    integer(out, BigInt(storage.elements));
    out.op(OP.TUPLE);
    out.op(OP.BINPERSID);
    integer(out, 0n);
    sizes(value.shape);
    sizes(contiguousStrides(value.shape));
    out.op(OP.NEWFALSE);
    emptyOrderedDict();
    if (storage.dtype !== undefined) global('torch', storage.dtype);
    out.op(OP.TUPLE);
    out.op(OP.REDUCE);
  };
  const items = (entries: Iterable<readonly [unknown, unknown]>, path: string, depth: number): void => {
    out.op(OP.MARK);
    for (const [key, item] of entries) {
      if (typeof key === 'object' && key !== null) throw invalid(`a key of ${path}`, 'a string or a number', key);
      const place = `${path}.${String(key)}`;
      write(key, place, depth);
      write(item, place, depth);
    }
    out.op(OP.SETITEMS);
  };
  // Bytes as protocol 2 has them: text, each character a byte.
  const bytes = (value: Uint8Array, path: string): void => {
    global('_codecs', 'encode');
    out.op(OP.MARK);
    string(Buffer.from(value).toString('latin1'), path);
    string('latin1', path);
    out.op(OP.TUPLE);
    out.op(OP.REDUCE);
  };
  // What a call made, of Python's own types; or an instance that its attributes are all of.
  const record = ({ className, args, state, items: own }: OpaqueObject, path: string, depth: number): void => {
    const dot = className.lastIndexOf('.');
    const [module, name] = [className.slice(0, dot), className.slice(dot + 1)];
    const isCall = (module === 'builtins' || className === 'torch.device') && args.length > 0;
    const isInstance = module !== 'builtins' && args.length === 0 && isDict(state);
    if (dot < 0 || own !== undefined || !(isCall || isInstance)) {
      throw invalid(path, 'a value that can be written', `an object of the Python class ${className}`);
    }
    global(module === 'builtins' ? '__builtin__' : module, name);
    write(Tuple.from(args), path, depth + 1);
    out.op(isCall ? OP.REDUCE : OP.NEWOBJ);
    if (state === undefined) return;
    write(state, path, depth + 1);
    out.op(OP.BUILD);
  };
  const write = (value: unknown, path: string, depth: number): void => {
    if (depth > MAX_DEPTH) {
      throw invalid(path, `values nested at most ${MAX_DEPTH} deep and not in a circle`, value);
    }
    if (value === null) return out.op(OP.NONE);
    if (typeof value === 'boolean') return out.op(value ? OP.NEWTRUE : OP.NEWFALSE);
    if (typeof value === 'string') return string(value, path);
    if (typeof value === 'bigint') return integer(out, value);
    if (typeof value === 'number') {
      // −0 is no int.
      return Number.isSafeInteger(value) && !Object.is(value, -0) ? integer(out, BigInt(value)) : float(value);
    }
    if (value instanceof PyFloat) return float(value.value);
    if (isTensorData(value)) return tensor(value, path);
    if (value instanceof Uint8Array) return bytes(value, path);
    if (value instanceof OpaqueObject) return record(value, path, depth);
    if (Array.isArray(value)) {
      const tuple = value instanceof Tuple;
      if (!tuple) out.op(OP.EMPTY_LIST);
      else if (value.length === 0) return out.op(OP.EMPTY_TUPLE);
      out.op(OP.MARK);
      for (const [i, item] of value.entries()) write(item, `${path}[${i}]`, depth + 1);
      return out.op(tuple ? OP.TUPLE : OP.APPENDS);
    }
    if (value instanceof OrderedDict) {
      emptyOrderedDict();
      items(value, path, depth + 1);
      if (value.attributes.size > 0) {
        out.op(OP.EMPTY_DICT);
        items(value.attributes, path, depth + 1);
        out.op(OP.BUILD);
      }
      return;
    }
    if (value instanceof Map || isPlainObject(value)) {
      out.op(OP.EMPTY_DICT);
      return items(value instanceof Map ? (value as Map<unknown, unknown>) : Object.entries(value), path, depth + 1);
    }
    throw invalid(path, 'a value that a checkpoint can hold', value);
  };

  out.op(OP.PROTO);
  out.uint8(2);
  write(root, 'value', 0);
  out.op(OP.STOP);
  return out.finish();
}

function integer(out: Bytes, value: bigint): void {
  if (value >= 0n && value <= 0xffn) {
    out.op(OP.BININT1);
    out.uint8(Number(value));
  } else if (value >= 0n && value <= 0xffffn) {
    out.op(OP.BININT2);
    out.uint16(Number(value));
  } else if (BigInt.asIntN(32, value) === value) {
    out.op(OP.BININT);
    out.int32(Number(value));
  } else {
    // Little-endian two's complement in as few bytes as hold the sign too.
    const digits = (value < 0n ? ~value : value).toString(16).length;
    let bytes = Math.ceil(digits / 2);
    if (BigInt.asIntN(8 * bytes, value) !== value) bytes++;
    // LONG1 has one byte for the length, and torch.load(weights_only=True) knows no longer form.
    if (bytes > 255) throw invalid('value', 'an integer of at most 255 bytes', value);
    const hex = BigInt.asUintN(8 * bytes, value)
      .toString(16)
      .padStart(2 * bytes, '0');
    out.op(OP.LONG1);
    out.uint8(bytes);
    out.bytes(Buffer.from(hex, 'hex').reverse());
  }
}

/** Bytes that grow. */
class Bytes {
  #buffer = Buffer.allocUnsafe(4096);
  #length = 0;

  finish(): Uint8Array {
    return this.#buffer.subarray(0, this.#length);
  }

  op(code: number): void {
    this.uint8(code);
  }

  /** An instruction with an index in one byte where it fits, in four otherwise. */
  indexed(short: number, long: number, index: number): void {
    if (index < 256) {
      this.op(short);
      this.uint8(index);
    } else {
      this.op(long);
      this.uint32(index);
    }
  }

  uint8(value: number): void {
    const at = this.#take(1);
    this.#buffer[at] = value;
  }

  uint16(value: number): void {
    const at = this.#take(2);
    this.#buffer.writeUInt16LE(value, at);
  }

  uint32(value: number): void {
    const at = this.#take(4);
    this.#buffer.writeUInt32LE(value, at);
  }

  int32(value: number): void {
    const at = this.#take(4);
    this.#buffer.writeInt32LE(value, at);
  }

  float64BE(value: number): void {
    const at = this.#take(8);
    this.#buffer.writeDoubleBE(value, at);
  }

  text(value: string): void {
    this.bytes(Buffer.from(value));
  }

  bytes(value: Uint8Array): void {
    const at = this.#take(value.length);
    this.#buffer.set(value, at);
  }

  /** Makes room and returns where it starts. Call it before touching #buffer: it may replace it. */
  #take(count: number): number {
    const at = this.#length;
    this.#length += count;
    if (this.#length > this.#buffer.length) {
      const larger = Buffer.allocUnsafe(Math.max(this.#length, 2 * this.#buffer.length));
      larger.set(this.#buffer.subarray(0, at));
      this.#buffer = larger;
    }
    return at;
  }
}
