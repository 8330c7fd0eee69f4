/**
 * Batch norm and residual blocks: training and evaluation against PyTorch's modules, their parameter names, what rules
 * can go through them, and what a spec with mistakes is told.
 */
import fs from 'node:fs';
import path from 'node:path';
import t from 'tap';
import {
  Dataset,
  Network,
  Trainer,
  network,
  parseNetworkSpec,
  trainingBudget,
  type ImageBuilder,
  type RuleName,
  type StateDict,
} from '../../lib/index.js';
import { agrees, largestDifference } from '../support/compare.js';
import { epochsOf, saveState } from '../support/networks.js';
import { randomArray } from '../support/numbers.js';
import { runTorchPython, whyNoTorchPython } from '../support/python.js';

const skip = whyNoTorchPython();
const COUNT = 12;
const STEPS = 4;

/**
 * All of it at once: each kind of shortcut, batch norm on images and on vectors, odd sizes and an odd number of
 * channels.
 */
const spec = network({ channels: 2, height: 7, width: 9 })
  .conv2d(4, { kernel: 3, padding: 1, bias: false, name: 'stem' })
  .batchNorm({ activation: 'relu', name: 'stem_norm' })
  .residual((x) => unit(x, 'same', 4, 1), { activation: 'relu' })
  .residual((x) => unit(x, 'pad', 7, [2, 3]), { activation: 'relu', shortcut: 'pad' })
  .residual((x) => unit(x, 'project', 6, 2), {
    activation: 'tanh',
    shortcut: (x) =>
      x
        .conv2d(6, { kernel: 1, stride: 2, bias: false, name: 'project.shortcut.0' })
        .batchNorm({ name: 'project.shortcut.1' }),
  })
  .globalAvgPool2d()
  .flatten()
  .dense(5, { name: 'hidden' })
  .batchNorm({ activation: 'sigmoid', momentum: 0.3, epsilon: 1e-3, name: 'hidden_norm' })
  .residual((x) => x.dense(5, { name: 'vector' }).batchNorm({ activation: 'tanh', name: 'vector_norm' }))
  .dense(3, { name: 'out' })
  .softmaxCrossEntropy();

function unit(x: ImageBuilder, name: string, channels: number, stride: number | [number, number]): ImageBuilder {
  return x
    .conv2d(channels, { kernel: 3, stride, padding: 1, bias: false, name: `${name}.conv1` })
    .batchNorm({ activation: 'relu', name: `${name}.bn1` })
    .conv2d(channels, { kernel: 3, padding: 1, name: `${name}.conv2` })
    .batchNorm({ name: `${name}.bn2` });
}

const MODULE = `
import json, sys, torch
from torch import nn
import torch.nn.functional as F
def unit(i, o, stride):
    return nn.ModuleDict(dict(conv1=nn.Conv2d(i, o, 3, stride, 1, bias=False), bn1=nn.BatchNorm2d(o),
                              conv2=nn.Conv2d(o, o, 3, 1, 1), bn2=nn.BatchNorm2d(o)))
def run(u, x):
    return u['bn2'](u['conv2'](F.relu(u['bn1'](u['conv1'](x)))))
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.stem_norm = nn.Conv2d(2, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.same, self.pad, self.project = unit(4, 4, 1), unit(4, 7, (2, 3)), unit(7, 6, 2)
        self.project['shortcut'] = nn.Sequential(nn.Conv2d(7, 6, 1, 2, bias=False), nn.BatchNorm2d(6))
        self.hidden, self.hidden_norm = nn.Linear(6, 5), nn.BatchNorm1d(5, eps=1e-3, momentum=0.3)
        self.vector, self.vector_norm, self.out = nn.Linear(5, 5), nn.BatchNorm1d(5), nn.Linear(5, 3)
    def forward(self, x):
        x = F.relu(self.stem_norm(self.stem(x)))
        x = F.relu(run(self.same, x) + x)
        x = F.relu(run(self.pad, x) + F.pad(x[:, :, ::2, ::3], (0, 0, 0, 0, 1, 2)))
        x = torch.tanh(run(self.project, x) + self.project['shortcut'](x))
        x = torch.sigmoid(self.hidden_norm(self.hidden(x.mean((2, 3)))))
        return self.out(torch.tanh(self.vector_norm(self.vector(x))) + x)
`;

const images = randomArray(COUNT * 2 * 7 * 9, 12345);
const labels = Uint8Array.from({ length: COUNT }, (_, i) => (i * 7) % 3);
const data = Dataset.fromArrays({ images, labels, shape: [2, 7, 9], classes: 3 });
t.teardown(() => data.dispose());
const sgd = { type: 'sgd', lr: 0.1, momentum: 0.9, weightDecay: 1e-3 } as const;

/** Parameters that are nobody's defaults. */
async function stir(net: Network): Promise<StateDict> {
  const state = await net.stateDict();
  for (const [i, [name, { data: values }]] of [...state].entries()) {
    const drawn = randomArray(values.length, 1000 + i);
    const spread = name.endsWith('running_var') ? 0.5 : 0.3;
    values.forEach((value, j) => (values[j] = value + spread * drawn[j]!));
  }
  await net.loadStateDict(state);
  return state;
}

/** What became of a parameter, less what it was. */
const moved = (start: StateDict, name: string, values: ArrayLike<number>): Float64Array =>
  Float64Array.from(start.get(name)!.data, (value, i) => values[i]! - value);

async function fit(net: Network, epochs: number): Promise<number[]> {
  const trainer = new Trainer(net, { optimizer: sgd, batchSize: COUNT });
  return (await epochsOf(trainer.fit(data, { epochs }))).map(({ train }) => train.loss);
}

t.test('training and evaluation are those of PyTorch', { skip, timeout: 120_000 }, async (t) => {
  using net = new Network(spec, { seed: 3 });
  const start = await stir(net);
  const folder = t.testdir();
  const file = path.join(folder, 'start.pt');
  await saveState(file, start);
  fs.writeFileSync(path.join(folder, 'images.json'), JSON.stringify([[...images], [...labels]]));
  const before = await net.predict(images);
  const losses = await fit(net, STEPS);
  const after = await net.predict(images);
  const python = JSON.parse(
    runTorchPython(
      `${MODULE}
net = Net()
net.load_state_dict(torch.load(sys.argv[1], weights_only=True), strict=True)
x, y = json.load(open(sys.argv[2]))
x, y = torch.tensor(x).reshape(${COUNT}, 2, 7, 9), torch.tensor(y)
net.eval()
before = net(x).flatten().tolist()
optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3)
net.train()
losses = []
for _ in range(${STEPS}):
    loss = F.cross_entropy(net(x), y)
    optimizer.zero_grad(); loss.backward(); optimizer.step()
    losses.append(loss.item())
net.eval()
state = {k: v.flatten().tolist() for k, v in net.state_dict().items() if not k.endswith('num_batches_tracked')}
print(json.dumps([before, losses, net(x).flatten().tolist(), state]))
`,
      file,
      path.join(folder, 'images.json'),
    ),
  ) as [number[], number[], number[], Record<string, number[]>];
  t.ok(largestDifference(before, python[0]) < 1e-5, 'evaluation uses the running statistics');
  t.ok(largestDifference(losses, python[1]) < 1e-5, `losses of ${STEPS} steps`);
  t.ok(losses.at(-1)! < losses[0]! - 0.05, 'it learns');
  t.ok(largestDifference(after, python[2]) < 1e-4, 'evaluation after them');
  const state = await net.stateDict();
  t.strictSame([...state.keys()].sort(), Object.keys(python[3]).sort(), 'the same names');
  for (const [name, { data: values }] of state) {
    // The bias before a batch norm has no gradient; weight decay alone moves it, by little beside its last digits.
    agrees(t, moved(start, name, values), moved(start, name, python[3][name]!), 5e-3, `${name} after ${STEPS} steps`);
  }
});

t.test('names, roles and counts', async (t) => {
  using net = new Network(
    network({ channels: 1, height: 4, width: 4 })
      .batchNorm()
      .residual((x) => x.conv2d(1, { kernel: 3, padding: 1 }), {
        shortcut: (x) => x.conv2d(1, { kernel: 1, bias: false }),
      })
      .flatten()
      .dense(2)
      .softmaxCrossEntropy(),
  );
  t.strictSame(
    net.parameters.map(({ name, shape, role }) => [name, shape, role]),
    [
      ['layers.0.weight', [1], 'forward'],
      ['layers.0.bias', [1], 'forward'],
      ['layers.0.running_mean', [1], 'fixed'],
      ['layers.0.running_var', [1], 'fixed'],
      ['layers.1.weight', [1, 1, 3, 3], 'forward'],
      ['layers.1.bias', [1], 'forward'],
      ['layers.2.weight', [1, 1, 1, 1], 'forward'],
      ['layers.3.weight', [2, 16], 'forward'],
      ['layers.3.bias', [2], 'forward'],
    ],
    'numbered in the order in which they run, a shortcut after what it goes past',
  );
  t.equal(net.parameterCount, 2 + 9 + 1 + 1 + 32 + 2);
  const budget = trainingBudget(net.spec);
  t.equal(budget.weights, 4 * net.parameterCount);
  t.equal(budget.statistics, 8);
  t.strictSame(parseNetworkSpec(JSON.parse(JSON.stringify(net.spec))), net.spec, 'a spec survives JSON');
  t.strictSame(parseNetworkSpec(JSON.parse(JSON.stringify(spec))), spec, 'also a padded shortcut');
});

t.test('feedback alignment goes through them: with B = W it is bp, with another B it is not', async (t) => {
  using bp = new Network(spec, { seed: 3 });
  using fa = new Network(spec, { seed: 3, rule: 'fa' });
  const start = await stir(bp);
  const same: StateDict = new Map(await fa.stateDict());
  for (const [name, value] of same) {
    const from = start.get(name.replace(/_backward$/, ''))!;
    same.set(name, { shape: value.shape, data: from.data.slice() });
  }
  using other = new Network(spec, { seed: 3, rule: 'fa' });
  const drawn = await other.stateDict();
  await fa.loadStateDict(same);
  await other.loadStateDict(new Map([...drawn].map(([name, own]) => [name, start.get(name) ?? own])));
  await Promise.all([bp, fa, other].map((net) => fit(net, 1)));
  const [a, b, c] = await Promise.all([bp, fa, other].map((net) => net.stateDict()));
  const different: string[] = [];
  for (const [name, { data: values }] of a!) {
    agrees(t, moved(start, name, b!.get(name)!.data), moved(start, name, values), 1e-3, name);
    if (largestDifference(values, c!.get(name)!.data) > 1e-3) different.push(name);
    t.ok(c!.get(name)!.data.every(Number.isFinite), `${name}: with another B it is finite`);
  }
  t.not(different.length, 0, 'and other weights come of another B');
});

t.test('a step whose loss is not finite leaves the running statistics as they are', async (t) => {
  using net = new Network(spec, { seed: 3 });
  const start = await stir(net);
  const bad = images.slice();
  bad[5] = Infinity;
  using poisoned = Dataset.fromArrays({ images: bad, labels, shape: [2, 7, 9], classes: 3 });
  const trainer = new Trainer(net, { optimizer: sgd, batchSize: COUNT });
  await t.rejects(
    async () => {
      for await (const _ of trainer.fit(poisoned, { epochs: 1 }));
    },
    { code: 'ERR_LOSS_NOT_FINITE' },
  );
  for (const [name, { data: values }] of await net.stateDict())
    t.equal(largestDifference(values, start.get(name)!.data), 0, name);
});

t.test('rules that cannot go through them are refused, with the layer', async (t) => {
  const norm = network({ features: 4 }).dense(4, { activation: 'tanh' }).batchNorm({ name: 'bn' }).dense(4).dense(2);
  const block = network({ features: 4 })
    .dense(4)
    .residual((x) => x.dense(4))
    .dense(2);
  for (const rule of ['tp', 'dtp', 'sdtp', 'ao-sdtp'] satisfies RuleName[]) {
    t.throws(() => new Network(norm.softmaxCrossEntropy(), { rule }), {
      code: 'ERR_INVALID_SPEC',
      message: `layers[1] ("bn"): rule ${rule} does not go through a batch-norm layer; use rule bp, fa, dfa, usf, brsf or frsf`,
    });
    t.throws(() => new Network(block.softmaxCrossEntropy(), { rule }), {
      code: 'ERR_INVALID_SPEC',
      message: `layers[1]: rule ${rule} does not go through a residual block; use rule bp, fa, dfa, usf, brsf or frsf`,
    });
  }
});

t.test('a batch of one example has no variance', async (t) => {
  using net = new Network(network({ features: 4 }).dense(4).batchNorm().dense(2).softmaxCrossEntropy());
  using one = Dataset.fromArrays({ images: randomArray(20, 7), labels: [0, 1, 0, 1, 0], shape: [4], classes: 2 });
  const trainer = new Trainer(net, { optimizer: sgd, batchSize: 4 });
  await t.rejects(
    async () => {
      for await (const _ of trainer.fit(one, { epochs: 1 }));
    },
    { message: /batch of one example/ },
  );
  t.equal((await net.evaluate(one, { batchSize: 1 })).examples, 5, 'evaluation can');
});

t.test('mistakes in a spec are named', async (t) => {
  const within = (layer: object, input = [2, 4, 4]): unknown => ({
    input,
    layers: [layer, { type: 'flatten' }, { type: 'dense', units: 2 }],
  });
  const conv = { type: 'conv2d', channels: 3, kernel: 3, padding: 1 };
  const cases: [unknown, RegExp][] = [
    [within({ type: 'batch-norm', momentum: 0 }), /layers\[0\]\.momentum.*above 0 and at most 1/],
    [within({ type: 'batch-norm', momentum: 1.5 }), /layers\[0\]\.momentum.*above 0 and at most 1/],
    [within({ type: 'batch-norm', epsilon: -1 }), /layers\[0\]\.epsilon/],
    [within({ type: 'batch-norm', units: 3 }), /layers\[0\]\.units/],
    [within({ type: 'residual', layers: [] }), /layers\[0\]\.layers.*at least one/],
    [within({ type: 'residual', layers: [{ ...conv, channels: 0 }] }), /layers\[0\]\.layers\[0\]\.channels/],
    [within({ type: 'residual', layers: [conv], shortcut: 'none' }), /layers\[0\]\.shortcut/],
    [within({ type: 'residual', layers: [conv] }), /layers\[0\]: its layers give 3×4×4, but its shortcut gives 2×4×4/],
    [within({ type: 'residual', layers: [{ ...conv, channels: 1 }], shortcut: 'pad' }), /as many channels or more/],
    [within({ type: 'residual', layers: [conv], shortcut: 'pad', stride: [2, 2] }), /layers\[0\]\.stride.*\[1,1\]/],
    [within({ type: 'residual', layers: [conv], shortcut: [{ ...conv, stride: 2 }] }), /its shortcut gives 3×2×2/],
    [within({ type: 'residual', layers: [{ type: 'dense', units: 4 }] }), /layers\[0\]\.layers\[0\]: a dense layer/],
    [
      within({ type: 'residual', layers: [{ ...conv, name: 'a' }], shortcut: [{ ...conv, name: 'a' }] }),
      /layers\[0\]\.shortcut\[0\]\.name: another layer is called "a"/,
    ],
  ];
  for (const [value, message] of cases) t.throws(() => parseNetworkSpec(value), { code: 'ERR_INVALID_SPEC', message });
  t.throws(() => network({ features: 2 }).residual(() => 1 as never), {
    code: 'ERR_INVALID_ARGUMENT',
    message: /a function that returns the builder/,
  });
});
