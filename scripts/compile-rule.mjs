/**
 * Compiles a learning rule's own file, once: from a private copy of the bytes that were hashed, into a folder that
 * nobody else can write. Nothing here loads it.
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { checkBuild } from './load.mjs';
import { withLockFile } from './lock.mjs';
import { packageRoot } from './paths.mjs';
import { SetupError } from './setup-error.mjs';
import { findCompiler } from './toolchain.mjs';

const run = promisify(execFile);

/** As CMakeLists.txt compiles our own; the linker is not told of OpenMP, whose one runtime is libtorch's. */
const FLAGS = [
  '-std=c++20',
  '-O3',
  '-fPIC',
  '-fopenmp',
  '-fno-math-errno',
  '-fno-trapping-math',
  '-Wall',
  ...['-MMD', '-MT', 'rule'],
];

/**
 * @typedef {object} CompiledRule
 * @property {string} library
 * @property {string} build of libcortorch, which it was compiled for
 * @property {string} sha256 of the file's bytes, and of those that it includes, but for ours and the system's
 */

/**
 * @param {string} file
 * @param {import('./log.mjs').Log} [log]
 * @param {string} [cache]
 * @returns {Promise<CompiledRule>}
 */
export function compileRule(file, log = () => {}, cache = cacheFolder()) {
  // One after the other in this process: a lock's owner is a process.
  const compiled = last.then(() => compileAlone(file, log, cache));
  last = compiled.catch(() => undefined);
  return compiled;
}

/** @type {Promise<unknown>} */
let last = Promise.resolve();

/**
 * @param {string} file
 * @param {import('./log.mjs').Log} log
 * @param {string} cache
 * @returns {Promise<CompiledRule>}
 */
async function compileAlone(file, log, cache) {
  const bytes = readRule(file);
  const { libtorch, library: libcortorch } = checkBuild();
  const build = sha256(fs.readFileSync(libcortorch));
  const compiler = findCompiler(process.env, null, 'rule');
  const args = [
    ...FLAGS,
    ...['-I', path.join(packageRoot, 'native')],
    ...['-isystem', path.join(libtorch.path, 'include')],
    ...['-isystem', path.join(libtorch.path, 'include/torch/csrc/api/include')],
    ...['-iquote', path.dirname(file)],
    `-DCORTORCH_BUILD="${build}"`,
  ];
  const libraries = [
    libcortorch,
    ...['libtorch_cpu.so', 'libc10.so'].map((name) => path.join(libtorch.path, 'lib', name)),
  ];
  const key = sha256(JSON.stringify([sha256(bytes), compiler, args, libraries, libtorch.version])).slice(0, 32);
  makePrivate(cache);
  const find = () => findCompiled(cache, key, bytes, build);
  return find() ?? withLockFile(path.join(cache, `${key}.lock`), log, async () => find() ?? compile());

  async function compile() {
    log(`Compiling the rule in ${file}`);
    const folder = fs.mkdtempSync(path.join(cache, 'compiling-'));
    try {
      const source = path.join(folder, 'rule.cpp');
      // Errors name the file that was given, in whose lines they are.
      const line = Buffer.from(`#line 1 ${JSON.stringify(file)}\n`);
      fs.writeFileSync(source, Buffer.concat([line, bytes]), { mode: 0o600 });
      await compiling(compiler.path, [...args, '-c', source, '-o', path.join(folder, 'rule.o')], file);
      const link = ['-shared', path.join(folder, 'rule.o'), ...libraries, '-o', path.join(folder, 'rule.so')];
      await compiling(compiler.path, link, file);
      const included = includedFiles(fs.readFileSync(path.join(folder, 'rule.d'), 'utf8'), [
        source,
        path.join(packageRoot, 'native'),
      ]);
      for (const name of included) {
        if (fs.statSync(name).mtimeMs <= fs.statSync(source).mtimeMs) continue;
        throw new SetupError('ERR_RULE', `${name} changed while the rule in ${file} was compiled.`, {
          needed: 'a file that stays as it is, so that the digest is that of what was compiled',
        });
      }
      const digest = digestOf(bytes, included);
      fs.chmodSync(path.join(folder, 'rule.so'), 0o700);
      fs.renameSync(path.join(folder, 'rule.so'), libraryOf(cache, key, digest));
      fs.writeFileSync(path.join(folder, 'included.json'), JSON.stringify(included));
      fs.renameSync(path.join(folder, 'included.json'), path.join(cache, `${key}.json`));
      return { library: libraryOf(cache, key, digest), build, sha256: digest };
    } finally {
      fs.rmSync(folder, { recursive: true, force: true });
    }
  }
}

function cacheFolder() {
  // A relative one is ignored, as the XDG specification has it: what is loaded must not depend on where a command runs.
  const given = process.env['XDG_CACHE_HOME'] ?? '';
  return path.join(path.isAbsolute(given) ? given : path.join(os.homedir(), '.cache'), 'cortorch', 'rules');
}

/** @param {string} cache @param {string} key @param {string} digest */
const libraryOf = (cache, key, digest) => path.join(cache, `${key}-${digest.slice(0, 32)}.so`);

/** @param {import('node:crypto').BinaryLike} data */
const sha256 = (data) => createHash('sha256').update(data).digest('hex');

/** @param {string} file */
function readRule(file) {
  try {
    return fs.readFileSync(file);
  } catch (error) {
    throw new SetupError('ERR_RULE', `The rule's file ${file} cannot be read.`, {
      found: /** @type {Error} */ (error).message,
      needed: 'a C++ file that ends with CORTORCH_RULE (docs/own-rules.md)',
    });
  }
}

/**
 * The file's own digest where it includes nothing of the user's.
 * @param {Buffer} bytes
 * @param {readonly string[]} included
 */
function digestOf(bytes, included) {
  if (included.length === 0) return sha256(bytes);
  return sha256([sha256(bytes), ...included.map((file) => sha256(fs.readFileSync(file)))].join('\n'));
}

/**
 * @param {string} cache
 * @param {string} key
 * @param {Buffer} bytes
 * @param {string} build
 * @returns {CompiledRule | null} null: it is to be compiled
 */
function findCompiled(cache, key, bytes, build) {
  try {
    const digest = digestOf(bytes, readList(path.join(cache, `${key}.json`)));
    const library = libraryOf(cache, key, digest);
    return isMine(fs.lstatSync(library), 'file') ? { library, build, sha256: digest } : null;
  } catch {
    return null; // not there, or a file that was included is gone
  }
}

/** @param {string} file @returns {string[]} */
function readList(file) {
  /** @type {unknown} */
  const list = JSON.parse(fs.readFileSync(file, 'utf8'));
  if (!Array.isArray(list)) throw new Error(`${file} is no list`);
  return list.map(String);
}

/** A folder that nobody else can write to: what is in it will be loaded. @param {string} folder */
function makePrivate(folder) {
  try {
    fs.mkdirSync(folder, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw new SetupError('ERR_CACHE_NOT_WRITABLE', `Rules are compiled into ${folder}, which cannot be made.`, {
      found: /** @type {Error} */ (error).message,
      needed: 'a folder that you can write',
      remedies: ['XDG_CACHE_HOME=/path/to/another/folder'],
    });
  }
  const stat = fs.lstatSync(folder);
  if (isMine(stat, 'folder')) return requireSafeParents(path.dirname(fs.realpathSync(folder)));
  throw new SetupError('ERR_RULE', `Rules are compiled into ${folder}, which is not a folder of yours alone.`, {
    found: `owner ${stat.uid}, mode ${(stat.mode & 0o777).toString(8)}`,
    needed: 'a folder that you own and nobody else can write',
    remedies: [`chmod 700 ${folder}     # if it is yours, else remove it`],
  });
}

/** Whoever may rename a folder may put another one in its place. @param {string} folder */
function requireSafeParents(folder) {
  const { uid, mode } = fs.statSync(folder);
  const safe = [0, process.getuid?.()].includes(uid) && ((mode & 0o002) === 0 || (mode & 0o1000) !== 0);
  if (!safe) {
    throw new SetupError('ERR_RULE', `Rules are compiled below ${folder}, in which others can rename folders.`, {
      found: `owner ${uid}, mode ${(mode & 0o7777).toString(8)}`,
      needed: 'folders that you or root own, and that not everybody can write',
      remedies: ['XDG_CACHE_HOME=/path/to/another/folder'],
    });
  }
  if (path.dirname(folder) !== folder) requireSafeParents(path.dirname(folder));
}

/** @param {fs.Stats} stat @param {'file' | 'folder'} kind */
const isMine = (stat, kind) =>
  (kind === 'file' ? stat.isFile() : stat.isDirectory()) &&
  stat.uid === process.getuid?.() &&
  (stat.mode & 0o022) === 0;

/**
 * @param {string} compiler
 * @param {string[]} args
 * @param {string} file
 */
async function compiling(compiler, args, file) {
  try {
    // Headers that only the environment names would be in no digest.
    const env = { ...process.env, CPATH: undefined, CPLUS_INCLUDE_PATH: undefined };
    await run(compiler, args, { env, maxBuffer: 64 * 1024 * 1024 });
  } catch (error) {
    const { stderr, message } = /** @type {{ stderr?: string, message: string }} */ (error);
    throw new SetupError('ERR_RULE', `The rule in ${file} does not compile.`, {
      found: (stderr ?? '').trim().split('\n').slice(0, 40).join('\n') || message,
    });
  }
}

/**
 * What a compiler's list of dependencies names, but for some files and folders.
 * @param {string} dependencies
 * @param {readonly string[]} but
 */
function includedFiles(dependencies, but) {
  // make's own escapes: of the end of a line, of a space, of # and of $.
  const names = dependencies.slice(dependencies.indexOf(':') + 1).replaceAll('\\\n', ' ');
  const files = names.split(/(?<!\\)\s+/).filter(Boolean);
  return files
    .map((name) => path.resolve(name.replaceAll(/\\([ #])/g, '$1').replaceAll('$$', () => '$')))
    .filter((name) => !but.some((other) => name === other || name.startsWith(other + path.sep)))
    .sort();
}
