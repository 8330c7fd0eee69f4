/**
 * The native part, ready to be loaded: the files that came with the package where they fit, else compiled by running
 * CMakeLists.txt through cmake-js in build-native/. What it is, and on which libtorch, is written down there.
 */
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { emptyFolder, runCmakeJs } from './compile.mjs';
import { digest, digestOfInputs, quickDigestOfInputs } from './digest.mjs';
import { ensureLibtorch } from './fetch-libtorch.mjs';
import { inspectLibtorch } from './libtorch.mjs';
import { isLocked, withLock } from './lock.mjs';
import { movedLibtorch } from './load.mjs';
import { logToStderr } from './log.mjs';
import { buildFolder, packageRoot, readIfThere } from './paths.mjs';
import { checkPlatform } from './platform.mjs';
import { prebuiltHere, whyNotOn } from './prebuilt.mjs';
import { filesOf, readRecord, saveRecord, sizesOf } from './record.mjs';
import { fail } from './setup-error.mjs';
import { findNvcc, findToolchain } from './toolchain.mjs';

/**
 * @typedef {import('./libtorch.mjs').Libtorch} Libtorch
 * @typedef {import('./log.mjs').Log} Log
 * @typedef {import('./record.mjs').BuildRecord} BuildRecord
 * @typedef {import('./prebuilt.mjs').Manifest} Manifest
 * @typedef {import('./toolchain.mjs').Toolchain} Toolchain
 * @typedef {Record<string, string | undefined>} Env
 */

/**
 * Makes ready what is not, or not of today's sources; with nothing to do it takes milliseconds.
 * @param {{ root?: string, env?: Env, log?: Log, resolve?: boolean }} [options]
 *   `resolve`: ask again which libtorch it should be, even if the one built on is still there
 * @returns {Promise<{ changed: boolean, record: BuildRecord }>}
 */
export async function buildNative({ root = packageRoot, env = process.env, log = logToStderr, resolve = false } = {}) {
  const last = readRecord(root);
  if (!resolve && last && isFresh(root, last, env)) return { changed: false, record: last };

  checkPlatform();
  const { libtorch, prebuilt, tools } = await choose({ root, env, log, last: resolve ? null : last });
  return withLock(root, log, async () => {
    const now = readRecord(root); // read again: another process may have built while this one waited
    const before = now?.path === libtorch.path && now.prebuilt === (prebuilt !== null) ? now : null;
    if (prebuilt) {
      if (before && isFresh(root, before, env)) return { changed: false, record: before };
      const sources = { inputs: digestOfInputs(root), seen: quickDigestOfInputs(root) };
      return { changed: true, record: writeRecord(root, libtorch, { ...prebuilt, prebuilt: true }, sources) };
    }
    return compile({ root, env, log, libtorch, tools, before });
  });
}

/**
 * Which libtorch, and whether something has to be compiled.
 * @param {{ root: string, env: Env, log: Log, last: BuildRecord | null }} options
 * @returns {Promise<{ libtorch: Libtorch, prebuilt: Manifest, tools: null }
 *   | { libtorch: Libtorch, prebuilt: null, tools: Toolchain }>}
 */
async function choose({ root, env, log, last }) {
  const { manifest: prebuilt, why: unusable } = prebuiltHere(root, env);
  const notUsed = (/** @type {string} */ why) => log(`The prebuilt native part is not used: ${why}`);
  if (!prebuilt) {
    if (unusable) notUsed(unusable);
    // Tools come before a download of minutes.
    const tools = findToolchain(env, unusable);
    return { libtorch: builtOn(last, env) || (await ensureLibtorch({ env, log })), prebuilt, tools };
  }
  const libtorch = builtOn(last, env) || (await ensureLibtorch({ env, log }));
  const why = whyNotOn(root, prebuilt, libtorch, env);
  if (!why) return { libtorch, prebuilt, tools: null };
  notUsed(why);
  try {
    return { libtorch, prebuilt: null, tools: findToolchain(env, why) };
  } catch (error) {
    // A Python's torch was found, and nobody asked for it: with the one that set-up fetches nothing need be compiled.
    if (libtorch.source !== 'python') throw error;
    const other = await ensureLibtorch({ env, log, pythons: [] });
    const whyNot = whyNotOn(root, prebuilt, other, env);
    if (whyNot) {
      notUsed(whyNot);
      throw error;
    }
    log(`Using libtorch ${other.version} (${other.path}) with it, since there is no compiler here`);
    return { libtorch: other, prebuilt, tools: null };
  }
}

/**
 * @param {{ root: string, env: Env, log: Log, libtorch: Libtorch, tools: Toolchain, before: BuildRecord | null }} build
 * @returns {Promise<{ changed: boolean, record: BuildRecord }>}
 */
async function compile({ root, env, log, libtorch, tools, before }) {
  const setup = digest(
    JSON.stringify([
      ...[root, libtorch.path, libtorch.version, tools.compiler, tools.generator],
      libtorch.cuda && findNvcc(env), // CMake remembers that it found none
      libtorch.cuda && env.CORTORCH_CUDA_ARCHITECTURES,
    ]),
  );
  const { folder, record, setup: setupFile, lock, cudaKernels } = buildFolder(root);
  const same = readIfThere(setupFile) === setup;
  if (same && before && isFresh(root, before, env)) return { changed: false, record: before };

  // Another libtorch or compiler: CMake's cache and the objects are of no use, and header times can deceive.
  if (!same) emptyFolder(folder, lock);
  fs.writeFileSync(setupFile, setup);
  fs.rmSync(record, { force: true });
  // To ninja a damaged file is one that is up to date; linking takes a second.
  const { addon, library, opener } = filesOf({ prebuilt: false }, root);
  for (const file of [addon, library, opener]) fs.rmSync(file, { force: true });
  // Of before: what is saved while it compiles is compiled the next time.
  const sources = { inputs: digestOfInputs(root), seen: quickDigestOfInputs(root) };
  log(`Building the native part on libtorch ${libtorch.version} (${libtorch.path}), ${tools.compiler.path}`);
  await runCmakeJs(root, libtorch, tools, env, log);
  const built = {
    built: new Date().toISOString(),
    compiler: `${tools.compiler.path} ${tools.compiler.version}`,
    cudaKernels: readIfThere(cudaKernels).trim(),
    prebuilt: false,
  };
  return { changed: true, record: writeRecord(root, libtorch, built, sources) };
}

/**
 * @param {string} root
 * @param {Libtorch} libtorch
 * @param {Pick<BuildRecord, 'built' | 'compiler' | 'cudaKernels' | 'prebuilt'>} what
 * @param {Pick<BuildRecord, 'inputs' | 'seen'>} sources
 * @returns {BuildRecord}
 */
function writeRecord(root, { path, version, cuda, source }, { built, compiler, cudaKernels, prebuilt }, sources) {
  const sizes = sizesOf({ prebuilt }, root);
  const record = { path, version, cuda, source, prebuilt, built, compiler, cudaKernels, sizes, ...sources };
  saveRecord(root, record);
  fs.rmSync(buildFolder(root).failure, { force: true });
  return record;
}

/**
 * A changed source does not change the libtorch: what was built on stays, until it is gone or LIBTORCH names another.
 * @param {BuildRecord | null} record
 * @param {Env} env
 * @returns {Libtorch | null}
 */
function builtOn(record, env) {
  const seen = record && !env.LIBTORCH && inspectLibtorch(record.path);
  if (!seen || 'problem' in seen || seen.version !== record.version) return null;
  return { source: record.source, ...seen };
}

/**
 * @param {string} root
 * @param {BuildRecord} record
 * @param {Env} env
 */
function isFresh(root, record, env) {
  const sizes = sizesOf(record, root);
  if (
    !Object.entries(sizes).every(
      ([name, size]) => size > 0 && size === /** @type {Partial<BuildRecord>} */ (record).sizes?.[name],
    )
  )
    return false;
  if (env.LIBTORCH && path.resolve(env.LIBTORCH) !== record.path) return false;
  if (record.prebuilt && !prebuiltHere(root, env).manifest) return false;
  return movedLibtorch(record) === null && isOfTheseSources(root, record);
}

/** @param {string} root @param {BuildRecord} record */
function isOfTheseSources(root, record) {
  const seen = quickDigestOfInputs(root);
  if (record.seen === seen) return true;
  if (record.inputs !== digestOfInputs(root)) return false;
  try {
    // Copied, or checked out again. While somebody builds, the record is theirs.
    if (!isLocked(root)) saveRecord(root, { ...record, seen });
  } catch {
    // Somebody else's folder: then contents are compared the next time too.
  }
  return true;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await buildNative({ resolve: process.argv.includes('--resolve') }).catch(fail);
}
