/** Has a source changed? By names, sizes and times, which is quick; where those differ, by contents. */
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';

/** What the native part is compiled from, from the root of the package. */
const SOURCES = ['native', 'CMakeLists.txt'];

/** Editors' and file systems' own, which npm does not pack either. */
const LEFTOVERS = /^\.|~$|\.(swp|orig|rej)$/;

/** The same for the same sources, wherever and since when they lie there. @param {string} root */
export function digestOfSources(root) {
  const files = filesOf(root, SOURCES).map((name) => [name, digest(fs.readFileSync(path.join(root, name)))]);
  return digest(JSON.stringify(files));
}

/**
 * What a build in `root` depends on besides libtorch and the tools.
 * @param {string} root
 */
export function digestOfInputs(root) {
  const headers = path.join(root, 'node_modules/node-addon-api/package.json');
  return digest(digestOfSources(root) + (fs.existsSync(headers) ? fs.readFileSync(headers, 'utf8') : ''));
}

/** @param {string} root */
export function quickDigestOfInputs(root) {
  return digestOfFiles(root, [...SOURCES, 'node_modules/node-addon-api/package.json']);
}

/**
 * By names, sizes and times.
 * @param {string} root
 * @param {string[]} names files, and folders with all that is in them
 */
export function digestOfFiles(root, names) {
  const stats = filesOf(root, names).map((name) => {
    const { size, mtimeMs } = fs.statSync(path.join(root, name));
    return [name, size, mtimeMs];
  });
  return digest(JSON.stringify(stats));
}

/** @param {string} root @param {string[]} names @returns {string[]} from the root, in an order of their own */
function filesOf(root, names) {
  const files = names.flatMap((name) => {
    const at = path.join(root, name);
    const stat = fs.statSync(at, { throwIfNoEntry: false });
    if (!stat?.isDirectory()) return stat ? [name] : [];
    return fs
      .readdirSync(at, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && !LEFTOVERS.test(entry.name))
      .map((entry) => path.relative(root, path.join(entry.parentPath, entry.name)));
  });
  return files.sort();
}

/** @param {string | Uint8Array} value */
export function digest(value) {
  return createHash('sha256').update(value).digest('hex');
}
