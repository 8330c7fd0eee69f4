/** Digests: comparing those is quick, and a difference is short to read. */
import { createHash } from 'node:crypto';

export const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/** A digest of each parameter. */
export function digests(parameters: ReadonlyMap<string, { readonly data: Float32Array }>): Record<string, string> {
  return Object.fromEntries(
    [...parameters].map(([name, { data }]) => [
      name,
      sha256(new Uint8Array(data.buffer, data.byteOffset, data.byteLength)),
    ]),
  );
}
