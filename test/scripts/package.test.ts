/**
 * The packed package in an empty project: installed, imported, type-checked, trained, called. It is not compiled there:
 * its sources are those of the checkout, byte for byte, so its build is the checkout's too (`npm run soak -- install`
 * compiles it).
 */
import fs from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { packageRoot } from '../../scripts/build.mjs';
import { Consumer, packed } from '../support/consumer.js';
import { lazy } from '../support/lazy.js';

const filesIn = (folder: string): string[] =>
  fs
    .readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(folder, path.join(entry.parentPath, entry.name)))
    .sort();

/** Installed without its scripts, and not built. */
const bare = lazy(async () => {
  const consumer = new Consumer('bare');
  await consumer.npmInstall('--ignore-scripts');
  return consumer;
});

/** The same with the checkout's build, and with its script compiled. */
const ready = lazy(async () => {
  const consumer = new Consumer('ready');
  await consumer.npmInstall('--ignore-scripts');
  consumer.takeBuild();
  await consumer.compile();
  return consumer;
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
  t.same(
    names.filter((name) => name.startsWith('native/')).sort(),
    filesIn(path.join(packageRoot, 'native')).map((name) => `native/${name}`),
    'all native sources',
  );
  t.same(
    names.filter((name) => /^(lib|test|bench|node_modules|build|build-native|\.)/.test(name)),
    [],
  );
  const forDevelopment = /^scripts\/(start|test|prepare|bench|soak|run-tests|test-report|leftovers)\b|gpu-check/;
  t.same(
    names.filter((name) => forDevelopment.test(name)),
    [],
  );
});

t.test('what is installed is the checkout, byte for byte', async (t) => {
  const { installed } = await bare();
  const names = filesIn(installed);
  t.ok(names.length > 300, `${names.length} files`);
  const other = names.filter((name) => {
    const [theirs, ours] = [installed, packageRoot].map((root) => fs.readFileSync(path.join(root, name)));
    return !theirs!.equals(ours!);
  });
  t.same(other, []);
});

t.test('npm install begins to build it', async (t) => {
  const { code, stdout, stderr } = await new Consumer('begun').npmInstallWithoutCompiler();
  t.not(code, 0);
  t.match(stdout + stderr, 'There is no C++ compiler that can build cortorch.');
  t.match(stdout + stderr, 'CXX=/no/such/compiler');
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
  t.ok(fs.existsSync(path.join((await ready()).folder, 'train.js')));
});

t.test('a script and the command line train with it', async (t) => {
  const consumer = await ready();
  const { parameters, testError, events } = await consumer.train();
  t.equal(parameters, 784 * 32 + 32 + 32 * 10 + 10);
  t.ok(testError > 0.05 && testError < 0.2, `chance is 0.9; test error ${testError} after 300 steps`);
  t.match(events[0], { type: 'start', parameters: Number });
  t.match(events.at(-1), { type: 'end', checkpoint: String });
  t.match(await consumer.succeed('npx', 'cortorch', 'doctor'), 'libtorch');
});
