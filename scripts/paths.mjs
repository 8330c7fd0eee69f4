/** Where things lie in the package. */
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export const packageRoot = path.dirname(path.dirname(fileURLToPath(import.meta.url)));

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

/** @param {string} file @returns {string} nothing where there is no file */
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

/** Where those lie that came with the package. @param {string} [root] */
export function prebuiltFolder(root = packageRoot) {
  return path.join(root, 'prebuilt/linux-x64');
}
