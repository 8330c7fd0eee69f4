/** An optimizer's state in the layout of torch.optim's state_dict(), so that Python can go on with it. */

import { isTensorData, tensorDataFrom, typedArrayOf } from '../checkpoint/tensor-data.js';
import {
  isDict,
  PyFloat,
  toPlain,
  Tuple,
  type CheckpointObject,
  type CheckpointValue,
} from '../checkpoint/value.js';
import { isPlainObject, type CortorchError } from '../errors.js';
import { same, type StateDict } from '../model/network.js';
import { resolveOptimizer, type OptimizerName, type OptimizerOptions } from './optimizer.js';
import type { OptimizerState, ParameterState } from './trainer.js';

/** Parameters are numbered in the order of the trainable ones; `param_names` says which they are. */
export function toTorchOptimizer(optimizer: OptimizerState): CheckpointObject {
  const { parameters, steps } = optimizer;
  const state = parameters.map(({ shape, state }, i): [number, CheckpointObject] => {
    const tensors = Object.entries(state).map(([name, data]) => [name, tensorDataFrom(data, shape)] as const);
    // A tensor of its own for each parameter, as torch has them: it counts them in place.
    const step = tensorDataFrom(Float32Array.of(steps), []);
    return [i, { ...(optimizer.type !== 'sgd' && { step }), ...Object.fromEntries(tensors) }];
  });
  const group: CheckpointObject = {
    ...settings(optimizer),
    maximize: false,
    foreach: null,
    differentiable: false,
    params: parameters.map((_, i) => i),
    param_names: parameters.map(({ name }) => name),
  };
  return { state: new Map(state), param_groups: [group] };
}

/** torch.optim's names, and its values for what we do not have. */
function settings(optimizer: OptimizerState): CheckpointObject {
  const [lr, momentum, eps, weightDecay, beta1, beta2] = (
    ['lr', 'momentum', 'eps', 'weightDecay', 'beta1', 'beta2'] as const
  ).map((key) => new PyFloat(optimizer[key])) as [PyFloat, PyFloat, PyFloat, PyFloat, PyFloat, PyFloat];
  switch (optimizer.type) {
    case 'adam': {
      const betas = Tuple.of<CheckpointValue>(beta1, beta2) as Tuple;
      const flags = { amsgrad: false, capturable: false, fused: null, decoupled_weight_decay: false };
      return { lr, betas, eps, weight_decay: weightDecay, ...flags };
    }
    case 'sgd':
      return { lr, momentum, dampening: 0, weight_decay: weightDecay, nesterov: false, fused: null };
    case 'rmsprop':
      return {
        lr,
        momentum,
        alpha: beta2,
        eps,
        centered: false,
        weight_decay: weightDecay,
        capturable: false,
      };
  }
}

/**
 * The state that {@link toTorchOptimizer} wrote.
 *
 * @param steps exactly: torch's own counter is a float32
 * @param values of the parameters, by name
 * @param refuse makes the error for a state that is none of ours
 */
export function fromTorchOptimizer(
  value: CheckpointValue,
  steps: number,
  values: StateDict,
  refuse: (what: string) => CortorchError,
): OptimizerState {
  const groups = entries(value).get('param_groups');
  const state = entries(value).get('state');
  if (!Array.isArray(groups) || groups.length !== 1 || !isDict(state)) {
    throw refuse('its optimizer has not one group of parameters');
  }
  const group: unknown = toPlain(groups[0] as CheckpointValue, 'optimizer.param_groups[0]');
  if (!isPlainObject(group) || !Array.isArray(group.param_names)) {
    throw refuse('its optimizer does not name its parameters');
  }
  const states = entries(state);
  const parameters = group.param_names.map((name, i): ParameterState => {
    const shape = values.get(String(name))?.shape;
    if (shape === undefined) throw refuse(`its optimizer has a parameter ${String(name)} that is not in it`);
    const tensors = [...entries(states.get(i) ?? null)].filter(([key]) => key !== 'step');
    const arrays = tensors.map(([key, tensor]): [string, Float32Array] => {
      if (!isTensorData(tensor) || tensor.dtype !== 'float32' || !same(tensor.shape, shape)) {
        throw refuse(`its optimizer's ${String(key)} of ${String(name)} is no float32 tensor of its shape`);
      }
      return [String(key), typedArrayOf(tensor) as Float32Array];
    });
    return { name: String(name), shape, state: Object.fromEntries(arrays) };
  });
  return { ...resolveOptimizer(optionsOf(group)), steps, parameters };
}

function optionsOf(group: Record<string, unknown>): OptimizerOptions {
  const { lr, momentum, eps, weight_decay: weightDecay, betas, alpha } = group;
  const type: OptimizerName = Array.isArray(betas) ? 'adam' : alpha !== undefined ? 'rmsprop' : 'sgd';
  const [beta1, beta2] = Array.isArray(betas) ? (betas as unknown[]) : [undefined, alpha];
  const all = { lr, momentum, eps, weightDecay, beta1, beta2 };
  const given = Object.entries(all).filter(([, value]) => value !== undefined);
  return { type, ...Object.fromEntries(given) };
}

/** A dict of either form as a Map; nothing for anything else. */
function entries(value: CheckpointValue): ReadonlyMap<unknown, CheckpointValue> {
  if (!isDict(value)) return new Map();
  return value instanceof Map ? value : new Map(Object.entries(value));
}
