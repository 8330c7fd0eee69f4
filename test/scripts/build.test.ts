/** The native build, on a stub of a few lines: built, rebuilt, broken, and its libtorch moved away. */
import fs from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { digestOfSources } from '../../scripts/digest.mjs';
import type { Manifest } from '../../scripts/prebuilt.mjs';
import { sha256 } from '../support/digests.js';
import { buildNative } from '../../scripts/build.mjs';
import { checkBuild } from '../../scripts/load.mjs';
import { buildFolder, packageRoot, prebuiltFolder } from '../../scripts/paths.mjs';
import { readRecord, filesOf } from '../../scripts/record.mjs';
import { describeSetup } from '../../scripts/doctor.mjs';
import { SetupError } from '../../scripts/setup-error.mjs';
import { temporaryFolder } from '../support/folders.js';
import { lazy } from '../support/lazy.js';
import { run, succeed, type Ended } from '../support/processes.js';
import { refusal } from '../support/refusal.js';
import { fakeLibtorch } from '../support/setup.js';

const LOAD = path.join(packageRoot, 'scripts/load.mjs');
const libtorch = checkBuild().libtorch; // the one that the project itself was built on

// Not in the checkout: its folders must not lend the stub what a user's project lacks.
const folder = temporaryFolder(t, 'build');

/** A project with the stub, not built yet. */
function emptyProject(name: string): string {
  const root = path.join(folder, name);
  fs.cpSync(path.join(packageRoot, 'test/fixtures/stub'), root, { recursive: true });
  const real = ['CMakeLists.txt', 'package.json', 'native/oldest_runtime.h', 'native/node/open_libraries.cpp'];
  for (const file of real) fs.copyFileSync(path.join(packageRoot, file), path.join(root, file));
  fs.symlinkSync(path.join(packageRoot, 'node_modules'), path.join(root, 'node_modules'));
  return root;
}

const root = emptyProject('project');
const link = path.join(root, 'libtorch');
fs.symlinkSync(libtorch.path, link);

const lines: string[] = [];
const env = {
  ...process.env,
  LIBTORCH: link,
  // Nothing may be downloaded: no headers of Node, from nowhere and to nowhere.
  HOME: root,
  NPM_CONFIG_USERCONFIG: '/dev/null',
  npm_config_nodedir: '',
  https_proxy: 'http://127.0.0.1:9',
};
const build = () => buildNative({ root, env, log: (line) => lines.push(line) });
const source = path.join(root, 'native/stub.cpp');
const SOURCE = fs.readFileSync(source, 'utf8');

const firstBuild = lazy(async () => ({ ...(await build()), said: lines.join('\n') }));

/** The project is as it was after its first build, whatever another test has made of it. */
async function built(): Promise<void> {
  await firstBuild();
  if (!fs.lstatSync(link, { throwIfNoEntry: false })?.isSymbolicLink()) {
    fs.rmSync(link, { recursive: true, force: true });
    fs.symlinkSync(libtorch.path, link);
  }
  fs.rmSync(path.join(root, 'lib'), { recursive: true, force: true });
  if (fs.readFileSync(source, 'utf8') !== SOURCE) fs.writeFileSync(source, SOURCE);
  await build();
}

/** Loads the stub in a process of its own, as a user's script would. */
function load(project = root): Promise<Ended> {
  const program = `import { loadAddon } from '${LOAD}'; import { fail } from '${path.dirname(LOAD)}/setup-error.mjs';
    try { console.log(loadAddon({ root: ${JSON.stringify(project)} }).answer) } catch (error) { fail(error) }`;
  return run(process.execPath, ['--input-type=module', '-e', program]);
}

t.test('before the build, loading names the command that builds', async (t) => {
  const { code, stderr } = await load(emptyProject('never-built'));
  t.equal(code, 1);
  t.match(stderr, /^cortorch: \[ERR_NATIVE_NOT_BUILT\] cortorch's native part is not built\.\n/);
  t.match(stderr, 'npx cortorch setup');
  t.notMatch(stderr, /\n {4}at /, 'without a stack');
});

t.test('it builds without downloading anything, and writes down on what', async (t) => {
  const { changed, record, said } = await firstBuild();
  t.ok(changed);
  t.match(record, { path: link, version: libtorch.version, source: 'LIBTORCH' });
  t.match(said, /^ {2}\[\d.*\] native$/m);
  t.notOk(fs.existsSync(path.join(root, '.cmake-js')));
  await built();
  t.match(await load(), { code: 0, stdout: '42\n' });
});

t.test('with nothing to do it does nothing', async (t) => {
  await built();
  t.equal((await build()).changed, false);
  const { LIBTORCH: _, ...unset } = env;
  t.equal(
    (await buildNative({ root, env: unset, log: (line) => t.fail(line) })).changed,
    false,
    'what was built on stays',
  );
});

t.test('moved or copied, it is not built anew', async (t) => {
  await built();
  const copy = path.join(folder, 'copy');
  fs.cpSync(root, copy, { recursive: true, verbatimSymlinks: true }); // with times of now
  const log = (line: string): void => void t.fail(line);
  t.equal((await buildNative({ root: copy, env, log })).changed, false, 'LIBTORCH as it was');
  const moved = path.join(folder, 'moved');
  fs.renameSync(copy, moved);
  const { LIBTORCH: _, ...unset } = env;
  t.equal((await buildNative({ root: moved, env: unset, log })).changed, false);
  t.match(await load(moved), { code: 0, stdout: '42\n' });

  fs.writeFileSync(path.join(moved, 'native/stub.cpp'), SOURCE.replace('42', '44'));
  const lines: string[] = [];
  t.equal((await buildNative({ root: moved, env, log: (line) => lines.push(line) })).changed, true);
  t.match(lines[0], /^Building the native part on libtorch /, 'and says what it does');
  t.match(await load(moved), { code: 0, stdout: '44\n' });
});

/** What `built()` made, as it comes with a package: without lib/. */
async function packagedProject(name: string): Promise<string> {
  await built();
  const packaged = emptyProject(name);
  const at = prebuiltFolder(packaged);
  fs.mkdirSync(at, { recursive: true });
  const files = Object.values<string>({ ...filesOf(readRecord(root)!, root) });
  for (const file of files) fs.copyFileSync(file, path.join(at, path.basename(file)));
  const manifest: Manifest = {
    libtorch: libtorch.version,
    glibc: '2.28',
    glibcxx: '',
    sources: digestOfSources(packaged),
    files: Object.fromEntries(files.map((file) => [path.basename(file), sha256(fs.readFileSync(file))])),
    built: 'then',
    compiler: 'g++ 0.0',
    cudaKernels: 'none',
  };
  fs.writeFileSync(path.join(at, 'manifest.json'), JSON.stringify(manifest));
  return packaged;
}

t.test('what came compiled is used; damaged, it is compiled', async (t) => {
  const packaged = await packagedProject("it's packaged"); // a name that shells and CMake lists take apart
  const said: string[] = [];
  const log = (line: string): void => void said.push(line);
  const used = await buildNative({ root: packaged, env, log });
  t.match(used, { changed: true, record: { prebuilt: true, compiler: 'g++ 0.0', path: link } });
  t.same(said, []);
  t.match(await load(packaged), { code: 0, stdout: '42\n' });
  t.equal((await buildNative({ root: packaged, env, log })).changed, false);

  const { library } = filesOf({ prebuilt: true }, packaged);
  fs.truncateSync(library, 1000);
  const compiled = await buildNative({ root: packaged, env, log });
  t.match(compiled, { changed: true, record: { prebuilt: false } });
  t.equal(said[0], `The prebuilt native part is not used: ${library} is damaged`);
  t.match(await load(packaged), { code: 0, stdout: '42\n' });
});

t.test('a library that was cut or removed after the build is made again', async (t) => {
  await built();
  const { library, opener } = filesOf({ prebuilt: false }, root);
  fs.rmSync(opener);
  t.equal((await load()).code, 1);
  t.equal((await build()).changed, true);
  t.match(await load(), { code: 0, stdout: '42\n' });
  fs.writeFileSync(`${library}.cut`, fs.readFileSync(library).subarray(0, 5000));
  fs.renameSync(`${library}.cut`, library);
  t.equal((await build()).changed, true);
  t.match(await load(), { code: 0, stdout: '42\n' });
});

t.test('a changed source is built', async (t) => {
  await built();
  fs.writeFileSync(source, SOURCE.replace('42', '43'));
  t.equal((await build()).changed, true);
  t.match(await load(), { code: 0, stdout: '43\n' });
});

t.test("a warning is an error in a checkout, and only a warning on a user's machine", async (t) => {
  await built();
  fs.appendFileSync(source, 'static int unused() { return 1; }\n');
  t.equal((await build()).changed, true, 'as a user has it, without lib/');

  fs.mkdirSync(path.join(root, 'lib'));
  fs.writeFileSync(path.join(root, 'lib/index.ts'), '');
  fs.appendFileSync(source, '\n');
  const error = await refusal(SetupError, build);
  t.equal(error.code, 'ERR_NATIVE_BUILD');
  t.match(error.message, /stub\.cpp:\d+:\d+: error: .*unused/, "the compiler's own words");
  t.match(error.message, `read ${buildFolder(root).log}, then: npx cortorch setup`);
  t.equal(readRecord(root), null, 'a failed build is not taken for one');

  fs.writeFileSync(source, SOURCE);
  t.equal((await build()).changed, true);
});

t.test('a damaged addon is reported with what helps', async (t) => {
  await built();
  const { addon } = buildFolder(root);
  const whole = fs.readFileSync(addon);
  t.teardown(() => fs.writeFileSync(addon, whole));
  fs.writeFileSync(`${addon}.cut`, whole.subarray(0, 20)); // longer, and the loader itself crashes
  fs.renameSync(`${addon}.cut`, addon);
  const { code, stderr } = await load();
  t.equal(code, 1);
  t.match(stderr, '[ERR_NATIVE_LOAD]');
  t.match(stderr, 'npx cortorch setup');
  t.match(stderr, 'npx cortorch doctor');
});

t.test('a libtorch that was removed, and one that was replaced, are named at run time', async (t) => {
  await built();
  fs.rmSync(link);
  const { code, stdout, stderr } = await load();
  t.equal(code, 1);
  t.equal(stdout, '');
  t.match(stderr, '[ERR_LIBTORCH_MOVED] The libtorch that cortorch was built on is not there any more.');
  t.match(stderr, `LIBTORCH: ${link} does not exist`);
  t.match(stderr, 'npx cortorch setup');
  t.notMatch(stderr, /cannot open shared object|\n {4}at /, "neither the loader's error nor a stack");
  const setup = describeSetup({ root, env: { ...env, LIBTORCH: libtorch.path } });
  t.match(setup, { built: { usable: false }, problems: [{ code: 'ERR_LIBTORCH_MOVED' }] });

  fakeLibtorch(link, '2.12.0+cpu');
  const error = await refusal(SetupError, () => checkBuild({ root }));
  t.equal(error.code, 'ERR_LIBTORCH_MOVED');
  t.match(error.message, `${link} now holds libtorch 2.12.0+cpu`);
  t.match(error.message, `Needed: libtorch ${libtorch.version} at ${link}`);
});

t.test('`cortorch setup` says in one message what is wrong, without a stack', async (t) => {
  const { code, stdout, stderr } = await run(process.execPath, ['bin/cortorch.js', 'setup'], {
    cwd: packageRoot,
    env: { LIBTORCH: '/nowhere' },
  });
  t.equal(code, 1);
  t.equal(stdout, '');
  t.match(stderr, /^cortorch: \[ERR_LIBTORCH_INVALID\] LIBTORCH is set to \/nowhere, which does not exist\.\nNeeded: /);
  t.notMatch(stderr, /\n {4}at /);
});

t.test('the doctor describes the machine as data', async (t) => {
  const setup = describeSetup();
  t.match(setup, {
    node: process.version,
    platform: 'linux',
    arch: 'x64',
    compiler: { path: String, version: /^\d+/ },
    cmake: { path: String },
    libtorch: { supported: { min: '2.11', max: '2.14' }, found: { version: String } },
    built: { path: libtorch.path, version: libtorch.version, usable: true },
    cuda: { built: Boolean, reason: String },
    problems: [],
  });
  t.same(JSON.parse(JSON.stringify(setup)), setup);
});

const nodePrefix = path.dirname(path.dirname(process.execPath));
const hasHeaders = fs.existsSync(path.join(nodePrefix, 'include/node/node_version.h'));
t.test('`node-gyp rebuild` hands over', { skip: !hasHeaders && 'no Node headers here' }, async (t) => {
  const nodeGyp = path.join(packageRoot, 'node_modules/.bin/node-gyp');
  const args = ['rebuild', `--nodedir=${nodePrefix}`, '--loglevel=error'];
  t.match(await succeed(nodeGyp, args, { cwd: packageRoot }), 'cortorch_target_build');
  t.doesNotThrow(() => checkBuild());
});
