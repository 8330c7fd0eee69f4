/** What people see while training: the line on a terminal, the lines in a log, numbers, tables, Ctrl-C. */
import path from 'node:path';
import t from 'tap';
import { duration, integer, percent, plural, significant } from '../../lib/format.js';
import { Interrupt, TimeLimit } from '../../lib/cli/interrupt.js';
import { Progress } from '../../lib/cli/progress.js';
import { table } from '../../lib/cli/table.js';
import type { ProgressEvent } from '../../lib/training/events.js';
import { start } from '../support/cli.js';
import { moduleOf } from '../support/processes.js';

const event: ProgressEvent = {
  type: 'progress',
  phase: 'forward',
  epoch: 2,
  epochs: 5,
  stepInEpoch: 275,
  stepsPerEpoch: 550,
  step: 825,
  loss: 0.12345,
  error: 0.0312,
  imagesPerSecond: 45678.9,
  secondsLeft: 83.4,
};

t.test('on a terminal one line is rewritten', async (t) => {
  let written = '';
  const screen = { isTTY: true, columns: 120, write: (text: string) => (written += text) };
  const progress = new Progress(screen);
  progress.update(event);
  t.equal(written, '\r██████░░░░░░  epoch 2/5  1 min 23 s left  45,679 images/s  error 3.12 %  loss 0.1235\x1b[K');
  written = '';
  progress.line('done');
  t.equal(written, '\r\x1b[Kdone\n', 'a line takes its place');
  written = '';
  progress.clear();
  t.equal(written, '');
  for (const columns of [20, 40, 60, 80]) {
    written = '';
    screen.columns = columns;
    progress.update(event);
    const shown = written.slice(1).replace('\x1b[K', '');
    t.ok(shown.length < columns, `${shown.length} characters fit ${columns} columns`);
  }
  t.match(written, /epoch 2\/5  1 min 23 s left  45,679 images\/s  error 3\.12 %/, 'what counts, on 80 columns');
});

t.test('elsewhere at most one line a minute', async (t) => {
  const written: string[] = [];
  let now = 0;
  const progress = new Progress({ write: (text: string) => written.push(text) }, () => now);
  for (now = 0; now <= 150_000; now += 200) progress.update(event);
  t.equal(written.length, 2);
  t.match(written[0], /^epoch 2\/5 .* images\/s .*\n$/);
  t.notMatch(written.join(''), /[\r\x1b█]/);
  now = 170_000;
  progress.line('epoch line');
  now = 200_000;
  progress.update(event);
  t.equal(written.length, 3, 'another line counts');
});

t.test('a stream without a known length, and without a known end', async (t) => {
  let written = '';
  const progress = new Progress({ isTTY: true, columns: 100, write: (text: string) => (written += text) });
  progress.update({ ...event, stepsPerEpoch: null, secondsLeft: null });
  t.match(written, 'step 275  epoch 2/5  45,679 images/s');
});

t.test('numbers', async (t) => {
  t.equal(percent(0.01854), '1.85 %');
  t.equal(integer(1234567), '1,234,567');
  t.strictSame([0.04, 9.94, 9.96, 59.4, 59.6, 200, 3599.6, 7500, 86399, 273600, Infinity].map(duration), [
    '0.0 s',
    '9.9 s',
    '10 s',
    '59 s',
    '1 min 00 s',
    '3 min 20 s',
    '1 h 00 min',
    '2 h 05 min',
    '1 d 00 h',
    '3 d 04 h',
    '?',
  ]);
  t.strictSame([0, 0.12345, 12.3456, 1e31, 1e-7].map(significant), [
    '0.000',
    '0.1235',
    '12.35',
    '1.000e+31',
    '1.000e-7',
  ]);
  t.equal(plural(1, 'epoch'), '1 epoch');
  t.equal(plural(5000, 'image'), '5,000 images');
});

t.test('a table', async (t) => {
  const drawn = table(
    [{ title: 'rule' }, { title: 'error', align: 'right' }],
    [
      ['bp', '3.31 %'],
      ['dfa', '13.53 %'],
    ],
  );
  t.equal(
    drawn,
    [
      '────────────────',
      ' rule     error',
      '────────────────',
      ' bp      3.31 %',
      ' dfa    13.53 %',
      '────────────────',
    ].join('\n'),
  );
});

t.test('a second Ctrl-C ends at once what does not end by itself', async (t) => {
  const interrupt = moduleOf('lib/cli/interrupt.ts');
  const folder = t.testdir({
    'stuck.ts': `import { Interrupt } from ${interrupt};
      export const main = () => {
        const interrupt = new Interrupt((text) => console.log(text));
        console.log('ready');
        return new Promise(() => setInterval(() => interrupt.signal.aborted && console.log('aborted'), 100));
      };`,
  });
  const run = start([], { module: path.join(folder, 'stuck.ts') });
  await run.seen(/ready/);
  run.process.kill('SIGINT');
  await run.seen(/Stopping after this step; once more to stop at once\./);
  await run.seen(/(aborted\s+){5}/);
  t.equal(run.process.exitCode, null, 'the first is a request');
  run.process.kill('SIGINT');
  t.match(await run.finished, { code: 130 });
});

t.test('a second one at nearly the same time is the first, as npm and npx send it', (t) => {
  let now = 1000;
  const clock = t.capture(performance, 'now', () => now);
  const exits = t.capture(process, 'exit', () => undefined as never);
  using interrupt = new Interrupt(() => undefined);
  const codes: unknown[] = [];
  // Milliseconds after the first.
  for (const later of [0, 1, 250, 2000]) {
    now = 1000 + later;
    process.emit('SIGINT');
    codes.push(...exits().map(({ args }) => [later, ...args]));
  }
  t.ok(interrupt.signal.aborted);
  exits.restore();
  clock.restore();
  t.strictSame(codes, [[2000, 130]]);
  t.end();
});

t.test('a time limit counts from the start of the process', (t) => {
  // As if half an hour had gone into loading data.
  const clock = t.capture(performance, 'now', () => 1_800_000);
  const timers = t.capture(globalThis, 'setTimeout', () => undefined as never);
  for (const hours of [2, 0.25, undefined]) new TimeLimit(hours)[Symbol.dispose]();
  timers.restore();
  clock.restore();
  t.strictSame(
    timers().map(({ args }) => args[1]),
    [5_400_000, 1],
  );
  t.end();
});
