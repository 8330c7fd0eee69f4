import type { NativeFiles } from './paths.mjs';

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
  /** Of the files that are loaded, in bytes. */
  sizes: Record<string, number>;
  inputs: string;
  seen: string;
}

export declare function readRecord(root?: string): BuildRecord | null;
export declare function saveRecord(root: string, record: BuildRecord): void;
export declare function filesOf(record: { prebuilt: boolean }, root?: string): NativeFiles;
export declare function sizesOf(record: { prebuilt: boolean }, root: string): Record<string, number>;
/** The last line of a set-up. */
export declare function readyLine(record: BuildRecord): string;
