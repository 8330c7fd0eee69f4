/** One build at a time in one folder: two commands may find at once that there is something to build. */
import fs from 'node:fs';
import { buildFolder, readIfThere } from './paths.mjs';
import { SetupError } from './setup-error.mjs';

/** @typedef {import('./log.mjs').Log} Log */

/**
 * @template T
 * @param {string} root
 * @param {Log} log
 * @param {() => Promise<T>} work
 * @returns {Promise<T>}
 */
export async function withLock(root, log, work) {
  const { folder, lock } = buildFolder(root);
  makeFolder(folder);
  return withLockFile(lock, log, work);
}

/**
 * The same with a file of one's own as the lock, in a folder that is there.
 * @template T
 * @param {string} lock
 * @param {Log} log
 * @param {() => Promise<T>} work
 * @returns {Promise<T>}
 */
export async function withLockFile(lock, log, work) {
  for (let waited = 0; !takeLock(lock); waited++) {
    if (waited === 0) log(`Waiting for the build of process ${readIfThere(lock)} (${lock})`);
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
  try {
    return await work();
  } finally {
    fs.rmSync(lock, { force: true });
  }
}

/** Does somebody build there now, other than this process? @param {string} root */
export function isLocked(root) {
  const { lock } = buildFolder(root);
  return isAlive(Number(readIfThere(lock) || Number.NaN));
}

/** @param {string} lock */
function takeLock(lock) {
  try {
    fs.writeFileSync(lock, String(process.pid), { flag: 'wx' });
    return true;
  } catch (error) {
    if (/** @type {NodeJS.ErrnoException} */ (error).code !== 'EEXIST') throw error;
  }
  if (!isAlive(Number(readIfThere(lock)))) removeStale(lock); // its owner went without tidying up
  return false;
}

/**
 * Two processes may see the same dead owner, and the slower one must not take the quicker one's new lock away.
 * @param {string} lock
 */
function removeStale(lock) {
  const aside = `${lock}.${process.pid}`;
  try {
    fs.renameSync(lock, aside);
    if (isAlive(Number(readIfThere(aside)))) fs.linkSync(aside, lock);
    fs.rmSync(aside, { force: true });
  } catch {
    // Somebody else was quicker; the next look at the lock tells.
  }
}

/** @param {number} pid 0 if its owner has not written it yet */
function isAlive(pid) {
  if (pid === process.pid) return false; // of an earlier process that had the same number
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return /** @type {NodeJS.ErrnoException} */ (error).code === 'EPERM'; // it lives, and is another user's
  }
}

/** @param {string} folder */
function makeFolder(folder) {
  try {
    fs.mkdirSync(folder, { recursive: true });
    fs.accessSync(folder, fs.constants.W_OK);
  } catch (error) {
    throw new SetupError('ERR_BUILD_FOLDER', `${folder} cannot be written: ${/** @type {Error} */ (error).message}.`, {
      needed: 'write access to the folder that cortorch is installed in',
      remedies: ['install cortorch in a project of your own, or run npx cortorch setup as the owner of that folder'],
    });
  }
}
