/** CIFAR-10: its binary and its Python version, unpacked or in their archives. */

import { readdir, readFile, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { CortorchError } from '../errors.js';
import { CIFAR10_VERSIONS, joinBatches, type Cifar10Version } from './cifar10-batches.js';
import type { RawDataset } from './mnist.js';
import { readTar } from './tar.js';

const DOWNLOADS = 'https://www.cs.toronto.edu/~kriz/cifar.html';

/**
 * Mean and standard deviation of the 50,000 training images by channel, bytes divided by 255 (recomputed: 0.491400,
 * 0.482158, 0.446531; 0.247032, 0.243485, 0.261588), rounded to the values that published CIFAR-10 code normalises
 * with.
 */
export const CIFAR10_NORMALIZATION = {
  mean: [0.4914, 0.4822, 0.4465],
  std: [0.247, 0.2435, 0.2616],
} as const;

/** What is usual in training: crops of a border of 4 pixels and mirror images (He et al. 2016, section 4.2). */
export const CIFAR10_AUGMENTATION = { cropPadding: 4, flip: 'horizontal' } as const;

/**
 * Reads CIFAR-10 (Krizhevsky 2009): 50,000 and 10,000 colour photographs, 32 × 32, 10 classes. A sample of it, with
 * fewer batches or fewer records in them, is read as well.
 *
 * @param dataDir the folder with the batches of either version, `cifar-10-binary.tar.gz` or `cifar-10-python.tar.gz`,
 *   or the folder that one of these is in
 * @throws CortorchError ERR_DATASET_NOT_FOUND, ERR_DATASET_CORRUPT or ERR_READ_FAILED, naming the file
 */
export async function readCifar10(dataDir?: string): Promise<RawDataset> {
  if (dataDir === undefined) {
    throw new CortorchError(
      'ERR_DATASET_NOT_FOUND',
      `CIFAR-10 does not come with this package; download its binary or its Python version, ${DOWNLOADS}, ` +
        'and name the archive or its folder with --data-dir',
    );
  }
  const { place, version, train, test } = await findBatches(dataDir);
  const read = async (file: LazyFile) => version.read({ path: file.path, bytes: await file.read() });
  const batches = [];
  for (const file of train) batches.push(await read(file));
  return { train: joinBatches(batches), test: await read(test), folder: place };
}

/** A file of which the name is known. */
interface LazyFile {
  readonly path: string;
  read(): Promise<Uint8Array>;
}

interface Found {
  readonly place: string;
  readonly version: Cifar10Version;
  /** In the order of their numbers. */
  readonly train: readonly LazyFile[];
  readonly test: LazyFile;
}

async function findBatches(dataDir: string): Promise<Found> {
  const isFile = await stat(dataDir).then(
    (found) => found.isFile(),
    () => false,
  );
  if (isFile) return inArchive(dataDir);
  for (const folder of [dataDir, ...CIFAR10_VERSIONS.map((version) => join(dataDir, version.folder))]) {
    const names = await list(folder);
    const files = names.map((name): [string, LazyFile] => {
      const path = join(folder, name);
      const read = (): Promise<Uint8Array> =>
        readFile(path).catch((error: unknown) => {
          throw unreadable(path, error);
        });
      return [name, { path, read }];
    });
    const found = choose(folder, new Map(files));
    if (found !== undefined) return found;
  }
  const names = await list(dataDir);
  const archive = CIFAR10_VERSIONS.find((version) => names.includes(version.archive))?.archive;
  if (archive !== undefined) return inArchive(join(dataDir, archive));
  throw new CortorchError(
    'ERR_DATASET_NOT_FOUND',
    `${dataDir} holds no files of CIFAR-10 (${CIFAR10_VERSIONS.map(({ ending }) => `data_batch_1${ending}`).join(' or ')}), ` +
      `no folder ${CIFAR10_VERSIONS.map(({ folder }) => folder).join(' or ')}, and no ` +
      `${CIFAR10_VERSIONS.map((version) => version.archive).join(' or ')}; download one of them, ${DOWNLOADS}`,
  );
}

async function inArchive(path: string): Promise<Found> {
  const files = new Map<string, LazyFile>();
  for await (const { name, read } of readTar(path)) {
    const last = basename(name);
    if (CIFAR10_VERSIONS.some((version) => isBatch(last, version))) {
      const data = await read();
      files.set(last, { path: `${path}: ${name}`, read: () => Promise.resolve(data) });
    }
  }
  const found = choose(path, files);
  if (found !== undefined) return found;
  throw new CortorchError('ERR_DATASET_NOT_FOUND', `${path} is no archive of CIFAR-10; download one, ${DOWNLOADS}`);
}

/** @returns undefined if these are no files of CIFAR-10 */
function choose(place: string, files: ReadonlyMap<string, LazyFile>): Found | undefined {
  for (const version of CIFAR10_VERSIONS) {
    const train = [...files.keys()]
      .filter((name) => isBatch(name, version) && name !== testOf(version))
      .sort((a, b) => numberOf(a) - numberOf(b))
      .map((name) => files.get(name)!);
    const test = files.get(testOf(version));
    if (train.length > 0 && test !== undefined) return { place, version, train, test };
    if (train.length === 0 && test === undefined) continue;
    const missing = test === undefined ? testOf(version) : `data_batch_1${version.ending}`;
    throw new CortorchError(
      'ERR_DATASET_NOT_FOUND',
      `${place} holds no ${missing}; unpack or download the ${version.title} again, ${DOWNLOADS}`,
    );
  }
  return undefined;
}

const testOf = ({ ending }: Cifar10Version): string => `test_batch${ending}`;
const numberOf = (name: string): number => Number(/_(\d+)/.exec(name)?.[1]);
const isBatch = (name: string, version: Cifar10Version): boolean => {
  const stem = /^data_batch_\d+/.exec(name)?.[0];
  return name === testOf(version) || (stem !== undefined && stem + version.ending === name);
};

/** Names in a folder; none if it is not there. */
async function list(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return [];
    throw unreadable(folder, error);
  }
}

const unreadable = (path: string, cause: unknown): CortorchError =>
  new CortorchError(
    'ERR_READ_FAILED',
    `cannot read ${path}: ${(cause as Error).message}; check its permissions, or name another folder with --data-dir`,
    { cause },
  );
