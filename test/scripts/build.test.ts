/** The native build, on a stub of a few lines: built, rebuilt, broken, and its libtorch moved away. */
import { execFileSync, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { buildFolder, buildNative, checkBuild, packageRoot, readRecord } from '../../scripts/build.mjs';
import { describeSetup } from '../../scripts/doctor.mjs';
import { SetupError } from '../../scripts/setup-error.mjs';
import { temporaryFolder } from '../support/folders.js';
import { refusal } from '../support/refusal.js';
import { fakeLibtorch } from '../support/setup.js';

const BUILD = path.join(packageRoot, 'scripts/build.mjs');
const libtorch = checkBuild().libtorch; // the one that the project itself was built on

// Not in the checkout: its folders must not lend the stub what a user's project lacks.
const root = temporaryFolder(t, 'build');
fs.cpSync(path.join(packageRoot, 'test/fixtures/stub'), root, { recursive: true });
for (const name of ['CMakeLists.txt', 'package.json'])
  fs.copyFileSync(path.join(packageRoot, name), path.join(root, name));
fs.symlinkSync(path.join(packageRoot, 'node_modules'), path.join(root, 'node_modules'));
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

/** Loads the stub in a process of its own, as a user's script would. */
function load(): { status: number | null; stdout: string; stderr: string } {
  const program = `import { loadAddon } from '${BUILD}'; import { fail } from '${path.dirname(BUILD)}/setup-error.mjs';
    try { console.log(loadAddon({ root: '${root}' }).answer) } catch (error) { fail(error) }`;
  return spawnSync(process.execPath, ['--input-type=module', '-e', program], { encoding: 'utf8' });
}

t.test('before the build, loading names the command that builds', async (t) => {
  const { status, stderr } = load();
  t.equal(status, 1);
  t.match(stderr, /^cortorch: \[ERR_NATIVE_NOT_BUILT\] cortorch's native part is not built\.\n/);
  t.match(stderr, 'npx cortorch setup');
  t.notMatch(stderr, /\n {4}at /, 'without a stack');
});

t.test('it builds without downloading anything, and writes down on what', async (t) => {
  const { changed, record } = await build();
  t.ok(changed);
  t.match(record, { path: link, version: libtorch.version, source: 'LIBTORCH' });
  t.match(lines.join('\n'), /\[\d.*\] native\/stub\.cpp/);
  t.notOk(fs.existsSync(path.join(root, '.cmake-js')));
  t.match(load(), { status: 0, stdout: '42\n' });
});

t.test('with nothing to do it does nothing, at once', async (t) => {
  const start = performance.now();
  t.equal((await build()).changed, false);
  t.ok(performance.now() - start < 500);
  const { LIBTORCH: _, ...unset } = env;
  t.equal((await buildNative({ root, env: unset, log: t.fail })).changed, false, 'what was built on stays');
});

t.test('a changed source is built', async (t) => {
  fs.writeFileSync(source, fs.readFileSync(source, 'utf8').replace('42', '43'));
  t.equal((await build()).changed, true);
  t.match(load(), { status: 0, stdout: '43\n' });
});

t.test("a warning is an error in a checkout, and only a warning on a user's machine", async (t) => {
  const good = fs.readFileSync(source, 'utf8');
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

  fs.writeFileSync(source, good);
  t.equal((await build()).changed, true);
});

t.test('a damaged addon is reported with what helps', async (t) => {
  const { addon } = buildFolder(root);
  const whole = fs.readFileSync(addon);
  fs.writeFileSync(`${addon}.cut`, whole.subarray(0, 20)); // longer, and the loader itself crashes
  fs.renameSync(`${addon}.cut`, addon);
  const { status, stderr } = load();
  t.equal(status, 1);
  t.match(stderr, '[ERR_NATIVE_LOAD]');
  t.match(stderr, 'npx cortorch setup');
  t.match(stderr, 'npx cortorch doctor');
  fs.writeFileSync(addon, whole);
});

t.test('a libtorch that was removed, and one that was replaced, are named at run time', async (t) => {
  fs.rmSync(link);
  const { status, stdout, stderr } = load();
  t.equal(status, 1);
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
  const { status, stdout, stderr } = spawnSync(process.execPath, ['bin/cortorch.js', 'setup'], {
    cwd: packageRoot,
    env: { ...process.env, LIBTORCH: '/nowhere' },
    encoding: 'utf8',
  });
  t.equal(status, 1);
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
  t.match(execFileSync(nodeGyp, args, { cwd: packageRoot, encoding: 'utf8' }), 'cortorch_target_build');
  t.doesNotThrow(() => checkBuild());
});
