/** best.pt and last.pt in Python: torch.load, an equal nn.Module with equal outputs, and torch.optim. */
import fs from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { Network } from '../../lib/model/network.js';
import { convert } from '../../lib/cli/convert.js';
import { readCheckpoint, readNetworkFile } from '../../lib/training/checkpoint.js';
import { readParameters } from '../../lib/training/find-parameters.js';
import { runTorchPython, whyNoTorchPython } from '../support/python.js';
import { cortorch, smallSpec, succeedCortorch, timeless, writeTinyData } from '../support/cli.js';
import { digests } from '../support/digests.js';
import { within } from '../support/folders.js';
import { largestDifference } from '../support/compare.js';

const folder = t.testdir({ 'small.json': JSON.stringify(smallSpec) });
const data = writeTinyData(path.join(folder, 'data'));
const at = within(folder);
const skip = whyNoTorchPython();
const MEAN = 0.25;
const STD = 0.5;

async function train(out: string, ...flags: string[]): Promise<string> {
  await succeedCortorch([
    ...['train', '--dataset', 'mnist', '--data-dir', data, '--model', at('small.json'), '--validation', '100'],
    ...['--batch-size', '50', '--epochs', '2', '--seed', '1', '--out', at(out), ...flags],
  ]);
  return at(out);
}

/** The network of smallSpec with the parameter names of the state_dict; feedback as buffers. */
const MODULE = `
import json, struct, sys, torch
class Small(torch.nn.Module):
    def __init__(self, feedback):
        super().__init__()
        self.layers = torch.nn.ModuleList([torch.nn.Linear(784, 32), torch.nn.Linear(32, 10)])
        for i, shape in feedback.items():
            self.layers[i].register_buffer('weight_backward', torch.zeros(shape))
    def forward(self, x):
        return self.layers[1](torch.tanh(self.layers[0](x)))
`;

const FEEDBACK = { bp: '{}', fa: '{1: (10, 32)}', dfa: '{0: (10, 32)}' };

for (const rule of ['bp', 'fa', 'dfa'] as const) {
  t.test(`best.pt of ${rule} loads into an equal module and gives equal outputs`, { skip }, async (t) => {
    const run = await train(rule, '--rule', rule, '--mean', String(MEAN), '--std', String(STD));
    const best = path.join(run, 'best.pt');
    const images = fs.readFileSync(path.join(data, 't10k-images-idx3-ubyte')).subarray(16, 16 + 20 * 784);
    const file = at('images.bin');
    fs.writeFileSync(file, images);
    const script = `${MODULE}
checkpoint = torch.load(sys.argv[1], weights_only=True)
model = Small(${FEEDBACK[rule]})
model.load_state_dict(checkpoint['state_dict'], strict=True)
norm = checkpoint['config']['normalization']
images = torch.frombuffer(bytearray(open(sys.argv[2], 'rb').read()), dtype=torch.uint8).reshape(20, 784)
x = (images / 255 - norm['mean'][0]) / norm['std'][0]
config = checkpoint['config']
print(json.dumps({
    'outputs': model(x).flatten().tolist(), 'rule': config['rule'], 'network': config['network'], 'seed': config['seed'],
    'keys': sorted(checkpoint), 'metrics': checkpoint['metrics'], 'epoch': checkpoint['epoch'], 'step': checkpoint['step'],
    'types': sorted({str(type(v).__name__) + ' ' + str(v.dtype) for v in checkpoint['state_dict'].values()}),
    'state_dict': type(checkpoint['state_dict']).__name__}))
`;
    const python = JSON.parse(runTorchPython(script, best, file)) as {
      keys: string[];
      types: string[];
      outputs: number[];
    };
    const { config, parameters, metrics, epoch, step } = await readCheckpoint(best);
    t.match(python, {
      rule,
      seed: 1,
      network: config.network,
      metrics,
      epoch,
      step,
      state_dict: 'OrderedDict',
    });
    t.strictSame(python.keys, ['config', 'epoch', 'metrics', 'state_dict', 'step']);
    t.strictSame(python.types, ['Tensor torch.float32']);

    using network = new Network(config.network, { rule, normalization: config.normalization });
    await network.loadStateDict(parameters);
    const outputs = await network.predict(new Uint8Array(images));
    t.equal(outputs.length, python.outputs.length);
    const difference = largestDifference(outputs, python.outputs);
    t.ok(difference < 1e-5, `outputs differ by at most ${difference}`);
  });
}

t.test('the safetensors form gives Python an equal module, and eval the same error', { skip }, async (t) => {
  const best = path.join(await train('safe', '--rule', 'fa'), 'best.pt');
  const safe = at('best.safetensors');
  t.capture(console, 'error');
  await convert({}, best, safe);
  const images = fs.readFileSync(path.join(data, 't10k-images-idx3-ubyte')).subarray(16, 16 + 20 * 784);
  const file = at('images.bin');
  fs.writeFileSync(file, images);
  // The format is simple enough to be read without its package, which may not be here.
  const script = `${MODULE}
raw = open(sys.argv[1], 'rb').read()
size = struct.unpack('<Q', raw[:8])[0]
header = json.loads(raw[8:8 + size])
header.pop('__metadata__')
state = {}
for name, entry in header.items():
    begin, end = (8 + size + at for at in entry['data_offsets'])
    assert entry['dtype'] == 'F32'
    state[name.removeprefix('state_dict.')] = torch.frombuffer(bytearray(raw[begin:end]), dtype=torch.float32).reshape(entry['shape'])
model = Small(${FEEDBACK.fa})
model.load_state_dict(state, strict=True)
images = torch.frombuffer(bytearray(open(sys.argv[2], 'rb').read()), dtype=torch.uint8).reshape(20, 784)
print(json.dumps(model(images / 255).flatten().tolist()))
`;
  const python = JSON.parse(runTorchPython(script, safe, file)) as number[];
  const found = await readNetworkFile(safe);
  using network = new Network(found.config!.network, { rule: 'fa' });
  await network.loadStateDict(found.parameters);
  const outputs = await network.predict(new Uint8Array(images));
  const difference = largestDifference(outputs, python);
  t.ok(outputs.length === python.length && difference < 1e-5, `outputs differ by at most ${difference}`);

  const errors = [];
  for (const checkpoint of [best, safe]) {
    const { lines, stderr } = await cortorch([
      'eval',
      '--checkpoint',
      checkpoint,
      '--dataset',
      'mnist',
      '--data-dir',
      data,
      '--json',
    ]);
    t.equal(stderr, '');
    errors.push(timeless(lines[0]!));
  }
  t.strictSame(errors[1], errors[0]);
});

/** An optimizer of torch, and one step with it on a gradient that is 0.01 everywhere. */
const STEP = `${MODULE}
def stepped(last, make):
    checkpoint = torch.load(last, weights_only=True)
    model = Small({})
    model.load_state_dict(checkpoint['state_dict'])
    optimizer = make(model.parameters())
    optimizer.load_state_dict(checkpoint['optimizer'])
    group = optimizer.param_groups[0]
    state = [{k: v.flatten().double().sum().item() for k, v in optimizer.state[p].items()} for p in model.parameters()]
    for p in model.parameters():
        p.grad = torch.full_like(p, 0.01)
    optimizer.step()
    print(json.dumps({
        'state': state, 'group': {k: v for k, v in group.items() if k != 'params'},
        'rng': checkpoint['rng'], 'epoch': checkpoint['epoch'], 'step': checkpoint['step'], 'position': checkpoint['position'],
        'values': [p.flatten()[5].item() for p in model.parameters()]}))
`;

for (const [type, flags, make, group, state] of [
  [
    'adam',
    ['--lr', '0.01', '--weight-decay', '0.1', '--beta1', '0.8', '--beta2', '0.99', '--eps', '0.001'],
    'torch.optim.Adam(p)',
    { lr: 0.01, weight_decay: 0.1, betas: [0.8, 0.99], eps: 0.001, amsgrad: false },
    ['exp_avg', 'exp_avg_sq'],
  ],
  [
    'sgd',
    ['--lr', '0.1', '--momentum', '0.9'],
    'torch.optim.SGD(p, lr=1)',
    { lr: 0.1, momentum: 0.9, weight_decay: 0, nesterov: false },
    ['momentum_buffer'],
  ],
  [
    'rmsprop',
    ['--lr', '0.001', '--momentum', '0.5', '--beta2', '0.9'],
    'torch.optim.RMSprop(p)',
    { lr: 0.001, momentum: 0.5, alpha: 0.9, centered: false },
    ['momentum_buffer', 'square_avg'],
  ],
] as const) {
  t.test(`torch.optim goes on with the ${type} of last.pt`, { skip }, async (t) => {
    const run = await train(type, '--optimizer', type, ...flags);
    const last = path.join(run, 'last.pt');
    const script = `${STEP}\nstepped(sys.argv[1], lambda p: ${make})`;
    const python = JSON.parse(runTorchPython(script, last)) as {
      group: Record<string, unknown>;
      state: Record<string, number>[];
      values: number[];
    };
    const { training, parameters, step, epoch } = await readCheckpoint(last);
    const ours = training!.state;
    t.match(python.group, group);
    const names = ours.optimizer.parameters.map(({ name }) => name);
    t.strictSame(python.group['param_names'], names);
    t.strictSame(names, ['layers.0.weight', 'layers.0.bias', 'layers.1.weight', 'layers.1.bias']);
    t.match(python, { epoch, step, rng: { seed: 1, epoch, step }, position: { step_in_epoch: 0 } });
    t.equal(ours.optimizer.steps, 20);
    for (const [i, { state: arrays }] of ours.optimizer.parameters.entries()) {
      t.strictSame(Object.keys(arrays).sort(), state);
      if (type !== 'sgd') t.equal(python.state[i]!['step'], 20);
      for (const key of state) {
        const sum = arrays[key]!.reduce((total, value) => total + value, 0);
        t.ok(Math.abs(sum - python.state[i]![key]!) < 1e-6 * (1 + Math.abs(sum)), `${names[i]} ${key}`);
      }
    }

    // The next update, by the formulas of torch.optim, from our own reading of the file.
    const { lr, beta1, beta2, eps, momentum, weightDecay, steps } = ours.optimizer;
    for (const [i, { name, state: arrays }] of ours.optimizer.parameters.entries()) {
      const before = parameters.get(name)!.data[5]!;
      const g = 0.01 + weightDecay * before;
      const of = (key: string) => arrays[key]![5]!;
      let after: number;
      if (type === 'adam') {
        const m = beta1 * of('exp_avg') + (1 - beta1) * g;
        const v = beta2 * of('exp_avg_sq') + (1 - beta2) * g * g;
        const root = Math.sqrt(v / (1 - beta2 ** (steps + 1))) + eps;
        after = before - (lr * m) / (1 - beta1 ** (steps + 1)) / root;
      } else if (type === 'sgd') {
        after = before - lr * (momentum * of('momentum_buffer') + g);
      } else {
        const v = beta2 * of('square_avg') + (1 - beta2) * g * g;
        after = before - lr * (momentum * of('momentum_buffer') + g / (Math.sqrt(v) + eps));
      }
      t.ok(Math.abs(after - python.values[i]!) < 1e-6, `${name}: ${after} and ${python.values[i]}`);
    }
  });
}

t.test('--init takes a state_dict that Python wrote', { skip }, async (t) => {
  const file = at('python.pt');
  const script = `${MODULE}\ntorch.manual_seed(3)\ntorch.save(Small({}).state_dict(), sys.argv[1])`;
  runTorchPython(script, file);
  const run = await train('from-python', '--init', file);
  const written = await readParameters(file);
  t.strictSame([...written.keys()], ['layers.0.weight', 'layers.0.bias', 'layers.1.weight', 'layers.1.bias']);
  t.notSame(digests((await readCheckpoint(path.join(run, 'best.pt'))).parameters), digests(written));
  runTorchPython(`${MODULE}\ntorch.manual_seed(3)\ntorch.save(Small({}).double().state_dict(), sys.argv[1])`, file);
  t.strictSame(digests(await readParameters(file)), digests(written), 'float64 is rounded to float32');
  runTorchPython(`${MODULE}\ntorch.save({'state_dict': {}, 'epoch': 1}, sys.argv[1])`, file);
  await t.rejects(readCheckpoint(file), {
    code: 'ERR_CHECKPOINT_UNSUPPORTED',
    message: /it has no `config`/,
  });
});

t.test('target propagation: inverses by their names, and an optimizer for them', { skip }, async (t) => {
  const run = await train('ao-sdtp', '--rule', 'ao-sdtp', '--auxiliary', '5', '--schedule', 'parallel');
  const script = `
import json, sys, torch
c = torch.load(sys.argv[1], weights_only=True)
s = c['state_dict']
v, b = [torch.nn.Parameter(s['inverses.1.' + k].clone()) for k in ('weight', 'bias')]
optimizer = torch.optim.Adam([v, b])
optimizer.load_state_dict(c['inverse_optimizer'])
x = torch.ones(1, 784) / 2
h = torch.tanh(x @ s['layers.0.weight'].T + s['layers.0.bias'])
o = torch.softmax(h @ s['layers.1.weight'].T + s['layers.1.bias'], 1)
z = torch.tanh(h @ s['auxiliary.weight'].T + s['auxiliary.bias'])
loss = (torch.tanh(torch.cat([o, z], 1) @ v + b) - h).square().sum()
loss.backward()
optimizer.step()
print(json.dumps({
    'shapes': {k: list(p.shape) for k, p in s.items()}, 'auxiliary': c['config']['auxiliary'],
    'names': optimizer.param_groups[0]['param_names'], 'steps': optimizer.state[v]['step'].item(),
    'finite': bool(torch.isfinite(v).all() and torch.isfinite(loss))}))
`;
  const python: unknown = JSON.parse(runTorchPython(script, path.join(run, 'last.pt')));
  t.strictSame(python, {
    shapes: {
      'layers.0.weight': [32, 784],
      'layers.0.bias': [32],
      'layers.1.weight': [10, 32],
      'layers.1.bias': [10],
      'inverses.1.weight': [15, 32],
      'inverses.1.bias': [32],
      'auxiliary.weight': [5, 32],
      'auxiliary.bias': [5],
    },
    auxiliary: 5,
    names: ['inverses.1.weight', 'inverses.1.bias'],
    steps: 21,
    finite: true,
  });
});
