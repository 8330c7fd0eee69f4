/** What tests start (test/support/processes.ts) ends with them, and so does what it started itself. */
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { packageRoot } from '../../scripts/paths.mjs';
import { isRunning, startProcess, userEnvironment } from '../support/processes.js';

/** Starts the tests of the fixture, as a file of their own; `family` are the processes that it has told of so far. */
function startFile(...args: string[]) {
  const fixture = path.join(packageRoot, 'test/fixtures/children/families.ts');
  const file = startProcess(process.execPath, ['--import=tsx', fixture, ...args], {
    cwd: packageRoot,
    env: userEnvironment,
  });
  let said = '';
  file.process.stderr!.on('data', (text: string) => (said += text));
  const families = (): number[] =>
    [...said.matchAll(/^family (\d+) (\d+)$/gm)].flatMap(([, shell, child]) => [Number(shell), Number(child)]);
  return { ...file, families };
}

t.test('when a test ends, however it ends', async (t) => {
  const file = startFile();
  await file.seen(/the last one begins/);
  const families = file.families();
  t.equal(new Set(families).size, 10, 'five shells and their children');
  // A child of a killed shell may take a moment to die; the last test of the file takes two seconds.
  while (families.some(isRunning) && file.process.exitCode === null) await sleep(5);
  t.equal(file.process.exitCode, null, 'they are gone while the file goes on');
  const { code, stdout } = await file.finished;
  t.equal(code, 1);
  for (const result of [
    'not ok 1 - a failed assertion',
    'not ok 2 - an error',
    'not ok 3 - a timeout',
    'ok 4 - a test within another',
    'ok 5 - the last one',
  ])
    t.match(stdout, new RegExp(`^${result}`, 'm'));
});

t.test('when the process of the tests is killed', async (t) => {
  const file = startFile('hang');
  await file.seen(/family \d+ \d+\n/);
  const family = file.families();
  t.strictSame(family.map(isRunning), [true, true]);
  file.process.kill('SIGKILL');
  t.match(await file.finished, { code: null, signal: 'SIGKILL' });
  while (family.some(isRunning)) await sleep(20); // or this test times out
  t.pass('they are gone');
});
