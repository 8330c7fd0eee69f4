/** The open files of shards: few, opened when one is read, and closed when none has been for a while. */

import { open, type FileHandle } from 'node:fs/promises';

/** Open at once; more only while more are being read. */
const MOST_OPEN = 64;
/** An idle file is closed after one to two times so long, ms. */
const IDLE = 2000;

interface OpenFile {
  readonly handle: Promise<FileHandle>;
  /** Reads under way. */
  readers: number;
  /** Since the last round of closing. */
  used: boolean;
}

/**
 * Files that stay open between reads: on a network's disk, opening one takes as long as reading an image of it. There
 * is nothing to dispose of, and the files keep no process alive.
 */
export class ShardFiles {
  /** The one that was used last is last. */
  readonly #files = new Map<string, OpenFile>();
  #timer: NodeJS.Timeout | undefined;

  /** @param work reads the file; it is open until that is done */
  async use<T>(path: string, work: (file: FileHandle) => Promise<T>): Promise<T> {
    const file = this.#files.get(path) ?? { handle: open(path), readers: 0, used: true };
    this.#files.delete(path);
    this.#files.set(path, file);
    file.readers++;
    file.used = true;
    try {
      return await work(await file.handle);
    } catch (error) {
      // What is wrong now may be mended: the next read opens it anew.
      if (this.#files.get(path) === file) this.#files.delete(path);
      throw error;
    } finally {
      file.readers--;
      if (this.#files.get(path) !== file) closeUnread(file);
      this.#makeRoom();
      this.#timer ??= setTimeout(this.#closeIdle, IDLE).unref();
    }
  }

  #makeRoom(): void {
    for (const [path, file] of this.#files) {
      if (this.#files.size <= MOST_OPEN) return;
      if (file.readers === 0) this.#close(path, file);
    }
  }

  readonly #closeIdle = (): void => {
    for (const [path, file] of this.#files) {
      if (file.readers === 0 && !file.used) this.#close(path, file);
      file.used = false;
    }
    this.#timer = this.#files.size === 0 ? undefined : setTimeout(this.#closeIdle, IDLE).unref();
  };

  #close(path: string, file: OpenFile): void {
    this.#files.delete(path);
    closeUnread(file);
  }
}

/** A file that nobody finds any more, once its last reader is done. */
function closeUnread({ handle, readers }: OpenFile): void {
  if (readers > 0) return;
  handle.then((file) => file.close()).catch(() => undefined); // only read: closing loses nothing
}
