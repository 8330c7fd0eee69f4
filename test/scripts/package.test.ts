/** The packed package in an empty project, as a user has it: installed, imported, type-checked, trained, called. */
import fs from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { packageRoot } from '../../scripts/build.mjs';
import { temporaryFolder } from '../support/folders.js';
import { lazy } from '../support/lazy.js';
import { run, succeed, userEnvironment } from '../support/processes.js';

const dir = temporaryFolder(t, 'package');
const consumer = path.join(dir, 'consumer');
const bare = path.join(dir, 'bare');
const QUIET = ['--no-audit', '--no-fund', '--prefer-offline', '--loglevel=error'];

/** Runs a program in a folder, as a user does. */
const runIn = (cwd: string, command: string, ...args: string[]) => run(command, args, { cwd, env: userEnvironment });
const succeedIn = (cwd: string, command: string, ...args: string[]) =>
  succeed(command, args, { cwd, env: userEnvironment });

function emptyProject(folder: string) {
  fs.cpSync(path.join(packageRoot, 'test/fixtures/consumer'), folder, { recursive: true });
}

/** The package as it is published, and the names of what is in it. */
const packed = lazy(async (): Promise<{ tarball: string; names: string[] }> => {
  const stdout = await succeedIn(packageRoot, 'npm', 'pack', '--json', '--pack-destination', dir);
  const [{ filename, files }] = JSON.parse(stdout.slice(stdout.indexOf('['))) as [
    { filename: string; files: { path: string }[] },
  ];
  return { tarball: path.join(dir, filename), names: files.map((file) => file.path) };
});

/** Installs it for `consumer`, which builds it. */
const installed = lazy(async () => {
  const { tarball } = await packed();
  emptyProject(consumer);
  const start = performance.now();
  await succeedIn(consumer, 'npm', 'install', tarball, ...QUIET);
  t.comment(`npm install took ${((performance.now() - start) / 1000).toFixed(0)} s`);
});

/** Compiles the TypeScript of `consumer`. */
const compiled = lazy(async () => {
  await installed();
  const types = path.join(consumer, 'node_modules/@types');
  fs.mkdirSync(types, { recursive: true });
  for (const name of ['@types/node', 'undici-types']) {
    fs.cpSync(path.join(packageRoot, 'node_modules', name), path.join(consumer, 'node_modules', name), {
      recursive: true,
    });
  }
  await succeedIn(consumer, process.execPath, path.join(packageRoot, 'node_modules/typescript/bin/tsc'), '-p', '.');
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
    'LICENSE',
    'README.md',
  ]) {
    t.ok(names.includes(name), name);
  }
  t.ok(names.some((name) => name.startsWith('native/node/')));
  t.same(
    names.filter((name) => /^(lib|test|bench|node_modules|build|build-native|\.)/.test(name)),
    [],
  );
});

t.test('installed without its scripts, it says which command builds it', async (t) => {
  const { tarball } = await packed();
  emptyProject(bare);
  await succeedIn(bare, 'npm', 'install', tarball, '--ignore-scripts', ...QUIET);
  const imported = await runIn(bare, process.execPath, '-e', "import('cortorch').then((c) => c.liveTensors())");
  t.not(imported.code, 0);
  t.match(imported.stderr, 'ERR_NATIVE_NOT_BUILT');
  t.match(imported.stderr, 'npx cortorch setup');
  const flags = '--dataset mnist --model mnist-fc --rule bp --out run';
  const called = await runIn(bare, 'npx', 'cortorch', 'train', ...flags.split(' '));
  t.equal(called.code, 1);
  t.match(called.stderr, 'npx cortorch setup');
  t.notMatch(called.stderr, /\n {4}at /, 'without a stack');
});

t.test('npm install builds it', async (t) => {
  await installed();
  t.ok(fs.existsSync(path.join(consumer, 'node_modules/cortorch/build-native/Release/cortorch.node')));
  t.match(await succeedIn(consumer, 'npx', 'cortorch', 'setup'), /^cortorch is ready: /);
});

t.test('its types hold for a TypeScript user', async (t) => {
  await compiled();
  t.ok(fs.existsSync(path.join(consumer, 'train.js')));
});

t.test('a script trains with it', async (t) => {
  await compiled();
  const { parameters, testError } = JSON.parse(await succeedIn(consumer, process.execPath, 'train.js')) as {
    parameters: number;
    testError: number;
  };
  t.equal(parameters, 784 * 32 + 32 + 32 * 10 + 10);
  t.ok(testError > 0.05 && testError < 0.2, `chance is 0.9; test error ${testError} after 300 steps`);
});

t.test('its command line works there', async (t) => {
  const flags = '--dataset mnist --model mnist-fc --rule fa --max-steps 20 --seed 1 --json --out run';
  await installed();
  const stdout = await succeedIn(consumer, 'npx', 'cortorch', 'train', ...flags.split(' '));
  const events = stdout
    .trim()
    .split('\n')
    .map((line): unknown => JSON.parse(line));
  t.match(events[0], { type: 'start', parameters: Number });
  t.match(events.at(-1), { type: 'end', checkpoint: String });
  t.match(await succeedIn(consumer, 'npx', 'cortorch', 'doctor'), 'libtorch');
});
