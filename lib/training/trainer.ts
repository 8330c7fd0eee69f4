/**
 * The training loop. JavaScript crosses into native once for a run of steps of about a tenth of a second; between
 * two runs there is time for events, signals and everything else.
 */

import {
  resolveAugmentation,
  toNative,
  type AugmentationOptions,
  type ResolvedAugmentation,
} from '../data/augmentation.js';
import type { BatchStream } from '../data/batch-stream.js';
import { Dataset } from '../data/dataset.js';
import { CortorchError, invalid, isCount, isFunction, isOneOf, isPlainObject, throwIfAborted } from '../errors.js';
import { BatchReader, type BatchSource } from '../model/batches.js';
import { requireMemoryForTraining } from '../model/budget.js';
import { availableOn } from '../model/device.js';
import { checkSeed, Network, type ParameterInfo } from '../model/network.js';
import { call, callAsync, type LayerDiagnosis, type TrainerHandle } from '../native.js';
import { resolveSettingsOf } from '../rules/ask.js';
import { isLoaded, trainerOptionNames as ruleOptionNames, type RuleTrainerOptions } from '../rules/names.js';
import { unusedOption } from '../rules/options.js';
import type { OwnRule, RuleSettings } from '../rules/rule.js';
import type { ResolvedTargets, TargetOptions } from '../rules/target.js';
import { didYouMean } from '../suggest.js';
import type { DiagnosticsEvent, EpochEvent, ProgressEvent, Scores, TrainEvent } from './events.js';
import { checkFit, type FitOptions } from './fit-options.js';
import { LaunchedSteps } from './launched-steps.js';
import {
  learningRateFactor,
  resolveLrSchedule,
  type LrScheduleOptions,
  type ResolvedLrSchedule,
} from './lr-schedule.js';
import { requireMomentsFit, resolveOptimizer, type OptimizerOptions, type ResolvedOptimizer } from './optimizer.js';
import { TrainingProgress } from './progress.js';
import { mismatch, withNames, withoutNames, type OptimizerState, type TrainerState } from './trainer-state.js';

/** With what some rules set: those of target propagation, of which rules without inverses use none. */
export interface TrainerOptions extends TargetOptions, RuleTrainerOptions {
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
  /**
   * Of the images of a {@link Dataset} that is trained on; those that are only evaluated stay as they are. Default
   * none.
   */
  readonly augmentation?: AugmentationOptions;
}

const trainerOptionNames = [
  'optimizer',
  'batchSize',
  'seed',
  'lrSchedule',
  'augmentation',
  ...ruleOptionNames,
] as const;

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
  readonly #ofRule: RuleSettings | null;
  readonly augmentation: ResolvedAugmentation;
  readonly batchSize: number;
  readonly seed: number;
  readonly #progress: TrainingProgress;
  /** The step of the last diagnosis. */
  #diagnosed = -1;
  #fitting = false;

  /**
   * @throws CortorchError ERR_INVALID_ARGUMENT, ERR_UNKNOWN_OPTION, ERR_UNUSED_OPTION; ERR_OUT_OF_MEMORY, before
   *   anything is allocated, if a training step does not fit; ERR_RULE for a rule of your own that never learns
   */
  constructor(network: Network, options: TrainerOptions = {}) {
    if (!isPlainObject(options)) throw invalid('options', '{ optimizer, batchSize, seed, … }', options);
    const handle = Network.handleOf(network, 'network');
    const { rule, options: ruleOptions } = Network.ruleOf(network);
    for (const key of Object.keys(options)) {
      if (isOneOf(key, trainerOptionNames) || Object.hasOwn(rule.trainerOptions, key)) continue;
      throw new CortorchError(
        'ERR_UNKNOWN_OPTION',
        `${key}: there is no such setting of a trainer${didYouMean(key, trainerOptionNames) || `; they are ${trainerOptionNames.join(', ')}`}`,
      );
    }
    const { batchSize = 100, optimizer, lrSchedule, augmentation, seed = network.seed }: TrainerOptions = options;
    if (!isCount(batchSize)) throw invalid('batchSize', 'a positive integer', batchSize);
    this.#network = network;
    this.optimizer = resolveOptimizer(optimizer);
    this.lrSchedule = resolveLrSchedule(lrSchedule);
    this.#ofRule = resolveSettingsOf(rule, options, { spec: network.spec, options: ruleOptions });
    this.targets = isLoaded(rule) ? null : (this.#ofRule as ResolvedTargets | null); // no other rule has any
    if (isLoaded(rule)) this.#checkLearned(rule, options);
    this.augmentation = resolveAugmentation(augmentation, network.spec.input);
    this.batchSize = batchSize;
    this.seed = checkSeed(seed);
    this.#progress = new TrainingProgress(this.seed, (epoch) => rule.phaseOf(this.#ofRule, epoch));
    const { spec, device, precision } = network;
    const inverseOptimizer = this.#inverseOptimizer;
    requireMomentsFit(this.optimizer.moments, device);
    requireMomentsFit(inverseOptimizer?.moments, device, 'inverseOptimizer.moments');
    const settings = {
      ...{ rule, options: ruleOptions, device, precision },
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
          {
            options: this.#ofRule === null ? {} : rule.ofSteps(this.#ofRule),
            optimizer: inverseOptimizer,
          },
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
  async *fit(data: Dataset | BatchSource | BatchStream, options: FitOptions): AsyncGenerator<TrainEvent, void, void> {
    checkFit(this.#network, this, data, options);
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
      while (this.#progress.epoch < epochs && this.#progress.step < maxSteps) {
        // Also where the fit() before was ended by the last step of its epoch, so that none is left.
        throwIfAborted(signal);
        const complete =
          data instanceof Dataset ? yield* this.#passOver(data, options) : yield* this.#passOverBatches(data, options);
        const start = performance.now();
        // An inverse epoch leaves the network as it was.
        if (scores === null || this.#progress.phase !== 'inverse') {
          scores = {
            validation: await this.#score(options.validation, signal),
            test: await this.#score(options.test, signal),
          };
        }
        const { validation, test } = scores;
        yield this.#progress.endEpoch(
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
   * Why steps on a GPU are launched kernel by kernel and not replayed as a CUDA graph; null: they are replayed, or
   * there was no occasion yet, or the network is on the CPU.
   */
  async graphFailure(): Promise<string | null> {
    return callAsync(() => this.#handle.graphFailure());
  }

  /**
   * A copy of all that is needed to go on, beside the network's parameters.
   *
   * @throws CortorchError ERR_BUSY between two events of a fit() on a stream, whose steps are under way then
   */
  async state(): Promise<TrainerState> {
    const { optimizer, inverseOptimizer } = await callAsync(() => this.#handle.read());
    return {
      epoch: this.#progress.epoch,
      step: this.#progress.step,
      stepInEpoch: this.#progress.stepInEpoch,
      sums: this.#progress.sums,
      seed: this.seed,
      optimizer: withNames(this.#parameters('forward'), this.optimizer, optimizer),
      inverseOptimizer:
        inverseOptimizer && withNames(this.#parameters('learned'), this.#inverseOptimizer!, inverseOptimizer),
    };
  }

  /**
   * Goes back to a state that {@link state} gave; settings stay those of the constructor.
   *
   * @throws CortorchError ERR_CHECKPOINT_MISMATCH if it is of another network, optimizer or seed; ERR_BUSY as
   *   {@link state}
   */
  async loadState(state: TrainerState): Promise<void> {
    if (state.seed !== this.seed) throw mismatch(`its seed is ${state.seed}, and this one's is ${this.seed}`);
    if ((state.inverseOptimizer === null) !== (this.#inverseOptimizer === null)) {
      throw mismatch(`it has ${state.inverseOptimizer === null ? 'no' : 'an'} optimizer of inverses`);
    }
    const states = {
      optimizer: withoutNames(this.#parameters('forward'), this.optimizer, state.optimizer),
      inverseOptimizer:
        state.inverseOptimizer &&
        withoutNames(this.#parameters('learned'), this.#inverseOptimizer!, state.inverseOptimizer),
    };
    await callAsync(() => this.#handle.write(states));
    this.#progress.goTo(state);
    this.#diagnosed = -1;
  }

  /**
   * Goes on with the moments and the step count of another optimizer, such as readOptimizer() finds in a checkpoint
   * from Python; settings stay those of the constructor, and so do the position and the optimizer of inverses.
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
    while (this.#progress.stepInEpoch < stepsPerEpoch && this.#progress.step < maxSteps) {
      const position = { ...this.#progress.position(), batchSize: this.batchSize };
      yield* this.#diagnose(diagnostics, () => this.#handle.diagnose(handle, position));
      const count = Math.min(
        run,
        stepsPerEpoch - this.#progress.stepInEpoch,
        maxSteps - this.#progress.step,
        Number.isFinite(diagnostics) ? diagnostics - (this.#progress.step % diagnostics) : Infinity,
      );
      const factors = Float64Array.from({ length: count }, (_, i) =>
        learningRateFactor(this.lrSchedule, this.#progress.step + i, stepsPerEpoch, epochs),
      );
      const start = performance.now();
      const pass = await this.#network.stoppable(signal, (job) =>
        this.#handle.run(handle, position, factors, { ...this.#progress.sums, error5: 0 }, job),
      );
      this.#progress.take(pass, pass, (performance.now() - start) / 1000);
      throwIfAborted(signal);
      yield this.#progress.event(options, stepsPerEpoch);
      run = Math.max(1, Math.min(2 * run, Math.round((RUN_SECONDS / pass.seconds) * pass.steps)));
    }
    return this.#progress.stepInEpoch >= stepsPerEpoch;
  }

  /**
   * The same for a stream, of which the next batch is asked for while a step runs. On a GPU steps are only given to it:
   * what comes of them is collected when there is something to report. @returns whether it ended
   */
  async *#passOverBatches(
    source: BatchSource | BatchStream,
    options: FitOptions,
  ): AsyncGenerator<ProgressEvent | DiagnosticsEvent, boolean, void> {
    const { epochs, maxSteps = Infinity, diagnostics = Infinity, signal } = options;
    const progress = this.#progress;
    const stepsPerEpoch = isFunction(source) ? options.stepsPerEpoch : source.batches;
    const batches = isFunction(source)
      ? source(progress.epoch + 1)
      : source.epoch(progress.epoch, progress.stepInEpoch);
    const reader = new BatchReader(batches, this.#network.spec);
    const onGpu = this.#network.device !== 'cpu';
    let steps: LaunchedSteps | null = null;
    try {
      if (isFunction(source)) await reader.skip(progress.stepInEpoch, signal);
      steps = new LaunchedSteps(this.#handle, progress, reader);
      let lastEvent = performance.now();
      while (steps.step < maxSteps) {
        const batch = await reader.read(signal);
        if (batch === null) {
          await steps.collect();
          if (progress.sums.examples === 0) throw invalid('data', 'at least one batch in an epoch', 'none');
          return true;
        }
        if (this.#wantsDiagnosis(diagnostics, steps.step)) {
          await steps.collect();
          const start = performance.now();
          yield* this.#diagnose(diagnostics, () => this.#handle.diagnoseBatch(batch, progress.position()));
          steps.leaveOut(start);
        }
        const factor = learningRateFactor(this.lrSchedule, steps.step, stepsPerEpoch ?? 1, epochs);
        const launched = steps.launch(batch, factor);
        launched.catch(() => undefined); // thrown below, unless lookAhead() does
        if (steps.step < maxSteps) reader.lookAhead();
        await launched;
        const due = performance.now() - lastEvent > 200;
        if (!onGpu || due) await steps.collect();
        if (due) {
          const start = performance.now();
          yield progress.event(options, stepsPerEpoch ?? null);
          steps.leaveOut(start); // what whoever listens did
          lastEvent = performance.now();
        }
      }
      await steps.collect();
      return !isFunction(source) && progress.stepInEpoch >= source.batches;
    } finally {
      // Left early, by an abort or an error: the steps that were given are made all the same.
      await steps?.collect().catch(() => undefined);
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
    if (!this.#wantsDiagnosis(every, this.#progress.step)) return;
    this.#diagnosed = this.#progress.step;
    yield {
      type: 'diagnostics',
      epoch: this.#progress.epoch + 1,
      step: this.#progress.step,
      layers: await callAsync(layers),
    };
  }

  /** Of what the rule learns beside the task; null: it learns no parameters, at most a state. */
  get #inverseOptimizer(): ResolvedOptimizer | null {
    return this.#parameters('learned').length === 0 ? null : (this.#ofRule?.inverseOptimizer ?? null);
  }

  /** What a rule of one's own learns is known by its parameters. */
  #checkLearned({ name }: OwnRule, { inverseOptimizer }: TrainerOptions): void {
    const learned = this.#parameters('learned').length;
    if (learned > 0 && this.#ofRule === null)
      throw new CortorchError('ERR_RULE', `rule ${name} has parameters to learn, but learns in no phase (learns_in)`);
    if (learned === 0 && inverseOptimizer !== undefined)
      throw unusedOption('inverseOptimizer', `rule ${name}, which has no parameters to learn`, 'choose another rule');
  }

  #parameters(role: ParameterInfo['role']): ParameterInfo[] {
    return this.#network.parameters.filter((parameter) => parameter.role === role);
  }

  async #score(
    data: Dataset | BatchStream | null | undefined,
    signal: AbortSignal | undefined,
  ): Promise<Scores | null> {
    if (data === null || data === undefined) return null;
    const { loss, error, error5 } = await this.#network.evaluate(data, { signal });
    return { loss, error, error5 };
  }
}
