/**
 * `npm run bench -- versions --before DIR`: steps of another checkout that is built, beside those of this one. The two
 * take turns, each measurement is of a new process, and each pair gives a ratio.
 */
import { parseArgs } from 'node:util';
import { checkBuild } from '../scripts/load.mjs';
import { packageRoot } from '../scripts/paths.mjs';
import { finish, median, medianRatio, note, numberOf, printer, SHARED_USAGE, sharedOptions, table } from './harness.js';
import { ourSteps, secondsOfStep, startSteps } from './steps.js';

const NETWORKS = [
  ...['bp', 'fa', 'dfa', 'brsf', 'dtp', 'sdtp'].map((rule) => ({ preset: 'mnist-fc', rule, unit: 50 })),
  ...['bp', 'fa', 'dtp'].map((rule) => ({ preset: 'mnist-lc', rule, unit: 10 })),
  { preset: 'cifar10-lc', rule: 'fa', unit: 2 },
  { preset: 'mnist-conv', rule: 'bp', unit: 5 },
];
const BATCH = 100;

const { values: options } = parseArgs({ options: { ...sharedOptions, before: { type: 'string' } } });
const print = printer(options);

const USAGE = `npm run bench -- versions --before DIR [--threads N] [--rounds N] [--seconds S] [--out FILE.json] [--json]

  --before    another checkout of this repository, built: npm run build
  --threads   of every side (default: all cores)
  --rounds    pairs of measurements (default 10)
  --seconds   how long one measurement takes about (default 0.5)
${SHARED_USAGE}`;
if (options.help || options.before === undefined) {
  process.stdout.write(`${USAGE}\n`);
  process.exit(options.help ? 0 : 2);
}

const threads = numberOf('threads', options.threads);
const rounds = numberOf('rounds', options.rounds ?? '10');
const seconds = numberOf('seconds', options.seconds ?? '0.5', { whole: false });
const roots = { before: options.before, now: packageRoot };
type Version = keyof typeof roots;

const rows: string[][] = [];
const measurements: object[] = [];
for (const { preset, rule, unit } of NETWORKS) {
  const measured: Record<Version, number[]> = { before: [], now: [] };
  for (let round = 0; round < rounds; round++) {
    const order: Version[] = round % 2 === 0 ? ['before', 'now'] : ['now', 'before'];
    for (const version of order) {
      const command = ourSteps({ root: roots[version], preset, rule, threads, batch: BATCH, unit });
      const step = await startSteps(`${preset} ${rule}, ${version}`, command, { threads, seconds, unit });
      measured[version].push(await secondsOfStep(step));
      await step.side.close();
    }
  }
  const { before, now } = measured;
  const ratios = now.map((value, i) => value / before[i]!).sort((a, b) => a - b);
  const ms = (values: readonly number[]): string => (median(values) * 1000).toFixed(3);
  const spread = `${ratios[0]!.toFixed(3)} to ${ratios.at(-1)!.toFixed(3)}`;
  rows.push([preset, rule, ms(before), ms(now), medianRatio(now, before).toFixed(3), spread]);
  measurements.push({ preset, rule, before, now });
  note(`${preset} ${rule}: ${medianRatio(now, before).toFixed(3)}`);
}
print(table(['network', 'rule', 'before, ms', 'now, ms', 'ratio', 'of single pairs'], rows));
finish('versions', options, { cortorch: checkBuild().libtorch.version, torch: 'none' }, threads, {
  rounds,
  seconds,
  measurements,
});
