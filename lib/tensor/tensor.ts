/**
 * A tensor in native memory: enough to script with (shapes, arithmetic, gradients), not a clone of torch.
 *
 * On the CPU its functions run on JavaScript's thread, on one core: a second team of threads beside a model's would
 * slow its steps down.
 *
 * Memory is freed by `dispose()`, by `using`, by {@link scope}, or, as the net under these, when the garbage
 * collector finds the object.
 */

import { checkMemory, CortorchError, invalid, isInteger } from '../errors.js';
import { resolvePlace } from '../model/device.js';
import { call, native, type NativeTypedArray, type TensorHandle } from '../native.js';
import { track } from './scope.js';

export type TensorDType = 'float32' | 'float64' | 'uint8' | 'int32' | 'int64';

/** Typed arrays that a tensor is made from and read into: one for each {@link TensorDType}, in that order. */
export type TensorArray = NativeTypedArray;

const arrayTypes = [Float32Array, Float64Array, Uint8Array, Int32Array, BigInt64Array] as const;

type Nested = number | readonly Nested[];

export class Tensor implements Disposable {
  readonly #handle: TensorHandle;

  /** For the package's own use: see {@link Tensor.from}. */
  constructor(handle: TensorHandle) {
    this.#handle = handle;
    track(this);
  }

  /**
   * A tensor with a copy of the values: of a typed array, whose type gives the dtype, or of a number or (nested)
   * array of numbers, which becomes float32.
   *
   * @param shape must hold as many values; default: the array's own (a typed array: one dimension)
   * @throws CortorchError ERR_INVALID_ARGUMENT
   */
  static from(data: TensorArray | Nested, shape?: readonly number[]): Tensor {
    if (shape !== undefined) checkShape(shape);
    let values: TensorArray;
    let own: readonly number[];
    if (ArrayBuffer.isView(data)) {
      if (!arrayTypes.some((type) => data instanceof type)) {
        throw invalid('data', `a ${arrayTypes.map((type) => type.name).join(', ')} or numbers`, data);
      }
      checkMemory(data, 'data');
      values = data;
      own = [data.length];
    } else {
      own = nestedShape(data);
      values = Float32Array.from(flat(data));
    }
    const to = shape ?? own;
    if (product(to) !== values.length) {
      throw invalid(
        'shape',
        `a shape that holds the array's ${values.length} values`,
        `[${to.join(', ')}], which holds ${product(to)}`,
      );
    }
    return new Tensor(call((n) => new n.TensorHandle(values, to)));
  }

  /** A float32 tensor of one value. @throws CortorchError ERR_INVALID_ARGUMENT */
  static full(shape: readonly number[], value: number): Tensor {
    checkShape(shape);
    return Tensor.from(new Float32Array(product(shape)).fill(value), shape);
  }

  /** Sizes, outermost first. */
  get shape(): readonly number[] {
    return call((n) => n.tensor.shape(this.#handle));
  }

  get dtype(): TensorDType {
    return call((n) => n.tensor.dtype(this.#handle)) as TensorDType;
  }

  /** Where the values are: `cpu`, or a GPU such as `cuda:0`. */
  get device(): string {
    return call((n) => n.tensor.device(this.#handle));
  }

  /** A copy of the values, row-major, in the typed array of the dtype. */
  data(): TensorArray {
    return call((n) => n.tensor.data(this.#handle));
  }

  /** The value of a tensor that has one. @throws CortorchError ERR_INVALID_ARGUMENT if it has more or none */
  item(): number {
    const data = this.data();
    if (data.length !== 1) throw invalid('tensor', 'a tensor of one value', `one of shape [${this.shape.join(', ')}]`);
    return Number(data[0]);
  }

  /** Whether gradients of this tensor are recorded. Only leaves can be set. */
  get requiresGrad(): boolean {
    return call((n) => n.tensor.requiresGrad(this.#handle));
  }

  set requiresGrad(value: boolean) {
    call((n) => n.tensor.setRequiresGrad(this.#handle, value));
  }

  /** What {@link backward} left here, or null. A new object at each reading. */
  get grad(): Tensor | null {
    const grad = call((n) => n.tensor.grad(this.#handle));
    return grad === null ? null : new Tensor(grad);
  }

  clearGrad(): void {
    call((n) => n.tensor.clearGrad(this.#handle));
  }

  /**
   * Adds the gradients of this tensor to the `grad` of every leaf it was made from.
   *
   * @param options.gradient of this tensor's shape; may be left out for a single value
   * @param options.createGraph record the backward pass, to differentiate again; refused by every rule but bp
   */
  backward(options: { gradient?: Tensor; createGraph?: boolean } = {}): void {
    const gradient = optionalHandle(options.gradient, 'gradient');
    call((n) => n.tensor.backward(this.#handle, gradient, options.createGraph ?? false));
  }

  add(other: Tensor | number): Tensor {
    return this.#binary('add', other);
  }
  sub(other: Tensor | number): Tensor {
    return this.#binary('sub', other);
  }
  mul(other: Tensor | number): Tensor {
    return this.#binary('mul', other);
  }
  div(other: Tensor | number): Tensor {
    return this.#binary('div', other);
  }
  matmul(other: Tensor): Tensor {
    return new Tensor(call((n) => n.tensor.matmul(this.#handle, handleOf(other, 'other'))));
  }
  neg(): Tensor {
    return new Tensor(call((n) => n.tensor.neg(this.#handle)));
  }
  exp(): Tensor {
    return new Tensor(call((n) => n.tensor.exp(this.#handle)));
  }
  log(): Tensor {
    return new Tensor(call((n) => n.tensor.log(this.#handle)));
  }
  tanh(): Tensor {
    return new Tensor(call((n) => n.tensor.activate(this.#handle, 'tanh')));
  }
  relu(): Tensor {
    return new Tensor(call((n) => n.tensor.activate(this.#handle, 'relu')));
  }
  sigmoid(): Tensor {
    return new Tensor(call((n) => n.tensor.activate(this.#handle, 'sigmoid')));
  }
  softmax(dim = -1): Tensor {
    return new Tensor(call((n) => n.tensor.softmax(this.#handle, dim)));
  }
  /** Over one dimension, which disappears, or over all. */
  sum(dim?: number): Tensor {
    return new Tensor(call((n) => n.tensor.sum(this.#handle, dim)));
  }
  mean(dim?: number): Tensor {
    return new Tensor(call((n) => n.tensor.mean(this.#handle, dim)));
  }
  argmax(dim?: number): Tensor {
    return new Tensor(call((n) => n.tensor.argmax(this.#handle, dim)));
  }
  /** One size may be −1: it takes what is left. */
  reshape(shape: readonly number[]): Tensor {
    const known = shape.filter((size) => size !== -1);
    if (shape.length - known.length > 1) throw invalid('shape', 'at most one size of −1', shape);
    checkShape(known);
    const rest = shape.length === known.length ? 1 : product(this.shape) / product(known);
    if (!Number.isInteger(rest)) {
      throw invalid('shape', `a shape for ${product(this.shape)} values`, shape);
    }
    const full = shape.map((size) => (size === -1 ? rest : size));
    return new Tensor(call((n) => n.tensor.reshape(this.#handle, full)));
  }
  transpose(dim0 = 0, dim1 = 1): Tensor {
    return new Tensor(call((n) => n.tensor.transpose(this.#handle, dim0, dim1)));
  }
  /** The same values, outside the graph. */
  detach(): Tensor {
    return new Tensor(call((n) => n.tensor.detach(this.#handle)));
  }
  to(dtype: TensorDType): Tensor {
    return new Tensor(call((n) => n.tensor.to(this.#handle, dtype)));
  }
  /**
   * The same values on a device; gradients come back to where this tensor is. What is already there is not copied.
   * float64 is computed on the CPU alone.
   *
   * @param device `cpu`, `cuda` or `cuda:i`
   * @throws CortorchError ERR_INVALID_ARGUMENT; ERR_DEVICE_UNAVAILABLE: why there is no such GPU, and what helps
   */
  on(device: string): Tensor {
    const { place } = resolvePlace({ device });
    return new Tensor(call((n) => n.tensor.toDevice(this.#handle, place.device)));
  }

  /** Frees the memory now; using the tensor afterwards is ERR_DISPOSED. Doing it twice is harmless. */
  dispose(): void {
    native().tensor.dispose(this.#handle);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  toString(): string {
    return `Tensor(${this.dtype}, [${this.shape.join(', ')}])`;
  }

  #binary(operation: 'add' | 'sub' | 'mul' | 'div', other: Tensor | number): Tensor {
    const right = typeof other === 'number' ? other : handleOf(other, 'other');
    return new Tensor(call((n) => n.tensor[operation](this.#handle, right)));
  }

  /** The native handle of an argument. @throws CortorchError ERR_INVALID_ARGUMENT */
  static handleOf(value: unknown, name: string): TensorHandle {
    if (!(value instanceof Tensor)) throw invalid(name, 'a Tensor', value);
    return value.#handle;
  }
}

export const handleOf = (value: unknown, name: string): TensorHandle => Tensor.handleOf(value, name);

export const optionalHandle = (value: unknown, name: string): TensorHandle | undefined =>
  value === undefined || value === null ? undefined : handleOf(value, name);

/** Tensors that have not been freed, in this process: 0 when nothing leaks. */
export const liveTensors = (): number => native().tensor.live();

const product = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

function checkShape(shape: unknown): asserts shape is readonly number[] {
  if (!Array.isArray(shape) || !shape.every((size) => isInteger(size) && size >= 0)) {
    throw invalid('shape', 'an array of sizes', shape);
  }
}

function nestedShape(data: Nested): number[] {
  if (typeof data === 'number') return [];
  if (!Array.isArray(data)) throw invalid('data', 'a typed array, a number or nested arrays of numbers', data);
  const inner = data.map((item: Nested) => nestedShape(item));
  const first = inner[0] ?? [];
  if (inner.some((shape) => shape.length !== first.length || shape.some((size, i) => size !== first[i]))) {
    throw new CortorchError(
      'ERR_INVALID_ARGUMENT',
      'expected nested arrays of equal lengths for `data`, but they differ',
    );
  }
  return [data.length, ...first];
}

function flat(data: Nested): number[] {
  return typeof data === 'number' ? [data] : data.flatMap(flat);
}
