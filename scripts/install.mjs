/**
 * What npm runs when the package is installed: makes the native part ready. Where that fails, the package stays, as npm
 * would remove it otherwise: what is missing is put right, and `npx cortorch setup` finishes it.
 */
import fs from 'node:fs';
import path from 'node:path';
import { buildNative } from './build.mjs';
import { logToTerminal } from './log.mjs';
import { buildFolder, isCheckout } from './paths.mjs';
import { readyLine } from './record.mjs';
import { fail, SET_UP, SetupError } from './setup-error.mjs';

try {
  const { record } = await buildNative({ log: logToTerminal });
  logToTerminal(readyLine(record));
} catch (error) {
  if (isCheckout()) fail(error);
  else
    keepWith(
      error instanceof SetupError
        ? `[${error.code}] ${error.message}`
        : error instanceof Error
          ? String(error.stack)
          : String(error),
    );
}

/** @param {string} why */
function keepWith(why) {
  logToTerminal(`cortorch: ${why}`);
  logToTerminal(`cortorch is installed, and can be used once this is put right and this has run: ${SET_UP}`);
  try {
    const { failure } = buildFolder();
    fs.mkdirSync(path.dirname(failure), { recursive: true });
    fs.writeFileSync(failure, `${why}\n`);
  } catch {
    // Where nothing can be written, it was said above.
  }
}
