/**
 * `npm run soak -- PART …`: what takes too long for every change. Each part says what it proves and ends within an
 * hour; the date and commit of its last run stand in bench/RESULTS.md.
 */
import { fail } from './setup-error.mjs';
import { setUp } from './setup.mjs';

/** A part is test/soak/PART.test.ts. @type {Record<string, string>} */
const PARTS = {
  accuracy: 'every rule and architecture reaches its error on MNIST in its first epochs',
  alone: 'every test passes alone, without those before it',
  cuda: 'the CUDA kernels compile for every GPU architecture of the package (needs a libtorch for CUDA and nvcc)',
  damage: 'no damaged checkpoint or archive, of hundreds of thousands, crashes, hangs or is read as something else',
  images: 'memory stays flat over 20,000 images',
  install: 'npm install compiles the packed package from source in an empty project, and it trains there',
  kills: 'a run that is killed 30 times ends as one that was left alone',
  mutations: 'each of 44 slips in the CUDA kernels is found by their check',
  units: 'each native source compiles by itself, with all that it includes',
  valgrind: 'the built library and libtorch under it: no invalid access, no use of what was never written, no leak',
};

const names = process.argv.slice(2);
const unknown = names.filter((name) => !(name in PARTS));
if (names.length === 0 || unknown.length > 0) {
  for (const name of unknown) process.stderr.write(`Unknown part ${JSON.stringify(name)}.\n`);
  process.stderr.write('Usage: npm run soak -- PART …, where PART is one of\n');
  for (const [name, proves] of Object.entries(PARTS)) process.stderr.write(`  ${name.padEnd(10)} ${proves}\n`);
  process.exitCode = 2;
} else {
  try {
    await setUp();
    const { runTests } = await import('./run-tests.mjs');
    const start = performance.now();
    const passed = await runTests([['--jobs=1', '--timeout=3600', ...names.map((name) => `test/soak/${name}.test.ts`)]]);
    console.error(`Soak: ${names.join(', ')} in ${((performance.now() - start) / 60_000).toFixed(1)} min`);
    if (!passed) process.exitCode = 1;
  } catch (error) {
    fail(error);
  }
}
