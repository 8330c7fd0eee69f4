/**
 * Which libtorch? The one answer, for the build, for the run time and for `cortorch doctor`:
 * LIBTORCH, then a Python's torch, then the cache (fetch-libtorch.mjs fills it).
 */
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { readIfThere } from './paths.mjs';
import { SetupError } from './setup-error.mjs';

/** The versions of libtorch that this project is built and tested against, ends included. */
export const SUPPORTED = { min: '2.11', max: '2.14' };
export const SUPPORTED_RANGE = `${SUPPORTED.min}–${SUPPORTED.max}`;

/** What is fetched where nothing is found. */
export const FETCHED_VERSION = '2.13.0+cpu';

/**
 * @typedef {object} Libtorch
 * @property {'LIBTORCH' | 'python' | 'cache'} source where it was found
 * @property {string} path the folder that holds lib/ and include/
 * @property {string} version such as 2.13.0+cpu
 * @property {string | null} cuda the CUDA version that it was made for, null for a CPU build
 * @property {string} libDir
 * @property {string[]} includeDirs
 * @property {string} cmakeDir
 *
 * @typedef {{ source: string, path?: string | undefined, outcome: string }} Attempt
 * @typedef {{ found: Libtorch | null, tried: Attempt[] }} Resolution
 * @typedef {Record<string, string | undefined>} Env
 */

/**
 * The user's cache, and not a folder of the package: it outlives `npm rebuild` and a removed node_modules,
 * serves every project of the user, and needs no root.
 * @param {Env} [env]
 */
export function cacheRoot(env = process.env) {
  if (env.CORTORCH_CACHE) return path.resolve(env.CORTORCH_CACHE);
  return path.join(env.XDG_CACHE_HOME || path.join(os.homedir(), '.cache'), 'cortorch');
}

/**
 * Looks for a libtorch, and says what was tried on the way.
 * @param {{ env?: Env, cacheDir?: string, pythons?: string[] | undefined }} [options]
 * @returns {Resolution}
 * @throws {SetupError} if LIBTORCH is set to something that cannot be used: a wish is not skipped in silence
 */
export function resolveLibtorch({
  env = process.env,
  cacheDir = cacheRoot(env),
  pythons = ['python3', 'python'],
} = {}) {
  /** @type {Attempt[]} */
  const tried = [];

  if (env.LIBTORCH) {
    const seen = inspectLibtorch(env.LIBTORCH);
    if ('problem' in seen) throw badLibtorchVariable(env.LIBTORCH, seen);
    tried.push({ source: 'LIBTORCH', path: seen.path, outcome: `libtorch ${seen.version}` });
    return { found: { source: 'LIBTORCH', ...seen }, tried };
  }
  tried.push({ source: 'LIBTORCH', outcome: 'not set' });

  for (const python of pythons) {
    const { folder, outcome } = torchOfPython(python, env);
    if (!folder) {
      tried.push({ source: python, outcome });
      continue;
    }
    const seen = inspectLibtorch(folder);
    if (!('problem' in seen)) {
      tried.push({ source: python, path: folder, outcome: `torch ${seen.version}` });
      return { found: { source: 'python', ...seen }, tried };
    }
    tried.push({ source: python, path: folder, outcome: seen.problem });
  }

  const cached = treeIn(path.join(cacheDir, `libtorch-${FETCHED_VERSION}`));
  const seen = inspectLibtorch(cached);
  if (!('problem' in seen)) {
    tried.push({ source: 'cache', path: cached, outcome: `libtorch ${seen.version}` });
    return { found: { source: 'cache', ...seen }, tried };
  }
  tried.push({ source: 'cache', path: cached, outcome: seen.problem });
  return { found: null, tried };
}

/**
 * Is this folder a libtorch that can be built against and loaded?
 * @param {string} folder
 * @returns {Omit<Libtorch, 'source'> | { problem: string, code: string, version?: string }}
 */
export function inspectLibtorch(folder) {
  const at = path.resolve(folder);
  const code = 'ERR_LIBTORCH_INVALID';
  if (!fs.existsSync(at)) return { problem: 'does not exist', code };

  const libDir = path.join(at, 'lib');
  for (const name of ['libtorch.so', 'libtorch_cpu.so', 'libc10.so']) {
    if (!fs.existsSync(path.join(libDir, name))) return { problem: `holds no lib/${name}`, code };
  }
  const processor = elfMachine(path.join(libDir, 'libc10.so'));
  if (processor !== 'x86-64') {
    return { problem: `lib/libc10.so is not a library for Linux on x86-64 (${processor})`, code };
  }

  const { version, cuda } = readVersion(at);
  if (!version) return { problem: 'says nowhere which version it is', code };
  if (!isSupported(version)) {
    return {
      problem: `is libtorch ${version}, outside the supported ${SUPPORTED_RANGE}`,
      code: 'ERR_LIBTORCH_VERSION',
      version,
    };
  }

  const includeDirs = ['include', 'include/torch/csrc/api/include'].map((name) => path.join(at, name));
  if (!fs.existsSync(path.join(at, 'include/ATen/ATen.h'))) {
    return { problem: 'holds no C++ headers (include/ATen/ATen.h)', code };
  }
  return { path: at, version, cuda, libDir, includeDirs, cmakeDir: path.join(at, 'share/cmake/Torch') };
}

/** @param {string} version */
export function isSupported(version) {
  const minor = (/** @type {string} */ text) => {
    const [, major, minor] = /^(\d+)\.(\d+)/.exec(text) ?? [];
    return Number(major) * 1000 + Number(minor);
  };
  return minor(version) >= minor(SUPPORTED.min) && minor(version) <= minor(SUPPORTED.max);
}

/**
 * Reads the version from text files, since importing torch takes seconds.
 * @param {string} folder
 * @returns {{ version: string | null, cuda: string | null }}
 */
function readVersion(folder) {
  const python = readIfThere(path.join(folder, 'version.py'));
  const version =
    /^__version__\s*=\s*'([^']+)'/m.exec(python)?.[1] ?? readIfThere(path.join(folder, 'build-version')).trim();
  const stated = /^cuda\b[^=\n]*=\s*'([^']+)'/m.exec(python)?.[1];
  if (stated || !version) return { version: version || null, cuda: stated ?? null };

  // An unpacked libtorch says it in the local part of its version: 2.13.0+cu126 is for CUDA 12.6.
  const suffix = /\+cu(\d+)(\d)$/.exec(version);
  if (suffix) return { version, cuda: `${suffix[1]}.${suffix[2]}` };
  const hasCuda = fs.existsSync(path.join(folder, 'lib/libtorch_cuda.so'));
  return { version, cuda: hasCuda ? 'unknown' : null };
}

/** @param {string} file @returns {string} */
function elfMachine(file) {
  const head = Buffer.alloc(20);
  const fd = fs.openSync(file, 'r');
  try {
    fs.readSync(fd, head, 0, 20, 0);
  } finally {
    fs.closeSync(fd);
  }
  if (head.toString('latin1', 0, 4) !== '\x7fELF') return 'not an ELF file';
  const machine = head.readUInt16LE(18);
  return { 0x3e: 'x86-64', 0xb7: 'aarch64', 0x03: 'x86' }[machine] ?? `ELF machine ${machine}`;
}

/**
 * Where a Python would import torch from; the current folder does not count.
 * @param {string} python
 * @param {Env} env
 * @returns {{ folder: string | null, outcome: string }}
 */
function torchOfPython(python, env) {
  const program = [
    'import importlib.util, sys',
    'sys.path = [p for p in sys.path if p]',
    "spec = importlib.util.find_spec('torch')",
    "print(sys.executable); print((spec and spec.submodule_search_locations or [''])[0])",
  ].join('\n');
  try {
    const output = execFileSync(python, ['-c', program], {
      env,
      encoding: 'utf8',
      timeout: 30_000,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const [executable, folder] = output.trimEnd().split('\n');
    return folder ? { folder, outcome: 'found' } : { folder: null, outcome: `${executable} has no torch` };
  } catch (error) {
    return { folder: null, outcome: failureOf(error) };
  }
}

/** @param {unknown} error @returns {string} the shortest true account of a program that failed */
export function failureOf(error) {
  const { code, stderr, message } = /** @type {NodeJS.ErrnoException & { stderr?: string }} */ (error);
  if (code === 'ENOENT') return 'not installed';
  const lines = (stderr || message).trim().split('\n');
  return /** @type {string} */ (lines.at(-1)).slice(0, 300);
}

/**
 * @param {string} value
 * @param {{ problem: string, code: string }} seen
 */
function badLibtorchVariable(value, { problem, code }) {
  return new SetupError(
    code,
    `LIBTORCH is set to ${value}, which ${problem.replace(/^lib\//, 'cannot be used: lib/')}.`,
    {
      needed:
        `libtorch ${SUPPORTED_RANGE} for Linux x64: an unpacked libtorch archive, or the torch folder of a ` +
        'Python package (it holds lib/ and include/)',
      remedies: [
        'export LIBTORCH=/path/to/libtorch   # the right folder, then: npx cortorch setup',
        'unset LIBTORCH; npx cortorch setup  # use a Python torch, or fetch libtorch',
      ],
    },
  );
}

/** @param {string} folder unpacked: a wheel has its libtorch in torch/, the official archive in libtorch/ */
export function treeIn(folder) {
  const archive = path.join(folder, 'libtorch');
  return fs.existsSync(archive) ? archive : path.join(folder, 'torch');
}
