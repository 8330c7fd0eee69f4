/** The shapes that follow from a spec: of each layer's output, and of the parameters. */

import { show } from '../errors.js';
import { countPlaces, describe, reach, type Window2d } from './geometry.js';
import { isMap, isParametric, nameOf, type ResolvedLayer, type ResolvedResidual } from './layers.js';
import { specError } from './spec-error.js';
import type { ResolvedSpec } from './spec.js';

/** Sizes, outermost first. */
export type Shape = readonly number[];

export const product = (shape: Shape): number => shape.reduce((a, b) => a * b, 1);

/** A layer in its place. */
export interface PlacedLayer {
  readonly layer: ResolvedLayer;
  /** `layers[2]`, or within a residual block `layers[2].layers[0]`. */
  readonly where: string;
  /** Prefix of its parameters' names; null: it has none. */
  readonly name: string | null;
  /** Shapes of one example. */
  readonly input: Shape;
  readonly output: Shape;
}

type UnnamedLayer = Omit<PlacedLayer, 'name'>;

/**
 * All layers with the shapes of one example, in the order in which they run: those within a residual block before it,
 * its own before its shortcut's.
 *
 * @throws CortorchError ERR_INVALID_SPEC if a layer does not take what the one before it gives
 */
export function placeLayers(spec: ResolvedSpec): readonly PlacedLayer[] {
  const names = new Set<string>();
  const placed = placeIn(spec.layers, spec.input, 'layers').map((one) => {
    const { layer, where } = one;
    if (!isParametric(layer)) return { ...one, name: null };
    const name = layer.name ?? `layers.${names.size}`;
    if (names.has(name)) {
      throw specError(`${where}.name: another layer is called ${show(name)} already; give it a name of its own`);
    }
    names.add(name);
    return { ...one, name };
  });
  if (!placed.some(({ layer }) => isMap(layer))) {
    throw specError('layers: no layer has weights, so there is nothing to train; add a dense layer');
  }
  const { output } = placed.at(-1)!;
  if (output.length !== 1) {
    throw specError(
      `layers: the network ends in an image ${describe(output)}, but a loss takes a vector; ` +
        'end with a flatten and a dense layer',
    );
  }
  return placed;
}

function placeIn(layers: readonly ResolvedLayer[], from: Shape, list: string): UnnamedLayer[] {
  let input = from;
  return layers.flatMap((layer, i) => {
    const placed = place(layer, input, `${list}[${i}]`);
    input = placed.at(-1)!.output;
    return placed;
  });
}

/** The layer, after those within it. */
function place(layer: ResolvedLayer, input: Shape, where: string): UnnamedLayer[] {
  if (layer.type !== 'residual')
    return [{ layer, where, input, output: shapeAfter(layer, input, nameOf(where, layer)) }];
  const { shortcut } = layer;
  const body = placeIn(layer.layers, input, `${where}.layers`);
  const output = body.at(-1)!.output;
  const past = typeof shortcut === 'string' ? [] : placeIn(shortcut, input, `${where}.shortcut`);
  const other = shortcut === 'pad' ? padded(layer, input, output, where) : (past.at(-1)?.output ?? input);
  if (describe(other) !== describe(output)) {
    throw specError(
      `${where}: its layers give ${describe(output)}, but its shortcut gives ${describe(other)}; ` +
        "make them equal, with the shortcut 'pad' or one of layers such as a 1×1 convolution with a stride",
    );
  }
  return [...body, ...past, { layer, where, input, output }];
}

function padded({ stride = [1, 1] }: ResolvedResidual, input: Shape, output: Shape, where: string): Shape {
  if (input.length !== 3 || output.length !== 3 || output[0]! < input[0]!) {
    throw specError(
      `${where}: the shortcut 'pad' goes from images to images of as many channels or more, but its layers make ` +
        `${describe(output)} of ${describe(input)}; use a shortcut of layers`,
    );
  }
  return [output[0]!, ...([0, 1] as const).map((i) => Math.ceil(input[i + 1]! / stride[i]))];
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
    case 'batch-norm':
      return input;
    case 'residual':
      return place(layer, input, where).at(-1)!.output;
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
export const countOutputs = (spec: ResolvedSpec): number => placeLayers(spec).at(-1)!.output[0]!;
