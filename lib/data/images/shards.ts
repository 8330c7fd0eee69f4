/**
 * Images in tar shards, as WebDataset has them: `train-000000.tar`, `train-000001.tar` …, in which a sample is the files of
 * one key, KEY.jpg and KEY.cls (its label). Beside them lies an index with the place of each image, so that a shard is
 * read where an image is wanted, and an epoch is that of the class folders bit for bit.
 * Source: https://github.com/webdataset/webdataset, "The WebDataset Format".
 */

import { open, readdir, readFile, stat } from 'node:fs/promises';
import { basename, extname, join } from 'node:path';
import { CortorchError, isPlainObject } from '../../errors.js';
import { isHeaderOf, walkTar } from '../tar.js';
import { isImage, type ImageList } from './folders.js';

const HEADER = 512;

/** A shard, and where in it the images are. */
export interface Shard {
  /** The file's. */
  readonly name: string;
  /** Of the file. */
  readonly bytes: number;
  /** Of the images, within the shard. */
  readonly members: readonly string[];
  readonly offsets: readonly number[];
  readonly sizes: readonly number[];
  readonly labels: readonly number[];
}

/** What lies beside shards as `train.index.json`. */
export interface ShardIndex {
  readonly format: typeof SHARD_FORMAT;
  readonly classes: readonly string[];
  readonly shards: readonly Shard[];
}

export const SHARD_FORMAT = 'cortorch shards 1';
export const indexName = (part: string): string => `${part}.index.json`;

/**
 * The images in the shards of one part of a data set, in their order.
 *
 * @param part `train` or `val`: the start of the shards' names
 * @returns null if there are no shards of this name
 * @throws CortorchError ERR_DATASET_CORRUPT: a shard that is missing or not what the index says, a sample without a label;
 *   ERR_READ_FAILED
 */
export async function listShards(dir: string, part: string): Promise<ImageList | null> {
  const names = await readdir(dir).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return [] as string[];
    throw unreadable(dir, error);
  });
  const shards = names.filter((name) => name.startsWith(`${part}-`) && /-\d+\.tar$/.test(name)).sort();
  const indexed = names.includes(indexName(part));
  if (shards.length === 0 && !indexed) return null;
  const index = indexed ? await readIndex(join(dir, indexName(part))) : await makeIndex(dir, shards);
  await Promise.all(index.shards.map((shard) => requireShard(dir, shard)));
  return toList(dir, index);
}

function toList(dir: string, { classes, shards }: ShardIndex): ImageList {
  const count = shards.reduce((sum, { members }) => sum + members.length, 0);
  const files: string[] = [];
  const labels = new Int32Array(count);
  const shardOf = new Uint32Array(count);
  const firstOf: number[] = [];
  for (const [s, shard] of shards.entries()) {
    firstOf.push(files.length);
    labels.set(shard.labels, files.length);
    shardOf.fill(s, files.length, files.length + shard.members.length);
    for (const member of shard.members) files.push(`${join(dir, shard.name)}/${member}`);
  }
  const read = (i: number): Promise<Uint8Array> => {
    const s = shardOf[i]!;
    return readMember(dir, shards[s]!, i - firstOf[s]!);
  };
  return { files, labels, classes, read };
}

/** The header is read too: a shard that was changed is noticed. */
async function readMember(dir: string, { name, offsets, sizes }: Shard, i: number): Promise<Uint8Array> {
  const [offset, size] = [offsets[i]!, sizes[i]!];
  await using file = await open(join(dir, name));
  const bytes = Buffer.allocUnsafeSlow(HEADER + size);
  const { bytesRead } = await file.read(bytes, 0, bytes.length, offset - HEADER);
  if (bytesRead < bytes.length || !isHeaderOf(bytes.subarray(0, HEADER), size)) {
    throw new Error(`it is not at byte ${offset} of its shard, where the index has it`);
  }
  return bytes.subarray(HEADER);
}

async function requireShard(dir: string, { name, bytes }: Shard): Promise<void> {
  const path = join(dir, name);
  const found = await stat(path).catch(() => undefined);
  if (found?.size === bytes) return;
  const what = found === undefined ? 'there is no such file' : `it has ${found.size} bytes`;
  throw new CortorchError(
    'ERR_DATASET_CORRUPT',
    `${path}: ${what}, but the index beside it tells of ${bytes} bytes; copy it again, or pack the images anew`,
  );
}

async function readIndex(path: string): Promise<ShardIndex> {
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    throw unreadable(path, error as Error);
  });
  const index = parse(text);
  if (index !== undefined) return index;
  throw new CortorchError(
    'ERR_DATASET_CORRUPT',
    `${path} is no index of shards of this version; copy it again, or delete it, and the shards themselves are looked through`,
  );
}

function parse(text: string): ShardIndex | undefined {
  let index: unknown;
  try {
    index = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (!isPlainObject(index) || index['format'] !== SHARD_FORMAT) return undefined;
  const { classes, shards } = index;
  if (!isTexts(classes) || !Array.isArray(shards) || shards.length === 0) return undefined;
  return shards.every((shard) => isShard(shard, classes.length))
    ? (index as unknown as ShardIndex)
    : undefined;
}

const isTexts = (value: unknown): value is string[] =>
  Array.isArray(value) && value.every((item) => typeof item === 'string');
const isSizes = (value: unknown): value is number[] =>
  Array.isArray(value) && value.every((item) => Number.isSafeInteger(item) && (item as number) >= 0);

function isShard(value: unknown, classes: number): value is Shard {
  if (!isPlainObject(value)) return false;
  const { name, bytes, members, offsets, sizes, labels } = value;
  if (typeof name !== 'string' || basename(name) !== name || !isSizes([bytes]) || !isTexts(members))
    return false;
  const lists = [offsets, sizes, labels];
  if (!lists.every((list) => isSizes(list) && list.length === members.length)) return false;
  const end = bytes as number;
  return (
    (labels as number[]).every((label) => label < classes) &&
    (offsets as number[]).every((offset, i) => offset >= HEADER && offset + (sizes as number[])[i]! <= end)
  );
}

/** Of shards that something else wrote: from their headers. Classes have no names there. */
async function makeIndex(dir: string, names: readonly string[]): Promise<ShardIndex> {
  const shards: Shard[] = [];
  for (const name of names) shards.push(await indexOf(dir, name));
  const most = shards.reduce((most, { labels }) => labels.reduce((a, b) => Math.max(a, b), most), 0);
  const classes = Array.from({ length: most + 1 }, (_, i) => String(i));
  return { format: SHARD_FORMAT, classes, shards };
}

async function indexOf(dir: string, name: string): Promise<Shard> {
  const path = join(dir, name);
  const { size: bytes } = await stat(path);
  const members: string[] = [];
  const offsets: number[] = [];
  const sizes: number[] = [];
  const places = new Map<string, { offset: number; size: number }>();
  for await (const { name: member, offset, size } of walkTar(path)) {
    const [key, extension] = split(member);
    if (isImage(member)) {
      members.push(member);
      offsets.push(offset);
      sizes.push(size);
    } else if (extension === 'cls') places.set(key, { offset, size });
  }
  const labels: number[] = [];
  await using file = await open(path);
  for (const member of members) {
    const place = places.get(split(member)[0]);
    const text = Buffer.alloc(Math.min(place?.size ?? 0, 16));
    if (place !== undefined) await file.read(text, 0, text.length, place.offset);
    const digits = /^\s*(\d{1,9})\s*$/.exec(text.toString('latin1'))?.[1];
    if (digits === undefined) {
      throw new CortorchError(
        'ERR_DATASET_CORRUPT',
        `${path}: ${member} has no label, a file ${split(member)[0]}.cls with its number; pack the images with one`,
      );
    }
    labels.push(Number(digits));
  }
  return { name, bytes, members, offsets, sizes, labels };
}

/** A sample's key, up to the first dot of the name, and what is behind it. */
function split(member: string): [key: string, extension: string] {
  const dot = member.indexOf('.', member.lastIndexOf('/') + 1);
  return dot < 0 ? [member, ''] : [member.slice(0, dot), member.slice(dot + 1).toLowerCase()];
}

/** What a file is called in a shard: `class/name.jpg`, with no other dot in the name. */
export function memberName(file: string, className: string, taken: Set<string>): string {
  const extension = extname(file);
  const stem = `${className}/${basename(file, extension).replaceAll('.', '_')}`;
  let key = stem;
  for (let i = 2; taken.has(key); i++) key = `${stem}-${i}`;
  taken.add(key);
  return key + extension.toLowerCase();
}

const unreadable = (path: string, cause: Error): CortorchError =>
  new CortorchError(
    'ERR_READ_FAILED',
    `cannot read ${path}: ${cause.message}; check its permissions, or name another folder with --data-dir`,
    { cause },
  );
