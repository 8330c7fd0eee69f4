/**
 * scripts/gpu-check without a GPU: its budget, its files and its exit codes with a Python and a CMake that only say
 * that they are; and its programs on the CPU, which they compare with itself.
 */
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { checkBuild } from '../../scripts/load.mjs';
import { packageRoot } from '../../scripts/paths.mjs';
import { temporaryFolder } from '../support/folders.js';
import { isRunning, startProcess } from '../support/processes.js';
import { torchPython, whyNoTorchPython } from '../support/python.js';

/** What the pretended machine does, in shell: `programs` for each program of Python, by its name. */
interface Pretended {
  readonly programs?: Readonly<Record<string, string>>;
  readonly build?: string;
}

/** A copy of gpu-check, which builds beside itself, and its tools. */
function pretend(t: Test, { programs = {}, build = 'touch "$2/libcortorch.so"' }: Pretended) {
  const folder = temporaryFolder(t, 'gpu-check');
  const out = path.join(folder, 'out');
  const bin = path.join(folder, 'bin');
  for (const name of ['scripts', 'bin']) fs.mkdirSync(path.join(folder, name));
  for (const name of ['test', 'bench']) fs.symlinkSync(path.join(packageRoot, name), path.join(folder, name));
  const script = path.join(folder, 'scripts/gpu-check');
  fs.copyFileSync(path.join(packageRoot, 'scripts/gpu-check'), script);
  const tool = (name: string, lines: string) =>
    fs.writeFileSync(path.join(bin, name), `#!/bin/sh\n${lines}\n`, { mode: 0o755 });
  const torch = { python: 'python', version: '2.11.0', folder, cuda: '13.0', gpu: 'a GPU', capability: [9, 0] };
  const cases = Object.entries(programs).map(([name, lines]) => `*/${name}) ${lines};;`);
  tool('python', `case "$3" in -c) echo '${JSON.stringify(torch)}';; ${cases.join('\n')}\n*) echo all well;; esac`);
  tool('compute-sanitizer', `while [ "$1" != '${bin}/python' ]; do shift; done; exec "$@"`);
  tool('cmake', `echo cmake "$@"; if [ "$1" = --build ]; then ${build}; fi`);
  for (const name of ['nvcc', 'ninja']) tool(name, 'exit 1');
  const env = {
    ...process.env,
    PATH: `${bin}:${process.env.PATH}`,
    CORTORCH_PYTHON: path.join(bin, 'python'),
    CUDACXX: path.join(bin, 'nvcc'),
    OUT: out,
  };
  return {
    out,
    run: (...args: string[]) => spawnSync('python3', [script, ...args], { env, encoding: 'utf8', maxBuffer: 2 ** 26 }),
    start: (...args: string[]) => startProcess('python3', [script, ...args], { env }),
    read: (name: string) => fs.readFileSync(path.join(out, name), 'utf8'),
    has: (name: string, words: string) =>
      fs.existsSync(path.join(out, name)) && fs.readFileSync(path.join(out, name), 'utf8').includes(words),
    libraryIsBuilt: () => fs.existsSync(path.join(folder, 'build-gpu/build/libcortorch.so')),
  };
}

const RATIO = JSON.stringify({ what: 'a layer', ratio: 2.5, goal: 3, at_most: false, met: false, words: '1 of 2' });
const PARTS =
  'build,local,maps,step,layers,imagenet,mnist,compiled,rules,memcheck,precisions,bits,racecheck,layers256,autotuned';

/** A program that says a line and then has a child that never ends; its own process and the child are in `file`. */
const endless = (file: string) => `sleep 100 & echo $$ $! > '${file}'; echo the first line; wait`;
const processes = (file: string) => fs.readFileSync(file, 'utf8').split(' ').map(Number);

async function until(condition: () => boolean): Promise<boolean> {
  for (let i = 0; i < 300 && !condition(); i++) await sleep(100);
  return condition();
}

t.test('all parts, in their order, each result in one of 8 files', async (t) => {
  const machine = pretend(t, { programs: { 'gpu.py': `echo '| a table |'; echo 'ratio ${RATIO}'` } });
  const { status, stdout, stderr } = machine.run();
  t.equal(status, 0, stderr);
  const files = fs.readdirSync(machine.out);
  t.ok(files.length <= 8, files.join(', '));
  t.same(
    [...machine.read('summary.txt').matchAll(/^== (\w+): .* at most$/gm)].map((match) => match[1]),
    [...PARTS.split(',')],
  );
  const results = machine.read('results.md');
  t.match(results, '### a GPU (sm_90), torch 2.11.0, CUDA 13.0');
  t.match(results, '| a layer | 2.50 | ≥ 3 | missed, 1 of 2 |');
  t.match(results, /^\| \*\*local\*\*: .* \| passed \|/m);
  t.match(results, /^\| \*\*node\*\*: .* \| skipped \|/m);
  t.match(machine.read('times.md'), '| a table |');
  t.notMatch(machine.read('times.md'), 'ratio {');
  t.match(machine.read('build.txt'), '-DCORTORCH_CUDA_ARCHITECTURES=90-real');
  t.match(machine.read('build.txt'), '--target cortorch');
  t.notMatch(stdout, 'Left out');
});

t.test('what does not fit is left out, and done by the command that is named', async (t) => {
  const machine = pretend(t, {});
  // 59 seconds are to be had: enough for those of at most 50, too few for those of 60 and more.
  const first = machine.run('--seconds', '64');
  t.equal(first.status, 3, first.stderr);
  const rest = 'imagenet,compiled,rules,memcheck,precisions,bits,racecheck,autotuned';
  t.match(machine.read('summary.txt'), `scripts/gpu-check --only ${rest}\n`);
  t.match(machine.read('results.md'), /^\| \*\*rules\*\*: .* \| left out \| {2}\| it may take 60 s/m);
  const before = machine.read('results.md');

  const second = machine.run('--only', rest);
  t.equal(second.status, 0, second.stderr);
  t.ok(machine.read('results.md').startsWith(before), 'added to what was there');
  t.equal(machine.read('build.txt').match(/^cmake --build/gm)!.length, 1, 'with the library that was built');
  t.ok(fs.readdirSync(machine.out).length <= 8);

  const anew = machine.run('--seconds', '64');
  t.equal(anew.status, 3);
  t.equal(machine.read('results.md').match(/^###/gm)!.length, 1, 'a run of all parts begins its files anew');
});

t.test('a run whose time is out starts nothing', async (t) => {
  const machine = pretend(t, { programs: { 'cuda_check.py': 'echo never' } });
  t.equal(machine.run('--only', 'build').status, 0);
  const { status, stdout } = machine.run('--only', 'local,maps', '--seconds', '5.9');
  // On a machine that is busy the Python may be late to say what there is.
  if (status === 2 && stdout.includes('it took too long')) return;
  t.equal(status, 3);
  t.match(stdout, 'scripts/gpu-check --only local,maps\n');
  t.notMatch(stdout, 'never');
});

t.test('a part is cut with all its processes', async (t) => {
  const pids = path.join(t.testdir(), 'pids');
  const machine = pretend(t, { programs: { 'cuda_check.py': endless(pids) } });
  t.equal(machine.run('--only', 'build').status, 0);
  const began = performance.now();
  const { status } = machine.run('--only', 'local,maps', '--seconds', '9');
  t.ok(performance.now() - began < 9000, 'within its seconds');
  t.equal(status, 3);
  t.match(machine.read('maps.txt'), 'the first line');
  t.match(machine.read('summary.txt'), /^== local: cut, /m);
  t.match(machine.read('summary.txt'), 'scripts/gpu-check --only local,maps\n');
  t.ok(await until(() => !processes(pids).some(isRunning)), 'they have ended');
});

t.test('a part that says that it left something out is named too', async (t) => {
  const machine = pretend(t, { programs: { 'gpu.py': 'echo left out for want of time: a layer' } });
  const { status } = machine.run('--only', 'build,layers,node');
  t.equal(status, 3);
  t.match(machine.read('summary.txt'), 'scripts/gpu-check --only layers\n');
});

t.test('a failure is one, whatever else was left out', async (t) => {
  const machine = pretend(t, { programs: { 'gpu_training.py': 'echo FAILED bp local; echo 1 failed; exit 1' } });
  const { status } = machine.run('--seconds', '64');
  t.equal(status, 1);
  const summary = machine.read('summary.txt');
  t.match(summary, /^== step: FAILED, .*FAILED bp local$/m);
  t.match(summary, /^== layers: passed/m);
  t.match(summary, /^FAILED: step$/m);
  t.match(summary, 'scripts/gpu-check --only imagenet,');
});

t.test('where the build fails nothing is checked with an older library', async (t) => {
  const build = 'if [ -e "$0.broken" ]; then echo error: no; exit 1; fi; touch "$2/libcortorch.so" "$0.broken"';
  const machine = pretend(t, { build });
  t.equal(machine.run('--only', 'build,local').status, 0);
  const again = machine.run('--only', 'build,local');
  t.equal(again.status, 1);
  t.notOk(machine.libraryIsBuilt());
  t.match(again.stdout, /^== build: FAILED, .*error: no$/m);
  t.match(again.stdout, 'scripts/gpu-check --only build,local\n');
});

t.test('a run that is killed leaves what it had', async (t) => {
  const pids = path.join(t.testdir(), 'pids');
  const machine = pretend(t, { programs: { 'cuda_check.py': endless(pids) } });
  const child = machine.start();
  t.ok(await until(() => machine.has('maps.txt', 'the first line')), 'the line comes before its program ends');
  child.process.kill('SIGKILL');
  t.match(machine.read('results.md'), /^\| \*\*build\*\*: .* \| passed \|/m);
  t.match(machine.read('summary.txt'), /^== local: .* at most$/m);
  t.match(machine.read('build.txt'), 'cmake --build');
  t.ok(fs.readdirSync(machine.out).length <= 8);
  const [program, itsChild] = processes(pids);
  t.ok(await until(() => !isRunning(program!)), 'the program ends too, and leaves the GPU to the next run');
  process.kill(itsChild!);
});

t.test('a run that is asked to end says what it left out', async (t) => {
  const pids = path.join(t.testdir(), 'pids');
  const machine = pretend(t, { programs: { 'cuda_check.py': endless(pids) } });
  const child = machine.start('--only', 'build,local,step');
  t.ok(await until(() => machine.has('maps.txt', 'the first line')));
  child.process.kill('SIGTERM');
  t.match(await child.finished, { code: 3 });
  t.match(machine.read('summary.txt'), /^== local: cut, .*by SIGTERM$/m);
  t.match(machine.read('summary.txt'), 'scripts/gpu-check --only local,step\n');
});

t.test('what is asked of it wrongly, and where there is nothing to check with', async (t) => {
  const machine = pretend(t, {});
  const unknown = machine.run('--only', 'local,everything');
  t.equal(unknown.status, 2);
  t.match(unknown.stderr, `there is no part 'everything': they are ${PARTS},node`.replaceAll(/,(?=\w)/g, ', '));
  const help = machine.run('--help');
  t.equal(help.status, 0);
  t.match(help.stdout, 'Exit code: 0 if all passed, 1 if a check failed, 3 if none failed');

  const script = path.join(packageRoot, 'scripts/gpu-check');
  const run = (env: NodeJS.ProcessEnv) =>
    spawnSync('python3', [script], { env: { ...process.env, OUT: machine.out, ...env }, encoding: 'utf8' });
  const none = run({ CORTORCH_PYTHON: '/no/such/python' });
  t.equal(none.status, 2);
  t.match(none.stdout, '/no/such/python');
  const torch = torchPython();
  if (!torch) return;
  const unseen = run({ ...torch.env, OUT: machine.out, CORTORCH_PYTHON: torch.command, CUDA_VISIBLE_DEVICES: '' });
  t.equal(unseen.status, 2);
  t.match(unseen.stdout, 'PyTorch sees no GPU');
  t.match(machine.read('summary.txt'), 'PyTorch sees no GPU');
});

t.test('its programs, on the CPU', { skip: whyNoTorchPython(), timeout: 900_000 }, async (t) => {
  const { command, env } = torchPython()!;
  const { library } = checkBuild();
  // Products are tiny here: waking a second thread takes longer than they do.
  const python = `OMP_NUM_THREADS=1 PYTHONPATH='${env.PYTHONPATH ?? ''}' exec '${command}' "$@" --device cpu`;
  const machine = pretend(t, {
    programs: { 'cuda_check.py': python, 'gpu_training.py': python, 'gpu.py': `${python} --small --precision fp32` },
    build: `cp '${library}' "$2/libcortorch.so"`,
  });
  const parts = 'build,local,maps,step,layers,imagenet,mnist,memcheck';
  const { status, stdout } = machine.run('--only', parts, '--seconds', '3600');
  t.equal(status, 0, status === 0 ? 'done' : stdout.slice(-4000));
  t.match(machine.read('maps.txt'), /^locally_connected2d fp32: 12 small sizes, largest relative error /m);
  t.match(machine.read('maps.txt'), 'gradients agree');
  t.match(machine.read('rules.txt'), /^fp32 ao-sdtp local, one step: off by 0 of the change$/m);
  t.match(machine.read('sanitizer.txt'), / 0 failed$/m);
  const results = machine.read('results.md');
  for (const what of [
    'layers fp32, batch 128, vs bmm',
    'imagenet-lc fp32, batch 4, vs PyTorch',
    'mnist-fc fp32, vs eager',
  ])
    t.match(results, `| ${what} | `);
});
