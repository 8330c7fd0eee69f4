/**
 * Do the checks of the CUDA half find a slip? Each of these is made in a copy of the kernels, one at a time, and wants
 * to be found by kernels_check; those in how work is given to the GPU (mutations/gpu-steps.ts) by training_check. On
 * the right ones test/soak/sanitizers.test.ts runs both.
 */
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { packageRoot } from '../../scripts/paths.mjs';
import { findToolchain } from '../../scripts/toolchain.mjs';
import { temporaryFolder } from '../support/folders.js';
import { lazy } from '../support/lazy.js';
import { buildTargets, configureChecks } from '../support/native-checks.js';
import { run, succeed } from '../support/processes.js';
import { checkMutations, NotMade, type Making } from './mutations/mutation.js';
import { mutations as steps } from './mutations/gpu-steps.js';

const KERNELS = 'native/maps/cuda';
const CHECK = 'test/cuda-emulation/kernels_check.cpp';
const SANITIZERS = ['-fsanitize=address,undefined', '-fno-sanitize-recover=all'];
const COMPILER = findToolchain().compiler.path;
const probe = spawnSync(COMPILER, [...SANITIZERS, '-x', 'c++', '-', '-o', '/dev/null'], {
  input: 'int main() {}',
  encoding: 'utf8',
});
const skip = probe.status !== 0 && `the compiler has no sanitizers: ${probe.stderr.trim().split('\n').at(-1)}`;

/** Seed and cases of kernels_check. */
const CHECKED = ['1', '600'];

/** Fibers are not the stacks that the address sanitizer knows of, and a failure leaves their memory behind. */
const env = { ASAN_OPTIONS: 'detect_stack_use_after_return=0:detect_leaks=0' };

/** Compiles the named sources of `root` into `folder`, two at a time. */
async function compile(root: string, folder: string, sources: string[], ...more: string[]): Promise<void> {
  const flags = ['-std=c++20', '-O1', '-Wall', '-Wextra', '-Werror', '-Wno-unknown-pragmas', ...SANITIZERS];
  const include = [`-I${packageRoot}/test/cuda-emulation/include`, `-I${root}/native`];
  const queue = [...sources];
  const worker = async () => {
    for (let source = queue.shift(); source; source = queue.shift()) {
      const object = path.join(folder, `${path.basename(source)}.o`);
      const args = [...flags, ...more, ...include, '-x', 'c++', '-c', path.join(root, source), '-o', object];
      await succeed(COMPILER, args);
    }
  };
  await Promise.all([worker(), worker()]);
}

async function link(folder: string, program: string): Promise<string> {
  const objects = fs.readdirSync(folder).filter((name) => name.endsWith('.o'));
  const file = path.join(folder, program);
  await succeed(COMPILER, [...SANITIZERS, ...objects.map((name) => path.join(folder, name)), '-o', file]);
  return file;
}

const kernels = fs
  .readdirSync(path.join(packageRoot, KERNELS))
  .filter((name) => /^(delta|locally_connected2d_.*)\.cu$/.test(name)) // what kernels_check.cpp calls
  .map((name) => `${KERNELS}/${name}`);
const folder = temporaryFolder(t, 'emulation');

/** Compiles all of it. */
const compiled = lazy(() => compile(packageRoot, folder, [...kernels, 'test/cuda-emulation/emulation.cpp', CHECK]));

/** File, what stands there, what a slip would have made of it. */
const MUTATIONS: [name: string, file: string, from: string, to: string][] = [
  ['no barrier in the pipeline', 'product.cuh', '    __syncthreads();', '    '],
  ['a wait for one group too few', 'product.cuh', 'wait_copies<stages - 2>()', 'wait_copies<stages - 1>()'],
  ['no wait', 'product.cuh', '    wait_copies<stages - 2>();', ''],
  ['the barrier before the wait', 'product.cuh', /( +wait_copies<stages - 2>.*\n)( +__syncthreads.*\n)/.source, '$2$1'],
  [
    'the next load before the barrier',
    'product.cuh',
    /( +__syncthreads.*\n)( +load\(step \+ stages - 1\).*\n)/.source,
    '$2$1',
  ],
  ['a load over panels still in use', 'product.cuh', 'load(step + stages - 1);', 'load(step + stages);'],
  ['one stage too few in the ring', 'product.cuh', 'step % stages, k', 'step % (stages - 1), k'],
  ['no group for an empty load', 'product.cuh', '    }\n    commit_copies();', '    commit_copies(); }\n'],
  ['the last step left out', 'product.cuh', '(problem.depth + Multiply::depth - 1)', '(problem.depth)'],
  ['a row too many loaded', 'panel.cuh', 'S::rows < rows_left_', 'S::rows <= rows_left_'],
  ['a step of k too many loaded', 'panel.cuh', 'S::steps < k_left', 'S::steps <= k_left'],
  ['a row too many stored', 'product.cuh', 'if (row >= store.rows ||', 'if (row > store.rows ||'],
  ['a column too many stored', 'product.cuh', 'if (column + 1 < store.columns)', 'if (column + 1 <= store.columns)'],
  [
    'adjoint: the bias of another place',
    'patch_product.cuh',
    'arguments_.bias + static_cast<int64_t>(location_) *',
    'arguments_.bias + 0 *',
  ],
  ['vectors though misaligned', 'product.cuh', 'reinterpret_cast<uintptr_t>(data) % 16 == 0', 'true'],
  ['vectors across channels', 'product.cuh', 'channels * sizeof(T) % 16 == 0', 'channels % 2 == 0'],
  ['last tap of an image edge', 'geometry.cuh', 'quotient(room)', 'quotient(room + 1)'],
  ['first tap of an image edge', 'geometry.cuh', '(-start + dilation - 1)', '(-start)'],
  ['adjoint: outputs beyond the last', 'geometry.cuh', 'at + padding;  //', 'at + padding + 1;  //'],
  ['adjoint: first tap', 'geometry.cuh', '(beyond + dilation - 1)', '(beyond)'],
  ['adjoint: taps that no location meets', 'geometry.cuh', 'place * stride == rest', 'true'],
  ['adjoint: step of taps', 'geometry.cuh', 's / gcd(s, d)', 's'],
  ['adjoint: way back of places', 'geometry.cuh', 'd * step / s,', 'd,'],
  [
    'walk: steps where only one tap meets',
    'geometry.cuh',
    'place_step(taps > 1 ? place_further : 0)',
    'place_step(place_further)',
  ],
  ['walk: no carry into the taps', 'walk.cuh', '++column_, at_ += next_tap_', 'at_ += next_tap_'],
  ['walk: a carry without its address', 'walk.cuh', ', at_ += next_row_', ''],
  ['walk: a carry too late', 'walk.cuh', 'if (channel_ >= channels_)', 'if (channel_ > channels_)'],
  ['walk: a carry of channels without its address', 'walk.cuh', ', at_ += next_tap_', ''],
  ['outer: no walk along the examples', 'walk.cuh', 'at_ += stride_;', ''],
  ['outer: taps outside of the image', 'panel.cuh', 'if (!operand.has(first_row + row())) rows_left_ = 0;', ''],
  [
    'adjoint: a column too many stored',
    'product.cuh',
    'column < store.columns) *store',
    'column <= store.columns) *store',
  ],
  ['lines of one bank beside each other', 'panel.cuh', 'far_lines ? ', 'false ? '],
  ['the tiles of a place exchanged', 'product.cuh', 'order.m.quotient(block)', 'order.n.quotient(block)'],
  ['outer: the right edge', 'locally_connected2d_outer.cu', 'at.w < geometry.w.in', 'at.w <= geometry.w.in'],
  [
    'tf32 fragment: rows and k swapped',
    'multiply.cuh',
    '(rows_first ? second : third) * 8, k += (rows_first ? third : second) * 4',
    '(rows_first ? third : second) * 8, k += (rows_first ? second : third) * 4',
  ],
  ['tf32: not rounded', 'multiply.cuh', 'to[e] = round_to_tf32(to[e])', 'to[e] = to[e]'],
  ['bf16 fragment of A: matrices swapped', 'multiply.cuh', 'first_row() + second', 'first_row() + third'],
  ['bf16 fragment of B: matrices swapped', 'multiply.cuh', 'const int b_k = second', 'const int b_k = third'],
  [
    'bf16: lines without padding',
    'multiply.cuh',
    'Panel<bf16, TileShape::m, depth, a_k_contiguous, 8>',
    'Panel<bf16, TileShape::m, depth, a_k_contiguous, 0>',
  ],
  ['tf32: too much padding', 'multiply.cuh', 'b_k_contiguous ? 4 : 8>', 'b_k_contiguous ? 4 : 16>'],
  ['fp32: rows of a thread', 'multiply.cuh', 'i / 4 * (4 * across)', 'i / 4 * across'],
  [
    '32-bit offsets into W',
    'locally_connected2d_apply.cu',
    'const int64_t first = static_cast<int64_t>(this->location_)',
    'const int first = this->location_',
  ],
  ['delta: no barrier', 'delta.cu', '  __syncthreads();', ''],
  ['delta: too few threads at once', 'delta.cu', 'b += at_once', 'b += at_once + 1'],
];

t.test('a broken kernel is found', { skip, timeout: 3_600_000 }, async (t) => {
  await compiled();
  const good = await run(await link(folder, 'check'), CHECKED, { env });
  t.equal(good.code, 0, `the kernels as they are: ${good.stdout}${good.stderr}`);
  for (const [name, file, from, to] of MUTATIONS) {
    const root = path.join(folder, 'broken');
    fs.rmSync(root, { recursive: true, force: true });
    fs.cpSync(path.join(packageRoot, 'native/maps'), path.join(root, 'native/maps'), { recursive: true });
    const at = path.join(root, KERNELS, file);
    const good = fs.readFileSync(at, 'utf8');
    const bad = from.startsWith('( +') ? good.replace(new RegExp(from), to) : good.replaceAll(from, to);
    if (bad === good) throw new Error(`${name}: ${file} has no ${from}`);
    fs.writeFileSync(at, bad);
    const objects = path.join(root, 'objects');
    fs.mkdirSync(objects);
    for (const name of fs.readdirSync(folder).filter((name) => name.endsWith('.o')))
      fs.copyFileSync(path.join(folder, name), path.join(objects, name));
    // One kernel is enough: what they share is broken in all of them.
    const broken = file.endsWith('.cu')
      ? file
      : `locally_connected2d_${/^(adjoint|outer):/.exec(name)?.[1] ?? 'apply'}.cu`;
    const sources = [`${KERNELS}/${broken}`];
    if (!file.endsWith('.cu')) {
      // The check has functions of the headers in it too, and the linker takes one of each.
      sources.push(CHECK);
      fs.cpSync(path.join(packageRoot, CHECK), path.join(root, CHECK), { recursive: true });
    }
    await compile(root, objects, sources, '-w');
    const { code, stdout, stderr } = await run(await link(objects, 'check'), CHECKED, { env });
    const how = (stdout + stderr)
      .split('\n')
      .find((line) => /EMULATION|DIFFERENCE|ERROR|runtime error|conflicts/.test(line));
    t.ok(code !== 0 && how !== undefined, `${name}: ${how?.slice(0, 140) ?? `not found, exit code ${code}`}`);
  }
});

const emulated = (root: string): string => path.join(root, 'build-emulated');

/** training_check of a copy. */
const training: Making = {
  async prepare(root) {
    await configureChecks(emulated(root), { CORTORCH_CUDA_EMULATED: 'ON' }, root);
    await buildTargets(emulated(root), ['training_check']);
  },
  mutated: (root) =>
    buildTargets(emulated(root), ['training_check']).catch((error: unknown) => {
      throw new NotMade((error as Error).message);
    }),
  restored: async () => {},
  run: (root, program, timeout) => run(path.join(emulated(root), program), [], { timeout }),
};

t.test('a slip in giving work to the GPU is found', { timeout: 3_600_000 }, (t) =>
  checkMutations(t, 'mutations-gpu-steps', steps, training),
);
