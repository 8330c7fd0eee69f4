/** `cortorch inspect`: what a checkpoint holds. */

import { openCheckpoint, type CheckpointFile, type StoredTensor } from '../checkpoint/checkpoint-file.js';
import { tensorsOf, withoutTensors } from '../checkpoint/stored-values.js';
import { elementCount } from '../checkpoint/tensor-data.js';
import { tensorSum, type TensorSum } from '../checkpoint/tensor-sum.js';
import { CortorchError, isPlainObject } from '../errors.js';
import { plural } from '../format.js';
import type { Flags } from './options.js';
import { table } from './table.js';

/** @returns the exit code */
export async function inspect(flags: Flags<'inspect'>, path: string | undefined): Promise<number> {
  if (path === undefined) throw new CortorchError('ERR_USAGE', 'FILE is missing: cortorch inspect model.pt');
  await using file = await openCheckpoint(path);
  const tensors = [...tensorsOf(file.value, path)];
  const sums: TensorSum[] = [];
  // Tensor by tensor, so that only one is in memory.
  if (flags.sums) {
    const known = new Map<StoredTensor, TensorSum>(); // one may lie in many places
    for (const [, tensor] of tensors) {
      const sum = known.get(tensor) ?? tensorSum(await tensor.read());
      known.set(tensor, sum);
      sums.push(sum);
    }
  }
  const metadata = metadataOf(file);
  if (flags.json) {
    const rows = tensors.map(([name, { shape, dtype }], i) => ({
      name,
      shape,
      dtype,
      ...(flags.sums && { sum: jsonOf(sums[i]!) }),
    }));
    console.log(JSON.stringify({ format: file.format, tensors: rows, metadata }));
    return 0;
  }
  const elements = tensors.reduce((sum, [, { shape }]) => sum + elementCount(shape), 0);
  console.log(
    `${printable(path)}: ${file.format}, ${plural(tensors.length, 'tensor')}, ${plural(elements, 'element')}`,
  );
  if (tensors.length > 0) console.log(tableOf(tensors, sums));
  for (const [key, value] of leaves(metadata, '')) console.log(`${printable(key)}: ${printable(value)}`);
  return 0;
}

function metadataOf({ path, format, metadata, value }: CheckpointFile): Record<string, unknown> {
  if (format === 'safetensors') return metadata;
  const rest = withoutTensors(value, path);
  if (rest === undefined) return {};
  return isPlainObject(rest) ? rest : { value: rest };
}

/** JSON has no bigint, NaN or infinity: they are text. */
function jsonOf(sum: TensorSum): unknown {
  if (typeof sum === 'bigint') return String(sum);
  if (typeof sum === 'number') return Number.isFinite(sum) ? sum : String(sum);
  return sum.map(jsonOf);
}

function tableOf(tensors: readonly [string, StoredTensor][], sums: readonly TensorSum[]): string {
  const summed = sums.length > 0;
  const columns = [{ title: 'name' }, { title: 'dtype' }, { title: 'shape' }];
  return table(
    summed ? [...columns, { title: 'sum', align: 'right' }] : columns,
    tensors.map(([name, { dtype, shape }], i) => [
      printable(name),
      dtype,
      `[${shape.join(', ')}]`,
      ...(summed ? [textOf(sums[i]!)] : []),
    ]),
  );
}

function textOf(sum: TensorSum): string {
  if (typeof sum !== 'object') return String(sum);
  const [real, imaginary] = sum;
  return `${real}${imaginary < 0 || Object.is(imaginary, -0) ? '' : '+'}${Object.is(imaginary, -0) ? '-0' : imaginary}i`;
}

/** What stands in nested data, a line each. */
function* leaves(value: unknown, path: string): Generator<[path: string, text: string]> {
  const entries = isPlainObject(value) ? Object.entries(value) : [];
  if (entries.length > 0) {
    for (const [key, item] of entries) yield* leaves(item, path === '' ? key : `${path}.${key}`);
  } else if (path !== '') yield [path, typeof value === 'string' ? value : JSON.stringify(value)];
}

/** Names come from a file: what could command a terminal is escaped. */
const printable = (text: string): string =>
  text.replace(/[\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g, (character) => {
    return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
  });
