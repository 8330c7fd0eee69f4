/** Where the parts of a native build lie, and what is written down of it. */
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export const packageRoot = path.dirname(path.dirname(fileURLToPath(import.meta.url)));

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
 * @property {string} inputs a digest of the sources that were built
 * @property {string} seen a digest of their names, sizes and times, which is quicker
 */

/** @param {string} [root] not build/, which node-gyp empties */
export function buildFolder(root = packageRoot) {
  const folder = path.join(root, 'build-native');
  return {
    folder,
    ...filesIn(path.join(folder, 'Release')),
    record: path.join(folder, 'libtorch.json'),
    log: path.join(folder, 'build.log'),
    cudaKernels: path.join(folder, 'cuda-kernels'), // written by CMakeLists.txt
    /** A digest of what cannot change without starting afresh: libtorch, compiler, generator. */
    setup: path.join(folder, 'setup'),
    /** Why the last installation could not build it. */
    failure: path.join(folder, 'failure.txt'),
    lock: path.join(folder, '.lock'),
  };
}

/** @param {string} [root] @returns {BuildRecord | null} */
export function readRecord(root = packageRoot) {
  return JSON.parse(readIfThere(buildFolder(root).record) || 'null'); // null: no build, or one cut short
}

/** @param {string} file */
export function readIfThere(file) {
  return fs.existsSync(file) ? fs.readFileSync(file, 'utf8') : '';
}

/** A checkout has the TypeScript sources; an installed package has only what was made of them. */
export function isCheckout(root = packageRoot) {
  return fs.existsSync(path.join(root, 'lib/index.ts'));
}

/** What is loaded: the addon, the library under it, and what opens libtorch before them. @param {string} folder */
export function filesIn(folder) {
  return {
    addon: path.join(folder, 'cortorch.node'),
    library: path.join(folder, 'libcortorch.so'),
    opener: path.join(folder, 'open-libraries.node'),
  };
}

/** The files that were built, and those that came with the package. @param {string} [root] */
export function prebuiltFolder(root = packageRoot) {
  return path.join(root, 'prebuilt/linux-x64');
}

/** @param {BuildRecord} record @param {string} [root] */
export function filesOf({ prebuilt }, root = packageRoot) {
  return filesIn(prebuilt ? prebuiltFolder(root) : path.join(buildFolder(root).folder, 'Release'));
}
