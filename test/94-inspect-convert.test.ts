/** inspect and convert: there and back without a changed byte, and what is refused. */
import fs from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { openCheckpoint } from '../lib/checkpoint/checkpoint-file.js';
import { tensorsOf } from '../lib/checkpoint/stored-values.js';
import { tensorDataFrom } from '../lib/checkpoint/tensor-data.js';
import { saveTorchFile } from '../lib/checkpoint/torch-file.js';
import { OrderedDict } from '../lib/checkpoint/value.js';
import { convert } from '../lib/cli/convert.js';

const folder = t.testdir({});
const at = (name: string): string => path.join(folder, name);

const names = async (file: string): Promise<string[]> => {
  await using open = await openCheckpoint(file);
  return [...tensorsOf(open.value)].map(([name]) => name).sort();
};

t.test('a training checkpoint there and back', async (t) => {
  t.capture(console, 'error');
  const tensor = (value: number) => tensorDataFrom(Float32Array.of(value, 2), [2]);
  await saveTorchFile(at('a.pt'), {
    state_dict: new OrderedDict([
      ['layers.0.weight', tensor(1)],
      ['layers.0.weight_backward', tensor(3)],
    ]),
    config: { rule: 'fa', seed: 1 },
    epoch: 2,
    step: 9,
    metrics: null,
  });
  t.equal(await convert({}, at('a.pt'), at('b.safetensors')), 0);
  t.equal(await convert({}, at('b.safetensors'), at('c.pt')), 0);
  t.ok(fs.readFileSync(at('a.pt')).equals(fs.readFileSync(at('c.pt'))), 'the same bytes');
  await convert({ forwardOnly: true }, at('a.pt'), at('d.pt'));
  t.strictSame(await names(at('d.pt')), ['layers.0.weight']);
});

t.test('refused', async (t) => {
  await t.rejects(convert({}, at('a.pt'), at('a.pt')), { code: 'ERR_USAGE', message: /same file/ });
  await t.rejects(convert({}, at('a.pt'), at('a.onnx')), { code: 'ERR_USAGE', message: /has to end in/ });
});
