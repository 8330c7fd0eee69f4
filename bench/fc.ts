/**
 * `npm run bench -- fc`: training the MNIST network 784 – 5 × 256 – 10, batch 100, float32, Adam; cortorch beside
 * PyTorch eager and torch.compile, and beside what the processor's multiply-add units could do at most. All in
 * one run, interleaved, each side in a process of its own with the same number of threads.
 *
 * What is unequal is unequal in PyTorch's favour: its steps get batches that lie ready as floats (cortorch gathers
 * and scales its own from bytes), and it never looks at its loss (cortorch sums loss and error, and checks every
 * loss for NaN).
 */
import { parseArgs } from 'node:util';
import { readRecord } from '../scripts/record.mjs';
import { embeddedMnistFolder } from '../lib/data/mnist.js';
import {
  besideThis,
  describeOthers,
  findPython,
  finish,
  interleave,
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
  Side,
  startGauge,
  table,
  times,
  watchOthers,
  wordOf,
} from './harness.js';
import { ourSteps, type Command } from './steps.js';

const SIZES = [784, 256, 256, 256, 256, 256, 10];
const BATCH = 100;
const STEPS_PER_EPOCH = 550;
/** Steps of one measurement come in hundreds. */
const STEP_UNIT = 100;
const WARM_UP_ROUNDS = 2;
const GOAL_OVER_EAGER = 2.5;
const GOAL_OF_PEAK = 0.6;

type Rule = 'bp' | 'fa' | 'dfa';
type Form = 'cortorch' | 'eager' | 'compile' | 'compile-max-autotune';

interface Contestant {
  readonly form: Form;
  readonly rule: Rule;
  readonly side: Side;
}

const FORMS: Record<Form, string> = {
  cortorch: 'cortorch',
  eager: 'PyTorch eager',
  compile: 'torch.compile',
  'compile-max-autotune': 'torch.compile max-autotune',
};

const { values: options } = parseArgs({ options: sharedOptions });
const print = printer(options);

const USAGE = `npm run bench -- fc [--threads N] [--rounds N] [--seconds S] [--only step|epoch] [--out FILE.json] [--json]

  --threads   of every side (default: all cores)
  --rounds    measurements of each side (default 15)
  --seconds   how long one measurement of steps takes (default 0.4)
  --only      steps or whole epochs alone
${SHARED_USAGE}`;

/** Floating-point operations of a step: a multiply-add is two, and a product is batch · in · out of them. */
function flopOfStep(rule: Rule): number {
  const layers = SIZES.slice(1).map((out, i) => 2 * BATCH * SIZES[i]! * out);
  const sum = (values: number[]) => values.reduce((a, b) => a + b, 0);
  // The error goes down through every layer but the first; under dfa from the output to each hidden layer.
  const down =
    rule === 'dfa' ? sum(SIZES.slice(1, -1).map((units) => 2 * BATCH * units * SIZES.at(-1)!)) : sum(layers.slice(1));
  return 2 * sum(layers) + down; // apply and outer of each layer
}

async function main(): Promise<void> {
  const threads = numberOf('threads', options.threads);
  const rounds = numberOf('rounds', options.rounds ?? '15');
  const seconds = numberOf('seconds', options.seconds ?? '0.4', { whole: false });
  const only = wordOf('only', options.only, ['step', 'epoch']);
  const python = findPython();
  const versions = { cortorch: readRecord()?.version ?? 'unknown', torch: 'none' };
  const peak = startGauge('fma-peak.cpp', 'the multiply-add peak', threads);
  const contestants = await startAll(threads, python, versions);
  const work = (piece: (contestant: Contestant) => Promise<number>) => {
    const all = new Map(contestants.map((contestant) => [nameOf(contestant), () => piece(contestant)] as const));
    if (peak) all.set('peak', async () => Number((await peak.ask('')).gflops));
    return all;
  };
  const results: Record<string, unknown> = {};

  for (const what of ['step', 'epoch'] as const) {
    if (only !== undefined && only !== what) continue;
    const counts = new Map(contestants.map((contestant) => [nameOf(contestant), what === 'step' ? STEP_UNIT : 1]));
    const measure = async (contestant: Contestant) => {
      const name = nameOf(contestant);
      const count = counts.get(name)!;
      const reply = await contestant.side.ask(`${what} ${count}`);
      return Number(reply.seconds) / count;
    };
    const warm = await interleave(`Warming up, ${what}s`, WARM_UP_ROUNDS, work(measure));
    if (what === 'step') {
      for (const name of counts.keys()) {
        const steps = seconds / warm.get(name)!.at(-1)!;
        counts.set(name, Math.max(1, Math.round(steps / STEP_UNIT)) * STEP_UNIT);
      }
    }
    const others = watchOthers([...contestants.map(({ side }) => side), ...(peak ? [peak] : [])]);
    const measured = await interleave(`Measuring ${what}s`, rounds, work(measure));
    const disturbance = others();
    const memory = new Map<string, number>();
    for (const contestant of contestants) {
      memory.set(nameOf(contestant), Number((await contestant.side.ask('memory')).bytes));
    }
    results[what] = { disturbance, ...report(what, contestants, measured, memory) };
    print(describeOthers(disturbance));
  }

  for (const { side } of contestants) await side.close();
  await peak?.close();
  finish('fc', options, versions, threads, { rounds, ...results });
}

const nameOf = ({ form, rule }: Pick<Contestant, 'form' | 'rule'>) => `${form} ${rule}`;

async function startAll(threads: number, python: string | null, versions: { torch: string }) {
  const contestants: Contestant[] = [];
  // One after another: they compile, and the machine is small.
  const start = async (form: Form, rule: Rule, [program, ...args]: Command) => {
    note(`Starting ${FORMS[form]}, ${rule}`);
    const side = new Side(`${FORMS[form]}, ${rule}`, program, args, { OMP_NUM_THREADS: String(threads) });
    try {
      const { version } = await side.read();
      if (form !== 'cortorch') versions.torch = String(version);
      contestants.push({ form, rule, side });
    } catch (error) {
      if (form === 'cortorch') throw error;
      note(`  left out: ${(error as Error).message}`);
    }
  };
  for (const rule of ['bp', 'fa', 'dfa'] as const) {
    const given = { preset: 'mnist-fc', rule, threads, batch: BATCH, unit: STEP_UNIT };
    await start('cortorch', rule, ourSteps(given));
  }
  if (python === null) {
    note(NO_PYTHON);
    return contestants;
  }
  for (const form of ['eager', 'compile', 'compile-max-autotune'] as const) {
    for (const rule of ['bp', 'fa'] as const) {
      const settings = { form, rule, threads, mnist: embeddedMnistFolder() };
      await start(form, rule, [python, besideThis('fc_pytorch.py'), JSON.stringify(settings)]);
    }
  }
  return contestants;
}

/** Prints the table and whether the goals are met; returns the numbers. */
function report(
  what: 'step' | 'epoch',
  contestants: readonly Contestant[],
  measured: ReadonlyMap<string, readonly number[]>,
  memory: ReadonlyMap<string, number>,
) {
  const gflops = measured.get('peak');
  const steps = what === 'step' ? 1 : STEPS_PER_EPOCH;
  // The best round: a peak that something else was eating into would flatter everyone who is compared with it.
  const best = gflops && Math.max(...gflops);
  const floorOf = (rule: Rule) => best && (flopOfStep(rule) * steps) / (best * 1e9);
  const of = (form: Form, rule: Rule) => measured.get(nameOf({ form, rule }));
  const compiled = (rule: Rule) =>
    (['compile', 'compile-max-autotune'] as const)
      .map((form) => of(form, rule))
      .filter((times) => times !== undefined)
      .sort((a, b) => median(a) - median(b))[0];

  const summaries = contestants.map(({ form, rule }) => {
    const seconds = of(form, rule)!;
    const eager = of('eager', rule);
    const compile = compiled(rule);
    const floor = floorOf(rule);
    return {
      form,
      rule,
      median: median(seconds),
      min: Math.min(...seconds),
      overEager: eager && medianRatio(eager, seconds),
      overCompile: compile && medianRatio(compile, seconds),
      ofPeak: floor && floor / median(seconds),
      peakBytes: memory.get(nameOf({ form, rule }))!,
      seconds,
    };
  });

  const time = (seconds: number) => (what === 'step' ? (seconds * 1e6).toFixed(0) : seconds.toFixed(3));
  const unit = what === 'step' ? 'µs/step' : 's/epoch';
  const head = ['', 'rule', unit, 'min', 'images/s', 'vs eager', 'vs compile', 'of FMA peak', 'peak RSS'];
  const rows = summaries.map((s) => [
    FORMS[s.form],
    s.rule,
    time(s.median),
    time(s.min),
    Math.round((BATCH * steps) / s.median).toLocaleString('en-US'),
    times(s.overEager),
    times(s.overCompile),
    percent(s.ofPeak),
    mebibytes(s.peakBytes),
  ]);
  for (const rule of ['bp', 'dfa'] as const) {
    const floor = floorOf(rule);
    if (floor === undefined) continue;
    const images = Math.round((BATCH * steps) / floor).toLocaleString('en-US');
    rows.push(['FMA floor', rule === 'bp' ? 'bp, fa' : rule, time(floor), '', images, '', '', '100 %', '']);
  }
  print(`\n## fc, ${what === 'step' ? 'a training step' : 'a whole epoch, data included'}\n`);
  print(table(head, rows));
  if (gflops && best) {
    print(
      `\nFMA peak: ${best.toFixed(0)} GFLOP/s in the best round, ${median(gflops).toFixed(0)} in the median one; a step ` +
        `of bp or fa is ${(flopOfStep('bp') / 1e6).toFixed(1)} MFLOP, of dfa ${(flopOfStep('dfa') / 1e6).toFixed(1)}.`,
    );
  }
  for (const { form, rule, overEager, ofPeak } of summaries) {
    if (form !== 'cortorch' || rule === 'dfa') continue;
    if (overEager !== undefined) {
      print(
        `${rule}: ${overEager.toFixed(2)} times eager (${judged(overEager >= GOAL_OVER_EAGER, String(GOAL_OVER_EAGER))})`,
      );
    }
    if (ofPeak !== undefined) {
      print(`${rule}: ${ofPeak.toFixed(3)} of the FMA peak (${judged(ofPeak >= GOAL_OF_PEAK, String(GOAL_OF_PEAK))})`);
    }
  }
  return { sides: summaries, gflops };
}

if (options.help) {
  console.log(USAGE);
} else {
  await main();
}
