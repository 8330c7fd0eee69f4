/** Rules of other people: one C++ file each, compiled once and loaded into this process. */

import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { compileRule } from '../../scripts/compile-rule.mjs';
import { CortorchError, invalid } from '../errors.js';
import { call, callAsync, type NativeRuleDeclaration } from '../native.js';
import { registerRule } from './names.js';
import { choice, optimizer, type OptionTable, type RuleOption } from './options.js';
import { defineRule, type OwnRule, type Phase, type Rule, type RuleSettings } from './rule.js';

/** How it learns beside the task, if it does. */
interface OwnSettings extends RuleSettings {
  readonly schedule?: 'parallel' | 'alternating';
}

/**
 * Compiles a rule's file, unless that was done before, and loads it. It is native code with your rights, so name files
 * that you trust. A process takes one rule of a name.
 *
 * @param file C++ that includes `rules/own_rule.h` and ends with CORTORCH_RULE; see docs/own-rules.md
 * @throws CortorchError ERR_RULE with the compiler's own words, or if the name is taken; ERR_COMPILER_NOT_FOUND
 */
export async function loadRule(file: string | URL): Promise<OwnRule> {
  const name: unknown = file instanceof URL ? fileURLToPath(file) : file;
  if (typeof name !== 'string' || name === '') throw invalid('file', 'a path to a C++ file', file);
  const { library, build, sha256 } = await callAsync(() => compileRule(path.resolve(name)));
  return registerRule({ ...entryOf(load(library, build, name)), sha256 });
}

function load(library: string, build: string, file: string): NativeRuleDeclaration {
  try {
    return call((n) => n.loadRule(library, build));
  } catch (error) {
    throw new CortorchError('ERR_RULE', `${file}: ${(error as Error).message}`, { cause: error });
  }
}

function entryOf({ name, learns, options }: NativeRuleDeclaration): Rule {
  const entries = options.map((option): [string, RuleOption] => [option.name, optionOf(option)]);
  const learnsAtAll = Object.values(learns).some(Boolean);
  const trainerOptions: OptionTable = learnsAtAll ? { ...schedules(learns), inverseOptimizer: optimizer() } : {};
  return defineRule<string, OptionTable, OptionTable, OwnSettings>({
    ...{ name, family: 'rules of your own', options: Object.fromEntries(entries), trainerOptions },
    // The schedule is this side's: a step is told its phase.
    ofSteps: () => ({}),
    phaseOf(settings, epoch): Phase {
      if (!learns.both) return 'forward';
      if (settings?.schedule !== 'alternating') return 'both';
      return epoch % 2 === 0 ? 'inverse' : 'forward';
    },
  });
}

/** Where there is a choice of when it learns. */
function schedules(learns: NativeRuleDeclaration['learns']): OptionTable {
  if (!learns.both) return {};
  const heading = 'Model';
  return { schedule: choice(['parallel', 'alternating'], 'parallel', { describe: 'When it learns', heading }) };
}

function optionOf({ help, ...option }: NativeRuleDeclaration['options'][number]): RuleOption {
  const text = { describe: help, heading: 'Model' } as const;
  if (option.words !== undefined)
    return { kind: 'choice', words: option.words, default: option.default as string, ...text };
  const { whole, least, most } = option;
  return { kind: 'number', whole, least, most, default: option.default as number, ...text };
}
