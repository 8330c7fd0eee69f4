import type { NativeFiles } from './paths.mjs';
import type { BuildRecord } from './record.mjs';

/** Can the addon be loaded? Throws a SetupError that says what helps if it cannot. */
export declare function checkBuild(options?: { root?: string }): NativeFiles & { libtorch: BuildRecord };
/** Loads the addon. Throws a SetupError that says what helps if that fails. */
export declare function loadAddon(options?: { root?: string }): unknown;
/** Opens libtorch's libraries, then the addon. */
export declare function open(files: { addon: string; opener: string }, libtorch: string): unknown;
/** What is wrong with the libtorch that was built on. */
export declare function movedLibtorch(record: BuildRecord): string | null;
