/** Folders and the files in them. */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { TestBase } from 'tap';

/** The paths of what is in a folder, from their parts. */
export const within =
  (folder: string) =>
  (...parts: readonly string[]): string =>
    path.join(folder, ...parts);

/** A folder outside of the checkout, which goes when the test ends. */
export function temporaryFolder(t: TestBase & { teardown(end: () => void): void }, name: string): string {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), `cortorch-${name}-`));
  t.teardown(() => fs.rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Contents by name; a name may have folders in it. */
export type Files = Readonly<Record<string, string | Uint8Array>>;

/** @returns the folder */
export function writeFiles(folder: string, files: Files): string {
  for (const [name, content] of Object.entries(files)) {
    const file = path.join(folder, name);
    fs.mkdirSync(path.dirname(file), { recursive: true });
    fs.writeFileSync(file, content);
  }
  return folder;
}
