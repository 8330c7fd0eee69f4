/** `npm start`: all the set-up that is missing, then a network learns MNIST by four rules. */
import { fail } from './setup-error.mjs';
import { setUp } from './setup.mjs';

try {
  await setUp();
  const built = '../dist/cli/start.js'; // not there when this file is type-checked
  /** @type {unknown} */
  const start = await import(built);
  const { main } = /** @type {typeof import('../lib/cli/start.js')} */ (start);
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  fail(error);
}
