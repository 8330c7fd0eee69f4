/** Loads the addon, or says what helps. Nothing that builds or downloads is needed for it. */
import fs from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import { inspectLibtorch } from './libtorch.mjs';
import { buildFolder, packageRoot, readIfThere } from './paths.mjs';
import { checkPlatform } from './platform.mjs';
import { filesOf, readRecord } from './record.mjs';
import { SET_UP, SetupError } from './setup-error.mjs';

/** @typedef {import('./record.mjs').BuildRecord} BuildRecord */

/** libtorch's, in the order in which they need each other; of OpenMP's runtimes the one that it brings. */
const LIBRARIES = [/^libgomp.*\.so/, /^libiomp5\.so$/, 'libc10.so', 'libtorch_cpu.so', 'libc10_cuda.so'].concat(
  'libtorch_cuda.so',
  'libtorch.so',
);

/** @param {BuildRecord} record @returns {string | null} what is wrong with the libtorch that was built on */
export function movedLibtorch({ path: at, version }) {
  const seen = inspectLibtorch(at);
  if (seen.version && seen.version !== version) return `now holds libtorch ${seen.version}`;
  return 'problem' in seen ? seen.problem : null;
}

/**
 * Can the addon be loaded? Asked at run time, before loading it, since the loader's own error names no remedy.
 * @param {{ root?: string }} [options]
 * @returns {{ addon: string, library: string, opener: string, libtorch: BuildRecord }}
 */
export function checkBuild({ root = packageRoot } = {}) {
  const { record: file, failure } = buildFolder(root);
  const record = readRecord(root);
  const files = record && filesOf(record, root);
  if (!record || !files || !fs.existsSync(files.addon)) {
    checkPlatform();
    const failed = readIfThere(failure).trim();
    throw new SetupError('ERR_NATIVE_NOT_BUILT', "cortorch's native part is not built.", {
      found: failed ? `when it was installed: ${failed}` : `no ${files?.addon ?? file}`,
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
  return { ...files, libtorch: record };
}

/**
 * Loads the addon, or says what helps.
 * @param {{ root?: string }} [options]
 * @returns {any} what cortorch.node exports
 */
export function loadAddon({ root = packageRoot } = {}) {
  const { libtorch, ...files } = checkBuild({ root });
  try {
    return open(files, libtorch.path);
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

/**
 * Opens libtorch's libraries by their paths, then the addon. Ours name them without a folder, and get these, wherever
 * LD_LIBRARY_PATH points.
 * @param {{ addon: string, opener: string }} files
 * @param {string} libtorch
 * @returns {any} what cortorch.node exports
 */
export function open({ addon, opener }, libtorch) {
  const lib = path.join(libtorch, 'lib');
  const there = fs.readdirSync(lib);
  /** @type {{ open(path: string): void }} */
  const opened = createRequire(import.meta.url)(opener);
  for (const wanted of LIBRARIES) {
    const name = there.find((name) => (typeof wanted === 'string' ? name === wanted : wanted.test(name)));
    if (name) opened.open(path.join(lib, name));
  }
  const module = { exports: {} };
  // RTLD_NOW: a function that is missing is found here, and not when it is called.
  process.dlopen(module, addon, os.constants.dlopen.RTLD_NOW);
  return module.exports;
}
