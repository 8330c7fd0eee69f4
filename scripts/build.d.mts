type Env = Record<string, string | undefined>;
type Log = (line: string) => void;

/** What was built, and the libtorch that it was built on. */
export interface BuildRecord {
  path: string;
  version: string;
  cuda: string | null;
  source: 'LIBTORCH' | 'python' | 'cache';
  built: string;
  compiler: string;
  cudaKernels: string;
  inputs: string;
}

export declare const packageRoot: string;

export declare function buildFolder(root?: string): {
  folder: string;
  addon: string;
  library: string;
  record: string;
  log: string;
  cudaKernels: string;
  setup: string;
  lock: string;
};
export declare function readRecord(root?: string): BuildRecord | null;
export declare function isCheckout(root?: string): boolean;
export declare function buildNative(options?: {
  root?: string;
  env?: Env;
  log?: Log;
  resolve?: boolean;
}): Promise<{ changed: boolean; record: BuildRecord }>;
export declare function digestOfFiles(root: string, names: string[]): string;

/** Can the addon be loaded? Throws a SetupError that says what helps if it cannot. */
export declare function checkBuild(options?: { root?: string }): {
  addon: string;
  library: string;
  libtorch: BuildRecord;
};
/** Loads the addon. Throws a SetupError that says what helps if that fails. */
export declare function loadAddon(options?: { root?: string }): unknown;
