/** What a trainer keeps, as data: from the addon's optimizers, with names, and back, checked. */

import { CortorchError, invalid } from '../errors.js';
import { same, type ParameterInfo } from '../model/network.js';
import type { NativeOptimizerState } from '../native.js';
import type { ResolvedOptimizer } from './optimizer.js';

/** Everything that a trainer needs, beside the network's parameters, to go on bit for bit. */
export interface TrainerState {
  /** Epochs completed. */
  readonly epoch: number;
  /** Optimizer steps in all. */
  readonly step: number;
  /** Steps of the epoch that is not complete. */
  readonly stepInEpoch: number;
  /** Over those steps. */
  readonly sums: EpochSums;
  readonly seed: number;
  readonly optimizer: OptimizerState;
  /** null: there are no inverses */
  readonly inverseOptimizer: OptimizerState | null;
}

export type OptimizerState = ResolvedOptimizer & {
  readonly steps: number;
  readonly parameters: readonly ParameterState[];
};

export interface ParameterState {
  readonly name: string;
  readonly shape: readonly number[];
  /** exp_avg and exp_avg_sq (adam), momentum_buffer, square_avg (rmsprop), as torch.optim calls them. */
  readonly state: Readonly<Record<string, Float32Array>>;
}

export interface EpochSums {
  readonly loss: number;
  readonly error: number;
  /** Of the learned inverses. */
  readonly inverse: number;
  readonly examples: number;
  readonly seconds: number;
  /** Those of them that were spent waiting for data. */
  readonly waited: number;
}

export const noSums: EpochSums = { loss: 0, error: 0, inverse: 0, examples: 0, seconds: 0, waited: 0 };

/** The addon's state of an optimizer, with the names and shapes of the parameters that it is of. */
export function withNames(
  parameters: readonly ParameterInfo[],
  settings: ResolvedOptimizer,
  native: NativeOptimizerState,
): OptimizerState {
  return {
    ...settings,
    steps: native.steps,
    parameters: parameters.map(({ name, shape }, i) => ({ name, shape, state: native.parameters[i]! })),
  };
}

/**
 * The same the other way round.
 *
 * @throws CortorchError ERR_CHECKPOINT_MISMATCH if it is of other parameters or another kind of optimizer;
 *   ERR_INVALID_ARGUMENT if an array has not its parameter's size
 */
export function withoutNames(
  parameters: readonly ParameterInfo[],
  settings: ResolvedOptimizer,
  optimizer: OptimizerState,
): NativeOptimizerState {
  if (optimizer.type !== settings.type) {
    throw mismatch(`it is of optimizer ${optimizer.type}, and this one is ${settings.type}`);
  }
  const differs = parameters.some(
    ({ name, shape }, i) => optimizer.parameters[i]?.name !== name || !same(optimizer.parameters[i].shape, shape),
  );
  if (differs || optimizer.parameters.length !== parameters.length) {
    throw mismatch(`its parameters are ${optimizer.parameters.map((p) => p.name).join(', ')}`);
  }
  for (const { name, shape, state: arrays } of optimizer.parameters) {
    const size = shape.reduce((a, b) => a * b, 1);
    for (const [key, array] of Object.entries(arrays)) {
      if (array instanceof Float32Array && array.length === size) continue;
      throw invalid(`${key} of ${name}`, `a Float32Array of ${size} values`, array);
    }
  }
  return { steps: optimizer.steps, parameters: optimizer.parameters.map(({ state }) => ({ ...state })) };
}

export function mismatch(what: string): CortorchError {
  return new CortorchError(
    'ERR_CHECKPOINT_MISMATCH',
    `the trainer's state does not fit: ${what}; use the settings that it was made with`,
  );
}
