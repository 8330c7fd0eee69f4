/** The shapes that follow from a spec: of each layer's output, and of the parameters. */

import { show } from '../errors.js';
import { countPlaces, describe, reach, type Window2d } from './geometry.js';
import { isParametric, nameOf, type ResolvedLayer, type ResolvedParametric } from './layers.js';
import { specError } from './spec-error.js';
import type { ResolvedSpec } from './spec.js';

/** Sizes, outermost first. */
export type Shape = readonly number[];

export const product = (shape: Shape): number => shape.reduce((a, b) => a * b, 1);

/**
 * The shape of one example after each layer.
 *
 * @throws CortorchError ERR_INVALID_SPEC if a layer does not take what the one before it gives
 */
export function inferShapes(spec: ResolvedSpec): readonly Shape[] {
  const shapes: Shape[] = [];
  let shape = spec.input;
  const names = new Set<string>();
  spec.layers.forEach((layer, i) => {
    shape = shapeAfter(layer, shape, nameOf(i, layer));
    shapes.push(shape);
    if (!isParametric(layer)) return;
    const name = layer.name ?? `layers.${names.size}`;
    if (names.has(name)) {
      throw specError(
        `layers[${i}].name: another layer is called ${show(name)} already; give it a name of its own`,
      );
    }
    names.add(name);
  });
  if (names.size === 0) {
    throw specError('layers: no layer has parameters, so there is nothing to train; add a dense layer');
  }
  if (shape.length !== 1) {
    throw specError(
      `layers: the network ends in an image ${describe(shape)}, but a loss takes a vector; ` +
        'end with a flatten and a dense layer',
    );
  }
  return shapes;
}

/**
 * One layer's output shape.
 *
 * @param where how an error names the layer
 * @throws CortorchError ERR_INVALID_SPEC
 */
export function shapeAfter(layer: ResolvedLayer, input: Shape, where: string): Shape {
  switch (layer.type) {
    case 'flatten':
      return [product(input)];
    case 'dense':
      if (input.length !== 1) {
        throw specError(
          `${where}: a dense layer takes a vector, but its input is an image ${describe(input)}; put a flatten before it`,
        );
      }
      return [layer.units];
    case 'locally-connected2d':
    case 'conv2d':
      return [layer.channels, ...placesOf(layer, input, where)];
    case 'max-pool2d':
    case 'avg-pool2d':
      return [input[0]!, ...placesOf({ ...layer, dilation: [1, 1] }, input, where)];
  }
}

/** [height, width] of what a window that slides over an image gives. */
function placesOf(layer: Window2d & Pick<ResolvedLayer, 'type'>, input: Shape, where: string): Shape {
  if (input.length !== 3) {
    throw specError(
      `${where}: a ${layer.type} layer takes an image, but its input is a vector of ${describe(input)}; ` +
        "put it before the flatten and dense layers, and let the network's input be [channels, height, width]",
    );
  }
  const { kernel, stride, padding, dilation } = layer;
  const places = ([0, 1] as const).map((i) =>
    countPlaces(input[i + 1]!, kernel[i], stride[i], padding[i], dilation[i]),
  );
  if (places.every((count) => count >= 1)) return places;
  const padded = ([0, 1] as const).map((i) => input[i + 1]! + 2 * padding[i]);
  const largest = ([0, 1] as const).map((i) => Math.floor((padded[i]! - 1) / dilation[i]) + 1);
  const needed = ([0, 1] as const).map((i) =>
    Math.max(padding[i], Math.ceil((reach(kernel[i], dilation[i]) - input[i + 1]!) / 2)),
  );
  const dilated = dilation.some((distance) => distance > 1) ? ` of dilation ${describe(dilation)}` : '';
  throw specError(
    `${where}: the kernel ${describe(kernel)}${dilated} is larger than its input, ${describe(input.slice(1))} ` +
      `with padding ${describe(padding)}; use a kernel of at most ${describe(largest)}, or a padding of ${describe(needed)}`,
  );
}

/** Values that the network gives for one example. */
export const countOutputs = (spec: ResolvedSpec): number => inferShapes(spec).at(-1)![0]!;

/** A layer with parameters, and the shapes that belong to it. */
export interface LayerShapes {
  /** Of one example. */
  readonly input: Shape;
  readonly output: Shape;
  readonly weight: Shape;
  /** null: it has none */
  readonly bias: Shape | null;
}

/** Of the layers with parameters, in their order. @throws CortorchError ERR_INVALID_SPEC */
export function parametricShapes(spec: ResolvedSpec): readonly LayerShapes[] {
  const shapes = inferShapes(spec);
  return spec.layers.flatMap((layer, i) => {
    if (!isParametric(layer)) return [];
    const [input, output] = [i === 0 ? spec.input : shapes[i - 1]!, shapes[i]!];
    const bias = layer.bias ? biasShape(layer, output) : null;
    return [{ input, output, weight: weightShape(layer, input, output), bias }];
  });
}

/** As in the state_dict. */
function weightShape(layer: ResolvedParametric, input: Shape, output: Shape): Shape {
  switch (layer.type) {
    case 'dense':
      return [layer.units, input[0]!];
    case 'conv2d':
      return [layer.channels, input[0]!, ...layer.kernel];
    case 'locally-connected2d':
      return [...output.slice(1), ...layer.kernel, input[0]!, layer.channels];
  }
}

function biasShape(layer: ResolvedParametric, output: Shape): Shape {
  switch (layer.type) {
    case 'dense':
      return [layer.units];
    case 'conv2d':
      return [layer.channels];
    case 'locally-connected2d':
      return [...output.slice(1), layer.channels];
  }
}
