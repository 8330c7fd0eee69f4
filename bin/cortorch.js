#!/usr/bin/env node
/** The command line. `setup` lives here, since it must work before anything is built; the rest is in lib/cli. */
import fs from 'node:fs';
import path from 'node:path';
import { checkBuild } from '../scripts/load.mjs';
import { isCheckout } from '../scripts/paths.mjs';
import { readRecord, readyLine } from '../scripts/record.mjs';
import { describeSetup } from '../scripts/doctor.mjs';
import { fail } from '../scripts/setup-error.mjs';
import { setUp } from '../scripts/setup.mjs';

const root = path.dirname(import.meta.dirname);
const args = process.argv.slice(2);

try {
  process.exitCode = await run(args);
} catch (error) {
  fail(error);
}

/** @param {string[]} args @returns {Promise<number>} */
async function run([command]) {
  if (command === 'setup') return setup();
  const main = path.join(root, 'dist/cli/main.js');
  if (command === 'doctor' && !fs.existsSync(main)) return bareDoctor();
  if (command !== 'doctor' && isCheckout() && !(fs.existsSync(main) && readRecord())) {
    console.error('This checkout of cortorch is not built yet: setting it up first, as npx cortorch setup does.');
    await setUp();
  }
  /** @type {unknown} */
  const module = await import(main);
  return /** @type {typeof import('../lib/cli/main.js')} */ (module).main(args);
}

/** Gets libtorch, if there is none, and builds; asked for by name, it looks at the whole machine again. */
async function setup() {
  if (args.length > 1) {
    console.error(`cortorch setup takes no arguments, but was given: ${args.slice(1).join(' ')}`);
    return 2;
  }
  await setUp({ resolve: true });
  console.log(readyLine(checkBuild().libtorch));
  return 0;
}

/** Before lib/cli is built there is nothing to print nicely with. */
function bareDoctor() {
  console.log(JSON.stringify(describeSetup(), null, 2));
  return 0;
}
