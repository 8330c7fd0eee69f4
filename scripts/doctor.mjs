/** What this machine has, as data: `cortorch doctor` prints it. Nothing here throws for something missing. */
import { checkBuild } from './load.mjs';
import { packageRoot } from './paths.mjs';
import { filesOf, readRecord } from './record.mjs';
import { whyNoKernels } from './cuda.mjs';
import { cacheRoot, resolveLibtorch, SUPPORTED } from './libtorch.mjs';
import { prebuiltHere } from './prebuilt.mjs';
import { SetupError } from './setup-error.mjs';
import { checkPlatform, thisPlatform } from './platform.mjs';
import { findNvcc, findTool, findToolchain } from './toolchain.mjs';

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
  const prebuilt = prebuiltHere(root, env);
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
    /** Why what came with the package is not used; null: it is, or nothing came. */
    prebuiltUnused: built?.prebuilt ? null : prebuilt.why,
    /** What the addon was built on, whether or not it can be loaded now. */
    built: built && { ...built, addon: filesOf(built, root).addon, usable: build.problem === null },
    cuda: describeCuda(built, found, nvcc !== null),
    // What came with the package needs no compiler.
    problems: [platform, ...(built?.prebuilt || prebuilt.manifest ? [] : [toolchain]), libtorch, build].flatMap(
      ({ problem }) => problem ?? [],
    ),
  };
}

/**
 * Which variant is built, or would be, and why.
 * @param {import('./record.mjs').BuildRecord | null} built
 * @param {{ version: string, path: string, cuda: string | null } | null} found the libtorch of a build of now
 * @param {boolean} nvcc
 */
function describeCuda(built, found, nvcc) {
  const libtorch = built ?? found;
  if (!libtorch) return { built: false, reason: 'there is no libtorch yet; run npx cortorch setup' };
  const reason = whyNoKernels(libtorch, built?.cudaKernels ?? null, nvcc);
  return { built: reason === null, reason: reason ?? /** @type {string} */ (built?.cudaKernels) };
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
