/** A network with its parameters in native memory, and the thread that runs it. */

import {
  CortorchError,
  inRange,
  invalid,
  isCount,
  isInteger,
  isNumber,
  isPlainObject,
  throwIfAborted,
} from '../errors.js';
import { checkStream, type BatchStream } from '../data/batch-stream.js';
import { countExamples, Dataset } from '../data/dataset.js';
import { call, callAsync, type NativeCounts, type NetworkHandle } from '../native.js';
import { requireFits, resolveRuleOptions } from '../rules/ask.js';
import type { DfaFeedback } from '../rules/direct.js';
import type { FeedbackScale, LastLayer } from '../rules/gradient.js';
import { isLoaded, ruleOf, type RuleName, type RuleOptions } from '../rules/names.js';
import { inversesAmong, type InverseShapes, type OwnRule, type Rule, type RuleValues } from '../rules/rule.js';
import { BatchReader } from './batches.js';
import { evaluationBatch, requireMemoryForParameters } from './budget.js';
import { resolvePlace, type Precision } from './device.js';
import { describeMismatch, matchParameters, type MatchOptions, type MatchReport } from './match-parameters.js';
import { countOutputs, product } from './shapes.js';
import { parseNetworkSpec, type NetworkSpec, type ResolvedSpec } from './spec.js';

/** Per channel (one entry for vectors and grey images): (x − mean) / std, after bytes were divided by 255. */
export interface Normalization {
  readonly mean: readonly number[];
  readonly std: readonly number[];
}

export interface NetworkOptions extends RuleOptions {
  /** Default `bp`; or a rule of your own, which {@link loadRule} gave. */
  readonly rule?: RuleName | OwnRule;
  /** Of a rule of your own: those that its file declares. */
  readonly ruleOptions?: Readonly<Record<string, number | string>>;
  /** Default `per-layer`; rule dfa only. */
  readonly dfaFeedback?: DfaFeedback;
  /** Of the feedback of fa (default `glorot`) and of sign-symmetry (default `xiao`). */
  readonly feedbackScale?: FeedbackScale;
  /** How the last layer sends the error down, under fa (default `rule`) and sign-symmetry (default `bp`). */
  readonly lastLayer?: LastLayer;
  /** Outputs beside the network's own: rule ao-sdtp only; default 512. */
  readonly auxiliary?: number;
  /** Of the initial parameters; an integer from 0 to 2⁵³ − 1. Default 0. */
  readonly seed?: number;
  /**
   * Of the compute team; process-wide, so all networks agree. Default: libtorch's (as a rule one for each processor).
   */
  readonly threads?: number;
  /** `cpu` (default), `cuda` (the first GPU) or `cuda:i`. */
  readonly device?: string;
  /** Default `fp32`; `tf32` and `bf16` are a GPU's. */
  readonly precision?: Precision;
  /** On a GPU: only operations that give the same bits each time. On the CPU all do. Default false. */
  readonly deterministic?: boolean;
  /** Default: none. */
  readonly normalization?: Normalization | null;
}

export interface ParameterInfo {
  readonly name: string;
  readonly shape: readonly number[];
  /** Which optimizer updates it: the network's, that of the learned inverses, or none (feedback, auxiliary outputs). */
  readonly role: 'forward' | 'learned' | 'fixed';
  readonly trainable: boolean;
}

export interface ParameterValue {
  readonly shape: readonly number[];
  /** Row-major. */
  readonly data: Float32Array;
}

/** Parameters by name, in the order of the layers. */
export type StateDict = Map<string, ParameterValue>;

export interface Evaluation {
  /** Mean over the examples. */
  readonly loss: number;
  /** Fraction of wrong answers; with real-valued targets the mean squared error per output. */
  readonly error: number;
  /** Fraction whose class is not among the five best; null with 5 classes or fewer, or without classes. */
  readonly error5: number | null;
  readonly examples: number;
}

/**
 * @example
 * using net = new Network(preset('mnist-fc'), { rule: 'fa', seed: 1 });
 * const { test } = await mnist();
 * console.log(await net.evaluate(test));
 */
export class Network implements Disposable {
  readonly #handle: NetworkHandle;
  readonly #rule: Rule;
  readonly #options: RuleValues;
  readonly spec: ResolvedSpec;
  /** Its name: one of `ruleNames`, or that of a rule of your own. */
  readonly rule: RuleName;
  /** null: not of dfa */
  readonly dfaFeedback: DfaFeedback | null;
  /** null: neither fa nor sign-symmetry */
  readonly feedbackScale: FeedbackScale | null;
  /** null: neither fa nor sign-symmetry */
  readonly lastLayer: LastLayer | null;
  /** null: not of ao-sdtp */
  readonly auxiliary: number | null;
  /** The learned inverses, from below; none but under target propagation. */
  readonly inverses: readonly InverseShapes[];
  readonly seed: number;
  readonly normalization: Normalization | null;
  readonly threads: number;
  /** `cpu` or, with its number, `cuda:0`. */
  readonly device: string;
  readonly precision: Precision;
  readonly deterministic: boolean;
  /** Every tensor of the state dict, in the order of the layers. */
  readonly parameters: readonly ParameterInfo[];
  /** Values in the trainable parameters, those of the inverses included. */
  readonly parameterCount: number;

  /**
   * Draws all parameters from the seed. Networks that differ only in their rule start from equal weights.
   *
   * @throws CortorchError ERR_INVALID_SPEC, ERR_INVALID_ARGUMENT, ERR_UNKNOWN_OPTION, ERR_UNUSED_OPTION,
   *   ERR_DEVICE_UNAVAILABLE, ERR_THREADS_CONFLICT, ERR_PRECISION_CONFLICT, ERR_NATIVE_NOT_BUILT; ERR_OUT_OF_MEMORY,
   *   before anything is allocated, if the parameters do not fit (those of a rule of your own are not counted);
   *   ERR_RULE with its words, if a rule of your own refuses the network
   */
  constructor(spec: NetworkSpec, options: NetworkOptions = {}) {
    this.spec = parseNetworkSpec(spec);
    this.#rule = isLoaded(options.rule) ? options.rule : ruleOf(options.rule ?? 'bp');
    this.rule = this.#rule.name as RuleName;
    const values = resolveRuleOptions(this.#rule, options);
    this.#options = values;
    ({
      dfaFeedback: this.dfaFeedback = null,
      feedbackScale: this.feedbackScale = null,
      lastLayer: this.lastLayer = null,
      auxiliary: this.auxiliary = null,
    } = values);
    requireFits(this.#rule, this.spec);
    this.inverses = inversesAmong(this.#rule.parameters(this.spec, values));
    this.seed = checkSeed(options.seed ?? 0);
    this.normalization = checkNormalization(options.normalization ?? null, this.spec.input);
    const { place, gpu } = resolvePlace(options);
    ({ device: this.device, precision: this.precision, deterministic: this.deterministic } = place);
    if (options.threads !== undefined && !(isCount(options.threads) && inRange(options.threads, 1, 1024))) {
      throw invalid('threads', 'an integer from 1 to 1024', options.threads);
    }
    requireMemoryForParameters(this.spec, { rule: this.#rule, options: values, ...place }, gpu?.free);
    const description = { ...this.spec, rule: this.rule, ruleOptions: values };
    this.#handle = callOf(this.#rule, (n) => new n.NetworkHandle(description, this.seed, options.threads ?? 0, place));
    this.parameters = this.#handle
      .parameters()
      .map(({ name, shape, role }) => ({ name, shape, role, trainable: role !== 'fixed' }));
    this.parameterCount = this.parameters.reduce(
      (count, { shape, trainable }) => count + (trainable ? product(shape) : 0),
      0,
    );
    this.threads = this.#handle.threads();
  }

  /** A copy of all parameters. Waits for the step that runs, if one does. */
  async stateDict(): Promise<StateDict> {
    const values = await callAsync(() => this.#handle.read());
    return new Map(this.parameters.map(({ name, shape }, i) => [name, { shape, data: values[i]! }]));
  }

  /**
   * Sets all parameters. Prefixes that DataParallel and torch.compile put before all names are taken off by themselves.
   *
   * @param options.map renames the given parameters: `{ fc1: 'layers.0' }` makes `layers.0.weight` of `fc1.weight`
   * @param options.partial takes what fits by name and shape; the other parameters stay as they are
   * @returns what did not fit: nothing, unless `partial` was asked for
   * @throws CortorchError ERR_CHECKPOINT_MISMATCH that lists every missing, unexpected and mis-shaped name, and the
   *   likely renaming where there is one, or with `partial` if nothing fits; then nothing has changed
   */
  async loadStateDict(state: StateDict, options: MatchOptions = {}): Promise<MatchReport> {
    const match = matchParameters(this.parameters, state, options);
    const { state: fitting, missing, unexpected, misshaped } = match;
    const problems = describeMismatch(match);
    if (problems !== undefined && (!options.partial || fitting.size === 0)) {
      throw new CortorchError(
        'ERR_CHECKPOINT_MISMATCH',
        `these parameters do not fit the network (rule ${this.rule}): ${problems}; ` +
          'use the model and the rule that they were made with',
      );
    }
    for (const [name, { shape, data }] of fitting) {
      const size = product(shape);
      if (!((data as unknown) instanceof Float32Array && data.length === size)) {
        throw invalid(`state.get('${name}').data`, `a Float32Array of ${size} values`, data);
      }
    }
    const kept = fitting.size < this.parameters.length ? await this.stateDict() : fitting;
    await callAsync(() =>
      this.#handle.write(this.parameters.map(({ name }) => (fitting.get(name) ?? kept.get(name)!).data)),
    );
    return { missing, unexpected, misshaped };
  }

  /**
   * The last layer's outputs (logits for a classifier).
   *
   * @param images count × input values, bytes or floats as in {@link Dataset.fromArrays}
   * @returns count × outputs
   * @throws CortorchError ERR_INVALID_ARGUMENT
   */
  async predict(images: Uint8Array | Float32Array): Promise<Float32Array> {
    const count = countExamples(images, this.spec.input);
    const values = product(this.spec.input);
    const outputs = countOutputs(this.spec);
    const results = new Float32Array(count * outputs);
    const most = evaluationBatch(this.spec);
    for (let first = 0; first < count; first += most) {
      const size = Math.min(most, count - first);
      const slice = images.subarray(first * values, (first + size) * values);
      const shape = [size, ...this.spec.input];
      const part = await callAsync(() => this.#handle.predict(slice, shape, this.normalization));
      results.set(part, first * outputs);
    }
    return results;
  }

  /**
   * Loss and error over a whole data set, or over epoch 0 of a stream.
   *
   * @param options.batchSize examples at once; default 1000, or fewer if their activations would take more than
   *   about 1 GB
   * @throws CortorchError ERR_INVALID_ARGUMENT if the data do not fit the network, ERR_ABORTED
   */
  async evaluate(
    data: Dataset | BatchStream,
    options: { batchSize?: number; signal?: AbortSignal | undefined } = {},
  ): Promise<Evaluation> {
    const { batchSize = evaluationBatch(this.spec), signal } = options;
    if (!(data instanceof Dataset)) return this.#evaluateStream(data, signal);
    this.checkData(data);
    if (!isCount(batchSize)) throw invalid('batchSize', 'a positive integer', batchSize);
    const handle = Dataset.handleOf(data, 'data');
    const sums = await this.stoppable(signal, (job) =>
      this.#handle.evaluate(handle, this.spec.loss, this.normalization, batchSize, job),
    );
    if (sums.examples < data.size) {
      throwIfAborted(signal);
      throw new CortorchError('ERR_DISPOSED', 'the network was disposed of in the middle of an evaluation');
    }
    return meanOf(sums, this.spec.loss === 'reconstruction' ? null : data.classes);
  }

  async #evaluateStream(stream: BatchStream, signal: AbortSignal | undefined): Promise<Evaluation> {
    checkStream(stream, 'data');
    const sums = { loss: 0, error: 0, error5: 0, inverse: 0, examples: 0 };
    const { loss } = this.spec;
    let labelled = true;
    const reader = new BatchReader(stream.epoch(0), this.spec);
    try {
      for (let batch = await reader.read(signal); batch !== null; batch = await reader.read(signal)) {
        const work = callAsync(() => this.#handle.evaluateBatch(batch, loss, this.normalization));
        reader.lookAhead();
        labelled &&= batch.outputs === 0;
        const counts = await work;
        for (const key of ['loss', 'error', 'error5', 'examples'] as const) sums[key] += counts[key];
      }
    } finally {
      reader.close();
    }
    if (sums.examples === 0) throw invalid('data', 'at least one example', 'a stream without any');
    return meanOf(sums, loss === 'reconstruction' || !labelled ? null : countOutputs(this.spec));
  }

  /** Does a data set fit the network? @throws CortorchError ERR_INVALID_ARGUMENT */
  checkData(data: Dataset): void {
    Dataset.handleOf(data, 'data');
    const { input } = this.spec;
    const outputs = countOutputs(this.spec);
    if (!same(data.shape, input)) {
      throw invalid('data', `examples of shape ${input.join('×')}, the network's input`, data.shape.join('×'));
    }
    if (this.spec.loss === 'reconstruction') return; // the images are their own targets
    if (data.classes !== null && data.classes > outputs) {
      throw invalid('data', `at most ${outputs} classes, the network's outputs`, `${data.classes} classes`);
    }
    if (data.classes === null && this.spec.loss === 'softmax-cross-entropy') {
      throw invalid('data', 'labels, which softmax-cross-entropy needs', 'real-valued targets');
    }
    if (data.classes === null && data.outputs !== outputs) {
      throw invalid('data', `targets of ${outputs} values, the network's outputs`, `${data.outputs} values`);
    }
  }

  /**
   * For the package's own use: native work that ends early, between steps, when the signal says so. What it gives
   * then is what was done; the caller tells by that, and by the signal.
   *
   * @param work starts a job of the number that it is given
   * @throws CortorchError ERR_ABORTED if the signal was given before
   */
  async stoppable<T>(signal: AbortSignal | undefined, work: (job: number) => Promise<T>): Promise<T> {
    throwIfAborted(signal);
    const job = nextJob++ % 2 ** 32;
    const stop = (): void => this.#handle.stop(job);
    signal?.addEventListener('abort', stop);
    try {
      return await callAsync(() => work(job));
    } finally {
      signal?.removeEventListener('abort', stop);
      this.#handle.settled(job);
    }
  }

  /**
   * Ends the network's thread, after the step that runs, and frees its memory and that of its trainers; using
   * either afterwards is ERR_DISPOSED. Doing it twice is harmless.
   */
  dispose(): void {
    this.#handle.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** For the package's own use: the rule, and its options, all that it has. */
  static ruleOf(network: Network): { readonly rule: Rule; readonly options: RuleValues } {
    return { rule: network.#rule, options: network.#options };
  }

  /** For the package's own use. @throws CortorchError ERR_INVALID_ARGUMENT */
  static handleOf(value: unknown, name: string): NetworkHandle {
    if (!(value instanceof Network)) throw invalid(name, 'a Network', value);
    return value.#handle;
  }
}

let nextJob = 0;

/** What a rule of one's own has to say against a network is no defect of the addon's. */
function callOf<T>(rule: Rule, body: Parameters<typeof call<T>>[0]): T {
  try {
    return call(body);
  } catch (error) {
    if (!isLoaded(rule) || !(error instanceof CortorchError) || error.code !== 'ERR_NATIVE') throw error;
    throw new CortorchError('ERR_RULE', `rule ${rule.name} does not train this network: ${error.message}`, {
      cause: error,
    });
  }
}

export function meanOf(sums: NativeCounts, classes: number | null): Evaluation {
  const { examples } = sums;
  return {
    loss: sums.loss / examples,
    error: sums.error / examples,
    error5: classes !== null && classes > 5 ? sums.error5 / examples : null,
    examples,
  };
}

export const same = (a: readonly number[], b: readonly number[]): boolean =>
  a.length === b.length && a.every((size, i) => size === b[i]);

/** @throws CortorchError ERR_INVALID_ARGUMENT */
export function checkSeed(seed: unknown): number {
  if (!isInteger(seed) || seed < 0) throw invalid('seed', 'an integer from 0 to 2^53 - 1', seed);
  return seed;
}

function checkNormalization(value: Normalization | null, input: readonly number[]): Normalization | null {
  if (value === null) return null;
  if (!isPlainObject(value)) throw invalid('normalization', '{ mean, std }', value);
  const channels = input.length === 3 ? input[0]! : 1;
  for (const key of ['mean', 'std'] as const) {
    const list = value[key];
    if (!Array.isArray(list) || list.length !== channels || !list.every(isNumber)) {
      throw invalid(`normalization.${key}`, `${channels} number(s), one a channel`, list);
    }
  }
  if (!value.std.every((std) => std > 0)) throw invalid('normalization.std', 'positive numbers', value.std);
  return { mean: [...value.mean], std: [...value.std] };
}
