/**
 * A run's folder: `config.json` (all settings), `metrics.jsonl` (a line for the start, each epoch and the end),
 * `last.pt` (to go on from) and `best.pt`; TensorBoard's event files; and
 * earlier checkpoints, `step-*.pt`, where they are kept.
 */

import { existsSync, statSync } from 'node:fs';
import { copyFile, link, mkdir, readdir, rm } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { CortorchError } from '../errors.js';
import { LineFile, removeLeftovers, writeFailure, writeFileAtomic } from '../files.js';
import { readCheckpoint, writeCheckpoint, type Checkpoint } from './checkpoint.js';
import { EventFile } from './event-file.js';
import type { DiagnosticsEvent, EpochEvent, ProgressEvent } from './events.js';

export class RunDirectory {
  /** As it was given, for messages. */
  readonly path: string;
  #metrics: LineFile | undefined;
  #events: EventFile | undefined;

  private constructor(path: string) {
    this.path = path;
  }

  get config(): string {
    return join(this.path, 'config.json');
  }
  get last(): string {
    return join(this.path, 'last.pt');
  }
  get best(): string {
    return join(this.path, 'best.pt');
  }

  /**
   * A folder for a new run; it is made if there is none.
   *
   * @throws CortorchError ERR_USAGE if it holds a run already; ERR_WRITE_FAILED
   */
  static async create(path: string): Promise<RunDirectory> {
    const run = new RunDirectory(path);
    if (existsSync(path) && !statSync(path).isDirectory()) {
      throw new CortorchError(
        'ERR_WRITE_FAILED',
        `cannot write to ${path}: it is not a folder; name another with --out`,
      );
    }
    if (existsSync(run.last) || existsSync(run.best)) {
      throw new CortorchError(
        'ERR_USAGE',
        `${path} holds a run already; go on with it (--resume ${path}) or name another folder (--out)`,
      );
    }
    await makeFolder(path);
    return run;
  }

  /**
   * The folder of a run to go on with.
   *
   * @throws CortorchError ERR_CHECKPOINT_NOT_FOUND if it is no such folder
   */
  static open(path: string): RunDirectory {
    const run = new RunDirectory(path);
    for (const file of [run.config, run.last]) {
      if (existsSync(file)) continue;
      const message = `${path} is not the folder of a run: it has no ${file.slice(path.length).replace(/^\/+/, '')}`;
      throw new CortorchError('ERR_CHECKPOINT_NOT_FOUND', `${message}; name one that --out made`);
    }
    return run;
  }

  /** Whether two names are of the same folder. */
  is(path: string): boolean {
    return resolve(path) === resolve(this.path);
  }

  readLast(): Promise<Checkpoint> {
    return readCheckpoint(this.last);
  }

  /**
   * Begins a run: its settings and the state before the first step.
   *
   * @throws CortorchError ERR_WRITE_FAILED
   */
  async begin(config: object, first: Checkpoint): Promise<void> {
    await this.#writeConfig(config);
    this.#metrics = await LineFile.open(join(this.path, 'metrics.jsonl'));
    await this.#metrics.truncateToLines(0);
    this.#events = await EventFile.open(this.path);
    await this.saveLast(first);
  }

  /**
   * Goes on with a run: settings may have changed, and what was logged after the checkpoint is taken back.
   *
   * @param from the checkpoint
   * @throws CortorchError ERR_WRITE_FAILED
   */
  async resume(config: object, from: Pick<Checkpoint, 'epoch' | 'step'>): Promise<void> {
    for (const file of [this.config, this.last, this.best]) await removeLeftovers(file);
    await this.#writeConfig(config);
    this.#metrics = await LineFile.open(join(this.path, 'metrics.jsonl'));
    const lines = await this.#metrics.readLines();
    const late = lines.findIndex((line) => !isWithin(line, from));
    if (late >= 0) await this.#metrics.truncateToLines(late);
    // The point of the checkpoint's own step stays.
    this.#events = await EventFile.open(this.path, from.step + 1);
  }

  /**
   * Appends a line to `metrics.jsonl`. A start line is only wanted at its top. @throws CortorchError ERR_WRITE_FAILED
   */
  async log(line: { readonly type: string }): Promise<void> {
    if (line.type === 'start' && this.#metrics!.lines > 0) return;
    await this.#metrics!.append(JSON.stringify(line));
  }

  /**
   * TensorBoard's curves and the parameters' histograms at the end of an epoch.
   *
   * @throws CortorchError ERR_WRITE_FAILED
   */
  async plot(event: EpochEvent, { step, parameters }: Pick<Checkpoint, 'step' | 'parameters'>): Promise<void> {
    const events = this.#events!;
    for (const part of ['train', 'validation', 'test'] as const) {
      for (const [name, value] of Object.entries<number | null>(event[part] ?? {})) {
        if (value !== null) events.scalar(`${name}/${part}`, value, step);
      }
    }
    events.scalar('imagesPerSecond/train', event.imagesPerSecond, step);
    if (event.waiting !== undefined) events.scalar('waiting/train', event.waiting, step);
    for (const [name, { data }] of parameters) events.histogram(name, data, step);
    await events.flush();
  }

  /**
   * TensorBoard's curves within an epoch: means over it so far.
   *
   * @throws CortorchError ERR_WRITE_FAILED
   */
  async plotProgress({ loss, error, step }: ProgressEvent): Promise<void> {
    this.#events!.scalar('loss/epoch so far', loss, step);
    this.#events!.scalar('error/epoch so far', error, step);
    await this.#events!.flush();
  }

  /**
   * A line of `metrics.jsonl`, and TensorBoard's curves, of what each layer would learn. The curves have it at the step
   * that it is of, counted from 1 as theirs are: one that is made again after a resume then lies behind the
   * checkpoint's step, where TensorBoard drops what was there.
   *
   * @throws CortorchError ERR_WRITE_FAILED
   */
  async diagnose(event: DiagnosticsEvent): Promise<void> {
    await this.log(event);
    for (const { name, ...values } of event.layers) {
      for (const [what, value] of Object.entries(values))
        this.#events!.scalar(`${what}/${name}`, value, event.step + 1);
    }
    await this.#events!.flush();
  }

  /**
   * Writes `last.pt`.
   *
   * @param keep how many of these to keep, the newest, under names such as step-000001200.pt
   * @throws CortorchError ERR_WRITE_FAILED
   */
  async saveLast(checkpoint: Checkpoint, keep = 0): Promise<void> {
    await writeCheckpoint(this.last, checkpoint);
    if (keep === 0) return;
    const name = join(this.path, `step-${String(checkpoint.step).padStart(9, '0')}.pt`);
    try {
      await rm(name, { force: true });
      // A second name for the same file: last.pt is replaced, never written to, so this one stays as it is.
      await link(this.last, name).catch(() => copyFile(this.last, name)); // some file systems have no links
      const kept = (await readdir(this.path)).filter((entry) => /^step-\d+\.pt$/.test(entry)).sort();
      for (const old of kept.slice(0, -keep)) await rm(join(this.path, old), { force: true });
    } catch (error) {
      throw writeFailure(name, error);
    }
  }

  /** @throws CortorchError ERR_WRITE_FAILED */
  saveBest(checkpoint: Checkpoint): Promise<void> {
    return writeCheckpoint(this.best, { ...checkpoint, training: null });
  }

  async close(): Promise<void> {
    await this.#metrics?.close();
    await this.#events?.close();
  }

  #writeConfig(config: object): Promise<void> {
    return writeFileAtomic(this.config, Buffer.from(`${JSON.stringify(config, null, 2)}\n`));
  }
}

/**
 * Makes a folder, and those that it is in. Not mkdir's `recursive`: it never ends where a folder that is there
 * claims not to be when something is made in it, as /proc does.
 */
async function makeFolder(path: string): Promise<void> {
  const make = (): Promise<void> =>
    mkdir(path).catch((error: unknown) => {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    });
  try {
    await make();
  } catch (error) {
    const parent = dirname(path);
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || parent === path) throw writeFailure(path, error);
    await makeFolder(parent);
    await make().catch((again: unknown) => {
      throw writeFailure(path, again);
    });
  }
}

/** Does a line of `metrics.jsonl` belong to a run that has come so far? A diagnosis is of the step that follows it. */
function isWithin(line: string, from: Pick<Checkpoint, 'epoch' | 'step'>): boolean {
  try {
    const parsed = JSON.parse(line) as { type?: string; epoch?: number; step?: number; partial?: boolean };
    const { type, epoch, step, partial } = parsed;
    if (type === 'diagnostics') return step! < from.step;
    return type === 'start' || (type === 'epoch' && epoch! <= from.epoch && partial !== true);
  } catch {
    return false; // a line that a crash left half-written
  }
}
