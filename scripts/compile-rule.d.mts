export interface CompiledRule {
  readonly library: string;
  /** Of libcortorch, which it was compiled for. */
  readonly build: string;
  /** Of the file's bytes, and of those that it includes, but for ours and the system's. */
  readonly sha256: string;
}

/** @throws SetupError ERR_RULE, ERR_COMPILER_NOT_FOUND */
export function compileRule(file: string, log?: (line: string) => void, cache?: string): Promise<CompiledRule>;
