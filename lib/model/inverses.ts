/** The learned inverses that a rule of target propagation gives a network: which there are, and of what shapes. */

import { isTargetRule, type RuleName } from '../rules/rules.js';
import { errorPorts } from './error-ports.js';
import { isMap, nameOf } from './layers.js';
import { mapShapes, placeLayers, product, type PlacedLayer, type Shape } from './shapes.js';
import { specError } from './spec-error.js';
import type { ResolvedSpec } from './spec.js';

/** What the inverses of a network depend on, beside its spec. */
export interface InverseSettings {
  readonly rule: RuleName;
  /** Outputs beside the network's own; null: not of ao-sdtp */
  readonly auxiliary: number | null;
}

export interface InverseShapes {
  /** Which layer with parameters it undoes, from 0. */
  readonly layer: number;
  /** The layer's own; under ao-sdtp the last is [outputs + auxiliary, in]. */
  readonly weight: Shape;
  /** Of the layer's input. */
  readonly bias: Shape;
}

/**
 * The inverses from below: of every layer but the first, and under dtp the last, whose target comes from the gradient.
 *
 * @throws CortorchError ERR_INVALID_SPEC if the network has layers that the rule cannot go through
 */
export function inverseShapes(spec: ResolvedSpec, { rule, auxiliary }: InverseSettings): readonly InverseShapes[] {
  requireRuleFits(spec, rule);
  if (!isTargetRule(rule)) return [];
  const layers = mapShapes(spec);
  const top = layers.length - 1;
  return layers.flatMap(({ input, weight }, layer) => {
    if (layer === 0 || (layer === top && rule === 'dtp')) return [];
    if (layer < top || auxiliary === null) return [{ layer, weight, bias: input }];
    return [{ layer, weight: [weight[0]! + auxiliary, product(input)], bias: input }];
  });
}

/** Of W_z and b_z, the random features of ao-sdtp. */
export function auxiliaryShapes(
  spec: ResolvedSpec,
  { auxiliary }: InverseSettings,
): { readonly weight: Shape; readonly bias: Shape } | null {
  if (auxiliary === null) return null;
  return { weight: [auxiliary, product(mapShapes(spec).at(-1)!.input)], bias: [auxiliary] };
}

/**
 * Targets go down by inverses alone, so that between two layers with weights there may only be a flatten; dfa's errors
 * have places of their own ({@link errorPorts}).
 *
 * @throws CortorchError ERR_INVALID_SPEC naming the layer and what would work
 */
export function requireRuleFits(spec: ResolvedSpec, rule: RuleName): void {
  if (rule === 'dfa') errorPorts(spec);
  if (!isTargetRule(rule)) return;
  const placed = placeLayers(spec);
  const first = placed.findIndex(({ layer }) => isMap(layer));
  for (const [i, { layer, where }] of placed.entries()) {
    const ordinary = layer.type === 'batch-norm' || layer.type === 'residual';
    if (ordinary) {
      const what = layer.type === 'residual' ? 'a residual block' : 'a batch-norm layer';
      throw specError(
        `${nameOf(where, layer)}: rule ${rule} does not go through ${what}; use rule bp, fa, dfa, usf, brsf or frsf`,
      );
    }
    if (i < first || isMap(layer) || layer.type === 'flatten') continue;
    throw specError(
      `${nameOf(where, layer)}: a ${layer.type} layer has no inverse, and rule ${rule} needs one for every layer above the first with parameters; ` +
        'use a stride in the layer below instead, or rule bp, fa, dfa, usf, brsf or frsf',
    );
  }
  requireInverses(placed, rule);
}

function requireInverses(placed: readonly PlacedLayer[], rule: RuleName): void {
  const maps = placed.filter(({ layer }) => isMap(layer));
  const count = maps.length;
  const least = rule === 'dtp' ? 3 : 2;
  if (count < least) {
    throw specError(
      `layers: rule ${rule} needs ${least} layers with parameters or more, so that there is an inverse to learn, ` +
        `but there ${count === 1 ? 'is 1' : `are ${count}`}; add a hidden layer, or use rule bp`,
    );
  }
  const { layer, where } = maps.at(-1)!;
  if (rule === 'ao-sdtp' && layer.type !== 'dense') {
    throw specError(`${nameOf(where, layer)}: auxiliary outputs need a dense last layer; add one, or use rule sdtp`);
  }
}
