/** The linear maps of a network in their places: what learning rules are asked about. */

import { isMap, isParametric, type ResolvedLayer, type ResolvedMap } from './layers.js';
import { placeLayers, type PlacedLayer, type Shape } from './shapes.js';
import type { ResolvedSpec } from './spec.js';

/** A linear map in its place, and the shapes that belong to it. */
export interface Site {
  /** Among the maps, from 0. */
  readonly index: number;
  /** Prefix of its parameters' names. */
  readonly name: string;
  /** How an error finds it: `layers[2]`, or within a residual block `layers[2].layers[0]`. */
  readonly where: string;
  readonly layer: ResolvedMap;
  /** Of one example. */
  readonly input: Shape;
  readonly output: Shape;
  readonly weight: Shape;
  /** null: it has none */
  readonly bias: Shape | null;
  /** Whether something with parameters lies below, on some way to the input, which waits for the error. */
  readonly sends: boolean;
}

/** In the order in which they run. @throws CortorchError ERR_INVALID_SPEC */
export function sitesOf(spec: ResolvedSpec): readonly Site[] {
  const sends = sendsDown(spec);
  let index = 0;
  return placeLayers(spec).flatMap(({ layer, where, name, input, output }) => {
    if (!isMap(layer)) return [];
    const weight = weightShape(layer, input, output);
    const bias = layer.bias ? biasShape(layer, output) : null;
    return [{ index, name: name!, where, layer, input, output, weight, bias, sends: sends[index++]! }];
  });
}

/** The names of a state_dict that belong to layers: all others are a rule's. @throws CortorchError ERR_INVALID_SPEC */
export function namesOfLayers(spec: ResolvedSpec): ReadonlySet<string> {
  const parts = ({ layer }: PlacedLayer): readonly string[] => {
    if (isMap(layer)) return layer.bias ? ['weight', 'bias'] : ['weight'];
    return layer.type === 'batch-norm' ? ['weight', 'bias', 'running_mean', 'running_var'] : [];
  };
  return new Set(placeLayers(spec).flatMap((one) => parts(one).map((part) => `${one.name}.${part}`)));
}

/** Of the maps, in their order. Where nothing with parameters lies below, no error is sent. */
function sendsDown(spec: ResolvedSpec): readonly boolean[] {
  const sends: boolean[] = [];
  const walk = (layers: readonly ResolvedLayer[], from: boolean): boolean => {
    let below = from;
    for (const layer of layers) {
      if (isMap(layer)) sends.push(below);
      if (isParametric(layer)) below = true;
      if (layer.type !== 'residual') continue;
      const inLayers = walk(layer.layers, below);
      const inShortcut = typeof layer.shortcut === 'string' ? below : walk(layer.shortcut, below);
      below = inLayers || inShortcut;
    }
    return below;
  };
  walk(spec.layers, false);
  return sends;
}

/** As in the state_dict. */
function weightShape(layer: ResolvedMap, input: Shape, output: Shape): Shape {
  switch (layer.type) {
    case 'dense':
      return [layer.units, input[0]!];
    case 'conv2d':
      return [layer.channels, input[0]!, ...layer.kernel];
    case 'locally-connected2d':
      return [...output.slice(1), ...layer.kernel, input[0]!, layer.channels];
  }
}

function biasShape(layer: ResolvedMap, output: Shape): Shape {
  switch (layer.type) {
    case 'dense':
      return [layer.units];
    case 'conv2d':
      return [layer.channels];
    case 'locally-connected2d':
      return [...output.slice(1), layer.channels];
  }
}
