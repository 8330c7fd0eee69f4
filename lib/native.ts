/**
 * Loads the addon, once, on first use: importing the package must not fail where the addon is missing, so that
 * `cortorch doctor` can say what to do. The interfaces below are the addon's whole surface.
 */

import { checkBuild, loadAddon } from '../scripts/load.mjs';
import { CortorchError, type CortorchErrorCode } from './errors.js';
import { memoryLimit } from './memory.js';
import type { StepSettings } from './rules/rule.js';

/** A native tensor; only functions of {@link NativeTensorFunctions} can do something with it. */
export interface TensorHandle {
  readonly tensorHandle: unique symbol;
}

export type NativeTypedArray = Float32Array | Float64Array | Uint8Array | Int32Array | BigInt64Array;

type Optional = TensorHandle | undefined;
/** [height, width] */
type Pair = readonly [number, number];

/** The linear map of a layer, whose sizes are those of its weights. */
export interface NativeMap {
  readonly type: 'dense' | 'locally-connected2d' | 'conv2d';
  readonly stride: Pair;
  readonly padding: Pair;
  readonly dilation: Pair;
}

/** g(h) = σ(Vᵀh + c) of a layer. */
export interface NativeInverse {
  readonly weight: TensorHandle;
  readonly bias: Optional;
  readonly activation: string;
}

/** Of the locally connected map and of the convolution. */
type NativeApply = (
  x: TensorHandle,
  weight: TensorHandle,
  bias: Optional,
  stride: Pair,
  padding: Pair,
  dilation: Pair,
) => TensorHandle;
type NativeAdjoint = (
  v: TensorHandle,
  y: TensorHandle,
  inputSize: Pair,
  stride: Pair,
  padding: Pair,
  dilation: Pair,
) => TensorHandle;
type NativeOuter = (
  x: TensorHandle,
  delta: TensorHandle,
  kernel: Pair,
  stride: Pair,
  padding: Pair,
  dilation: Pair,
) => TensorHandle;
type NativePool = (x: TensorHandle, kernel: Pair, stride: Pair, padding: Pair) => TensorHandle;

export interface NativeTensorFunctions {
  dispose(tensor: TensorHandle): void;
  live(): number;
  externalMemory(): number;
  shape(tensor: TensorHandle): number[];
  dtype(tensor: TensorHandle): string;
  device(tensor: TensorHandle): string;
  data(tensor: TensorHandle): NativeTypedArray;
  requiresGrad(tensor: TensorHandle): boolean;
  setRequiresGrad(tensor: TensorHandle, value: boolean): void;
  grad(tensor: TensorHandle): TensorHandle | null;
  clearGrad(tensor: TensorHandle): void;
  backward(tensor: TensorHandle, gradient: Optional, createGraph: boolean): void;
  add(a: TensorHandle, b: TensorHandle | number): TensorHandle;
  sub(a: TensorHandle, b: TensorHandle | number): TensorHandle;
  mul(a: TensorHandle, b: TensorHandle | number): TensorHandle;
  div(a: TensorHandle, b: TensorHandle | number): TensorHandle;
  matmul(a: TensorHandle, b: TensorHandle): TensorHandle;
  neg(a: TensorHandle): TensorHandle;
  exp(a: TensorHandle): TensorHandle;
  log(a: TensorHandle): TensorHandle;
  activate(a: TensorHandle, activation: string): TensorHandle;
  softmax(a: TensorHandle, dim: number): TensorHandle;
  sum(a: TensorHandle, dim?: number): TensorHandle;
  mean(a: TensorHandle, dim?: number): TensorHandle;
  argmax(a: TensorHandle, dim?: number): TensorHandle;
  reshape(a: TensorHandle, shape: readonly number[]): TensorHandle;
  transpose(a: TensorHandle, dim0: number, dim1: number): TensorHandle;
  detach(a: TensorHandle): TensorHandle;
  to(a: TensorHandle, dtype: string): TensorHandle;
  toDevice(a: TensorHandle, device: string): TensorHandle;
  dense(x: TensorHandle, weight: TensorHandle, bias: Optional): TensorHandle;
  denseAdjoint(v: TensorHandle, y: TensorHandle): TensorHandle;
  denseOuter(x: TensorHandle, delta: TensorHandle): TensorHandle;
  readonly locallyConnected2d: NativeApply;
  readonly locallyConnected2dAdjoint: NativeAdjoint;
  readonly locallyConnected2dOuter: NativeOuter;
  readonly conv2d: NativeApply;
  readonly conv2dAdjoint: NativeAdjoint;
  readonly conv2dOuter: NativeOuter;
  readonly maxPool2d: NativePool;
  readonly avgPool2d: NativePool;
  layer(
    x: TensorHandle,
    weight: TensorHandle,
    bias: Optional,
    feedback: Optional,
    activation: string,
    rule: string,
    map: NativeMap,
    scale: number,
  ): TensorHandle;
  dfaHiddenLayer(
    x: TensorHandle,
    weight: TensorHandle,
    bias: Optional,
    feedback: TensorHandle,
    activation: string,
    map: NativeMap,
  ): [TensorHandle, TensorHandle];
  dfaOutputLayer(
    x: TensorHandle,
    weight: TensorHandle,
    bias: Optional,
    activation: string,
    ports: readonly TensorHandle[],
    map: NativeMap,
  ): TensorHandle;
  targetLayer(
    x: TensorHandle,
    weight: TensorHandle,
    bias: Optional,
    activation: string,
    map: NativeMap,
    settings: {
      readonly rule: string;
      readonly lossReduction: string;
      readonly inverse: NativeInverse | 'transposed-jacobian' | null;
    },
  ): TensorHandle;
  targetOutputLayer(
    x: TensorHandle,
    weight: TensorHandle,
    bias: Optional,
    activation: string,
    map: NativeMap,
    settings: {
      readonly rule: string;
      readonly loss: string;
      readonly targetStep: number;
      readonly targetStepLoss: string;
      readonly inverse: NativeInverse | null;
      readonly auxiliary: { readonly weight: TensorHandle; readonly bias: Optional } | null;
    },
  ): TensorHandle;
  softmaxCrossEntropy(logits: TensorHandle, labels: TensorHandle, deliver: string): TensorHandle;
  squaredError(outputs: TensorHandle, targets: TensorHandle, deliver: string): TensorHandle;
}

/** Sums over examples. */
export interface NativeCounts {
  loss: number;
  error: number;
  error5: number;
  /** Of the learned inverses. */
  inverse: number;
  examples: number;
}

/** What steps add up to; steps, what is not finite and seconds are of one call. */
export interface NativePass extends NativeCounts {
  steps: number;
  notFinite: boolean;
  inverseNotFinite: boolean;
  seconds: number;
}

export interface NativeNormalization {
  readonly mean: readonly number[];
  readonly std: readonly number[];
}

export interface NativeAugmentation {
  readonly cropPadding: number;
  readonly cropBorder: 'reflect' | 'black';
  readonly flipHorizontal: boolean;
  readonly flipVertical: boolean;
}

export interface DatasetHandle {
  subset(indices: BigInt64Array): DatasetHandle;
  batch(
    indices: BigInt64Array,
    normalization: NativeNormalization | null,
    augmentation: NativeAugmentation,
    seed: number,
    epoch: number,
  ): Float32Array;
  dispose(): void;
}

/** A batch of the caller's own. */
export interface NativeBatch {
  readonly images: Uint8Array | Float32Array;
  /** [n, channels, height, width] or [n, features] */
  readonly shape: readonly number[];
  /** The values of a pixel lie together. */
  readonly channelsLast: boolean;
  readonly targets: BigInt64Array | Float32Array;
  /** Values of a target; 0: labels */
  readonly outputs: number;
}

export interface NetworkHandle {
  parameters(): { name: string; shape: number[]; role: 'forward' | 'learned' | 'fixed' }[];
  threads(): number;
  read(): Promise<Float32Array[]>;
  write(values: readonly Float32Array[]): Promise<void>;
  predict(
    images: Uint8Array | Float32Array,
    shape: readonly number[],
    normalization: NativeNormalization | null,
  ): Promise<Float32Array>;
  evaluate(
    dataset: DatasetHandle,
    loss: string,
    normalization: NativeNormalization | null,
    batchSize: number,
    job: number,
  ): Promise<NativeCounts>;
  evaluateBatch(batch: NativeBatch, loss: string, normalization: NativeNormalization | null): Promise<NativeCounts>;
  /** Ends a job early, between two steps; jobs have numbers of the caller's own. */
  stop(job: number): void;
  settled(job: number): void;
  dispose(): void;
}

export interface NativeOptimizerState {
  steps: number;
  parameters: Record<string, Float32Array>[];
}

export interface NativeOptimizerStates {
  optimizer: NativeOptimizerState;
  /** null: there are no inverses */
  inverseOptimizer: NativeOptimizerState | null;
}

/** `epoch` and `step` are counted over the whole of training, `firstStep` within the epoch. */
export interface NativePosition {
  readonly seed: number;
  readonly epoch: number;
  readonly firstStep: number;
  readonly step: number;
  readonly phase: 'forward' | 'inverse' | 'both';
}

/**
 * How a rule's step differs from backpropagation's on the same batch, at one layer with weights. Angles in degrees, of
 * all weights or all values of the batch as one vector; what the rule or the layer does not have is left out.
 */
export interface LayerDiagnosis {
  /** Prefix of its parameters' names. */
  readonly name: string;
  /** Between the gradients of the weights under the rule and under bp. */
  readonly gradientAngle?: number;
  /** Between the weights and those that the error goes down by: B of fa, those with W's signs of sign-symmetry. */
  readonly feedbackAngle?: number;
  /** ‖what the error goes down by‖ / ‖W‖ */
  readonly feedbackNormRatio?: number;
  /** Target propagation: between h − ĥ and bp's gradient ∂L/∂h of the layer's activity h; 0 is steepest descent. */
  readonly targetAngle?: number;
  /** Target propagation: ‖h − g(f(h))‖² / ‖h‖² of the layer's inverse g, h the layer's input; without noise. */
  readonly reconstructionError?: number;
}

/** What a trainer sets for the network's rule. */
export interface NativeRuleTraining {
  readonly options: StepSettings;
  /** Of what the rule learns beside the task; null: nothing. */
  readonly optimizer: object | null;
}

export interface TrainerHandle {
  run(
    dataset: DatasetHandle,
    position: NativePosition & { batchSize: number },
    lrFactors: Float64Array,
    sums: NativeCounts,
    job: number,
  ): Promise<NativePass>;
  /**
   * Gives a step to the network's thread; on a GPU nobody waits for it. After a loss that was not finite none is made.
   */
  launch(batch: NativeBatch, lrFactor: number, position: NativePosition): Promise<void>;
  /** Of the steps that were launched since the last time; waits for them. */
  collect(): Promise<NativePass>;
  graphFailure(): Promise<string | null>;
  diagnose(
    dataset: DatasetHandle,
    position: NativePosition & { batchSize: number },
  ): Promise<readonly LayerDiagnosis[]>;
  diagnoseBatch(batch: NativeBatch, position: NativePosition): Promise<readonly LayerDiagnosis[]>;
  read(): Promise<NativeOptimizerStates>;
  write(states: NativeOptimizerStates): Promise<void>;
}

/** What a rule's compiled file declares. */
export interface NativeRuleDeclaration {
  readonly name: string;
  /** In which phases it learns something beside the task. */
  readonly learns: Readonly<Record<'forward' | 'inverse' | 'both', boolean>>;
  /** A word of `words`, or a number. */
  readonly options: readonly {
    readonly name: string;
    readonly help: string;
    readonly default: number | string;
    readonly words?: readonly string[];
    readonly whole: boolean;
    readonly least: number;
    readonly most: number;
  }[];
}

export interface NativeGpu {
  readonly index: number;
  readonly name: string;
  /** Such as `9.0`. */
  readonly capability: string;
  /** Bytes. */
  readonly memory: number;
  readonly free: number;
  /** The kernels of this build run on it. */
  readonly supported: boolean;
}

export interface NativeGpus {
  /** This build has CUDA kernels. */
  readonly built: boolean;
  /** The newest CUDA that it can run, such as `13.0`; null: none is loaded. */
  readonly driver: string | null;
  /** The CUDA of this build; null: none. */
  readonly runtime: string | null;
  /** CUDA's own words why there is no device; null: there is one. */
  readonly problem: string | null;
  readonly devices: readonly NativeGpu[];
}

/** Where a network computes. */
export interface NativePlace {
  /** `cpu` or `cuda:0`, with its number. */
  readonly device: string;
  readonly precision: 'fp32' | 'tf32' | 'bf16';
  readonly deterministic: boolean;
}

export interface Native {
  readonly tensor: NativeTensorFunctions;
  readonly TensorHandle: new (data: NativeTypedArray, shape: readonly number[]) => TensorHandle;
  readonly DatasetHandle: new (
    images: Uint8Array | Float32Array,
    shape: readonly number[],
    targets: BigInt64Array | Float32Array,
    outputs: number,
    classes: number,
  ) => DatasetHandle;
  readonly NetworkHandle: new (spec: object, seed: number, threads: number, place: NativePlace) => NetworkHandle;
  readonly TrainerHandle: new (
    network: NetworkHandle,
    loss: string,
    optimizer: object,
    normalization: NativeNormalization | null,
    rule: NativeRuleTraining,
    augmentation: NativeAugmentation,
  ) => TrainerHandle;
  /** Standard normal numbers: those that a layer's inverse is trained with at a step. */
  noise(seed: number, layer: number, step: number, count: number): Float32Array;
  /** Starts CUDA's driver: to be asked only where a GPU is wanted. */
  /** `closely`: the device of which the free memory is asked for, and on which kernels are tried; −1: all, −2: none. */
  gpus(closely: number): NativeGpus;
  /** Opens the compiled file of a rule that was built for this build; its rule is then known by its name. */
  loadRule(path: string, build: string): NativeRuleDeclaration;
  /** How much memory may be kept unused, in bytes. */
  limitPool(bytes: number): void;
  info(): { libtorch: string; cuda: boolean; threads: number; cpu: string };
  shutdown(): void;
}

let addon: Native | undefined;

/**
 * The addon.
 *
 * @throws CortorchError that says what is missing and names `npx cortorch setup`
 */
export function native(): Native {
  if (addon === undefined) {
    try {
      checkBuild();
      addon = loadAddon() as Native;
      // A container may have less memory than the machine, which is all that the addon sees.
      addon.limitPool(Math.floor(memoryLimit() / 4));
    } catch (error) {
      throw translate(error);
    }
    // process.exit() skips the environment's cleanup hooks in Node 20, and a running thread would then abort
    // the process: so the threads are joined here too.
    process.once('exit', () => addon?.shutdown());
  }
  return addon;
}

/** An error of the addon or of the set-up scripts as a CortorchError with a JavaScript stack. */
export function translate(error: unknown): unknown {
  if (error instanceof CortorchError || !(error instanceof Error)) return error;
  const code = 'code' in error && String(error.code).startsWith('ERR_') ? error.code : 'ERR_NATIVE';
  return new CortorchError(code as CortorchErrorCode, error.message, { cause: error });
}

/** Calls into the addon with {@link translate}d errors. */
export function call<T>(body: (addon: Native) => T): T {
  try {
    return body(native());
  } catch (error) {
    throw translate(error);
  }
}

/** The same for a promise of the addon; the stack is the caller's, not the event loop's. */
export async function callAsync<T>(body: (addon: Native) => Promise<T>): Promise<T> {
  try {
    return await body(native());
  } catch (error) {
    throw translate(error);
  }
}
