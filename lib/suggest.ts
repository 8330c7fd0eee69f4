/** The nearest right name for a misspelt flag, configuration key, preset or rule. */

/**
 * Finds the candidate that `name` most likely was meant to be.
 *
 * @returns the nearest candidate, or undefined if none is near: at most one slip in short names,
 *   one in three characters in longer ones. Case, `-` and `_` do not count (`batchSize` finds `batch-size`).
 *   Of equally near candidates the first.
 */
export function suggest(name: string, candidates: Iterable<string>): string | undefined {
  const wanted = fold(name);
  let best: string | undefined;
  let bestDistance = Infinity;
  for (const candidate of candidates) {
    const folded = fold(candidate);
    const allowed = Math.max(1, Math.floor(Math.min(wanted.length, folded.length) / 3));
    // A one-letter name is one slip away from every other one: that is no help to anyone.
    if (Math.min(wanted.length, folded.length) < 2 && wanted !== folded) continue;
    const distance = editDistance(wanted, folded);
    if (distance <= allowed && distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

/** The suggestion as the end of a sentence: `; did you mean batch-size?`, or nothing. */
export function didYouMean(name: string, candidates: Iterable<string>): string {
  const nearest = suggest(name, candidates);
  return nearest === undefined ? '' : `; did you mean ${nearest}?`;
}

function fold(name: string): string {
  return name.toLowerCase().replace(/[-_]/g, '');
}

/**
 * Damerau-Levenshtein distance (optimal string alignment): insertions, deletions, substitutions and
 * swaps of neighbours, one each.
 */
export function editDistance(a: string, b: string): number {
  // Three rows of the usual table: two back for swaps, one back, and the current one.
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitution = last[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      let distance = Math.min(substitution, last[j]! + 1, row[j - 1]! + 1);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        distance = Math.min(distance, beforeLast[j - 2]! + 1);
      }
      row.push(distance);
    }
    beforeLast = last;
    last = row;
  }
  return last[b.length]!;
}
