/**
 * The native code under AddressSanitizer, UndefinedBehaviorSanitizer and LeakSanitizer, and under valgrind where it
 * is installed: test/native/maps_check.cpp, built apart from the addon. libtorch itself is not instrumented; what our
 * code hands to its micro-kernel is checked all the same (test/native/checked_memory.cpp).
 */
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import t from 'tap';
import { checkBuild, packageRoot } from '../scripts/build.mjs';
import { findToolchain } from '../scripts/toolchain.mjs';

const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'cortorch-sanitizers-'));
t.teardown(() => fs.rmSync(dir, { recursive: true, force: true }));

const { libtorch } = checkBuild();
const tools = findToolchain();
const { NODE_OPTIONS: _, ...environment } = process.env;

function run(command: string, args: string[], env: NodeJS.ProcessEnv = {}) {
  const options = { encoding: 'utf8', env: { ...environment, ...env }, maxBuffer: 2 ** 26 } as const;
  const { status, signal, stdout, stderr } = spawnSync(command, args, options);
  return { ended: signal ?? status, stdout, output: `${stdout}${stderr}` };
}

/** Builds maps_check with these settings of CMake, in a folder of its own, and answers where it is. */
function build(name: string, settings: Record<string, string>): string {
  const folder = path.join(dir, name);
  const all = { LIBTORCH: libtorch.path, CORTORCH_NODE: 'OFF', CORTORCH_TESTS: 'ON', ...settings };
  const definitions = Object.entries(all).map(([key, value]) => `-D${key}=${value}`);
  const compiler = `-DCMAKE_CXX_COMPILER=${tools.compiler.path}`;
  const steps = [
    ['-S', packageRoot, '-B', folder, '-G', tools.generator, compiler, ...definitions],
    ['--build', folder, '--parallel', String(os.availableParallelism())],
  ];
  for (const args of steps) {
    const { ended, output } = run(tools.cmake.path, args);
    if (ended !== 0) throw new Error(`cmake ended with ${ended}:\n${output.slice(-8000)}`);
  }
  return path.join(folder, 'maps_check');
}

t.test('AddressSanitizer, UndefinedBehaviorSanitizer, LeakSanitizer', async (t) => {
  const start = performance.now();
  const program = build('sanitized', { CORTORCH_SANITIZE: 'address,undefined' });
  t.comment(`built in ${((performance.now() - start) / 1000).toFixed(0)} s`);
  const { ended, stdout, output } = run(program, ['--cases', '200'], {
    // New memory is filled with NaNs: what is read before it was written shows in the results.
    ASAN_OPTIONS: 'detect_leaks=1:malloc_fill_byte=255:max_malloc_fill_size=1073741824',
    UBSAN_OPTIONS: 'print_stacktrace=1',
  });
  t.equal(ended, 0, output.slice(-8000));
  t.notMatch(output, /Sanitizer|runtime error|FAILED/);
  const [, comparisons, products] =
    /^(\d+) comparisons, (\d+) products .* checked, 0 failed$/m.exec(stdout) ?? [];
  t.ok(Number(comparisons) > 3000, `${comparisons} comparisons`);
  t.ok(Number(products) > 10_000, `${products} products of the micro-kernel were checked`);
});
