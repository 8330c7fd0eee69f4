/** What npm runs when the package is installed: builds the native part on the libtorch that is there. */
import { buildNative } from './build.mjs';
import { fail } from './setup-error.mjs';

await buildNative().catch(fail);
