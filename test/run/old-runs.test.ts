/** What earlier versions left behind is read, and gone on with (test/fixtures/old-runs). */
import fs from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { openCheckpoint, type TensorData } from '../../lib/index.js';
import { readCheckpoint } from '../../lib/training/checkpoint.js';
import { packageRoot } from '../../scripts/paths.mjs';
import { cortorch, metricsOf, writeTinyData } from '../support/cli.js';
import { largestDifference } from '../support/compare.js';
import { within } from '../support/folders.js';
import type { Numbers } from '../support/numbers.js';
import { readAll } from '../support/read-all.js';

const folder = path.join(packageRoot, 'test/fixtures/old-runs');
const versions = fs.readdirSync(folder).filter((name) => /^\d+\.\d+/.test(name));
const at = within(t.testdir());
const data = writeTinyData(at('data'), { train: 240, test: 60 });

/** Parameters and moments by name. */
async function numbersOf(file: string): Promise<Map<string, Numbers>> {
  const { parameters, training } = await readCheckpoint(file);
  const { optimizer, inverseOptimizer } = training!.state;
  const moments = [...optimizer.parameters, ...(inverseOptimizer?.parameters ?? [])].flatMap(({ name, state }) =>
    Object.entries(state).map(([key, values]): [string, Numbers] => [`${name}, ${key}`, values]),
  );
  return new Map([...[...parameters].map(([name, { data }]): [string, Numbers] => [name, data]), ...moments]);
}

t.ok(versions.length > 0, 'there are runs of earlier versions');
for (const version of versions) {
  const runs = fs.readdirSync(path.join(folder, version));
  for (const name of runs) {
    t.test(`${name} of version ${version}`, async (t) => {
      const old = path.join(folder, version, name);
      const run = at(version, name);
      fs.cpSync(old, run, { recursive: true });

      const best = await readCheckpoint(path.join(run, 'best.pt'));
      const flags = ['--dataset', 'mnist', '--data-dir', data, '--json'];
      const scores = await cortorch(['eval', '--checkpoint', path.join(run, 'best.pt'), ...flags]);
      t.equal(scores.code, 0, scores.stderr);
      const recorded = metricsOf(old).find(({ epoch, type }) => type === 'epoch' && epoch === best.epoch)!.test;
      t.equal(scores.lines.at(-1)!.error, recorded.error, 'the best epoch’s error on the test set');
      t.ok(Math.abs((scores.lines.at(-1)!.loss as number) / recorded.loss - 1) < 1e-5, 'and its loss');

      await using file = await openCheckpoint(path.join(run, 'last.pt'));
      const whole = (await readAll(file.value)) as ReadonlyMap<string, ReadonlyMap<string, TensorData>>;
      const { parameters } = await readCheckpoint(path.join(run, 'last.pt'));
      t.ok(parameters.size > 0);
      for (const [key, { data: values }] of parameters) {
        const bytes = Buffer.from(values.buffer, values.byteOffset, values.byteLength);
        t.ok(bytes.equals(whole.get('state_dict')!.get(key)!.data), `${key}, tensor by tensor`);
      }

      const resumed = await cortorch(['train', '--resume', run, '--data-dir', data, '--json']);
      t.equal(resumed.code, 0, resumed.stderr);
      const [stopped, wanted, found] = await Promise.all(
        [path.join(old, 'last.pt'), path.join(old, 'end.pt'), path.join(run, 'last.pt')].map(numbersOf),
      );
      t.strictSame([...found!.keys()].sort(), [...wanted!.keys()].sort(), 'names');
      let moved = 0;
      for (const [key, values] of wanted!) {
        const way = largestDifference(values, stopped!.get(key)!);
        if (way > 0) moved++;
        const off = largestDifference(found!.get(key)!, values);
        t.ok(way < Infinity && off <= 1e-5 * way, `${key} is off by ${off}, having moved by ${way}`);
      }
      t.ok(moved > 3, `${moved} arrays moved`);
      const [ours, theirs] = [readCheckpoint(path.join(run, 'last.pt')), readCheckpoint(path.join(old, 'end.pt'))];
      t.strictSame([(await ours).epoch, (await ours).step], [(await theirs).epoch, (await theirs).step]);
    });
  }
}
