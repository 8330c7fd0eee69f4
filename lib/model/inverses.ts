/** The learned inverses that a rule of target propagation gives a network: which there are, and of what shapes. */

import { isTargetRule, type RuleName } from '../rules/rules.js';
import { isParametric, nameOf } from './layers.js';
import { parametricShapes, product, type Shape } from './shapes.js';
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
 * @throws CortorchError ERR_INVALID_SPEC if the rule needs inverses that the network cannot have
 */
export function inverseShapes(
  spec: ResolvedSpec,
  { rule, auxiliary }: InverseSettings,
): readonly InverseShapes[] {
  if (!isTargetRule(rule)) return [];
  requireInvertible(spec, rule);
  const layers = parametricShapes(spec);
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
  return { weight: [auxiliary, product(parametricShapes(spec).at(-1)!.input)], bias: [auxiliary] };
}

/** Targets go down by inverses alone, so that between two layers with parameters there may only be a flatten. */
function requireInvertible(spec: ResolvedSpec, rule: RuleName): void {
  const first = spec.layers.findIndex(isParametric);
  spec.layers.forEach((layer, i) => {
    if (i < first || isParametric(layer) || layer.type === 'flatten') return;
    throw specError(
      `${nameOf(i, layer)}: a ${layer.type} layer has no inverse, and rule ${rule} needs one for every layer above the first with parameters; ` +
        'use a stride in the layer below instead, or rule bp, fa or dfa',
    );
  });
  const count = spec.layers.filter(isParametric).length;
  const least = rule === 'dtp' ? 3 : 2;
  if (count < least) {
    throw specError(
      `layers: rule ${rule} needs ${least} layers with parameters or more, so that there is an inverse to learn, ` +
        `but there ${count === 1 ? 'is 1' : `are ${count}`}; add a hidden layer, or use rule bp`,
    );
  }
  const last = spec.layers.findLast(isParametric)!;
  if (rule === 'ao-sdtp' && last.type !== 'dense') {
    throw specError(
      `${nameOf(spec.layers.indexOf(last), last)}: auxiliary outputs need a dense last layer; add one, or use rule sdtp`,
    );
  }
}
