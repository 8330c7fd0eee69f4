/**
 * `npm run bench -- checkpoint`: opening a checkpoint of a gibibyte and reading one tensor of 4 MiB, beside
 * `torch.load(path, mmap=True, weights_only=True)`: time, and by how much the resident memory's peak grows. Every
 * measurement is a process of its own, which has opened a small checkpoint before; the file lies in the system's cache
 * for both sides.
 */
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { convert } from '../lib/cli/convert.js';
import {
  besideThis,
  findPython,
  mebibytes,
  median,
  note,
  numberOf,
  printer,
  SHARED_USAGE,
  sharedOptions,
  table,
} from './harness.js';

const TENSORS = 256;
const SIDE = 1024;
/** In the middle of the file. */
const CHOSEN = TENSORS / 2;

const USAGE = `npm run bench -- checkpoint [--rounds N] [--json]

  --rounds    measurements of each side (default 5)
${SHARED_USAGE}`;

const { values: options } = parseArgs({ options: sharedOptions });
const print = printer(options);

interface Reading {
  readonly ms: number;
  readonly bytes: number;
  readonly sum: number;
}

const run = (command: string, args: readonly string[]): Reading => {
  const reading = JSON.parse(
    execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }),
  ) as Reading;
  if (reading.sum !== CHOSEN * SIDE * SIDE) throw new Error(`${args.join(' ')} read ${reading.sum}`);
  return reading;
};

async function main(): Promise<void> {
  if (options.help) {
    print(USAGE);
    return;
  }
  const rounds = numberOf('rounds', options.rounds ?? '5', { whole: true });
  const python = findPython();
  if (python === null) throw new Error('no python3 with torch: name one with CORTORCH_PYTHON');
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'cortorch-bench-'));
  try {
    const script = besideThis('checkpoint_pytorch.py');
    execFileSync(python, [script, 'write', folder, String(TENSORS), String(SIDE)]);
    const at = (name: string): string => path.join(folder, name);
    await convert({}, at('large.pt'), at('large.safetensors'));
    const name = `layers.${CHOSEN}.weight`;
    const own = (file: string) => () => run(process.execPath, [besideThis('checkpoint-read.mjs'), at(file), name]);
    const sides = new Map<string, () => Reading>([
      ['torch.load(mmap=True), .pt', () => run(python, [script, 'read', at('large.pt'), name])],
      ['cortorch, .pt', own('large.pt')],
      ['cortorch, .pt of before 1.6', own('large-legacy.pt')],
      ['cortorch, .safetensors', own('large.safetensors')],
    ]);
    const readings = new Map([...sides.keys()].map((side) => [side, [] as Reading[]]));
    for (let round = 0; round < rounds; round++) {
      for (const [side, read] of sides) readings.get(side)!.push(read());
    }
    const base = readings.get('torch.load(mmap=True), .pt')!;
    const rows = [...readings].map(([side, all]) => [
      side,
      `${median(all.map(({ ms }) => ms)).toFixed(1)} ms`,
      median(all.map(({ ms }, i) => base[i]!.ms / ms)).toFixed(2),
      mebibytes(median(all.map(({ bytes }) => bytes))),
    ]);
    print(table(['', 'time', "PyTorch's time is … times", 'peak memory grows by'], rows));
    if (options.json) process.stdout.write(`${JSON.stringify(Object.fromEntries(readings))}\n`);
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
}

await main().catch((error: unknown) => {
  note((error as Error).message);
  process.exitCode = 1;
});
