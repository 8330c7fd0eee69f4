/**
 * A learning rule: one object that answers what a network, a trainer, the budget, checkpoints and the command line ask.
 * Nobody asks for its name. The families are gradient.ts, direct.ts and target.ts; names.ts lists the rules, and ask.ts
 * puts the questions whose answers name other rules.
 */

import type { Shape } from '../model/shapes.js';
import type { ResolvedSpec } from '../model/spec.js';
import type { ResolvedOptimizer } from '../training/optimizer.js';
import { resolveEach, type Given, type Named, type OptionTable } from './options.js';

/** The options of a network's rule, all that the rule has: plain data, as in a checkpoint. */
export type RuleValues = Readonly<Record<string, string | number>>;

/** What an epoch trains: the layers by their targets, the inverses, or both. */
export type Phase = 'forward' | 'inverse' | 'both';

/** Why a rule does not train a network. */
export interface Refusal {
  /** A sentence's beginning that names the layer. */
  readonly what: string;
  /** A change to the network with which it would; there are rules that train it as it is. */
  readonly remedy?: string;
}

/** A tensor of the state_dict that a rule gives a network, beside weights and biases. */
export interface OwnParameter {
  readonly name: string;
  readonly shape: Shape;
  /** Learned by the rule, beside the task, or not trained. */
  readonly role: 'learned' | 'fixed';
  /** Among what it is told, when memory is. */
  readonly kind: 'feedback' | 'inverse' | 'auxiliary';
  /** The layer with weights that it belongs to, from 0; null: to none alone. */
  readonly layer: number | null;
}

/** What a step holds beside what bp's does and the rule's parameters, in values. */
export interface StepMemory {
  /** Feedback that a step makes of the weights. */
  readonly feedback: number;
  /** Of one example, at one layer at a time. */
  atLayer(input: number, output: number): number;
  /** Of one example. */
  readonly perExample: number;
}

/** Options with which a network is smaller. */
export interface Saving {
  /** How a remedy calls it. */
  readonly name: string;
  /** Those that change. */
  readonly options: RuleValues;
}

/** What a trainer sets for a rule: plain data, as the addon takes it. */
export interface RuleSettings {
  /** Of what the rule learns beside the task; null: nothing. */
  readonly inverseOptimizer: ResolvedOptimizer | null;
}

/** By name; null is as if it were not there. */
export type StepSettings = Readonly<Record<string, number | string | readonly number[] | null>>;

/** What the settings of a trainer depend on. */
export interface RuledNetwork {
  readonly spec: ResolvedSpec;
  readonly options: RuleValues;
}

export interface Rule<
  Name extends string = string,
  Options extends OptionTable = OptionTable,
  TrainerOptions extends OptionTable = OptionTable,
  Settings extends RuleSettings = RuleSettings,
> {
  readonly name: Name;
  /** How a sentence calls its kind: "a rule of target propagation". */
  readonly family: string;
  /** Options of a network; they travel from the flag to the checkpoint. */
  readonly options: Options;
  /** Options of a trainer. */
  readonly trainerOptions: TrainerOptions;
  /** Options of its kin that it has not: why, as the end of a sentence's "rule X, …". */
  readonly lacks: Readonly<Record<string, string>>;

  /** What stands in the way of training a network. */
  refusals(spec: ResolvedSpec): readonly Refusal[];
  /** Those of a network that it trains. */
  parameters(spec: ResolvedSpec, options: RuleValues): readonly OwnParameter[];
  /** Of a network that it trains. */
  stepMemory(spec: ResolvedSpec, options: RuleValues): StepMemory;
  savings(options: RuleValues): readonly Saving[];

  /**
   * What a trainer sets, from its options; those that the rule does not have are refused before.
   *
   * @returns null: nothing
   * @throws CortorchError ERR_INVALID_ARGUMENT, ERR_UNUSED_OPTION
   */
  settings(given: Given, network: RuledNetwork, named: Named): Settings | null;
  /** What the addon is told of them: what a step depends on. null is as if it were not there. */
  ofSteps(settings: Settings): StepSettings;
  /** What epoch `epoch` (from 0) trains. */
  phaseOf(settings: Settings | null, epoch: number): Phase;
}

/** A rule that loadRule() gave, for the `rule` of a network. Its options are the network's `ruleOptions`. */
export interface OwnRule extends Rule {
  /** Of the file, and of what it includes beside cortorch's headers: a run goes on with the same alone. */
  readonly sha256: string;
}

/** Of bp: nothing more. */
export const noStepMemory: StepMemory = { feedback: 0, atLayer: () => 0, perExample: 0 };

/** A rule of some answers; the others are bp's. */
export function defineRule<
  const Name extends string,
  Options extends OptionTable = OptionTable,
  TrainerOptions extends OptionTable = OptionTable,
  Settings extends RuleSettings = RuleSettings,
>(
  answers: Pick<Rule<Name>, 'name' | 'family'> & Partial<Rule<Name, Options, TrainerOptions, Settings>>,
): Rule<Name, Options, TrainerOptions, Settings> {
  const { trainerOptions = {} as TrainerOptions } = answers;
  return {
    options: {} as Options,
    trainerOptions,
    lacks: {},
    refusals: () => [],
    parameters: () => [],
    stepMemory: () => noStepMemory,
    savings: () => [],
    settings(given, _, named) {
      if (Object.keys(trainerOptions).length === 0) return null;
      const values: RuleSettings = { inverseOptimizer: null, ...resolveEach(trainerOptions, given, named) };
      return values as Settings;
    },
    ofSteps({ inverseOptimizer: _, ...settings }) {
      return settings as StepSettings;
    },
    phaseOf: () => 'forward',
    ...answers,
  };
}

/** The inverse of a layer: which one it undoes, and the shapes of its parameters. */
export interface InverseShapes {
  /** Which layer with parameters it undoes, from 0. */
  readonly layer: number;
  /** The layer's own; under ao-sdtp the last is [outputs + auxiliary, in]. */
  readonly weight: Shape;
  /** Of the layer's input. */
  readonly bias: Shape;
}

/** The inverses among a rule's parameters, from below. */
export function inversesAmong(parameters: readonly OwnParameter[]): readonly InverseShapes[] {
  const shapes = (part: string): OwnParameter[] =>
    parameters.filter(({ kind, name }) => kind === 'inverse' && name.endsWith(part));
  const biases = new Map(shapes('.bias').map(({ layer, shape }) => [layer, shape]));
  return shapes('.weight').map(({ layer, shape }) => ({ layer: layer!, weight: shape, bias: biases.get(layer)! }));
}
