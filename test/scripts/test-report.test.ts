/** What the test runner makes of TAP, and what it finds that tests have left running. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { Readable } from 'node:stream';
import t from 'tap';
import { endLeftovers, MARK } from '../../scripts/leftovers.mjs';
import { closingLine, describeFile, judge, readTap, slowest, type TestFile } from '../../scripts/test-report.mjs';

/** TAP 14 of one file: its lines, and whether the file as a whole passed. */
const file = (name: string, lines: string, end = ''): string =>
  `# Subtest: ${name}\n${lines.replaceAll(/^/gm, '    ')}\n${end || `ok 1 - ${name}`} # time=1500ms\n`;

async function read(...files: string[]): Promise<TestFile[]> {
  const text = `TAP version 14\n${files.join('')}1..${files.length}\n`;
  const told: TestFile[] = [];
  const all = await readTap(Readable.from([text]), (one) => told.push(one));
  t.strictSame(told, all, 'each is told when it is done');
  return all;
}

const lenient = { strict: false, allowed: [], whole: false };
const GOOD = '# Subtest: one\n    ok 1 - a\n    ok 2 - b\n    1..2\nok 1 - one\n';

t.test('tests are counted, not what they assert', async (t) => {
  const files = await read(file('test/a.test.ts', `${GOOD}ok 2 - x\nok 3 - y\n1..3`));
  t.match(files, [
    { name: 'test/a.test.ts', seconds: 1.5, tests: [{ name: 'one' }, { name: 'outside of its tests' }] },
  ]);
  t.match(judge(files, lenient), { passed: 2, failed: 0, skipped: 0, complaints: [] });
  t.equal(describeFile(files[0]!), 'ok test/a.test.ts: 2 tests, 1.5 s');
});

t.test('each failure is told once, with what was found', async (t) => {
  const inner =
    '# Subtest: part\n    not ok 1 - deep\n      ---\n      diff: "+1"\n      ...\n    1..1\nnot ok 1 - part';
  const two = 'not ok 2 - second\n  ---\n  at: here\n  ...\nnot ok 3 - third';
  const text = `# Subtest: bad\n${`${inner}\n${two}\n1..3`.replaceAll(/^/gm, '    ')}\nnot ok 1 - bad\n1..1`;
  const [bad] = await read(file('test/b.test.ts', text, 'not ok 1 - test/b.test.ts'));
  t.match(judge([bad!], lenient), { passed: 0, failed: 1 });
  t.equal(
    describeFile(bad!),
    [
      'not ok test/b.test.ts: 1 test, 1 FAILED, 1.5 s',
      '  test/b.test.ts > bad > part > deep\n    diff: "+1"',
      '  test/b.test.ts > bad > second\n    at: here',
      '  test/b.test.ts > bad > third',
    ].join('\n'),
  );
});

t.test('a test, a file that ends badly, and one without tests', async (t) => {
  const timeout = 'not ok 1 - slow\n  ---\n  error: timeout!\n  ...\n1..1';
  const [slow, crashed, empty] = await read(
    file('test/c.test.ts', `# Subtest: slow\n    ok 1 - a\n    1..1\n${timeout}`, 'not ok 1 - test/c.test.ts'),
    file('test/d.test.ts', `${GOOD}1..1`, 'not ok 2 - test/d.test.ts').replace(
      /\n$/,
      '\n  ---\n  signal: SIGSEGV\n  ...\n',
    ),
    file('test/e.test.ts', '1..0', 'ok 3 - test/e.test.ts'),
  );
  t.match(slow!.tests, [{ name: 'slow', ok: false, failures: [/timeout!/] }]);
  t.match(crashed!.tests, [{ ok: true }, { name: 'the file as a whole', ok: false, failures: [/SIGSEGV/] }]);
  t.equal(empty!.tests.every(({ ok }) => !ok) && empty!.tests.length, empty!.skips.length > 0 ? 0 : 1);
});

t.test('work that is still to be done does not pass', async (t) => {
  const inside = '# Subtest: one\n    not ok 1 - part # TODO\n    1..1\nok 1 - one\n';
  const files = await read(file('test/f.test.ts', `${inside}ok 2 - later # TODO\n1..2`));
  t.match(judge(files, lenient), { passed: 0, failed: 2 });
  t.match(describeFile(files[0]!), '  test/f.test.ts > one > part (to do)\n');
});

t.test('nor does a test that asserts nothing', async (t) => {
  const files = await read(file('test/h.test.ts', '# Subtest: empty\n    1..0\nok 1 - empty\n1..1'));
  t.match(judge(files, lenient), { passed: 0, failed: 1 });
  t.match(describeFile(files[0]!), 'test/h.test.ts > empty\n    asserts nothing');
});

t.test('skips', async (t) => {
  const inside = '# Subtest: one\n    ok 1 - part # SKIP no disk\n    ok 2 - b\n    1..2\nok 1 - one\n';
  const files = await read(file('test/g.test.ts', `${inside}ok 2 - two # SKIP no GPU\n1..2`));
  const both = [
    { test: 'test/g.test.ts > one > part', reason: 'no disk' },
    { test: 'test/g.test.ts > two', reason: 'no GPU' },
  ];
  t.strictSame(files[0]!.skips, both);
  t.match(judge(files, lenient), { passed: 1, failed: 0, skipped: 2, complaints: [] });
  t.match(judge(files, { ...lenient, strict: true, allowed: both }), { complaints: [] });
  const strict = judge(files, { ...lenient, strict: true, allowed: [both[0]!] });
  t.strictSame(strict.complaints, ['skipped, and not listed in test/skips.json: test/g.test.ts > two (no GPU)']);
  t.equal(closingLine(strict), '1 passed, 1 failed, 2 skipped');

  const gone = [...both, { test: 'test/g.test.ts > three', reason: '' }];
  t.strictSame(judge(files, { strict: true, allowed: gone, whole: true }).complaints, [
    'test/skips.json lists a test that there is not: test/g.test.ts > three',
  ]);
  t.strictSame(
    judge(files, { strict: true, allowed: gone, whole: false }).complaints,
    [],
    'of some tests it cannot tell',
  );
  const part = [...both, { test: 'test/g.test.ts > two > its part', reason: '' }];
  t.strictSame(
    judge(files, { strict: true, allowed: part, whole: true }).complaints,
    [],
    'nor of parts of a skipped one',
  );
});

t.test('the slowest files first', (t) => {
  const files = [1, 30, 2].map((seconds, i) => ({ name: `${i}`, seconds, tests: [], skips: [], names: [] }));
  t.equal(slowest(files, 2), 'The slowest of 3 files, which took 33 s in all:\n    30.0 s  1\n     2.0 s  2');
  t.end();
});

t.test('what a test left running is ended, and named', async (t) => {
  const mark = `a-mark-of-this-test-${process.pid}`;
  const child = spawn('sleep', ['1000'], { detached: true, stdio: 'ignore', env: { ...process.env, [MARK]: mark } });
  t.teardown(() => child.kill('SIGKILL'));
  const ended = once(child, 'exit');
  await once(child, 'spawn');
  t.strictSame(await endLeftovers('another mark'), []);
  const lines = await endLeftovers(mark);
  t.equal(lines.length, 1);
  t.match(lines[0], /^left running.*: process \d+, sleep 1000$/);
  t.strictSame(await ended, [null, 'SIGKILL']);
  t.strictSame(await endLeftovers(mark), []);
});
