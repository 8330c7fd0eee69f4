/** Parameters under other names, wrapped in other people's files and of other types. */
import fs from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { saveTorchFile } from '../../lib/checkpoint/torch-file.js';
import type { DType } from '../../lib/checkpoint/tensor-data.js';
import { Network, network, type StateDict } from '../../lib/index.js';
import { matchParameters } from '../../lib/model/match-parameters.js';
import { readCheckpoint } from '../../lib/training/checkpoint.js';
import { findParameters } from '../../lib/training/find-parameters.js';
import { cortorch, smallSpec, writeTinyData } from '../support/cli.js';
import { digests } from '../support/digests.js';
import { within } from '../support/folders.js';
import { count } from '../support/maps.js';

const value = (shape: readonly number[], fill = 0) => ({
  shape,
  data: new Float32Array(count(shape)).fill(fill),
});
const dict = (shapes: Readonly<Record<string, readonly number[]>>): StateDict =>
  new Map(Object.entries(shapes).map(([name, shape], i) => [name, value(shape, i + 1)]));
const wanted = [
  { name: 'layers.0.weight', shape: [4, 3] },
  { name: 'layers.0.bias', shape: [4] },
  { name: 'layers.1.weight', shape: [2, 4] },
  { name: 'layers.1.bias', shape: [2] },
];
const names = wanted.map(({ name }) => name);
const torch = { 'fc1.weight': [4, 3], 'fc1.bias': [4], 'fc2.weight': [2, 4], 'fc2.bias': [2] };

t.test('wrappers and counters are taken off', async (t) => {
  const shapes = Object.fromEntries(wanted.map(({ name, shape }) => [`module._orig_mod.${name}`, shape]));
  const match = matchParameters(wanted, dict({ ...shapes, 'module._orig_mod.bn.num_batches_tracked': [] }));
  t.match(match, { missing: [], unexpected: [], misshaped: [] });
  t.strictSame([...match.state.keys()], names);
  const some = matchParameters(wanted, dict({ 'module.layers.0.weight': [4, 3], 'layers.0.bias': [4] }));
  t.strictSame(some.unexpected, ['module.layers.0.weight'], 'only what all names begin with');
  t.strictSame(some.suggestions, [{ from: 'module.layers', to: 'layers' }]);
});

t.test('a map renames prefixes and exact names, the longest first', async (t) => {
  const map = {
    fc1: 'layers.0',
    fc2: 'nothing',
    'fc2.weight': 'layers.1.weight',
    'fc2.bias': 'layers.1.bias',
  };
  t.throws(() => matchParameters(wanted, dict(torch), { map: { fc: 'layers' } }), {
    code: 'ERR_CHECKPOINT_MISMATCH',
    message: /no parameter is called fc or begins with fc\. \(there are fc1\.weight, fc1\.bias/,
  });
  t.throws(() => matchParameters(wanted, dict(torch), { map: { fc1: 'fc2' } }), {
    message: /fc1\.weight and fc2\.weight would both become fc2\.weight/,
  });
  const match = matchParameters(wanted, dict(torch), { map });
  t.strictSame([...match.state.keys()], names);
  t.equal(match.state.get('layers.1.weight')!.data[0], 3);
});

t.test('what is likely is suggested, by shape and order', async (t) => {
  const { missing, unexpected, suggestions } = matchParameters(wanted, dict(torch));
  t.strictSame([missing, unexpected], [names, Object.keys(torch)]);
  t.strictSame(suggestions, [
    { from: 'fc1', to: 'layers.0' },
    { from: 'fc2', to: 'layers.1' },
  ]);
  const other = matchParameters(wanted, dict({ ...torch, 'fc2.weight': [3, 4] }));
  t.strictSame(suggestions, other.suggestions, 'one shape of a layer is enough to know the layer');
  t.strictSame(matchParameters(wanted, dict({ 'a.weight': [9, 9] })).suggestions, []);
});

t.test('loadStateDict: strict, and what fits', async (t) => {
  using net = new Network(network({ features: 3 }).dense(4, { activation: 'tanh' }).dense(2).softmaxCrossEntropy(), {
    seed: 1,
    threads: 1,
  });
  const before = await net.stateDict();
  await t.rejects(net.loadStateDict(dict(torch)), {
    code: 'ERR_CHECKPOINT_MISMATCH',
    message: /missing: layers\.0\.weight.*unexpected: fc1.*likely --map fc1=layers\.0,fc2=layers\.1; use the model/,
  });
  await t.rejects(net.loadStateDict(dict({ a: [1] }), { partial: true }), { message: /missing: / });
  t.strictSame(await net.stateDict(), before);
  const map = { fc1: 'layers.0', fc2: 'layers.1' };
  const all = { missing: [], unexpected: [], misshaped: [] };
  t.strictSame(await net.loadStateDict(dict(torch), { map }), all);
  await net.loadStateDict(before);
  const part = dict({ ...torch, 'fc2.weight': [5, 4], 'fc2.bias': [5] });
  t.strictSame(await net.loadStateDict(part, { map: { fc1: 'layers.0' }, partial: true }), {
    missing: ['layers.1.weight', 'layers.1.bias'],
    unexpected: ['fc2.weight', 'fc2.bias'],
    misshaped: [],
  });
  const after = await net.stateDict();
  t.equal(after.get('layers.0.weight')!.data[0], 1);
  t.strictSame(after.get('layers.1.weight'), before.get('layers.1.weight'));
});

const folder = t.testdir({ 'small.json': JSON.stringify(smallSpec) });
const at = within(folder);

t.test('files: where the parameters are, and of what type', async (t) => {
  const tensor = (dtype: DType, bytes: readonly number[], shape: readonly number[]) => ({
    dtype,
    shape,
    data: Uint8Array.from(bytes),
  });
  const file = at('types.pt');
  const halves = [0x00, 0x3c, 0x00, 0xc0, 0x01, 0x00, 0xff, 0x7b, 0x00, 0x7c];
  const types = {
    half: tensor('float16', halves, [5]),
    brain: tensor('bfloat16', [0x80, 0x3f, 0x49, 0xc0], [2]),
    double: tensor('float64', [...new Uint8Array(Float64Array.of(0.1).buffer)], []),
    long: tensor('int64', [...new Uint8Array(BigInt64Array.of(-7n).buffer)], []),
  };
  await saveTorchFile(file, { epoch: 1, model: types, optimizer: { state: {} } });
  const { key, parameters } = await findParameters(file);
  t.equal(key, 'model');
  const read = Object.fromEntries([...parameters].map(([name, { data }]) => [name, [...data]]));
  t.strictSame(read, {
    half: [1, -2, 2 ** -24, 65504, Infinity],
    brain: [1, -3.140625],
    double: [Math.fround(0.1)],
    long: [-7],
  });
  await saveTorchFile(file, types);
  t.match(await findParameters(file), { key: null });
  await saveTorchFile(file, { net: types, ema: types, epoch: 3 });
  await t.rejects(findParameters(file), {
    code: 'ERR_CHECKPOINT_UNSUPPORTED',
    message: /cannot choose .*net, ema are each a dict of tensors; save the one/,
  });
  await saveTorchFile(file, { ema: types, state_dict: { half: types.half }, epoch: 3 });
  const { key: preferred, parameters: own } = await findParameters(file);
  t.strictSame([preferred, [...own.keys()]], ['state_dict', ['half']], 'that is what it is called');
  await saveTorchFile(file, { odd: tensor('complex64', Array<number>(8).fill(0), []) });
  await t.rejects(findParameters(file), { message: /odd in its state_dict is complex64/ });
});

t.test('--init, --map and --partial; eval of a file without config', async (t) => {
  const data = writeTinyData(at('data'), { train: 100, test: 50 });
  using net = new Network(smallSpec as never, { seed: 4, threads: 1 });
  const foreign = at('foreign.pt');
  const tensors = [...(await net.stateDict())].map(([name, { shape, data }]) => [
    name.replace('layers.0', 'fc1').replace('layers.1', 'fc2'),
    { dtype: 'float32', shape, data: new Uint8Array(data.buffer, data.byteOffset, data.byteLength) },
  ]);
  await saveTorchFile(foreign, { model: Object.fromEntries(tensors) as object });
  const MAP = ['--map', 'fc1=layers.0', '--map', 'fc2=layers.1'];
  const TRAIN = ['train', '--dataset', 'mnist', '--data-dir', data, '--model', at('small.json')];
  const train = (...more: string[]) =>
    cortorch([...TRAIN, '--validation', '0', '--threads', '1', '--max-steps', '1', ...more]);

  t.match(await train('--init', foreign), { code: 1, stderr: /likely --map fc1=layers\.0,fc2=layers\.1/ });
  t.match(await train(...MAP), { code: 2, stderr: /--map is not used .*add --init FILE/ });
  t.match(await train('--init', foreign, '--map', 'fc1'), { code: 2, stderr: /expected FROM=TO/ });
  const out = at('run');
  const whole = await train('--init', foreign, ...MAP, '--lr', '1e-30', '--out', out);
  t.match(whole, { code: 0, stderr: /its parameters are those of model/ });
  const { parameters } = await readCheckpoint(path.join(out, 'last.pt'));
  // Biases start at zero, from where the smallest step is seen.
  const weights = (state: StateDict) => digests(new Map([...state].filter(([name]) => name.endsWith('weight'))));
  t.strictSame(weights(parameters), weights(await net.stateDict()));
  const part = await train('--init', foreign, '--map', 'fc1=layers.0', '--partial');
  t.match(part, { code: 0, stderr: /not everything fits, missing: layers\.1\.weight.*unexpected: fc2/ });

  t.match(JSON.parse(fs.readFileSync(path.join(out, 'config.json'), 'utf8')), {
    map: ['fc1=layers.0', 'fc2=layers.1'],
  });
  for (const [message, ...more] of [
    [/--map is fc1=a, but the run in .* has fc1=layers\.0,fc2=layers\.1/, '--map', 'fc1=a'],
    [/--partial is true, but the run in .* does not use it/, '--partial'],
    [/--init is .*other\.pt, but the run in .* has .*foreign\.pt/, '--init', at('other.pt')],
    [/--mean is 0\.1, but the run in .* does not use it/, '--mean', '0.1', '--std', '1'],
  ] as const) {
    t.match(await cortorch(['train', '--resume', out, ...more]), { code: 2, stderr: message });
  }

  const evaluate = (file: string, ...more: string[]) =>
    cortorch(['eval', '--checkpoint', file, '--data-dir', data, '--threads', '1', '--json', ...more]);
  const own = await evaluate(path.join(out, 'last.pt'));
  t.equal(own.code, 0, own.stderr);
  const set = ['--dataset', 'mnist'];
  const other = await evaluate(foreign, ...set, '--model', at('small.json'), ...MAP);
  t.strictSame(other.lines, own.lines);
  t.match(await evaluate(foreign, ...set), { code: 2, stderr: /--model is missing/ });
  const last = path.join(out, 'last.pt');
  t.match(await evaluate(last, '--model', at('small.json')), { code: 0 }, 'the same network');
  t.match(await evaluate(last, '--model', 'mnist-fc'), { code: 2, stderr: /holds another network/ });
  t.match(await evaluate(last, ...MAP), { code: 2, stderr: /--map is not used/ });
});
