/**
 * `npm run bench -- tp`: a training step of target propagation on mnist-fc and mnist-lc, batch 100, float32, Adam:
 * dtp and sdtp in parallel, beside this project's own bp step and beside the same step in PyTorch (tp_pytorch.py), and
 * the two steps of the alternating schedule. All in one run, interleaved, each side in a process of its own with the
 * same number of threads.
 *
 * Before anything is measured, both make a few steps without noise from equal parameters, and must agree.
 *
 * What is unequal is unequal in PyTorch's favour: its steps get batches that lie ready as floats, labels as one-hot
 * rows, and it never computes its losses (cortorch gathers, scales, sums both losses and the error, and checks every
 * loss for NaN).
 */
import { parseArgs } from 'node:util';
import { readRecord } from '../scripts/record.mjs';
import {
  besideThis,
  describeOthers,
  findPython,
  finish,
  judged,
  mebibytes,
  median,
  medianRatio,
  NO_PYTHON,
  note,
  numberOf,
  percent,
  printer,
  SHARED_USAGE,
  sharedOptions,
  type Side,
  startGauge,
  table,
  times,
  wordOf,
} from './harness.js';
import { denseOf, flopOfDense, flopOfMaps, layersOf, type Layer } from './lc-networks.js';
import { compareSteps, measureRounds, memoryOf, ourSteps, secondsOfStep, startSteps } from './steps.js';

const BATCH = 100;
const WARM_UP_ROUNDS = 2;
const GOAL_OVER_BP = 2.5;
const GOAL_OVER_PYTORCH = 5;
/**
 * Relative difference that updates may have after the steps of check-steps.mjs. Rounding in another order gives 1e-4
 * and less; a wrong factor anywhere gives 0.1 and more.
 */
const AGREE = 1e-3;
/** Of those steps. With so large an ε an update hardly depends on how a gradient near zero was rounded. */
const CHECKED = { type: 'adam', lr: 1e-3, beta1: 0.9, beta2: 0.999, eps: 1e-3 } as const;
/** As in tp_pytorch.py. */
const CHECKED_TARGET_STEP = 0.15008;

const NETWORKS = ['mnist-fc', 'mnist-lc'] as const;
type NetworkName = (typeof NETWORKS)[number];
const RULES = ['dtp', 'sdtp'] as const;
type Rule = (typeof RULES)[number];

interface Architecture {
  readonly input: readonly number[];
  readonly local: readonly { readonly formulation: string; readonly layer: Layer }[];
  readonly dense: readonly number[];
  /** Floating-point operations of one operation of each map. */
  readonly flop: readonly number[];
  /** Steps in a pass over cortorch's data: a measurement is a multiple of it. */
  readonly unit: number;
}

const { values: options } = parseArgs({
  options: {
    ...sharedOptions,
    smoke: { type: 'boolean', default: false },
    formulation: { type: 'string', default: 'bmm channels-last' },
  },
});
const print = printer(options);

const USAGE = `npm run bench -- tp [--threads N] [--rounds N] [--seconds S] [--only ${NETWORKS.join('|')}] [--smoke] [--out FILE.json] [--json]

  --threads      of every side (default: all cores)
  --rounds       measurements of each side (default 9)
  --seconds      how long one measurement takes at least (default 0.4)
  --only         one network alone
  --smoke        whether everything runs: two short rounds, whose numbers say little
  --formulation  of PyTorch's locally connected layers: bmm im2col, bmm views or bmm channels-last (default, the fastest
                 of the layers of mnist-lc in this step)
${SHARED_USAGE}`;

function architectureOf(network: NetworkName, formulation: string): Architecture {
  if (network === 'mnist-fc') {
    const dense = [256, 256, 256, 256, 256, 10];
    return { input: [1, 28, 28], local: [], dense, flop: flopOfDense([784, ...dense], BATCH), unit: 100 };
  }
  const local = layersOf('mnist', BATCH).map((layer) => ({ formulation, layer }));
  const dense = denseOf('mnist').slice(1);
  return { input: [1, 28, 28], local, dense, flop: flopOfMaps('mnist', BATCH), unit: 20 };
}

/**
 * Floating-point operations of a step. bp: apply and outer of each layer, adjoint of all but the first. Target
 * propagation has seven operations for a layer with an inverse: apply of h and of h̃, outer for both sets of weights,
 * and g of h, of the target and of f(h̃). An alternating step has those of its own loss.
 */
function flopOf(flop: readonly number[], { rule, phase }: Pick<Contestant, 'rule' | 'phase'>): number {
  const operations = flop.map((_, i) => {
    const last = i === flop.length - 1;
    if (rule === 'bp') return i === 0 ? 2 : 3;
    if (i === 0) return phase === 'inverse' ? 1 : 2;
    if (last && rule === 'dtp') return phase === 'inverse' ? 1 : 3;
    // Forward: apply, outer, two adjoints. Inverse: apply twice, adjoint, outer.
    return phase === 'both' ? 7 : 4;
  });
  return operations.reduce((sum, count, i) => sum + count * flop[i]!, 0);
}

type Form = 'cortorch' | 'eager' | 'compile';
const FORMS: Record<Form, string> = {
  cortorch: 'cortorch',
  eager: 'PyTorch eager',
  compile: 'torch.compile',
};

interface Contestant {
  readonly name: string;
  readonly form: Form;
  readonly rule: 'bp' | Rule;
  readonly phase: 'both' | 'forward' | 'inverse';
  /** Forward and inverse steps of an alternating schedule have one between them. */
  readonly side: Side;
  readonly count: number;
}

interface Measured extends Omit<Contestant, 'side' | 'count'> {
  readonly seconds: readonly number[];
  readonly peakBytes: number;
}

interface NetworkResult {
  readonly network: NetworkName;
  readonly measured: readonly Measured[];
  readonly flop: readonly number[];
  readonly gflops: readonly number[];
  readonly apart: Readonly<Record<string, number>>;
  readonly disturbance: number;
}

interface Setting {
  readonly threads: number;
  readonly rounds: number;
  /** Of one measurement. */
  readonly seconds: number;
  readonly python: string | null;
  readonly peak: Side | null;
  readonly versions: { torch: string };
}

async function main(): Promise<void> {
  const { smoke } = options;
  const threads = numberOf('threads', options.threads);
  const rounds = numberOf('rounds', options.rounds ?? (smoke ? '2' : '9'));
  const seconds = numberOf('seconds', options.seconds ?? (smoke ? '0.02' : '0.4'), { whole: false });
  const only = wordOf('only', options.only, NETWORKS);
  const formulation = wordOf('formulation', options.formulation, ['bmm im2col', 'bmm views', 'bmm channels-last'])!;
  const python = findPython();
  if (python === null) note(NO_PYTHON);
  const peak = startGauge('fma-peak.cpp', 'the multiply-add peak', threads);
  const versions = { cortorch: readRecord()?.version ?? 'unknown', torch: 'none' };
  const setting = { threads, rounds, seconds, python, peak, versions };
  const results: NetworkResult[] = [];
  for (const network of NETWORKS) {
    if (only !== undefined && only !== network) continue;
    results.push(await measure(setting, network, architectureOf(network, formulation)));
  }
  await peak?.close();
  const verdicts = results.flatMap(report);
  print('');
  for (const verdict of verdicts) print(verdict);
  if (smoke) print('A smoke run: these numbers say little.');
  finish('tp', options, versions, threads, { rounds, results });
}

async function measure(setting: Setting, network: NetworkName, architecture: Architecture): Promise<NetworkResult> {
  const apart = await check(setting, network, architecture);
  const contestants = await startAll(setting, network, architecture);
  const pieces = new Map<string, () => Promise<number>>();
  // Forward and inverse steps by turns: one answer tells of both.
  const inverse = new Map<string, number[]>();
  for (const { name, side, phase, count } of contestants) {
    if (phase === 'inverse') continue;
    pieces.set(name, async () => {
      if (phase === 'both') return secondsOfStep({ side, count });
      const reply = await side.ask(`step ${count}`);
      inverse.set(name, [...(inverse.get(name) ?? []), Number(reply.inverse) / count]);
      return Number(reply.forward) / count;
    });
  }
  const { peak } = setting;
  if (peak) pieces.set('peak', async () => Number((await peak.ask('')).gflops));
  const sides = [...new Set(contestants.map(({ side }) => side))];
  const { results, disturbance } = await measureRounds(
    network,
    { warmUp: WARM_UP_ROUNDS, rounds: setting.rounds },
    pieces,
    [...sides, ...(peak ? [peak] : [])],
  );
  const measured: Measured[] = [];
  for (const { name, form, rule, phase, side } of contestants) {
    const seconds =
      phase === 'inverse' ? inverse.get(name.replace('inverse', 'forward'))!.slice(WARM_UP_ROUNDS) : results.get(name)!;
    measured.push({ name, form, rule, phase, seconds, peakBytes: await memoryOf(side) });
  }
  await Promise.all(sides.map((side) => side.close()));
  const gflops = results.get('peak') ?? [];
  return { network, measured, flop: architecture.flop, gflops, apart, disturbance };
}

async function startAll(
  { threads, seconds, python, versions }: Setting,
  network: NetworkName,
  architecture: Architecture,
): Promise<Contestant[]> {
  const { flop: _, unit, ...description } = architecture;
  const contestants: Contestant[] = [];
  // One after another: they compile, and the machine is small.
  const start = async (form: Form, rule: 'bp' | Rule, schedule?: 'parallel' | 'alternating') => {
    const what = `${FORMS[form]}, ${rule}${schedule === undefined ? '' : `, ${schedule}`}`;
    note(`Starting ${network}: ${what}`);
    const ours = form === 'cortorch';
    const theirs = { ...description, form, rule, threads, batch: BATCH };
    const command = ours
      ? ourSteps({ preset: network, rule, schedule, threads, batch: BATCH, unit })
      : ([python!, besideThis('tp_pytorch.py'), JSON.stringify(theirs)] as const);
    try {
      const { side, ready, count } = await startSteps(what, command, {
        threads,
        seconds,
        unit: ours ? unit : 1,
      });
      if (ready.version !== undefined) versions.torch = ready.version as string;
      const phases = schedule === 'alternating' ? (['forward', 'inverse'] as const) : (['both'] as const);
      for (const phase of phases) {
        contestants.push({ name: `${form} ${rule} ${phase}`, form, rule, phase, side, count });
      }
    } catch (error) {
      if (form !== 'compile') throw error; // which may not know how
      // Of Python's traceback what went wrong.
      const lines = (error as Error).message.split('\n');
      note(`  left out: ${lines.findLast((line) => /^\S*Error\b/.test(line)) ?? lines.at(-1)}`);
    }
  };
  await start('cortorch', 'bp');
  for (const rule of RULES) {
    await start('cortorch', rule, 'parallel');
    await start('cortorch', rule, 'alternating');
    if (python === null) continue;
    await start('eager', rule);
    await start('compile', rule);
  }
  return contestants;
}

/**
 * Do both compute the same? A few steps without noise from equal parameters.
 *
 * @returns for each rule the largest relative difference of a parameter's updates
 */
async function check(
  { threads, python }: Setting,
  network: NetworkName,
  architecture: Architecture,
): Promise<Record<string, number>> {
  const apart: Record<string, number> = {};
  if (python === null) return apart;
  const { flop: _, unit: __, ...description } = architecture;
  for (const rule of RULES) {
    const trainer = {
      optimizer: CHECKED,
      inverseOptimizer: CHECKED,
      noise: 0,
      ...(rule === 'dtp' && { targetStep: CHECKED_TARGET_STEP }),
    };
    const given = { ...description, rule, threads, batch: BATCH };
    apart[rule] = await compareSteps(
      `${network}, ${rule}`,
      { preset: network, rule, threads, batch: BATCH, trainer },
      { python, program: 'tp_pytorch.py', given },
      AGREE,
    );
  }
  return apart;
}

/** Prints the table. @returns whether the goals are met, in words */
function report({ network, measured, flop, gflops, apart, disturbance }: NetworkResult): string[] {
  // The best round: a peak that something else was eating into would flatter everyone who is compared with it.
  const best = gflops.length > 0 ? Math.max(...gflops) * 1e9 : undefined;
  const bp = measured.find(({ rule }) => rule === 'bp')!;
  const of = (form: Form, rule: Rule) => measured.find((m) => m.form === form && m.rule === rule && m.phase === 'both');
  const fastest = (rule: Rule) =>
    [of('eager', rule), of('compile', rule)]
      .filter((m) => m !== undefined)
      .sort((a, b) => median(a.seconds) - median(b.seconds))[0];
  const PHASES = { both: 'parallel', forward: 'alternating, forward', inverse: 'alternating, inverse' };
  const rows = measured.map((m) => {
    const floor = best && flopOf(flop, m) / best;
    const theirs = m.rule !== 'bp' && m.phase === 'both' ? fastest(m.rule) : undefined;
    return [
      FORMS[m.form],
      m.rule === 'bp' ? 'bp' : `${m.rule} ${PHASES[m.phase]}`,
      (median(m.seconds) * 1e3).toFixed(3),
      (Math.min(...m.seconds) * 1e3).toFixed(3),
      Math.round(BATCH / median(m.seconds)).toLocaleString('en-US'),
      m.form === 'cortorch' ? times(medianRatio(m.seconds, bp.seconds)) : '',
      times(theirs && medianRatio(theirs.seconds, m.seconds)),
      (flopOf(flop, m) / 1e6).toFixed(0),
      percent(floor && floor / median(m.seconds)),
      mebibytes(m.peakBytes),
    ];
  });
  const head = ['', network, 'ms/step', 'min', 'images/s', 'bp steps', 'vs PyTorch', 'MFLOP', 'of FMA peak'];
  print(`\n## tp, a training step of ${network}, batch ${BATCH}, Adam\n`);
  print(table([...head, 'peak RSS'], rows));
  if (best) {
    print(
      `\nFMA peak: ${(best / 1e9).toFixed(0)} GFLOP/s in the best round, ${median(gflops).toFixed(0)} in the median one.`,
    );
  }
  print(describeOthers(disturbance));
  return RULES.flatMap((rule) => {
    const ours = of('cortorch', rule)!;
    const steps = medianRatio(ours.seconds, bp.seconds);
    const theirs = fastest(rule);
    const ratio = theirs && medianRatio(theirs.seconds, ours.seconds);
    return [
      `${network}, ${rule}: ${steps.toFixed(2)} bp steps (${judged(steps <= GOAL_OVER_BP, `at most ${GOAL_OVER_BP}`)})`,
      ...(ratio === undefined
        ? []
        : [
            `${network}, ${rule}: ${ratio.toFixed(2)} times ${FORMS[theirs!.form]} ` +
              `(${judged(ratio >= GOAL_OVER_PYTORCH, String(GOAL_OVER_PYTORCH))}); without noise both make the same updates ` +
              `to ${apart[rule]!.toExponential(1)}`,
          ]),
    ];
  });
}

if (options.help) {
  console.log(USAGE);
} else {
  await main();
}
