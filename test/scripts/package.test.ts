/** The packed package in an empty project, as a user has it: installed, imported, type-checked, trained, called. */
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { packageRoot } from '../../scripts/build.mjs';
import { temporaryFolder } from '../support/folders.js';

const dir = temporaryFolder(t, 'package');
const consumer = path.join(dir, 'consumer');
const bare = path.join(dir, 'bare');
const QUIET = ['--no-audit', '--no-fund', '--prefer-offline', '--loglevel=error'];

/** tap watches the processes that it starts through NODE_OPTIONS, and npm adds variables: a user has neither. */
const env = Object.fromEntries(
  Object.entries(process.env).filter(([name]) => !/^(npm_|NODE_OPTIONS|TAP|_TAPJS)/.test(name)),
);

function run(cwd: string, command: string, ...args: string[]) {
  const { status, stdout, stderr } = spawnSync(command, args, { cwd, env, encoding: 'utf8' });
  return { status, stdout, stderr };
}

/** The same for what has to succeed: its stdout, or an error with its stderr. */
function succeed(cwd: string, command: string, ...args: string[]): string {
  const { status, stdout, stderr } = run(cwd, command, ...args);
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${status}:\n${stdout}\n${stderr}`);
  return stdout;
}

function emptyProject(folder: string) {
  fs.cpSync(path.join(packageRoot, 'test/fixtures/consumer'), folder, { recursive: true });
}

let tarball = '';

t.test('packs what is needed, and nothing else', async (t) => {
  const stdout = succeed(packageRoot, 'npm', 'pack', '--json', '--pack-destination', dir);
  const [{ filename, files }] = JSON.parse(stdout.slice(stdout.indexOf('[')));
  tarball = path.join(dir, filename);
  const names: string[] = files.map((file: { path: string }) => file.path);
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
  emptyProject(bare);
  succeed(bare, 'npm', 'install', tarball, '--ignore-scripts', ...QUIET);
  const imported = run(bare, process.execPath, '-e', "import('cortorch').then((c) => c.liveTensors())");
  t.not(imported.status, 0);
  t.match(imported.stderr, 'ERR_NATIVE_NOT_BUILT');
  t.match(imported.stderr, 'npx cortorch setup');
  const flags = '--dataset mnist --model mnist-fc --rule bp --out run';
  const called = run(bare, 'npx', 'cortorch', 'train', ...flags.split(' '));
  t.equal(called.status, 1);
  t.match(called.stderr, 'npx cortorch setup');
  t.notMatch(called.stderr, /\n {4}at /, 'without a stack');
});

t.test('npm install builds it', async (t) => {
  emptyProject(consumer);
  const start = performance.now();
  succeed(consumer, 'npm', 'install', tarball, ...QUIET);
  t.comment(`npm install took ${((performance.now() - start) / 1000).toFixed(0)} s`);
  t.ok(fs.existsSync(path.join(consumer, 'node_modules/cortorch/build-native/Release/cortorch.node')));
  t.match(succeed(consumer, 'npx', 'cortorch', 'setup'), /^cortorch is ready: /);
});

t.test('its types hold for a TypeScript user', async (t) => {
  const types = path.join(consumer, 'node_modules/@types');
  fs.mkdirSync(types, { recursive: true });
  for (const name of ['@types/node', 'undici-types']) {
    fs.cpSync(path.join(packageRoot, 'node_modules', name), path.join(consumer, 'node_modules', name), {
      recursive: true,
    });
  }
  const tsc = path.join(packageRoot, 'node_modules/typescript/bin/tsc');
  succeed(consumer, process.execPath, tsc, '-p', '.');
  t.ok(fs.existsSync(path.join(consumer, 'train.js')));
});

t.test('a script trains with it', async (t) => {
  const { parameters, testError } = JSON.parse(succeed(consumer, process.execPath, 'train.js'));
  t.equal(parameters, 784 * 32 + 32 + 32 * 10 + 10);
  t.ok(testError > 0.05 && testError < 0.2, `chance is 0.9; test error ${testError} after 300 steps`);
});

t.test('its command line works there', async (t) => {
  const flags = '--dataset mnist --model mnist-fc --rule fa --max-steps 20 --seed 1 --json --out run';
  const stdout = succeed(consumer, 'npx', 'cortorch', 'train', ...flags.split(' '));
  const events = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  t.match(events[0], { type: 'start', parameters: Number });
  t.match(events.at(-1), { type: 'end', checkpoint: String });
  t.match(succeed(consumer, 'npx', 'cortorch', 'doctor'), 'libtorch');
});
