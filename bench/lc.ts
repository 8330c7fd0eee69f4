/**
 * `npm run bench -- lc`: the locally connected layers of the paper's Table 3, one by one, and whole training steps of
 * its MNIST and CIFAR-10 networks; cortorch beside the ways in which people write such layers in PyTorch, and beside
 * what the processor's multiply-add units and its memory could do at most. All in one run, interleaved, each side in
 * a process of its own with the same number of threads: the peak of its memory is one layer's.
 *
 * cortorch's layers run in Node, on the libtorch that cortorch was built on; PyTorch's in whatever Python can import
 * it. In one Python both would need one libtorch, which a machine need not have; and in Node they are what a user has.
 * Both sides get the same numbers, call libtorch's autograd from their own language, and are timed within it, around
 * many calls. Where the two versions differ, the tables say so.
 *
 * PyTorch has no such layer. Its sides are formulations: how the patches are got at (im2col; views; views of images
 * in channels_last) × how they are multiplied (bmm, einsum, broadcast multiply and sum). Each formulation has weights,
 * images and errors in the layout that it likes best, and the best formulation for a layer is what counts. Steps use
 * the best formulation of each layer.
 *
 * What is unequal in a step is unequal in PyTorch's favour: its steps get batches that lie ready as floats, and it
 * never looks at its loss (cortorch gathers, scales, sums loss and error, and checks every loss for NaN).
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
  wordOf,
} from './harness.js';
import {
  bytesInPyTorch,
  bytesOfAdam,
  denseOf,
  describeLayer,
  flopOf,
  flopOfStep,
  layersOf,
  NETWORKS,
  parametersOf,
  type Layer,
  type NetworkName,
} from './lc-networks.js';
import { environment, measureRounds, memoryOf, ourSteps, secondsOfStep, startSteps, type Command } from './steps.js';

/** Of the formulations in lc_formulations.py those that can be the fastest; `multiply` is slower yet with views. */
const FORMULATIONS = [
  'bmm im2col',
  'bmm views',
  'bmm channels-last',
  'einsum im2col',
  'einsum views',
  'einsum channels-last',
  'multiply im2col',
] as const;
type Formulation = (typeof FORMULATIONS)[number];
/** The three families; a table has a row for the best of each. */
const FAMILIES = ['bmm', 'einsum', 'multiply'] as const;
const OURS = 'cortorch';

/** A formulation so many times slower than another at the first try is not measured further. */
const HOPELESS = 2.5;
/** Share of the available memory that a formulation may need. */
const FITS = 0.6;
/** Relative difference that the norms of results may have; cortorch's side sums up to 10⁵ float32 values. */
const AGREE = 1e-4;
const GOAL_OVER_PYTORCH = 5;
const GOAL_OF_PEAK = 0.65;
const GOAL_OF_MEAN = 7;
const GOAL_OF_STEP = 3;
const GOAL_OF_FLOOR = 0.75;
/** Steps in a pass over cortorch's data: a measurement is a multiple of it. */
const STEP_UNITS: Partial<Record<NetworkName, number>> = { mnist: 20, cifar10: 4 };

const { values: options } = parseArgs({
  options: {
    ...sharedOptions,
    network: { type: 'string' },
    batch: { type: 'string', default: '100' },
    'imagenet-batch': { type: 'string', default: '16' },
  },
});
const print = printer(options);

const USAGE = `npm run bench -- lc [--threads N] [--rounds N] [--seconds S] [--only layers|steps]
                    [--network ${NETWORKS.join('|')}] [--batch N] [--imagenet-batch N] [--out FILE.json] [--json]

  --threads         of every side (default: all cores)
  --rounds          measurements of each side (default 7)
  --seconds         how long one measurement takes at least (default 0.3)
  --only            single layers or whole training steps alone
  --network         one network alone; imagenet has layers only
  --batch           images in a batch of mnist and cifar10 (default 100)
  --imagenet-batch  images in a batch of imagenet (default 16)
${SHARED_USAGE}`;

type Direction = 'forward' | 'backward';
const DIRECTIONS = ['forward', 'backward'] as const;

interface Contestant {
  readonly form: string;
  readonly side: Side;
  /** Peak resident bytes after the imports. */
  readonly baseline: number;
  /** Of y, dx and dW. */
  readonly norms: readonly number[];
  /** Seconds of the first try. */
  readonly first: Record<Direction, number>;
}

/** What was measured of one form of one layer. */
interface Measured {
  readonly form: string;
  readonly baseline: number;
  readonly peakBytes: number;
  /** By round; of a hopeless formulation the first try alone. */
  readonly forward: readonly number[];
  readonly backward: readonly number[];
  readonly dropped: boolean;
}

interface LayerResult {
  readonly network: NetworkName;
  readonly index: number;
  readonly layer: Layer;
  readonly measured: readonly Measured[];
  readonly skipped: readonly { readonly form: string; readonly bytes: number }[];
  readonly disturbance: number;
}

interface Setting {
  readonly threads: number;
  readonly rounds: number;
  readonly seconds: number;
  readonly python: string;
  readonly peak: Side | null;
  readonly versions: { readonly cortorch: string; torch: string };
  /** GFLOP/s, of every round. */
  readonly gflops: number[];
}

async function main(): Promise<void> {
  const threads = numberOf('threads', options.threads);
  const rounds = numberOf('rounds', options.rounds ?? '7');
  const seconds = numberOf('seconds', options.seconds ?? '0.3', { whole: false });
  const only = wordOf('only', options.only, ['layers', 'steps']);
  const network = wordOf('network', options.network, NETWORKS);
  const batch = numberOf('batch', options.batch);
  const batches = {
    mnist: batch,
    cifar10: batch,
    imagenet: numberOf('imagenet-batch', options['imagenet-batch']),
  };
  const networks = NETWORKS.filter((name) => network === undefined || name === network);
  const python = findPython();
  if (python === null) throw new Error('No Python can import torch; name one with CORTORCH_PYTHON.');
  const peak = startGauge('fma-peak.cpp', 'the multiply-add peak', threads);
  const versions = { cortorch: readRecord()?.version ?? 'unknown', torch: 'none' };
  const setting: Setting = { threads, rounds, seconds, python, peak, versions, gflops: [] };

  const layers: LayerResult[] = [];
  let overPyTorch: OverPyTorch | null = null;
  if (only !== 'steps') {
    for (const name of networks) {
      for (const [index, layer] of layersOf(name, batches[name]).entries()) {
        layers.push(await measureLayer(setting, name, index, layer));
      }
    }
    overPyTorch = compare(layers);
    reportLayers(layers, overPyTorch, setting);
  }

  const steps: StepResult[] = [];
  if (only !== 'layers') {
    const bandwidth = startGauge('copy-bandwidth.cpp', 'the bandwidth of memory', threads);
    for (const name of networks) {
      if (STEP_UNITS[name] === undefined) {
        if (network !== undefined) note(`${name}: its training step is not measured.`);
        continue;
      }
      const best: Formulation[] = [];
      for (const [index, layer] of layersOf(name, batch).entries()) {
        const known = layers.find((result) => result.network === name && result.index === index);
        best.push(known ? bestOf(known.measured)! : await choose(setting, name, index, layer));
      }
      for (const rule of ['bp', 'fa'] as const) {
        steps.push(await measureSteps(setting, name, rule, batch, best, bandwidth));
      }
    }
    await bandwidth?.close();
    reportSteps(steps, setting, batch);
  }
  await peak?.close();
  finish('lc', options, versions, threads, { rounds, batches, gflops: setting.gflops, overPyTorch, layers, steps });
}

/** Layers */

/** A first try of every form; those that are hopeless or do not fit stay out. */
async function startLayer(setting: Setting, forms: readonly string[], layer: Layer) {
  const { python, threads, versions } = setting;
  let contestants: Contestant[] = [];
  const out: Measured[] = [];
  const skipped: { form: string; bytes: number }[] = [];
  let norms: readonly number[] | undefined;
  const total = ({ first }: Contestant) => first.forward + first.backward;
  for (const form of forms) {
    const bytes = form === OURS ? 0 : bytesInPyTorch(form, layer);
    if (bytes > FITS * process.availableMemory()) {
      note(`  ${form}: left out, it would need ${(bytes / 2 ** 30).toFixed(1)} GiB`);
      skipped.push({ form, bytes });
      continue;
    }
    const [program, ...args]: Command =
      form === OURS
        ? [process.execPath, '--expose-gc', besideThis('cortorch-layers.mjs'), JSON.stringify({ layer })]
        : [python, besideThis('lc_layers.py'), JSON.stringify({ form, threads, layer })];
    const side = new Side(form, program, args, environment(threads));
    const said = (await side.read()) as unknown as Record<Direction, number> &
      Pick<Contestant, 'baseline' | 'norms'> & { version?: string };
    versions.torch = said.version ?? versions.torch;
    norms ??= said.norms;
    if (!said.norms.every((norm, i) => Math.abs(norm / norms![i]! - 1) < AGREE)) {
      throw new Error(
        `${form} gives other norms of y, dx and dW (${said.norms.join()}) than ${forms[0]} (${norms.join()})`,
      );
    }
    const { forward, backward, baseline } = said;
    contestants.push({ form, side, baseline, norms: said.norms, first: { forward, backward } });
    note(`  ${form}: ${milliseconds(forward)} + ${milliseconds(backward)} ms at the first try`);
    const best = Math.min(...contestants.filter((c) => c.form !== OURS).map(total));
    const hopeless = contestants.filter((c) => c.form !== OURS && total(c) > HOPELESS * best);
    for (const each of hopeless) {
      const { form, baseline, first } = each;
      const peakBytes = await memoryOf(each.side);
      out.push({
        form,
        baseline,
        peakBytes,
        forward: [first.forward],
        backward: [first.backward],
        dropped: true,
      });
      await each.side.close();
    }
    contestants = contestants.filter((c) => !hopeless.includes(c));
  }
  return { contestants, out, skipped };
}

const milliseconds = (seconds: number) => (seconds * 1e3).toFixed(seconds < 0.01 ? 3 : seconds < 0.1 ? 2 : 1);

async function measureLayer(
  setting: Setting,
  network: NetworkName,
  index: number,
  layer: Layer,
  forms: readonly string[] = [OURS, ...FORMULATIONS],
  rounds = setting.rounds,
): Promise<LayerResult> {
  const what = `${network} ${index + 1} (${describeLayer(layer)}; batch ${layer.batch})`;
  note(what);
  const { contestants, out, skipped } = await startLayer(setting, forms, layer);
  const pieces = new Map<string, () => Promise<number>>();
  for (const { form, side, first } of contestants) {
    for (const direction of DIRECTIONS) {
      const count = Math.max(1, Math.round(setting.seconds / first[direction]));
      pieces.set(`${form} ${direction}`, async () => {
        const reply = await side.ask(`${direction} ${count}`);
        return Number(reply.seconds) / count;
      });
    }
  }
  const { peak } = setting;
  if (peak) pieces.set('peak', async () => Number((await peak.ask('')).gflops));
  const { results, disturbance } = await measureRounds(`${network} ${index + 1}`, { warmUp: 1, rounds }, pieces, [
    ...contestants.map(({ side }) => side),
    ...(peak ? [peak] : []),
  ]);
  setting.gflops.push(...(results.get('peak') ?? []));
  const measured: Measured[] = [];
  for (const { form, side, baseline } of contestants) {
    const [forward, backward] = DIRECTIONS.map((direction) => results.get(`${form} ${direction}`)!);
    measured.push({
      form,
      baseline,
      peakBytes: await memoryOf(side),
      forward: forward!,
      backward: backward!,
      dropped: false,
    });
  }
  await Promise.all(contestants.map(({ side }) => side.close()));
  return { network, index, layer, measured: [...measured, ...out], skipped, disturbance };
}

/** The best formulation of a layer that this run has not measured: two rounds tell. */
async function choose(setting: Setting, network: NetworkName, index: number, layer: Layer): Promise<Formulation> {
  return bestOf((await measureLayer(setting, network, index, layer, FORMULATIONS, 2)).measured)!;
}

const totals = ({ forward, backward }: Measured) => forward.map((seconds, i) => seconds + backward[i]!);

function fastest(measured: readonly Measured[]): Measured | undefined {
  return measured
    .filter(({ form, dropped }) => form !== OURS && !dropped)
    .sort((a, b) => median(totals(a)) - median(totals(b)))[0];
}

const bestOf = (measured: readonly Measured[]) => fastest(measured)?.form as Formulation | undefined;

/** The best round: a peak that something else was eating into would flatter everyone who is compared with it. */
const peakOf = ({ gflops }: Setting) => (gflops.length > 0 ? Math.max(...gflops) * 1e9 : undefined);

/** How many times faster than PyTorch's fastest formulation cortorch's layers are. */
interface OverPyTorch {
  readonly geometricMean: number;
  readonly layers: readonly { network: NetworkName; index: number; best: string; times: number }[];
}

function compare(results: readonly LayerResult[]): OverPyTorch {
  const layers = results.map(({ network, index, measured }) => ({
    network,
    index,
    best: fastest(measured)!.form,
    times: timesBest(measured),
  }));
  const logarithms = layers.map(({ times }) => Math.log(times));
  return { geometricMean: Math.exp(logarithms.reduce((a, b) => a + b, 0) / layers.length), layers };
}

const oursOf = (measured: readonly Measured[]) => measured.find(({ form }) => form === OURS)!;

/** The median ratio of the rounds. */
const timesBest = (measured: readonly Measured[]) => medianRatio(totals(fastest(measured)!), totals(oursOf(measured)));

/** For the head of a table: both versions where they are not the same. */
const versionsOf = ({ versions: { cortorch, torch } }: Setting) =>
  torch === `torch ${cortorch}` ? '' : `libtorch ${cortorch}, ${torch}`;

function reportLayers(layers: readonly LayerResult[], over: OverPyTorch, setting: Setting): void {
  const peak = peakOf(setting);
  const head = [
    '',
    versionsOf(setting),
    'ms forward',
    'backward',
    'total',
    'vs best',
    'of FMA peak',
    'peak RSS',
    'after import',
  ];
  const verdicts: string[] = [];
  for (const network of NETWORKS) {
    const results = layers.filter((result) => result.network === network);
    if (results.length === 0) continue;
    const rows: string[][] = [];
    for (const { index, layer, measured, skipped } of results) {
      const best = fastest(measured)!;
      const share = (m: Measured) => peak && (3 * flopOf(layer).inside) / peak / median(totals(m));
      const shown = [OURS, ...FAMILIES].flatMap((family) => {
        const members = measured.filter(({ form }) => form.startsWith(family));
        const quickest = [...members].sort((a, b) => median(totals(a)) - median(totals(b)))[0];
        return quickest === undefined ? [] : [fastest(members) ?? quickest];
      });
      for (const m of shown) {
        // A first try is no round of the best one's rounds.
        const ratio = m.dropped ? median(totals(best)) / totals(m)[0]! : medianRatio(totals(best), totals(m));
        rows.push([
          m === shown[0] ? `${index + 1}: ${describeLayer(layer)}` : '',
          m.form + (m.dropped ? ' (one try)' : ''),
          milliseconds(median(m.forward)),
          milliseconds(median(m.backward)),
          milliseconds(median(totals(m))),
          times(ratio),
          percent(share(m)),
          mebibytes(m.peakBytes),
          mebibytes(m.baseline),
        ]);
      }
      for (const { form, bytes } of skipped) {
        const needs = `${(bytes / 2 ** 30).toFixed(1)} GiB: too much`;
        rows.push(['', form, '', '', '', '', '', needs, '']);
      }
      verdicts.push(judgeLayer(`${network} ${index + 1}`, measured, share(oursOf(measured))));
    }
    const { batch } = results[0]!.layer;
    print(`\n## lc, layers of ${network} (Table 3), batch ${batch}: forward, and backward with both gradients\n`);
    print(table(head, rows));
    const flop = results.map(({ layer }) => flopOf(layer));
    const giga = (which: 'inside' | 'nominal') => (flop.reduce((a, f) => a + f[which], 0) / 1e9).toFixed(2);
    print(
      `\nOne operation of all these layers is ${giga('inside')} GFLOP on taps inside the images, of which the shares of ` +
        `the peak are counted (${giga('nominal')} with those on the padding); a layer has three.`,
    );
    print(describeOthers(Math.max(...results.map(({ disturbance }) => disturbance))));
  }
  print('');
  if (peak) print(describePeak(setting));
  for (const verdict of verdicts) print(verdict);
  const mean = over.geometricMean;
  print(
    `Geometric mean over ${over.layers.length} layers: ${mean.toFixed(2)} times the best PyTorch ` +
      `(${judged(mean >= GOAL_OF_MEAN, `${GOAL_OF_MEAN}`)})`,
  );
}

const describePeak = ({ gflops }: Setting) =>
  `FMA peak: ${Math.max(...gflops).toFixed(0)} GFLOP/s in the best round, ${median(gflops).toFixed(0)} in the median one.`;

function judgeLayer(name: string, measured: readonly Measured[], share: number | undefined): string {
  const ours = oursOf(measured);
  const others = measured.filter((m) => m !== ours);
  const best = fastest(others)!;
  const ratio = timesBest(measured);
  // No formulation is the best both ways, and nobody forbids mixing them.
  const whole = others.filter(({ dropped }) => !dropped);
  const mixed = ours.forward.map(
    (_, i) => Math.min(...whole.map((m) => m.forward[i]!)) + Math.min(...whole.map((m) => m.backward[i]!)),
  );
  const met = ratio >= GOAL_OVER_PYTORCH || (share ?? 0) >= GOAL_OF_PEAK;
  const leanest = Math.min(...others.map(({ peakBytes }) => peakBytes));
  return (
    `${name}: ${ratio.toFixed(2)} times ${best.form} (${medianRatio(mixed, totals(ours)).toFixed(2)} times the best ` +
    `forward and the best backward together), ${percent(share) || 'an unknown share'} of the FMA peak ` +
    `(${judged(met, `${GOAL_OVER_PYTORCH} or ${GOAL_OF_PEAK * 100} %`)}); ${mebibytes(ours.peakBytes)}, the leanest ` +
    `PyTorch ${mebibytes(leanest)} (${judged(ours.peakBytes < leanest, 'less')})`
  );
}

/** Steps */

type Rule = 'bp' | 'fa';

const STEP_FORMS = { cortorch: 'cortorch', eager: 'PyTorch eager', compile: 'torch.compile' } as const;
type StepForm = keyof typeof STEP_FORMS;

interface StepResult {
  readonly network: NetworkName;
  readonly rule: Rule;
  readonly formulations: readonly Formulation[];
  readonly sides: readonly { form: StepForm; seconds: readonly number[]; peakBytes: number }[];
  /** GB/s, of every round. */
  readonly bandwidth: readonly number[];
  readonly disturbance: number;
}

async function measureSteps(
  setting: Setting,
  network: NetworkName,
  rule: Rule,
  batch: number,
  formulations: readonly Formulation[],
  bandwidth: Side | null,
): Promise<StepResult> {
  const { threads, python, peak } = setting;
  const unit = STEP_UNITS[network]!;
  const local = layersOf(network, batch).map((layer, i) => ({ formulation: formulations[i], layer }));
  const dense = denseOf(network).slice(1);
  const sides: { form: StepForm; side: Side; count: number }[] = [];
  for (const form of Object.keys(STEP_FORMS) as StepForm[]) {
    note(`Starting a step of ${network}-lc, ${rule}: ${STEP_FORMS[form]}`);
    const command =
      form === OURS
        ? ourSteps({ preset: `${network}-lc`, rule, threads, batch, unit })
        : ([python, besideThis('lc_steps.py'), JSON.stringify({ form, rule, threads, local, dense })] as const);
    try {
      const { side, ready, count } = await startSteps(`${STEP_FORMS[form]}, ${rule}`, command, {
        threads,
        seconds: setting.seconds,
        unit: form === OURS ? unit : 1,
      });
      const { parameters, version } = ready;
      if (version !== undefined) setting.versions.torch = version as string;
      if (parameters !== undefined && parameters !== parametersOf(network)) {
        throw new Error(`it has ${parameters as number} parameters, not ${parametersOf(network)}`);
      }
      sides.push({ form, side, count });
    } catch (error) {
      if (form !== 'compile') throw error; // which may not know how
      note(`  left out: ${(error as Error).message}`);
    }
  }
  const pieces = new Map<string, () => Promise<number>>();
  for (const { form, side, count } of sides) {
    pieces.set(form, () => secondsOfStep({ side, count }));
  }
  if (peak) pieces.set('peak', async () => Number((await peak.ask('')).gflops));
  if (bandwidth) pieces.set('bandwidth', async () => Number((await bandwidth.ask('')).gbps));
  const gauges = [peak, bandwidth].filter((side) => side !== null);
  const { results, disturbance } = await measureRounds(
    `${network}-lc, ${rule}`,
    { warmUp: 1, rounds: setting.rounds },
    pieces,
    [...sides.map(({ side }) => side), ...gauges],
  );
  setting.gflops.push(...(results.get('peak') ?? []));
  const measured = [];
  for (const { form, side } of sides) {
    measured.push({ form, seconds: results.get(form)!, peakBytes: await memoryOf(side) });
  }
  await Promise.all(sides.map(({ side }) => side.close()));
  const gbps = results.get('bandwidth') ?? [];
  return { network, rule, formulations, sides: measured, bandwidth: gbps, disturbance };
}

function reportSteps(steps: readonly StepResult[], setting: Setting, batch: number): void {
  const peak = peakOf(setting);
  const all = steps.flatMap(({ bandwidth }) => bandwidth);
  if (steps.length === 0) return;
  const gbps = all.length > 0 ? Math.max(...all) : undefined;
  const floors = new Map(
    NETWORKS.map((name) => [
      name,
      peak && gbps ? flopOfStep(name, batch) / peak + bytesOfAdam(name) / (gbps * 1e9) : undefined,
    ]),
  );
  const rows: string[][] = [];
  const verdicts: string[] = [];
  for (const { network, rule, sides, formulations } of steps) {
    const floor = floors.get(network);
    const ours = sides.find(({ form }) => form === OURS);
    const best = sides.filter(({ form }) => form !== OURS).sort((a, b) => median(a.seconds) - median(b.seconds))[0]!;
    for (const { form, seconds, peakBytes } of sides) {
      rows.push([
        `${network}-lc, ${rule}`,
        STEP_FORMS[form],
        milliseconds(median(seconds)),
        milliseconds(Math.min(...seconds)),
        Math.round(batch / median(seconds)).toLocaleString('en-US'),
        times(medianRatio(best.seconds, seconds)),
        percent(floor && floor / median(seconds)),
        mebibytes(peakBytes),
      ]);
    }
    if (floor) rows.push([`${network}-lc, ${rule}`, 'floor', milliseconds(floor), '', '', '', '100 %', '']);
    if (!ours) continue;
    const ratio = medianRatio(best.seconds, ours.seconds);
    const share = floor && floor / median(ours.seconds);
    const met = ratio >= GOAL_OF_STEP || (share ?? 0) >= GOAL_OF_FLOOR;
    verdicts.push(
      `${network}-lc, ${rule}: ${ratio.toFixed(2)} times ${STEP_FORMS[best.form]} (layers by ${formulations.join(', ')}), ` +
        `${percent(share) || 'an unknown share'} of the floor (${judged(met, `${GOAL_OF_STEP} or ${GOAL_OF_FLOOR * 100} %`)})`,
    );
  }
  print(`\n## lc, a training step, batch ${batch}, Adam\n`);
  print(
    table(['', versionsOf(setting), 'ms/step', 'min', 'images/s', 'vs best PyTorch', 'of the floor', 'peak RSS'], rows),
  );
  print('');
  if (peak && gbps) {
    print(describePeak(setting));
    print(`Memory: ${gbps.toFixed(1)} GB/s read and written in the best round.`);
    for (const name of new Set(steps.map(({ network }) => network))) {
      print(
        `A step of ${name}-lc is ${(flopOfStep(name, batch) / 1e9).toFixed(2)} GFLOP (taps inside the images) and Adam's ` +
          `${(bytesOfAdam(name) / 1e6).toFixed(0)} MB: 28 bytes for each of ${parametersOf(name).toLocaleString('en-US')} parameters.`,
      );
    }
  }
  for (const verdict of verdicts) print(verdict);
  print(describeOthers(Math.max(...steps.map(({ disturbance }) => disturbance))));
}

if (options.help) {
  console.log(USAGE);
} else {
  await main();
}
