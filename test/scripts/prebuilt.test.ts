/** What is compiled needs no path of this machine, and no newer system than libtorch; where it is not used, why. */
import fs from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { digestOfSources } from '../../scripts/digest.mjs';
import { FETCHED_VERSION } from '../../scripts/libtorch.mjs';
import { checkBuild } from '../../scripts/load.mjs';
import { filesIn, packageRoot, prebuiltFolder } from '../../scripts/paths.mjs';
import { prebuiltHere, whyNotOn, type Manifest } from '../../scripts/prebuilt.mjs';
import { sha256 } from '../support/digests.js';
import { temporaryFolder } from '../support/folders.js';
import { run, succeed } from '../support/processes.js';
import { fakeLibtorch } from '../support/setup.js';

const { libtorch, addon, library, opener } = checkBuild();
const folder = temporaryFolder(t, 'prebuilt');

/** libtorch's own packages are manylinux_2_28: GCC 8's runtime, and CXXABI of the same. */
const OLDEST: Readonly<Record<string, number[]>> = { GLIBC: [2, 28], GLIBCXX: [3, 4, 25], CXXABI: [1, 3, 11] };

for (const file of [addon, library, opener]) {
  t.test(path.basename(file), async (t) => {
    const dynamic = await succeed('readelf', ['--dynamic', '--wide', file]);
    const paths = [...dynamic.matchAll(/\((RPATH|RUNPATH)\).*\[(.*)\]/g)].map(([, , value]) => value);
    t.same(paths, ['$ORIGIN']);
    const needed = [...dynamic.matchAll(/\(NEEDED\).*\[(.*)\]/g)].map(([, name]) => name!);
    t.same(
      needed.filter((name) => /omp|\//.test(name)),
      [],
      'no OpenMP runtime by name, no path',
    );
    const bytes = fs.readFileSync(file);
    for (const here of [packageRoot, libtorch.path]) t.notOk(bytes.includes(`${here}/`), `no ${here} in it`);
    const versions = await succeed('readelf', ['--version-info', '--wide', file]);
    const asked = [...versions.matchAll(/Name: (GLIBC|GLIBCXX|CXXABI)_([0-9.]+)/g)];
    t.ok(asked.length > 0);
    for (const [name, of, version] of asked) {
      const [theirs, oldest] = [version!.split('.').map(Number), OLDEST[of!]!];
      const at = theirs.findIndex((part, i) => part !== (oldest[i] ?? 0));
      t.ok(at < 0 || theirs[at]! < (oldest[at] ?? 0), name);
    }
  });
}

/** The libraries that a process has open after it loaded the addon. */
const PROGRAM = `import { open } from '${packageRoot}/scripts/load.mjs';
  import fs from 'node:fs';
  const [addon, opener, libtorch] = process.argv.slice(1);
  open({ addon, opener }, libtorch).info();
  const maps = fs.readFileSync('/proc/self/maps', 'utf8').split('\\n').map((line) => line.split(/ +/)[5]);
  console.log([...new Set(maps)].filter((name) => /\\.(so|node)/.test(name)).join('\\n'));`;
const load = (at: string, env: NodeJS.ProcessEnv = {}) =>
  run(process.execPath, ['--input-type=module', '-e', PROGRAM, addon, opener, at], { env });

const OPENMP = /^lib(gomp.*\.so.*|iomp5\.so)$/;

t.test('libtorch and its OpenMP runtime are those of the path, wherever LD_LIBRARY_PATH points', async (t) => {
  const lib = path.join(libtorch.path, 'lib');
  const others = path.join(folder, 'others');
  fs.mkdirSync(others);
  const names = fs.readdirSync(lib).filter((name) => OPENMP.test(name) || /^lib(c10|torch|torch_cpu)\.so$/.test(name));
  for (const name of names) fs.writeFileSync(path.join(others, name), 'no library\n');
  const { code, stdout, stderr } = await load(libtorch.path, { LD_LIBRARY_PATH: others });
  t.equal(code, 0, stderr);
  const opened = stdout.trim().split('\n');
  for (const name of names) {
    t.ok(opened.includes(fs.realpathSync(path.join(lib, name))), name);
  }
  t.equal(opened.filter((name) => OPENMP.test(path.basename(name))).length, 1, 'one OpenMP runtime');
});

/** libtorch's archives give their OpenMP runtime a name of their own; such a one, made of the libtorch that is here. */
const bundled = fs.readdirSync(path.join(libtorch.path, 'lib')).includes('libgomp.so.1');
const skip = !bundled && 'this libtorch has another OpenMP runtime, or none';
for (const renamed of [true, false]) {
  t.test(
    `a libtorch whose OpenMP runtime has another file name${renamed ? ', and calls itself so' : ''}`,
    { skip },
    async (t) => {
      const lib = path.join(libtorch.path, 'lib');
      const other = path.join(folder, `libtorch-${renamed}`);
      fs.mkdirSync(path.join(other, 'lib'), { recursive: true });
      for (const name of ['libc10.so', 'libtorch.so', 'libtorch_cpu.so', 'libgomp.so.1']) {
        const bytes = fs.readFileSync(path.join(lib, name));
        let count = 0;
        // Its own name is in it (SONAME), and in the libraries that need it.
        const kept = name === 'libgomp.so.1' && !renamed;
        for (
          let at = kept ? -1 : bytes.indexOf('libgomp.so.1\0');
          at >= 0;
          at = bytes.indexOf('libgomp.so.1\0', at + 1)
        ) {
          bytes.write('libgomp-x.so', at, 'latin1'); // as long
          count++;
        }
        if (name === 'libtorch_cpu.so') t.ok(count > 0, name);
        fs.writeFileSync(path.join(other, 'lib', name === 'libgomp.so.1' ? 'libgomp-x.so' : name), bytes);
      }
      const { code, stdout, stderr } = await load(other);
      t.equal(code, 0, stderr);
      const openmp = stdout.split('\n').filter((name) => OPENMP.test(path.basename(name)));
      t.same(openmp, [path.join(fs.realpathSync(other), 'lib/libgomp-x.so')]);
      fs.rmSync(other, { recursive: true });
    },
  );
}

/** A package with a prebuilt part, as prepack makes it; `change` does something to it. */
function packageWith(name: string, change: (root: string, manifest: Manifest) => void = () => {}): string {
  const root = path.join(folder, name);
  const at = prebuiltFolder(root);
  fs.mkdirSync(path.join(root, 'native'), { recursive: true });
  fs.writeFileSync(path.join(root, 'native/source.cpp'), 'int main() {}\n');
  fs.mkdirSync(at, { recursive: true });
  for (const file of [addon, library, opener]) fs.copyFileSync(file, path.join(at, path.basename(file)));
  const files = Object.values<string>({ ...filesIn(at) }).map((file) => [
    path.basename(file),
    sha256(fs.readFileSync(file)),
  ]);
  const manifest: Manifest = {
    libtorch: libtorch.version,
    glibc: '2.28',
    glibcxx: '3.4.22',
    sources: digestOfSources(root),
    files: Object.fromEntries(files) as Record<string, string>,
    built: '',
    compiler: '',
    cudaKernels: '',
  };
  change(root, manifest);
  fs.writeFileSync(path.join(at, 'manifest.json'), JSON.stringify(manifest));
  return root;
}

t.test('one that fits is used', async (t) => {
  const root = packageWith('good');
  const { manifest, why } = prebuiltHere(root, {});
  t.equal(why, null);
  t.equal(whyNotOn(root, manifest!, libtorch), null);
});

t.test('one that does not fit says why', async (t) => {
  const cut = (file: string): void => fs.truncateSync(file, 1000);
  const cases: Record<string, [change: (root: string, manifest: Manifest) => void, why: RegExp]> = {
    damaged: [(root) => cut(filesIn(prebuiltFolder(root)).library), /libcortorch\.so is damaged$/],
    missing: [(root) => fs.rmSync(filesIn(prebuiltFolder(root)).opener), /open-libraries\.node is missing$/],
    changed: [
      (root) => fs.appendFileSync(path.join(root, 'native/source.cpp'), '\n'),
      /^the sources beside it were changed$/,
    ],
    newer: [(_, manifest) => (manifest.glibc = '9.1'), /^it needs glibc 9\.1, and here is \d\.\d+$/],
  };
  for (const [name, [change, why]] of Object.entries(cases)) {
    const root = packageWith(name, change);
    const found = prebuiltHere(root, {});
    t.equal(found.manifest, null, name);
    t.match(found.why, why);
  }
  const root = packageWith('manifest');
  fs.writeFileSync(path.join(prebuiltFolder(root), 'manifest.json'), '{"libtorch":');
  t.match(prebuiltHere(root, {}).why, /manifest\.json is damaged: /);
  t.match(prebuiltHere(packageWith('asked'), { CORTORCH_BUILD_FROM_SOURCE: '1' }).why, /^CORTORCH_BUILD_FROM_SOURCE /);
  t.same(prebuiltHere(packageRoot, {}), { manifest: null, why: null }, 'a checkout compiles its own');
});

t.test('on another libtorch, and where it cannot be loaded', async (t) => {
  const root = packageWith('loaded');
  const { manifest } = prebuiltHere(root, {});
  const other = { path: '/opt/libtorch', version: '2.14.1+cu130' };
  t.equal(
    whyNotOn(root, manifest!, other),
    `it is for libtorch ${libtorch.version}, and /opt/libtorch is 2.14.1+cu130`,
  );
  const empty = fakeLibtorch(path.join(folder, 'empty'), FETCHED_VERSION);
  t.match(
    whyNotOn(root, manifest!, { path: empty, version: libtorch.version }),
    /^it cannot be loaded here: .*libc10\.so/,
  );
});
