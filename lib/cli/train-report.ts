/** What `cortorch train` says: lines of JSON on stdout if they are wanted, and everything for people on stderr. */

import type { Best, Checkpoint } from '../training/checkpoint.js';
import type { RunDirectory } from '../training/run.js';
import type { Scores, TrainEvent } from '../training/events.js';
import { countOutputs } from '../model/shapes.js';
import type { Parts } from './data.js';
import { duration, errorFormat, integer, percent, plural, significant } from '../format.js';
import { Progress } from './progress.js';
import type { RunConfig } from './settings.js';

/** From so many on the top-5 error is of interest, as for ImageNet's 1,000. */
const MANY_CLASSES = 100;

export interface StartLine {
  readonly type: 'start';
  readonly config: RunConfig;
  readonly parameters: number;
  readonly device: string;
}

export interface EndLine {
  readonly type: 'end';
  readonly best: Best | null;
  /** null: none was written, since there is no --out */
  readonly checkpoint: string | null;
}

export class TrainReport {
  readonly #json: boolean;
  readonly #progress = new Progress();
  #epochs = 0;
  #error: (error: number) => string = percent;
  #top5 = false;

  constructor(json: boolean) {
    this.#json = json;
  }

  /** A remark. */
  note(text: string): void {
    this.#progress.line(text);
  }

  start(line: StartLine, run: RunDirectory | null, from: Checkpoint | null): void {
    this.#print(line);
    const { config, parameters } = line;
    const { model, rule, dataset, optimizer, lr, batchSize, epochs, threads, device, precision } = config;
    const gpu = config.versions.gpu;
    const where = gpu === undefined ? plural(threads, 'thread') : `${device} (${gpu}) in ${precision}`;
    this.#epochs = epochs;
    this.#error = errorFormat(config.network);
    this.#top5 = countOutputs(config.network) >= MANY_CLASSES;
    this.note(
      `${model} with ${rule} on ${dataset}: ${integer(parameters)} parameters, ${optimizer} (lr ${lr}), ` +
        `batches of ${batchSize}, ${plural(epochs, 'epoch')}, ${where}`,
    );
    if (from) this.note(`Going on with ${run!.path} after epoch ${from.epoch}, step ${from.step}`);
  }

  event(event: TrainEvent): void {
    if (event.type === 'progress') {
      this.#progress.update(event, '', this.#error);
      return;
    }
    this.#progress.clear();
    this.#print(event);
    if (event.type === 'diagnostics') {
      const angles = event.layers.map(({ gradientAngle: angle }) =>
        angle === undefined ? '-' : `${Math.round(angle)}°`,
      );
      this.note(`step ${event.step}  angles to backpropagation's gradients, from below: ${angles.join(' ')}`);
      return;
    }
    const { epoch, phase, train, validation, test, seconds, waiting, imagesPerSecond, partial } = event;
    const scores = (name: string, { error, error5 }: Scores): string =>
      `${name} ${this.#error(error)}${error5 !== null && this.#top5 ? ` (top-5 ${this.#error(error5)})` : ''}`;
    const errors = [
      `train ${this.#error(train.error)}`,
      ...(validation ? [scores('validation', validation)] : []),
      ...(test ? [scores('test', test)] : []),
    ];
    const waited = waiting === undefined ? '' : `, ${Math.round(100 * waiting)} % of it waiting for data`;
    this.note(
      `epoch ${epoch}/${this.#epochs}${phase === 'inverse' ? ' (inverses)' : ''}${partial ? ' (a part)' : ''}  ` +
        `error: ${errors.join(', ')}  loss ${significant(train.loss)}` +
        `${train.inverseLoss === undefined ? '' : `, of inverses ${significant(train.inverseLoss)}`}  ${duration(seconds)}, ${integer(imagesPerSecond)} images/s${waited}`,
    );
  }

  end(line: EndLine, run: RunDirectory | null, data: Parts): void {
    this.#print(line);
    const { best } = line;
    if (best !== null) {
      const chosen = best.validation
        ? `smallest error on ${plural(data.validation!.size, 'validation image')}, ${this.#error(best.validation.error)}`
        : 'the last, there being no validation set';
      const test = best.test ? `; its test error: ${this.#error(best.test.error)}` : '';
      this.note(`Best epoch: ${best.epoch} (${chosen})${test}`);
    }
    if (run === null) this.note('Nothing was written; --out DIR keeps checkpoints and metrics');
    else this.note(`In ${run.path}: best.pt (epoch ${best?.epoch ?? '-'}), last.pt, metrics.jsonl, config.json`);
  }

  /** @param why such as Interrupted */
  interrupted(run: RunDirectory | null, why: string): void {
    if (run === null) this.note(`${why}. Nothing was written, since there was no --out`);
    else this.note(`${why}; saved in ${run.last}. To go on: cortorch train --resume ${run.path}`);
  }

  clear(): void {
    this.#progress.clear();
  }

  #print(line: object): void {
    if (this.#json) process.stdout.write(`${JSON.stringify(line)}\n`);
  }
}
