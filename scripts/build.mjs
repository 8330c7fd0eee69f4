/**
 * The native part, ready to be loaded: the files that came with the package where they fit, else compiled by running
 * CMakeLists.txt through cmake-js in build-native/. What it is, and on which libtorch, is written down there.
 */
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { digest, digestOfInputs, quickDigestOfInputs } from './digest.mjs';
import { ensureLibtorch } from './fetch-libtorch.mjs';
import { inspectLibtorch } from './libtorch.mjs';
import { withLock } from './lock.mjs';
import { movedLibtorch } from './load.mjs';
import { logToStderr } from './log.mjs';
import { buildFolder, filesOf, isCheckout, packageRoot, readIfThere, readRecord } from './paths.mjs';
import { checkPlatform } from './platform.mjs';
import { prebuiltHere, whyNotOn } from './prebuilt.mjs';
import { fail, SetupError } from './setup-error.mjs';
import { findNvcc, findToolchain } from './toolchain.mjs';

/** A compiler process of ours needs about so much memory, in bytes. */
const MEMORY_PER_JOB = 1.5e9;

/** What CMake, ninja and cmake-js say beside the compiler's own words. */
const CHATTER = /^-- |^Not searching for unused|^FAILED: |^: && | -isystem |^ERROR OMG|^ninja: |^gmake/;

const SET_UP = 'npx cortorch setup';

/**
 * @typedef {import('./libtorch.mjs').Libtorch} Libtorch
 * @typedef {import('./log.mjs').Log} Log
 * @typedef {import('./paths.mjs').BuildRecord} BuildRecord
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
    const before = readRecord(root); // read again: another process may have built while this one waited
    const same = before?.path === libtorch.path && before.prebuilt === (prebuilt !== null);
    if (prebuilt) {
      if (same && isFresh(root, before, env)) return { changed: false, record: before };
      const sources = { inputs: digestOfInputs(root), seen: quickDigestOfInputs(root) };
      return { changed: true, record: writeRecord(root, libtorch, { ...prebuilt, prebuilt: true }, sources) };
    }
    return compile({ root, env, log, libtorch, tools, before: same ? before : null });
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
  if (unusable) log(`The prebuilt native part is not used: ${unusable}`);
  // Where something has to be compiled, its tools come before a download of minutes.
  const needed = prebuilt ? null : findToolchain(env, unusable);
  const libtorch = builtOn(last, env) || (await ensureLibtorch({ env, log }));
  if (!prebuilt) return { libtorch, prebuilt: null, tools: /** @type {Toolchain} */ (needed) };

  const why = whyNotOn(root, prebuilt, libtorch);
  if (!why) return { libtorch, prebuilt, tools: null };
  try {
    const tools = findToolchain(env, why);
    log(`The prebuilt native part is not used: ${why}`);
    return { libtorch, prebuilt: null, tools };
  } catch (error) {
    // A Python's torch was found, and nobody asked for it: with the one that set-up fetches nothing need be compiled.
    if (libtorch.source !== 'python' || libtorch.version === prebuilt.libtorch) throw error;
    log(`${libtorch.path} is not used: ${why}, and there is no compiler here`);
    const other = await ensureLibtorch({ env, log, pythons: [] });
    if (whyNotOn(root, prebuilt, other)) throw error;
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
  const record = { path, version, cuda, source, prebuilt, built, compiler, cudaKernels, ...sources };
  saveRecord(root, record);
  fs.rmSync(buildFolder(root).failure, { force: true });
  return record;
}

/** @param {string} root @param {BuildRecord} record */
function saveRecord(root, record) {
  const { record: file } = buildFolder(root);
  fs.writeFileSync(`${file}.new`, JSON.stringify(record, null, 2) + '\n');
  fs.renameSync(`${file}.new`, file);
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
  if (!fs.existsSync(filesOf(record, root).addon)) return false;
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
    saveRecord(root, { ...record, seen }); // copied, or checked out again
  } catch {
    // Somebody else's folder: then contents are compared the next time too.
  }
  return true;
}

/**
 * @param {string} root
 * @param {Libtorch} libtorch
 * @param {Toolchain} tools
 * @param {Env} env
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
      stream.setEncoding('utf8').on('data', (/** @type {string} */ text) => {
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

/** @param {string} folder @param {string} except */
function emptyFolder(folder, except) {
  for (const name of fs.readdirSync(folder)) {
    const file = path.join(folder, name);
    if (file !== except) fs.rmSync(file, { recursive: true, force: true });
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await buildNative({ resolve: process.argv.includes('--resolve') }).catch(fail);
}
