/**
 * ImageNet's validation images as their archive has them, without class folders: what they show stands in another file.
 */

import { readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { CortorchError } from '../../errors.js';
import { MatFileError, readMatStructs } from './mat-file.js';

const GROUND_TRUTH = 'ILSVRC2012_validation_ground_truth.txt';
const META = 'meta.mat';
const SOLUTION = 'LOC_val_solution.csv';

/** Where the devkit's files may lie below the data set's folder. */
const PLACES = ['', 'data', 'ILSVRC2012_devkit_t12/data'];

/**
 * The WordNet id of each validation image: from the devkit's ground truth, whose numbers are the devkit's own
 * (meta.mat), or from Kaggle's table.
 *
 * @param names of the images, such as ILSVRC2012_val_00000001.JPEG
 * @param dataDir the folder around `val`
 * @throws CortorchError ERR_DATASET_NOT_FOUND, ERR_DATASET_CORRUPT, ERR_READ_FAILED
 */
export async function validationIds(names: readonly string[], dataDir: string): Promise<string[]> {
  const tell = (await groundTruth(dataDir)) ?? (await solution(dataDir));
  if (tell !== undefined) return names.map(tell);
  throw new CortorchError(
    'ERR_DATASET_NOT_FOUND',
    `${join(dataDir, 'val')} holds the validation images without class folders; put the devkit's ${GROUND_TRUTH} and ` +
      `${META}, or Kaggle's ${SOLUTION}, into ${dataDir}, or move each image into the folder of its WordNet id`,
  );
}

/** The official order of the classes: that of their sorted ids. @returns undefined without the devkit's meta.mat */
export async function devkitClasses(dataDir: string): Promise<string[] | undefined> {
  const meta = await findFile(dataDir, META);
  return meta && [...devkitIds(meta).values()].sort();
}

type Tell = (name: string) => string;

async function groundTruth(dataDir: string): Promise<Tell | undefined> {
  const truth = await findFile(dataDir, GROUND_TRUTH);
  if (truth === undefined) return undefined;
  const meta = await findFile(dataDir, META);
  if (meta === undefined) {
    throw new CortorchError(
      'ERR_DATASET_NOT_FOUND',
      `${truth.path} numbers the classes in the devkit's own order; put the devkit's ${META} beside it`,
    );
  }
  const ids = devkitIds(meta);
  const lines = truth.bytes.toString('latin1').trim().split(/\s+/);
  return (name) => {
    // ILSVRC2012_val_00000001 is the first line.
    const number = Number(/_(\d{8})\.[^.]*$/.exec(name)?.[1]);
    const id = ids.get(Number(lines[number - 1]));
    if (id !== undefined) return id;
    const line = lines[number - 1] ?? 'nothing';
    throw corrupt(truth.path, `it says ${line} of ${name}, which is no class; get it from the devkit again`);
  };
}

/** ILSVRC2012_ID to WordNet id, of the 1,000 classes; the others are their ancestors. */
function devkitIds({ path, bytes }: Found): ReadonlyMap<number, string> {
  let synsets;
  try {
    synsets = readMatStructs(bytes, 'synsets');
  } catch (error) {
    if (!(error instanceof MatFileError)) throw error;
    throw corrupt(path, `${error.message}; get it from the devkit again`);
  }
  const ids = new Map<number, string>();
  for (const { ILSVRC2012_ID: number, WNID: id } of synsets) {
    if (typeof number === 'number' && typeof id === 'string' && number <= 1000) ids.set(number, id);
  }
  if (ids.size === 1000 && [...ids.values()].every((id) => /^n\d{8}$/.test(id))) return ids;
  throw corrupt(path, `it names ${ids.size} classes with a WordNet id instead of 1,000; get it from the devkit again`);
}

/** Lines of `ILSVRC2012_val_00048981,n03995372 85 1 499 272`. */
async function solution(dataDir: string): Promise<Tell | undefined> {
  const table = await findFile(dataDir, SOLUTION);
  if (table === undefined) return undefined;
  const ids = new Map(
    [...table.bytes.toString('latin1').matchAll(/^(ILSVRC2012_val_\d{8}),(n\d{8})\b/gm)].map((found) => [
      found[1]!,
      found[2]!,
    ]),
  );
  return (name) => {
    const id = ids.get(basename(name).replace(/\.[^.]*$/, ''));
    if (id === undefined) throw corrupt(table.path, `it has no line for ${name}; download it again`);
    return id;
  };
}

interface Found {
  readonly path: string;
  readonly bytes: Buffer;
}

async function findFile(dataDir: string, name: string): Promise<Found | undefined> {
  for (const place of PLACES) {
    const path = join(dataDir, place, name);
    try {
      return { path, bytes: await readFile(path) };
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      if (code === 'ENOENT' || code === 'ENOTDIR') continue;
      throw new CortorchError('ERR_READ_FAILED', `cannot read ${path}: ${message}; check its permissions`, {
        cause: error,
      });
    }
  }
  return undefined;
}

const corrupt = (path: string, what: string): CortorchError =>
  new CortorchError('ERR_DATASET_CORRUPT', `${path}: ${what}`);
