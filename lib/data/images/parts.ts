/** Training and validation images of a data set that lies in files. */

import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join, relative } from 'node:path';
import { CortorchError } from '../../errors.js';
import { holdOut } from '../split.js';
import { classFolders, listImagenet, listImages, type ImageList } from './folders.js';
import { listShards } from './shards.js';

export type ImageDataset = 'imagenet' | 'folder';

/**
 * The images to train on: in the shards `dataDir`/train-*.tar, in the class folders of `dataDir`/train, or, of
 * `folder`, in `dataDir` itself where there is no such folder.
 *
 * @throws CortorchError ERR_DATASET_NOT_FOUND, ERR_DATASET_CORRUPT, ERR_READ_FAILED
 */
export async function listTraining(dataset: ImageDataset, dataDir: string): Promise<ImageList> {
  const shards = await listShards(dataDir, 'train');
  if (shards !== null) return shards;
  if (dataset === 'imagenet') return listImagenet(dataDir, 'train');
  const train = join(dataDir, 'train');
  return listImages(existsSync(train) ? train : dataDir);
}

/**
 * The classes of `folder`'s training images, by which the labels of validation images are numbered.
 *
 * @returns undefined where only validation images are there
 * @throws CortorchError ERR_DATASET_CORRUPT, ERR_READ_FAILED
 */
export async function trainingClasses(dataDir: string): Promise<readonly string[] | undefined> {
  const shards = await listShards(dataDir, 'train');
  if (shards !== null) return shards.classes;
  const train = join(dataDir, 'train');
  return existsSync(train) ? classFolders(train) : undefined;
}

/**
 * The images in the shards `dataDir`/val-*.tar or in `dataDir`/val.
 *
 * @param classes those of the training images, where they are known: of `folder` they number the labels
 * @returns null if there are none
 * @throws CortorchError as {@link listTraining}; ERR_DATASET_CORRUPT for a class that is not one of `classes`
 */
export async function listValidation(
  dataset: ImageDataset,
  dataDir: string,
  classes?: readonly string[],
): Promise<ImageList | null> {
  const val = join(dataDir, 'val');
  const shards = await listShards(dataDir, 'val');
  if (shards === null && !existsSync(val)) return null;
  if (dataset === 'imagenet') return shards ?? listImagenet(dataDir, 'val');
  const list = shards ?? (await listImages(val));
  if (classes === undefined) return list;
  const labels = list.classes.map((name) => {
    const label = classes.indexOf(name);
    if (label >= 0) return label;
    throw new CortorchError(
      'ERR_DATASET_CORRUPT',
      `${join(val, name)}: there is no class ${name} among the training images; remove the folder, or add it to them`,
    );
  });
  return { ...list, labels: list.labels.map((label) => labels[label]!), classes };
}

/** Holds out `count` images for validation, as `Dataset.split` does. @throws CortorchError ERR_INVALID_ARGUMENT */
export function splitList(list: ImageList, count: number, seed: number): { train: ImageList; validation: ImageList } {
  const { train, validation } = holdOut(list.labels, list.classes.length, count, seed);
  return { train: subset(list, train), validation: subset(list, validation) };
}

function subset(list: ImageList, indices: Uint32Array): ImageList {
  const { files, labels, classes, read } = list;
  return {
    files: Array.from(indices, (i) => files[i]!),
    labels: Int32Array.from(indices, (i) => labels[i]!),
    classes,
    ...(read && { read: (i: number) => read(indices[i]!) }),
  };
}

/** Changes when an image comes, goes, moves or gets another label; not with the place of `dataDir`. */
export function digestOf({ files, labels }: ImageList, dataDir: string): string {
  const hash = createHash('sha256');
  for (const [i, file] of files.entries()) hash.update(`${relative(dataDir, file)}\0${labels[i]}\n`);
  return `sha256:${hash.digest('hex')}`;
}
