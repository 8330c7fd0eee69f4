/**
 * The native part as it comes with the package: compiled once, for the libtorch that set-up fetches. prepack.mjs makes
 * it; here is decided whether it can be used.
 */
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { digest, digestOfSources } from './digest.mjs';
import { filesIn, isCheckout, packageRoot, prebuiltFolder } from './paths.mjs';
import { compareVersions, thisPlatform } from './platform.mjs';

/**
 * What prebuilt/linux-x64/manifest.json holds.
 * @typedef {object} Manifest
 * @property {string} libtorch the version that it was compiled against, and runs on
 * @property {string} glibc the version that it needs at least, libtorch's own need included
 * @property {string} glibcxx the version of the C++ runtime's symbols, GLIBCXX_…
 * @property {string} sources a digest of the sources that were compiled
 * @property {Record<string, string>} files their SHA-256
 * @property {string} built when, ISO 8601
 * @property {string} compiler
 * @property {string} cudaKernels
 */

/** @param {string} root */
export function manifestFile(root) {
  return path.join(prebuiltFolder(root), 'manifest.json');
}

/** @param {unknown} value @returns {Manifest} */
function asManifest(value) {
  const manifest = /** @type {Partial<Manifest> | null} */ (value);
  const texts = [manifest?.libtorch, manifest?.glibc, manifest?.sources, manifest?.built, manifest?.compiler];
  const files = Object.keys(manifest?.files ?? {});
  /** @type {string[]} */
  const wanted = Object.values(filesIn(''));
  const whole = wanted.every((file) => files.includes(file));
  if (!whole || !texts.every((text) => typeof text === 'string')) throw new Error('something is missing in it');
  return /** @type {Manifest} */ (manifest);
}

/** @param {string} why */
const unusable = (why) => ({ manifest: null, why });

/**
 * Is there one that is whole, of these sources, and for this system? A checkout compiles its own.
 * @param {string} root
 * @param {Record<string, string | undefined>} env
 * @returns {{ manifest: Manifest | null, why: string | null }} why not, where one could be expected
 */
export function prebuiltHere(root, env) {
  const file = manifestFile(root);
  if (isCheckout(root) || !fs.existsSync(file)) return { manifest: null, why: null };
  if (env.CORTORCH_BUILD_FROM_SOURCE) return unusable('CORTORCH_BUILD_FROM_SOURCE is set');
  /** @type {Manifest} */
  let manifest;
  try {
    manifest = asManifest(JSON.parse(fs.readFileSync(file, 'utf8')));
  } catch (error) {
    return unusable(`${file} is damaged: ${/** @type {Error} */ (error).message}`);
  }
  const { glibc } = thisPlatform();
  if (!glibc || compareVersions(glibc, manifest.glibc) < 0) {
    return unusable(`it needs glibc ${manifest.glibc}, and here is ${glibc ?? 'none'}`);
  }
  for (const [name, sha256] of Object.entries(manifest.files)) {
    const at = path.join(prebuiltFolder(root), name);
    if (!fs.existsSync(at)) return unusable(`${at} is missing`);
    if (digest(fs.readFileSync(at)) !== sha256) return unusable(`${at} is damaged`);
  }
  if (manifest.sources !== digestOfSources(root)) return unusable('the sources beside it were changed');
  return { manifest, why: null };
}

/**
 * Does it run on this libtorch? Where it should, it is loaded once, by another process.
 * @param {string} root
 * @param {Manifest} manifest
 * @param {{ path: string, version: string }} libtorch
 * @param {Record<string, string | undefined>} [env]
 * @returns {string | null} why not
 */
export function whyNotOn(root, manifest, libtorch, env = process.env) {
  if (libtorch.version !== manifest.libtorch) {
    return `it is for libtorch ${manifest.libtorch}, and ${libtorch.path} is ${libtorch.version}`;
  }
  const load = pathToFileURL(path.join(packageRoot, 'scripts/load.mjs')).href;
  const arguments_ = [filesIn(prebuiltFolder(root)), libtorch.path].map((value) => JSON.stringify(value)).join(', ');
  const program = `import { open } from ${JSON.stringify(load)};
    try { open(${arguments_}) } catch (error) { console.error(error.message); process.exitCode = 1 }`;
  const { status, signal, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', program], {
    env,
    encoding: 'utf8',
    timeout: 300_000,
  });
  if (status === 0) return null;
  return `it cannot be loaded here: ${stderr.trim().split('\n').at(-1) || `it ended with ${signal ?? status}`}`;
}
