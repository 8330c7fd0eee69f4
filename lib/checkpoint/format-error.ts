/**
 * What the readers of this folder throw: they see bytes, not files. Whoever opened the file turns it into a
 * CortorchError that names it.
 */
export class FormatError extends Error {
  /** Whether the bytes make no sense, or make sense but hold what is not read here. */
  readonly kind: 'corrupt' | 'unsupported';
  /** What a person can do about it. */
  readonly remedy: string;

  constructor(kind: 'corrupt' | 'unsupported', message: string, remedy: string) {
    super(message);
    this.kind = kind;
    this.remedy = remedy;
  }
}

/** @param what what is wrong with the bytes, about "it": the file */
export function corrupt(what: string, remedy = 'it is damaged or incomplete: copy or download it again'): FormatError {
  return new FormatError('corrupt', what, remedy);
}

/** @param what what the file has that is not read here, about "it": the file */
export function unsupported(
  what: string,
  remedy = 'write it anew with torch.save, with tensors and plain values only',
): FormatError {
  return new FormatError('unsupported', what, remedy);
}
