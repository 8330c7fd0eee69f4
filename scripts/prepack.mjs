/**
 * What npm runs before packing: compiles the native part for the libtorch that set-up fetches, and puts it with a
 * manifest into prebuilt/.
 */
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { buildNative } from './build.mjs';
import { digest, digestOfSources } from './digest.mjs';
import { fetchLibtorch } from './fetch-libtorch.mjs';
import { FETCHED_VERSION, resolveLibtorch } from './libtorch.mjs';
import { logToStderr } from './log.mjs';
import { filesOf, packageRoot, prebuiltFolder, readRecord } from './paths.mjs';
import { compareVersions, GLIBC } from './platform.mjs';
import { manifestFile } from './prebuilt.mjs';
import { fail } from './setup-error.mjs';

/** The one that was built on, if it is it; else the one that is found without LIBTORCH, else a new one. */
async function fetchedLibtorch() {
  const built = readRecord();
  if (built?.version === FETCHED_VERSION && fs.existsSync(built.path)) return built.path;
  const env = { ...process.env, LIBTORCH: undefined };
  const { found } = resolveLibtorch({ env });
  const cached = found?.version === FETCHED_VERSION ? found : resolveLibtorch({ env, pythons: [] }).found;
  return (cached ?? (await fetchLibtorch({ env }))).path;
}

/**
 * The newest version of a library's symbols that these files ask for.
 * @param {string[]} files
 * @param {'GLIBC' | 'GLIBCXX'} library
 */
function newest(files, library) {
  const asked = files.flatMap((file) => {
    const needs = execFileSync('readelf', ['--version-info', '--wide', file], { encoding: 'utf8' });
    return [...needs.matchAll(new RegExp(`Name: ${library}_([0-9.]+)`, 'g'))].map(([, version]) => String(version));
  });
  return asked.sort(compareVersions).at(-1) ?? '0';
}

async function prepack() {
  const libtorch = await fetchedLibtorch();
  const { record } = await buildNative({ env: { ...process.env, LIBTORCH: libtorch } });
  const to = prebuiltFolder();
  fs.rmSync(to, { recursive: true, force: true });
  fs.mkdirSync(to, { recursive: true });
  /** @type {string[]} */
  const built = Object.values(filesOf(record));
  const files = built.map((file) => {
    const copy = path.join(to, path.basename(file));
    fs.copyFileSync(file, copy);
    return copy;
  });
  // libtorch's own packages are made for glibc 2.28.
  const glibc = [newest(files, 'GLIBC'), GLIBC].sort(compareVersions).at(-1);
  /** @type {import('./prebuilt.mjs').Manifest} */
  const manifest = {
    libtorch: record.version,
    glibc: String(glibc),
    glibcxx: newest(files, 'GLIBCXX'),
    sources: digestOfSources(packageRoot),
    files: Object.fromEntries(files.map((file) => [path.basename(file), digest(fs.readFileSync(file))])),
    built: record.built,
    compiler: record.compiler.replace(/^\S*\//, ''), // the folder is this machine's
    cudaKernels: record.cudaKernels.replace(/^none: .*/, 'none: it was compiled for a CPU build of libtorch'),
  };
  fs.writeFileSync(manifestFile(packageRoot), JSON.stringify(manifest, null, 2) + '\n');
  logToStderr(`Prebuilt for libtorch ${manifest.libtorch}, glibc ${manifest.glibc}, GLIBCXX ${manifest.glibcxx}`);
}

await prepack().catch(fail);
