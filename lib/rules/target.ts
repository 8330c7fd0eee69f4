/**
 * Target propagation (Lee et al. 2015; Bartunov et al. 2018): targets, or differences of activities and targets, go
 * down by learned inverses. What its papers leave open is an option here.
 */

import { invalid } from '../errors.js';
import { isMap, nameOf } from '../model/layers.js';
import { AUXILIARY_PREFIX, inversePrefix } from '../model/parameter-names.js';
import { placeLayers, product, type Shape } from '../model/shapes.js';
import { sitesOf } from '../model/sites.js';
import type { ResolvedSpec } from '../model/spec.js';
import type { OptimizerOptions, ResolvedOptimizer } from '../training/optimizer.js';
import { choice, number, optimizer, perInverse, resolveEach, unusedOption, type OptionTable } from './options.js';
import { defineRule, inversesAmong, type OwnParameter, type Refusal, type RuleValues } from './rule.js';

/**
 * Target propagation (Lee et al. 2015; Bartunov et al. 2018), by learned inverses: `tp` sends targets down, `dtp`
 * differences, with the penultimate target from the gradient, `sdtp` differences from the output on, `ao-sdtp` the
 * same with auxiliary outputs.
 */
export type TargetRuleName = 'tp' | 'dtp' | 'sdtp' | 'ao-sdtp';

/**
 * When the two losses of target propagation are trained on: both on every batch, from the same parameters
 * (`parallel`), or in whole epochs by turns (`alternating`).
 */
export type ScheduleName = 'parallel' | 'alternating';

/** What an inverse gives back from the noisy activity h̃ is compared with h̃ itself, or with h. */
export type InverseLoss = 'noise-preserving' | 'de-noising';

export type TargetStepLoss = 'example' | 'batch-mean';

export type LossReduction = 'sum' | 'mean';

export interface TargetOptions {
  /** Default `parallel`. */
  readonly schedule?: ScheduleName | undefined;
  /** Of an alternating schedule; default `inverse`, as in Lee's code. */
  readonly firstPhase?: 'inverse' | 'forward' | undefined;
  /** Of the inverses; default: Adam with a learning rate of 0.001. */
  readonly inverseOptimizer?: OptimizerOptions | undefined;
  /** σ of the noise that inverses are trained with: one number, or one for each inverse from below. Default 0.1. */
  readonly noise?: number | readonly number[] | undefined;
  /** Default: `noise-preserving` under tp and dtp, `de-noising` under sdtp and ao-sdtp. */
  readonly inverseLoss?: InverseLoss | undefined;
  /** α of dtp: the penultimate target is h − α ∂L/∂h. Default 0.1. */
  readonly targetStep?: number | undefined;
  /** Of dtp: whether L is the loss of an example or the mean over the batch. Default `example`. */
  readonly targetStepLoss?: TargetStepLoss | undefined;
  /** Local squared losses, forward and inverse: summed over the units or averaged. Default `sum`. */
  readonly lossReduction?: LossReduction | undefined;
}

export interface ResolvedTargets {
  readonly schedule: ScheduleName;
  /** null: the schedule is parallel */
  readonly firstPhase: 'inverse' | 'forward' | null;
  readonly inverseOptimizer: ResolvedOptimizer;
  /** One for each inverse. */
  readonly noise: readonly number[];
  readonly inverseLoss: InverseLoss;
  /** null: not of dtp */
  readonly targetStep: number | null;
  readonly targetStepLoss: TargetStepLoss | null;
  readonly lossReduction: LossReduction;
}

const family = 'target propagation';
const heading = 'Target propagation';

/** In the order in which a run's config.json has them, before those of a step. */
const learning = (inverseLoss: InverseLoss) => ({
  schedule: choice<ScheduleName>(['parallel', 'alternating'], 'parallel', {
    describe: 'Both losses on every batch (parallel, default), or epochs by turns (alternating)',
    heading,
  }),
  firstPhase: choice<'inverse' | 'forward'>(['inverse', 'forward'], 'inverse', {
    describe: 'alternating: which epoch is first, inverse (default) or forward',
    heading,
  }),
  inverseOptimizer: optimizer(),
  noise: perInverse(0.1, {
    describe: 'Deviation of the noise that inverses learn with: σ, or one for each inverse: a,b,c',
    heading,
  }),
  inverseLoss: choice<InverseLoss>(['noise-preserving', 'de-noising'], inverseLoss, {
    describe: 'What inverses give back: noise-preserving (tp, dtp), de-noising (sdtp, ao-sdtp)',
    heading,
  }),
});

/** Of a rule whose penultimate target comes from the gradient. */
const step = {
  targetStep: number('positive', 0.1, { describe: 'dtp: α, the step to the penultimate target', heading }),
  targetStepLoss: choice<TargetStepLoss>(['example', 'batch-mean'], 'example', {
    describe: 'dtp: α times the gradient of an example (default) or batch-mean loss',
    heading,
  }),
};
const noStep = { targetStep: null, targetStepLoss: null };
const withoutStep = 'whose penultimate target comes from the inverse of the output layer';

const reduction = {
  lossReduction: choice<LossReduction>(['sum', 'mean'], 'sum', {
    describe: 'Local squared losses: sum over units (default) or mean',
    heading,
  }),
};

const auxiliary = {
  // The default is that of the paper's CIFAR networks.
  auxiliary: number('count', 512, {
    describe: 'ao-sdtp: auxiliary outputs (default 512)',
    heading,
    hint: 'without auxiliary outputs the rule is sdtp',
  }),
};

export const tp = targetRule({
  name: 'tp',
  options: {},
  trainerOptions: { ...learning('noise-preserving'), ...reduction },
  invertsLast: true,
});

export const dtp = targetRule({
  name: 'dtp',
  options: {},
  trainerOptions: { ...learning('noise-preserving'), ...step, ...reduction },
  invertsLast: false,
});

export const sdtp = targetRule({
  name: 'sdtp',
  options: {},
  trainerOptions: { ...learning('de-noising'), ...reduction },
  invertsLast: true,
});

export const aoSdtp = targetRule({
  name: 'ao-sdtp',
  options: auxiliary,
  trainerOptions: { ...learning('de-noising'), ...reduction },
  invertsLast: true,
});

export const targetRuleNames: readonly TargetRuleName[] = [tp, dtp, sdtp, aoSdtp].map(({ name }) => name);

/** What the rules of the family differ in. */
interface Variant<Name extends string, Options, TrainerOptions> {
  readonly name: Name;
  readonly options: Options;
  readonly trainerOptions: TrainerOptions;
  /** Whether the target of the last hidden layer comes through an inverse of the last layer; else from the gradient. */
  readonly invertsLast: boolean;
}

function targetRule<
  const Name extends TargetRuleName,
  Options extends OptionTable,
  TrainerOptions extends ReturnType<typeof learning> & typeof reduction,
>({ name, options, trainerOptions, invertsLast }: Variant<Name, Options, TrainerOptions>) {
  const parameters = (spec: ResolvedSpec, values: RuleValues): readonly OwnParameter[] => [
    ...inverses(spec, auxiliaryOf(values), invertsLast),
    ...features(spec, auxiliaryOf(values)),
  ];
  return defineRule<Name, Options, TrainerOptions, ResolvedTargets>({
    ...{ name, family, options, trainerOptions, parameters },
    lacks: invertsLast ? { targetStep: withoutStep, targetStepLoss: withoutStep } : {},
    refusals: (spec) => [
      ...betweenLayers(spec, name),
      // Of the first layer there is no inverse.
      ...tooFewLayers(spec, name, invertsLast ? 2 : 3),
      ...('auxiliary' in options ? lastNotDense(spec) : []),
    ],
    stepMemory: (_, values) => ({
      feedback: 0,
      // Its target, or the training of its inverse.
      atLayer: (input, output) => 3 * (input + output),
      perExample: 6 * (auxiliaryOf(values) ?? 0),
    }),
    settings(given, network, named) {
      const { firstPhase, noise, ...values } = resolveEach<ReturnType<typeof learning> & typeof reduction>(
        trainerOptions,
        given,
        named,
      );
      const parallel = values.schedule === 'parallel';
      if (parallel && given['firstPhase'] !== undefined) {
        throw unusedOption(named('firstPhase'), 'the parallel schedule', 'choose the alternating one');
      }
      const count = inversesAmong(parameters(network.spec, network.options)).length;
      return {
        ...values,
        firstPhase: parallel ? null : firstPhase,
        noise: forEachInverse(noise, count, named('noise')),
        ...(invertsLast ? noStep : resolveEach(step, given, named)),
      };
    },
    ofSteps: ({ noise, inverseLoss, targetStep, targetStepLoss, lossReduction }) => ({
      ...{ noise, inverseLoss, targetStep, targetStepLoss, lossReduction },
    }),
    phaseOf(settings, epoch) {
      const { firstPhase } = settings!;
      if (firstPhase === null) return 'both';
      const other = firstPhase === 'inverse' ? 'forward' : 'inverse';
      return epoch % 2 === 0 ? firstPhase : other;
    },
  });
}

/** null: there are none */
const auxiliaryOf = (values: RuleValues): number | null => (values['auxiliary'] as number | undefined) ?? null;

/** From below: of every layer but the first, and the last only if its target goes through one. */
function inverses(spec: ResolvedSpec, extra: number | null, invertsLast: boolean): readonly OwnParameter[] {
  const sites = sitesOf(spec);
  const top = sites.length - 1;
  return sites.slice(1, invertsLast ? undefined : -1).flatMap(({ index, weight, input }) => {
    const shape = index < top || extra === null ? weight : [weight[0]! + extra, product(input)];
    return weightAndBias(inversePrefix(index), shape, input, { role: 'learned', kind: 'inverse', layer: index });
  });
}

/** W_z and b_z, the random features of auxiliary outputs. */
function features(spec: ResolvedSpec, extra: number | null): readonly OwnParameter[] {
  if (extra === null) return [];
  const below = product(sitesOf(spec).at(-1)!.input);
  return weightAndBias(AUXILIARY_PREFIX, [extra, below], [extra], { role: 'fixed', kind: 'auxiliary', layer: null });
}

const weightAndBias = (
  prefix: string,
  weight: Shape,
  bias: Shape,
  rest: Omit<OwnParameter, 'name' | 'shape'>,
): readonly OwnParameter[] => [
  { name: `${prefix}.weight`, shape: weight, ...rest },
  { name: `${prefix}.bias`, shape: bias, ...rest },
];

/** Targets go down by inverses alone, so that between two layers with weights there may only be a flatten. */
function betweenLayers(spec: ResolvedSpec, rule: string): readonly Refusal[] {
  const placed = placeLayers(spec);
  const first = placed.findIndex(({ layer }) => isMap(layer));
  return placed.flatMap(({ layer, where }, i): Refusal[] => {
    const called = nameOf(where, layer);
    if (layer.type === 'batch-norm' || layer.type === 'residual') {
      const what = layer.type === 'residual' ? 'a residual block' : 'a batch-norm layer';
      return [{ what: `${called}: rule ${rule} does not go through ${what}` }];
    }
    if (i < first || isMap(layer) || layer.type === 'flatten') return [];
    const what =
      `${called}: a ${layer.type} layer has no inverse, and rule ${rule} needs one for every layer above the first ` +
      'with parameters';
    return [{ what, remedy: 'use a stride in the layer below instead' }];
  });
}

function tooFewLayers(spec: ResolvedSpec, rule: string, least: number): readonly Refusal[] {
  const count = sitesOf(spec).length;
  if (count >= least) return [];
  const what =
    `layers: rule ${rule} needs ${least} layers with parameters or more, so that there is an inverse to learn, ` +
    `but there ${count === 1 ? 'is 1' : `are ${count}`}`;
  return [{ what, remedy: 'add a hidden layer' }];
}

function lastNotDense(spec: ResolvedSpec): readonly Refusal[] {
  const { layer, where } = sitesOf(spec).at(-1)!;
  if (layer.type === 'dense') return [];
  return [{ what: `${nameOf(where, layer)}: auxiliary outputs need a dense last layer`, remedy: 'add one' }];
}

function forEachInverse(noise: number | readonly number[], count: number, name: string): readonly number[] {
  if (typeof noise === 'number') return Array<number>(count).fill(noise);
  if (noise.length === count) return [...noise];
  throw invalid(name, `one number, or ${count}: one for each inverse from below`, noise);
}
