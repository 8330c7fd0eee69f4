/** Small things about settings as they were given. */

import { CortorchError } from '../errors.js';
import { kebab, type OptionName } from './options.js';

/** Those of the keys that have a value. */
export function pick<T extends object, K extends keyof T>(from: T, keys: readonly K[]): Pick<T, K> {
  const entries = keys.filter((key) => from[key] !== undefined).map((key) => [key, from[key]]);
  return Object.fromEntries(entries) as Pick<T, K>;
}

export function missing(name: OptionName, example: string): CortorchError {
  return new CortorchError('ERR_USAGE', `--${kebab(name)} is missing: ${example}`);
}

export function unused(name: OptionName, by: string, remedy: string): CortorchError {
  return new CortorchError('ERR_UNUSED_OPTION', `--${kebab(name)} is not used by ${by}; ${remedy}`);
}
