/**
 * What npm runs before packing: puts the native part, compiled for the libtorch that set-up fetches, with a manifest
 * into prebuilt/.
 */
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { buildNative } from './build.mjs';
import { digest, digestOfSources } from './digest.mjs';
import { fetchLibtorch } from './fetch-libtorch.mjs';
import { FETCHED_VERSION, resolveLibtorch } from './libtorch.mjs';
import { withLock } from './lock.mjs';
import { logToStderr } from './log.mjs';
import { packageRoot, prebuiltFolder } from './paths.mjs';
import { compareVersions, OLDEST } from './platform.mjs';
import { manifestFile } from './prebuilt.mjs';
import { filesOf, readRecord } from './record.mjs';
import { fail, SetupError } from './setup-error.mjs';

/**
 * A build on the libtorch that set-up fetches: the checkout's own; where that is on another one, one beside it, so that
 * packing leaves the checkout as it is.
 * @param {(root: string) => void} use
 */
async function withBuild(use) {
  const env = { ...process.env, LIBTORCH: undefined };
  if (readRecord()?.version === FETCHED_VERSION) {
    await buildNative({ env });
    return withLock(packageRoot, logToStderr, () => {
      use(packageRoot);
      return Promise.resolve();
    });
  }
  const found = resolveLibtorch({ env, pythons: [] }).found ?? (await fetchLibtorch({ env }));
  const root = fs.mkdtempSync(path.join(os.tmpdir(), 'cortorch-prepack-'));
  try {
    for (const name of ['native', 'CMakeLists.txt', 'package.json'])
      fs.cpSync(path.join(packageRoot, name), path.join(root, name), { recursive: true });
    fs.symlinkSync(path.join(packageRoot, 'node_modules'), path.join(root, 'node_modules'));
    await buildNative({ root, env: { ...env, LIBTORCH: found.path } });
    use(root);
  } finally {
    fs.rmSync(root, { recursive: true, force: true });
  }
}

/**
 * The newest version of a library's symbols that these files ask for.
 * @param {string[]} files
 * @param {keyof typeof OLDEST} library
 * @returns {string}
 * @throws {SetupError} where that is newer than what is promised
 */
function newest(files, library) {
  const asked = files.flatMap((file) => {
    const needs = execFileSync('readelf', ['--version-info', '--wide', file], { encoding: 'utf8' });
    return [...needs.matchAll(new RegExp(`Name: ${library}_([^ ]+)`, 'g'))].map(([, version]) => String(version));
  });
  const version = asked.sort(compareVersions).at(-1) ?? '0';
  if (compareVersions(version, OLDEST[library]) > 0 || asked.some((text) => /[^0-9.]/.test(text))) {
    throw new SetupError('ERR_PREPACK', `What is built here needs ${library} ${version}.`, {
      needed: `symbols that ${library} ${OLDEST[library]} has`,
      remedies: [`readelf --version-info ${files.join(' ')}`, 'native/oldest_runtime.h names older ones'],
    });
  }
  return version;
}

/** @param {string} root */
function pack(root) {
  const record = readRecord(root);
  if (!record) throw new Error(`no build in ${root}`);
  /** @type {string[]} */
  const built = Object.values(filesOf(record, root));
  const needs = { glibc: newest(built, 'GLIBC'), glibcxx: newest(built, 'GLIBCXX'), cxxabi: newest(built, 'CXXABI') };
  /** @type {import('./prebuilt.mjs').Manifest} */
  const manifest = {
    libtorch: record.version,
    glibc: OLDEST.GLIBC, // libtorch's own need, which is the greater one
    glibcxx: needs.glibcxx,
    sources: digestOfSources(packageRoot),
    files: Object.fromEntries(built.map((file) => [path.basename(file), digest(fs.readFileSync(file))])),
    built: record.built,
    compiler: record.compiler.replace(/^\S*\//, ''), // the folder is this machine's
    cudaKernels: 'none: it was compiled for a CPU build of libtorch',
  };
  const to = prebuiltFolder();
  const aside = `${to}.${process.pid}`;
  fs.mkdirSync(aside, { recursive: true });
  for (const file of built) fs.copyFileSync(file, path.join(aside, path.basename(file)));
  fs.writeFileSync(
    path.join(aside, path.basename(manifestFile(packageRoot))),
    JSON.stringify(manifest, null, 2) + '\n',
  );
  fs.rmSync(to, { recursive: true, force: true });
  fs.renameSync(aside, to);
  logToStderr(`Prebuilt for libtorch ${record.version}; it needs GLIBC ${needs.glibc}, GLIBCXX ${needs.glibcxx}`);
}

await withBuild(pack).catch(fail);
