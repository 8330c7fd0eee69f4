/**
 * Direct feedback alignment (Nøkland 2016): the output error goes straight to every layer, by fixed random weights
 * [classes, units].
 *
 * It arrives behind each layer with weights, its activation and the batch norm that follows it directly; behind a
 * residual block by the feedback of the block's last such layer (its shortcut's, where its layers have none), in place
 * of that one. From there ordinary gradients go back: through the sum to the block's last layer, and along its
 * shortcut, where they add to the error that arrives below. No layer with weights sends anything down.
 */

import { isMap, type ResolvedLayer } from '../model/layers.js';
import { feedbackName } from '../model/parameter-names.js';
import { countOutputs, placeLayers, product } from '../model/shapes.js';
import { sitesOf } from '../model/sites.js';
import type { ResolvedSpec } from '../model/spec.js';
import { choice } from './options.js';
import { defineRule, type OwnParameter, type Refusal, type RuleValues } from './rule.js';

/**
 * The feedback of dfa: a matrix [classes, units] for each hidden layer, or `shared`, one for all of them: as wide
 * as the widest, of which each uses its first columns (a choice of this package, for networks whose feedback would
 * be larger than their weights).
 */
export type DfaFeedback = 'per-layer' | 'shared';

export const dfa = defineRule({
  name: 'dfa',
  family: 'direct feedback alignment',
  options: {
    dfaFeedback: choice<DfaFeedback>(['per-layer', 'shared'], 'per-layer', {
      describe: 'dfa: a feedback matrix per-layer (default), or one shared by all',
      heading: 'Model',
    }),
  },
  refusals: (spec) => findPorts(spec).refusals,
  parameters(spec, options) {
    const { ports } = findPorts(spec);
    const classes = countOutputs(spec);
    const of = (layer: number | null, name: string, units: number): OwnParameter => ({
      ...{ name, shape: [classes, units], role: 'fixed', kind: 'feedback', layer },
    });
    if (ports.length === 0) return [];
    if (isShared(options)) return [of(null, feedbackName(null), Math.max(...ports.map(({ units }) => units)))];
    const sites = sitesOf(spec);
    return ports.map(({ layer, units }) => of(layer, feedbackName(sites[layer]!.name), units));
  },
  savings: (options) => (isShared(options) ? [] : [{ name: 'dfaFeedback shared', options: { dfaFeedback: 'shared' } }]),
});

const isShared = ({ dfaFeedback }: RuleValues): boolean => dfaFeedback === 'shared';

/** A layer with weights that has feedback. */
interface ErrorPort {
  /** Its number among them, from 0. */
  readonly layer: number;
  /** Values of one example where the error arrives: behind a block that pools, fewer than the layer gives. */
  readonly units: number;
}

/** Where the output error arrives, and why it cannot. */
function findPorts(spec: ResolvedSpec): {
  readonly ports: readonly ErrorPort[];
  readonly refusals: readonly Refusal[];
} {
  const count = sitesOf(spec).length;
  const unitsOf = new Map(placeLayers(spec).map(({ where, output }) => [where, product(output)]));
  const ports: ErrorPort[] = [];
  const refusals: Refusal[] = [];
  let next = 0;

  /** @returns the last layer with weights; null: there is none */
  const walk = (layers: readonly ResolvedLayer[], list: string, summed: boolean): number | null => {
    let last: ErrorPort | null = null;
    for (const [i, layer] of layers.entries()) {
      const where = `${list}[${i}]`;
      if (layer.type === 'batch-norm') {
        const before = layers[i - 1];
        if (before === undefined || !isMap(before)) refusals.push(withoutMap(where));
        else if (next === count) refusals.push(outputNotLast(where, 'a batch norm'));
        continue;
      }
      if (!isMap(layer) && layer.type !== 'residual') continue;
      const units = unitsOf.get(where)!;
      if (isMap(layer)) {
        if (last !== null) ports.push(last);
        last = { layer: next++, units };
        if (summed && next === count) refusals.push(outputNotLast(where, 'a sum'));
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
  return { ports, refusals };
}

const withoutMap = (where: string): Refusal => ({
  what: `${where}: rule dfa needs a layer with weights directly before a batch norm, whose error it takes`,
  remedy: 'put one there',
});

const outputNotLast = (where: string, what: string): Refusal => ({
  what: `${where}: under rule dfa the output error is that of the last layer with weights, but ${what} is behind it`,
  remedy: 'end with a dense layer',
});
