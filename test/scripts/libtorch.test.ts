/** Which libtorch is found, in which order, and what is said about one that cannot be used. */
import { execFileSync } from 'node:child_process';
import path from 'node:path';
import t from 'tap';
import { cacheRoot, inspectLibtorch, isSupported, resolveLibtorch } from '../../scripts/libtorch.mjs';
import { SetupError } from '../../scripts/setup-error.mjs';
import { writeFiles } from '../support/folders.js';
import { refusal } from '../support/refusal.js';
import { fakeLibtorch, fakePrograms, fakePython } from '../support/setup.js';

t.test('LIBTORCH comes first, then Python, then the cache', async (t) => {
  const dir = t.testdir();
  const torch = fakeLibtorch(path.join(dir, 'site-packages/torch'), '2.12.1+cu126', { cuda: '12.6' });
  const cached = fakeLibtorch(path.join(dir, 'cache/libtorch-2.13.0+cpu/torch'));
  const wished = fakeLibtorch(path.join(dir, 'libtorch'), '2.14.0+cpu');
  const withTorch = fakePrograms(path.join(dir, 'with'), { python3: fakePython(torch) });
  const without = fakePrograms(path.join(dir, 'without'), { python3: fakePython('') });
  const cache = { CORTORCH_CACHE: path.join(dir, 'cache') };

  const first = resolveLibtorch({ env: { ...cache, LIBTORCH: wished, PATH: withTorch } });
  t.match(first.found, { source: 'LIBTORCH', path: wished, version: '2.14.0+cpu', cuda: null });

  const second = resolveLibtorch({ env: { ...cache, PATH: withTorch } });
  t.match(second.found, { source: 'python', path: torch, version: '2.12.1+cu126', cuda: '12.6' });
  t.match(second.found, {
    libDir: path.join(torch, 'lib'),
    includeDirs: [path.join(torch, 'include'), String],
  });

  const third = resolveLibtorch({ env: { ...cache, PATH: without } });
  t.match(third.found, { source: 'cache', path: cached, version: '2.13.0+cpu' });
  t.match(third.tried, [
    { source: 'LIBTORCH', outcome: 'not set' },
    { source: 'python3', outcome: /python3 has no torch/ },
    { source: 'python', outcome: 'not installed' },
    { source: 'cache', path: cached, outcome: 'libtorch 2.13.0+cpu' },
  ]);

  const none = resolveLibtorch({ env: { CORTORCH_CACHE: path.join(dir, 'empty'), PATH: without } });
  t.equal(none.found, null);
  t.match(none.tried.at(-1), { source: 'cache', outcome: 'does not exist' });
});

t.test('where python3 has no torch, python is asked', async (t) => {
  const dir = t.testdir();
  const torch = fakeLibtorch(path.join(dir, 'torch'));
  const PATH = fakePrograms(path.join(dir, 'bin'), { python3: fakePython(''), python: fakePython(torch) });
  const { found, tried } = resolveLibtorch({ env: { CORTORCH_CACHE: dir, PATH } });
  t.match(found, { source: 'python', path: torch });
  t.same(
    tried.map(({ source }) => source),
    ['LIBTORCH', 'python3', 'python'],
  );
});

t.test('a Python that fails is passed over with its last words', async (t) => {
  const dir = t.testdir();
  const PATH = fakePrograms(path.join(dir, 'bin'), { python3: 'echo "python3: broken venv" >&2; exit 1' });
  const { found, tried } = resolveLibtorch({ env: { CORTORCH_CACHE: dir, PATH } });
  t.equal(found, null);
  t.match(tried[1], { source: 'python3', outcome: 'python3: broken venv' });
});

/** The folder of a real Python's program, past any wrapper. */
function realPython(): string | null {
  try {
    const program = 'import os, sys; print(os.path.dirname(sys.executable))';
    return execFileSync('python3', ['-c', program], { encoding: 'utf8' }).trim();
  } catch {
    return null;
  }
}

const python = realPython() ?? '';
const skip = python ? false : 'no python3 here';
t.test('a real Python finds torch without importing it, and not in the current folder', { skip }, async (t) => {
  const dir = t.testdir();
  const torch = fakeLibtorch(path.join(dir, 'site/torch'), '2.11.0+cpu');
  writeFiles(torch, { '__init__.py': 'raise RuntimeError("torch was imported")' });
  const env = { CORTORCH_CACHE: dir, PATH: python, PYTHONPATH: path.join(dir, 'site') };
  t.match(resolveLibtorch({ env }).found, { source: 'python', path: torch, version: '2.11.0+cpu' });

  t.chdir(path.join(dir, 'site'));
  const { tried } = resolveLibtorch({ env: { CORTORCH_CACHE: dir, PATH: python } });
  t.notMatch(tried[1], { path: torch });
});

t.test('a Python torch outside the supported range is passed over, and said', async (t) => {
  const dir = t.testdir();
  const torch = fakeLibtorch(path.join(dir, 'torch'), '2.6.0+cu124', { cuda: '12.4' });
  const PATH = fakePrograms(path.join(dir, 'bin'), { python3: fakePython(torch) });
  const { found, tried } = resolveLibtorch({ env: { CORTORCH_CACHE: dir, PATH } });
  t.equal(found, null);
  t.match(tried[1], { path: torch, outcome: 'is libtorch 2.6.0+cu124, outside the supported 2.11–2.14' });
});

t.test('LIBTORCH is a wish: one that cannot be used is refused, never skipped', async (t) => {
  const dir = t.testdir();
  const cached = { CORTORCH_CACHE: path.join(dir, 'cache'), PATH: '' };
  fakeLibtorch(path.join(dir, 'cache/libtorch-2.13.0+cpu/torch'));
  const refused = (LIBTORCH: string) => refusal(SetupError, () => resolveLibtorch({ env: { ...cached, LIBTORCH } }));

  const nowhere = await refused('/nowhere/libtorch');
  t.equal(nowhere.code, 'ERR_LIBTORCH_INVALID');
  t.match(nowhere.message, 'LIBTORCH is set to /nowhere/libtorch, which does not exist.');
  t.match(nowhere.message, 'Needed: libtorch 2.11–2.14 for Linux x64');
  t.match(nowhere.message, 'npx cortorch setup');

  const empty = await refused(writeFiles(path.join(dir, 'empty'), { 'README.md': '' }));
  t.equal(empty.code, 'ERR_LIBTORCH_INVALID');
  t.match(empty.message, 'which holds no lib/libtorch.so');

  const arm = await refused(fakeLibtorch(path.join(dir, 'arm'), '2.13.0+cpu', { machine: 0xb7 }));
  t.equal(arm.code, 'ERR_LIBTORCH_INVALID');
  t.match(arm.message, 'not a library for Linux on x86-64 (aarch64)');

  for (const version of ['2.10.2+cpu', '2.15.0+cpu', '1.13.1']) {
    const error = await refused(fakeLibtorch(path.join(dir, version), version));
    t.equal(error.code, 'ERR_LIBTORCH_VERSION');
    t.match(error.message, `is libtorch ${version}, outside the supported 2.11–2.14`);
    t.match(error.message, 'unset LIBTORCH; npx cortorch setup');
  }
});

t.test('the version of an unpacked archive stands in build-version, its CUDA in the suffix', async (t) => {
  const archive = (name: string, version: string) => {
    const folder = fakeLibtorch(path.join(t.testdirName, name));
    return writeFiles(folder, { 'version.py': '', 'build-version': `${version}\n` });
  };
  t.testdir();
  t.match(inspectLibtorch(archive('cpu', '2.13.0+cpu')), { version: '2.13.0+cpu', cuda: null });
  t.match(inspectLibtorch(archive('cuda', '2.13.0+cu130')), { version: '2.13.0+cu130', cuda: '13.0' });
  t.match(inspectLibtorch(archive('none', '')), { problem: 'says nowhere which version it is' });
});

t.test('the supported range counts minor versions, ends included', async (t) => {
  for (const version of ['2.11.0', '2.12.1+cu126', '2.14.3', '2.14.0a0+git1234']) t.ok(isSupported(version), version);
  for (const version of ['2.10.9', '2.15.0', '2.2.0', '3.0.0', '1.14.0']) t.notOk(isSupported(version), version);
});

t.test("the cache is the user's, and can be put elsewhere", async (t) => {
  t.equal(cacheRoot({ CORTORCH_CACHE: '/a', XDG_CACHE_HOME: '/b' }), '/a');
  t.equal(cacheRoot({ XDG_CACHE_HOME: '/b' }), '/b/cortorch');
  t.match(cacheRoot({}), /\/\.cache\/cortorch$/);
});
