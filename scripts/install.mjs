/**
 * What npm runs when the package is installed: makes the native part ready. Where that fails, the package stays, as npm
 * would remove it otherwise: with what it says, `npx cortorch setup` can follow.
 */
import fs from 'node:fs';
import path from 'node:path';
import { buildNative } from './build.mjs';
import { logToTerminal } from './log.mjs';
import { buildFolder, isCheckout } from './paths.mjs';
import { fail, SetupError } from './setup-error.mjs';

try {
  const { record } = await buildNative({ log: logToTerminal });
  const how = record.prebuilt ? 'nothing had to be compiled' : 'compiled here';
  logToTerminal(`cortorch is ready on libtorch ${record.version} (${record.path}): ${how}`);
} catch (error) {
  if (!(error instanceof SetupError) || isCheckout()) fail(error);
  else {
    logToTerminal(`cortorch: [${error.code}] ${error.message}`);
    logToTerminal('cortorch is installed, and can be used once this is put right and this has run: npx cortorch setup');
    try {
      const { failure } = buildFolder();
      fs.mkdirSync(path.dirname(failure), { recursive: true });
      fs.writeFileSync(failure, `[${error.code}] ${error.message}\n`);
    } catch {
      // Where nothing can be written, it was said above.
    }
  }
}
