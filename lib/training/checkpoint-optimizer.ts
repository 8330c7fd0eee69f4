/** An optimizer's state in the layout of torch.optim's state_dict(), so that Python can go on with it. */

import { isTensorData, tensorDataFrom, typedArrayOf } from '../checkpoint/tensor-data.js';
import { isDict, PyFloat, toPlain, Tuple, type CheckpointObject, type CheckpointValue } from '../checkpoint/value.js';
import { isPlainObject, type CortorchError } from '../errors.js';
import { same } from '../model/network.js';
import { resolveOptimizer, type OptimizerName, type OptimizerOptions } from './optimizer.js';
import type { OptimizerState, ParameterState } from './trainer-state.js';

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
    // Not torch's: it keeps the key and does not know it.
    ...(optimizer.batchManhattan && { batch_manhattan: true }),
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
      const betas = Tuple.of<CheckpointValue>(beta1, beta2);
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

/** A trainable parameter of a file. */
export type NamedShape = Pick<ParameterState, 'name' | 'shape'>;

/** An optimizer of a file: what it was made with, and its state. */
export interface SavedOptimizer {
  readonly options: OptimizerOptions;
  readonly state: OptimizerState;
}

/**
 * The state that {@link toTorchOptimizer} or torch.optim wrote.
 *
 * @param steps exactly: torch's own counter is a float32. null: as the counter says
 * @param trainable parameters of the file, in its order: that of an optimizer that does not name them
 * @param refuse makes the error for a state that cannot be gone on with
 */
export function fromTorchOptimizer(
  value: CheckpointValue,
  steps: number | null,
  trainable: readonly NamedShape[],
  refuse: (what: string) => CortorchError,
): SavedOptimizer {
  const groups = entries(value).get('param_groups');
  const state = entries(value).get('state');
  if (!Array.isArray(groups) || groups.length !== 1 || !isDict(state)) {
    throw refuse('its optimizer has not one group of parameters');
  }
  const group: unknown = toPlain(groups[0] as CheckpointValue, 'optimizer.param_groups[0]');
  if (!isPlainObject(group) || !Array.isArray(group.params)) {
    throw refuse('its optimizer has no list of parameters');
  }
  const numbers: readonly unknown[] = group.params;
  const names: readonly unknown[] = Array.isArray(group.param_names)
    ? group.param_names
    : trainable.map(({ name }) => name);
  if (names.length !== numbers.length) {
    throw refuse(`its optimizer has ${numbers.length} parameters, but there are ${names.length} in its state_dict`);
  }
  const options = optionsOf(group, refuse);
  const states = entries(state);
  const known = new Map(trainable.map(({ name, shape }) => [name, shape]));
  let counted = 0;
  const parameters = names.map((name, i): ParameterState => {
    const shape = known.get(String(name));
    if (shape === undefined) throw refuse(`its optimizer has a parameter ${String(name)} that is not in it`);
    const found = [...entries(states.get(numbers[i]) ?? null)];
    counted = Math.max(counted, ...found.filter(([key]) => key === 'step').map(([, count]) => countOf(count)));
    const tensors = found.filter(([key, tensor]) => key !== 'step' && tensor !== null);
    const arrays = tensors.map(([key, tensor]): [string, Float32Array] => {
      if (!isTensorData(tensor) || tensor.dtype !== 'float32' || !same(tensor.shape, shape)) {
        throw refuse(`its optimizer's ${String(key)} of ${String(name)} is no float32 tensor of its shape`);
      }
      return [String(key), typedArrayOf(tensor) as Float32Array];
    });
    return { name: String(name), shape, state: Object.fromEntries(arrays) };
  });
  return { options, state: { ...resolveOptimizer(options), steps: steps ?? counted, parameters } };
}

/** torch's counter: a number, in newer versions a tensor of one. */
const countOf = (value: CheckpointValue): number => Number(isTensorData(value) ? typedArrayOf(value)[0] : value) || 0;

/** What our optimizers do not have; a saved one that has it would be another one here. */
const foreign: Readonly<Record<string, unknown>> = {
  amsgrad: false,
  maximize: false,
  decoupled_weight_decay: false,
  nesterov: false,
  dampening: 0,
  centered: false,
};

/** Which optimizer of torch.optim has such a group: RAdam and NAdam have betas too, ASGD an alpha, Rprop a rate. */
function typeOf(group: Record<string, unknown>): OptimizerName | undefined {
  const has = (...keys: string[]): boolean => keys.every((key) => group[key] !== undefined);
  if (has('betas', 'amsgrad')) return 'adam';
  if (has('alpha', 'centered')) return 'rmsprop';
  return has('dampening', 'nesterov') ? 'sgd' : undefined;
}

function optionsOf(group: Record<string, unknown>, refuse: (what: string) => CortorchError): OptimizerOptions {
  for (const [key, plain] of Object.entries(foreign)) {
    const value = group[key] ?? plain;
    if (value !== plain) throw refuse(`its optimizer has ${key} = ${String(value)}, which is not in cortorch`);
  }
  const type = typeOf(group);
  if (type === undefined) {
    const keys = Object.keys(group).filter((key) => key !== 'params' && key !== 'param_names');
    throw refuse(
      `its optimizer, with ${keys.join(', ')}, is none of Adam, SGD and RMSprop, which are those of cortorch`,
    );
  }
  const { lr, momentum, eps, weight_decay: weightDecay, betas, alpha, batch_manhattan: batchManhattan } = group;
  const [beta1, beta2] = Array.isArray(betas) ? (betas as unknown[]) : [undefined, alpha];
  const all = { lr, momentum, eps, weightDecay, beta1, beta2, batchManhattan };
  const given = Object.entries(all).filter(([, value]) => value !== undefined);
  return { type, ...Object.fromEntries(given) };
}

/** A dict of either form as a Map; nothing for anything else. */
function entries(value: CheckpointValue): ReadonlyMap<unknown, CheckpointValue> {
  if (!isDict(value)) return new Map();
  return value instanceof Map ? value : new Map(Object.entries(value));
}
