/** Networks in tests: parameters at random, what a step moved, the events of a training. */
import {
  OrderedDict,
  saveTorchFile,
  tensorDataFrom,
  type EpochEvent,
  type Network,
  type StateDict,
} from '../../lib/index.js';
import { count } from './maps.js';
import { randomArray } from './numbers.js';

/** A value for each parameter that a network has, feedback and biases too, all at random in ± the parameter's scale. */
export const randomState = (net: Network, scaleOf: (name: string) => number): StateDict =>
  new Map(
    net.parameters.map(({ name, shape }, i) => [
      name,
      { shape, data: randomArray(count(shape), 100 + i, scaleOf(name)) },
    ]),
  );

/** What was subtracted from each parameter, divided by the rate: after one step of plain SGD, its gradient. */
export const gradientsFrom = (before: StateDict, after: StateDict, rate: number): Map<string, Float64Array> =>
  new Map(
    [...before].map(([name, { data }]) => {
      const moved = after.get(name)!.data;
      return [name, Float64Array.from(data, (value, i) => (value - moved[i]!) / rate)];
    }),
  );

/** Writes parameters alone, as torch.save does of a state_dict. */
export const saveState = (file: string, state: StateDict): Promise<void> =>
  saveTorchFile(
    file,
    new OrderedDict([...state].map(([name, { data, shape }]) => [name, tensorDataFrom(data, shape)])),
  );

/** Those of the events of a training that end an epoch. */
export async function epochsOf(
  events: AsyncIterable<{ readonly type: string }> | Iterable<{ readonly type: string }>,
): Promise<EpochEvent[]> {
  const epochs: EpochEvent[] = [];
  for await (const event of events) if (event.type === 'epoch') epochs.push(event as EpochEvent);
  return epochs;
}
