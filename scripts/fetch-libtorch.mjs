/** Gets libtorch into the cache: from pip, or as the official archive. */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import {
  cacheRoot,
  failureOf,
  FETCHED_VERSION,
  inspectLibtorch,
  resolveLibtorch,
  SUPPORTED_RANGE,
  treeIn,
} from './libtorch.mjs';
import { logToStderr } from './log.mjs';
import { SetupError } from './setup-error.mjs';
import { unzip } from './unzip.mjs';

// +cpu, because PyPI's plain torch for Linux is the CUDA build: gigabytes of what is not asked for.
const PIP_REQUIREMENT = `torch==${FETCHED_VERSION}`;
const PIP_CPU_INDEX = 'https://download.pytorch.org/whl/cpu';
const ARCHIVE_URL = 'https://download.pytorch.org/libtorch/cpu/libtorch-shared-with-deps-2.13.0%2Bcpu.zip';
const ARCHIVE_SHA256 = 'edbf4cbed78433d803e90a65f1752e57783d164bce66c95c0872b2ab8f5c159e';
/** A download that stays silent for so long has died, in ms. */
const STALL_TIMEOUT = 60_000;

/**
 * Of a wheel or an archive, all but test programs and their like. The Python sources stay, so that
 * `PYTHONPATH=<cache folder> python3` has a torch to check ours against.
 */
const NEEDED = /^(?:torch\/(?!test\/|bin\/(?!torch_shm_manager))|torchgen\/|libtorch\/)/;

/**
 * @typedef {import('./libtorch.mjs').Libtorch} Libtorch
 * @typedef {import('./libtorch.mjs').Attempt} Attempt
 * @typedef {import('./libtorch.mjs').Env} Env
 * @typedef {import('./log.mjs').Log} Log
 * @typedef {{ message?: string, code?: string }} Cause
 */

/**
 * The libtorch to build against, fetched if there is none.
 * @param {{ env?: Env, log?: Log, pythons?: string[] | undefined }} [options] `pythons`: whose torch may be taken
 * @returns {Promise<Libtorch>}
 */
export async function ensureLibtorch({ env = process.env, log = logToStderr, pythons } = {}) {
  const { found, tried } = resolveLibtorch({ env, pythons });
  return found ?? fetchLibtorch({ env, log, tried });
}

/**
 * Gets the CPU build into the cache: from pip as it is configured, from pip and PyTorch's own CPU index, or as
 * the official archive.
 * @param {{ env?: Env, cacheDir?: string, log?: Log, tried?: Attempt[], archiveUrl?: string }} [options]
 * @returns {Promise<Libtorch>}
 */
export async function fetchLibtorch({
  env = process.env,
  cacheDir = cacheRoot(env),
  log = logToStderr,
  tried = [],
  archiveUrl = ARCHIVE_URL,
} = {}) {
  const attempts = [...tried];
  const target = path.join(cacheDir, `libtorch-${FETCHED_VERSION}`);
  const work = makeWorkFolder(cacheDir);
  log(`Getting libtorch ${FETCHED_VERSION} into ${target}`);
  try {
    for (const way of waysToFetch(env, archiveUrl)) {
      log(`  from ${way.source}`);
      try {
        const archive = await way.get(work, log);
        log('  unpacking');
        const unpacked = await unpack(archive, work);
        install(unpacked, target);
        const seen = /** @type {Omit<Libtorch, 'source'>} */ (inspectLibtorch(treeIn(target)));
        return { source: 'cache', ...seen };
      } catch (error) {
        const outcome = error instanceof Error ? error.message : String(error);
        log(`  that failed: ${outcome}`);
        attempts.push({ source: way.source, outcome });
      }
    }
  } finally {
    fs.rmSync(work, { recursive: true, force: true });
  }
  throw new SetupError('ERR_LIBTORCH_DOWNLOAD', 'No libtorch was found, and it could not be downloaded.', {
    tried: attempts,
    needed: `libtorch ${SUPPORTED_RANGE} for Linux x64, or a network to get it from (about 190 MB)`,
    remedies: [
      `python3 -m pip install ${PIP_REQUIREMENT} --index-url ${PIP_CPU_INDEX}   # in a Python you use, then: npx cortorch setup`,
      `export LIBTORCH=/path/to/libtorch   # unpacked from ${ARCHIVE_URL}, then: npx cortorch setup`,
      ...proxyRemedy(env),
    ],
  });
}

/** @param {Env} env Node's fetch goes past the proxy variables unless it is told to use them */
function proxyRemedy(env) {
  const proxied = env.HTTPS_PROXY || env.https_proxy || env.HTTP_PROXY || env.http_proxy;
  return proxied && !env.NODE_USE_ENV_PROXY ? ['export NODE_USE_ENV_PROXY=1   # Node 24: use your proxy'] : [];
}

/**
 * @param {Env} env
 * @param {string} archiveUrl
 * @returns {{ source: string, get: (work: string, log: Log) => Promise<string> }[]}
 */
function waysToFetch(env, archiveUrl) {
  const url = env.CORTORCH_LIBTORCH_URL || archiveUrl;
  const sha256 = env.CORTORCH_LIBTORCH_SHA256 || ARCHIVE_SHA256;
  const archive = {
    source: url,
    get: (/** @type {string} */ work, /** @type {Log} */ log) => download(url, sha256, work, log),
  };
  // A mirror that was named is a wish: it goes first, and alone.
  if (env.CORTORCH_LIBTORCH_URL) return [archive];
  return [
    { source: 'pip, as it is configured', get: (work) => pipDownload([], work, env) },
    {
      source: `pip, from ${PIP_CPU_INDEX}`,
      get: (work) => pipDownload(['--index-url', PIP_CPU_INDEX], work, env),
    },
    archive,
  ];
}

/**
 * A folder beside the target, on the same file system: it becomes the target by a rename once it is complete.
 * @param {string} cacheDir
 */
function makeWorkFolder(cacheDir) {
  try {
    fs.mkdirSync(cacheDir, { recursive: true });
    return fs.mkdtempSync(path.join(cacheDir, 'partial-'));
  } catch (error) {
    throw new SetupError(
      'ERR_CACHE_NOT_WRITABLE',
      `The cache folder ${cacheDir} cannot be written: ${/** @type {Error} */ (error).message}.`,
      {
        needed: 'a folder for libtorch, about 600 MB',
        remedies: ['export CORTORCH_CACHE=/a/folder/of/yours; npx cortorch setup'],
      },
    );
  }
}

/**
 * pip brings its own progress bar, its configuration (indexes, folders, proxies, certificates) and its checksums.
 * @param {string[]} options
 * @param {string} work
 * @param {Env} env
 * @returns {Promise<string>} the wheel
 */
async function pipDownload(options, work, env) {
  const wheels = path.join(work, 'wheels');
  // Few retries: on a blocked network each one is waited out, and there are other ways to try.
  const args = ['-m', 'pip', 'download', PIP_REQUIREMENT, '--no-deps', '--only-binary=:all:', '--dest', wheels]
    .concat(['--retries', '1', '--timeout', '15', '--no-input', '--disable-pip-version-check'])
    .concat(options);
  await new Promise((resolve, reject) => {
    const child = spawn('python3', args, { env, stdio: ['ignore', 2, 'pipe'] });
    let said = '';
    child.stderr?.setEncoding('utf8').on('data', (/** @type {string} */ text) => (said = (said + text).slice(-4000)));
    child.on('error', (error) => reject(new Error(`python3: ${failureOf(error)}`)));
    child.on('close', (code) => (code === 0 ? resolve(undefined) : reject(new Error(pipError(said, code)))));
  });
  const wheel = fs.readdirSync(wheels).find((name) => name.endsWith('.whl'));
  if (!wheel) throw new Error('pip downloaded no wheel');
  return path.join(wheels, wheel);
}

/** @param {string} said @param {number | null} code */
function pipError(said, code) {
  const lines = said.trim().split('\n');
  const line = lines.findLast((text) => text.startsWith('ERROR:')) ?? lines.at(-1);
  // An index that cannot be reached ends as "no matching distribution"; the reason is in a warning before it.
  const broken = /after connection broken by .*?([^:'"]+)['")]+: \//.exec(said)?.[1]?.trim();
  const error = line?.replace(/^ERROR: /, '').slice(0, 300) || `exit code ${code}`;
  return broken ? `${error} (the index was not reached: ${broken})` : error;
}

/**
 * Downloads a file and checks it; whatever goes wrong, nothing that looks complete is left behind.
 * @param {string} url
 * @param {string} sha256
 * @param {string} work
 * @param {Log} log
 * @returns {Promise<string>} the file
 */
async function download(url, sha256, work, log) {
  const file = path.join(work, 'libtorch.zip');
  const abort = new AbortController();
  const timer = setTimeout(() => abort.abort(), STALL_TIMEOUT);
  const hash = createHash('sha256');
  try {
    const response = await fetch(url, { signal: abort.signal });
    if (!response.ok || !response.body) throw new Error(`the server answered ${response.status}`);
    const report = progress(Number(response.headers.get('content-length')), log);
    const watched = async function* (/** @type {AsyncIterable<Uint8Array>} */ chunks) {
      for await (const chunk of chunks) {
        timer.refresh();
        hash.update(chunk);
        report(chunk.length);
        yield chunk;
      }
    };
    // pipeline: a full disk ends the download as an error of its own.
    await pipeline(/** @type {any} */ (response.body), watched, fs.createWriteStream(file));
  } catch (error) {
    if (abort.signal.aborted) throw new Error(`no data for ${STALL_TIMEOUT / 1000} seconds`);
    throw new Error(reasonOf(error));
  } finally {
    clearTimeout(timer);
  }
  const received = hash.digest('hex');
  if (received !== sha256) {
    throw new Error(`the download's SHA-256 is ${received}, expected ${sha256}: it was thrown away`);
  }
  return file;
}

/** @param {unknown} error fetch says `fetch failed` and keeps the reason in its cause */
function reasonOf(error) {
  const { message, cause } = /** @type {{ message: string, cause?: Cause & { errors?: Cause[] } }} */ (error);
  const reason = cause?.errors?.[0] ?? cause;
  return reason ? `${message}: ${reason.message || reason.code}` : message;
}

/**
 * @param {number} total bytes, NaN if unknown
 * @param {Log} log
 */
function progress(total, log) {
  const megabytes = (/** @type {number} */ bytes) => Math.round(bytes / 1e6);
  const step = total ? total / 10 : 20e6;
  let received = 0;
  let next = step;
  return (/** @type {number} */ bytes) => {
    received += bytes;
    if (received < next) return;
    next += step;
    log(`  ${megabytes(received)}${total ? ` of ${megabytes(total)}` : ''} MB`);
  };
}

/**
 * @param {string} archive a wheel, or the official archive: zip files of nearly the same tree
 * @param {string} work
 * @returns {Promise<string>} a folder that {@link treeIn} finds libtorch in
 */
async function unpack(archive, work) {
  const folder = path.join(work, 'unpacked');
  fs.rmSync(folder, { recursive: true, force: true });
  await unzip(archive, folder, (name) => NEEDED.test(name));
  const tree = treeIn(folder);
  if (!fs.existsSync(tree)) throw new Error(`${path.basename(archive)} holds no libtorch`);
  const seen = inspectLibtorch(tree);
  if ('problem' in seen) throw new Error(`what ${path.basename(archive)} holds ${seen.problem}`);
  return folder;
}

/** @param {string} unpacked @param {string} target */
function install(unpacked, target) {
  // Another process may have come first; what it left is as good, what an older failure left is not.
  if (fs.existsSync(target)) {
    if (!('problem' in inspectLibtorch(treeIn(target)))) return;
    fs.rmSync(target, { recursive: true, force: true });
  }
  fs.renameSync(unpacked, target);
}
