/**
 * Where the output error arrives under dfa: which layers have feedback of their own, [classes, units].
 *
 * It arrives behind each layer with weights, its activation and the batch norm that follows it directly; behind a residual
 * block by the feedback of the block's last such layer, in place of that one. From there ordinary gradients go back:
 * through the sum to the block's last layer, and along its shortcut, where they add to the error that arrives below. No
 * layer with weights sends anything down.
 */

import { isMap, type ResolvedLayer } from './layers.js';
import { specError } from './spec-error.js';
import type { ResolvedSpec } from './spec.js';

/**
 * The layers with weights that have feedback, by their number from 0.
 *
 * @throws CortorchError ERR_INVALID_SPEC if the rule does not fit the network
 */
export function errorPorts(spec: ResolvedSpec): readonly number[] {
  const count = countMaps(spec.layers);
  const ports: number[] = [];
  let next = 0;

  /** @returns the last layer with weights; null: there is none */
  const walk = (layers: readonly ResolvedLayer[], list: string, summed: boolean): number | null => {
    let last: number | null = null;
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
      if (last !== null) ports.push(last);
      if (isMap(layer)) {
        last = next++;
        if (summed && next === count) throw outputNotLast(where, 'a sum');
        continue;
      }
      const inner = walk(layer.layers, `${where}.layers`, true);
      if (typeof layer.shortcut !== 'string') walk(layer.shortcut, `${where}.shortcut`, true);
      // A block without weights only passes on.
      last = inner;
    }
    if (last !== null && !summed && last + 1 < count) ports.push(last);
    return last;
  };
  walk(spec.layers, 'layers', false);
  return ports;
}

const countMaps = (layers: readonly ResolvedLayer[]): number =>
  layers.reduce((count, layer) => {
    if (layer.type !== 'residual') return count + (isMap(layer) ? 1 : 0);
    return (
      count + countMaps(layer.layers) + (typeof layer.shortcut === 'string' ? 0 : countMaps(layer.shortcut))
    );
  }, 0);

const outputNotLast = (where: string, what: string) =>
  specError(
    `${where}: under rule dfa the output error is that of the last layer with weights, but ${what} is behind it; ` +
      'end with a dense layer, or use rule bp, fa, usf, brsf or frsf',
  );
