/** What was built, and the libtorch that it was built on. */
export interface BuildRecord {
  path: string;
  version: string;
  cuda: string | null;
  source: 'LIBTORCH' | 'python' | 'cache';
  /** It came with the package, and was not compiled here. */
  prebuilt: boolean;
  built: string;
  compiler: string;
  cudaKernels: string;
  inputs: string;
  seen: string;
}

/** The addon, the library under it, and what opens libtorch before them. */
export interface NativeFiles {
  addon: string;
  library: string;
  opener: string;
}

export declare const packageRoot: string;

export declare function buildFolder(root?: string): NativeFiles & {
  folder: string;
  record: string;
  log: string;
  cudaKernels: string;
  setup: string;
  failure: string;
  lock: string;
};
export declare function prebuiltFolder(root?: string): string;
export declare function filesIn(folder: string): NativeFiles;
export declare function filesOf(record: { prebuilt: boolean }, root?: string): NativeFiles;
export declare function readRecord(root?: string): BuildRecord | null;
export declare function readIfThere(file: string): string;
export declare function isCheckout(root?: string): boolean;
