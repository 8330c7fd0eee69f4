/**
 * Builds the native part: finds libtorch, runs CMakeLists.txt through cmake-js in build-native/, and writes down
 * what was built on. At run time it says whether that build can still be loaded.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { ensureLibtorch, inspectLibtorch, logToStderr } from './libtorch.mjs';
import { fail, SetupError } from './setup-error.mjs';
import { checkPlatform, findNvcc, findToolchain } from './toolchain.mjs';

export const packageRoot = path.dirname(path.dirname(fileURLToPath(import.meta.url)));

/** A compiler process of ours needs about so much memory, in bytes. */
const MEMORY_PER_JOB = 1.5e9;

/** What CMake, ninja and cmake-js say beside the compiler's own words. */
const CHATTER = /^-- |^Not searching for unused|^FAILED: |^: && | -isystem |^ERROR OMG|^ninja: |^gmake/;

const SET_UP = 'npx cortorch setup';

/**
 * @typedef {import('./libtorch.mjs').Libtorch} Libtorch
 * @typedef {import('./libtorch.mjs').Log} Log
 *
 * What build-native/libtorch.json holds.
 * @typedef {object} BuildRecord
 * @property {string} path the libtorch that was built on
 * @property {string} version
 * @property {string | null} cuda
 * @property {Libtorch['source']} source
 * @property {string} built when, ISO 8601
 * @property {string} compiler
 * @property {string} cudaKernels what CMake says of them: `built by … for …` or `none: …`
 * @property {string} inputs a digest of the sources that were built
 */

/** @param {string} [root] not build/, which node-gyp empties */
export function buildFolder(root = packageRoot) {
  const folder = path.join(root, 'build-native');
  return {
    folder,
    addon: path.join(folder, 'Release/cortorch.node'),
    library: path.join(folder, 'Release/libcortorch.so'),
    record: path.join(folder, 'libtorch.json'),
    log: path.join(folder, 'build.log'),
    cudaKernels: path.join(folder, 'cuda-kernels'), // written by CMakeLists.txt
    /** A digest of what cannot change without starting afresh: libtorch, compiler, generator. */
    setup: path.join(folder, 'setup'),
    lock: path.join(folder, '.lock'),
  };
}

/** @param {string} [root] @returns {BuildRecord | null} */
export function readRecord(root = packageRoot) {
  return JSON.parse(readIfThere(buildFolder(root).record) || 'null'); // null: no build, or one cut short
}

/** @param {string} file */
function readIfThere(file) {
  return fs.existsSync(file) ? fs.readFileSync(file, 'utf8') : '';
}

/** A checkout has the TypeScript sources; an installed package has only what was made of them. */
export function isCheckout(root = packageRoot) {
  return fs.existsSync(path.join(root, 'lib/index.ts'));
}

/**
 * Builds what is not built, or not of today's sources; with nothing to do it takes milliseconds.
 * @param {{ root?: string, env?: Record<string, string | undefined>, log?: Log, resolve?: boolean }} [options]
 *   `resolve`: ask again which libtorch it should be, even if the one built on is still there
 * @returns {Promise<{ changed: boolean, record: BuildRecord }>}
 */
export async function buildNative({ root = packageRoot, env = process.env, log = logToStderr, resolve = false } = {}) {
  const inputs = digestOfSources(root);
  const last = readRecord(root);
  if (!resolve && last && isFresh(root, last, inputs, env)) return { changed: false, record: last };

  checkPlatform();
  const tools = findToolchain(env);
  const libtorch = (!resolve && builtOn(last, env)) || (await ensureLibtorch({ env, log }));
  return withLock(root, log, async () => {
    const setup = digest([
      ...[root, libtorch.path, libtorch.version, tools.compiler, tools.generator],
      libtorch.cuda && findNvcc(env), // CMake remembers that it found none
      libtorch.cuda && env.CORTORCH_CUDA_ARCHITECTURES,
    ]);
    const { folder, record: recordFile, setup: setupFile, lock } = buildFolder(root);
    const same = readIfThere(setupFile) === setup;
    const before = readRecord(root); // read again: another process may have built while this one waited
    if (same && before && isFresh(root, before, inputs, env)) return { changed: false, record: before };

    // Another libtorch or compiler: CMake's cache and the objects are of no use, and header times can deceive.
    if (!same) emptyFolder(folder, lock);
    fs.writeFileSync(setupFile, setup);
    fs.rmSync(recordFile, { force: true });
    log(`Building the native part on libtorch ${libtorch.version} (${libtorch.path}), ${tools.compiler.path}`);
    await runCmakeJs(root, libtorch, tools, env, log);

    /** @type {BuildRecord} */
    const record = {
      path: libtorch.path,
      version: libtorch.version,
      cuda: libtorch.cuda,
      source: libtorch.source,
      built: new Date().toISOString(),
      compiler: `${tools.compiler.path} ${tools.compiler.version}`,
      cudaKernels: readIfThere(buildFolder(root).cudaKernels).trim(),
      inputs,
    };
    fs.writeFileSync(`${recordFile}.new`, JSON.stringify(record, null, 2) + '\n');
    fs.renameSync(`${recordFile}.new`, recordFile);
    return { changed: true, record };
  });
}

/**
 * A changed source does not change the libtorch: what was built on stays, until it is gone or LIBTORCH names another.
 * @param {BuildRecord | null} record
 * @param {Record<string, string | undefined>} env
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
 * @param {string} inputs
 * @param {Record<string, string | undefined>} env
 */
function isFresh(root, record, inputs, env) {
  if (record.inputs !== inputs || !fs.existsSync(buildFolder(root).addon)) return false;
  if (env.LIBTORCH && path.resolve(env.LIBTORCH) !== record.path) return false;
  return movedLibtorch(record) === null;
}

/** @param {BuildRecord} record @returns {string | null} what is wrong with the libtorch that was built on */
function movedLibtorch({ path: at, version }) {
  const seen = inspectLibtorch(at);
  if (seen.version && seen.version !== version) return `now holds libtorch ${seen.version}`;
  return 'problem' in seen ? seen.problem : null;
}

/**
 * @param {string} root
 * @param {Libtorch} libtorch
 * @param {import('./toolchain.mjs').Toolchain} tools
 * @param {Record<string, string | undefined>} env
 * @param {Log} log
 */
async function runCmakeJs(root, libtorch, tools, env, log) {
  const { folder, log: logFile } = buildFolder(root);
  const cmakeJs = createRequire(path.join(root, 'package.json')).resolve('cmake-js/bin/cmake-js');
  const args = ['--directory', root, '--out', folder, '--config', 'Release', '--log-level', 'error']
    .concat(['--cmake-path', tools.cmake.path, '--generator', tools.generator])
    .concat(['--cc', tools.compiler.path, '--cxx', tools.compiler.path]) // no C here, but cmake-js asks for both
    .concat(['--parallel', env.CMAKE_BUILD_PARALLEL_LEVEL || String(jobs())])
    .concat([`--CDLIBTORCH=${libtorch.path}`])
    // A warning of a compiler newer than ours must not keep a user from installing.
    .concat([`--CDCORTORCH_WERROR=${isCheckout(root) ? 'ON' : 'OFF'}`])
    .concat(
      env.CORTORCH_CUDA_ARCHITECTURES ? [`--CDCORTORCH_CUDA_ARCHITECTURES=${env.CORTORCH_CUDA_ARCHITECTURES}`] : [],
    );

  fs.writeFileSync(logFile, '');
  // Configuring takes a second, and cmake-js does it by itself only once.
  for (const command of ['configure', 'build']) {
    const code = await run(process.execPath, [cmakeJs, command, ...args], { cwd: root, env }, (line) => {
      fs.appendFileSync(logFile, line + '\n');
      showBuildLine(line, log);
    });
    if (code !== 0) throw buildFailed(logFile, code);
  }
}

/** @param {string} logFile @param {number | null} code */
function buildFailed(logFile, code) {
  const lines = fs.readFileSync(logFile, 'utf8').split('\n');
  const first = lines.find((line) => /\berror\b|Error at/i.test(line)) ?? `cmake-js ended with ${code}`;
  return new SetupError('ERR_NATIVE_BUILD', 'Building the native part failed.', {
    found: first.trim(),
    remedies: [`read ${logFile}, then: ${SET_UP}`],
  });
}

/** cmake's chatter stays in the log file; steps are shortened; whatever else comes is shown as it is. */
function showBuildLine(/** @type {string} */ line, /** @type {Log} */ log) {
  // A unit of several files is named as its folder, or as CMakeLists.txt names it.
  const step =
    /^\[\s*(\d+%|\d+\/\d+)\]\s+(Building|Linking|Built target)?.*?(?:Unity\/unity_([\w/-]+)_cxx\.cxx|([\w-]+\/[\w-]+\.(?:cpp|cu)|[\w-]+\.(?:so|node)))?(?:\.o)?$/;
  const [, count, what, unit, file] = step.exec(line) ?? [];
  if (count) {
    if (what !== 'Built target' && (unit ?? file)) log(`  [${count}] ${unit ?? file}`);
  } else if (line.trim() && !CHATTER.test(line)) log(line);
}

/** As many compilers as there are processors, if the memory is there. */
function jobs() {
  return Math.max(1, Math.min(os.availableParallelism(), Math.floor(os.freemem() / MEMORY_PER_JOB)));
}

/**
 * @param {string} command
 * @param {string[]} args
 * @param {{ cwd: string, env: Record<string, string | undefined> }} options
 * @param {(line: string) => void} onLine
 * @returns {Promise<number | null>}
 */
function run(command, args, options, onLine) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { ...options, stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [child.stdout, child.stderr]) {
      let rest = '';
      stream.setEncoding('utf8').on('data', (text) => {
        const lines = (rest + text).split('\n');
        rest = /** @type {string} */ (lines.pop());
        lines.forEach(onLine);
      });
      stream.on('end', () => rest && onLine(rest));
    }
    child.on('error', reject);
    child.on('close', resolve);
  });
}

/** @param {string} folder */
function makeFolder(folder) {
  try {
    fs.mkdirSync(folder, { recursive: true });
    fs.accessSync(folder, fs.constants.W_OK);
  } catch (error) {
    throw new SetupError('ERR_BUILD_FOLDER', `${folder} cannot be written: ${/** @type {Error} */ (error).message}.`, {
      needed: 'write access to the folder that cortorch is installed in',
      remedies: ['install cortorch in a project of your own, or run npx cortorch setup as the owner of that folder'],
    });
  }
}

/** @param {string} folder @param {string} except */
function emptyFolder(folder, except) {
  for (const name of fs.readdirSync(folder)) {
    const file = path.join(folder, name);
    if (file !== except) fs.rmSync(file, { recursive: true, force: true });
  }
}

/**
 * One build at a time in one folder: two commands may find at once that there is something to build.
 * @template T
 * @param {string} root
 * @param {Log} log
 * @param {() => Promise<T>} work
 * @returns {Promise<T>}
 */
async function withLock(root, log, work) {
  const { folder, lock } = buildFolder(root);
  makeFolder(folder);
  for (let waited = 0; !takeLock(lock); waited++) {
    if (waited === 0) log(`Waiting for the build of process ${readIfThere(lock)} (${lock})`);
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
  try {
    return await work();
  } finally {
    fs.rmSync(lock, { force: true });
  }
}

/** @param {string} lock */
function takeLock(lock) {
  try {
    fs.writeFileSync(lock, String(process.pid), { flag: 'wx' });
    return true;
  } catch (error) {
    if (/** @type {NodeJS.ErrnoException} */ (error).code !== 'EEXIST') throw error;
  }
  if (!isAlive(Number(readIfThere(lock)))) removeStale(lock); // its owner went without tidying up
  return false;
}

/**
 * Two processes may see the same dead owner, and the slower one must not take the quicker one's new lock away.
 * @param {string} lock
 */
function removeStale(lock) {
  const aside = `${lock}.${process.pid}`;
  try {
    fs.renameSync(lock, aside);
    if (isAlive(Number(readIfThere(aside)))) fs.linkSync(aside, lock);
    fs.rmSync(aside, { force: true });
  } catch {
    // Somebody else was quicker; the next look at the lock tells.
  }
}

/** @param {number} pid 0 if its owner has not written it yet */
function isAlive(pid) {
  if (pid === process.pid) return false; // of an earlier process that had the same number
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return /** @type {NodeJS.ErrnoException} */ (error).code === 'EPERM'; // it lives, and is another user's
  }
}

/** Names, sizes and times, not contents: this runs at every start. @param {string} root */
function digestOfSources(root) {
  return digestOfFiles(root, ['native', 'CMakeLists.txt', 'node_modules/node-addon-api/package.json']);
}

/**
 * @param {string} root
 * @param {string[]} names files, and folders with all that is in them
 */
export function digestOfFiles(root, names) {
  const files = names.flatMap((name) => {
    const at = path.join(root, name);
    const stat = fs.statSync(at, { throwIfNoEntry: false });
    if (!stat?.isDirectory()) return stat ? [at] : [];
    return fs
      .readdirSync(at, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => path.join(entry.parentPath, entry.name));
  });
  return digest(files.sort().map((file) => [file, fs.statSync(file).size, fs.statSync(file).mtimeMs]));
}

/** @param {unknown} value */
function digest(value) {
  return createHash('sha256').update(JSON.stringify(value)).digest('hex');
}

/**
 * Can the addon be loaded? Asked at run time, before loading it, since the loader's own error names no remedy.
 * @param {{ root?: string }} [options]
 * @returns {{ addon: string, library: string, libtorch: BuildRecord }}
 */
export function checkBuild({ root = packageRoot } = {}) {
  const { addon, library } = buildFolder(root);
  const record = readRecord(root);
  if (!record || !fs.existsSync(addon)) {
    checkPlatform();
    throw new SetupError('ERR_NATIVE_NOT_BUILT', "cortorch's native part is not built.", {
      found: `no ${record ? addon : buildFolder(root).record}`,
      needed: 'a build: installing with --ignore-scripts, or with a package manager that runs no scripts, skips it',
      remedies: [SET_UP],
    });
  }
  const moved = movedLibtorch(record);
  if (moved) {
    throw new SetupError('ERR_LIBTORCH_MOVED', 'The libtorch that cortorch was built on is not there any more.', {
      tried: [{ source: record.source, path: record.path, outcome: moved }],
      needed: `libtorch ${record.version} at ${record.path}, or a new build on another one`,
      remedies: [SET_UP],
    });
  }
  return { addon, library, libtorch: record };
}

/**
 * Loads the addon, or says what helps.
 * @param {{ root?: string }} [options]
 * @returns {any} what cortorch.node exports
 */
export function loadAddon({ root = packageRoot } = {}) {
  const { addon, libtorch } = checkBuild({ root });
  try {
    return createRequire(import.meta.url)(addon);
  } catch (error) {
    throw new SetupError('ERR_NATIVE_LOAD', "cortorch's native part could not be loaded.", {
      found: /** @type {Error} */ (error).message,
      needed: `the libraries that it was built with, above all libtorch ${libtorch.version} at ${libtorch.path}`,
      remedies: [
        SET_UP,
        'npx cortorch doctor   # what was found on this machine',
        // PyTorch's archives for CUDA 13 come without CUDA's libraries.
        ...(libtorch.cuda ? [`ldd ${libtorch.path}/lib/libtorch_cuda.so | grep 'not found'   # docs/gpu.md`] : []),
      ],
    });
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await buildNative({ resolve: process.argv.includes('--resolve') }).catch(fail);
}
