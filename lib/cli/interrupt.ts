/**
 * What ends training before its time: Ctrl-C and SIGTERM (the first in good order, the second at once), and a time
 * limit.
 */

/** The exit code after an interruption, as shells have it for Ctrl-C. */
export const EXIT_INTERRUPTED = 130;

/** npm and npx pass on a Ctrl-C that the terminal has sent already: two at nearly the same time are one, ms. */
const SAME = 300;

export class Interrupt implements Disposable {
  readonly #controller = new AbortController();
  readonly #announce: (text: string) => void;
  #first = 0;

  constructor(announce: (text: string) => void) {
    this.#announce = announce;
    process.on('SIGINT', this.#stop).on('SIGTERM', this.#stop);
    process.stdout.on('error', this.#brokenPipe);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  [Symbol.dispose](): void {
    process.off('SIGINT', this.#stop).off('SIGTERM', this.#stop);
    process.stdout.off('error', this.#brokenPipe);
  }

  readonly #stop = (): void => {
    const now = performance.now();
    if (!this.signal.aborted) {
      this.#first = now;
      this.#announce('Stopping after this step; once more to stop at once.');
      this.#controller.abort();
    } else if (now - this.#first > SAME) {
      process.exit(EXIT_INTERRUPTED);
    }
  };

  /** Whoever read our lines is gone (`| head`): no reason to lose what was trained. */
  readonly #brokenPipe = (): void => {
    if (!this.signal.aborted) this.#controller.abort();
  };
}

/** A signal after so many hours of this process. */
export class TimeLimit implements Disposable {
  readonly #controller = new AbortController();
  readonly #timer: NodeJS.Timeout | undefined;

  /** @param hours at most 596; undefined: no limit */
  constructor(hours: number | undefined) {
    if (hours === undefined) return;
    // From the start of the process: what was loaded and built until now counts, as it does for a scheduler.
    const left = Math.max(1, hours * 3_600_000 - performance.now());
    this.#timer = setTimeout(() => this.#controller.abort(), left);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }
}
