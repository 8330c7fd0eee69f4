/**
 * The native code under AddressSanitizer, UndefinedBehaviorSanitizer and LeakSanitizer, in one library that has the
 * CUDA half in it too, whose kernels the processor runs (test/cuda-emulation). Three programs use it: maps_check
 * compares the maps of the CPU half with plain loops, kernels_check the CUDA kernels with the definition,
 * training_check whole training steps of every rule by the CUDA half with those of the CPU half. libtorch itself is not
 * instrumented; what our code hands to its micro-kernel is checked all the same (test/native/checked_memory.cpp).
 *
 * The emulation also finds races in shared memory, missing waits, misaligned accesses and reads that ask a bank of
 * shared memory twice; `npm run soak -- mutations-cuda` shows that it does. What it cannot find: what only a real GPU
 * shows (speed, registers), and PTX that does not do what the function around it says.
 */
import path from 'node:path';
import t from 'tap';
import { lazy } from '../support/lazy.js';
import { buildChecks, check } from '../support/native-checks.js';

const built = lazy(() =>
  buildChecks(t, { CORTORCH_SANITIZE: 'address,undefined', CORTORCH_CUDA_EMULATED: 'ON' }, [
    ...['maps_check', 'kernels_check', 'training_check'],
  ]),
);

/** Fibers are not the stacks that the address sanitizer knows of, and a failure leaves their memory behind. */
const FIBERS = { ASAN_OPTIONS: 'detect_stack_use_after_return=0:detect_leaks=0', UBSAN_OPTIONS: 'print_stacktrace=1' };

t.test('the maps agree with plain loops', { timeout: 1_200_000 }, async (t) => {
  const { ended, stdout, output } = await check(path.join(await built(), 'maps_check'), ['--cases', '200'], {
    // New memory is filled with NaNs: what is read before it was written shows in the results.
    ASAN_OPTIONS: 'detect_leaks=1:malloc_fill_byte=255:max_malloc_fill_size=1073741824',
    UBSAN_OPTIONS: 'print_stacktrace=1',
  });
  t.equal(ended, 0, output.slice(-8000));
  t.notMatch(output, /Sanitizer|runtime error|FAILED/);
  const [, comparisons, products] = /^(\d+) comparisons, (\d+) products .* checked, 0 failed$/m.exec(stdout) ?? [];
  t.ok(Number(comparisons) > 3000, `${comparisons} comparisons`);
  t.ok(Number(products) > 10_000, `${products} products of the micro-kernel were checked`);
});

t.test('the CUDA kernels, emulated, agree with the definition', { timeout: 1_200_000 }, async (t) => {
  const program = path.join(await built(), 'kernels_check');
  const results = await Promise.all(['1', '2'].map((seed) => check(program, [seed, '400'], FIBERS)));
  for (const { ended, output } of results) {
    t.equal(ended, 0, ended === 0 ? 'no difference' : output.slice(0, 4000));
    t.comment(/^far: .*/m.exec(output)?.[0]); // offsets beyond 2³¹
    t.match(output, /^walks: [1-9]\d{4,} steps/m);
    t.match(output, /^bank conflicts: 0 of [1-9]\d+$/m);
    for (const operation of ['apply', 'adjoint', 'outer', 'delta'])
      for (const precision of ['fp32', 'tf32', 'bf16'])
        t.match(output, `${operation} ${precision} small: `, `${operation} in ${precision} ran`);
  }
});

t.test('training by the CUDA half, emulated, agrees with the CPU half', { timeout: 1_200_000 }, async (t) => {
  const trained = await check(path.join(await built(), 'training_check'), [], FIBERS);
  t.equal(trained.ended, 0, trained.output.slice(-8000));
  t.notMatch(trained.output, /Sanitizer|runtime error|FAILED|EMULATION/);
  const [, cases, checks] = /^(\d+) cases, (\d+) checks, 0 failed$/m.exec(trained.stdout) ?? [];
  t.ok(Number(cases) > 45 && Number(checks) > 3000, `${cases} cases, ${checks} checks`);
});
