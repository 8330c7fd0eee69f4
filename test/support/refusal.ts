/** Errors that are wanted. */

/** The error of the kind that some work ends with; work that ends well, or by another error, is a failure. */
export async function refusal<E extends Error>(
  kind: abstract new (...args: never[]) => E,
  work: () => unknown,
): Promise<E> {
  try {
    await work();
  } catch (error) {
    if (error instanceof kind) return error;
    throw error;
  }
  throw new Error('nothing was refused');
}
