/** Writing tar shards: a million small files become a few hundred large ones. */

import { mkdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { CortorchError, invalid, isCount, throwIfAborted } from '../../errors.js';
import { removeLeftovers, writeFailure, writeFileAtomic } from '../../files.js';
import { tarEnd, tarHeader, tarPadding } from '../tar.js';
import type { ImageList } from './folders.js';
import { indexName, memberName, SHARD_FORMAT, type Shard, type ShardIndex } from './shards.js';

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
  readonly images: number;
  readonly of: number;
  readonly bytes: number;
}

const MIB = 2 ** 20;

/**
 * Writes the images of a list to tar shards in `dir`, as they are, with their labels, in the list's order; then an index.
 * Equal images give equal bytes. What an earlier call left complete is kept.
 *
 * @returns the shards
 * @throws CortorchError ERR_INVALID_ARGUMENT, ERR_READ_FAILED, ERR_WRITE_FAILED, ERR_ABORTED
 */
export async function packImages(
  list: ImageList,
  dir: string,
  options: PackOptions,
): Promise<readonly Shard[]> {
  const { part, maxBytes = 256 * MIB, onProgress = () => undefined, signal } = options;
  if (!isCount(maxBytes)) throw invalid('maxBytes', 'a number of bytes', maxBytes);
  await mkdir(dir, { recursive: true }).catch((error: unknown) => {
    throw writeFailure(dir, error);
  });
  const plan = await planShards(list, part, maxBytes, signal);
  const index: ShardIndex = { format: SHARD_FORMAT, classes: list.classes, shards: plan };
  const text = JSON.stringify(index);
  const indexPath = join(dir, indexName(part));
  const before = await readFile(indexPath, 'utf8').catch(() => undefined);
  if (before !== undefined && before !== text) {
    throw new CortorchError(
      'ERR_WRITE_FAILED',
      `${indexPath} is of other images; name another folder, or delete it and its shards`,
    );
  }
  let images = 0;
  let bytes = 0;
  for (const shard of plan) {
    const path = join(dir, shard.name);
    await removeLeftovers(path);
    const first = images;
    const there = await stat(path).catch(() => undefined);
    if (there?.size !== shard.bytes) {
      const chunks = contentOf(list, shard, first, (count) =>
        onProgress({ images: first + count, of: list.files.length, bytes }),
      );
      await writeFileAtomic(path, interruptible(chunks, signal));
    }
    images += shard.members.length;
    bytes += shard.bytes;
    onProgress({ images, of: list.files.length, bytes });
  }
  await writeFileAtomic(indexPath, Buffer.from(text));
  return plan;
}

/** Where everything will be: it follows from the sizes of the files. */
async function planShards(
  list: ImageList,
  part: string,
  maxBytes: number,
  signal: AbortSignal | undefined,
): Promise<Shard[]> {
  const shards: Shard[] = [];
  const taken = new Set<string>();
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
  for (const [i, file] of list.files.entries()) {
    throwIfAborted(signal);
    const size = list.read === undefined ? await sizeOf(file) : (await list.read(i)).length;
    const label = list.labels[i]!;
    const member = memberName(file, list.classes[label]!, taken);
    const header = tarHeader(member, size).length;
    const all = header + size + tarPadding(size).length + labelOf(member, label).length;
    if (shard.members.length > 0 && shard.bytes + all > maxBytes) close();
    shard.offsets.push(shard.bytes - tarEnd().length + header);
    shard.bytes += all;
    shard.members.push(member);
    shard.sizes.push(size);
    shard.labels.push(label);
  }
  close();
  return shards;
}

const sizeOf = (file: string): Promise<number> =>
  stat(file).then(
    ({ size }) => size,
    (error: unknown) => {
      throw unreadable(file, error as Error);
    },
  );

async function* contentOf(
  list: ImageList,
  { members, sizes, labels }: Shard,
  first: number,
  done: (count: number) => void,
): AsyncGenerator<Uint8Array> {
  for (const [i, member] of members.entries()) {
    const file = list.files[first + i]!;
    const bytes = await (list.read?.(first + i) ?? readFile(file)).catch((error: unknown) => {
      throw unreadable(file, error as Error);
    });
    if (bytes.length !== sizes[i]) {
      throw unreadable(
        file,
        new Error(`it has changed: it had ${sizes[i]} bytes, and now it has ${bytes.length}`),
      );
    }
    yield Buffer.concat([
      tarHeader(member, bytes.length),
      bytes,
      tarPadding(bytes.length),
      labelOf(member, labels[i]!),
    ]);
    done(i + 1);
  }
  yield tarEnd();
}

/** The sample's other file. */
function labelOf(member: string, label: number): Buffer {
  const text = Buffer.from(String(label));
  const key = member.slice(0, member.lastIndexOf('.'));
  return Buffer.concat([tarHeader(`${key}.cls`, text.length), text, tarPadding(text.length)]);
}

async function* interruptible(
  chunks: AsyncIterable<Uint8Array>,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks) {
    throwIfAborted(signal);
    yield chunk;
  }
}

const unreadable = (path: string, cause: Error): CortorchError =>
  new CortorchError('ERR_READ_FAILED', `cannot pack ${path}: ${cause.message}; mend or remove it`, { cause });
