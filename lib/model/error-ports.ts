/**
 * Where the output error arrives under dfa: which layers have feedback of their own, [classes, units].
 *
 * It arrives behind each layer with weights, its activation and the batch norm that follows it directly; behind a
 * residual block by the feedback of the block's last such layer (its shortcut's, where its layers have none), in place
 * of that one. From there ordinary gradients go back: through the sum to the block's last layer, and along its
 * shortcut, where they add to the error that arrives below. No layer with weights sends anything down.
 */

import { isMap, type ResolvedLayer } from './layers.js';
import { placeLayers, product } from './shapes.js';
import { specError } from './spec-error.js';
import type { ResolvedSpec } from './spec.js';

/** A layer with weights that has feedback. */
export interface ErrorPort {
  /** Its number among them, from 0. */
  readonly layer: number;
  /** Values of one example where the error arrives: behind a block that pools, fewer than the layer gives. */
  readonly units: number;
}

/**
 * @throws CortorchError ERR_INVALID_SPEC if the rule does not fit the network
 */
export function errorPorts(spec: ResolvedSpec): readonly ErrorPort[] {
  const count = countMaps(spec.layers);
  const unitsOf = new Map(placeLayers(spec).map(({ where, output }) => [where, product(output)]));
  const ports: ErrorPort[] = [];
  let next = 0;

  /** @returns the last layer with weights; null: there is none */
  const walk = (layers: readonly ResolvedLayer[], list: string, summed: boolean): number | null => {
    let last: ErrorPort | null = null;
    for (const [i, layer] of layers.entries()) {
      const where = `${list}[${i}]`;
      if (layer.type === 'batch-norm') {
        const before = layers[i - 1];
        if (before === undefined || !isMap(before)) {
          throw specError(
            `${where}: rule dfa needs a layer with weights directly before a batch norm, whose error it takes; ` +
              'put one there, or use rule bp, fa, usf, brsf or frsf',
          );
        }
        if (next === count) throw outputNotLast(where, 'a batch norm');
        continue;
      }
      if (!isMap(layer) && layer.type !== 'residual') continue;
      const units = unitsOf.get(where)!;
      if (isMap(layer)) {
        if (last !== null) ports.push(last);
        last = { layer: next++, units };
        if (summed && next === count) throw outputNotLast(where, 'a sum');
        continue;
      }
      const inner = walk(layer.layers, `${where}.layers`, true);
      const past = typeof layer.shortcut === 'string' ? null : walk(layer.shortcut, `${where}.shortcut`, true);
      const own = inner ?? past;
      if (own === null) continue; // a block without weights only passes on
      if (last !== null) ports.push(last);
      last = { layer: own, units };
    }
    if (last !== null && !summed && last.layer + 1 < count) ports.push(last);
    return last === null ? null : last.layer;
  };
  walk(spec.layers, 'layers', false);
  return ports;
}

const countMaps = (layers: readonly ResolvedLayer[]): number =>
  layers.reduce((count, layer) => {
    if (layer.type !== 'residual') return count + (isMap(layer) ? 1 : 0);
    return count + countMaps(layer.layers) + (typeof layer.shortcut === 'string' ? 0 : countMaps(layer.shortcut));
  }, 0);

const outputNotLast = (where: string, what: string) =>
  specError(
    `${where}: under rule dfa the output error is that of the last layer with weights, but ${what} is behind it; ` +
      'end with a dense layer, or use rule bp, fa, usf, brsf or frsf',
  );
