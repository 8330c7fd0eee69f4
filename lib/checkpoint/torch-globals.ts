/**
 * The classes and functions that a checkpoint may name: each stands for the lines below, none for Python's code.
 * Source: torch/_utils.py and torch/serialization.py. A name that is not here is refused.
 */

import { corrupt, unsupported } from './format-error.js';
import { Global } from './pickle.js';
import { DTYPES, isDType, type DType, type TensorData } from './tensor-data.js';
import { OrderedDict, Tuple } from './value.js';

/** A storage that a pickle refers to: the record `data/<key>` of the archive. */
export class StorageReference {
  readonly key: string;
  /** undefined: untyped, its elements are bytes */
  readonly dtype: DType | undefined;
  readonly elements: number;

  constructor(key: string, dtype: DType | undefined, elements: number) {
    this.key = key;
    this.dtype = dtype;
    this.elements = elements;
  }

  get bytes(): number {
    return this.elements * (this.dtype === undefined ? 1 : DTYPES[this.dtype].bytes);
  }
}

/** A tensor as a pickle describes it: a view of a storage. Checked to lie within it. */
export interface TensorView {
  readonly storage: StorageReference;
  readonly dtype: DType;
  /** Elements from the storage's start. */
  readonly offset: number;
  readonly shape: readonly number[];
  /** In elements. */
  readonly strides: readonly number[];
}

/** PyTorch itself allows 64. */
const MAX_DIMENSIONS = 64;

class StorageType extends Global {
  readonly dtype: DType | undefined;

  constructor(name: string, dtype: DType | undefined) {
    super(name);
    this.dtype = dtype;
  }
}

class DTypeGlobal extends Global {
  readonly dtype: DType;

  constructor(dtype: DType) {
    super(`torch.${dtype}`);
    this.dtype = dtype;
  }
}

/**
 * The table of allowed names.
 *
 * @param tensor makes the tensor of a view; its bytes may come later
 */
export function torchGlobals(tensor: (view: TensorView) => TensorData): ReadonlyMap<string, Global> {
  const globals = [
    new Global('collections.OrderedDict', (args) => {
      if (args.length > 0)
        throw unsupported('it has an OrderedDict made from a list, as Python 2 wrote them');
      return new OrderedDict();
    }),
    new Global('torch.Size', ([sizes]) => integers(sizes, 'a torch.Size')),
    new Global('torch._utils._rebuild_tensor_v2', (args) => {
      const [storage, offset, shape, strides, , , metadata] = args;
      if (!(storage instanceof StorageReference) || storage.dtype === undefined) {
        throw corrupt('it has a tensor without a storage');
      }
      return tensor(view(storage, storage.dtype, offset, shape, strides, metadata));
    }),
    new Global('torch._utils._rebuild_tensor_v3', (args) => {
      const [storage, offset, shape, strides, , , dtype, metadata] = args;
      if (!(storage instanceof StorageReference)) throw corrupt('it has a tensor without a storage');
      if (!(dtype instanceof DTypeGlobal)) throw corrupt('it has a tensor without an element type');
      return tensor(view(storage, dtype.dtype, offset, shape, strides, metadata));
    }),
    // (data, requires_grad, backward_hooks): a Parameter is read as its tensor.
    new Global('torch._utils._rebuild_parameter', ([data]) => data),
    new StorageType('torch.storage.UntypedStorage', undefined),
    ...Object.entries(DTYPES).flatMap(([dtype, { storage }]) =>
      storage === null ? [] : [new StorageType(`torch.${storage}`, dtype as DType)],
    ),
    ...Object.keys(DTYPES)
      .filter(isDType)
      .map((dtype) => new DTypeGlobal(dtype)),
  ];
  return new Map(globals.map((global) => [global.name, global]));
}

/** The storage of a persistent id: ('storage', type, key, location, elements). */
export function storageReference(id: unknown): StorageReference {
  if (!(id instanceof Tuple) || id.length !== 5 || id[0] !== 'storage') {
    throw corrupt('it refers to something outside its pickle that is no storage');
  }
  // The location ('cuda:0') says where the tensor was: it does not matter here.
  const [, type, key, , elements] = id as unknown[];
  if (!(type instanceof StorageType) || typeof key !== 'string' || !isSize(elements)) {
    throw corrupt('it refers to a storage that makes no sense');
  }
  return new StorageReference(key, type.dtype, elements);
}

function view(
  storage: StorageReference,
  dtype: DType,
  offset: unknown,
  sizes: unknown,
  steps: unknown,
  metadata: unknown,
): TensorView {
  const shape = integers(sizes, "a tensor's shape");
  const strides = integers(steps, "a tensor's strides");
  if (!isSize(offset) || shape.length !== strides.length || shape.length > MAX_DIMENSIONS) {
    throw corrupt('it has a tensor whose shape makes no sense');
  }
  if (metadata instanceof Map ? metadata.size > 0 : metadata !== undefined && metadata !== null) {
    throw unsupported(
      'it has a tensor whose conjugate or negative has not been computed',
      'save tensor.resolve_conj().resolve_neg()',
    );
  }
  // The place behind the last element. Inexact beyond 2^53, but no storage is as large as that.
  const end = shape.includes(0)
    ? offset
    : shape.reduce((sum, size, i) => sum + (size - 1) * strides[i]!, offset) + 1;
  if (end * DTYPES[dtype].bytes > storage.bytes) {
    throw corrupt(`it has a tensor of shape [${shape.join(', ')}] that does not fit its storage`);
  }
  return { storage, dtype, offset, shape, strides };
}

function integers(value: unknown, what: string): Tuple<number> {
  if (!(value instanceof Tuple) || !value.every(isSize))
    throw corrupt(`${what} is not made of integers of at least 0`);
  return value as Tuple<number>;
}

const isSize = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
