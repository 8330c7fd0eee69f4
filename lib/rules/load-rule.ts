/** Rules of other people: one C++ file each, compiled once and loaded into this process. */

import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { compileRule } from '../../scripts/compile-rule.mjs';
import { CortorchError, invalid } from '../errors.js';
import { call, callAsync, type NativeRuleDeclaration } from '../native.js';
import { registerRule } from './names.js';
import { choice, optimizer, resolveOption, type OptionTable, type RuleOption } from './options.js';
import { defineRule, type OwnRule, type Phase, type Rule, type RuleSettings } from './rule.js';

/** How it learns beside the task, if it does. */
interface OwnSettings extends RuleSettings {
  readonly schedule?: 'parallel' | 'alternating';
}

/**
 * Compiles a rule's file, unless that was done before, and loads it. It is native code with your rights, so name files
 * that you trust. A process takes one rule of a name; the same file again gives the same rule.
 *
 * @example
 * const mine = await loadRule('./my-rule.cpp');
 * using net = new Network(preset('mnist-fc'), { rule: mine, ruleOptions: { every: 50 } });
 *
 * @param file C++ that includes `rules/own_rule.h` and ends with CORTORCH_RULE; see docs/own-rules.md
 * @throws CortorchError ERR_RULE with the compiler's own words, or if the file cannot be read, declares no rule, or one
 *   whose name is taken; ERR_COMPILER_NOT_FOUND, ERR_CACHE_NOT_WRITABLE, ERR_NATIVE_NOT_BUILT
 */
export async function loadRule(file: string | URL): Promise<OwnRule> {
  const name: unknown = file instanceof URL ? fileURLToPath(file) : file;
  if (typeof name !== 'string' || name === '') throw invalid('file', 'a path to a C++ file', file);
  const { library, build, sha256 } = await callAsync(() => compileRule(path.resolve(name)));
  return registerRule({ ...entryOf(load(library, build, name), name), sha256 });
}

function load(library: string, build: string, file: string): NativeRuleDeclaration {
  try {
    return call((n) => n.loadRule(library, build));
  } catch (error) {
    if (!(error instanceof CortorchError) || error.code !== 'ERR_NATIVE') throw error;
    throw wrong(file, error.message, error);
  }
}

const wrong = (file: string, what: string, cause?: unknown): CortorchError =>
  new CortorchError('ERR_RULE', `${file}: ${what}`, { cause });

/** What the options of a rule may be called: they are keys of JSON, and words of the command line. */
const isOptionName = (name: string): boolean => /^[a-z][A-Za-z0-9-]*$/.test(name);

/** For the package's own use: the entry of what a file declares. @throws CortorchError ERR_RULE */
export function entryOf({ name, learns, options }: NativeRuleDeclaration, file: string): Rule {
  const table: Record<string, RuleOption> = {};
  for (const option of options) {
    const { name } = option;
    if (!isOptionName(name) || Object.hasOwn(table, name)) {
      const rule = 'its options have names of letters, digits and hyphens, each another one';
      throw wrong(file, `an option is called ${JSON.stringify(name)}; ${rule}, beginning with a small letter`);
    }
    table[name] = checked(optionOf(option), name, file);
  }
  const schedules = schedulesOf(learns);
  const learnsAtAll = Object.values(learns).some(Boolean);
  const trainerOptions: OptionTable = learnsAtAll
    ? { ...(schedules.length > 1 && { schedule: scheduleOption }), inverseOptimizer: optimizer() }
    : {};
  return defineRule<string, OptionTable, OptionTable, OwnSettings>({
    ...{ name, family: 'rules of your own', options: table, trainerOptions },
    // The schedule is this side's: a step is told its phase.
    ofSteps: () => ({}),
    phaseOf(settings, epoch): Phase {
      const [only = 'forward', ...others] = schedules;
      const schedule = others.length > 0 ? (settings?.schedule ?? 'parallel') : only;
      if (schedule === 'alternating') return epoch % 2 === 0 ? 'inverse' : 'forward';
      return schedule === 'parallel' ? 'both' : 'forward';
    },
  });
}

/** When it can learn beside the task. A rule that learns in `forward` alone learns with it, at every step. */
function schedulesOf({ both, inverse }: NativeRuleDeclaration['learns']): ('parallel' | 'alternating')[] {
  return [...(both ? (['parallel'] as const) : []), ...(inverse ? (['alternating'] as const) : [])];
}

const scheduleOption = choice(['parallel', 'alternating'], 'parallel', {
  describe: 'When it learns',
  heading: 'Model',
});

function optionOf({ help, ...option }: NativeRuleDeclaration['options'][number]): RuleOption {
  const text = { describe: help, heading: 'Model' } as const;
  if (option.words !== undefined)
    return { kind: 'choice', words: option.words, default: option.default as string, ...text };
  const { whole, least, most } = option;
  return { kind: 'number', whole, least, most, default: option.default as number, ...text };
}

function checked(option: RuleOption, name: string, file: string): RuleOption {
  try {
    resolveOption(option, undefined, name);
    return option;
  } catch (error) {
    throw wrong(file, `the default of its option ${name} is none: ${(error as Error).message}`, error);
  }
}
