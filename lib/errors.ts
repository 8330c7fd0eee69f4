/**
 * The one error class of the package, and the predicates that every public function validates with.
 *
 * A message is for a person: what was expected or what went wrong, where, and what to do about it.
 * A code is for a program and stays the same between versions.
 */

/** What went wrong, for programs. Codes are never renamed; new ones may be added. */
export type CortorchErrorCode =
  /** An argument of a function is of the wrong type or out of range. */
  | 'ERR_INVALID_ARGUMENT'
  /** A network's spec is wrong; the message names the key. */
  | 'ERR_INVALID_SPEC'
  /** A flag, a configuration key or an option that does not exist. */
  | 'ERR_UNKNOWN_OPTION'
  /** An option that exists but that the chosen rule or model does not use. */
  | 'ERR_UNUSED_OPTION'
  /** Wrong usage of the command line other than the above (exit code 2). */
  | 'ERR_USAGE'
  | 'ERR_DATASET_NOT_FOUND'
  | 'ERR_DATASET_CORRUPT'
  | 'ERR_CHECKPOINT_NOT_FOUND'
  /** The bytes of a checkpoint do not make sense: truncated, changed, or not a checkpoint. */
  | 'ERR_CHECKPOINT_CORRUPT'
  /** A checkpoint that is whole but holds something that this package does not read. */
  | 'ERR_CHECKPOINT_UNSUPPORTED'
  /** A checkpoint that does not fit the network or the run it is loaded into. */
  | 'ERR_CHECKPOINT_MISMATCH'
  /** A file could not be read, for a reason of the file system. */
  | 'ERR_READ_FAILED'
  /** A file could not be written: full disk, missing permission, missing folder. */
  | 'ERR_WRITE_FAILED'
  /** The loss became NaN or infinite. */
  | 'ERR_LOSS_NOT_FINITE'
  /** An AbortSignal stopped the work. */
  | 'ERR_ABORTED'
  /** An object was used after it was disposed. */
  | 'ERR_DISPOSED'
  /** An object is busy with another call. */
  | 'ERR_BUSY'
  | 'ERR_DEVICE_UNAVAILABLE'
  /** Two models of one process ask for different thread counts. */
  | 'ERR_THREADS_CONFLICT'
  | 'ERR_PRECISION_CONFLICT'
  /** An error inside libtorch or the addon. */
  | 'ERR_NATIVE'
  /** There is not enough memory: for what was asked, by its budget, or for an allocation that failed. */
  | 'ERR_OUT_OF_MEMORY'
  /** The addon has not been built on this machine. */
  | 'ERR_NATIVE_NOT_BUILT'
  /** The addon is there but the system does not load it. */
  | 'ERR_NATIVE_LOAD'
  /** The libtorch that the addon was built with is no longer where it was, or is another version. */
  | 'ERR_LIBTORCH_MOVED'
  // What setting up can end in.
  | 'ERR_LIBTORCH_INVALID'
  | 'ERR_LIBTORCH_VERSION'
  | 'ERR_LIBTORCH_DOWNLOAD'
  | 'ERR_COMPILER_NOT_FOUND'
  | 'ERR_CMAKE_NOT_FOUND'
  /** A rule's own file: it cannot be read, compiled or loaded, or is not the one that a run was trained by. */
  | 'ERR_RULE'
  | 'ERR_PLATFORM_UNSUPPORTED'
  | 'ERR_NATIVE_BUILD'
  | 'ERR_CACHE_NOT_WRITABLE'
  | 'ERR_BUILD_FOLDER'
  | 'ERR_DEPENDENCIES'
  | 'ERR_TYPESCRIPT';

/** Every error that this package throws on purpose. */
export class CortorchError extends Error {
  /** What went wrong, for programs; see {@link CortorchErrorCode}. */
  readonly code: CortorchErrorCode;

  constructor(code: CortorchErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.code = code;
  }

  static {
    // On the prototype, so that it does not show as a property of every instance.
    Object.defineProperty(this.prototype, 'name', {
      value: 'CortorchError',
      configurable: true,
      writable: true,
    });
  }
}

export const isDefined = <T>(value: T): value is NonNullable<T> => value !== undefined && value !== null;

/** A plain object: `{}`, a JSON object, or one without a prototype. Not an array, a Map or a class's instance. */
export const isPlainObject = (value: unknown): value is Record<string, unknown> => {
  if (typeof value !== 'object' || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === null || prototype === Object.prototype;
};

export const isString = (value: unknown): value is string => typeof value === 'string' && value.length > 0;
export const isBoolean = (value: unknown): value is boolean => typeof value === 'boolean';
export const isFunction = (value: unknown): value is (...args: never[]) => unknown => typeof value === 'function';

/** A finite number: not NaN, not an infinity. */
export const isNumber = (value: unknown): value is number => Number.isFinite(value);

/** An integer that a number holds exactly. */
export const isInteger = (value: unknown): value is number => Number.isSafeInteger(value);

/** A count such as a batch size: an integer of at least 1. */
export const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 1;

/** Both ends included. */
export const inRange = (value: number, min: number, max: number): boolean => value >= min && value <= max;

export const isOneOf = <T>(value: unknown, list: readonly T[]): value is T => list.includes(value as T);

/**
 * The error for an argument: *expected X for `name` but received Y of type Z*. Returned, so that the caller throws it.
 */
export function invalid(name: string, expected: string, received: unknown): CortorchError {
  const message = `expected ${expected} for \`${name}\` but received ${show(received)} of type ${typeName(received)}`;
  return new CortorchError('ERR_INVALID_ARGUMENT', message);
}

/** Another thread may write to shared memory while it is copied. @throws CortorchError ERR_INVALID_ARGUMENT */
export function checkMemory(array: ArrayBufferView, name: string): void {
  if (array.buffer instanceof SharedArrayBuffer) {
    throw invalid(name, 'an array of its own memory (copy it with slice())', 'one over a SharedArrayBuffer');
  }
}

/** A value in a few words, for an error message: never more than about 60 characters. */
export function show(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.length > 60 ? `${value.slice(0, 57)}...` : value);
  if (typeof value === 'bigint') return `${value}n`;
  if (typeof value === 'function') return value.name === '' ? 'a function' : `the function ${value.name}`;
  if (typeof value !== 'object' || value === null) return String(value);
  if (ArrayBuffer.isView(value) && 'length' in value) return `${typeName(value)}(${String(value.length)})`;
  if (!Array.isArray(value) && !isPlainObject(value)) return `a ${typeName(value)}`;
  let text: string | undefined;
  try {
    text = JSON.stringify(value);
  } catch {
    // A cycle or a bigint inside: the type is all that can be said briefly.
  }
  if (text === undefined) return `an ${typeName(value)}`;
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}

function typeName(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'array';
  if (typeof value !== 'object' || isPlainObject(value)) return typeof value;
  return (value.constructor as { name?: string } | undefined)?.name || 'object';
}

/** @throws CortorchError ERR_ABORTED */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) {
    throw new CortorchError('ERR_ABORTED', 'stopped by the signal, between two steps', {
      cause: signal.reason,
    });
  }
}
