import { execFileSync } from 'node:child_process';
import {
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  writeFileSync,
  lstatSync,
  chmodSync,
} from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { basename, join } from 'node:path';
import t from 'tap';
import { CortorchError } from '../../lib/errors.js';
import { LineFile, removeLeftovers, writeFailure, writeFileAtomic } from '../../lib/files.js';
import { nodeCommand, run } from '../support/processes.js';

const bytes = (text: string): Uint8Array => Buffer.from(text);

// A real full disk: a mount namespace of its own with a file system of 256 KiB, for root and for other users alike.
const disk = t.testdir();
const onSmallDisk = (script: string) =>
  run('unshare', [
    ...['-rm', 'sh', '-c', 'mount -t tmpfs -o size=256k none "$0" && exec "$@"', disk],
    ...nodeCommand(script, [disk]),
  ]);
const trial = await onSmallDisk('0');
const noSmallDisk = trial.code !== 0 && `no mount namespaces here: ${trial.stderr}`;

t.test('writeFileAtomic writes, replaces and leaves nothing else', async (t) => {
  const folder = t.testdir({ old: 'before' });
  await writeFileAtomic(join(folder, 'new'), bytes('one'));
  await writeFileAtomic(join(folder, 'old'), [bytes('two'), bytes(''), bytes('three')]);
  async function* slowly(): AsyncGenerator<Uint8Array> {
    yield bytes('four');
    await new Promise((resolve) => setTimeout(resolve, 5));
    yield bytes('five');
  }
  await writeFileAtomic(join(folder, 'slow'), slowly());
  await writeFileAtomic(join(folder, 'empty'), []);
  t.equal(readFileSync(join(folder, 'new'), 'utf8'), 'one');
  t.equal(readFileSync(join(folder, 'old'), 'utf8'), 'twothree');
  t.equal(readFileSync(join(folder, 'slow'), 'utf8'), 'fourfive');
  t.equal(readFileSync(join(folder, 'empty'), 'utf8'), '');
  t.strictSame(readdirSync(folder).sort(), ['empty', 'new', 'old', 'slow']);
});

t.test('the old file is whole until the new one is', async (t) => {
  const folder = t.testdir({ file: 'before' });
  const path = join(folder, 'file');
  function* watched(): Generator<Uint8Array> {
    yield bytes('af');
    t.equal(readFileSync(path, 'utf8'), 'before');
    t.equal(readdirSync(folder).length, 2, 'it is written beside, in the same folder');
    yield bytes('ter');
  }
  await writeFileAtomic(path, watched());
  t.equal(readFileSync(path, 'utf8'), 'after');
});

const noProc = process.platform !== 'linux';
t.test('on the disk before it is in the place of the old file, and the folder after', { skip: noProc }, async (t) => {
  const folder = t.testdir({ file: 'before' });
  const handle = await open(folder);
  const prototype = Object.getPrototypeOf(handle) as Record<'sync', (this: unknown) => Promise<void>>;
  const { sync } = prototype;
  const flushes: { name: string; file: string }[] = [];
  t.capture(prototype, 'sync', function (this: unknown) {
    const { fd } = this as FileHandle;
    const name = basename(readlinkSync(`/proc/self/fd/${fd}`)).replace(/[0-9a-f]{16}/, 'X');
    flushes.push({ name, file: readFileSync(join(folder, 'file'), 'utf8') });
    return sync.call(this);
  });
  await writeFileAtomic(join(folder, 'file'), bytes('after'));
  await handle.close();
  t.strictSame(flushes, [
    { name: '.file.X.tmp', file: 'before' },
    { name: basename(folder), file: 'after' },
  ]);
});

t.test('an error of the content passes through, and the old file stays', async (t) => {
  const folder = t.testdir({ file: 'before' });
  const trouble = new RangeError('no more');
  function* broken(): Generator<Uint8Array> {
    yield bytes('half');
    throw trouble;
  }
  await t.rejects(writeFileAtomic(join(folder, 'file'), broken()), trouble);
  t.equal(readFileSync(join(folder, 'file'), 'utf8'), 'before');
  t.strictSame(readdirSync(folder), ['file']);
});

t.test('many writers of one file: it is always the whole of one', async (t) => {
  const path = join(t.testdir(), 'file');
  await Promise.all(Array.from({ length: 20 }, (_, i) => writeFileAtomic(path, bytes(String(i % 10).repeat(1000)))));
  t.match(readFileSync(path, 'utf8'), /^(\d)\1{999}$/);
  t.equal(readdirSync(join(path, '..')).length, 1);
});

t.test('a link is followed; what is no regular file is refused', async (t) => {
  const folder = t.testdir({ target: 'before', inner: {} });
  symlinkSync('target', join(folder, 'link'));
  await writeFileAtomic(join(folder, 'link'), bytes('after'));
  t.equal(readFileSync(join(folder, 'target'), 'utf8'), 'after');
  t.ok(lstatSync(join(folder, 'link')).isSymbolicLink());
  // A pipe in place of a device such as /dev/null: a mistake here, run as root, would replace the machine's own.
  const pipe = join(folder, 'pipe');
  execFileSync('mkfifo', [pipe]);
  await t.rejects(writeFileAtomic(pipe, bytes('x')), {
    code: 'ERR_WRITE_FAILED',
    message: /not a regular file/,
  });
  t.ok(statSync(pipe).isFIFO());
  await t.rejects(writeFileAtomic(join(folder, 'inner'), bytes('x')), {
    code: 'ERR_WRITE_FAILED',
    message: /folder of that name/,
  });
});

t.test('failures say where, why and what to do', async (t) => {
  const folder = t.testdir({ plain: '' });
  const missing = join(folder, 'missing', 'file');
  await t.rejects(writeFileAtomic(missing, bytes('x')), {
    code: 'ERR_WRITE_FAILED',
    message: `cannot write ${missing}: the folder ${join(folder, 'missing')} does not exist; create it or write to another folder`,
  });
  await t.rejects(writeFileAtomic(join(folder, 'plain', 'file'), bytes('x')), {
    message: /plain is not a folder/,
  });
  await t.rejects(writeFileAtomic(join(folder, 'n'.repeat(300)), bytes('x')), {
    message: /the name is too long/,
  });
  const system = Object.assign(new Error('x'), { code: 'ENOSPC' });
  const error = writeFailure('/a/b', system);
  t.equal(error.message, 'cannot write /a/b: the disk is full; free some space or write to another disk');
  t.equal(error.cause, system);
  t.equal(writeFailure('/c', error), error, 'an error that is translated is not translated again');
  t.match(writeFailure('/a/b', Object.assign(new Error('x'), { code: 'EROFS' })).message, /\/a is read-only/);
});

const root = process.getuid?.() === 0 && 'root may write everywhere';
t.test('a folder without permission', { skip: root }, async (t) => {
  const folder = t.testdir({ inner: {} });
  chmodSync(join(folder, 'inner'), 0o555);
  await t.rejects(writeFileAtomic(join(folder, 'inner', 'file'), bytes('x')), {
    message: /no permission to write/,
  });
});

t.test('a disk that fills', { skip: noSmallDisk }, async (t) => {
  const script = `
    import { readdirSync, readFileSync, writeFileSync, rmSync } from 'node:fs';
    const { writeFileAtomic, LineFile } = await import(${JSON.stringify(new URL('../../lib/files.ts', import.meta.url).href)});
    const disk = process.argv[1];
    const old = Buffer.alloc(100_000, 'a');
    await writeFileAtomic(disk + '/last.pt', old);
    const failure = await writeFileAtomic(disk + '/last.pt', [old, old]).catch((e) => e);
    const whole = readFileSync(disk + '/last.pt').equals(old);
    const left = readdirSync(disk);
    const lines = await LineFile.open(disk + '/metrics.jsonl');
    await lines.append('first');
    writeFileSync(disk + '/filler', Buffer.alloc(140_000));
    const lineFailure = await lines.append('x'.repeat(100_000)).catch((e) => e);
    const count = lines.lines;
    rmSync(disk + '/filler');
    await lines.append('second');
    await lines.close();
    const text = readFileSync(disk + '/metrics.jsonl', 'utf8');
    console.log(JSON.stringify({ code: failure.code, message: failure.message, whole, left,
      lineCode: lineFailure.code, lineMessage: lineFailure.message, count, text }));
  `;
  const { stdout, stderr } = await onSmallDisk(script);
  t.equal(stderr, '');
  const result = JSON.parse(stdout) as object;
  t.strictSame(result, {
    code: 'ERR_WRITE_FAILED',
    message: `cannot write ${disk}/last.pt: the disk is full; free some space or write to another disk`,
    whole: true,
    left: ['last.pt'],
    lineCode: 'ERR_WRITE_FAILED',
    lineMessage: `cannot write ${disk}/metrics.jsonl: the disk is full; free some space or write to another disk`,
    count: 1,
    text: 'first\nsecond\n',
  });
});

t.test('removeLeftovers takes what a killed writer of that file left, and nothing else', async (t) => {
  const folder = t.testdir({
    'last.pt': 'x',
    '.last.pt.0123456789abcdef.tmp': 'x',
    '.last.pt.tmp': 'x',
    '.best.pt.0123456789abcdef.tmp': 'x',
    '.lastxpt.0123456789abcdef.tmp': 'x',
  });
  await removeLeftovers(join(folder, 'last.pt'));
  t.strictSame(readdirSync(folder).sort(), [
    '.best.pt.0123456789abcdef.tmp',
    '.last.pt.tmp',
    '.lastxpt.0123456789abcdef.tmp',
    'last.pt',
  ]);
});

t.test('LineFile', async (t) => {
  const path = join(t.testdir(), 'metrics.jsonl');
  const file = await LineFile.open(path);
  t.equal(file.lines, 0);
  await Promise.all([file.append('{"a":1}'), file.append('zwei ✓'), file.append('')]);
  t.equal(readFileSync(path, 'utf8'), '{"a":1}\nzwei ✓\n\n', 'in the order of the calls, there as they are written');
  t.strictSame(await file.readLines(), ['{"a":1}', 'zwei ✓', '']);
  t.throws(() => file.append('two\nlines'), { code: 'ERR_INVALID_ARGUMENT' });
  t.throws(() => file.truncateToLines(4), { code: 'ERR_INVALID_ARGUMENT', message: /from 0 to 3/ });
  await file.truncateToLines(1);
  await file.append('next');
  await file.close();
  t.equal(readFileSync(path, 'utf8'), '{"a":1}\nnext\n');
  await t.rejects(file.append('late'), CortorchError, 'closed');
});

t.test('LineFile goes on with a file that is there, without its unfinished last line', async (t) => {
  const folder = t.testdir({ log: `${'x'.repeat(100_000)}\nsecond ✓\n{"unfini`, none: '' });
  const file = await LineFile.open(join(folder, 'log'));
  t.equal(file.lines, 2);
  await file.append('third');
  t.strictSame((await file.readLines()).slice(1), ['second ✓', 'third']);
  await file.truncateToLines(0);
  await file.close();
  t.equal(readFileSync(join(folder, 'log'), 'utf8'), '');
  await t.rejects(LineFile.open(join(folder, 'no', 'log')), {
    code: 'ERR_WRITE_FAILED',
    message: /does not exist/,
  });
  mkdirSync(join(folder, 'sub'));
  await t.rejects(LineFile.open(join(folder, 'sub')), {
    code: 'ERR_WRITE_FAILED',
    message: /folder of that name/,
  });
  writeFileSync(join(folder, 'none'), '');
  const empty = await LineFile.open(join(folder, 'none'));
  t.strictSame(await empty.readLines(), []);
  await empty.close();
});
