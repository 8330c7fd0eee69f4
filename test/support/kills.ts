/** Runs that are killed again and again, at any moment, and resumed each time. */
import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Test } from 'tap';
import { Random } from '../../lib/random.js';
import { readCheckpoint } from '../../lib/training/checkpoint.js';
import { cortorch, runFiles, smallSpec, start, writeTinyData, type Running } from './cli.js';
import { result } from './run-result.js';

// With a second hidden layer, so that there is an inverse to learn.
const [flatten, hidden, output] = smallSpec.layers;
const spec = { ...smallSpec, layers: [flatten, hidden, { ...hidden, units: 16 }, output] };

/** The flags of `train`, but for the rule's. @param folder for the network and its data */
function flagsIn(folder: string): string[] {
  const model = path.join(folder, 'small.json');
  fs.writeFileSync(model, JSON.stringify(spec));
  const data = writeTinyData(path.join(folder, 'data'), { train: 1100, test: 100 });
  return [
    ...['train', '--dataset', 'mnist', '--data-dir', data, '--model', model],
    ...['--validation', '100', '--batch-size', '10', '--seed', '3', '--threads', '1', '--json'],
  ];
}

/** Half-written checkpoints in a run's folder. */
const halves = (out: string): string[] =>
  fs.existsSync(out) ? fs.readdirSync(out).filter((name) => /^\.last\.pt\..*\.tmp$/.test(name)) : [];

/** Ends a run by SIGKILL: while it starts, trains, or writes last.pt. @returns whether it was writing */
async function kill(run: Running, out: string, moment: 'starting' | 'training' | 'saving', random: number) {
  const before = halves(out);
  const isSaving = (): boolean => halves(out).some((name) => !before.includes(name));
  if (moment === 'starting') await sleep(1200 * random);
  else {
    await run.seen(/"type":"start"/);
    if (moment === 'training') await sleep(300 * random);
    else while (!isSaving() && run.process.exitCode === null) await sleep(0);
  }
  run.process.kill('SIGKILL');
  const { signal, stderr } = await run.finished;
  if (signal !== 'SIGKILL') throw new Error(`it ended before it was killed: ${stderr}`);
  return isSaving();
}

export const RULES = {
  fa: ['--rule', 'fa'],
  dtp: ['--rule', 'dtp', '--schedule', 'alternating', '--noise', '0.2', '--target-step', '0.1'],
} as const;

/** Kills a run so often; its end is bit for bit that of a run left alone. */
export async function killAgainAndAgain(t: Test, rule: keyof typeof RULES, kills: number): Promise<void> {
  const folder = t.testdir();
  const flags = [...flagsIn(folder), ...RULES[rule]];
  const out = path.join(folder, 'killed');
  const random = new Random(rule.length); // a failure comes again, as far as the machine's speed allows
  let epoch = 0;
  let torn = 0;
  for (let i = 0; i < kills; i++) {
    const args = i === 0 ? [...flags, '--out', out] : ['train', '--resume', out, '--json'];
    const run = start([...args, '--epochs', '100000']);
    const moment = i % 3 === 1 ? 'saving' : i % 3 === 2 ? 'starting' : 'training';
    if (await kill(run, out, moment, random.nextUint32() / 2 ** 32)) torn++;
    const last = await readCheckpoint(path.join(out, 'last.pt'));
    t.ok(last.training && last.epoch >= epoch, `kill ${i + 1}, ${moment}: last.pt is of epoch ${last.epoch}`);
    if (fs.existsSync(path.join(out, 'best.pt'))) await readCheckpoint(path.join(out, 'best.pt'));
    epoch = last.epoch;
  }
  // A file may be whole just before the signal comes: then once more.
  for (let more = 0; torn === 0 && more < 20; more++) {
    const run = start(['train', '--resume', out, '--json', '--epochs', '100000']);
    if (await kill(run, out, 'saving', 0)) torn++;
    epoch = (await readCheckpoint(path.join(out, 'last.pt'))).epoch;
  }
  t.ok(torn > 0, `${torn} kills left a half-written file beside`);
  const more = ['--epochs', String(epoch + 1)];
  const end = await cortorch(['train', '--resume', out, ...more]);
  t.equal(end.code, 0, end.stderr);
  t.strictSame(runFiles(out), ['best.pt', 'config.json', 'last.pt', 'metrics.jsonl']);
  const alone = path.join(folder, 'alone');
  t.match(await cortorch([...flags, ...more, '--out', alone]), { code: 0 });
  t.strictSame(await result(out), await result(alone));
}
