/** Files of MNIST's format. */

/** The type of bytes. */
export const BYTES = 0x08;

/** An IDX file: the type of the elements, the sizes, the elements' bytes, most significant first. */
export function idx(type: number, shape: readonly number[], elements: Uint8Array | readonly number[]): Buffer {
  const header = Buffer.alloc(4 + 4 * shape.length);
  header[2] = type;
  header[3] = shape.length;
  shape.forEach((size, i) => header.writeUInt32BE(size, 4 + 4 * i));
  return Buffer.concat([header, Uint8Array.from(elements)]);
}
