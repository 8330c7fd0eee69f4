/** The command line as a process of its own, and a data set small enough to learn in a moment. */
import fs from 'node:fs';
import path from 'node:path';
import { packageRoot } from '../../scripts/paths.mjs';
import { BYTES, idx } from './idx.js';
import { nodeCommand, startProcess, type Child, type Ended } from './processes.js';

/** What is built, as a user has it: a start from the sources, through tsx, would take a second more. */
const CORTORCH = [process.execPath, path.join(packageRoot, 'bin/cortorch.cjs')];

/** The command line of another module with main(args). */
const commandOf = (module: string): string[] =>
  nodeCommand(
    `import { main } from ${JSON.stringify(path.resolve(packageRoot, module))};
     process.exitCode = await main(process.argv.slice(1));`,
  );

export interface Finished extends Ended {
  /** The lines of stdout. */
  readonly lines: readonly Line[];
}

/** What an epoch or an evaluation gives. */
type Scores = {
  readonly loss: number;
  readonly error: number;
  readonly error5: number | null;
  readonly inverseLoss: number;
};

/** A line of --json: each type of line has some of these fields, and others. */
export interface Line {
  readonly type: string;
  readonly epoch: number;
  readonly train: Scores;
  readonly validation: Scores;
  readonly test: Scores;
  readonly best: { readonly epoch: number; readonly validation: Scores; readonly test: Scores };
  readonly error: number;
  readonly imagesPerSecond: number;
  readonly waiting: number;
  readonly config: Readonly<Record<string, unknown>>;
  readonly layers: readonly { readonly name: string; readonly gradientAngle: number }[];
  readonly cells: readonly unknown[];
  readonly [field: string]: unknown;
}

export type Running = Child<Finished>;

export interface CliOptions {
  readonly cwd?: string;
  readonly env?: Record<string, string>;
  /** A module with main(args), in place of `cortorch`. */
  readonly module?: string;
  /** Shell commands before it, such as `ulimit`. */
  readonly shell?: string;
}

/** Starts `cortorch ARGS`. */
export function start(args: readonly string[], options: CliOptions = {}): Running {
  const { cwd, env, module, shell } = options;
  const command = [...(module === undefined ? CORTORCH : commandOf(module)), ...args];
  const [program, ...rest] = shell === undefined ? command : ['bash', '-c', `${shell}; exec "$@"`, '-', ...command];
  const { finished, ...child } = startProcess(program!, rest, { cwd, env });
  return { ...child, finished: finished.then((ended) => ({ ...ended, lines: parseLines(ended.stdout) })) };
}

/** Runs `cortorch ARGS` to its end. */
export const cortorch = (args: readonly string[], options?: CliOptions): Promise<Finished> =>
  start(args, options).finished;

/** The same for what has to succeed: anything else is an error. */
export async function succeedCortorch(args: readonly string[]): Promise<Finished> {
  const finished = await cortorch(args);
  if (finished.code === 0) return finished;
  throw new Error(`cortorch ${args.join(' ')} ended with ${finished.signal ?? finished.code}: ${finished.stderr}`);
}

function parseLines(stdout: string): Line[] {
  return stdout
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as Line);
}

/** The lines of a run's metrics.jsonl. */
export const metricsOf = (run: string): Line[] => parseLines(fs.readFileSync(path.join(run, 'metrics.jsonl'), 'utf8'));

/** A line without what differs from one run to the next. */
export function timeless(line: Line): Line {
  const { seconds: _, evaluationSeconds: __, imagesPerSecond: ___, waiting: ____, ...rest } = line;
  return rest as Line;
}

/** Side of the images. */
const SIDE = 28;

/**
 * Writes a data set of MNIST's form that a small network learns at once: noise, with a bright bar whose place is
 * the class.
 *
 * @returns the folder
 */
export function writeTinyData(folder: string, { train = 600, test = 200 } = {}): string {
  fs.mkdirSync(folder, { recursive: true });
  for (const [name, count] of [
    ['train', train],
    ['t10k', test],
  ] as const) {
    const images = Buffer.alloc(count * SIDE * SIDE);
    const labels = Buffer.alloc(count);
    let noise = count; // a linear congruential generator: the same data each time
    for (let i = 0; i < count; i++) {
      labels[i] = i % 10;
      for (let p = 0; p < SIDE * SIDE; p++) {
        noise = (Math.imul(noise, 1664525) + 1013904223) >>> 0;
        const bar = Math.floor(p / SIDE) === 2 * labels[i]! + 4;
        images[i * SIDE * SIDE + p] = (noise >>> 26) + (bar ? 120 : 0);
      }
    }
    fs.writeFileSync(path.join(folder, `${name}-images-idx3-ubyte`), idx(BYTES, [count, SIDE, SIDE], images));
    fs.writeFileSync(path.join(folder, `${name}-labels-idx1-ubyte`), idx(BYTES, [count], labels));
  }
  return folder;
}

/** A network of one hidden layer on those images. */
export const smallSpec = {
  input: [1, SIDE, SIDE],
  layers: [{ type: 'flatten' }, { type: 'dense', units: 32, activation: 'tanh' }, { type: 'dense', units: 10 }],
  loss: 'softmax-cross-entropy',
};

/** What a run's folder holds, sorted, without TensorBoard's event files: each start of a run writes one of its own. */
export const runFiles = (folder: string): string[] =>
  fs
    .readdirSync(folder)
    .filter((name) => !name.startsWith('events.out.tfevents.'))
    .sort();
