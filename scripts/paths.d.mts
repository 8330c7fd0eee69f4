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
export declare function readIfThere(file: string): string;
export declare function isCheckout(root?: string): boolean;
