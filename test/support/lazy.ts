/** What several tests need, and which of them comes first is no matter. */

/** Makes something when it is first asked for, and gives the same one from then on; a failed promise fails for all. */
export function lazy<T>(make: () => T): () => T {
  let made: { readonly value: T } | undefined;
  return () => (made ??= { value: make() }).value;
}
