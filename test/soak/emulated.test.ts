/**
 * The programs that compare a GPU with the processor (test/python), run against the emulated CUDA half: what they
 * compare agrees there, and so a difference on a GPU is the GPU's.
 */
import path from 'node:path';
import t from 'tap';
import { packageRoot } from '../../scripts/paths.mjs';
import { lazy } from '../support/lazy.js';
import { buildChecks } from '../support/native-checks.js';
import { run } from '../support/processes.js';
import { torchPython, whyNoTorchPython } from '../support/python.js';

const skip = whyNoTorchPython();
const built = lazy(() => buildChecks(t, { CORTORCH_CUDA_EMULATED: 'ON', CORTORCH_TESTS: 'OFF' }, ['cortorch']));

for (const [program, least] of [
  ['cuda_check.py', 500],
  ['gpu_training.py', 2000],
] as const) {
  t.test(program, { skip, timeout: 3_600_000 }, async (t) => {
    const { command, env } = torchPython()!;
    const library = path.join(await built(), 'libcortorch.so');
    const args = [path.join(packageRoot, 'test/python', program), library, '--device', 'cpu', '--emulated'];
    const { code, stdout, stderr } = await run(command, ['-W', 'ignore', ...args], { env });
    t.equal(code, 0, `${stdout.slice(-6000)}${stderr.slice(-2000)}`);
    const [, checks] = /^(\d+) checks, 0 failed$/m.exec(stdout) ?? [];
    t.ok(Number(checks) >= least, `${checks} checks`);
  });
}
