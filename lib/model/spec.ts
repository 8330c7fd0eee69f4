/**
 * A network's description: plain data that can be saved, loaded and compared. Shapes are inferred from it, and
 * every mistake in it is named by its key.
 */

import { CortorchError, isBoolean, isCount, isOneOf, isPlainObject, isString, show } from '../errors.js';
import { didYouMean } from '../suggest.js';

export type ActivationName = 'identity' | 'tanh' | 'relu' | 'sigmoid';
export const activationNames: readonly ActivationName[] = ['identity', 'tanh', 'relu', 'sigmoid'];

/** Fans of a dense layer are its inputs and outputs. Biases start at zero. */
export type InitializerName =
  'glorot-uniform' | 'glorot-normal' | 'he-uniform' | 'he-normal' | 'orthogonal' | 'zeros';
export const initializerNames: readonly InitializerName[] = [
  'glorot-uniform',
  'glorot-normal',
  'he-uniform',
  'he-normal',
  'orthogonal',
  'zeros',
];

/** Softmax cross-entropy: mean over the batch, in nats. Squared error: summed over outputs, mean over the batch. */
export type LossName = 'softmax-cross-entropy' | 'squared-error';
export const lossNames: readonly LossName[] = ['softmax-cross-entropy', 'squared-error'];

/** An image (C, H, W) as a vector in that order. */
export interface FlattenSpec {
  readonly type: 'flatten';
}

/** σ(W x + b), W [units, in]. */
export interface DenseSpec {
  readonly type: 'dense';
  readonly units: number;
  /** Default `identity`. */
  readonly activation?: ActivationName;
  /** Default true. */
  readonly bias?: boolean;
  /** Default `glorot-uniform`. */
  readonly initializer?: InitializerName;
  /** Prefix of the parameter names; default `layers.<i>`, i counting the layers with parameters from 0. */
  readonly name?: string;
}

export type LayerSpec = FlattenSpec | DenseSpec;

export interface NetworkSpec {
  /** Of one example: [channels, height, width], or [features]. */
  readonly input: readonly number[];
  readonly layers: readonly LayerSpec[];
  readonly loss: LossName;
}

/** A spec in which every default is written out. */
export interface ResolvedSpec {
  readonly input: readonly number[];
  readonly layers: readonly (FlattenSpec | (Required<Omit<DenseSpec, 'name'>> & Pick<DenseSpec, 'name'>))[];
  readonly loss: LossName;
}

/**
 * Checks a spec and writes out its defaults.
 *
 * @throws CortorchError ERR_INVALID_SPEC that names the key (`layers[2].units`) and what would be right
 */
export function parseNetworkSpec(value: unknown): ResolvedSpec {
  if (!isPlainObject(value)) throw wrong('the spec', 'an object with input, layers and loss', value);
  checkKeys(value, ['input', 'layers', 'loss'], '');
  const input = value['input'];
  if (!Array.isArray(input) || ![1, 3].includes(input.length) || !input.every(isCount)) {
    throw wrong('input', '[channels, height, width] or [features]', input);
  }
  if (!Array.isArray(value['layers']) || value['layers'].length === 0) {
    throw wrong('layers', 'an array of at least one layer', value['layers']);
  }
  const loss = value['loss'] ?? 'softmax-cross-entropy';
  if (!isOneOf(loss, lossNames)) throw wrong('loss', `one of ${lossNames.join(', ')}`, loss);
  const layers = value['layers'].map((layer, i) => parseLayer(layer, `layers[${i}]`));
  const spec = { input: [...(input as number[])], layers, loss };
  inferShapes(spec);
  return spec;
}

/**
 * The shape of one example after each layer.
 *
 * @throws CortorchError ERR_INVALID_SPEC if a layer does not take what the one before it gives
 */
export function inferShapes(spec: ResolvedSpec): readonly (readonly number[])[] {
  const shapes: (readonly number[])[] = [];
  let shape = spec.input;
  const names = new Set<string>();
  let parametric = 0;
  spec.layers.forEach((layer, i) => {
    shape = shapeAfter(layer, shape, `layers[${i}]`);
    shapes.push(shape);
    if (layer.type === 'flatten') return;
    const name = layer.name ?? `layers.${parametric}`;
    if (names.has(name)) {
      throw new CortorchError(
        'ERR_INVALID_SPEC',
        `layers[${i}].name: another layer is called ${show(name)} already; give it a name of its own`,
      );
    }
    names.add(name);
    parametric++;
  });
  if (parametric === 0) {
    throw new CortorchError(
      'ERR_INVALID_SPEC',
      'layers: no layer has parameters, so there is nothing to train; add a dense layer',
    );
  }
  if (shape.length !== 1) {
    throw new CortorchError(
      'ERR_INVALID_SPEC',
      `layers: the network ends in an image ${describe(shape)}, but a loss takes a vector; end with a dense layer`,
    );
  }
  return shapes;
}

/** One layer's output shape. `where` is how an error names the layer. */
export function shapeAfter(layer: LayerSpec, input: readonly number[], where: string): readonly number[] {
  switch (layer.type) {
    case 'flatten':
      return [input.reduce((a, b) => a * b, 1)];
    case 'dense':
      if (input.length !== 1) {
        throw new CortorchError(
          'ERR_INVALID_SPEC',
          `${where}: a dense layer takes a vector, but its input is an image ${describe(input)}; put a flatten before it`,
        );
      }
      return [layer.units];
  }
}

/** Values that the network gives for one example. */
export const countOutputs = (spec: ResolvedSpec): number => inferShapes(spec).at(-1)![0]!;

/** Values in the trainable parameters of a spec. */
export function countParameters(spec: ResolvedSpec): number {
  const shapes = inferShapes(spec);
  return spec.layers.reduce((sum, layer, i) => {
    if (layer.type !== 'dense') return sum;
    const inputs = (i === 0 ? spec.input : shapes[i - 1]!)[0]!;
    return sum + layer.units * inputs + (layer.bias ? layer.units : 0);
  }, 0);
}

function parseLayer(value: unknown, where: string): ResolvedSpec['layers'][number] {
  if (!isPlainObject(value)) throw wrong(where, 'an object such as { "type": "dense", "units": 256 }', value);
  const type = value['type'];
  if (type === 'flatten') {
    checkKeys(value, ['type'], `${where}.`);
    return { type };
  }
  if (type !== 'dense') {
    const near = typeof type === 'string' ? didYouMean(type, layerTypes) : '';
    throw wrong(`${where}.type`, `one of ${layerTypes.join(', ')}`, type, near);
  }
  checkKeys(value, ['type', 'units', 'activation', 'bias', 'initializer', 'name'], `${where}.`);
  const { units, activation = 'identity', bias = true, initializer = 'glorot-uniform', name } = value;
  if (!isCount(units)) throw wrong(`${where}.units`, 'a positive integer', units);
  if (!isOneOf(activation, activationNames))
    throw wrong(`${where}.activation`, `one of ${activationNames.join(', ')}`, activation);
  if (!isBoolean(bias)) throw wrong(`${where}.bias`, 'true or false', bias);
  if (!isOneOf(initializer, initializerNames))
    throw wrong(`${where}.initializer`, `one of ${initializerNames.join(', ')}`, initializer);
  if (name !== undefined && !isString(name)) throw wrong(`${where}.name`, 'a name', name);
  return { type, units, activation, bias, initializer, ...(name !== undefined && { name }) };
}

const layerTypes = ['flatten', 'dense'];

function checkKeys(value: object, known: readonly string[], prefix: string): void {
  for (const key of Object.keys(value)) {
    if (!known.includes(key)) {
      throw new CortorchError(
        'ERR_INVALID_SPEC',
        `${prefix}${key}: there is no such key${didYouMean(key, known) || `; the keys are ${known.join(', ')}`}`,
      );
    }
  }
}

const describe = (shape: readonly number[]): string => shape.join('×');

function wrong(key: string, expected: string, received: unknown, hint = ''): CortorchError {
  return new CortorchError(
    'ERR_INVALID_SPEC',
    `${key}: expected ${expected} but received ${show(received)}${hint}`,
  );
}
