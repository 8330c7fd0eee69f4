/** Errors of specs: each names the key. */

import { CortorchError, show } from '../errors.js';
import { didYouMean } from '../suggest.js';

export const specError = (message: string): CortorchError => new CortorchError('ERR_INVALID_SPEC', message);

/** The error for a value, returned so that the caller throws it. */
export const wrong = (key: string, expected: string, received: unknown, hint = ''): CortorchError =>
  specError(`${key}: expected ${expected} but received ${show(received)}${hint}`);

/**
 * @param prefix of the keys in an error, such as `layers[2].`
 * @throws CortorchError ERR_INVALID_SPEC for a key that is not known
 */
export function checkKeys(value: object, known: readonly string[], prefix: string): void {
  for (const key of Object.keys(value)) {
    if (known.includes(key)) continue;
    const hint = didYouMean(key, known) || `; the keys are ${known.join(', ')}`;
    throw specError(`${prefix}${key}: there is no such key${hint}`);
  }
}
