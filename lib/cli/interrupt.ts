/** Ctrl-C and SIGTERM while training: the first ends it in good order, the second at once. */

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
