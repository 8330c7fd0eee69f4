/** scripts/gpu-check and its programs, so far as they run without a GPU: on the CPU they compare it with itself. */
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { checkBuild, packageRoot } from '../../scripts/build.mjs';
import { temporaryFolder } from '../support/folders.js';
import { torchPython, whyNoTorchPython } from '../support/python.js';

const skip = whyNoTorchPython();

function python(...args: string[]): { status: number | null; output: string } {
  const { command, env } = torchPython()!;
  const { status, stdout, stderr } = spawnSync(command, ['-W', 'ignore', ...args], {
    cwd: packageRoot,
    env: { ...env, PYTHONDONTWRITEBYTECODE: '1' },
    encoding: 'utf8',
    maxBuffer: 2 ** 26,
  });
  return { status, output: stdout + stderr };
}

t.test('the programs of gpu-check run on the CPU', { skip, timeout: 600_000 }, async (t) => {
  const { library } = checkBuild();
  const programs = [
    ['test/python/cuda_check.py', [], / 0 failed$/m],
    ['test/python/gpu_training.py', ['--small'], / 0 failed$/m],
    ['bench/gpu.py', ['--small'], /^ratios \[\{"what": "layers fp32, vs bmm"/m],
  ] as const;
  for (const [file, more, expected] of programs) {
    const { status, output } = python(file, library, '--device', 'cpu', ...more);
    t.equal(status, 0, `${file}: ${status === 0 ? 'done' : output.slice(-2000)}`);
    t.match(output, expected);
  }
});

t.test('without a GPU it says so', async (t) => {
  // A copy: it writes beside itself.
  const folder = temporaryFolder(t, 'gpu-check');
  fs.mkdirSync(path.join(folder, 'scripts'));
  const script = path.join(folder, 'scripts/gpu-check');
  fs.copyFileSync(path.join(packageRoot, 'scripts/gpu-check'), script);
  const run = (args: string[], env: NodeJS.ProcessEnv) =>
    spawnSync('python3', [script, ...args], { env: { ...process.env, ...env }, encoding: 'utf8' });

  const none = run([], { CORTORCH_PYTHON: '/no/such/python' });
  t.equal(none.status, 2);
  t.match(none.stdout, '/no/such/python');
  const unknown = run(['--only', 'everything'], {});
  t.equal(unknown.status, 2);
  t.match(unknown.stderr, 'there is no step everything: they are build, operators');
  const torch = torchPython();
  if (!torch) return;
  const unseen = run([], { ...torch.env, CORTORCH_PYTHON: torch.command, CUDA_VISIBLE_DEVICES: '' });
  t.equal(unseen.status, 2);
  t.match(unseen.stdout, 'PyTorch sees no GPU');
  t.match(fs.readFileSync(path.join(folder, 'build-gpu/gpu-check.log'), 'utf8'), 'PyTorch sees no GPU');
});
