/**
 * Rules that send a gradient down from layer to layer: bp by the transposed weights, feedback alignment by fixed random
 * weights (Lillicrap et al. 2016), sign-symmetry by weights with the signs of the forward ones (Liao et al. 2016; Xiao
 * et al. 2019).
 */

import { feedbackName } from '../model/parameter-names.js';
import { product } from '../model/shapes.js';
import { sitesOf, type Site } from '../model/sites.js';
import type { ResolvedSpec } from '../model/spec.js';
import { choice } from './options.js';
import { defineRule, noStepMemory, type OwnParameter, type RuleValues, type StepMemory } from './rule.js';

/**
 * The error reaches the layer below `bp` by the transposed weights, `fa` by fixed random weights of the same shape
 * (Lillicrap et al. 2016), `dfa` from the output straight to every layer (Nøkland 2016).
 */
export type GradientRuleName = 'bp' | 'fa' | 'dfa' | SignSymmetricRuleName;

/**
 * Sign-symmetry (Liao et al. 2016; Xiao et al. 2019): the error goes down by weights with the signs of the forward
 * ones. `usf`: all of one magnitude; `brsf`: of random magnitudes, drawn afresh at each step; `frsf`: of fixed random
 * magnitudes.
 */
export type SignSymmetricRuleName = 'usf' | 'brsf' | 'frsf';

/**
 * How large the feedback of fa and of sign-symmetry is. `glorot`: uniform, with Glorot's deviation √(2 / (fan_in +
 * fan_out)). `xiao` (Xiao et al. 2019): for convolutions, shared or not, N(0, s²) with s = √(2 / (k_h k_w C_out)), for
 * dense layers U(−s, s) with s = 1/√fan_in. The one magnitude of usf is Glorot's deviation, or s.
 */
export type FeedbackScale = 'glorot' | 'xiao';

/** Whether the last layer sends the error down as its rule has it, or by its own weights. */
export type LastLayer = 'rule' | 'bp';

const family = 'gradients';

/** With the default of a rule. */
const feedbackOptions = (feedbackScale: FeedbackScale, lastLayer: LastLayer) => ({
  feedbackScale: choice<FeedbackScale>(['glorot', 'xiao'], feedbackScale, {
    describe: "Size of the feedback: glorot (fa's default), xiao (default of usf, brsf, frsf)",
    heading: 'Model',
  }),
  lastLayer: choice<LastLayer>(['rule', 'bp'], lastLayer, {
    describe: "The last layer sends errors by the rule (fa's default) or as bp (usf, brsf, frsf)",
    heading: 'Model',
  }),
});

export const bp = defineRule({ name: 'bp', family });

export const fa = defineRule({
  name: 'fa',
  family,
  options: feedbackOptions('glorot', 'rule'),
  parameters: feedback,
});

// As Xiao et al. (2019) have it: their scale, and bp's last layer.
const signSymmetric = { family, options: feedbackOptions('xiao', 'bp') } as const;

export const usf = defineRule({ name: 'usf', ...signSymmetric, stepMemory: signed });

export const brsf = defineRule({
  name: 'brsf',
  ...signSymmetric,
  stepMemory: (spec, options) => signed(spec, options, true),
});

export const frsf = defineRule({ name: 'frsf', ...signSymmetric, parameters: feedback, stepMemory: signed });

/** The layers that send errors down as the rule has it. */
function sending(spec: ResolvedSpec, { lastLayer }: RuleValues): readonly Site[] {
  const sites = sitesOf(spec);
  return (lastLayer === 'bp' ? sites.slice(0, -1) : sites).filter(({ sends }) => sends);
}

function feedback(spec: ResolvedSpec, options: RuleValues): readonly OwnParameter[] {
  return sending(spec, options).map(({ name, weight, index }) => ({
    ...{ name: feedbackName(name), shape: weight },
    ...{ role: 'fixed', kind: 'feedback', layer: index },
  }));
}

/** The magnitudes of one layer with the signs of its weights; `drawn`: and the magnitudes of all layers. */
function signed(spec: ResolvedSpec, options: RuleValues, drawn = false): StepMemory {
  const sizes = sending(spec, options).map(({ weight }) => product(weight));
  const magnitudes = drawn ? sizes.reduce((a, b) => a + b, 0) : 0;
  return { ...noStepMemory, feedback: magnitudes + Math.max(0, ...sizes) };
}
