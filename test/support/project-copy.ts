/** A copy of the project as it stands here, in which something may be changed, or which runs on another build. */
import fs from 'node:fs';
import path from 'node:path';
import type { TestBase } from 'tap';
import { packageRoot } from '../../scripts/paths.mjs';
import { temporaryFolder } from './folders.js';
import { run, succeed, type Ended } from './processes.js';

/** The files of the project, from its root; those that are not committed yet are among them. */
export async function projectFiles(): Promise<string[]> {
  const args = ['ls-files', '-z', '--cached', '--others', '--exclude-standard'];
  const listed = await succeed('git', args, { cwd: packageRoot });
  return [...new Set(listed.split('\0'))].filter((name) => name !== '' && fs.existsSync(path.join(packageRoot, name)));
}

/** With the same packages and the same `dist/`, without `build-native/`. @returns its root, until `t` ends */
export async function copyProject(t: TestBase & { teardown(end: () => void): void }): Promise<string> {
  const root = temporaryFolder(t, 'project');
  for (const name of await projectFiles()) {
    fs.cpSync(path.join(packageRoot, name), path.join(root, name), { preserveTimestamps: true });
  }
  fs.symlinkSync(path.join(packageRoot, 'node_modules'), path.join(root, 'node_modules'));
  fs.cpSync(path.join(packageRoot, 'dist'), path.join(root, 'dist'), { recursive: true, preserveTimestamps: true });
  return root;
}

/** Runs a file of tests of such a copy by itself, up to its first failure. */
export const runTestFile = (
  root: string,
  file: string,
  env: NodeJS.ProcessEnv = {},
  timeout?: number,
): Promise<Ended> =>
  run(process.execPath, ['--import', 'tsx', file], {
    cwd: root,
    timeout,
    env: {
      OMP_WAIT_POLICY: 'passive',
      TAP_BAIL: '1',
      TAP_TIMEOUT: '3600',
      // Of the test that starts it.
      ...{ TAP_CWD: undefined, TAP_GREP: undefined, CORTORCH_RANDOM_CASES: undefined },
      ...env,
    },
  });
