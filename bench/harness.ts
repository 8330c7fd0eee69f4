/**
 * Measuring several programs side by side: each is a process that lives as long as the benchmark and does a piece
 * of work for each line on its stdin. The pieces are interleaved (A B C A B C …), so that a machine that gets
 * slower or faster on the way does so for all of them, and every comparison is made within a round.
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ParseArgsConfig } from 'node:util';
import { packageRoot } from '../scripts/paths.mjs';
import { readRecord } from '../scripts/record.mjs';

export type Reply = Record<string, unknown>;

/** Of every benchmark, for parseArgs. */
export const sharedOptions = {
  threads: { type: 'string', default: String(os.availableParallelism()) },
  rounds: { type: 'string' },
  /** Of one measurement. */
  seconds: { type: 'string' },
  only: { type: 'string' },
  out: { type: 'string' },
  json: { type: 'boolean', default: false },
  help: { type: 'boolean', default: false },
} as const satisfies ParseArgsConfig['options'];

export const SHARED_USAGE = `  --out       where the single measurements go as JSON (default .cache/bench/NAME.json)
  --json      the same on stdout, as one line; the tables go to stderr
  --help      this

PyTorch is run by the Python that CORTORCH_PYTHON names, or by python3, which need not have a torch of its own where
cortorch was built on a whole one.
`;

/** An option that is a positive number, or a whole one. Wrong usage ends the program. */
export function numberOf(name: string, text: string, { whole = true } = {}): number {
  const value = Number(text);
  if (value > 0 && (!whole || Number.isInteger(value))) return value;
  return wrongUsage(`expected a positive ${whole ? 'whole ' : ''}number for --${name} but received ${text}`);
}

/** An option that is one of a few words, or absent. */
export function wordOf<T extends string>(name: string, text: string | undefined, words: readonly T[]): T | undefined {
  const found = words.find((word) => word === text);
  if (text === undefined || found !== undefined) return found;
  return wrongUsage(`expected ${words.join(' or ')} for --${name} but received ${text}`);
}

function wrongUsage(message: string): never {
  note(message);
  process.exit(2);
}

export const note = (text: string) => void process.stderr.write(`${text}\n`);
export const besideThis = (name: string) => path.join(import.meta.dirname, name);

/** A process that answers each line on stdin with one line of JSON on stdout. */
export class Side {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;
  readonly #reader: Interface;
  readonly #ended: Promise<void>;
  #errors = '';

  constructor(
    readonly name: string,
    command: string,
    args: readonly string[],
    env: NodeJS.ProcessEnv = {},
  ) {
    this.#child = spawn(command, args, { env: { ...process.env, ...env }, stdio: ['pipe', 'pipe', 'pipe'] });
    this.#child.on('error', (error) => (this.#errors += error.message));
    this.#ended = new Promise((resolve) => {
      this.#child.once('exit', () => resolve());
      this.#child.once('error', () => resolve()); // it never began
    });
    this.#child.stdin!.on('error', () => undefined); // it died; read() says so
    this.#child.stderr!.on('data', (text: Buffer) => (this.#errors = (this.#errors + text.toString()).slice(-4000)));
    this.#reader = createInterface(this.#child.stdout!);
    this.#lines = this.#reader[Symbol.asyncIterator]();
  }

  /** The next line that it says of its own accord. */
  async read(): Promise<Reply> {
    const next = await this.#lines.next();
    if (next.done) throw new Error(`${this.name} ended: ${this.#errors.trim() || 'it said nothing'}`);
    return JSON.parse(next.value) as Reply;
  }

  async ask(line: string): Promise<Reply> {
    this.#child.stdin!.write(`${line}\n`);
    return this.read();
  }

  get pid(): number {
    return this.#child.pid!;
  }

  /** Resolves when the process is gone, and its memory with it. */
  async close(): Promise<void> {
    this.#child.stdin!.end();
    this.#reader.close();
    await this.#ended;
  }
}

/** Between two pieces of work: OpenMP threads spin for a moment before they sleep. */
const PAUSE_MS = 40;

/**
 * Runs every piece of work once a round.
 *
 * @returns for each piece of work what it gave, round by round
 */
export async function interleave(
  what: string,
  rounds: number,
  work: ReadonlyMap<string, () => Promise<number>>,
): Promise<Map<string, number[]>> {
  const results = new Map([...work.keys()].map((name) => [name, [] as number[]]));
  const names = [...work.keys()];
  for (let round = 0; round < rounds; round++) {
    process.stderr.write(`\r${what}: round ${round + 1} of ${rounds} `);
    // Everyone comes first once in a while: the first piece follows another one than the rest.
    const order = names.map((_, i) => names[(i + round) % names.length]!);
    for (const name of order) {
      await sleep(PAUSE_MS);
      results.get(name)!.push(await work.get(name)!());
    }
  }
  process.stderr.write('\n');
  return results;
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** Median over the rounds of a / b. */
export const medianRatio = (a: readonly number[], b: readonly number[]): number =>
  median(a.map((value, round) => value / b[round]!));

/** What is said where PyTorch's sides may be missing. */
export const NO_PYTHON = 'No Python that can import torch (CORTORCH_PYTHON names one): PyTorch is left out.';

/**
 * A Python that has torch: CORTORCH_PYTHON, or the one on the PATH. One without torch gets the package that cortorch
 * was built on, if that is a whole one (a wheel's, as in the cache) and not the libraries alone. That comes last: a
 * torch that somebody installed has all that it needs around it, such as what torch.compile imports. It is put on this
 * process's PYTHONPATH, which every side inherits.
 */
export function findPython(): string | null {
  const wish = process.env.CORTORCH_PYTHON;
  const candidates = wish ? [wish] : ['python3', 'python'];
  const works = (python: string) => spawnSync(python, ['-c', 'import torch']).status === 0;
  const found = candidates.find(works);
  if (found !== undefined) return found;
  if (wish) throw new Error(`CORTORCH_PYTHON is ${wish}, which cannot import torch`);

  const { PYTHONPATH: before } = process.env;
  const built = readRecord()?.path;
  if (built === undefined || !fs.existsSync(path.join(built, '__init__.py'))) return null;
  process.env.PYTHONPATH = [path.dirname(built), ...(before ? [before] : [])].join(path.delimiter);
  const withBuilt = candidates.find(works);
  if (withBuilt !== undefined) return withBuilt;
  if (before === undefined) delete process.env.PYTHONPATH;
  else process.env.PYTHONPATH = before;
  return null;
}

/** Compiles a C++ program of one file for this machine alone; null if there is no compiler. */
export function compileHere(source: string): string | null {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'cortorch-bench-'));
  process.once('exit', () => fs.rmSync(folder, { recursive: true, force: true }));
  const program = path.join(folder, path.basename(source, '.cpp'));
  const flags = ['-std=gnu++20', '-O3', '-march=native', '-pthread', source, '-o', program];
  const compilers = process.env.CXX ? [process.env.CXX] : ['g++', 'c++', 'clang++'];
  const found = compilers.some((compiler) => spawnSync(compiler, flags).status === 0);
  return found ? program : null;
}

/** A program that measures the machine itself, from its source; null, and a note, without a compiler. */
export function startGauge(source: string, what: string, threads: number): Side | null {
  const program = compileHere(besideThis(source));
  if (program === null) note(`No C++ compiler: ${what} is left out.`);
  return program === null ? null : new Side(path.basename(source, '.cpp'), program, [String(threads)]);
}

/** Seconds of processor time that everyone has used since the machine started. */
function busySeconds(): number {
  const times = os.cpus().map((cpu) => cpu.times);
  return times.reduce((sum, { user, nice, sys, irq }) => sum + user + nice + sys + irq, 0) / 1000;
}

/** Seconds of processor time that a process has used; a tick is 10 ms on Linux. */
function secondsOf(pid: number): number {
  const fields = fs
    .readFileSync(`/proc/${pid}/stat`, 'utf8')
    .replace(/^.*\) /, '')
    .split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

/** How much of the processor others use from now on, as a share of all its cores. */
export function watchOthers(sides: readonly Side[]): () => number {
  const pids = [process.pid, ...sides.map((side) => side.pid)];
  const others = () => busySeconds() - pids.reduce((sum, pid) => sum + secondsOf(pid), 0);
  const before = others();
  const start = performance.now();
  return () => (others() - before) / ((performance.now() - start) / 1000) / os.cpus().length;
}

/** Share of the processor that other programs may use in a run whose numbers count. */
const QUIET = 0.02;

export const describeOthers = (disturbance: number) =>
  `Other programs used ${(disturbance * 100).toFixed(1)} % of the processor` +
  (disturbance > QUIET ? ': TOO MUCH, these numbers do not count.' : '.');

/** What is said of a goal. */
export const judged = (met: boolean, goal: string) => `goal ${goal}: ${met ? 'met' : 'MISSED'}`;

export const times = (ratio: number | undefined) => (ratio === undefined ? '' : `${ratio.toFixed(2)} ×`);
export const percent = (share: number | undefined) => (share === undefined ? '' : `${(share * 100).toFixed(1)} %`);
export const mebibytes = (bytes: number | undefined) =>
  bytes === undefined ? '' : `${Math.round(bytes / 2 ** 20)} MiB`;

/** Writes all measurements to a file, and with --json to stdout; says what they were made on. */
export function finish(
  name: string,
  options: { readonly out?: string | undefined; readonly json: boolean },
  versions: { readonly cortorch: string; readonly torch: string },
  threads: number,
  results: object,
): void {
  const here = machine();
  const all = { machine: here, versions, threads, ...results };
  const file = path.resolve(packageRoot, options.out ?? `.cache/bench/${name}.json`);
  fs.mkdirSync(path.dirname(file), { recursive: true });
  fs.writeFileSync(file, JSON.stringify(all, null, 1));
  printer(options)(
    `\n${here.cpu}, ${here.cores} cores, ${threads} threads; ` +
      `Node ${here.node}, libtorch ${versions.cortorch}, ${versions.torch}; ${here.date}`,
  );
  note(`Every measurement is in ${path.relative(process.cwd(), file)}`);
  if (options.json) process.stdout.write(`${JSON.stringify(all)}\n`);
}

/** Where text for people goes. */
export const printer = (options: { readonly json: boolean }) => (text: string) =>
  options.json ? note(text) : void process.stdout.write(`${text}\n`);

/** The machine in words. */
export function machine() {
  const cpus = os.cpus();
  // A virtual machine may hide the model's name, but not its family.
  const info = fs.existsSync('/proc/cpuinfo') ? fs.readFileSync('/proc/cpuinfo', 'utf8') : '';
  const field = (name: string) => new RegExp(`^${name}\\s*: (.*)$`, 'm').exec(info)?.[1];
  const widest = ['avx512f', 'avx2', 'avx'].find((flag) => field('flags')?.split(' ').includes(flag));
  return {
    cpu: `${cpus[0]?.model.trim()} (family ${field('cpu family')}, model ${field('model')}, ${widest})`,
    cores: cpus.length,
    memoryGiB: Math.round(os.totalmem() / 2 ** 30),
    node: process.version,
    date: new Date().toISOString().slice(0, 10),
  };
}

/** A table in Markdown, aligned; every column but the first two is of numbers. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((title, i) => Math.max(title.length, ...rows.map((row) => row[i]!.length)));
  const text = (cells: readonly string[]) =>
    `| ${cells.map((cell, i) => (i < 2 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join(' | ')} |`;
  const rule = `| ${widths.map((width, i) => (i < 2 ? '-'.repeat(width) : `${'-'.repeat(width - 1)}:`)).join(' | ')} |`;
  return [text(head), rule, ...rows.map(text)].join('\n');
}
