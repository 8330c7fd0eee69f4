/** Compiles a learning rule's own file, unless that was done before. Throws a SetupError. */
export declare function compileRule(
  file: string,
  log?: (text: string) => void,
  cache?: string,
): Promise<{
  readonly library: string;
  /** Of libcortorch, which it was compiled for. */
  readonly build: string;
  /** Of the file's bytes, and of those that it includes, but for ours and the system's. */
  readonly sha256: string;
}>;
