/**
 * From a fresh clone to something that runs, each step only if it is needed: the dependencies, libtorch, the
 * native part, the JavaScript. Runs before node_modules exists, so it depends on nothing.
 */
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { buildNative } from './build.mjs';
import { digestOfFiles } from './digest.mjs';
import { isCheckout, packageRoot } from './paths.mjs';
import { logToStderr } from './log.mjs';
import { SetupError } from './setup-error.mjs';
import { checkPlatform } from './platform.mjs';

/**
 * @param {{ root?: string, log?: (line: string) => void, resolve?: boolean }} [options]
 *   `resolve`: ask again which libtorch it should be
 */
export async function setUp({ root = packageRoot, log = logToStderr, resolve = false } = {}) {
  checkPlatform();
  await phase('dependencies', log, () => installDependencies(root, log));
  await phase('native part', log, async () => (await buildNative({ root, log, resolve })).changed);
  await phase('TypeScript', log, () => buildTypeScript(root));
}

/**
 * @param {string} name
 * @param {(line: string) => void} log
 * @param {() => boolean | Promise<boolean>} work whether there was anything to do
 */
async function phase(name, log, work) {
  const start = performance.now();
  if (await work()) log(`Set-up: ${name} ready after ${((performance.now() - start) / 1000).toFixed(1)} s`);
}

/**
 * @param {string} root
 * @param {(line: string) => void} log
 */
export function installDependencies(root, log) {
  if (!isCheckout(root) || dependenciesInstalled(root)) return false;
  const locked = fs.existsSync(path.join(root, 'package-lock.json'));
  const args = [locked ? 'ci' : 'install', '--ignore-scripts', '--no-audit', '--no-fund'];
  log(`Installing the dependencies (npm ${args.join(' ')})`);
  // npm's report belongs to stderr here: stdout is the command's own.
  const { status, error } = spawnSync('npm', args, { cwd: root, stdio: ['ignore', 2, 2] });
  if (status === 0) return true;
  throw new SetupError('ERR_DEPENDENCIES', 'npm could not install the dependencies.', {
    found: error?.message ?? `npm ${args[0]} ended with exit code ${status}; its own messages are above`,
    needed: 'the npm registry, or a mirror of it that npm is configured for',
    remedies: [`npm ${args.join(' ')}   # once it works, repeat your command`],
  });
}

/** Is everything in the lock file installed in its version? Times would deceive: npm writes both files at once. */
function dependenciesInstalled(/** @type {string} */ root) {
  const [wanted, installed] = ['package-lock.json', 'node_modules/.package-lock.json'].map((name) => {
    const file = path.join(root, name);
    if (!fs.existsSync(file)) return null;
    /** @type {unknown} */
    const lock = JSON.parse(fs.readFileSync(file, 'utf8'));
    return /** @type {{ packages: Record<string, { version?: string, optional?: boolean }> }} */ (lock).packages;
  });
  if (!installed) return false;
  return Object.entries(wanted ?? {}).every(
    ([name, { version, optional }]) => !name || optional || installed[name]?.version === version,
  );
}

/** @param {string} [root] */
export function buildTypeScript(root = packageRoot) {
  if (!isCheckout(root)) return false;
  const stamp = path.join(root, 'dist/.built-from');
  const inputs = digestOfFiles(root, [
    'lib',
    'tsconfig.json',
    'tsconfig.build.json',
    'node_modules/typescript/package.json',
  ]);
  if (fs.existsSync(stamp) && fs.readFileSync(stamp, 'utf8') === inputs) return false;

  const start = Date.now();
  const tsc = createRequire(path.join(root, 'package.json')).resolve('typescript/bin/tsc');
  const { status } = spawnSync(process.execPath, [tsc, '-p', 'tsconfig.build.json'], {
    cwd: root,
    stdio: ['ignore', 2, 2],
  });
  if (status !== 0) {
    throw new SetupError('ERR_TYPESCRIPT', 'The TypeScript sources do not compile; the errors are above.');
  }
  removeOlder(path.join(root, 'dist'), start);
  fs.writeFileSync(stamp, inputs);
  return true;
}

/** What tsc did not write anew has lost its source. @param {string} folder @param {number} start ms */
function removeOlder(folder, start) {
  for (const entry of fs.readdirSync(folder, { recursive: true, withFileTypes: true })) {
    const file = path.join(entry.parentPath, entry.name);
    if (entry.isFile() && fs.statSync(file).mtimeMs < start - 1000) fs.rmSync(file);
  }
}
