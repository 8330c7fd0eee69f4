/**
 * The classes and functions that a checkpoint may call: each stands for the lines below, none for Python's code.
 * Source: torch/_utils.py, torch/serialization.py and numpy's core/multiarray. A call of another name is refused.
 */

import { corrupt, unsupported } from './format-error.js';
import { numpyGlobals } from './numpy-globals.js';
import { Global, plainValue } from './pickle.js';
import { StorageReference, type TensorView } from './storages.js';
import type { StoredTensor } from './stored-tensor.js';
import { DTYPES, isDType, type DType, type TensorData } from './tensor-data.js';
import { OpaqueObject, OrderedDict, Tuple, type CheckpointKey, type CheckpointValue } from './value.js';

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
export function torchGlobals(tensor: (view: TensorView) => TensorData | StoredTensor): ReadonlyMap<string, Global> {
  const globals = [
    new Global('collections.OrderedDict', ([items]) => new OrderedDict(pairs(items))),
    new Global('collections.defaultdict', ([, items]) => new Map(pairs(items))),
    new Global('collections.Counter', ([items]) => new Map(pairs(items))),
    ...recorded.map((name) => new Global(name, (args) => new OpaqueObject(name, args.map(plainValue)))),
    ...['__builtin__', 'builtins'].flatMap((module) =>
      builtins.map(
        (name) => new Global(`${module}.${name}`, (args) => new OpaqueObject(`builtins.${name}`, args.map(plainValue))),
      ),
    ),
    // (class, base, state of the base): an object as protocols 0 and 1 make it.
    ...['copy_reg', 'copyreg'].map(
      (module) =>
        new Global(`${module}._reconstructor`, ([type]) => {
          if (!(type instanceof Global)) throw corrupt('its pickle makes an object of no class');
          return new OpaqueObject(type.name);
        }),
    ),
    ...numpyGlobals(),
    new Global('torch.Size', ([sizes]) => integers(sizes, 'a torch.Size')),
    // TorchScript's marks of lists and of types.
    ...['build_intlist', 'build_doublelist', 'build_boollist', 'build_tensorlist', 'restore_type_tag'].map(
      (name) => new Global(`torch.jit._pickle.${name}`, ([value]) => value),
    ),
    new Global('torch._utils._rebuild_tensor', ([storage, offset, shape, strides]) =>
      tensor(typedView(storage, offset, shape, strides, undefined)),
    ),
    new Global('torch._utils._rebuild_tensor_v2', ([storage, offset, shape, strides, , , metadata]) =>
      tensor(typedView(storage, offset, shape, strides, metadata)),
    ),
    new Global('torch._utils._rebuild_tensor_v3', (args) => {
      const [storage, offset, shape, strides, , , dtype, metadata] = args;
      if (!(storage instanceof StorageReference)) throw corrupt('it has a tensor without a storage');
      if (!(dtype instanceof DTypeGlobal)) throw corrupt('it has a tensor without an element type');
      return tensor(view(storage, dtype.dtype, offset, shape, strides, metadata));
    }),
    // (data, requires_grad, backward_hooks): a Parameter is read as its tensor.
    new Global('torch._utils._rebuild_parameter', ([data]) => data),
    new Global('torch._utils._rebuild_parameter_with_state', ([data]) => data),
    // A quantized tensor: its integers, and what makes numbers of them.
    new Global('torch._utils._rebuild_qtensor', ([storage, offset, shape, strides, quantizer]) => {
      const integerTensor = tensor(typedView(storage, offset, shape, strides, undefined)) as CheckpointValue;
      const state = new Map([
        ['int_repr', integerTensor],
        ['quantizer', plainValue(quantizer)],
      ]);
      return new OpaqueObject('torch.Tensor (quantized)', [], state);
    }),
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

/** Classes that are data through and through: kept as a record of what they are made from. */
const recorded = [
  ...['torch.device', 'torch._utils._rebuild_sparse_tensor', 'torch._utils._rebuild_device_tensor_from_numpy'],
  ...['torch.serialization._get_layout', 'datetime.datetime', 'datetime.date', 'datetime.timedelta'],
  ...['pathlib.PosixPath', 'pathlib.WindowsPath', 'pathlib.PurePosixPath', 'pathlib.Path'],
  ...['decimal.Decimal', 'fractions.Fraction', 'collections.deque'],
];
const builtins = ['set', 'frozenset', 'complex', 'bytearray', 'slice', 'range', 'xrange', 'object'];

function pairs(items: unknown): [CheckpointKey, CheckpointValue][] {
  if (items === undefined) return [];
  const list: unknown[] = items instanceof Map ? [...items] : Array.isArray(items) ? items : [null];
  return list.map((pair) => {
    const [key, value] = Array.isArray(pair) && pair.length === 2 ? (pair as unknown[]) : [{}, null];
    if (typeof key === 'object' && key !== null) throw corrupt('it has a dict made from what are no pairs');
    return [key as CheckpointKey, plainValue(value)];
  });
}

/**
 * What a persistent id stands for: the storage of ('storage', type, key, location, elements), before PyTorch 1.6 with
 * (key, first element, elements) of the window that it is of a larger one, or null; the class of ('module', class, …).
 */
export function storageReference(id: unknown): unknown {
  if (id instanceof Tuple && id[0] === 'module') return (id as unknown[])[1];
  if (!(id instanceof Tuple) || id[0] !== 'storage' || id.length < 5 || id.length > 6) {
    throw corrupt('it refers to something outside its pickle that is no storage');
  }
  // The location ('cuda:0') says where the tensor was: it does not matter here.
  const [, type, key, , elements, window] = id as unknown[];
  if (!(type instanceof StorageType) || typeof key !== 'string' || !isSize(elements)) {
    throw corrupt('it refers to a storage that makes no sense');
  }
  if (window === undefined || window === null) return new StorageReference(key, type.dtype, elements);
  const [, start, count] = Array.isArray(window) ? (window as unknown[]) : [];
  if (!isSize(start) || !isSize(count) || start + count > elements) {
    throw corrupt('it refers to a window of a storage that makes no sense');
  }
  return new StorageReference(key, type.dtype, elements, start, count);
}

function typedView(storage: unknown, offset: unknown, shape: unknown, strides: unknown, metadata: unknown): TensorView {
  if (!(storage instanceof StorageReference) || storage.dtype === undefined) {
    throw corrupt('it has a tensor without a storage');
  }
  return view(storage, storage.dtype, offset, shape, strides, metadata);
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
  const end = shape.includes(0) ? offset : shape.reduce((sum, size, i) => sum + (size - 1) * strides[i]!, offset) + 1;
  if (end * DTYPES[dtype].bytes > storage.windowElements * storage.elementBytes) {
    throw corrupt(`it has a tensor of shape [${shape.join(', ')}] that does not fit its storage`);
  }
  return { storage, dtype, offset, shape, strides };
}

function integers(value: unknown, what: string): Tuple<number> {
  if (!(value instanceof Tuple) || !value.every(isSize)) throw corrupt(`${what} is not made of integers of at least 0`);
  return value;
}

const isSize = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
