/**
 * `npm run bench -- builds`: steps of the native part that comes with the package beside those of one that is compiled
 * on this machine, from the same sources. The packed package is installed twice; the two take turns, and each pair
 * gives a ratio.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { findToolchain } from '../scripts/toolchain.mjs';
import { checkBuild } from '../scripts/load.mjs';
import { packageRoot } from '../scripts/paths.mjs';
import { filesOf, readRecord } from '../scripts/record.mjs';
import {
  finish,
  judged,
  median,
  medianRatio,
  note,
  numberOf,
  printer,
  SHARED_USAGE,
  sharedOptions,
  table,
} from './harness.js';
import { ourSteps, secondsOfStep, startSteps } from './steps.js';

/** A step of each takes from 2 to 200 ms. */
const NETWORKS = [
  { preset: 'mnist-fc', rule: 'bp', unit: 100 },
  { preset: 'mnist-fc', rule: 'fa', unit: 100 },
  { preset: 'mnist-lc', rule: 'bp', unit: 10 },
  { preset: 'cifar10-lc', rule: 'fa', unit: 2 },
  { preset: 'mnist-conv', rule: 'bp', unit: 10 },
] as const;
const BATCH = 100;
/** How far the median of the rounds' ratios may be from 1. */
const GOAL = 0.02;

const { values: options } = parseArgs({ options: { ...sharedOptions, cxxflags: { type: 'string', default: '' } } });
const print = printer(options);

const USAGE = `npm run bench -- builds [--threads N] [--rounds N] [--seconds S] [--cxxflags FLAGS] [--out FILE.json] [--json]

  --threads   of every side (default: all cores)
  --rounds    pairs of measurements (default 10)
  --seconds   how long one measurement takes about (default 0.5)
  --cxxflags  what is compiled here gets these too, such as '-march=native -DCORTORCH_NEW_RUNTIME'
${SHARED_USAGE}`;
if (options.help) {
  process.stdout.write(`${USAGE}\n`);
  process.exit();
}

const threads = numberOf('threads', options.threads);
const rounds = numberOf('rounds', options.rounds ?? '10');
const seconds = numberOf('seconds', options.seconds ?? '0.5', { whole: false });

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'cortorch-builds-'));
process.on('exit', () => fs.rmSync(folder, { recursive: true, force: true }));

/** The package as npm packs it, and as its install script leaves it. */
function installed(name: string, env: NodeJS.ProcessEnv): string {
  const root = path.join(folder, name, 'package');
  fs.mkdirSync(path.dirname(root));
  execFileSync('tar', ['-xzf', tarball, '-C', path.dirname(root)]);
  fs.symlinkSync(path.join(packageRoot, 'node_modules'), path.join(root, 'node_modules'));
  note(`Installing the package: ${name}`);
  execFileSync(process.execPath, [path.join(root, 'scripts/install.mjs')], {
    env: { ...process.env, ...env },
    stdio: ['ignore', 2, 2],
  });
  const record = readRecord(root);
  if (record?.prebuilt !== (name === 'prebuilt')) throw new Error(`${name}: ${JSON.stringify(record)}`);
  return root;
}

/** The same sources with other flags, put in place of what was compiled in the package. */
function compileWith(flags: string, root: string): void {
  note(`Compiling it with ${flags}`);
  const out = path.join(folder, 'flags');
  const headers = ['node-api-headers/include', 'node-addon-api'].map((name) =>
    path.join(packageRoot, 'node_modules', name),
  );
  const { cmake, compiler, generator } = findToolchain();
  const settings = {
    LIBTORCH,
    CMAKE_CXX_COMPILER: compiler.path,
    CMAKE_CXX_FLAGS: flags,
    CMAKE_JS_INC: headers.join(';'),
  };
  const definitions = Object.entries(settings).map(([name, value]) => `-D${name}=${value}`);
  execFileSync(cmake.path, ['-S', root, '-B', out, '-G', generator, ...definitions], { stdio: ['ignore', 2, 2] });
  execFileSync(cmake.path, ['--build', out, '--parallel', String(os.availableParallelism())], {
    stdio: ['ignore', 2, 2],
  });
  for (const file of Object.values<string>({ ...filesOf({ prebuilt: false }, root) })) {
    fs.copyFileSync(path.join(out, path.basename(file)), file);
  }
}

execFileSync('npm', ['pack', '--silent', '--pack-destination', folder], { cwd: packageRoot, stdio: ['ignore', 2, 2] });
const tarball = path.join(
  folder,
  fs.readdirSync(folder).find((name) => name.endsWith('.tgz'))!,
);
const LIBTORCH = checkBuild().libtorch.path;
const builds = {
  prebuilt: installed('prebuilt', { LIBTORCH }),
  native: installed('native', { LIBTORCH, CORTORCH_BUILD_FROM_SOURCE: '1' }),
};
if (options.cxxflags !== '') compileWith(options.cxxflags, builds.native);

/** What the processor is given to do, and nothing of when or where it was compiled. */
function machineCode(root: string): string {
  const { library, addon } = filesOf(readRecord(root)!, root);
  const code = path.join(folder, 'code');
  const digests = [library, addon].map((file) => {
    execFileSync('objcopy', ['-O', 'binary', '--only-section=.text', file, code]);
    return createHash('sha256').update(fs.readFileSync(code)).digest('hex');
  });
  return digests.join();
}

const same = machineCode(builds.prebuilt) === machineCode(builds.native);
print(`The machine code of the two is ${same ? 'the same, byte for byte' : 'not the same'}.\n`);

type Build = keyof typeof builds;
type Network = (typeof NETWORKS)[number];

/** Where the memory of a process lies makes a few per cent, so each measurement is of a new one. @returns seconds */
async function stepOf(build: Build, { preset, rule, unit }: Network): Promise<number> {
  const command = ourSteps({ root: builds[build], preset, rule, threads, batch: BATCH, unit });
  const step = await startSteps(`${preset} ${rule}, ${build}`, command, { threads, seconds, unit });
  const measured = await secondsOfStep(step);
  await step.side.close();
  return measured;
}

const rows: string[][] = [];
const measurements: object[] = [];
const missed: string[] = [];
for (const network of NETWORKS) {
  const measured: Record<Build, number[]> = { prebuilt: [], native: [] };
  for (let round = 0; round < rounds; round++) {
    const order: Build[] = round % 2 === 0 ? ['prebuilt', 'native'] : ['native', 'prebuilt'];
    for (const build of order) measured[build].push(await stepOf(build, network));
  }
  const { prebuilt, native } = measured;
  const ratio = medianRatio(prebuilt, native);
  const ratios = prebuilt.map((value, i) => value / native[i]!).sort((a, b) => a - b);
  const ms = (values: readonly number[]): string => (median(values) * 1000).toFixed(3);
  const name = `${network.preset} ${network.rule}`;
  const spread = `${ratios[0]!.toFixed(3)} to ${ratios.at(-1)!.toFixed(3)}`;
  rows.push([network.preset, network.rule, ms(prebuilt), ms(native), ratio.toFixed(3), spread]);
  measurements.push({ ...network, prebuilt, native });
  if (Math.abs(ratio - 1) > GOAL) missed.push(name);
  note(`${name}: ${ratio.toFixed(3)}`);
}
print(table(['network', 'rule', 'prebuilt, ms', 'compiled here, ms', 'ratio', 'of single pairs'], rows));
print(judged(missed.length === 0, `a median within 2 % of 1${missed.map((name) => `; ${name}`).join('')}`));
const versions = { cortorch: checkBuild().libtorch.version, torch: `compiled here with "${options.cxxflags}"` };
finish('builds', options, versions, threads, { rounds, seconds, measurements });
