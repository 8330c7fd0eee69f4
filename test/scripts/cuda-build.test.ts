/**
 * A project that is built with CUDA kernels: compiled by nvcc, linked and loaded, without a GPU as well; where there is
 * one, its results against the CPU's.
 */
import fs from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { checkBuild } from '../../scripts/load.mjs';
import { buildFolder, packageRoot } from '../../scripts/paths.mjs';
import { findNvcc, findToolchain } from '../../scripts/toolchain.mjs';
import { temporaryFolder } from '../support/folders.js';
import { run, succeed } from '../support/processes.js';
import { python } from '../support/python.js';

const { library, libtorch: builtOn } = checkBuild();
const libtorch = builtOn.path;
const tools = findToolchain();
const nvcc = findNvcc();

function reasonToSkip(): string | false {
  if (builtOn.cuda === null) return 'libtorch is a CPU build';
  return nvcc ? false : 'there is no nvcc';
}

/** Calls an operator of the library, as C++ does. */
const PROGRAM = `
#include <ATen/ops/full.h>
#include <ATen/ops/sum.h>
#include <cstdio>
#include "maps/operators.h"
int main() {
  const at::Tensor x = at::full({2, 3, 5, 5}, 1.0), w = at::full({3, 3, 3, 3, 3, 4}, 0.5);
  const at::Tensor y = cortorch::locally_connected2d(x, w, std::nullopt, {1, 1}, {0, 0}, {1, 1});
  std::printf("%g", y.sum().item<double>());
}
`;

const folder = temporaryFolder(t, 'cuda');

/** A Python that imports this libtorch's own torch and sees a GPU, or the reason why there is none. */
async function gpuPython(): Promise<{ env: NodeJS.ProcessEnv; reason: string | false }> {
  const env = { PYTHONPATH: path.dirname(libtorch) };
  const ask = 'import torch; print(torch.cuda.is_available())';
  const { code, stdout, stderr } = await run(python, ['-W', 'ignore', '-c', ask], { env });
  const why = stderr.trim().split('\n').at(-1);
  if (code !== 0) return { env, reason: `${python} cannot import this libtorch's torch: ${why}` };
  return { env, reason: stdout.trim() === 'True' ? false : 'PyTorch sees no GPU' };
}

t.test('a build with CUDA kernels', { skip: reasonToSkip(), timeout: 1_800_000 }, async (t) => {
  await t.test('is what CMake made of a CUDA libtorch and nvcc', async (t) => {
    const kernels = fs.readFileSync(buildFolder().cudaKernels, 'utf8');
    t.match(kernels, /^built by .*nvcc.* for /);
    t.match(kernels, ` for ${process.env.CORTORCH_CUDA_ARCHITECTURES ?? '80-real;90'}\n`);
    t.ok(fs.existsSync(library));
  });

  await t.test('loads without a GPU, and its CPU part works', async (t) => {
    fs.writeFileSync(path.join(folder, 'program.cpp'), PROGRAM);
    const include = ['native', `${libtorch}/include`].map((name) => `-I${path.resolve(packageRoot, name)}`);
    const libraries = ['torch', 'torch_cpu', 'c10'].map((name) => `-l${name}`);
    const at = [path.dirname(library), path.join(libtorch, 'lib')].flatMap((name) => [
      `-L${name}`,
      `-Wl,-rpath,${name}`,
    ]);
    const program = path.join(folder, 'program');
    await succeed(tools.compiler.path, [
      ...['-std=c++20', '-w', ...include, path.join(folder, 'program.cpp'), '-o', program, ...at],
      ...['-lcortorch', ...libraries, '-Wl,--allow-shlib-undefined,--disable-new-dtags'],
    ]);
    t.equal(await succeed(program, [], { env: { CUDA_VISIBLE_DEVICES: '' } }), String(2 * 4 * 9 * 27 * 0.5));
  });

  const gpu = await gpuPython();
  await t.test('agrees with float64 on a GPU', { skip: gpu.reason }, async (t) => {
    const check = path.join(packageRoot, 'test/python/cuda_check.py');
    t.match(await succeed(python, ['-W', 'ignore', check, library], { env: gpu.env }), 'gradients agree');
  });

  await t.test('trains on a GPU as on the CPU', { skip: gpu.reason }, async (t) => {
    const check = path.join(packageRoot, 'test/python/gpu_training.py');
    t.match(await succeed(python, ['-W', 'ignore', check, library], { env: gpu.env }), ' 0 failed');
  });

  await t.test('is not made where it is not wanted', async (t) => {
    const other = path.join(folder, 'off');
    const configure = ['-S', packageRoot, '-B', other, '-G', tools.generator, `-DLIBTORCH=${libtorch}`];
    await succeed(tools.cmake.path, [...configure, '-DCORTORCH_NODE=OFF', '-DCORTORCH_CUDA=OFF']);
    t.equal(fs.readFileSync(path.join(other, 'cuda-kernels'), 'utf8'), 'none: CORTORCH_CUDA is OFF\n');
  });
});
