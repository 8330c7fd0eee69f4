/** The tools on this machine: what a build needs, found or refused in one message. */
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { compareVersions } from './platform.mjs';
import { SetupError } from './setup-error.mjs';

const CMAKE = '3.18';

/** C++20, a linker, OpenMP and GCC's vector extensions: what the sources use, and what others lack. */
const PROBE = `
#include <concepts>
#include <span>
#include <omp.h>
static_assert(__cplusplus >= 202002L);
typedef float Vector __attribute__((vector_size(32)));
typedef int Index __attribute__((vector_size(32)));
__attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default"))) void swap(Vector* a) {
  *a = __builtin_shuffle(*a, Index{1, 0, 3, 2, 5, 4, 7, 6});
}
int main() {
  Vector a{};
  swap(&a);
  return omp_get_max_threads() < 1;
}
`;

/**
 * @typedef {{ path: string, version: string }} Tool
 * @typedef {{ compiler: Tool, cmake: Tool, generator: 'Ninja' | 'Unix Makefiles', buildTool: Tool }} Toolchain
 *
 * @param {Record<string, string | undefined>} [env]
 * @param {string | null} [whyCompile] why the files that came with the package are of no use, for the error
 * @returns {Toolchain}
 */
export function findToolchain(env = process.env, whyCompile = null) {
  const cmake = findCmake(env, whyCompile);
  const ninja = findTool('ninja', env);
  const make = findTool('make', env);
  const buildTool = ninja ?? make;
  if (!buildTool) throw cmakeMissing('neither ninja nor make is on PATH', whyCompile);
  return { compiler: findCompiler(env, whyCompile), cmake, generator: ninja ? 'Ninja' : 'Unix Makefiles', buildTool };
}

/** @param {string | null} whyCompile @returns {import('./libtorch.mjs').Attempt[]} */
const triedPrebuilt = (whyCompile) => (whyCompile ? [{ source: 'the prebuilt native part', outcome: whyCompile }] : []);

/** What a compiler is wanted for, and what helps where there is none. */
const WANTED = {
  build: {
    summary: 'There is no C++ compiler that can build cortorch.',
    remedies: [
      'apt-get install g++ cmake ninja-build     # Debian 12, Ubuntu 24.04 (22.04: g++-12); then: npx cortorch setup',
      'dnf install gcc-c++ cmake ninja-build     # Fedora, RHEL; then: npx cortorch setup',
    ],
  },
  rule: {
    summary: "There is no C++ compiler that can compile a learning rule's own file.",
    remedies: [
      'apt-get install g++     # Debian 12, Ubuntu 24.04 (22.04: g++-12)',
      'dnf install gcc-c++     # Fedora, RHEL',
      'CXX=/path/to/g++        # where it is not on PATH',
    ],
  },
};

/**
 * @param {Record<string, string | undefined>} [env]
 * @param {string | null} [whyCompile]
 * @param {keyof typeof WANTED} [what]
 * @returns {Tool}
 */
export function findCompiler(env = process.env, whyCompile = null, what = 'build') {
  const tried = triedPrebuilt(whyCompile);
  for (const name of env.CXX ? [env.CXX] : ['g++', 'g++-14', 'g++-13', 'g++-12']) {
    const tool = findTool(name, env);
    const problem = tool ? compilerProblem(tool, env) : 'not installed';
    if (tool && !problem) return tool;
    tried.push({
      source: env.CXX ? `CXX=${name}` : name,
      path: tool?.path,
      outcome: /** @type {string} */ (problem),
    });
  }
  const { summary, remedies } = WANTED[what];
  throw new SetupError('ERR_COMPILER_NOT_FOUND', summary, {
    tried,
    needed: 'g++ 12 or newer: C++20, OpenMP, and code for several processors in one function (not clang++)',
    remedies,
  });
}

/** @param {Tool} compiler @param {Record<string, string | undefined>} env @returns {string | null} */
function compilerProblem(compiler, env) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'cortorch-probe-'));
  try {
    const args = ['-std=c++20', '-fopenmp', '-x', 'c++', '-', '-o', path.join(folder, 'probe')];
    const { status, stderr } = spawnSync(compiler.path, args, { env, input: PROBE, encoding: 'utf8' });
    if (status === 0) return null;
    const error = stderr.split('\n').find((line) => /error|cannot/.test(line)) ?? `exit code ${status}`;
    return `version ${compiler.version} does not build a small C++20 program with OpenMP: ${error.trim()}`;
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
}

/** @param {Record<string, string | undefined>} env @param {string | null} whyCompile @returns {Tool} */
function findCmake(env, whyCompile) {
  const cmake = findTool('cmake', env);
  if (!cmake) throw cmakeMissing('cmake is not on PATH', whyCompile);
  if (compareVersions(cmake.version, CMAKE) < 0) {
    throw cmakeMissing(`${cmake.path} is version ${cmake.version}`, whyCompile);
  }
  return cmake;
}

/** @param {string} found @param {string | null} whyCompile */
function cmakeMissing(found, whyCompile) {
  return new SetupError('ERR_CMAKE_NOT_FOUND', 'CMake is needed to build cortorch.', {
    tried: triedPrebuilt(whyCompile),
    found,
    needed: `cmake ${CMAKE} or newer, and ninja or make`,
    remedies: [
      'apt-get install cmake ninja-build     # Debian, Ubuntu; then: npx cortorch setup',
      'python3 -m pip install cmake ninja    # without root; then: npx cortorch setup',
    ],
  });
}

/**
 * @param {string} name a program on PATH, or a path
 * @param {Record<string, string | undefined>} env
 * @returns {Tool | null}
 */
export function findTool(name, env = process.env) {
  const folders = name.includes('/') ? [''] : (env.PATH ?? '').split(':').filter(Boolean);
  const file = folders.map((folder) => path.resolve(folder, name)).find(isExecutable);
  if (!file) return null;
  const { stdout } = spawnSync(file, ['--version'], { env, encoding: 'utf8' });
  const said = /** @type {string | null} */ (stdout); // null if it could not be started
  const [version] = /\d+\.\d+(\.\d+)?/.exec(stripDistribution(said ?? '')) ?? ['unknown'];
  return { path: file, version };
}

/** `g++ (Debian 12.2.0-14) 12.2.0`: what stands in brackets is the distribution's number. @param {string} text */
function stripDistribution(text) {
  return text.replace(/\([^)]*\)/g, '');
}

/**
 * CUDA's compiler, where CMakeLists.txt looks for it as well.
 * @param {Record<string, string | undefined>} [env]
 */
export function findNvcc(env = process.env) {
  const home = env.CUDA_HOME ?? env.CUDA_PATH ?? '/usr/local/cuda';
  const beside = path.join(home, 'bin/nvcc');
  return findTool('nvcc', env) ?? (fs.existsSync(beside) ? findTool(beside, env) : null);
}

/** @param {string} file */
function isExecutable(file) {
  try {
    fs.accessSync(file, fs.constants.X_OK);
    return fs.statSync(file).isFile();
  } catch {
    return false;
  }
}
