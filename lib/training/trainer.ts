/**
 * The training loop. JavaScript crosses into native once for a run of steps of about a tenth of a second; between
 * two runs there is time for events, signals and everything else.
 */

import {
  CortorchError,
  invalid,
  isCount,
  isFunction,
  isOneOf,
  isPlainObject,
  throwIfAborted,
} from '../errors.js';
import {
  isAugmented,
  resolveAugmentation,
  toNative,
  type AugmentationOptions,
  type ResolvedAugmentation,
} from '../data/augmentation.js';
import { checkStream, type BatchStream } from '../data/batch-stream.js';
import { Dataset } from '../data/dataset.js';
import { BatchReader, type BatchSource } from '../model/batches.js';
import { requireMemoryForTraining } from '../model/budget.js';
import { availableOn } from '../model/device.js';
import { checkSeed, Network, same, type Evaluation, type ParameterInfo } from '../model/network.js';
import {
  call,
  callAsync,
  type LayerDiagnosis,
  type NativeOptimizerState,
  type NativePass,
  type NativePosition,
  type TrainerHandle,
} from '../native.js';
import { didYouMean } from '../suggest.js';
import {
  requireMomentsFit,
  resolveOptimizer,
  type OptimizerOptions,
  type ResolvedOptimizer,
} from './optimizer.js';
import {
  learningRateFactor,
  resolveLrSchedule,
  type ResolvedLrSchedule,
  type LrScheduleOptions,
} from './lr-schedule.js';
import {
  phaseOf,
  resolveTargets,
  targetOptionNames,
  type Phase,
  type ResolvedTargets,
  type TargetOptions,
} from './targets.js';

/** With the settings of target propagation, of which rules without inverses use none. */
export interface TrainerOptions extends TargetOptions {
  /** Default: Adam with a learning rate of 0.001. */
  readonly optimizer?: OptimizerOptions;
  /** Examples a step; the last batch of an epoch may be smaller. Default 100. */
  readonly batchSize?: number;
  /** Of the shuffling, and of the noise that inverses are trained with; default: the network's. */
  readonly seed?: number;
  /**
   * Default: a constant learning rate. It is that of the inverses too, and under an alternating schedule its epochs are
   * those of both phases: a warm-up of two epochs, say, is one of each.
   */
  readonly lrSchedule?: LrScheduleOptions;
  /** Of the images of a {@link Dataset} that is trained on; those that are only evaluated stay as they are. Default none. */
  readonly augmentation?: AugmentationOptions;
}

const trainerOptionNames = [
  'optimizer',
  'batchSize',
  'seed',
  'lrSchedule',
  'augmentation',
  ...targetOptionNames,
] as const;

export interface FitOptions {
  /**
   * Passes over the data in all, those made before a resume included. Under an alternating schedule a pass trains one
   * of the two losses, so that n epochs are n/2 of each.
   */
  readonly epochs: number;
  /** Evaluated after each epoch. */
  readonly validation?: Dataset | BatchStream | null;
  /** Evaluated after each epoch; nothing is ever chosen by it. */
  readonly test?: Dataset | BatchStream | null;
  /** Optimizer steps in all, those made before a resume included, after which training ends. */
  readonly maxSteps?: number | undefined;
  /** Ends training between two steps, with ERR_ABORTED; the trainer can go on from there. */
  readonly signal?: AbortSignal | undefined;
  /** Every so many steps, and before the first, a {@link DiagnosticsEvent}, which takes about two steps' time. Default: none. */
  readonly diagnostics?: number | undefined;
  /** Batches in an epoch of a {@link BatchSource}: what schedules other than the constant one need. */
  readonly stepsPerEpoch?: number;
}

/** Where training is, about five times a second. */
export interface ProgressEvent {
  readonly type: 'progress';
  /** Counted from 1. */
  readonly epoch: number;
  readonly epochs: number;
  readonly stepInEpoch: number;
  /** null if a {@link BatchSource} did not say. */
  readonly stepsPerEpoch: number | null;
  /** Optimizer steps in all. */
  readonly step: number;
  readonly phase: Phase;
  /** Means over the epoch so far. */
  readonly loss: number;
  readonly error: number;
  /** In the epochs that train inverses. */
  readonly inverseLoss?: number;
  readonly imagesPerSecond: number;
  /** Of training, to the end of the last epoch; null if unknown. */
  readonly secondsLeft: number | null;
}

/** The end of an epoch. Errors are fractions; losses are means over examples. */
export interface EpochEvent {
  readonly type: 'epoch';
  readonly epoch: number;
  /** What it trained: the layers (by whatever rule), the learned inverses, or both. */
  readonly phase: Phase;
  /**
   * Of the batches as they were trained on, each before its update. `inverseLoss`: the local losses of the inverses,
   * summed over them, in the epochs that train them.
   */
  readonly train: { readonly loss: number; readonly error: number; readonly inverseLoss?: number };
  readonly validation: Scores | null;
  readonly test: Scores | null;
  /** The training pass alone. */
  readonly seconds: number;
  readonly evaluationSeconds: number;
  readonly imagesPerSecond: number;
  /** Of streams: the fraction of `seconds` in which the next batch was not there yet. */
  readonly waiting?: number;
  /** Only when `maxSteps` ended training inside the epoch. */
  readonly partial?: true;
}

/** How the next step's batch would move the weights under the rule and under bp: see {@link LayerDiagnosis}. */
export interface DiagnosticsEvent {
  readonly type: 'diagnostics';
  readonly epoch: number;
  /** Optimizer steps made before, in all. */
  readonly step: number;
  /** Those with weights, from below. */
  readonly layers: readonly LayerDiagnosis[];
}

export type TrainEvent = ProgressEvent | DiagnosticsEvent | EpochEvent;
export type Scores = Pick<Evaluation, 'loss' | 'error' | 'error5'>;

/** Everything that a trainer needs, beside the network's parameters, to go on bit for bit. */
export interface TrainerState {
  /** Epochs completed. */
  readonly epoch: number;
  /** Optimizer steps in all. */
  readonly step: number;
  /** Steps of the epoch that is not complete. */
  readonly stepInEpoch: number;
  /** Over those steps. */
  readonly sums: EpochSums;
  readonly seed: number;
  readonly optimizer: OptimizerState;
  /** null: there are no inverses */
  readonly inverseOptimizer: OptimizerState | null;
}

export type OptimizerState = ResolvedOptimizer & {
  readonly steps: number;
  readonly parameters: readonly ParameterState[];
};

export interface ParameterState {
  readonly name: string;
  readonly shape: readonly number[];
  /** exp_avg and exp_avg_sq (adam), momentum_buffer, square_avg (rmsprop), as torch.optim calls them. */
  readonly state: Readonly<Record<string, Float32Array>>;
}

export interface EpochSums {
  readonly loss: number;
  readonly error: number;
  /** Of the learned inverses. */
  readonly inverse: number;
  readonly examples: number;
  readonly seconds: number;
  /** Those of them that were spent waiting for data. */
  readonly waited: number;
}

const noSums: EpochSums = { loss: 0, error: 0, inverse: 0, examples: 0, seconds: 0, waited: 0 };

/** Seconds that a run of steps should take: short enough for a responsive Ctrl-C, long enough to cost nothing. */
const RUN_SECONDS = 0.1;

/**
 * @example
 * const trainer = new Trainer(net, { optimizer: { type: 'adam', lr: 1.5e-4 }, batchSize: 100, seed: 1 });
 * for await (const event of trainer.fit(train, { epochs: 5, test })) {
 *   if (event.type === 'epoch') console.log(event.epoch, event.test?.error);
 * }
 */
export class Trainer {
  readonly #network: Network;
  readonly #handle: TrainerHandle;
  readonly optimizer: ResolvedOptimizer;
  readonly lrSchedule: ResolvedLrSchedule;
  /** null: not of target propagation */
  readonly targets: ResolvedTargets | null;
  readonly augmentation: ResolvedAugmentation;
  readonly batchSize: number;
  readonly seed: number;
  #epoch = 0;
  #step = 0;
  #stepInEpoch = 0;
  #sums = noSums;
  /** The step of the last diagnosis. */
  #diagnosed = -1;
  #fitting = false;

  /**
   * @throws CortorchError ERR_INVALID_ARGUMENT, ERR_UNKNOWN_OPTION, ERR_UNUSED_OPTION; ERR_OUT_OF_MEMORY, before
   *   anything is allocated, if a training step does not fit
   */
  constructor(network: Network, options: TrainerOptions = {}) {
    if (!isPlainObject(options)) throw invalid('options', '{ optimizer, batchSize, seed, … }', options);
    for (const key of Object.keys(options)) {
      if (isOneOf(key, trainerOptionNames)) continue;
      throw new CortorchError(
        'ERR_UNKNOWN_OPTION',
        `${key}: there is no such setting of a trainer${didYouMean(key, trainerOptionNames) || `; they are ${trainerOptionNames.join(', ')}`}`,
      );
    }
    const {
      batchSize = 100,
      optimizer,
      lrSchedule,
      augmentation,
      seed = network.seed,
    }: TrainerOptions = options;
    if (!isCount(batchSize)) throw invalid('batchSize', 'a positive integer', batchSize);
    const handle = Network.handleOf(network, 'network');
    this.#network = network;
    this.optimizer = resolveOptimizer(optimizer);
    this.lrSchedule = resolveLrSchedule(lrSchedule);
    this.targets = resolveTargets(network.rule, options, network.inverses.length);
    this.augmentation = resolveAugmentation(augmentation, network.spec.input);
    this.batchSize = batchSize;
    this.seed = checkSeed(seed);
    const { spec, rule, dfaFeedback, feedbackScale, lastLayer, auxiliary, device, precision } = network;
    const inverseOptimizer = this.targets?.inverseOptimizer ?? null;
    requireMomentsFit(this.optimizer.moments, device);
    requireMomentsFit(inverseOptimizer?.moments, device, 'inverseOptimizer.moments');
    const settings = {
      ...{ rule, dfaFeedback, feedbackScale, lastLayer, auxiliary, device, precision },
      ...{ optimizer: this.optimizer, inverseOptimizer, batchSize },
    };
    requireMemoryForTraining(spec, settings, { built: true, available: availableOn(device) });
    this.#handle = call(
      (n) =>
        new n.TrainerHandle(
          handle,
          network.spec.loss,
          this.optimizer,
          network.normalization,
          this.targets,
          toNative(this.augmentation),
        ),
    );
  }

  /**
   * Trains, from where this trainer is, to the end of epoch `epochs`.
   *
   * @throws CortorchError ERR_ABORTED (the model stays usable, and a further fit() goes on from the next step),
   *   ERR_LOSS_NOT_FINITE (the batch that showed it made no update), ERR_BUSY, ERR_INVALID_ARGUMENT
   */
  async *fit(
    data: Dataset | BatchSource | BatchStream,
    options: FitOptions,
  ): AsyncGenerator<TrainEvent, void, void> {
    this.#checkFit(data, options);
    if (this.#fitting) {
      throw new CortorchError(
        'ERR_BUSY',
        'this trainer is in the middle of a fit(); end that one first, or make a trainer of its own',
      );
    }
    this.#fitting = true;
    try {
      const { epochs, maxSteps = Infinity, signal } = options;
      let scores: Pick<EpochEvent, 'validation' | 'test'> | null = null;
      while (this.#epoch < epochs && this.#step < maxSteps) {
        const complete =
          data instanceof Dataset
            ? yield* this.#passOver(data, options)
            : yield* this.#passOverBatches(data, options);
        const start = performance.now();
        // An inverse epoch leaves the network as it was.
        if (scores === null || phaseOf(this.targets, this.#epoch) !== 'inverse') {
          scores = {
            validation: await this.#score(options.validation, signal),
            test: await this.#score(options.test, signal),
          };
        }
        const { validation, test } = scores;
        yield this.#endEpoch(
          { validation, test },
          {
            evaluationSeconds: (performance.now() - start) / 1000,
            partial: !complete,
            inMemory: data instanceof Dataset,
          },
        );
      }
    } finally {
      this.#fitting = false;
    }
  }

  /**
   * Why steps on a GPU are launched kernel by kernel and not replayed as a CUDA graph; null: they are replayed, or there was
   * no occasion yet, or the network is on the CPU.
   */
  async graphFailure(): Promise<string | null> {
    return callAsync(() => this.#handle.graphFailure());
  }

  /** A copy of all that is needed to go on, beside the network's parameters. */
  async state(): Promise<TrainerState> {
    const { optimizer, inverseOptimizer } = await callAsync(() => this.#handle.read());
    const withNames = (
      role: ParameterInfo['role'],
      settings: ResolvedOptimizer,
      { steps, parameters }: NativeOptimizerState,
    ): OptimizerState => ({
      ...settings,
      steps,
      parameters: this.#network.parameters
        .filter((parameter) => parameter.role === role)
        .map(({ name, shape }, i) => ({ name, shape, state: parameters[i]! })),
    });
    return {
      epoch: this.#epoch,
      step: this.#step,
      stepInEpoch: this.#stepInEpoch,
      sums: this.#sums,
      seed: this.seed,
      optimizer: withNames('forward', this.optimizer, optimizer),
      inverseOptimizer:
        inverseOptimizer && withNames('inverse', this.targets!.inverseOptimizer, inverseOptimizer),
    };
  }

  /**
   * Goes back to a state that {@link state} gave; settings stay those of the constructor.
   *
   * @throws CortorchError ERR_CHECKPOINT_MISMATCH if it is of another network, optimizer or seed
   */
  async loadState(state: TrainerState): Promise<void> {
    const mismatch = (what: string): CortorchError =>
      new CortorchError(
        'ERR_CHECKPOINT_MISMATCH',
        `the trainer's state does not fit: ${what}; use the settings that it was made with`,
      );
    const checked = (
      role: ParameterInfo['role'],
      settings: ResolvedOptimizer,
      optimizer: OptimizerState,
    ): NativeOptimizerState => {
      if (optimizer.type !== settings.type) {
        throw mismatch(`it is of optimizer ${optimizer.type}, and this one is ${settings.type}`);
      }
      const own = this.#network.parameters.filter((parameter) => parameter.role === role);
      const differs = own.some(
        ({ name, shape }, i) =>
          optimizer.parameters[i]?.name !== name || !same(optimizer.parameters[i].shape, shape),
      );
      if (differs || optimizer.parameters.length !== own.length) {
        throw mismatch(`its parameters are ${optimizer.parameters.map((p) => p.name).join(', ')}`);
      }
      for (const { name, shape, state: arrays } of optimizer.parameters) {
        const size = shape.reduce((a, b) => a * b, 1);
        for (const [key, array] of Object.entries(arrays)) {
          if (array instanceof Float32Array && array.length === size) continue;
          throw invalid(`${key} of ${name}`, `a Float32Array of ${size} values`, array);
        }
      }
      return { steps: optimizer.steps, parameters: optimizer.parameters.map(({ state }) => ({ ...state })) };
    };
    if (state.seed !== this.seed) throw mismatch(`its seed is ${state.seed}, and this one's is ${this.seed}`);
    if ((state.inverseOptimizer === null) !== (this.targets === null)) {
      throw mismatch(`it has ${state.inverseOptimizer === null ? 'no' : 'an'} optimizer of inverses`);
    }
    const states = {
      optimizer: checked('forward', this.optimizer, state.optimizer),
      inverseOptimizer:
        state.inverseOptimizer && checked('inverse', this.targets!.inverseOptimizer, state.inverseOptimizer),
    };
    await callAsync(() => this.#handle.write(states));
    this.#epoch = state.epoch;
    this.#step = state.step;
    this.#diagnosed = -1;
    this.#stepInEpoch = state.stepInEpoch;
    this.#sums = state.sums;
  }

  /**
   * Goes on with the moments and the step count of another optimizer, such as readOptimizer() finds in a checkpoint from
   * Python; settings stay those of the constructor, and so do the position and the optimizer of inverses.
   *
   * @throws CortorchError ERR_CHECKPOINT_MISMATCH if it is of other parameters or another kind of optimizer
   */
  async loadOptimizer(optimizer: OptimizerState): Promise<void> {
    await this.loadState({ ...(await this.state()), optimizer });
  }

  /** The rest of the current epoch, in runs of steps. @returns whether it ended, and not because of `maxSteps` */
  async *#passOver(
    data: Dataset,
    options: FitOptions,
  ): AsyncGenerator<ProgressEvent | DiagnosticsEvent, boolean, void> {
    const { epochs, maxSteps = Infinity, diagnostics = Infinity, signal } = options;
    const handle = Dataset.handleOf(data, 'data');
    const stepsPerEpoch = Math.ceil(data.size / this.batchSize);
    let run = 4; // steps; then as many as fit into RUN_SECONDS
    while (this.#stepInEpoch < stepsPerEpoch && this.#step < maxSteps) {
      const position = { ...this.#position(), batchSize: this.batchSize };
      yield* this.#diagnose(diagnostics, () => this.#handle.diagnose(handle, position));
      const count = Math.min(
        run,
        stepsPerEpoch - this.#stepInEpoch,
        maxSteps - this.#step,
        Number.isFinite(diagnostics) ? diagnostics - (this.#step % diagnostics) : Infinity,
      );
      const factors = Float64Array.from({ length: count }, (_, i) =>
        learningRateFactor(this.lrSchedule, this.#step + i, stepsPerEpoch, epochs),
      );
      const start = performance.now();
      const pass = await this.#network.stoppable(signal, (job) =>
        this.#handle.run(handle, position, factors, { ...this.#sums, error5: 0 }, job),
      );
      this.#take(pass, pass, (performance.now() - start) / 1000);
      throwIfAborted(signal);
      yield this.#progress(options, stepsPerEpoch);
      run = Math.max(1, Math.min(2 * run, Math.round((RUN_SECONDS / pass.seconds) * pass.steps)));
    }
    return this.#stepInEpoch >= stepsPerEpoch;
  }

  /**
   * The same for a stream, of which the next batch is asked for while a step runs. On a GPU steps are only given to it: what
   * comes of them is collected when there is something to report. @returns whether it ended
   */
  async *#passOverBatches(
    source: BatchSource | BatchStream,
    options: FitOptions,
  ): AsyncGenerator<ProgressEvent | DiagnosticsEvent, boolean, void> {
    const { epochs, maxSteps = Infinity, diagnostics = Infinity, signal } = options;
    const stepsPerEpoch = isFunction(source) ? options.stepsPerEpoch : source.batches;
    const batches = isFunction(source)
      ? source(this.#epoch + 1)
      : source.epoch(this.#epoch, this.#stepInEpoch);
    const reader = new BatchReader(batches, this.#network.spec);
    const onGpu = this.#network.device !== 'cpu';
    /** Steps that were given, and not collected: how many; and of those that were surely given, their batches' numbers. */
    let launched = 0;
    const given: (number | null)[] = [];
    let since = performance.now();
    let waitedBefore = 0;
    let lastEvent = since;
    const collect = async (): Promise<void> => {
      if (launched === 0) return;
      launched = 0;
      const indices = given.splice(0);
      const pass = await callAsync(() => this.#handle.collect());
      const sums = {
        loss: this.#sums.loss + pass.loss,
        error: this.#sums.error + pass.error,
        inverse: this.#sums.inverse + pass.inverse,
        examples: this.#sums.examples + pass.examples,
      };
      const now = performance.now();
      const seconds = (now - since) / 1000;
      const waited = reader.waited - waitedBefore;
      since = now;
      waitedBefore = reader.waited;
      this.#take(pass, sums, seconds, { waited, last: indices[pass.steps - 1] ?? null });
    };
    try {
      if (isFunction(source)) await reader.skip(this.#stepInEpoch, signal);
      since = performance.now();
      while (this.#step + launched < maxSteps) {
        const batch = await reader.read(signal);
        if (batch === null) {
          await collect();
          if (this.#sums.examples === 0) throw invalid('data', 'at least one batch in an epoch', 'none');
          return true;
        }
        if (this.#wantsDiagnosis(diagnostics, this.#step + launched)) {
          await collect();
          const before = performance.now();
          yield* this.#diagnose(diagnostics, () => this.#handle.diagnoseBatch(batch, this.#position()));
          since += performance.now() - before; // no part of training
        }
        const step = this.#step + launched;
        const factor = learningRateFactor(this.lrSchedule, step, stepsPerEpoch ?? 1, epochs);
        const work = callAsync(() => this.#handle.launch(batch, factor, { ...this.#position(), step }));
        if (step + 1 < maxSteps) reader.lookAhead();
        launched++;
        await work;
        given.push(batch.index);
        const due = performance.now() - lastEvent > 200;
        if (!onGpu || due) await collect();
        if (due) {
          yield this.#progress(options, stepsPerEpoch ?? null);
          // What whoever listens did in the meantime is no part of training.
          lastEvent = since = performance.now();
        }
      }
      await collect();
      return !isFunction(source) && this.#stepInEpoch >= source.batches;
    } finally {
      // Left early, by an abort or an error: the steps that were given are made all the same.
      if (launched > 0) await collect().catch(() => undefined);
      reader.close();
    }
  }

  #wantsDiagnosis(every: number, step: number): boolean {
    return Number.isFinite(every) && step % every === 0 && step !== this.#diagnosed;
  }

  async *#diagnose(
    every: number,
    layers: () => Promise<readonly LayerDiagnosis[]>,
  ): AsyncGenerator<DiagnosticsEvent, void, void> {
    if (!this.#wantsDiagnosis(every, this.#step)) return;
    this.#diagnosed = this.#step;
    yield {
      type: 'diagnostics',
      epoch: this.#epoch + 1,
      step: this.#step,
      layers: await callAsync(layers),
    };
  }

  #position(): NativePosition {
    return {
      seed: this.seed,
      epoch: this.#epoch,
      firstStep: this.#stepInEpoch,
      step: this.#step,
      phase: phaseOf(this.targets, this.#epoch),
    };
  }

  /** `sums` are those of the epoch so far, `pass` included; `last`: the number of its last batch, where batches have one. */
  #take(
    pass: NativePass,
    { loss, error, inverse, examples }: Omit<EpochSums, 'seconds' | 'waited'>,
    seconds: number,
    { waited = 0, last = null }: { waited?: number; last?: number | null } = {},
  ): void {
    const before = this.#sums;
    this.#sums = {
      ...{ loss, error, inverse, examples },
      ...{ seconds: before.seconds + seconds, waited: before.waited + waited },
    };
    this.#step += pass.steps;
    this.#stepInEpoch = last === null ? this.#stepInEpoch + pass.steps : last + 1;
    if (pass.notFinite || pass.inverseNotFinite) {
      const whose = pass.notFinite ? '' : ' of the inverses';
      throw new CortorchError(
        'ERR_LOSS_NOT_FINITE',
        `the loss${whose} became NaN or infinite at step ${this.#step + 1} (step ${this.#stepInEpoch + 1} of epoch ${this.#epoch + 1}); ` +
          `that step was not made. A smaller learning rate${whose} is the usual remedy`,
      );
    }
  }

  #progress(options: FitOptions, stepsPerEpoch: number | null): ProgressEvent {
    const { loss, error, inverse, examples, seconds } = this.#sums;
    const { epochs, maxSteps = Infinity } = options;
    const phase = phaseOf(this.targets, this.#epoch);
    const secondsPerStep = seconds / this.#stepInEpoch;
    const stepsLeft =
      stepsPerEpoch === null
        ? null
        : Math.min((epochs - this.#epoch) * stepsPerEpoch - this.#stepInEpoch, maxSteps - this.#step);
    return {
      type: 'progress',
      epoch: this.#epoch + 1,
      epochs,
      stepInEpoch: this.#stepInEpoch,
      stepsPerEpoch,
      step: this.#step,
      phase,
      loss: loss / examples,
      error: error / examples,
      ...(phase !== 'forward' && { inverseLoss: inverse / examples }),
      imagesPerSecond: examples / seconds,
      secondsLeft: stepsLeft === null ? null : stepsLeft * secondsPerStep,
    };
  }

  #endEpoch(
    { validation, test }: Pick<EpochEvent, 'validation' | 'test'>,
    how: { evaluationSeconds: number; partial: boolean; inMemory: boolean },
  ): EpochEvent {
    const { evaluationSeconds, partial, inMemory } = how;
    const { loss, error, inverse, examples, seconds, waited } = this.#sums;
    const phase = phaseOf(this.targets, this.#epoch);
    const event: EpochEvent = {
      type: 'epoch',
      epoch: this.#epoch + 1,
      phase,
      train: {
        loss: loss / examples,
        error: error / examples,
        ...(phase !== 'forward' && { inverseLoss: inverse / examples }),
      },
      validation,
      test,
      seconds,
      evaluationSeconds,
      imagesPerSecond: examples / seconds,
      ...(!inMemory && { waiting: waited / seconds }),
      ...(partial && { partial }),
    };
    if (!partial) {
      this.#epoch++;
      this.#stepInEpoch = 0;
      this.#sums = noSums;
    }
    return event;
  }

  async #score(
    data: Dataset | BatchStream | null | undefined,
    signal: AbortSignal | undefined,
  ): Promise<Scores | null> {
    if (data === null || data === undefined) return null;
    const { loss, error, error5 } = await this.#network.evaluate(data, { signal });
    return { loss, error, error5 };
  }

  #checkFit(data: unknown, options: FitOptions): void {
    if (!isPlainObject(options)) throw invalid('options', '{ epochs, … }', options);
    const { epochs, maxSteps, diagnostics, validation, test, stepsPerEpoch } = options;
    if (!isCount(epochs)) throw invalid('epochs', 'a positive integer', epochs);
    if (maxSteps !== undefined && !isCount(maxSteps))
      throw invalid('maxSteps', 'a positive integer', maxSteps);
    if (diagnostics !== undefined && !isCount(diagnostics))
      throw invalid('diagnostics', 'a positive integer', diagnostics);
    if (stepsPerEpoch !== undefined && !isCount(stepsPerEpoch)) {
      throw invalid('stepsPerEpoch', 'a positive integer', stepsPerEpoch);
    }
    for (const [name, part] of Object.entries({ validation, test })) {
      if (part instanceof Dataset) this.#network.checkData(part);
      else if (part) checkStream(part, name);
    }
    if (data instanceof Dataset) {
      this.#network.checkData(data);
      return;
    }
    if (!isFunction(data)) {
      checkStream(data, 'data');
      if (data.batchSize !== this.batchSize) {
        throw invalid('data', `batches of ${this.batchSize}, the trainer's`, `batches of ${data.batchSize}`);
      }
    }
    if (isAugmented(this.augmentation)) {
      throw new CortorchError(
        'ERR_UNUSED_OPTION',
        'augmentation is not used on batches of your own; augment them where they are made, or train on a Dataset',
      );
    }
    const constant = this.lrSchedule.type === 'constant' && this.lrSchedule.warmupEpochs === 0;
    if (isFunction(data) && !constant && stepsPerEpoch === undefined) {
      throw invalid(
        'stepsPerEpoch',
        'the number of batches in an epoch, which the learning-rate schedule needs',
        stepsPerEpoch,
      );
    }
  }
}
