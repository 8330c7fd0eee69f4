/** Runs CMakeLists.txt through cmake-js, and shows of what that says what people want to see. */
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import { buildFolder, isCheckout } from './paths.mjs';
import { SET_UP, SetupError } from './setup-error.mjs';

/** A compiler process of ours needs about so much memory, in bytes. */
const MEMORY_PER_JOB = 1.5e9;

/** What CMake, ninja and cmake-js say beside the compiler's own words. */
const CHATTER = /^-- |^Not searching for unused|^FAILED: |^: && | -isystem |^ERROR OMG|^ninja: |^gmake/;

/**
 * @typedef {import('./libtorch.mjs').Libtorch} Libtorch
 * @typedef {import('./log.mjs').Log} Log
 * @typedef {import('./toolchain.mjs').Toolchain} Toolchain
 * @typedef {Record<string, string | undefined>} Env
 */

/**
 * @param {string} root
 * @param {Libtorch} libtorch
 * @param {Toolchain} tools
 * @param {Env} env
 * @param {Log} log
 */
export async function runCmakeJs(root, libtorch, tools, env, log) {
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
export function emptyFolder(folder, except) {
  for (const name of fs.readdirSync(folder)) {
    const file = path.join(folder, name);
    if (file !== except) fs.rmSync(file, { recursive: true, force: true });
  }
}
