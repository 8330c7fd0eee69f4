/**
 * Each source by itself, and the library with CUDA kernels for every GPU architecture that the package is compiled for;
 * CI compiles one. Needs nvcc, and a libtorch for CUDA: CORTORCH_CUDA_LIBTORCH, or the one that .ci/cuda-libtorch
 * finds.
 */
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import t from 'tap';
import { packageRoot } from '../../scripts/paths.mjs';
import { findToolchain } from '../../scripts/toolchain.mjs';
import { temporaryFolder } from '../support/folders.js';
import { succeed } from '../support/processes.js';

const found = spawnSync(path.join(packageRoot, '.ci/cuda-libtorch'), { encoding: 'utf8' });
const skip = found.status !== 0 && found.stderr.trim();

t.test('what CMake makes by itself of a CUDA libtorch and nvcc', { skip, timeout: 3_600_000 }, async (t) => {
  const build = path.join(temporaryFolder(t, 'cuda'), 'build');
  const tools = findToolchain();
  const configure = ['-S', packageRoot, '-B', build, '-G', tools.generator, `-DLIBTORCH=${found.stdout.trim()}`];
  await succeed(tools.cmake.path, [
    ...[...configure, '-DCORTORCH_NODE=OFF', '-DCORTORCH_UNITY=OFF', `-DCMAKE_CXX_COMPILER=${tools.compiler.path}`],
  ]);
  const said = await succeed(tools.cmake.path, ['--build', build, '--parallel', String(os.availableParallelism())]);
  t.notMatch(said, /\bwarning\b/i);
  t.match(fs.readFileSync(path.join(build, 'cuda-kernels'), 'utf8'), /^built by .*nvcc.* for 80-real;90\n$/);
  t.ok(fs.existsSync(path.join(build, 'libcortorch.so')));
});
