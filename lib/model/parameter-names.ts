/** The names of a state_dict that belong to learning rules: one reading for whoever meets such names in a file. */

/** Feedback of a layer behind its prefix, or, without one, of all of them. */
export const feedbackName = (prefix: string | null): string =>
  prefix === null ? 'weight_backward' : `${prefix}.weight_backward`;

/** Prefix of the inverse of a layer with weights, counted from 0. */
export const inversePrefix = (layer: number): string => `inverses.${layer}`;

/** Prefix of the random features of auxiliary outputs. */
export const AUXILIARY_PREFIX = 'auxiliary';

/** Whether no layer may be called so. */
export const isReservedPrefix = (name: string): boolean => /^(auxiliary|inverses\.\d+)$/.test(name);

/** Whether a parameter is a rule's own: used in learning alone. */
export const isRulesOwn = (name: string): boolean =>
  /^(auxiliary|inverses\.\d+)\./.test(name) || /(^|\.)weight_backward$/.test(name);
