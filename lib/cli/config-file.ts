/** Settings from a file: what somebody wrote by hand, or the `config.json` of a run. */

import { readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { CortorchError, isPlainObject, isString, show } from '../errors.js';
import { parseNetworkSpec, type ResolvedSpec } from '../model/spec.js';
import { parseOwnRule, type RecordedOwnRule } from '../rules/names.js';
import { isRuleFile, parseOptions, type Given, type OptionName } from './options.js';

/** Settings, and the network where the file holds it: a run's `config.json` does. */
export interface SavedSettings<Name extends OptionName> {
  readonly values: Given<Name>;
  readonly network: ResolvedSpec | undefined;
  /** The digest of the images, where the file holds it. */
  readonly images: string | undefined;
  /** A rule of one's own, where the file records it; null: it does not. */
  readonly own: RecordedOwnRule | null;
}

/**
 * Reads a YAML or JSON file of settings.
 *
 * It names no file to load: a rule of one's own is there by its name and digest, and a path is refused.
 *
 * @param known the settings it may have, beside `network`, `images`, `versions`, `ruleOptions` and `ruleSha256`
 * @throws CortorchError ERR_USAGE, ERR_UNKNOWN_OPTION, ERR_UNUSED_OPTION or ERR_INVALID_SPEC, naming file and key
 */
export async function readConfigFile<Name extends OptionName>(
  path: string,
  known: readonly Name[],
): Promise<SavedSettings<Name>> {
  const content = await parseFile(path);
  if (!isPlainObject(content)) {
    throw new CortorchError('ERR_USAGE', `${path}: expected settings, one a line, such as "epochs: 5"`);
  }
  const { network, images, versions: _, ruleOptions, ruleSha256, ...given } = content;
  const name = basename(path);
  const own = ownRuleIn(name, { rule: given['rule'], ruleOptions, ruleSha256 });
  if (own !== null) delete given['rule'];
  return {
    values: parseOptions(given, known, (key) => `${key} in ${name}`),
    own,
    network: network === undefined ? undefined : parseNetworkSpec(network),
    images: isString(images) ? images : undefined,
  };
}

function ownRuleIn(name: string, record: Record<string, unknown>): RecordedOwnRule | null {
  const { rule, ruleOptions, ruleSha256 } = record;
  if (isRuleFile(rule)) {
    const what = `${name} names a file as its rule, ${show(rule)}, and a configuration never names code to load`;
    throw new CortorchError('ERR_USAGE', `${what}; take it out, and add --rule ./FILE.cpp if you trust the file`);
  }
  if (ruleOptions !== undefined && ruleSha256 === undefined) {
    const what = `ruleOptions in ${name} is not used without ruleSha256 beside it, as a run records them`;
    throw new CortorchError('ERR_UNUSED_OPTION', `${what}; write rule-option: [NAME=VALUE]`);
  }
  try {
    return parseOwnRule(record);
  } catch (error) {
    if (!(error instanceof CortorchError)) throw error;
    throw new CortorchError('ERR_USAGE', `${name}: ${error.message}`, { cause: error });
  }
}

async function parseFile(path: string): Promise<unknown> {
  const text = await readText(path);
  const { parse } = await import('yaml'); // JSON is YAML
  try {
    return parse(text);
  } catch (error) {
    // The first line says what and where; the others show the place once more.
    const [what] = (error as Error).message.split('\n');
    throw new CortorchError('ERR_USAGE', `${path} is neither YAML nor JSON: ${what}`, { cause: error });
  }
}

/** A network's spec from a JSON file. @throws CortorchError ERR_INVALID_SPEC naming file and key, ERR_USAGE */
export async function readSpecFile(path: string): Promise<ResolvedSpec> {
  const text = await readText(path);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new CortorchError('ERR_INVALID_SPEC', `${path} is not JSON: ${(error as Error).message}`, {
      cause: error,
    });
  }
  try {
    return parseNetworkSpec(value);
  } catch (error) {
    if (!(error instanceof CortorchError)) throw error;
    throw new CortorchError(error.code, `${path}: ${error.message}`, { cause: error });
  }
}

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const reason = code === 'ENOENT' ? 'there is no such file' : message;
    throw new CortorchError('ERR_USAGE', `cannot read ${path}: ${reason}`, { cause: error });
  }
}
