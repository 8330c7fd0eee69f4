/**
 * The native code under AddressSanitizer, UndefinedBehaviorSanitizer and LeakSanitizer, and under valgrind where it is
 * installed: test/native/maps_check.cpp, built apart from the addon. libtorch itself is not instrumented; what our code
 * hands to its micro-kernel is checked all the same (test/native/checked_memory.cpp). And so is the CUDA half, whose
 * kernels the processor runs (test/cuda-emulation): whole training steps of every rule, against those of the CPU half.
 */
import os from 'node:os';
import path from 'node:path';
import t from 'tap';
import { checkBuild, packageRoot } from '../../scripts/build.mjs';
import { findTool, findToolchain } from '../../scripts/toolchain.mjs';
import { temporaryFolder } from '../support/folders.js';
import { run, succeed } from '../support/processes.js';

const dir = temporaryFolder(t, 'sanitizers');

const { libtorch, library } = checkBuild();
const tools = findToolchain();

/** How a program ended, and all that it said. */
async function check(command: string, args: string[], env: NodeJS.ProcessEnv) {
  const { code, signal, stdout, stderr } = await run(command, args, { env });
  return { ended: signal ?? code, stdout, output: `${stdout}${stderr}` };
}

/** Builds maps_check with these settings of CMake, in a folder of its own, and answers where it is. */
async function build(name: string, settings: Record<string, string>, targets = ['maps_check']): Promise<string> {
  const folder = path.join(dir, name);
  const all = {
    LIBTORCH: libtorch.path,
    CORTORCH_NODE: 'OFF',
    CORTORCH_CUDA: 'OFF',
    CORTORCH_TESTS: 'ON',
    ...settings,
  };
  const definitions = Object.entries(all).map(([key, value]) => `-D${key}=${value}`);
  const compiler = `-DCMAKE_CXX_COMPILER=${tools.compiler.path}`;
  const steps = [
    ['-S', packageRoot, '-B', folder, '-G', tools.generator, compiler, ...definitions],
    ['--build', folder, '--target', ...targets, '--parallel', String(os.availableParallelism())],
  ];
  for (const args of steps) await succeed(tools.cmake.path, args);
  return folder;
}

t.test('AddressSanitizer, UndefinedBehaviorSanitizer, LeakSanitizer', { timeout: 1_200_000 }, async (t) => {
  const start = performance.now();
  const folder = await build('sanitized', { CORTORCH_SANITIZE: 'address,undefined', CORTORCH_CUDA_EMULATED: 'ON' }, [
    'maps_check',
    'training_check',
  ]);
  t.comment(`built in ${((performance.now() - start) / 1000).toFixed(0)} s`);
  const { ended, stdout, output } = await check(path.join(folder, 'maps_check'), ['--cases', '200'], {
    // New memory is filled with NaNs: what is read before it was written shows in the results.
    ASAN_OPTIONS: 'detect_leaks=1:malloc_fill_byte=255:max_malloc_fill_size=1073741824',
    UBSAN_OPTIONS: 'print_stacktrace=1',
  });
  t.equal(ended, 0, output.slice(-8000));
  t.notMatch(output, /Sanitizer|runtime error|FAILED/);
  const [, comparisons, products] = /^(\d+) comparisons, (\d+) products .* checked, 0 failed$/m.exec(stdout) ?? [];
  t.ok(Number(comparisons) > 3000, `${comparisons} comparisons`);
  t.ok(Number(products) > 10_000, `${products} products of the micro-kernel were checked`);

  await t.test('training by the CUDA half, emulated, agrees with the CPU half', async (t) => {
    // Fibers are not the stacks that the address sanitizer knows of.
    const trained = await check(path.join(folder, 'training_check'), [], {
      ASAN_OPTIONS: 'detect_stack_use_after_return=0:detect_leaks=0',
      UBSAN_OPTIONS: 'print_stacktrace=1',
    });
    t.equal(trained.ended, 0, trained.output.slice(-8000));
    t.notMatch(trained.output, /Sanitizer|runtime error|FAILED|EMULATION/);
    const [, cases, checks] = /^(\d+) cases, (\d+) checks, 0 failed$/m.exec(trained.stdout) ?? [];
    t.ok(Number(cases) > 45 && Number(checks) > 3000, `${cases} cases, ${checks} checks`);
  });
});

const valgrind = findTool('valgrind');
const whyNoValgrind = !valgrind
  ? 'valgrind is not installed'
  : libtorch.cuda !== null && 'valgrind cannot follow what a CUDA libtorch does when it is loaded';

// Slow, so only a few sizes, but it sees what the sanitizers do not: libtorch and its micro-kernel themselves, values
// that were never written, and the very library that the package has built.
t.test('valgrind', { skip: whyNoValgrind }, async (t) => {
  const program = path.join(await build('plain', { CORTORCH_LIBRARY: library }), 'maps_check');
  const options = ['-q', '--error-exitcode=9', '--leak-check=full', '--errors-for-leak-kinds=definite'];
  const { ended, stdout, output } = await check(
    valgrind!.path,
    [...options, program, '--cases', '12', '--threads', '1', '--networks', '0'],
    // Its processor has no AVX-512.
    { OMP_NUM_THREADS: '1', ATEN_CPU_CAPABILITY: 'default', ONEDNN_MAX_CPU_ISA: 'AVX2' },
  );
  t.equal(ended, 0, output.slice(-8000));
  t.match(stdout, /^\d{3,} comparisons, .* 0 failed$/m);
});
