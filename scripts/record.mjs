/** What is written down of a native build. */
import fs from 'node:fs';
import path from 'node:path';
import { buildFolder, filesIn, packageRoot, prebuiltFolder, readIfThere } from './paths.mjs';

/**
 * What build-native/libtorch.json holds.
 * @typedef {object} BuildRecord
 * @property {string} path the libtorch that was built on
 * @property {string} version
 * @property {string | null} cuda
 * @property {'LIBTORCH' | 'python' | 'cache'} source
 * @property {boolean} prebuilt it came with the package, and was not compiled here
 * @property {string} built when, ISO 8601
 * @property {string} compiler
 * @property {string} cudaKernels what CMake says of them: `built by … for …` or `none: …`
 * @property {Record<string, number>} sizes of the files that are loaded, in bytes
 * @property {string} inputs a digest of the sources that were built
 * @property {string} seen a digest of their names, sizes and times, which is quicker
 */

/** @param {string} [root] @returns {BuildRecord | null} null: no build, or one cut short */
export function readRecord(root = packageRoot) {
  try {
    return /** @type {BuildRecord | null} */ (JSON.parse(readIfThere(buildFolder(root).record) || 'null'));
  } catch {
    return null;
  }
}

/** @param {string} root @param {BuildRecord} record */
export function saveRecord(root, record) {
  const { record: file } = buildFolder(root);
  const aside = `${file}.${process.pid}`;
  fs.writeFileSync(aside, JSON.stringify(record, null, 2) + '\n');
  fs.renameSync(aside, file);
}

/** What is loaded of such a build. @param {{ prebuilt: boolean }} record @param {string} [root] */
export function filesOf({ prebuilt }, root = packageRoot) {
  return filesIn(prebuilt ? prebuiltFolder(root) : path.join(buildFolder(root).folder, 'Release'));
}

/** @param {{ prebuilt: boolean }} record @param {string} root @returns {Record<string, number>} */
export function sizesOf(record, root) {
  return Object.fromEntries(
    Object.values(filesOf(record, root)).map((file) => [
      path.basename(file),
      fs.statSync(file, { throwIfNoEntry: false })?.size ?? 0,
    ]),
  );
}

/** The last line of a set-up. @param {BuildRecord} record */
export function readyLine({ prebuilt, version, path: at }) {
  return `cortorch is ready on libtorch ${version} (${at}): ${prebuilt ? 'nothing had to be compiled' : 'compiled here'}`;
}
