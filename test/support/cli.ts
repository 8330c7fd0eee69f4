/** The command line as a process of its own, and a data set small enough to learn in a moment. */
import { spawn, type ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { packageRoot } from '../../scripts/build.mjs';

const tsx = path.join(packageRoot, 'node_modules/tsx/dist/esm/index.mjs');

/** As bin/cortorch.js does it, but from the sources. */
const script = (module: string): string =>
  `import { main } from ${JSON.stringify(path.resolve(packageRoot, module))};
   process.exitCode = await main(process.argv.slice(1));`;

export interface Finished {
  /** null: ended by a signal */
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
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

export interface Running {
  readonly process: ChildProcess;
  readonly finished: Promise<Finished>;
  /** Resolves when stdout and stderr together match; rejects if the process ends before. */
  seen(pattern: RegExp): Promise<void>;
}

export interface CliOptions {
  readonly cwd?: string;
  readonly env?: Record<string, string>;
  /** A module with main(args), in place of lib/cli/main.ts. */
  readonly module?: string;
  /** Shell commands before it, such as `ulimit`. */
  readonly shell?: string;
}

/** Starts `cortorch ARGS`. */
export function start(args: readonly string[], options: CliOptions = {}): Running {
  const { cwd, env, module = 'lib/cli/main.ts', shell } = options;
  // tap has every process load its hooks: slower, and they end it at signals that a user's process survives.
  const node = ['env', '-u', 'NODE_OPTIONS', process.execPath, '--import', tsx];
  const command = [...node, '--input-type=module', '-e', script(module), '--', ...args];
  const [program, ...rest] = shell === undefined ? command : ['bash', '-c', `${shell}; exec "$@"`, '-', ...command];
  const child = spawn(program!, rest, {
    cwd,
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const output = { stdout: '', stderr: '' };
  const waiting = new Set<() => void>();
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (text: string) => {
      output[name] += text;
      for (const look of waiting) look();
    });
  }
  const finished = new Promise<Finished>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ code, signal, ...output, lines: parseLines(output.stdout) }));
  });
  const seen = (pattern: RegExp): Promise<void> =>
    new Promise((resolve, reject) => {
      const look = (): void => {
        if (!pattern.test(output.stdout + output.stderr)) return;
        waiting.delete(look);
        resolve();
      };
      waiting.add(look);
      look();
      void finished.then(() => reject(new Error(`it ended without ${pattern}: ${output.stdout}${output.stderr}`)));
    });
  return { process: child, finished, seen };
}

/** Runs `cortorch ARGS` to its end. */
export const cortorch = (args: readonly string[], options?: CliOptions): Promise<Finished> =>
  start(args, options).finished;

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
    fs.writeFileSync(path.join(folder, `${name}-images-idx3-ubyte`), idx([count, SIDE, SIDE], images));
    fs.writeFileSync(path.join(folder, `${name}-labels-idx1-ubyte`), idx([count], labels));
  }
  return folder;
}

/** An IDX file of bytes. */
export function idx(shape: readonly number[], data: Buffer): Buffer {
  const header = Buffer.alloc(4 + 4 * shape.length);
  header[2] = 0x08;
  header[3] = shape.length;
  shape.forEach((size, i) => header.writeUInt32BE(size, 4 + 4 * i));
  return Buffer.concat([header, data]);
}

/** A network of one hidden layer on those images. */
export const smallSpec = {
  input: [1, SIDE, SIDE],
  layers: [{ type: 'flatten' }, { type: 'dense', units: 32, activation: 'tanh' }, { type: 'dense', units: 10 }],
  loss: 'softmax-cross-entropy',
};

/** A digest of each parameter: comparing those is quick, and a difference is short to read. */
export function digests(parameters: ReadonlyMap<string, { readonly data: Float32Array }>): Record<string, string> {
  const digest = ({ buffer, byteOffset, byteLength }: Float32Array): string =>
    createHash('sha256')
      .update(Buffer.from(buffer, byteOffset, byteLength))
      .digest('hex');
  return Object.fromEntries([...parameters].map(([name, { data }]) => [name, digest(data)]));
}

/** What a run's folder holds, sorted, without TensorBoard's event files: each start of a run writes one of its own. */
export const runFiles = (folder: string): string[] =>
  fs
    .readdirSync(folder)
    .filter((name) => !name.startsWith('events.out.tfevents.'))
    .sort();
