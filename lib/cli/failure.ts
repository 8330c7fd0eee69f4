/** What went wrong, for people and for shells. */

import { CortorchError, type CortorchErrorCode } from '../errors.js';
import { EXIT_INTERRUPTED } from './interrupt.js';

const EXIT_FAILED = 1;
const EXIT_WRONG_USAGE = 2;

/** Those that another command line would not have. */
const wrongUsage: readonly CortorchErrorCode[] = [
  'ERR_USAGE',
  'ERR_UNKNOWN_OPTION',
  'ERR_UNUSED_OPTION',
  'ERR_INVALID_ARGUMENT',
  'ERR_INVALID_SPEC',
];

/**
 * Says what went wrong.
 *
 * @param debug with the stack
 * @returns the exit code
 */
export function failed(error: unknown, debug: boolean): number {
  if (debug) console.error(error);
  else if (error instanceof CortorchError) console.error(`cortorch: [${error.code}] ${error.message}`);
  else {
    const what = error instanceof Error ? error.message : String(error);
    console.error(`cortorch: ${what}\nThis should not happen; --debug shows where it did, for a bug report.`);
  }
  if (!(error instanceof CortorchError)) return EXIT_FAILED;
  if (error.code === 'ERR_ABORTED') return EXIT_INTERRUPTED;
  return wrongUsage.includes(error.code) ? EXIT_WRONG_USAGE : EXIT_FAILED;
}
