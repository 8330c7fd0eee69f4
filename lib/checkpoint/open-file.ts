/** Opening the file of a checkpoint, and what goes wrong with it as an error that names it. */

import { open, stat, type FileHandle } from 'node:fs/promises';
import { CortorchError } from '../errors.js';
import { FormatError, unsupported } from './format-error.js';

/**
 * Looks before it opens: a pipe would be waited for, and a device may have no end.
 *
 * @throws FormatError for what is no regular file; what the system throws
 */
export async function openToRead(path: string): Promise<FileHandle> {
  const found = await stat(path);
  if (found.isDirectory()) throw unsupported('it is a folder', 'name a checkpoint file in it');
  if (!found.isFile()) throw unsupported('it is not a regular file', 'name a checkpoint file');
  return open(path, 'r');
}

/** What a reader threw, as the error that names the file. */
export function readFailure(path: string, error: unknown): unknown {
  if (error instanceof FormatError) {
    const code = error.kind === 'corrupt' ? 'ERR_CHECKPOINT_CORRUPT' : 'ERR_CHECKPOINT_UNSUPPORTED';
    return new CortorchError(code, `cannot read the checkpoint ${path}: ${error.message}; ${error.remedy}`);
  }
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === 'ENOENT' || code === 'ENOTDIR') {
    const text = `there is no checkpoint ${path}; check the name`;
    return new CortorchError('ERR_CHECKPOINT_NOT_FOUND', text, { cause: error });
  }
  if (code?.startsWith('E') && (error as NodeJS.ErrnoException).syscall !== undefined) {
    return new CortorchError('ERR_READ_FAILED', `cannot read the checkpoint ${path}: ${message}`, {
      cause: error,
    });
  }
  return error;
}
