/** Writing tar shards: a million small files become a few hundred large ones. */

import { mkdir, readdir, readFile, rm, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { CortorchError, invalid, isCount, throwIfAborted } from '../../errors.js';
import { removeLeftovers, writeFailure, writeFileAtomic } from '../../files.js';
import { inOrder } from '../in-order.js';
import { tarEnd, tarHeader, tarPadding } from '../tar.js';
import { isImage, type ImageList } from './folders.js';
import { indexName, planName, SHARD_FORMAT, shardNames, type Shard, type ShardIndex } from './shards.js';

export interface PackOptions {
  /** The start of the shards' names, such as `train`. */
  readonly part: string;
  /** About how large a shard may become. Default: 256 MiB. */
  readonly maxBytes?: number;
  readonly onProgress?: (progress: PackProgress) => void;
  /** Ends it between two images; the shards that are complete stay, and the same call goes on behind them. */
  readonly signal?: AbortSignal;
}

export interface PackProgress {
  /** First the sizes of all files are looked up, then they are written. */
  readonly phase: 'sizes' | 'shards';
  readonly images: number;
  readonly of: number;
  /** Of the images so far. */
  readonly bytes: number;
}

/** Files that are asked for at a time: a network's disk takes long to answer, but answers many at once. */
const READ_AHEAD = 16;

const MIB = 2 ** 20;

/**
 * Writes the images of a list to tar shards in `dir`, as they are, with their labels, in the list's order; then an
 * index. Equal images give equal bytes. What an earlier call with these images left complete is kept; shards of
 * anything else are not touched.
 *
 * @returns the shards
 * @throws CortorchError ERR_INVALID_ARGUMENT, ERR_READ_FAILED, ERR_WRITE_FAILED, ERR_ABORTED
 */
export async function packImages(list: ImageList, dir: string, options: PackOptions): Promise<readonly Shard[]> {
  const { part, maxBytes = 256 * MIB, onProgress = () => undefined, signal } = options;
  if (!isCount(maxBytes)) throw invalid('maxBytes', 'a number of bytes', maxBytes);
  if (list.files.length === 0) throw invalid('list', 'at least one image', list.files);
  await mkdir(dir, { recursive: true }).catch((error: unknown) => {
    throw writeFailure(dir, error);
  });
  const shards = await planShards(list, part, maxBytes, onProgress, signal);
  const index: ShardIndex = { format: SHARD_FORMAT, classes: list.classes, shards };
  const text = JSON.stringify(index);
  await begin(dir, part, text);
  let [images, bytes] = [0, 0];
  for (const shard of shards) {
    const path = join(dir, shard.name);
    await removeLeftovers(path);
    const report = (count: number, size: number): void =>
      onProgress({ phase: 'shards', images: images + count, of: list.files.length, bytes: bytes + size });
    const there = await stat(path).catch(() => undefined);
    if (there?.size !== shard.bytes) await writeFileAtomic(path, contentOf(list, shard, images, report, signal));
    images += shard.members.length;
    bytes += shard.bytes;
    report(0, 0);
  }
  await end(dir, part, text);
  return shards;
}

/** Writes down what the shards will be before there is one, so that no other call takes them for its own. */
async function begin(dir: string, part: string, text: string): Promise<void> {
  const [index, plan] = [join(dir, indexName(part)), join(dir, planName(part))];
  for (const path of [index, plan]) {
    await removeLeftovers(path);
    const before = await readIfThere(path);
    if (before === text) return;
    if (before === undefined) continue;
    throw new CortorchError(
      'ERR_WRITE_FAILED',
      `${path} is of other images, or of another size of shards; name another folder, or delete it and its shards`,
    );
  }
  const [shard] = shardNames(await readdir(dir), part);
  if (shard !== undefined) {
    throw new CortorchError(
      'ERR_WRITE_FAILED',
      `${join(dir, shard)} is there already, and nothing beside it tells what of; name another folder, or delete the shards`,
    );
  }
  await writeFileAtomic(plan, Buffer.from(text));
}

async function end(dir: string, part: string, text: string): Promise<void> {
  const [index, plan] = [join(dir, indexName(part)), join(dir, planName(part))];
  if ((await readIfThere(index)) !== text) await writeFileAtomic(index, Buffer.from(text));
  await rm(plan, { force: true }).catch((error: unknown) => {
    throw writeFailure(plan, error);
  });
}

const readIfThere = (path: string): Promise<string | undefined> =>
  readFile(path, 'utf8').catch((error: unknown) => {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return undefined;
    throw new CortorchError('ERR_READ_FAILED', `cannot read ${path}: ${message}; check its permissions`, {
      cause: error,
    });
  });

/** Where everything will be: it follows from the sizes of the files. */
async function planShards(
  list: ImageList,
  part: string,
  maxBytes: number,
  onProgress: (progress: PackProgress) => void,
  signal: AbortSignal | undefined,
): Promise<Shard[]> {
  const shards: Shard[] = [];
  const keys = new Keys();
  const empty = () => ({
    bytes: tarEnd().length,
    members: [] as string[],
    offsets: [] as number[],
    sizes: [] as number[],
    labels: [] as number[],
  });
  let shard = empty();
  const close = (): void => {
    shards.push({ name: `${part}-${String(shards.length).padStart(6, '0')}.tar`, ...shard });
    shard = empty();
  };
  const of = list.files.length;
  let [i, bytes] = [0, 0];
  for await (const size of inOrder(of, READ_AHEAD, (i) => sizeOf(list, i))) {
    throwIfAborted(signal);
    const label = list.labels[i]!;
    const member = keys.memberFor(list.files[i]!, list.classes[label]!);
    const header = tarHeader(member, size).length;
    const all = header + size + tarPadding(size).length + labelOf(member, label).length;
    if (shard.members.length > 0 && shard.bytes + all > maxBytes) close();
    shard.offsets.push(shard.bytes - tarEnd().length + header);
    shard.bytes += all;
    shard.members.push(member);
    shard.sizes.push(size);
    shard.labels.push(label);
    bytes += size;
    onProgress({ phase: 'sizes', images: ++i, of, bytes });
  }
  close();
  return shards;
}

/** The names of images in shards: `class/name.jpg`, without other dots, and each key once. */
class Keys {
  readonly #taken = new Set<string>();
  /** By key: the last number that was put behind it. */
  readonly #numbers = new Map<string, number>();

  memberFor(file: string, className: string): string {
    const name = basename(file);
    if (!isImage(name)) throw invalid('list', 'names of files that end as those of images do (.jpg, .png …)', file);
    const dot = name.lastIndexOf('.');
    const wanted = `${className}/${name.slice(0, dot) || '_'}`.replaceAll('.', '_');
    let key = wanted;
    let number = this.#numbers.get(wanted) ?? 1;
    while (this.#taken.has(key)) key = `${wanted}-${++number}`;
    if (number > 1) this.#numbers.set(wanted, number);
    this.#taken.add(key);
    return key + name.slice(dot).toLowerCase();
  }
}

const sizeOf = async (list: ImageList, i: number): Promise<number> => {
  const size = list.read === undefined ? stat(list.files[i]!) : list.read(i);
  const found = await size.catch((error: unknown) => {
    throw unreadable(list.files[i]!, error as Error);
  });
  return 'size' in found ? found.size : found.length;
};

async function* contentOf(
  list: ImageList,
  { members, sizes, labels }: Shard,
  first: number,
  done: (count: number, bytes: number) => void,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array> {
  let [i, written] = [0, 0];
  for await (const bytes of inOrder(members.length, READ_AHEAD, (i) => contentsOf(list, first + i))) {
    throwIfAborted(signal);
    if (bytes.length !== sizes[i]) {
      const change = `it had ${sizes[i]} bytes, and now it has ${bytes.length}`;
      throw unreadable(list.files[first + i]!, new Error(`it has changed: ${change}`));
    }
    const member = members[i]!;
    const label = labelOf(member, labels[i]!);
    yield Buffer.concat([tarHeader(member, bytes.length), bytes, tarPadding(bytes.length), label]);
    written += bytes.length;
    done(++i, written);
  }
  yield tarEnd();
}

const contentsOf = async (list: ImageList, i: number): Promise<Uint8Array> => {
  const file = list.files[i]!;
  return (list.read?.(i) ?? readFile(file)).catch((error: unknown) => {
    throw unreadable(file, error as Error);
  });
};

/** The sample's other file. */
function labelOf(member: string, label: number): Buffer {
  const text = Buffer.from(String(label));
  const key = member.slice(0, member.lastIndexOf('.'));
  return Buffer.concat([tarHeader(`${key}.cls`, text.length), text, tarPadding(text.length)]);
}

const unreadable = (path: string, cause: Error): CortorchError =>
  new CortorchError('ERR_READ_FAILED', `cannot pack ${path}: ${cause.message}; mend or remove it`, { cause });
