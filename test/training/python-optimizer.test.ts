/** Training that a Python script began goes on here: parameters and the optimizer's state from its own checkpoint. */
import fs from 'node:fs';
import path from 'node:path';
import t from 'tap';
import {
  Dataset,
  Network,
  OrderedDict,
  PyFloat,
  Trainer,
  Tuple,
  network,
  readOptimizer,
  readParameters,
  saveTorchFile,
  tensorDataFrom,
  type CheckpointValue,
} from '../../lib/index.js';
import { writeCheckpoint } from '../../lib/training/checkpoint.js';
import { agrees } from '../support/compare.js';
import { runTorchPython, whyNoTorchPython } from '../support/python.js';

const skip = whyNoTorchPython();
const spec = network({ features: 6 })
  .dense(5, { activation: 'tanh', name: 'second' })
  .dense(5, { activation: 'tanh', name: 'first' })
  .dense(3, { name: 'out' })
  .softmaxCrossEntropy();

/** Its layers are registered in another order than they run in, and two of them have equal shapes. */
const SCRIPT = `
import json, sys, torch
from torch import nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.out = nn.Linear(5, 5), nn.Linear(6, 5), nn.Linear(5, 3)
    def forward(self, x):
        return self.out(torch.tanh(self.first(torch.tanh(self.second(x)))))
torch.manual_seed(1)
net = torch.nn.DataParallel(Net()) if sys.argv[2] == 'wrapped' else Net()
x, y = torch.randn(12, 6), torch.arange(12) % 3
optimizer = eval('torch.optim.' + sys.argv[1])(net.parameters(), **json.loads(sys.argv[3]))
def steps(count):
    for _ in range(count):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
steps(5)
keys = ('model_state_dict', 'optimizer_state_dict') if sys.argv[2] == 'wrapped' else ('state_dict', 'optimizer')
torch.save({'epoch': 5, keys[0]: net.state_dict(), keys[1]: optimizer.state_dict()}, sys.argv[4])
steps(4)
print(json.dumps([x.flatten().tolist(), {k.replace('module.', ''): v.flatten().tolist() for k, v in net.state_dict().items()}]))
`;

const cases: [name: string, wrapped: boolean, settings: Record<string, number | number[]>][] = [
  ['Adam', false, { lr: 0.02, betas: [0.8, 0.95], weight_decay: 0.01 }],
  ['Adam', true, { lr: 0.02 }],
  ['SGD', false, { lr: 0.1, momentum: 0.9 }],
  ['SGD', false, { lr: 0.1 }],
  ['RMSprop', true, { lr: 0.01, alpha: 0.9, momentum: 0.5 }],
];
for (const [name, wrapped, settings] of cases) {
  const title = `${name} ${JSON.stringify(settings)}${wrapped ? ', DataParallel' : ''}: the next steps are torch's`;
  t.test(title, { skip }, async (t) => {
    const file = path.join(t.testdir(), 'python.pth');
    const printed = runTorchPython(SCRIPT, name, wrapped ? 'wrapped' : 'plain', JSON.stringify(settings), file);
    const [x, expected] = JSON.parse(printed) as [number[], Record<string, number[]>];
    using net = new Network(spec, { seed: 9 });
    const parameters = await readParameters(file);
    await net.loadStateDict(new Map([...parameters].map(([key, value]) => [key.replace(/^module\./, ''), value])));
    const { options, state } = await readOptimizer(file, net);
    t.equal(state.steps, name === 'SGD' ? 0 : 5, 'steps made; SGD does not count them');
    const trainer = new Trainer(net, { optimizer: options, batchSize: 12 });
    await trainer.loadOptimizer(state);
    using data = Dataset.fromArrays({
      images: Float32Array.from(x),
      labels: Uint8Array.from({ length: 12 }, (_, i) => i % 3),
      shape: [6],
      classes: 3,
    });
    const before = await net.stateDict();
    for await (const _ of trainer.fit(data, { epochs: 4 }));
    for (const [key, { data: values }] of await net.stateDict()) {
      const moved = (to: ArrayLike<number>): number[] =>
        Array.from(before.get(key)!.data, (value, i) => to[i]! - value);
      agrees(t, moved(values), moved(expected[key]!), 2e-4, `what moved ${key}`);
    }
  });
}

t.test('batch manhattan is in the file, and torch keeps it', async (t) => {
  using net = new Network(spec, { seed: 9 });
  for (const type of ['sgd', 'adam', 'rmsprop'] as const) {
    for (const batchManhattan of [true, false]) {
      const trainer = new Trainer(net, { optimizer: { type, lr: 0.02, batchManhattan } });
      const file = path.join(t.testdir(), 'last.pt');
      const parameters = await net.stateDict();
      const { seed, normalization } = net;
      await writeCheckpoint(file, {
        ...{ parameters, epoch: 0, step: 0, metrics: null },
        config: { network: net.spec, rule: 'bp', seed, normalization },
        training: { state: await trainer.state(), best: null },
      });
      const { options } = await readOptimizer(file, net);
      t.equal(options.batchManhattan ?? false, batchManhattan, type);
      t.equal(new Trainer(net, { optimizer: options }).optimizer.batchManhattan, batchManhattan);
      if (skip !== false || type !== 'sgd') continue;
      const kept = runTorchPython(
        `
import sys, torch
saved = torch.load(sys.argv[1], weights_only=True)['optimizer']
parameters = [torch.zeros(5, 6), torch.zeros(5), torch.zeros(5, 5), torch.zeros(5), torch.zeros(3, 5), torch.zeros(3)]
optimizer = torch.optim.SGD([torch.nn.Parameter(p) for p in parameters], lr=1)
optimizer.load_state_dict(saved)
print(optimizer.state_dict()['param_groups'][0].get('batch_manhattan', False))`,
        file,
      );
      t.equal(kept.trim(), batchManhattan ? 'True' : 'False');
    }
  }
});

t.test('batch norm has tensors in a state_dict that are no parameters', async (t) => {
  const normed = network({ features: 3 }).dense(2, { name: 'a' }).batchNorm({ name: 'n' }).dense(2, { name: 'b' });
  using net = new Network(normed.softmaxCrossEntropy());
  // In torch's order, which its optimizer numbers the parameters by.
  const shapes = { 'a.weight': [2, 3], 'a.bias': [2], 'n.weight': [2], 'n.bias': [2] };
  const fixed = { 'n.running_mean': [2], 'n.running_var': [2] };
  const out = { 'b.weight': [2, 2], 'b.bias': [2] };
  const tensor = (shape: readonly number[], fill = 0): CheckpointValue =>
    tensorDataFrom(new Float32Array(shape.reduce((a, b) => a * b, 1)).fill(fill), shape);
  const trainable = [...Object.entries(shapes), ...Object.entries(out)];
  const group = { lr: 0.1, momentum: 0.9, dampening: 0, weight_decay: 0, nesterov: false };
  const file = path.join(t.testdir(), 'torch.pth');
  await saveTorchFile(file, {
    state_dict: new OrderedDict([
      ...[...Object.entries(shapes), ...Object.entries(fixed)].map(([name, shape]): [string, CheckpointValue] => [
        name,
        tensor(shape),
      ]),
      ['n.num_batches_tracked', tensorDataFrom(BigInt64Array.of(5n), [])],
      ...Object.entries(out).map(([name, shape]): [string, CheckpointValue] => [name, tensor(shape)]),
    ]),
    optimizer: {
      state: new Map(trainable.map(([, shape], i) => [i, { momentum_buffer: tensor(shape, i) }])),
      param_groups: [{ ...group, params: trainable.map((_, i) => i) }],
    },
  });
  const { state } = await readOptimizer(file, net);
  t.strictSame(
    state.parameters.map(({ name, state: { momentum_buffer: buffer } }) => [name, buffer![0]]),
    trainable.map(([name], i) => [name, i]),
  );
});

t.test('what cannot be gone on with is refused', async (t) => {
  using net = new Network(network({ features: 2 }).dense(2, { bias: false, name: 'a' }).softmaxCrossEntropy());
  const file = path.join(t.testdir(), 'file.pth');
  const weight = (): CheckpointValue => tensorDataFrom(new Float32Array(4), [2, 2]);
  const common = { lr: new PyFloat(0.1), weight_decay: new PyFloat(0), params: [0] };
  const group = { ...common, momentum: new PyFloat(0), dampening: 0, nesterov: false };
  const save = (optimizer: object, names = ['a.weight']): Promise<void> =>
    saveTorchFile(file, {
      state_dict: new OrderedDict(names.map((name) => [name, weight()])),
      optimizer,
    });
  const refused = async (code: string, message: RegExp): Promise<void> => {
    await t.rejects(readOptimizer(file, net), { code, message });
  };
  await save({ state: {}, param_groups: [{ ...group, nesterov: true }] });
  await refused('ERR_CHECKPOINT_UNSUPPORTED', /nesterov = true, which is not in cortorch; load its parameters alone/);
  // What torch.optim's Adam, SGD and RMSprop have beside that.
  const adamGroup = { ...common, betas: Tuple.of<CheckpointValue>(0.9, 0.999), eps: 1e-8, amsgrad: false };
  const rmspropGroup = { ...common, momentum: 0, alpha: 0.99, eps: 1e-8, centered: false };
  for (const [of, change] of [
    [group, { maximize: true }],
    [group, { dampening: new PyFloat(0.5) }],
    [adamGroup, { maximize: true }],
    [adamGroup, { amsgrad: true }],
    [adamGroup, { decoupled_weight_decay: true }], // AdamW's
    [rmspropGroup, { centered: true }],
  ] as const) {
    await save({ state: {}, param_groups: [of] });
    t.equal((await readOptimizer(file, net)).state.parameters.length, 1);
    await save({ state: {}, param_groups: [{ ...of, ...change }] });
    const [key] = Object.keys(change);
    await refused('ERR_CHECKPOINT_UNSUPPORTED', new RegExp(`${key} = (true|0\\.5), which is not in cortorch`));
  }
  // RAdam's and NAdam's groups, Adamax's, ASGD's and Rprop's: some of Adam's and SGD's keys, but other optimizers.
  const betas = Tuple.of<CheckpointValue>(0.9, 0.999);
  for (const other of [
    { ...common, betas, eps: 1e-8, decoupled_weight_decay: false },
    { ...common, betas, eps: 1e-8, momentum_decay: 0.004 },
    { ...common, alpha: 0.75, lambd: 1e-4, t0: 1e6 },
    { lr: 0.01, etas: Tuple.of<CheckpointValue>(0.5, 1.2), params: [0] },
    { ...common, lr_decay: 0, eps: 1e-10, initial_accumulator_value: 0 },
  ]) {
    await save({ state: {}, param_groups: [other] });
    await refused(
      'ERR_CHECKPOINT_UNSUPPORTED',
      /file\.pth: its optimizer, with lr,.* is none of Adam, SGD and RMSprop/,
    );
  }
  await save({ state: {}, param_groups: [group, group] });
  await refused('ERR_CHECKPOINT_UNSUPPORTED', /not one group/);
  await save({ state: {}, param_groups: [{ ...group, params: [0, 1] }] });
  await refused('ERR_CHECKPOINT_UNSUPPORTED', /has 2 parameters, but there are 1 in its state_dict/);
  await save({ state: {}, param_groups: [group] }, ['b.weight']);
  await refused('ERR_CHECKPOINT_MISMATCH', /missing: a\.weight; unexpected: b\.weight/);
  await save({
    state: new Map([[0, { momentum_buffer: tensorDataFrom(new Float32Array(3)) }]]),
    param_groups: [group],
  });
  await refused('ERR_CHECKPOINT_UNSUPPORTED', /momentum_buffer of a\.weight is no float32 tensor of its shape/);
  await saveTorchFile(file, { state_dict: new OrderedDict([['a.weight', weight()]]) });
  await refused('ERR_CHECKPOINT_UNSUPPORTED', /it has no optimizer, optimizer_state_dict/);
  await save({ state: {}, param_groups: [group] });
  const { options, state } = await readOptimizer(file, net);
  t.equal(options.type, 'sgd');
  const adam = new Trainer(net, {});
  await t.rejects(adam.loadOptimizer(state), {
    code: 'ERR_CHECKPOINT_MISMATCH',
    message: /of optimizer sgd/,
  });
  fs.rmSync(file);
});
