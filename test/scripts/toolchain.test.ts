/** The system and the tools that a build needs, and what is said where one is missing. */
import path from 'node:path';
import t from 'tap';
import { SetupError } from '../../scripts/setup-error.mjs';
import { checkPlatform, compareVersions } from '../../scripts/platform.mjs';
import { findToolchain } from '../../scripts/toolchain.mjs';
import { refusal } from '../support/refusal.js';
import { fakePrograms } from '../support/setup.js';

const CMAKE = 'echo "cmake version 3.25.1"';
const NINJA = 'echo 1.11.1';
const GXX = 'if [ "$1" = --version ]; then echo "g++ (Debian 12.2.0-14) 12.2.0"; fi';

t.test('this system is supported, others are refused by name', async (t) => {
  t.doesNotThrow(() => checkPlatform());
  t.doesNotThrow(() => checkPlatform({ platform: 'linux', arch: 'x64', glibc: '2.28' }));
  const cases: [string, string, string | null, string][] = [
    ['darwin', 'arm64', null, 'Found: darwin on arm64'],
    ['win32', 'x64', null, 'Found: win32 on x64'],
    ['linux', 'arm64', '2.36', 'Found: linux on arm64, glibc 2.36'],
    ['linux', 'x64', '2.27', 'Found: linux on x64, glibc 2.27'],
    ['linux', 'x64', null, 'Found: linux on x64, a C library other than glibc (musl?)'],
  ];
  for (const [platform, arch, glibc, found] of cases) {
    const error = await refusal(SetupError, () => checkPlatform({ platform, arch, glibc }));
    t.equal(error.code, 'ERR_PLATFORM_UNSUPPORTED');
    t.match(error.message, found);
    t.match(error.message, 'Needed: Linux on x64 with glibc 2.28 or newer');
  }
});

t.test('ninja is preferred, make will do', async (t) => {
  const dir = t.testdir();
  const both = fakePrograms(path.join(dir, 'both'), {
    cmake: CMAKE,
    'g++': GXX,
    ninja: NINJA,
    make: 'echo GNU Make 4.3',
  });
  t.match(findToolchain({ PATH: both }), {
    generator: 'Ninja',
    compiler: { path: path.join(both, 'g++'), version: '12.2.0' },
    cmake: { path: path.join(both, 'cmake'), version: '3.25.1' },
    buildTool: { version: '1.11.1' },
  });
  const make = fakePrograms(path.join(dir, 'make'), { cmake: CMAKE, 'g++': GXX, make: 'echo GNU Make 4.3' });
  t.match(findToolchain({ PATH: make }), { generator: 'Unix Makefiles', buildTool: { version: '4.3' } });
});

t.test('no compiler', async (t) => {
  const PATH = fakePrograms(t.testdir(), { cmake: CMAKE, ninja: NINJA });
  const error = await refusal(SetupError, () => findToolchain({ PATH }));
  t.equal(error.code, 'ERR_COMPILER_NOT_FOUND');
  t.match(error.message, 'g++: not installed');
  t.match(error.message, 'g++-12: not installed');
  t.match(error.message, 'Needed: g++ 12 or newer');
  t.match(error.message, /apt-get install g\+\+ .*npx cortorch setup/);
});

t.test('a compiler that is too old, with its own words', async (t) => {
  const old =
    'if [ "$1" = --version ]; then echo "g++ (GCC) 8.5.0"; exit; fi; echo "g++: error: unrecognized option -std=c++20" >&2; exit 1';
  const PATH = fakePrograms(t.testdir(), { cmake: CMAKE, ninja: NINJA, 'g++': old });
  const error = await refusal(SetupError, () => findToolchain({ PATH }));
  t.equal(error.code, 'ERR_COMPILER_NOT_FOUND');
  t.match(error.message, 'version 8.5.0 does not build a small C++20 program with OpenMP');
  t.match(error.message, 'unrecognized option -std=c++20');
});

t.test('CXX is a wish, and no other compiler is taken for it', async (t) => {
  const PATH = fakePrograms(t.testdir(), { cmake: CMAKE, ninja: NINJA, 'g++': GXX });
  const error = await refusal(SetupError, () => findToolchain({ PATH, CXX: 'g++-99' }));
  t.equal(error.code, 'ERR_COMPILER_NOT_FOUND');
  t.match(error.message, 'CXX=g++-99: not installed');
});

t.test('no cmake, an old cmake, nothing to run its files', async (t) => {
  const dir = t.testdir();
  const cases: Record<string, [Record<string, string>, string]> = {
    none: [{ 'g++': GXX, ninja: NINJA }, 'Found: cmake is not on PATH'],
    old: [{ 'g++': GXX, ninja: NINJA, cmake: 'echo "cmake version 3.10.2"' }, 'is version 3.10.2'],
    bare: [{ 'g++': GXX, cmake: CMAKE }, 'Found: neither ninja nor make is on PATH'],
  };
  for (const [name, [programs, found]] of Object.entries(cases)) {
    const error = await refusal(SetupError, () =>
      findToolchain({ PATH: fakePrograms(path.join(dir, name), programs) }),
    );
    t.equal(error.code, 'ERR_CMAKE_NOT_FOUND');
    t.match(error.message, found);
    t.match(error.message, 'Needed: cmake 3.18 or newer, and ninja or make');
    t.match(error.message, 'apt-get install cmake ninja-build');
  }
});

t.test('versions are compared part by part', async (t) => {
  t.ok(compareVersions('3.9', '3.18') < 0);
  t.ok(compareVersions('3.18.0', '3.18') === 0);
  t.ok(compareVersions('4.0', '3.18') > 0);
});
