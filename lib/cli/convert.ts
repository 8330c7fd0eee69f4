/** `cortorch convert`: from one format of checkpoints to another. */

import { stat } from 'node:fs/promises';
import { extname } from 'node:path';
import {
  openCheckpoint,
  type CheckpointFile,
  type StoredTensor,
  type StoredValue,
} from '../checkpoint/checkpoint-file.js';
import { saveSafetensors } from '../checkpoint/safetensors.js';
import { loadCheckpoint } from '../checkpoint/load-checkpoint.js';
import { childrenOf, tensorsOf, withoutTensors } from '../checkpoint/stored-values.js';
import { DTYPES, elementCount } from '../checkpoint/tensor-data.js';
import { saveTorchFile } from '../checkpoint/torch-file.js';
import { OrderedDict, toPlain, type CheckpointValue } from '../checkpoint/value.js';
import { CortorchError, isPlainObject, isString } from '../errors.js';
import { plural } from '../format.js';
import { isRulesOwn } from '../model/parameter-names.js';
import { namesOfLayers } from '../model/sites.js';
import { parseNetworkSpec } from '../model/spec.js';
import type { Flags } from './options.js';

/** What a training checkpoint says about its parameters: kept in safetensors' metadata, as JSON, under this prefix. */
const KEPT = ['config', 'epoch', 'step', 'metrics'];
const PREFIX = 'cortorch.';

/** @returns the exit code */
export async function convert(
  flags: Flags<'convert'>,
  input: string | undefined,
  output: string | undefined,
): Promise<number> {
  if (input === undefined || output === undefined) {
    throw new CortorchError('ERR_USAGE', 'IN or OUT is missing: cortorch convert model.pt model.safetensors');
  }
  const extension = extname(output).toLowerCase();
  const toSafetensors = extension === '.safetensors';
  if (!toSafetensors && extension !== '.pt' && extension !== '.pth') {
    throw new CortorchError(
      'ERR_USAGE',
      `${output} does not say which format to write: its name has to end in .pt, .pth or .safetensors`,
    );
  }
  await using file = await openCheckpoint(input);
  if (await isSameFile(input, output)) {
    throw new CortorchError('ERR_USAGE', `${input} and ${output} are the same file; choose another name for OUT`);
  }
  const notes: string[] = [];
  const written = await (toSafetensors ? writeSafetensors : writeTorch)(
    file,
    output,
    flags.forwardOnly ?? false,
    notes,
  );
  console.error(`${output}: ${plural(written, 'tensor')} of ${input} (${file.format})`);
  for (const note of notes) console.error(note);
  return 0;
}

type Write = (file: CheckpointFile, output: string, forwardOnly: boolean, notes: string[]) => Promise<number>;

const writeSafetensors: Write = async (file, output, forwardOnly, notes) => {
  const parameters = stateDictOf(file.value);
  const isOwn = rulesOwnIn(file);
  const tensors = new Map<string, StoredTensor>();
  const names = new Map<StoredTensor | object, string[]>();
  for (const [path, tensor] of tensorsOf(parameters, file.path)) {
    const name = path === '' ? 'tensor' : path;
    if (forwardOnly && isOwn(name)) continue;
    if (tensors.has(name)) {
      throw new CortorchError(
        'ERR_CHECKPOINT_UNSUPPORTED',
        `cannot convert ${file.path}: two of its tensors would be called ${name}; rename one`,
      );
    }
    tensors.set(name, tensor);
    const shared = tensor.storage ?? tensor;
    names.set(shared, [...(names.get(shared) ?? []), name]);
  }
  requireTensors(file, tensors.size, forwardOnly);
  await requireSize(file, tensors.values());
  const metadata = new Map<string, string>();
  const leftOut: string[] = [];
  if (file.format === 'safetensors') {
    for (const [key, text] of Object.entries(file.metadata)) {
      if (forwardOnly && key.startsWith(PREFIX)) leftOut.push(key);
      else metadata.set(key, text);
    }
  } else if (parameters !== file.value) {
    for (const [key, value] of childrenOf(file.value) ?? []) {
      if (value === parameters) continue;
      const json = !forwardOnly && KEPT.includes(String(key)) ? exactJson(value) : undefined;
      if (json === undefined) leftOut.push(String(key));
      else metadata.set(`${PREFIX}${String(key)}`, json);
    }
  }
  leftOut.push(...valuePaths(withoutTensors(parameters, file.path), ''));
  await saveSafetensors(output, tensors, Object.fromEntries(metadata));
  if (leftOut.length > 0)
    notes.push(
      `Left out, since ${forwardOnly ? 'only the forward parameters are wanted' : 'safetensors holds tensors and texts only'}: ${leftOut.join(', ')}.`,
    );
  const kept = [...metadata.keys()].filter((key) => file.format !== 'safetensors' && key.startsWith(PREFIX));
  if (kept.length > 0) notes.push(`Kept as JSON in the metadata: ${kept.join(', ')}.`);
  const shared = [...names.values()].filter((group) => group.length > 1);
  if (shared.length > 0) {
    notes.push(
      `Tensors that shared memory are now written each by itself: ${shared.map((group) => group.join(' = ')).join('; ')}.`,
    );
  }
  return tensors.size;
};

const writeTorch: Write = async (file, output, forwardOnly, notes) => {
  if (file.format !== 'safetensors' && !forwardOnly) {
    const count = [...tensorsOf(file.value, file.path)].length;
    requireTensors(file, count, false);
    const { value } = await loadCheckpoint(file.path, { exactFloats: true });
    try {
      await saveTorchFile(output, value);
    } catch (error) {
      if (!(error instanceof CortorchError) || error.code !== 'ERR_INVALID_ARGUMENT') throw error;
      throw new CortorchError(
        'ERR_CHECKPOINT_UNSUPPORTED',
        `cannot convert ${file.path}: ${error.message}; convert it to .safetensors, or its parameters alone with --forward-only`,
        { cause: error },
      );
    }
    return count;
  }
  const { value } = await loadCheckpoint(file.path);
  const stateDict = stateDictOf(value);
  const isOwn = rulesOwnIn(file);
  const children = (childrenOf(stateDict) ?? []).filter(([key]) => !(forwardOnly && isOwn(String(key))));
  const parameters = new OrderedDict(children as [string, CheckpointValue][]);
  const count = [...tensorsOf(parameters, file.path)].length;
  requireTensors(file, count, forwardOnly);
  const leftOut: string[] = [];
  if (file.format !== 'safetensors') {
    if (stateDict !== value) {
      leftOut.push(...(childrenOf(value) ?? []).filter(([, v]) => v !== stateDict).map(([key]) => String(key)));
    }
  }
  const restored: Record<string, unknown> = {};
  const others = new Map<string, string>();
  for (const [key, text] of Object.entries(file.metadata)) {
    const name = key.slice(PREFIX.length);
    const value = key.startsWith(PREFIX) && KEPT.includes(name) ? parseJson(text) : undefined;
    if (value !== undefined) restored[name] = value;
    else if (key !== 'format' || text !== 'pt') others.set(key, text);
  }
  const isTraining = !forwardOnly && isPlainObject(restored['config']);
  if (isTraining) {
    const metadata = others.size > 0 ? { metadata: others } : {};
    await saveTorchFile(output, { state_dict: parameters, ...restored, ...metadata });
  } else {
    leftOut.push(...Object.keys(restored).map((name) => PREFIX + name), ...others.keys());
    await saveTorchFile(output, parameters);
  }
  if (leftOut.length > 0) notes.push(`Left out, since a state_dict holds parameters only: ${leftOut.join(', ')}.`);
  return count;
};

/** Whether a parameter of the file is a rule's own. One's own rule may call its parameters anything. */
function rulesOwnIn({ path, metadata, value }: CheckpointFile): (name: string) => boolean {
  const written = metadata[`${PREFIX}config`];
  const entry = childrenOf(value)?.find(([key]) => key === 'config')?.[1];
  const config = written === undefined ? entry && withoutTensors(entry, path) : parseJson(written);
  if (!isPlainObject(config) || !isString(config['ruleSha256'])) return isRulesOwn;
  const names = namesOfLayers(parseNetworkSpec(config['network']));
  return (name) => !names.has(name);
}

/** Safetensors cannot say that two names are of one tensor: each is written, as far as that makes sense. */
async function requireSize(file: CheckpointFile, tensors: Iterable<StoredTensor>): Promise<void> {
  const { size } = await stat(file.path);
  let bytes = 0;
  for (const { shape, dtype } of tensors) bytes += elementCount(shape) * DTYPES[dtype].bytes;
  if (bytes <= 4 * size + 2 ** 30) return;
  throw new CortorchError(
    'ERR_CHECKPOINT_UNSUPPORTED',
    `cannot convert ${file.path}: its tensors share memory, and written each by itself they would take ${bytes} bytes; ` +
      'convert it to .pt',
  );
}

/** The state_dict of a training checkpoint, or all of another one. */
function stateDictOf(value: StoredValue): StoredValue {
  if (!(value instanceof Map)) return value;
  const found = (value as ReadonlyMap<unknown, StoredValue>).get('state_dict');
  return found instanceof Map ? (found as StoredValue) : value;
}

function requireTensors(file: CheckpointFile, count: number, forwardOnly: boolean): void {
  if (count > 0) return;
  const what = forwardOnly ? 'no forward parameters' : 'no tensors';
  throw new CortorchError(
    'ERR_CHECKPOINT_UNSUPPORTED',
    `cannot convert ${file.path}: it has ${what}; cortorch inspect shows what it holds`,
  );
}

/** As JSON, in which tuples are lists and 1.0 is 1; undefined for what has no such form. */
function exactJson(value: StoredValue): string | undefined {
  for (const _ of tensorsOf(value)) return undefined;
  try {
    return JSON.stringify(toPlain(value as CheckpointValue), (_, item: unknown) => {
      if (typeof item === 'number' && !Number.isFinite(item)) throw new RangeError('no number of JSON');
      return item;
    });
  } catch (error) {
    if (error instanceof CortorchError || error instanceof RangeError) return undefined;
    throw error;
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

/** Where in nested data there are values. */
function valuePaths(value: unknown, path: string): string[] {
  if (value === undefined) return [];
  if (!isPlainObject(value)) return [path === '' ? 'a value' : path];
  return Object.entries(value).flatMap(([key, item]) => valuePaths(item, path === '' ? key : `${path}.${key}`));
}

async function isSameFile(a: string, b: string): Promise<boolean> {
  const [left, right] = await Promise.all([a, b].map((path) => stat(path, { bigint: true }).catch(() => undefined)));
  return left !== undefined && right !== undefined && left.ino === right.ino && left.dev === right.dev;
}
