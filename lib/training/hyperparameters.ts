/**
 * The published settings and results: Bartunov et al. 2018 (arXiv 1807.04587), Table 5 (best hyperparameters
 * found) and Table 1 (errors after 500 epochs). What is used without a setting of one's own comes from here.
 */

import type { OptimizerName, OptimizerOptions } from './optimizer.js';

/** Adam as in the paper's Table 5. */
export interface AdamSettings {
  readonly lr: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly eps: number;
}

/** One column of Table 5. */
export interface PaperSettings {
  readonly forward: AdamSettings;
  /** Of the learned inverses: target propagation only. */
  readonly inverse?: AdamSettings;
  /** α, the step from activations to their targets: DTP only. */
  readonly targetStep?: number;
  /** σ of the noise that inverses are trained with: target propagation only. */
  readonly noise?: number;
}

/** The rules of the paper; target propagation once for each schedule. */
export type PaperRule =
  | 'bp'
  | 'fa'
  | 'dfa'
  | 'dtp parallel'
  | 'dtp alternating'
  | 'sdtp parallel'
  | 'sdtp alternating'
  | 'ao-sdtp parallel'
  | 'ao-sdtp alternating';

/** A preset and what the paper says of it. Nothing is given for AO-SDTP in Table 5. */
export interface PaperNumbers {
  readonly settings: Partial<Record<PaperRule, PaperSettings>>;
  /** Error in percent after 500 epochs; the epoch was chosen on the test set. */
  readonly results: Partial<Record<PaperRule, { readonly train: number; readonly test: number }>>;
}

const adam = (lr: number, beta1: number, beta2: number, eps: number): AdamSettings => ({
  lr,
  beta1,
  beta2,
  eps,
});

/** By preset. */
export const paper: Readonly<Record<string, PaperNumbers>> = {
  'mnist-fc': {
    settings: {
      bp: { forward: adam(1.52e-4, 0.9, 0.999, 1e-8) },
      fa: { forward: adam(1.68e-4, 0.9, 0.999, 1e-4) },
      dfa: { forward: adam(1.649e-3, 0.9, 0.95, 1e-3) },
      'dtp parallel': {
        forward: adam(7.57e-4, 0.99, 0.95, 1e-3),
        inverse: adam(7.68e-4, 0.99, 0.999, 1e-4),
        targetStep: 0.15008,
        noise: 0.36133,
      },
      'dtp alternating': {
        forward: adam(3.08e-4, 0.99, 0.99, 1e-4),
        inverse: adam(4.593e-3, 0.99, 0.999, 1e-4),
        targetStep: 0.231758,
        noise: 0.220444,
      },
      'sdtp parallel': {
        forward: adam(4.02e-4, 0.99, 0.999, 1e-8),
        inverse: adam(1.101e-3, 0.99, 0.95, 1e-6),
        noise: 0.213995,
      },
      'sdtp alternating': {
        forward: adam(3.01e-4, 0.9, 0.95, 1e-4),
        inverse: adam(9.572e-3, 0.9, 0.95, 1e-3),
        noise: 0.118267,
      },
    },
    results: {
      bp: { train: 0, test: 1.48 },
      fa: { train: 0, test: 1.85 },
      dfa: { train: 0.85, test: 2.75 },
      'dtp parallel': { train: 0.44, test: 2.86 },
      'dtp alternating': { train: 0, test: 1.83 },
      'sdtp parallel': { train: 1.14, test: 3.52 },
      'sdtp alternating': { train: 0, test: 2.28 },
      'ao-sdtp parallel': { train: 0.96, test: 2.93 },
      'ao-sdtp alternating': { train: 0, test: 1.86 },
    },
  },
};

/**
 * The optimizer settings that a model trains with when none are given: with Adam those of Table 5 for a preset and
 * a rule that it has; else only the type, so that PyTorch's defaults hold (Adam 1e-3, see resolveOptimizer).
 *
 * @param model a preset's name, or anything else for a network of one's own
 * @param rule a learning rule, such as `fa`
 */
export function defaultsFor(model: string, rule: string, type: OptimizerName = 'adam'): OptimizerOptions {
  const numbers = Object.hasOwn(paper, model) ? paper[model] : undefined;
  const published = type === 'adam' ? numbers?.settings[rule as PaperRule]?.forward : undefined;
  return { type, ...published };
}
