/**
 * What the sanitizers do not see: libtorch and its micro-kernel themselves, values that were never written, and the
 * very library that the package has built. Slow, so only a few sizes.
 */
import path from 'node:path';
import t from 'tap';
import { checkBuild } from '../../scripts/load.mjs';
import { findTool } from '../../scripts/toolchain.mjs';
import { buildChecks, check } from '../support/native-checks.js';

const { libtorch, library } = checkBuild();
const valgrind = findTool('valgrind');
const whyNoValgrind = !valgrind
  ? 'valgrind is not installed'
  : libtorch.cuda !== null && 'valgrind cannot follow what a CUDA libtorch does when it is loaded';

t.test('the maps under valgrind', { skip: whyNoValgrind, timeout: 3_600_000 }, async (t) => {
  const program = path.join(await buildChecks(t, { CORTORCH_LIBRARY: library }, ['maps_check']), 'maps_check');
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
