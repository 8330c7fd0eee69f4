/** What this machine has, as data: `cortorch doctor` prints it. Nothing here throws for something missing. */
import { buildFolder, checkBuild, packageRoot, readRecord } from './build.mjs';
import { cacheRoot, resolveLibtorch, SUPPORTED } from './libtorch.mjs';
import { SetupError } from './setup-error.mjs';
import { checkPlatform, findNvcc, findTool, findToolchain, thisPlatform } from './toolchain.mjs';

/**
 * @typedef {{ code: string, message: string }} Problem
 *
 * @param {{ root?: string, env?: Record<string, string | undefined> }} [options]
 */
export function describeSetup({ root = packageRoot, env = process.env } = {}) {
  const platform = attempt(() => checkPlatform());
  const toolchain = attempt(() => findToolchain(env));
  const libtorch = attempt(() => resolveLibtorch({ env }));
  const build = attempt(() => checkBuild({ root }));
  const found = libtorch.value?.found ?? null;
  const built = readRecord(root);
  const nvcc = findNvcc(env);
  return {
    node: process.version,
    ...thisPlatform(),
    compiler: toolchain.value?.compiler ?? null,
    cmake: toolchain.value?.cmake ?? findTool('cmake', env),
    buildTool: toolchain.value?.buildTool ?? null,
    nvcc,
    cacheFolder: cacheRoot(env),
    /** What a build of now would use, and what was tried to find it. */
    libtorch: { supported: SUPPORTED, found, tried: libtorch.value?.tried ?? [] },
    /** What the addon was built on, whether or not it can be loaded now. */
    built: built && { ...built, addon: buildFolder(root).addon, usable: build.problem === null },
    cuda: describeCuda(built, (built ?? found)?.cuda ?? null, nvcc !== null),
    problems: [platform, toolchain, libtorch, build].flatMap(({ problem }) => problem ?? []),
  };
}

/**
 * Which variant is built, or would be, and why.
 * @param {import('./build.mjs').BuildRecord | null} built
 * @param {string | null} cuda of the libtorch
 * @param {boolean} nvcc
 */
function describeCuda(built, cuda, nvcc) {
  if (!cuda) return { built: false, reason: 'libtorch is a CPU build' };
  if (built?.cudaKernels) return { built: built.cudaKernels.startsWith('built'), reason: built.cudaKernels };
  const reason = nvcc ? 'nothing is built yet' : 'there is no nvcc: the CPU variant is built on it';
  return { built: false, reason: `libtorch is for CUDA ${cuda}, but ${reason}` };
}

/**
 * @template T
 * @param {() => T} work
 * @returns {{ value: T | null, problem: Problem | null }}
 */
function attempt(work) {
  try {
    return { value: work(), problem: null };
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    return { value: null, problem: { code: error.code, message: error.message } };
  }
}
