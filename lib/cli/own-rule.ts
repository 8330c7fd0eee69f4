/**
 * Rules of one's own on the command line. Only a flag of this call names a file to compile and to load: what a
 * configuration, a run's folder or a checkpoint says is compared with it, and never opened.
 */

import { CortorchError } from '../errors.js';
import { loadRule } from '../rules/load-rule.js';
import type { RecordedOwnRule, RuleName } from '../rules/names.js';
import type { RuleOption } from '../rules/options.js';
import type { Rule, RuleValues } from '../rules/rule.js';
import type { RuleFile } from './options.js';

/** What a command's flags say of the rule. */
interface RuleFlags {
  readonly rule?: RuleName | RuleFile;
  readonly ruleOption?: Readonly<Record<string, string>>;
}

/** What they come to. */
export interface RuleSettings {
  readonly rule?: RuleName;
  readonly ruleOptions?: RuleValues;
  readonly ruleSha256?: string;
}

/** How an error calls a rule of one's own. */
export const shownOwn = ({ rule, ruleSha256 }: Pick<RecordedOwnRule, 'rule' | 'ruleSha256'>): string =>
  `${rule} (sha256 ${ruleSha256})`;

/** What was recorded of a rule of one's own, and where, for errors. */
export interface Recorded {
  readonly own: RecordedOwnRule;
  /** Such as `run.yaml`. */
  readonly where: string;
}

/**
 * The rule that the flags name, a file's compiled and loaded.
 *
 * @param recorded what a configuration or a run says of it
 * @throws CortorchError ERR_RULE if that is of another file than the flags', or they name none; as {@link loadRule}
 */
export async function ruleSettingsOf(
  { rule, ruleOption = {} }: RuleFlags,
  recorded: readonly Recorded[] = [],
): Promise<RuleSettings> {
  for (const { own, where } of recorded) {
    if (rule !== undefined) continue;
    throw new CortorchError(
      'ERR_RULE',
      `${where} has the rule ${shownOwn(own)}, which is a file's, and a file is loaded only where the command names it; ` +
        'add --rule ./FILE.cpp',
    );
  }
  if (typeof rule !== 'object') {
    const given = Object.keys(ruleOption).length > 0;
    return { ...(rule !== undefined && { rule }), ...(given && { ruleOptions: ruleOption }) };
  }
  const loaded = await loadRule(rule.file);
  const { name, sha256 } = loaded;
  for (const { own, where } of recorded) {
    if (own.rule === name && own.ruleSha256 === sha256) continue;
    throw new CortorchError(
      'ERR_RULE',
      `--rule ${rule.file} is the rule ${shownOwn({ rule: name, ruleSha256: sha256 })}, but ${where} has ${shownOwn(own)}; ` +
        'name the file as it was then, or begin a new run',
    );
  }
  return { rule: name as RuleName, ruleOptions: valued(loaded, ruleOption), ruleSha256: sha256 };
}

/** Texts as numbers, where the rule's options are numbers. */
const valued = (rule: Rule, texts: Readonly<Record<string, string>>): RuleValues =>
  Object.fromEntries(Object.entries(texts).map(([name, text]) => [name, valueOf(optionOf(rule, name), text)]));

const optionOf = (rule: Rule, name: string): RuleOption | undefined =>
  Object.hasOwn(rule.options, name) ? rule.options[name] : undefined;

/** What is no number stays a text: the error says what it may be. */
function valueOf(option: RuleOption | undefined, text: string): string | number {
  const number = text.trim() === '' ? NaN : Number(text);
  return option?.kind === 'number' && Number.isFinite(number) ? number : text;
}

/** Of a resolved configuration: `--rule-option every=5` for each. */
export const ruleOptionFlags = (options: RuleValues = {}): string =>
  Object.entries(options)
    .map(([name, value]) => ` --rule-option ${name}=${value}`)
    .join('');
