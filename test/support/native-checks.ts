/** The C++ programs in test/native and test/cuda-emulation, built apart from the addon. */
import os from 'node:os';
import path from 'node:path';
import type { TestBase } from 'tap';
import { checkBuild } from '../../scripts/load.mjs';
import { packageRoot } from '../../scripts/paths.mjs';
import { findToolchain } from '../../scripts/toolchain.mjs';
import { temporaryFolder } from './folders.js';
import { run, succeed } from './processes.js';

/** What is built in a folder: the sources of `root`, with these settings of its CMakeLists.txt. */
export async function configureChecks(
  folder: string,
  settings: Readonly<Record<string, string>>,
  root = packageRoot,
): Promise<void> {
  const tools = findToolchain();
  const all = {
    LIBTORCH: checkBuild().libtorch.path,
    CORTORCH_NODE: 'OFF',
    CORTORCH_CUDA: 'OFF',
    CORTORCH_TESTS: 'ON',
    CMAKE_CXX_COMPILER: tools.compiler.path,
    ...settings,
  };
  const definitions = Object.entries(all).map(([key, value]) => `-D${key}=${value}`);
  await succeed(tools.cmake.path, ['-S', root, '-B', folder, '-G', tools.generator, ...definitions]);
}

/** Builds `targets` in such a folder. */
export async function buildTargets(folder: string, targets: readonly string[]): Promise<void> {
  const jobs = String(os.availableParallelism());
  await succeed(findToolchain().cmake.path, ['--build', folder, '--target', ...targets, '--parallel', jobs]);
}

/** Builds `targets` with these settings of CMakeLists.txt. @returns the folder that they are in until `t` ends */
export async function buildChecks(
  t: TestBase & { teardown(end: () => void): void },
  settings: Readonly<Record<string, string>>,
  targets: readonly string[],
): Promise<string> {
  const folder = path.join(temporaryFolder(t, 'checks'), 'build');
  await configureChecks(folder, settings);
  await buildTargets(folder, targets);
  return folder;
}

/** How a program ended, and all that it said. */
export async function check(command: string, args: readonly string[], env: NodeJS.ProcessEnv) {
  const { code, signal, stdout, stderr } = await run(command, args, { env });
  return { ended: signal ?? code, stdout, output: `${stdout}${stderr}` };
}
