/** TensorBoard's event files, read back by a reader of the test's own, and by TensorBoard where it is installed. */
import fs from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { EventFile } from '../../lib/training/event-file.js';
import { cortorch, smallSpec, writeTinyData } from '../support/cli.js';
import { runPython, whyNoPython } from '../support/python.js';

/** Bit by bit. */
function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffffn;
  for (const byte of bytes) {
    crc ^= BigInt(byte);
    for (let bit = 0; bit < 8; bit++) crc = crc & 1n ? (crc >> 1n) ^ 0x82f63b78n : crc >> 1n;
  }
  return Number(crc ^ 0xffffffffn);
}

function* records(bytes: Buffer): Generator<Buffer> {
  for (let at = 0; at < bytes.length;) {
    const length = Number(bytes.readBigUInt64LE(at));
    const data = bytes.subarray(at + 12, at + 12 + length);
    for (const [checked, place] of [
      [bytes.subarray(at, at + 8), at + 8],
      [data, at + 12 + length],
    ] as const) {
      const crc = BigInt(crc32c(checked));
      const masked = (((crc >> 15n) | (crc << 17n)) + 0xa282ead8n) & 0xffffffffn;
      if (bytes.readUInt32LE(place) !== Number(masked)) throw new Error(`checksum at ${place}`);
    }
    yield data;
    at += 16 + length;
  }
}

type Field = number | Buffer;
/** The fields of a message by number: varints, doubles and floats as numbers. */
function fields(bytes: Buffer): Map<number, Field> {
  let at = 0;
  const varint = (): number => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = BigInt(bytes[at++]!);
      value |= (byte & 127n) << shift;
      if (byte < 128n) return Number(value);
    }
  };
  const found = new Map<number, Field>();
  while (at < bytes.length) {
    const key = varint();
    const [field, type] = [key >> 3, key & 7];
    if (type === 0) found.set(field, varint());
    else if (type === 1) {
      found.set(field, bytes.readDoubleLE(at));
      at += 8;
    } else if (type === 5) {
      found.set(field, bytes.readFloatLE(at));
      at += 4;
    } else {
      const length = varint();
      found.set(field, bytes.subarray(at, at + length));
      at += length;
    }
  }
  return found;
}

const message = (bytes: Field | undefined): Map<number, Field> => fields(bytes as Buffer);
const doubles = (bytes: Field | undefined): number[] =>
  Array.from({ length: (bytes as Buffer).length / 8 }, (_, i) => (bytes as Buffer).readDoubleLE(8 * i));

interface Point {
  readonly step: number;
  readonly tag: string;
  readonly value: number | undefined;
  readonly histogram: Map<number, Field> | undefined;
}

function pointsOf(file: string): { version: string; starts: number[]; points: Point[] } {
  const [first, ...rest] = [...records(fs.readFileSync(file))].map(fields);
  const starts: number[] = [];
  const points: Point[] = [];
  for (const event of rest) {
    const step = event.get(2) as number;
    if (event.has(7) && message(event.get(7)).get(1) === 1) starts.push(step);
    if (!event.has(5)) continue;
    const value = message(message(event.get(5)).get(1));
    points.push({
      step,
      tag: String(value.get(1)),
      value: value.get(2) as number | undefined,
      histogram: value.has(5) ? message(value.get(5)) : undefined,
    });
  }
  return { version: String(first!.get(3)), starts, points };
}

const eventFiles = (folder: string): string[] =>
  fs
    .readdirSync(folder)
    .filter((name) => name.includes('tfevents'))
    .sort()
    .map((name) => path.join(folder, name));

t.test('the reader knows the checksum', (t) => {
  t.equal(crc32c(Buffer.from('123456789')), 0xe3069283);
  t.end();
});

t.test('scalars and histograms', async (t) => {
  const folder = t.testdir();
  const file = await EventFile.open(folder, 2 ** 33 + 5);
  const values = Float32Array.from({ length: 5000 }, (_, i) => Math.sin(i) * 3 + (i % 7));
  file.scalar('loss/train', 0.25, 2 ** 33 + 7);
  file.scalar('loss/train', NaN, 9);
  file.histogram('w', values, 12);
  file.histogram('odd', Float32Array.of(NaN, 2, Infinity, 2), 13);
  file.histogram('nothing', Float32Array.of(NaN), 13);
  await file.flush();
  await file.close();
  const { version, starts, points } = pointsOf(file.path);
  t.equal(version, 'brain.Event:2');
  t.strictSame(starts, [2 ** 33 + 5]);
  t.strictSame(
    points.map(({ tag, step }) => [tag, step]),
    [
      ['loss/train', 2 ** 33 + 7],
      ['w', 12],
      ['odd', 13],
    ],
  );
  t.equal(points[0]!.value, 0.25);
  const histogram = points[1]!.histogram!;
  const [limits, counts] = [doubles(histogram.get(6)), doubles(histogram.get(7))];
  const numbers = [...values];
  t.equal(histogram.get(1), Math.min(...numbers));
  t.equal(histogram.get(2), Math.max(...numbers));
  t.equal(histogram.get(3), 5000);
  t.ok(Math.abs((histogram.get(4) as number) - numbers.reduce((a, b) => a + b, 0)) < 1e-6);
  t.ok(Math.abs((histogram.get(5) as number) - numbers.reduce((a, b) => a + b * b, 0)) < 1e-6);
  t.equal(counts.length, 64);
  t.equal(
    counts.reduce((a, b) => a + b, 0),
    5000,
    'each value is counted',
  );
  // A value on a limit may be counted on either side of it.
  let below = 0;
  for (const [i, limit] of limits.entries()) {
    below += counts[i]!;
    const [least, most] = [1e-9, -1e-9].map((slack) => numbers.filter((value) => value <= limit - slack).length);
    t.ok(below >= least! && below <= most!, `${below} values up to ${limit}`);
  }
  const odd = points[2]!.histogram!;
  t.strictSame([odd.get(1), odd.get(2), odd.get(3), doubles(odd.get(6)), doubles(odd.get(7))], [2, 2, 2, [2], [2]]);
});

t.test('a folder that is not there', async (t) => {
  await t.rejects(EventFile.open(path.join(t.testdir(), 'absent')), {
    code: 'ERR_WRITE_FAILED',
    message: /absent/,
  });
});

t.test('of a run that is resumed', async (t) => {
  const folder = t.testdir({ 'small.json': JSON.stringify(smallSpec) });
  const out = path.join(folder, 'run');
  const data = writeTinyData(path.join(folder, 'data'));
  const first = await cortorch([
    ...['train', '--dataset', 'mnist', '--data-dir', data, '--model', path.join(folder, 'small.json')],
    ...['--validation', '100', '--batch-size', '50', '--epochs', '2', '--out', out, '--json'],
  ]);
  t.equal(first.code, 0, first.stderr);
  const resumed = await cortorch(['train', '--resume', out, '--epochs', '3', '--json']);
  t.equal(resumed.code, 0, resumed.stderr);
  const [before, after, ...others] = eventFiles(out).map(pointsOf);
  t.equal(others.length, 0);
  t.strictSame([before!.starts, after!.starts], [[], [21]], 'what is dropped begins after the checkpoint');
  const epochs = [...first.lines, ...resumed.lines].filter(({ type }) => type === 'epoch');
  for (const name of ['train', 'validation', 'test'] as const) {
    const curve = [...before!.points, ...after!.points].filter(({ tag }) => tag === `error/${name}`);
    t.strictSame(
      curve.map(({ step, value }) => [step, value]),
      epochs.map((line, i) => [10 * (i + 1), Math.fround(line[name].error)]),
    );
  }
  const histograms = after!.points.filter(({ histogram }) => histogram !== undefined);
  t.strictSame(
    histograms.map(({ tag, step }) => [tag, step]),
    ['layers.0.weight', 'layers.0.bias', 'layers.1.weight', 'layers.1.bias'].map((name) => [name, 30]),
  );
  t.equal(histograms[0]!.histogram!.get(3), 784 * 32);

  // After a crash behind the last checkpoint the diagnosis of the next step is made again, and has one point.
  const crashed = path.join(folder, 'crashed');
  const whole = await cortorch([
    ...['train', '--dataset', 'mnist', '--data-dir', data, '--model', path.join(folder, 'small.json')],
    ...['--validation', '100', '--batch-size', '50', '--epochs', '2', '--out', crashed, '--json'],
    ...['--keep', '3', '--diagnostics', '5'],
  ]);
  t.equal(whole.code, 0, whole.stderr);
  fs.copyFileSync(path.join(crashed, 'step-000000010.pt'), path.join(crashed, 'last.pt'));
  const again = await cortorch(['train', '--resume', crashed, '--json']);
  t.equal(again.code, 0, again.stderr);
  const [old, renewed] = eventFiles(crashed).map(pointsOf);
  const left = old!.points.filter(({ step }) => step < renewed!.starts[0]!); // as TensorBoard reads them
  const angles = [...left, ...renewed!.points].filter(({ tag }) => tag === 'gradientAngle/layers.0');
  t.strictSame(
    angles.map(({ step }) => step),
    [1, 6, 11, 16],
    'each once, at the step that it is of',
  );

  const why = whyNoPython('tensorboard');
  if (why !== false) t.comment(`only the reader above has read the files: ${why}`);
  else {
    const script = `
import json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
events = EventAccumulator(sys.argv[1]).Reload()
print(json.dumps([[e.step, e.value] for e in events.Scalars('error/test')]))`;
    const test = epochs.map((line, i) => [10 * (i + 1), Math.fround(line['test'].error)]);
    t.strictSame(JSON.parse(runPython(script, out)), test);
  }
});
