/** Writing files so that a crash, a full disk or a kill never leaves half of one behind. */

import { randomBytes } from 'node:crypto';
import { open, readdir, rename, rm, stat, realpath, type FileHandle } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { CortorchError, invalid, isInteger } from './errors.js';

/** What to write: all of it, or its pieces in order. Pieces are written as they come, never joined in memory. */
export type Chunks = Uint8Array | Iterable<Uint8Array> | AsyncIterable<Uint8Array>;

/**
 * Replaces a file as a whole: readers see the old content or the new, never a part, also after a power cut.
 *
 * The bytes go to a new file in the same folder, are flushed to the disk, and take the old file's place by
 * renaming; then the folder is flushed. If anything fails, the new file is removed and the old one is as it
 * was. A symbolic link is followed, so that the file it points to is replaced.
 *
 * @param path the file; its folder must exist
 * @param chunks the content; an error that it throws is passed on unchanged
 * @throws CortorchError ERR_WRITE_FAILED naming the path, the reason and the remedy
 */
export async function writeFileAtomic(path: string, chunks: Chunks): Promise<void> {
  // Errors of the disk are translated where they arise, so that those of the content pass unchanged.
  const onDisk = <T>(work: Promise<T>): Promise<T> =>
    work.catch((error: unknown) => {
      throw writeFailure(path, error);
    });
  const target = await onDisk(replaceableTarget(path));
  const temporary = join(dirname(target), temporaryName(basename(target)));
  // 'wx': never write into something that is there already, such as a link that somebody put there.
  const file = await onDisk(open(temporary, 'wx'));
  try {
    try {
      for await (const chunk of chunks instanceof Uint8Array ? [chunks] : chunks) {
        await onDisk(file.writeFile(chunk));
      }
      await onDisk(file.sync());
    } finally {
      await onDisk(file.close());
    }
    await onDisk(rename(temporary, target));
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => undefined);
    throw error;
  }
  await onDisk(syncFolder(dirname(target)));
}

/**
 * Removes what killed processes left of {@link writeFileAtomic} to `path`. Call it only while nobody else writes
 * that file: a run does so when it resumes in its own folder.
 */
export async function removeLeftovers(path: string): Promise<void> {
  const folder = dirname(resolve(path));
  const pattern = new RegExp(`^\\.${escapeRegExp(basename(path))}\\.[0-9a-f]{16}\\.tmp$`);
  try {
    for (const name of await readdir(folder)) if (pattern.test(name)) await rm(join(folder, name), { force: true });
  } catch (error) {
    throw writeFailure(path, error);
  }
}

/**
 * A text file that grows line by line, such as `metrics.jsonl`. Each line is handed to the system as it is
 * appended, so that it is there even if the process is killed; it is not flushed to the disk.
 */
export class LineFile {
  readonly path: string;
  readonly #file: FileHandle;
  /** Where each complete line ends, in bytes. */
  readonly #ends: number[];
  /** Appends run one after the other, in the order of the calls. */
  #last: Promise<unknown> = Promise.resolve();

  private constructor(path: string, file: FileHandle, ends: number[]) {
    this.path = path;
    this.#file = file;
    this.#ends = ends;
  }

  /**
   * Opens the file, or creates it. A last line without its newline (its writer was killed) is cut off.
   *
   * @throws CortorchError ERR_WRITE_FAILED
   */
  static async open(path: string): Promise<LineFile> {
    let file: FileHandle | undefined;
    try {
      // 'a+' creates the file where there is none, and does not empty it where there is one.
      file = await open(path, 'a+');
      const ends: number[] = [];
      let position = 0;
      for await (const chunk of file.createReadStream({
        start: 0,
        autoClose: false,
      }) as AsyncIterable<Buffer>) {
        for (let at = chunk.indexOf(10); at >= 0; at = chunk.indexOf(10, at + 1)) ends.push(position + at + 1);
        position += chunk.length;
      }
      const end = ends.at(-1) ?? 0;
      if (end < position) await file.truncate(end);
      return new LineFile(path, file, ends);
    } catch (error) {
      await file?.close();
      throw writeFailure(path, error);
    }
  }

  /** The number of lines. */
  get lines(): number {
    return this.#ends.length;
  }

  /**
   * Appends a line. If it cannot be written whole, none of it stays.
   *
   * @param line text without a newline
   * @throws CortorchError ERR_WRITE_FAILED
   */
  append(line: string): Promise<void> {
    if (line.includes('\n')) throw invalid('line', 'text without a newline', line);
    return this.#next(async () => {
      const bytes = Buffer.from(`${line}\n`);
      const end = this.#ends.at(-1) ?? 0;
      try {
        await this.#file.writeFile(bytes);
      } catch (error) {
        await this.#file.truncate(end).catch(() => undefined);
        throw error;
      }
      this.#ends.push(end + bytes.length);
    });
  }

  /** All lines, in order, without their newlines. */
  async readLines(): Promise<string[]> {
    const ends = this.#ends;
    const bytes = Buffer.alloc(ends.at(-1) ?? 0);
    await this.#next(async () => {
      for (let at = 0; at < bytes.length;) {
        const { bytesRead } = await this.#file.read(bytes, at, bytes.length - at, at);
        if (bytesRead === 0) break;
        at += bytesRead;
      }
    });
    return ends.map((end, i) => bytes.toString('utf8', ends[i - 1] ?? 0, end - 1));
  }

  /**
   * Cuts the file back to its first `count` lines and flushes it.
   *
   * @throws CortorchError ERR_INVALID_ARGUMENT if it has fewer; ERR_WRITE_FAILED
   */
  truncateToLines(count: number): Promise<void> {
    if (!isInteger(count) || count < 0 || count > this.lines) {
      throw invalid('count', `an integer from 0 to ${this.lines}, the file's lines,`, count);
    }
    return this.#next(async () => {
      await this.#file.truncate(count === 0 ? 0 : this.#ends[count - 1]!);
      await this.#file.sync();
      this.#ends.length = count;
    });
  }

  /** Waits for what was appended, then closes the file. */
  async close(): Promise<void> {
    await this.#next(() => this.#file.close());
  }

  #next(work: () => Promise<void>): Promise<void> {
    const done = this.#last.then(work).catch((error: unknown) => {
      throw writeFailure(this.path, error);
    });
    // The caller hears of a failure; the next call must not fail for it once more.
    this.#last = done.catch(() => undefined);
    return done;
  }
}

/**
 * The error for a file that could not be written.
 *
 * @param path what the caller wanted to write
 * @param error what the system said
 */
export function writeFailure(path: string, error: unknown): CortorchError {
  if (error instanceof CortorchError) return error;
  const code = (error as NodeJS.ErrnoException).code ?? '';
  const [reason, remedy] = REASONS[code] ?? [(error as Error).message, 'write to another folder'];
  const message = `cannot write ${path}: ${reason.replace('%FOLDER', dirname(resolve(path)))}; ${remedy}`;
  return new CortorchError('ERR_WRITE_FAILED', message, { cause: error });
}

const REASONS: Readonly<Record<string, readonly [reason: string, remedy: string]>> = {
  ENOSPC: ['the disk is full', 'free some space or write to another disk'],
  EDQUOT: ['the disk quota is used up', 'free some space or write to another disk'],
  EFBIG: [
    'the file is too large for this file system or limit (ulimit -f)',
    'write to another disk or raise the limit',
  ],
  EACCES: ['no permission to write in %FOLDER', 'change its permissions or write to another folder'],
  EPERM: ['the system does not permit writing in %FOLDER', 'write to another folder'],
  EROFS: ['the file system of %FOLDER is read-only', 'write to another folder'],
  ENOENT: ['the folder %FOLDER does not exist', 'create it or write to another folder'],
  ENOTDIR: ['%FOLDER is not a folder', 'write to another folder'],
  EISDIR: ['there is a folder of that name', 'choose another name'],
  ELOOP: ['its symbolic links go in a circle', 'choose another name'],
  ENAMETOOLONG: ['the name is too long', 'choose a shorter one'],
  EMFILE: ['this process has too many files open', 'raise the limit (ulimit -n)'],
  EIO: ['the disk reports an error', 'check the disk or write to another one'],
};

/** Where the bytes finally go, links followed. */
async function replaceableTarget(path: string): Promise<string> {
  let target = resolve(path);
  try {
    target = await realpath(target);
    // Renaming onto a device or a pipe would replace it: as root, /dev/null would become a plain file.
    const found = await stat(target);
    if (!found.isFile() && !found.isDirectory()) {
      const message = `cannot write ${path}: it is not a regular file; choose another name`;
      throw new CortorchError('ERR_WRITE_FAILED', message);
    }
    if (found.isDirectory()) throw Object.assign(new Error('is a directory'), { code: 'EISDIR' });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
  return target;
}

function temporaryName(name: string): string {
  return `.${name}.${randomBytes(8).toString('hex')}.tmp`;
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } catch (error) {
    // Some network file systems cannot flush a folder; the file itself is flushed all the same.
    if (!['EINVAL', 'ENOTSUP'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
  } finally {
    await handle.close();
  }
}

function escapeRegExp(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
}
