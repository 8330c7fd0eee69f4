/** Scopes free the tensors made inside them, so that a loop holds no more memory than one turn of it. */

import { CortorchError } from '../errors.js';

interface Disposable {
  dispose(): void;
}

const scopes: Set<Disposable>[] = [];

/** Called by every new tensor. */
export function track(tensor: Disposable): void {
  scopes.at(-1)?.add(tensor);
}

/**
 * Runs `fn` and disposes of every tensor that was made in it, except those it returns (alone, or in an array or
 * a plain object, at any depth); these belong to the scope around, if there is one.
 *
 * @throws CortorchError ERR_INVALID_ARGUMENT if `fn` is asynchronous: what runs between its awaits could not
 *   be told from what other code does meanwhile
 */
export function scope<T>(fn: () => T): T {
  const made = new Set<Disposable>();
  scopes.push(made);
  let result: T;
  try {
    result = fn();
  } catch (error) {
    scopes.pop();
    disposeAll(made);
    throw error;
  }
  scopes.pop();
  if (result instanceof Promise) {
    // Nothing waits for it any more; what it made so far goes, and using that is an ERR_DISPOSED of its own.
    result.catch(() => undefined);
    disposeAll(made);
    throw new CortorchError(
      'ERR_INVALID_ARGUMENT',
      'scope() expects a synchronous function, but this one returned a promise; await first and open the scope around what follows, or use `using`',
    );
  }
  keep(result, made, new Set());
  disposeAll(made);
  return result;
}

function disposeAll(made: Set<Disposable>): void {
  for (const tensor of made) tensor.dispose();
}

/** Takes what `value` holds out of `made`. */
function keep(value: unknown, made: Set<Disposable>, seen: Set<unknown>): void {
  if (typeof value !== 'object' || value === null || seen.has(value)) return;
  seen.add(value);
  if (made.delete(value as Disposable)) {
    track(value as Disposable);
    return;
  }
  if (Array.isArray(value)) for (const item of value) keep(item, made, seen);
  else if (Object.getPrototypeOf(value) === Object.prototype) {
    for (const item of Object.values(value)) keep(item, made, seen);
  }
}
