/**
 * Images in tar shards, as WebDataset has them: `train-000000.tar`, `train-000001.tar` …, in which a sample is the
 * files of one key, KEY.jpg and KEY.cls (its label). Beside them lies an index with the place of each image, so that a
 * shard is read where an image is wanted, and an epoch is that of the class folders bit for bit. Source:
 * https://github.com/webdataset/webdataset, "The WebDataset Format".
 */

import { readdir, readFile, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { crc32 } from 'node:zlib';
import { CortorchError, isPlainObject } from '../../errors.js';
import { inOrder } from '../in-order.js';
import { readAt, tarHeader, walkTar } from '../tar.js';
import { isImage, type ImageList } from './folders.js';
import { ShardFiles } from './shard-files.js';

const HEADER = 512;
/** Shards of other programs that are looked through at a time. */
const AT_A_TIME = 4;
/** Of labels without names: a larger number is none of a class. */
const MOST_CLASSES = 1_000_000;

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
/** The index while the shards are being written. */
export const planName = (part: string): string => `${part}.packing.json`;

/** The shards of a part among a folder's files, by number. */
export function shardNames(names: readonly string[], part: string): string[] {
  const isShard = (name: string): boolean =>
    name.startsWith(`${part}-`) && /^\d+\.tar$/.test(name.slice(part.length + 1));
  return names.filter(isShard).sort((a, b) => numberOf(a) - numberOf(b));
}

const numberOf = (name: string): number => Number(/(\d+)\.tar$/.exec(name)![1]);

/**
 * The images in the shards of one part of a data set, in their order. What is read of a shard later is compared with
 * the index: an image that is not there any more is an error.
 *
 * @param part `train` or `val`: the start of the shards' names
 * @returns null if there are no shards of this name
 * @throws CortorchError ERR_DATASET_CORRUPT: a shard that is missing or not what the index says, shards that are not
 *   completely packed, a sample without a label; ERR_READ_FAILED
 */
export async function listShards(dir: string, part: string): Promise<ImageList | null> {
  const names = await readdir(dir).catch((error: unknown) => {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return [] as string[];
    throw unreadable(dir, error as Error);
  });
  if (names.includes(indexName(part))) {
    const { classes, shards } = await readIndex(join(dir, indexName(part)));
    await Promise.all(shards.map((shard) => requireShard(dir, shard)));
    return toList(dir, classes, shards);
  }
  if (names.includes(planName(part))) {
    throw corrupt(join(dir, planName(part)), 'these shards are not complete; pack the images again, to the end');
  }
  const found = shardNames(names, part);
  if (found.length === 0) return null;
  const shards = await lookThrough(dir, found);
  return toList(dir, namelessClasses(shards), shards);
}

/** A shard as it is read. */
interface ReadableShard extends Shard {
  /** CRC-32 of each image's header; without it the header is that which `cortorch data pack` writes. */
  readonly headers?: readonly number[];
}

function toList(dir: string, classes: readonly string[], shards: readonly ReadableShard[]): ImageList {
  const count = shards.reduce((sum, { members }) => sum + members.length, 0);
  const files: string[] = [];
  const labels = new Int32Array(count);
  const shardOf = new Uint32Array(count);
  const firstOf: number[] = [];
  for (const [s, shard] of shards.entries()) {
    firstOf.push(files.length);
    labels.set(shard.labels, files.length);
    shardOf.fill(s, files.length, files.length + shard.members.length);
    const path = join(dir, shard.name);
    for (const member of shard.members) files.push(`${path}/${member}`);
  }
  const open = new ShardFiles();
  const read = (i: number): Promise<Uint8Array> => {
    const shard = shards[shardOf[i]!]!;
    return readMember(open, join(dir, shard.name), shard, i - firstOf[shardOf[i]!]!);
  };
  return { files, labels, classes, read };
}

/** The header is read too: that something else is there now is noticed. */
async function readMember(open: ShardFiles, path: string, shard: ReadableShard, i: number): Promise<Buffer> {
  const [member, offset, size] = [shard.members[i]!, shard.offsets[i]!, shard.sizes[i]!];
  const length = HEADER + size;
  const expected = shard.headers?.[i] ?? crc32(tarHeader(member, size).subarray(-HEADER));
  const read = open.use(path, async (file) => {
    const bytes = await readAt(file, offset - HEADER, length);
    if (bytes.length === length && crc32(bytes.subarray(0, HEADER)) === expected) return bytes.subarray(HEADER);
    throw corrupt(shard.name, `${member} is not at byte ${offset}, where the index has it; ${ANEW}`);
  });
  return read.catch((error: unknown) => {
    throw error instanceof CortorchError ? error : unreadable(path, error as Error);
  });
}

async function requireShard(dir: string, { name, bytes }: Shard): Promise<void> {
  const path = join(dir, name);
  const found = await stat(path).catch(() => undefined);
  if (found?.size === bytes) return;
  const what = found === undefined ? 'there is no such file' : `it has ${found.size} bytes`;
  throw corrupt(path, `${what}, but the index beside it tells of ${bytes} bytes; ${ANEW}`);
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
  return shards.every((shard) => isShard(shard, classes.length)) ? (index as unknown as ShardIndex) : undefined;
}

const isTexts = (value: unknown): value is string[] =>
  Array.isArray(value) && value.every((item) => typeof item === 'string');
const isSizes = (value: unknown): value is number[] =>
  Array.isArray(value) && value.every((item) => Number.isSafeInteger(item) && (item as number) >= 0);

function isShard(value: unknown, classes: number): value is Shard {
  if (!isPlainObject(value)) return false;
  const { name, bytes, members, offsets, sizes, labels } = value;
  if (typeof name !== 'string' || basename(name) !== name || !isSizes([bytes]) || !isTexts(members)) return false;
  const lists = [offsets, sizes, labels];
  if (!lists.every((list) => isSizes(list) && list.length === members.length)) return false;
  const end = bytes as number;
  return (
    (labels as number[]).every((label) => label < classes) &&
    (offsets as number[]).every((offset, i) => offset >= HEADER && offset + (sizes as number[])[i]! <= end)
  );
}

/** Shards that something else wrote: what is in them is told by their headers. */
async function lookThrough(dir: string, names: readonly string[]): Promise<ReadableShard[]> {
  for (const [i, name] of names.entries()) {
    const before = names[i - 1];
    if (before === undefined || numberOf(name) === numberOf(before) + 1) continue;
    throw corrupt(join(dir, name), `the shard before it is ${before}; copy what is missing, or number them one by one`);
  }
  const shards: ReadableShard[] = [];
  for await (const shard of inOrder(names.length, AT_A_TIME, (i) => lookInto(dir, names[i]!))) shards.push(shard);
  return shards;
}

/** A sample's files may lie apart, as they do where a folder was archived as it came. */
async function lookInto(dir: string, name: string): Promise<ReadableShard> {
  const path = join(dir, name);
  const { size: bytes } = await stat(path).catch((error: unknown) => {
    throw unreadable(path, error as Error);
  });
  const [keys, labelOf] = [new Set<string>(), new Map<string, number>()];
  const [members, offsets, sizes, headers]: [string[], number[], number[], number[]] = [[], [], [], []];
  for await (const { name: member, offset, size, header, read } of walkTar(path)) {
    const [key, extension] = split(member);
    const isLabel = extension === 'cls';
    if (!isLabel && (extension.includes('.') || !isImage(`.${extension}`))) continue;
    if (isLabel ? labelOf.has(key) : keys.has(key)) {
      throw corrupt(
        path,
        `${member} is the second ${isLabel ? 'label' : 'image'} of ${key}; give each image its own key`,
      );
    }
    if (isLabel) {
      labelOf.set(key, toLabel(size > 16 ? '' : (await read()).toString('latin1'), path, member));
      continue;
    }
    keys.add(key);
    members.push(member);
    offsets.push(offset);
    sizes.push(size);
    headers.push(crc32(header));
  }
  const labels = members.map((member) => {
    const key = split(member)[0];
    const label = labelOf.get(key);
    if (label !== undefined) return label;
    throw corrupt(path, `${member} has no label, a file ${key}.cls with its number; pack the images with one`);
  });
  return { name, bytes, members, offsets, sizes, labels, headers };
}

function toLabel(text: string, path: string, member: string): number {
  const label = /^\s*\d+\s*$/.test(text) ? Number(text) : NaN;
  if (label < MOST_CLASSES) return label;
  throw corrupt(
    path,
    `${member} is no label, a number from 0 to ${MOST_CLASSES - 1}; pack the images with their classes' numbers`,
  );
}

/** Of labels alone. */
function namelessClasses(shards: readonly Shard[]): string[] {
  const most = shards.reduce((most, { labels }) => labels.reduce((a, b) => Math.max(a, b), most), -1);
  return Array.from({ length: most + 1 }, (_, i) => String(i));
}

/** A sample's key, up to the first dot of the name, and what is behind it. */
function split(member: string): [key: string, extension: string] {
  const dot = member.indexOf('.', member.lastIndexOf('/') + 1);
  return dot < 0 ? [member, ''] : [member.slice(0, dot), member.slice(dot + 1).toLowerCase()];
}

const ANEW = 'copy the shard again, or pack the images anew';

const corrupt = (path: string, message: string): CortorchError =>
  new CortorchError('ERR_DATASET_CORRUPT', `${path}: ${message}`);

const unreadable = (path: string, cause: Error): CortorchError =>
  new CortorchError(
    'ERR_READ_FAILED',
    `cannot read ${path}: ${cause.message}; check its permissions, or name another folder with --data-dir`,
    { cause },
  );
