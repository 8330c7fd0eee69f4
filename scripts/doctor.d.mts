import type { BuildRecord } from './record.mjs';
import type { Attempt } from './setup-error.mjs';

export interface Tool {
  path: string;
  version: string;
}

export interface Setup {
  node: string;
  platform: string;
  arch: string;
  glibc: string | null;
  compiler: Tool | null;
  cmake: Tool | null;
  buildTool: Tool | null;
  nvcc: Tool | null;
  cacheFolder: string;
  /** What a build of now would use, and what was tried to find it. */
  libtorch: {
    supported: { min: string; max: string };
    found: {
      source: 'LIBTORCH' | 'python' | 'cache';
      path: string;
      version: string;
      cuda: string | null;
    } | null;
    tried: Attempt[];
  };
  /** Why what came with the package is not used; null: it is, or nothing came. */
  prebuiltUnused: string | null;
  /** What the addon was built on, whether or not it can be loaded now. */
  built: (BuildRecord & { addon: string; usable: boolean }) | null;
  /** Is the CUDA variant built, and if not, why. */
  cuda: { built: boolean; reason: string };
  problems: { code: string; message: string }[];
}

export declare function describeSetup(options?: { root?: string; env?: Record<string, string | undefined> }): Setup;
