/** Which tensors of a file are which parameters of a network: by name and shape, with renaming. */

import { CortorchError } from '../errors.js';
import type { ParameterValue, StateDict } from './network.js';

/** How names may differ, and whether everything must fit. */
export interface MatchOptions {
  /**
   * Renames parameters before they are compared: from an exact name, or a prefix up to a dot, to another. The longest
   * that fits a name counts: `{ fc1: 'layers.0' }` makes `layers.0.weight` of `fc1.weight`.
   */
  readonly map?: Readonly<Record<string, string>> | undefined;
  /** Take what fits by name and shape, and leave the rest. Default: everything must fit. */
  readonly partial?: boolean | undefined;
}

/** What did not fit. Missing and misshaped names are the network's, unexpected ones the file's after renaming. */
export interface MatchReport {
  readonly missing: readonly string[];
  readonly unexpected: readonly string[];
  readonly misshaped: readonly Misshaped[];
}

export interface Misshaped {
  readonly name: string;
  readonly given: readonly number[];
  readonly wanted: readonly number[];
}

/** A likely renaming: the name or the prefix of a name, and what it probably should be. */
export interface Renaming {
  readonly from: string;
  readonly to: string;
}

export interface Match extends MatchReport {
  /** What fits, by the network's names. */
  readonly state: StateDict;
  /** Of unexpected names to missing ones of the same shape, in the order of both. */
  readonly suggestions: readonly Renaming[];
}

/** What torch.nn.DataParallel and torch.compile put before every name. */
const WRAPPERS = ['module.', '_orig_mod.'];

/** PyTorch's batch normalisation counts batches in it; nothing is computed with that here. */
const isCounter = (name: string): boolean => /(^|\.)num_batches_tracked$/.test(name);

/**
 * Finds a tensor for each parameter. Prefixes that DataParallel and torch.compile put before all names are taken off
 * first, then names are renamed by `map`; counters of batch normalisation that the network has not are left out.
 *
 * @param wanted the network's parameters
 * @param given the file's
 * @throws CortorchError ERR_CHECKPOINT_MISMATCH if a renaming is of no name, or makes two names one
 */
export function matchParameters(
  wanted: readonly { readonly name: string; readonly shape: readonly number[] }[],
  given: StateDict,
  { map = {} }: Pick<MatchOptions, 'map'> = {},
): Match {
  const shapes = new Map(wanted.map(({ name, shape }) => [name, shape]));
  const values = renamed(withoutWrappers(given), map);
  const state: StateDict = new Map();
  const missing: string[] = [];
  const misshaped: Misshaped[] = [];
  for (const [name, shape] of shapes) {
    const value = values.get(name);
    if (value === undefined) missing.push(name);
    else if (sameShape(value.shape, shape)) state.set(name, value);
    else misshaped.push({ name, given: value.shape, wanted: shape });
  }
  const unexpected = [...values.keys()].filter((name) => !shapes.has(name) && !isCounter(name));
  const likely = pairs(missing, unexpected, (to, from) => sameShape(shapes.get(to)!, values.get(from)!.shape));
  return { state, missing, unexpected, misshaped, suggestions: shortest(likely) };
}

/**
 * What did not fit, as the message of an error.
 *
 * @returns undefined if everything did
 */
export function describeMismatch(match: MatchReport & Partial<Match>): string | undefined {
  const { missing, unexpected, misshaped, suggestions = [] } = match;
  const shape = (sizes: readonly number[]): string => `[${sizes.join(', ')}]`;
  const wrong = misshaped.map(({ name, given, wanted }) => `${name} (is ${shape(given)}, should be ${shape(wanted)})`);
  const problems = [
    ...(missing.length > 0 ? [`missing: ${missing.join(', ')}`] : []),
    ...(unexpected.length > 0 ? [`unexpected: ${unexpected.join(', ')}`] : []),
    ...(wrong.length > 0 ? [`of another shape: ${wrong.join(', ')}`] : []),
  ];
  if (problems.length === 0) return undefined;
  const renaming = suggestions.map(({ from, to }) => `${from}=${to}`).join(',');
  const hint = renaming && `; by order and shape the renaming is likely --map ${renaming}`;
  return problems.join('; ') + hint;
}

/** Without the prefixes that stand before all names. */
export function withoutWrappers<T>(given: ReadonlyMap<string, T>): Map<string, T> {
  let values = new Map(given);
  for (;;) {
    const wrapper = WRAPPERS.find((prefix) => [...values.keys()].every((name) => name.startsWith(prefix)));
    if (wrapper === undefined || values.size === 0) return values;
    values = new Map([...values].map(([name, value]) => [name.slice(wrapper.length), value]));
  }
}

function renamed(given: StateDict, map: Readonly<Record<string, string>>): StateDict {
  // The longest first, so that the first that fits is the one that counts.
  const renamings = Object.entries(map).sort(([a], [b]) => b.length - a.length);
  if (renamings.length === 0) return given;
  const isOf = (name: string, from: string): boolean => name === from || name.startsWith(`${from}.`);
  const values: StateDict = new Map();
  const before = new Map<string, string>();
  for (const [name, value] of given) {
    const [from, to] = renamings.find(([from]) => isOf(name, from)) ?? ['', ''];
    const now = to + name.slice(from.length);
    if (values.has(now)) throw mismatch(`${before.get(now)} and ${name} would both become ${now}`);
    values.set(now, value);
    before.set(now, name);
  }
  for (const [from] of renamings) {
    if ([...given.keys()].some((name) => isOf(name, from))) continue;
    throw mismatch(
      `no parameter is called ${from} or begins with ${from}. (there are ${[...given.keys()].join(', ')})`,
    );
  }
  return values;
}

const mismatch = (what: string): CortorchError =>
  new CortorchError('ERR_CHECKPOINT_MISMATCH', `cannot rename the parameters: ${what}; correct --map`);

/** Each missing name with the first unexpected one, not yet taken, that has its last part and its shape. */
function pairs(
  missing: readonly string[],
  unexpected: readonly string[],
  fits: (to: string, from: string) => boolean,
): Renaming[] {
  const left = new Set(unexpected);
  return missing.flatMap((to) => {
    const from = [...left].find((name) => lastPart(name) === lastPart(to) && fits(to, name));
    if (from === undefined) return [];
    left.delete(from);
    return [{ from, to }];
  });
}

const lastPart = (name: string): string => name.slice(name.lastIndexOf('.') + 1);

/** Renamings of prefixes, where all pairs of a prefix agree; else of the whole names. */
function shortest(likely: readonly Renaming[]): Renaming[] {
  const prefixes = likely.map(withoutCommonEnd);
  const agreed = prefixes.every(({ from, to }) => prefixes.every((other) => other.from !== from || other.to === to));
  const renamings = agreed ? prefixes : likely;
  return [...new Map(renamings.map((renaming) => [renaming.from, renaming])).values()];
}

function withoutCommonEnd({ from, to }: Renaming): Renaming {
  const a = from.split('.');
  const b = to.split('.');
  while (a.length > 1 && b.length > 1 && a.at(-1) === b.at(-1)) {
    a.pop();
    b.pop();
  }
  return { from: a.join('.'), to: b.join('.') };
}

const sameShape = (a: ParameterValue['shape'], b: ParameterValue['shape']): boolean =>
  a.length === b.length && a.every((size, i) => size === b[i]);
