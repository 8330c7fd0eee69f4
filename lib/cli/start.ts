/** `npm start`: the paper's MNIST network learns by backpropagation and by its rivals. */

import { mnist } from '../data/index.js';
import { CortorchError } from '../errors.js';
import { Network } from '../model/network.js';
import { preset } from '../model/presets.js';
import { paper, trainerDefaults } from '../training/hyperparameters.js';
import type { EpochEvent } from '../training/events.js';
import { Trainer } from '../training/trainer.js';
import { holdOut } from './data.js';
import { integer, percent, plural } from '../format.js';
import { EXIT_INTERRUPTED, Interrupt } from './interrupt.js';
import { Progress } from './progress.js';
import { table } from './table.js';

const MODEL = 'mnist-fc';
const SEED = 1;
const VALIDATION = 5000;

/** With the cell of the paper that each is compared with. */
const RULES = {
  bp: { title: 'backpropagation', cell: 'bp' },
  fa: { title: 'feedback alignment', cell: 'fa' },
  dfa: { title: 'direct feedback alignment', cell: 'dfa' },
  dtp: { title: 'difference target propagation', cell: 'dtp parallel' },
} as const;
type RuleName = keyof typeof RULES;

/**
 * @param args `--epochs N`, or nothing
 * @returns the exit code
 */
export async function main(args: readonly string[]): Promise<number> {
  const epochs = args.length === 0 ? 5 : args.length === 2 && args[0] === '--epochs' ? Number(args[1]) : NaN;
  if (!Number.isSafeInteger(epochs) || epochs < 1) {
    console.error('npm start takes no arguments, or: npm start -- --epochs N');
    return 2;
  }
  const progress = new Progress();
  using interrupt = new Interrupt((text) => progress.line(text));
  try {
    const rows = await compareRules(epochs, progress, interrupt.signal);
    progress.line();
    console.log(summary(rows, epochs));
    return 0;
  } catch (error) {
    progress.clear();
    if (!(error instanceof CortorchError)) throw error;
    if (error.code === 'ERR_ABORTED') return EXIT_INTERRUPTED;
    console.error(`cortorch: [${error.code}] ${error.message}`);
    return 1;
  }
}

interface Row {
  readonly rule: RuleName;
  readonly last: EpochEvent;
  /** Of all training passes. */
  readonly seconds: number;
  readonly images: number;
}

async function compareRules(epochs: number, progress: Progress, signal: AbortSignal): Promise<Row[]> {
  const spec = preset(MODEL);
  const data = holdOut(await mnist(), VALIDATION, SEED);
  const rows: Row[] = [];
  for (const rule of Object.keys(RULES) as RuleName[]) {
    using network = new Network(spec, { rule, seed: SEED });
    if (rows.length === 0) {
      progress.line(
        `${MODEL} (${integer(network.parameterCount)} parameters) learns MNIST by four rules, ` +
          `${plural(epochs, 'epoch')} each, on ${plural(network.threads, 'thread')}`,
      );
    }
    const trainer = new Trainer(network, { ...trainerDefaults(MODEL, rule), seed: SEED });
    const label = rule.padEnd(4);
    const passes: EpochEvent[] = [];
    for await (const event of trainer.fit(data.train, { epochs, test: data.test, signal })) {
      if (event.type === 'progress') progress.update(event, label);
      if (event.type !== 'epoch') continue;
      passes.push(event);
      const { epoch, train, test, imagesPerSecond } = event;
      const errors = `error: train ${percent(train.error)}, test ${percent(test!.error)}`;
      progress.line(`${label} epoch ${epoch}/${epochs}  ${errors}  ${integer(imagesPerSecond)} images/s`);
    }
    const seconds = passes.reduce((sum, pass) => sum + pass.seconds, 0);
    rows.push({ rule, last: passes.at(-1)!, seconds, images: epochs * data.train.size });
  }
  return rows;
}

function summary(rows: readonly Row[], epochs: number): string {
  const drawn = table(
    [
      { title: 'rule' },
      { title: '' },
      { title: 'test error here', align: 'right' },
      { title: 'in the paper', align: 'right' },
      { title: 'seconds', align: 'right' },
      { title: 'images/s', align: 'right' },
    ],
    rows.map(({ rule, last, seconds, images }) => [
      rule,
      RULES[rule].title,
      percent(last.test!.error),
      percent(paper[MODEL]!.results[RULES[rule].cell]!.test / 100),
      seconds.toFixed(1),
      integer(images / seconds),
    ]),
  );
  const trained = integer(rows[0]!.images / epochs);
  return `${drawn}
 here: after ${plural(epochs, 'epoch')} on ${trained} images (${integer(VALIDATION)} more are held out), seed ${SEED}
 in the paper: the best of 500 epochs, chosen on the test set (Bartunov et al. 2018, Table 1; dtp: parallel)
 seconds, images/s: the training passes alone, evaluation and loading not counted

Next: npx cortorch train --dataset mnist --model ${MODEL} --rule dtp --epochs 50 --out runs/dtp
      npx cortorch --help`;
}
