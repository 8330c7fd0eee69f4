/**
 * How training is going, for people: on a terminal one line that is rewritten in place; elsewhere, such as in a
 * log file, a plain line now and then.
 */

import type { ProgressEvent } from '../training/events.js';
import { duration, integer, percent, significant } from '../format.js';

/** Where nothing can be rewritten: seconds between two lines of progress. */
const SECONDS_BETWEEN_LINES = 60;

/** Characters: with it, rate, time left and error fit the usual 80 columns. */
const BAR_WIDTH = 12;

/** What {@link Progress} needs of stderr. */
export interface Screen {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

export class Progress {
  readonly #screen: Screen;
  readonly #now: () => number;
  #shown = false;
  #lastLine: number;

  /** @param now milliseconds */
  constructor(screen: Screen = process.stderr, now: () => number = () => performance.now()) {
    this.#screen = screen;
    this.#now = now;
    this.#lastLine = now();
  }

  /** A line that stays. */
  line(text = ''): void {
    this.clear();
    this.#screen.write(`${text}\n`);
    this.#lastLine = this.#now();
  }

  /** The state of things, replaced by the next one. */
  update(event: ProgressEvent, label = '', error: (error: number) => string = percent): void {
    if (this.#screen.isTTY) {
      const width = (this.#screen.columns || 80) - 1; // a full line would wrap on some terminals
      this.#screen.write(`\r${fitting(`${label}${bar(event)}  `, event, width, error)}\x1b[K`);
      this.#shown = true;
    } else if (this.#now() - this.#lastLine >= 1000 * SECONDS_BETWEEN_LINES) {
      this.line(fitting(label, event, Infinity, error));
    }
  }

  /** Something else is about to be done, of which nothing is known until it is done. */
  clear(): void {
    if (this.#shown) this.#screen.write('\r\x1b[K');
    this.#shown = false;
  }
}

/** The most important first: what does not fit on the line is left out. */
function fitting(start: string, event: ProgressEvent, width: number, errorText: (error: number) => string): string {
  const { epoch, epochs, secondsLeft, error, imagesPerSecond, loss } = event;
  const parts = [
    `epoch ${epoch}/${epochs}`,
    ...(secondsLeft === null ? [] : [`${duration(secondsLeft)} left`]),
    `${integer(imagesPerSecond)} images/s`,
    ...(event.phase === 'inverse' ? [] : [`error ${errorText(error)}`, `loss ${significant(loss)}`]),
    ...(event.inverseLoss === undefined ? [] : [`inverse loss ${significant(event.inverseLoss)}`]),
  ];
  let line = start;
  for (const [i, part] of parts.entries()) {
    const longer = i === 0 ? line + part : `${line}  ${part}`;
    if (longer.length > width) break;
    line = longer;
  }
  return line.slice(0, width);
}

function bar({ stepInEpoch, stepsPerEpoch }: ProgressEvent): string {
  if (stepsPerEpoch === null) return `step ${integer(stepInEpoch)}`;
  const filled = Math.floor((BAR_WIDTH * stepInEpoch) / stepsPerEpoch);
  return `${'█'.repeat(filled)}${'░'.repeat(BAR_WIDTH - filled)}`;
}
