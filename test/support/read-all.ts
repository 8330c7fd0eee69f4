/** The lazy way of reading, to its end. */
import { StoredTensor, type StoredValue } from '../../lib/checkpoint/checkpoint-file.js';
import { childrenOf } from '../../lib/checkpoint/stored-values.js';
import { isTensorData, type TensorData } from '../../lib/checkpoint/tensor-data.js';
import { OpaqueObject, OrderedDict, Tuple, type CheckpointValue } from '../../lib/checkpoint/value.js';

/** The value with its tensors read. Tensors that come several times are read once and stay shared. */
export async function readAll(value: StoredValue): Promise<CheckpointValue> {
  const done = new Map<StoredTensor, TensorData>();
  const read = async (item: StoredValue): Promise<CheckpointValue> => {
    if (item instanceof StoredTensor) {
      const tensor = done.get(item) ?? (await item.read());
      done.set(item, tensor);
      return tensor;
    }
    if (isTensorData(item)) return item;
    const children = item instanceof OpaqueObject ? undefined : childrenOf(item);
    if (children === undefined) return item as CheckpointValue;
    const items: [unknown, CheckpointValue][] = [];
    for (const [key, child] of children) items.push([key, await read(child)]);
    if (Array.isArray(item)) {
      const values = items.map(([, child]) => child);
      return item instanceof Tuple ? Tuple.from(values) : values;
    }
    if (item instanceof OrderedDict) {
      const dict = new OrderedDict(items as never);
      for (const [name, attribute] of item.attributes) dict.attributes.set(name, attribute);
      return dict;
    }
    return new Map(items as never);
  };
  return read(value);
}
