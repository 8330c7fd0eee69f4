/**
 * Each native source compiles by itself. The build compiles several as one unit, where a file could live by what
 * another one includes; then a change of the units would break it.
 */
import fs from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { checkBuild } from '../../scripts/load.mjs';
import { buildFolder, packageRoot } from '../../scripts/paths.mjs';
import { findToolchain } from '../../scripts/toolchain.mjs';
import { run } from '../support/processes.js';

const native = path.join(packageRoot, 'native');
const sources = fs
  .readdirSync(native, { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.cpp') && !name.includes('cuda/')) // test/soak/cuda.test.ts has those
  .sort();

t.test('each source by itself', { timeout: 3_600_000 }, async (t) => {
  const { libtorch } = checkBuild();
  // What cmake-js told CMake: where Node's headers are.
  const cache = fs.readFileSync(path.join(buildFolder().folder, 'CMakeCache.txt'), 'utf8');
  const node = /^CMAKE_JS_INC:\w+=(.*)$/m.exec(cache)![1]!.split(';');
  const include = ['include', 'include/torch/csrc/api/include'].map((name) => path.join(libtorch.path, name));
  const flags = ['-std=c++20', '-fsyntax-only', '-fopenmp', '-Wall', '-Wextra', '-Werror', `-I${native}`]
    .concat([...include, ...node].flatMap((folder) => ['-isystem', folder]))
    .concat(['-DNAPI_VERSION=8', '-DNODE_ADDON_API_CPP_EXCEPTIONS', '-DNODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS']);
  const compiler = findToolchain().compiler.path;
  const queue = [...sources];
  const worker = async (): Promise<void> => {
    for (let name = queue.shift(); name !== undefined; name = queue.shift()) {
      const { code, stderr } = await run(compiler, [...flags, path.join(native, name)]);
      t.equal(code, 0, code === 0 ? name : `${name}: ${stderr.slice(0, 2000)}`);
    }
  };
  await Promise.all([worker(), worker()]);
  t.ok(sources.length > 40, `${sources.length} sources`);
});
