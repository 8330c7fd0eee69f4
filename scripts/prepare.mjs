/** What npm runs before packing, and after `npm install` in a checkout: makes the JavaScript in dist/. */
import { fail } from './setup-error.mjs';
import { buildTypeScript } from './setup.mjs';

try {
  buildTypeScript();
} catch (error) {
  fail(error);
}
