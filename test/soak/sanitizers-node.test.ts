/**
 * The addon in Node, under AddressSanitizer, then under ThreadSanitizer: its tests run on a copy of the project whose
 * native half is instrumented. (GCC 12 does not compile node-addon-api with UndefinedBehaviorSanitizer.) Node, libtorch
 * and OpenMP's runtime are not; what ThreadSanitizer reports of those alone is suppressed by name, below.
 */
import fs from 'node:fs';
import path from 'node:path';
import t, { type Test } from 'tap';
import { checkBuild } from '../../scripts/load.mjs';
import { buildFolder, packageRoot } from '../../scripts/paths.mjs';
import { findToolchain } from '../../scripts/toolchain.mjs';
import { within } from '../support/folders.js';
import { buildChecks } from '../support/native-checks.js';
import { succeed } from '../support/processes.js';
import { copyProject, runTestFile } from '../support/project-copy.js';

/** What Node compiles an addon with. */
const HEADERS = ['node-api-headers/include', 'node-addon-api'].map((name) =>
  path.join(packageRoot, 'node_modules', name),
);

/** A copy of the project on an instrumented build, and what has to be loaded before Node for it. */
async function instrumented(
  t: Test,
  sanitizers: string,
  runtime: string,
): Promise<{ root: string; preload: string[] }> {
  // libtorch's headers have fences, of which -Wtsan says that they are not followed.
  const settings = {
    CORTORCH_SANITIZE: sanitizers,
    CORTORCH_NODE: 'ON',
    CORTORCH_TESTS: 'OFF',
    CORTORCH_WERROR: 'OFF',
  };
  const built = await buildChecks(t, { ...settings, CMAKE_JS_INC: HEADERS.join(';') }, ['cortorch_node']);
  const root = await copyProject(t);
  const to = buildFolder(root);
  fs.mkdirSync(path.dirname(to.addon), { recursive: true });
  for (const at of [to.addon, to.library, to.opener]) fs.copyFileSync(path.join(built, path.basename(at)), at);
  fs.copyFileSync(buildFolder().record, to.record);
  // ThreadSanitizer's calls in what chooses a function for the processor are not linked yet when all are looked up.
  const load = path.join(root, 'scripts/load.mjs');
  const text = fs.readFileSync(load, 'utf8');
  if (!text.includes('RTLD_NOW);')) throw new Error(`${load} opens the addon in another way`);
  fs.writeFileSync(load, text.replace('RTLD_NOW);', 'RTLD_LAZY);'));
  // The sanitizer looks up the function that throws when it starts: a C program, as Python is, needs the C++ runtime
  // then.
  const compiler = findToolchain().compiler.path;
  const paths = [runtime, 'libstdc++.so.6'].map((name) => succeed(compiler, [`-print-file-name=${name}`]));
  return { root, preload: (await Promise.all(paths)).map((name) => name.trim()) };
}

/** A report, with the names of our functions: GCC's sanitizers find none in a library that was opened later. */
async function readable(report: string, root: string): Promise<string> {
  const { addon, library } = buildFolder(root);
  const text = report.slice(0, 6000);
  const FRAME = /(libcortorch\.so|cortorch\.node)\+(0x[0-9a-f]+)/g;
  const functions = new Map<string, string>();
  for (const [frame, name, address] of text.matchAll(FRAME)) {
    const file = name === 'cortorch.node' ? addon : library;
    if (!functions.has(frame)) functions.set(frame, await succeed('addr2line', ['-Cfpe', file, address!]));
  }
  return text.replace(FRAME, (frame) => `${frame} ${functions.get(frame)!.trim()}`);
}

/** How much memory stays resident is another question where freed blocks are kept. */
const NOT_OF_MEMORY = '/^(?!10,000 steps leave|a disposed network gives|the pool keeps|without targets nothing)/';

/** Runs these tests, which have to pass, and looks for reports. */
async function runClean(t: Test, files: readonly string[], root: string, env: NodeJS.ProcessEnv): Promise<void> {
  const reports = within(root)('reports');
  fs.mkdirSync(reports);
  for (const file of files) {
    const { code, signal, stdout, stderr } = await runTestFile(root, file, env, 1_200_000);
    const failed = /^ +not ok .*$/m.exec(stdout)?.[0] ?? '';
    t.equal(signal ?? code, 0, `${file}: ${failed}\n${stderr.slice(-4000)}`);
    t.match(stdout, /^ok \d+ - (?!.*# SKIP)/m, `${file}: its tests were run`);
    for (const name of fs.readdirSync(reports)) {
      const report = fs.readFileSync(path.join(reports, name), 'utf8');
      t.fail(`${file}: ${await readable(report, root)}`);
      fs.rmSync(path.join(reports, name));
    }
  }
}

const NATIVE = [
  ...['tensor/tensor', 'maps/dense', 'maps/activation', 'maps/locally-connected', 'maps/conv2d', 'rules/rules'],
  ...['rules/loss', 'rules/rules-maps', 'rules/sign-symmetry', 'rules/target-rules', 'network/network'],
  ...['network/residual-batch-norm', 'network/initial-weights', 'training/trainer', 'training/diagnostics'],
  ...['training/target-training', 'data/batch-stream', 'data/augmentation', 'node/lifecycle', 'model/image-networks'],
].map((name) => `test/${name}.test.ts`);

/** Leaks are looked for in the C++ programs (test/soak/sanitizers.test.ts): V8 frees little of its own at the end. */
t.test('AddressSanitizer finds nothing in the addon', { timeout: 3_600_000 }, async (t) => {
  const { root, preload } = await instrumented(t, 'address', 'libasan.so');
  const log = path.join(root, 'reports/report');
  await runClean(t, NATIVE, root, {
    LD_PRELOAD: preload.join(':'),
    ASAN_OPTIONS: `detect_leaks=0:exitcode=99:log_path=${log}`,
    TAP_GREP: NOT_OF_MEMORY,
  });
});

/** By the library or function that they are in, with the reason. `race:` looks at every frame, hence whole names. */
const SUPPRESSIONS = `
# OpenMP's barriers are futexes that ThreadSanitizer does not know.
called_from_lib:libgomp
race_top:libgomp
# libtorch is not instrumented: what it hands from one of its threads to another looks unordered.
called_from_lib:libtorch_cpu.so
called_from_lib:libc10.so
# ~TorchLibraryInit, at exit: the dispatcher's lock is taken within libtorch_cpu.so, unseen (above), and released by
# code that a tail call makes appear as this library's.
mutex:cxa_at_exit_wrapper
# Node and V8 are not instrumented: their reference counts order what these destroy.
race:v8::platform::DefaultJob
race:v8::platform::tracing::TracingController
race:v8::internal::FutexWaitList
race:node::worker::MessagePort::PostMessage
race:uv_rwlock_destroy
`;

t.test(
  'ThreadSanitizer finds nothing between the threads of models, and JavaScript’s',
  { timeout: 3_600_000 },
  async (t) => {
    const { root, preload } = await instrumented(t, 'thread', 'libtsan.so');
    // libtorch is there from the start: of libraries that are ignored, locks that are taken while they load would be
    // seen in part.
    const lib = path.join(checkBuild().libtorch.path, 'lib');
    const libtorch = ['libgomp.so.1', 'libc10.so', 'libtorch_cpu.so', 'libtorch.so']
      .map((name) => path.join(lib, name))
      .filter((file) => fs.existsSync(file));
    const suppressions = path.join(root, 'suppressions');
    fs.writeFileSync(suppressions, SUPPRESSIONS.trimStart());
    const files = ['node/lifecycle', 'training/trainer', 'network/network', 'data/batch-stream', 'tensor/tensor'];
    await runClean(
      t,
      files.map((name) => `test/${name}.test.ts`),
      root,
      {
        LD_PRELOAD: [...preload, ...libtorch].join(':'),
        TSAN_OPTIONS: `exitcode=99:suppressions=${suppressions}:log_path=${path.join(root, 'reports/report')}`,
        OMP_NUM_THREADS: '1',
        TAP_GREP: NOT_OF_MEMORY,
      },
    );
  },
);
