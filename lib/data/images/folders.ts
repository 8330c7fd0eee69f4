/** Folders of class folders, in the order of torchvision's ImageFolder, and ImageNet's own numbers for its classes. */

import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { CortorchError, isPlainObject } from '../../errors.js';
import { devkitClasses, validationIds } from './flat-validation.js';

/** Images in files, with what they show. */
export interface ImageList {
  /** Paths, as people know them. */
  readonly files: readonly string[];
  /** The bytes of file `index`, where they do not lie at its path. */
  readonly read?: (index: number) => Promise<Uint8Array>;
  /** Of each file, 0 to classes − 1. */
  readonly labels: Int32Array;
  /** Names of the classes, in the order of the labels. */
  readonly classes: readonly string[];
}

/** Of the training images, by channel (torchvision's). */
export const IMAGENET_NORMALIZATION = {
  mean: [0.485, 0.456, 0.406],
  std: [0.229, 0.224, 0.225],
} as const;

/** torchvision's IMG_EXTENSIONS. */
const EXTENSIONS = ['.jpg', '.jpeg', '.png', '.ppm', '.bmp', '.pgm', '.tif', '.tiff', '.webp'];

/** The names of the class folders, sorted. @throws CortorchError ERR_DATASET_NOT_FOUND, ERR_READ_FAILED */
export const classFolders = async (dir: string): Promise<readonly string[]> => (await list(dir)).folders;

/**
 * The images of a folder of class folders, at any depth. A label is the place of the class folder's name among the
 * sorted names; the files come in ImageFolder's order.
 *
 * @throws CortorchError ERR_DATASET_NOT_FOUND: no such folder, no class folders, a class without images;
 *   ERR_READ_FAILED
 */
export async function listImages(dir: string): Promise<ImageList> {
  const classes = (await list(dir)).folders;
  if (classes.length === 0) {
    throw notFound(`${dir} holds no class folders; name a folder with one folder of images for each class`);
  }
  const files: string[] = [];
  const labels: number[] = [];
  const empty: string[] = [];
  for (const [label, name] of classes.entries()) {
    const found = await walk(join(dir, name));
    if (found.length === 0) empty.push(name);
    for (const file of found) {
      files.push(file);
      labels.push(label);
    }
  }
  if (empty.length > 0) {
    const more = empty.length > 3 ? ` and ${empty.length - 3} more` : '';
    throw notFound(
      `${dir}: no images (${EXTENSIONS.join(', ')}) in the class folders ${empty.slice(0, 3).join(', ')}${more}; ` +
        'fill them or remove them',
    );
  }
  return { files, labels: Int32Array.from(labels), classes };
}

/**
 * The images of ImageNet (ILSVRC 2012), class folders named by WordNet ids; some classes may be missing. A label is the
 * official index of the id among the 1,000: from `imagenet_class_index.json` or `LOC_synset_mapping.txt` in `dataDir`,
 * or from sorted order if there are 1,000 class folders or the devkit's meta.mat. Validation images without class
 * folders have theirs from the devkit's ground truth or from Kaggle's LOC_val_solution.csv.
 *
 * @throws CortorchError ERR_DATASET_NOT_FOUND, ERR_DATASET_CORRUPT, ERR_READ_FAILED
 */
export async function listImagenet(dataDir: string, part: 'train' | 'val'): Promise<ImageList> {
  const dir = join(dataDir, part);
  const { files, folders } = await list(dir);
  const flat = folders.length === 0 ? files.filter((name) => /^ILSVRC2012_val_\d{8}\./.test(name)) : [];
  if (flat.length > 0) {
    const ids = await validationIds(flat, dataDir);
    const classes = await imagenetClasses(dataDir);
    const index = indexOf(classes);
    const labels = ids.map((id, i) => {
      const label = index.get(id);
      if (label !== undefined) return label;
      throw new CortorchError(
        'ERR_DATASET_CORRUPT',
        `${join(dir, flat[i]!)} is of ${id}, which is not one of the 1,000 classes of ${dataDir}; are both of ILSVRC 2012?`,
      );
    });
    return { files: flat.map((name) => join(dir, name)), labels: Int32Array.from(labels), classes };
  }
  const images = await listImages(dir);
  const classes = await imagenetClasses(dataDir);
  const index = indexOf(classes);
  const official = images.classes.map((id) => {
    const label = index.get(id);
    if (label !== undefined) return label;
    throw new CortorchError(
      'ERR_DATASET_CORRUPT',
      `${join(dir, id)} is not named by one of ImageNet's 1,000 WordNet ids; remove it, or use --dataset folder`,
    );
  });
  return { ...images, labels: images.labels.map((label) => official[label]!), classes };
}

const indexOf = (classes: readonly string[]): ReadonlyMap<string, number> => new Map(classes.map((id, i) => [id, i]));

/** Keras's and Kaggle's files for the order of the classes. */
const CLASS_INDEX = 'imagenet_class_index.json';
const SYNSET_MAPPING = 'LOC_synset_mapping.txt';

/**
 * ImageNet's 1,000 WordNet ids, in the order of the official index.
 *
 * @throws CortorchError ERR_DATASET_NOT_FOUND if nothing in `dataDir` tells; ERR_DATASET_CORRUPT, ERR_READ_FAILED
 */
export async function imagenetClasses(dataDir: string): Promise<string[]> {
  const { files, folders } = await list(dataDir);
  for (const [name, parse] of [
    [CLASS_INDEX, parseClassIndex],
    [SYNSET_MAPPING, parseSynsetMapping],
  ] as const) {
    if (!files.includes(name)) continue;
    const path = join(dataDir, name);
    const ids = parse(await readFile(path, 'utf8').catch((error: unknown) => unreadable(path, error)));
    if (areAllIds(ids)) return ids;
    throw new CortorchError(
      'ERR_DATASET_CORRUPT',
      `${path} does not give 1,000 different WordNet ids; download it again`,
    );
  }
  for (const part of ['train', 'val']) {
    if (!folders.includes(part)) continue;
    const ids = (await list(join(dataDir, part))).folders;
    if (areAllIds(ids)) return ids;
  }
  const devkit = await devkitClasses(dataDir);
  if (devkit !== undefined) return devkit;
  throw notFound(
    `${dataDir} has fewer than ImageNet's 1,000 class folders, so their order does not give the official index; ` +
      `put ${CLASS_INDEX} (Keras's) or ${SYNSET_MAPPING} (Kaggle's) there, or use --dataset folder`,
  );
}

const areAllIds = (ids: readonly string[]): boolean =>
  ids.length === 1000 && new Set(ids).size === 1000 && ids.every((id) => /^n\d{8}$/.test(id));

/** `{"0": ["n01440764", "tench"], …}`; none if it is anything else. */
function parseClassIndex(text: string): string[] {
  try {
    const index: unknown = JSON.parse(text);
    if (!isPlainObject(index)) return [];
    return Object.keys(index).map((_, i) => String((index[i] as unknown[])[0]));
  } catch {
    return [];
  }
}

/** Lines of `n01440764 tench, Tinca tinca`. */
const parseSynsetMapping = (text: string): string[] =>
  text
    .trim()
    .split('\n')
    .map((line) => line.split(' ', 1)[0]!);

/** Images under a class folder, in the order of Python's `sorted(os.walk(…))`: by folder path, then by name. */
async function walk(top: string): Promise<string[]> {
  const found: { folder: string; files: string[] }[] = [];
  const visit = async (folder: string): Promise<void> => {
    const { files, folders } = await list(folder);
    found.push({ folder, files: files.filter(isImage) });
    for (const name of folders) await visit(join(folder, name));
  };
  await visit(top);
  found.sort((a, b) => byCodePoint(a.folder, b.folder));
  return found.flatMap(({ folder, files }) => files.map((name) => join(folder, name)));
}

export const isImage = (name: string): boolean => {
  const lower = name.toLowerCase();
  return EXTENSIONS.some((extension) => lower.endsWith(extension));
};

/** Names of what is in a folder, each kind sorted; a link counts as what it leads to. */
async function list(dir: string): Promise<{ files: string[]; folders: string[] }> {
  const entries = await readdir(dir, { withFileTypes: true }).catch((error: unknown) => {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'ENOENT' && code !== 'ENOTDIR') return unreadable(dir, error);
    throw notFound(`${dir} is not a folder; name the folder of the images with --data-dir`);
  });
  const files: string[] = [];
  const folders: string[] = [];
  for (const entry of entries) {
    const isFolder = entry.isSymbolicLink()
      ? await stat(join(dir, entry.name)).then(
          (target) => target.isDirectory(),
          () => false, // a link to nothing: reading it will tell
        )
      : entry.isDirectory();
    (isFolder ? folders : files).push(entry.name);
  }
  return { files: files.sort(byCodePoint), folders: folders.sort(byCodePoint) };
}

/** Python's order of strings. JavaScript's own puts surrogate pairs before U+E000. */
function byCodePoint(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const difference = rank(a.charCodeAt(i)) - rank(b.charCodeAt(i));
    if (difference !== 0) return difference;
  }
  return a.length - b.length;
}

const rank = (unit: number): number => (unit >= 0xd800 && unit <= 0xdfff ? unit + 0x10000 : unit);

const notFound = (message: string): CortorchError => new CortorchError('ERR_DATASET_NOT_FOUND', message);

function unreadable(path: string, cause: unknown): never {
  throw new CortorchError(
    'ERR_READ_FAILED',
    `cannot read ${path}: ${(cause as Error).message}; check its permissions, or name another folder with --data-dir`,
    { cause },
  );
}
