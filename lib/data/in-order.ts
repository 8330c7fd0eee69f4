/** Work that waits for a disk, some of it at a time. */

/**
 * The results of `task(0)` to `task(count − 1)` in this order, with at most `limit` of them under way. What is under
 * way when the caller leaves is not waited for.
 */
export async function* inOrder<T>(
  count: number,
  limit: number,
  task: (index: number) => Promise<T>,
): AsyncGenerator<T, void, undefined> {
  const ahead: Promise<T>[] = [];
  let next = 0;
  while (next < count || ahead.length > 0) {
    while (next < count && ahead.length < limit) {
      const result = task(next++);
      result.catch(() => undefined); // thrown when its turn comes
      ahead.push(result);
    }
    yield await ahead.shift()!;
  }
}
