/**
 * `npm run bench -- loader`: images a second from JPEG files to batches of 224×224 random crops, from class folders and
 * from tar shards, beside torchvision's ImageFolder with a DataLoader (Pillow, and libjpeg-turbo through
 * torchvision.io), and beside sharp alone. On one core and on all. Every measurement is a process of its own, which has
 * read all images once before; the files lie in the system's cache for all sides.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import sharp from 'sharp';
import { listImages } from '../lib/data/images/folders.js';
import { packImages } from '../lib/data/images/pack.js';
import {
  besideThis,
  findPython,
  judged,
  median,
  medianRatio,
  note,
  numberOf,
  percent,
  printer,
  SHARED_USAGE,
  sharedOptions,
  table,
  times,
} from './harness.js';

const USAGE = `npm run bench -- loader [--data-dir DIR] [--images N] [--batch N] [--rounds N] [--json]

  --data-dir  class folders of JPEGs (default: photograph-like ones that are made for the purpose)
  --images    of those that are made (default 600)
  --batch     (default 64)
  --rounds    measurements of each side (default 3)
${SHARED_USAGE}`;

const { values: options } = parseArgs({
  options: {
    ...sharedOptions,
    'data-dir': { type: 'string' },
    images: { type: 'string', default: '600' },
    batch: { type: 'string', default: '64' },
  },
});
const print = printer(options);
const CORES = os.availableParallelism();

/** Images as large as ImageNet's are in the middle, 500×375 and about 110 kB: clouds of every size, and fine noise. */
async function makeImages(dir: string, count: number): Promise<void> {
  for (let i = 0; i < count; i++) {
    const layers = await Promise.all(
      [5, 20, 80].map(async (width) => {
        const height = Math.round(0.75 * width);
        const noise = Buffer.from(Uint8Array.from({ length: 3 * width * height }, () => 256 * Math.random()));
        const cloud = sharp(noise, { raw: { width, height, channels: 3 } }).resize(500, 375);
        return { input: await cloud.ensureAlpha(0.5).png().toBuffer() };
      }),
    );
    const grain = Buffer.from(Uint8Array.from({ length: 3 * 500 * 375 }, () => 118 + 20 * Math.random()));
    const image = sharp(grain, { raw: { width: 500, height: 375, channels: 3 } }).composite(layers);
    const folder = path.join(dir, `class${i % 10}`);
    fs.mkdirSync(folder, { recursive: true });
    fs.writeFileSync(path.join(folder, `${i}.jpg`), await image.jpeg({ quality: 95 }).toBuffer());
  }
}

interface Reading {
  readonly rate: number;
  readonly loop?: number;
}

/** Runs a program on so many cores. */
function run(cores: number, command: string, args: readonly string[]): Reading {
  const pinned = cores < CORES ? ['taskset', '-c', cores === 1 ? '0' : `0-${cores - 1}`] : ['env'];
  const env = { ...process.env, UV_THREADPOOL_SIZE: String(Math.max(cores, 4)) };
  const [program, ...rest] = [...pinned, command, ...args] as [string, ...string[]];
  const stdio = ['ignore', 'pipe', 'inherit'] as const;
  return JSON.parse(execFileSync(program, rest, { encoding: 'utf8', stdio: [...stdio], env })) as Reading;
}

function measure(dir: string, shards: string, rounds: number, batch: string): void {
  const python = findPython();
  const hasVision = python !== null && spawnSync(python, ['-c', 'import torchvision']).status === 0;
  if (!hasVision) note('No torchvision: name a python that has it with CORTORCH_PYTHON. Its sides are left out.');
  const own = (side: string, at: string) => (cores: number) =>
    run(cores, process.execPath, [besideThis('loader-read.mjs'), side, at, batch]);
  const vision = (side: string, cores: number, workers: number): Reading =>
    run(cores, python!, [besideThis('loader_torchvision.py'), side, dir, batch, String(workers)]);
  const all: Record<string, Record<string, number[]>> = {};
  for (const cores of CORES > 1 ? [1, CORES] : [1]) {
    const sides = new Map<string, () => Reading>();
    const strongest: Record<string, string> = {};
    if (hasVision) {
      for (const side of ['pillow', 'decode']) {
        // The number of workers that is fastest here.
        const tried = (cores === 1 ? [0, 1] : [cores, 2 * cores]).map((workers) => ({
          workers,
          ...vision(side, cores, workers),
        }));
        const { workers } = tried.reduce((best, other) => (other.rate > best.rate ? other : best));
        sides.set(`torchvision, ${side}`, () => vision(side, cores, workers));
        strongest[`torchvision, ${side}`] = `, ${workers} workers`;
      }
    }
    for (const [name, side, at] of [
      ['sharp alone', 'sharp', dir],
      ['cortorch, folders', 'folder', dir],
      ['cortorch, shards', 'shards', shards],
    ] as const) {
      sides.set(name, () => own(side, at)(cores));
    }
    const rates = Object.fromEntries([...sides.keys()].map((name) => [name, [] as number[]]));
    let loop = 0;
    for (let round = 0; round < rounds; round++) {
      for (const [name, read] of sides) {
        const reading = read();
        rates[name]!.push(reading.rate);
        if (name === 'cortorch, folders') loop = reading.loop!;
      }
    }
    all[`${cores}`] = rates;
    const folders = rates['cortorch, folders']!;
    const rows = Object.entries(rates).map(([name, side]) => [
      name + (strongest[name] ?? ''),
      `${Math.round(median(side))} images/s`,
      times(medianRatio(folders, side)),
    ]);
    print(`\n${cores} ${cores === 1 ? 'core' : 'cores'}`);
    print(table(['', 'rate', 'cortorch from folders is'], rows));
    if (cores < CORES) continue;
    const share = medianRatio(folders, rates['sharp alone']!);
    print(
      `\nOf sharp alone: ${percent(share)}; ${judged(share >= 0.85, '85 %')}. JavaScript's thread is busy ${percent(loop)}.`,
    );
    const [pillow, decode] = [rates['torchvision, pillow'], rates['torchvision, decode']];
    if (pillow === undefined || decode === undefined) continue;
    const best = median(decode) > median(pillow) ? decode : pillow;
    const ratio = medianRatio(folders, best);
    print(`Of torchvision's faster form: ${times(ratio)}; ${judged(ratio >= 2, '2 ×')}.`);
  }
  if (options.json) process.stdout.write(`${JSON.stringify(all)}\n`);
}

async function main(): Promise<void> {
  if (options.help) {
    print(USAGE);
    return;
  }
  const rounds = numberOf('rounds', options.rounds ?? '3', { whole: true });
  const count = numberOf('images', options.images, { whole: true });
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'cortorch-bench-'));
  try {
    const dir = options['data-dir'] ?? path.join(folder, 'train');
    if (options['data-dir'] === undefined) await makeImages(dir, count);
    const list = await listImages(dir);
    const shards = path.join(folder, 'shards');
    const packed = await packImages(list, shards, { part: 'train' });
    const bytes = packed.reduce((sum, shard) => sum + shard.bytes, 0);
    print(`${list.files.length} images, ${Math.round(bytes / list.files.length / 1000)} kB each on average`);
    measure(dir, shards, rounds, options.batch);
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
}

await main().catch((error: unknown) => {
  note((error as Error).message);
  process.exitCode = 1;
});
