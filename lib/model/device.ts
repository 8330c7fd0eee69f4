/** Where a network computes, and in which numbers: the CPU, or one of the GPUs that are there. */

import { checkBuild } from '../../scripts/load.mjs';
import type { BuildRecord } from '../../scripts/record.mjs';
import { whyNoKernels } from '../../scripts/cuda.mjs';
import { CortorchError, invalid, isBoolean, isOneOf, isString } from '../errors.js';
import { availableMemory, formatBytes } from '../memory.js';
import { call, type NativeGpu, type NativeGpus } from '../native.js';

/**
 * `fp32`: float32 throughout. `tf32`: its products with 10 bits of mantissa, on tensor cores. `bf16`: activations,
 * errors, gradients and feedback in bfloat16, products of them summed in float32, and float32 master weights. The last
 * two are a GPU's.
 */
export type Precision = 'fp32' | 'tf32' | 'bf16';
export const precisionNames: readonly Precision[] = ['fp32', 'tf32', 'bf16'];

export interface PlaceOptions {
  /** `cpu` (default), `cuda` (the first GPU) or `cuda:i`. */
  readonly device?: string | undefined;
  /** Default `fp32`. */
  readonly precision?: Precision | undefined;
  /** On a GPU: only operations that give the same bits each time. On the CPU all do. Default false. */
  readonly deterministic?: boolean | undefined;
}

export interface Place {
  /** `cpu` or, with its number, `cuda:0`. */
  readonly device: string;
  readonly precision: Precision;
  readonly deterministic: boolean;
}

/** The GPUs, and what the native part was built on. */
export interface FoundGpus extends NativeGpus {
  readonly build: Pick<BuildRecord, 'version' | 'path' | 'cuda' | 'cudaKernels'>;
}

/** The oldest chips that the kernels run on: those of the A100. */
const OLDEST = '8.0';

/**
 * What there is; starts CUDA's driver. A GPU that is looked at closely, for what is free and whether kernels run on it,
 * has a context of this process from then on, which takes some of its memory.
 */
export type LookForGpus = (closely: GpuChoice) => FoundGpus;
/** A device, all, or none. */
export type GpuChoice = `cuda:${number}` | 'all' | 'none';

/** @throws CortorchError ERR_NATIVE_NOT_BUILT */
export const lookForGpus: LookForGpus = (closely) => {
  const index = closely === 'all' ? -1 : closely === 'none' ? -2 : Number(closely.slice('cuda:'.length));
  return { ...call((n) => n.gpus(index)), build: checkBuild().libtorch };
};

/** What `device` may be. */
export const isDevice = (value: unknown): value is string =>
  isString(value) && /^(cpu|cuda(:(0|[1-9]\d{0,2}))?)$/.test(value);

export const isGpu = (device: string): boolean => device !== 'cpu';

/**
 * Checks the settings by themselves, and fills in what is missing.
 *
 * @throws CortorchError ERR_INVALID_ARGUMENT; ERR_DEVICE_UNAVAILABLE for a GPU's precision on the CPU
 */
export function parsePlace({ device = 'cpu', precision = 'fp32', deterministic = false }: PlaceOptions): Place {
  if (!isDevice(device)) throw invalid('device', "'cpu', 'cuda' or 'cuda:i'", device);
  if (!isOneOf(precision, precisionNames))
    throw invalid('precision', precisionNames.map((name) => `'${name}'`).join(' or '), precision);
  if (!isBoolean(deterministic)) throw invalid('deterministic', 'true or false', deterministic);
  if (!isGpu(device) && precision !== 'fp32') {
    throw new CortorchError(
      'ERR_DEVICE_UNAVAILABLE',
      `precision ${precision} needs a GPU; use fp32 on the CPU, or device cuda`,
    );
  }
  return { device: device === 'cuda' ? 'cuda:0' : device, precision, deterministic };
}

/**
 * The same, and the GPU has to be there.
 *
 * @param look what there is; asked only if it is to be a GPU
 * @throws CortorchError ERR_INVALID_ARGUMENT, ERR_DEVICE_UNAVAILABLE, ERR_NATIVE_NOT_BUILT
 */
export function resolvePlace(
  options: PlaceOptions,
  look: LookForGpus = lookForGpus,
): { readonly place: Place; readonly gpu: NativeGpu | null } {
  const place = parsePlace(options);
  return {
    place,
    gpu: isGpu(place.device) ? chooseGpu(place.device, look(place.device as GpuChoice)) : null,
  };
}

/**
 * The GPU of that number.
 *
 * @param device such as `cuda:0`
 * @throws CortorchError ERR_DEVICE_UNAVAILABLE: why it cannot be used, and what helps
 */
export function chooseGpu(device: string, found: FoundGpus): NativeGpu {
  const unavailable = (why: string): CortorchError =>
    new CortorchError('ERR_DEVICE_UNAVAILABLE', `device ${device} is not available: ${why}`);
  const off = whyNoGpu(found);
  if (off !== null) throw unavailable(off);
  const { devices } = found;
  const gpu = devices.find(({ index }) => device === `cuda:${index}`);
  if (gpu === undefined) {
    const names = devices.map(({ index, name }) => `cuda:${index} (${name})`);
    throw unavailable(`there ${names.length === 1 ? 'is only' : 'are'} ${names.join(', ')}; use one of these`);
  }
  const unsupported = whyUnsupported(gpu, found);
  if (unsupported === null) return gpu;
  const others = devices.filter(({ supported }) => supported).map(({ index }) => `cuda:${index}`);
  throw unavailable(others.length === 0 ? unsupported : `${unsupported}; device ${others.join(' or ')} can be used`);
}

/** Why no GPU can be used at all, and what helps; null: there is one, of whatever kind. */
export function whyNoGpu({ built, driver, runtime, problem, devices, build }: FoundGpus): string | null {
  if (!built) {
    const why = whyNoKernels(build, build.cudaKernels);
    return why ?? 'the native part has no CUDA kernels; run npx cortorch setup';
  }
  if (problem === null && devices.length > 0) return null;
  const said = problem === null ? '' : ` (CUDA says: ${problem})`;
  if (driver === null) {
    return (
      `no NVIDIA driver is loaded${said}; install one until nvidia-smi shows the GPU (see docs/gpu.md), and start a ` +
      'container with --gpus all'
    );
  }
  if (runtime !== null && Number.parseFloat(driver) < Number.parseFloat(runtime)) {
    const [major] = driver.split('.');
    return (
      `the NVIDIA driver is for CUDA ${driver}, and this build for CUDA ${runtime}${said}; install a newer driver, or a ` +
      `libtorch for CUDA ${major} (see docs/gpu.md), then: npx cortorch setup`
    );
  }
  return (
    `the NVIDIA driver shows no GPU${said}; look at nvidia-smi and CUDA_VISIBLE_DEVICES, and start a container with ` +
    '--gpus all'
  );
}

/** Why this build does not run on a GPU, and what helps; null: it does. */
export function whyUnsupported(
  { index, name, capability, supported }: NativeGpu,
  { build }: Pick<FoundGpus, 'build'>,
): string | null {
  if (supported) return null;
  const chip = `cuda:${index} is a ${name} of compute capability ${capability}`;
  if (Number.parseFloat(capability) < Number.parseFloat(OLDEST)) {
    return `${chip}, and the kernels need ${OLDEST} (A100, RTX 30) or newer; use such a GPU, or device cpu`;
  }
  return (
    `${chip}, which the kernels and libtorch ${build.version} are not built for (kernels: ${build.cudaKernels}); use a ` +
    'libtorch for a newer CUDA (see docs/gpu.md), then: npx cortorch setup'
  );
}

/** A GPU in a few words. */
export const describeGpu = ({ name, capability, memory, free }: NativeGpu): string =>
  `${name}, compute capability ${capability}, ${formatBytes(memory)} (${formatBytes(free)} free)`;

/** Bytes that a device still has. @throws CortorchError ERR_DEVICE_UNAVAILABLE */
export const availableOn = (device: string, look: LookForGpus = lookForGpus): number =>
  isGpu(device) ? chooseGpu(device, look(device as GpuChoice)).free : availableMemory();
