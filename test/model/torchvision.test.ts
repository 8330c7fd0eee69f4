/**
 * PyTorch's residual networks and AlexNet under their own names: logits and running statistics in both modes, the
 * gradients of bp, and the way back. A small network's numbers are committed; torchvision's own networks are compared
 * where it is installed.
 */
import fs from 'node:fs';
import path from 'node:path';
import t, { type Test } from 'tap';
import {
  Dataset,
  loadTorchFile,
  network,
  Network,
  preset,
  readParameters,
  Trainer,
  type ImageBuilder,
  type NetworkSpec,
  type StateDict,
} from '../../lib/index.js';
import { typedArrayOf, type TensorData } from '../../lib/checkpoint/tensor-data.js';
import { epochsOf, gradientsFrom, saveState } from '../support/networks.js';
import { agrees, largestDifference } from '../support/compare.js';
import { runTorchPython, whyNoTorchPython } from '../support/python.js';

const LR = 0.1;

/** What PyTorch computed. */
interface Expected {
  readonly x: Float32Array;
  readonly y: Int32Array;
  readonly logits: Float32Array;
  /** In training mode, with the batch's statistics. */
  readonly loss: number;
  readonly moved: ReadonlyMap<string, Float32Array>;
  readonly gradients: ReadonlyMap<string, Float32Array>;
}

const floats = (value: unknown): Float32Array => typedArrayOf(value as TensorData) as Float32Array;

function expectedIn(file: ReadonlyMap<string, unknown>): Expected {
  const group = (key: string) =>
    new Map([...(file.get(key) as Map<string, unknown>)].map(([name, value]) => [name, floats(value)]));
  return {
    x: floats(file.get('x')),
    y: Int32Array.from(typedArrayOf(file.get('y') as TensorData) as BigInt64Array, Number),
    logits: floats(file.get('logits')),
    loss: file.get('loss') as number,
    moved: group('moved'),
    gradients: group('gradients'),
  };
}

/** Compares; @returns the parameters after a step of sgd, and the logits that they then give */
async function compare(
  t: Test,
  spec: NetworkSpec,
  state: StateDict,
  expected: Expected,
  tolerance: number,
): Promise<{ state: StateDict; logits: Float32Array }> {
  using net = new Network(spec);
  await net.loadStateDict(state);
  const logits = await net.predict(expected.x);
  const worst = largestDifference(logits, expected.logits);
  t.ok(worst < 1e-4, `logits in evaluation mode: ${worst}`);
  const [channels, height, width] = net.spec.input;
  const data = Dataset.fromArrays({
    images: expected.x,
    labels: expected.y,
    shape: [channels!, height!, width!],
    classes: logits.length / expected.y.length,
  });
  const before = await net.stateDict();
  const trainer = new Trainer(net, { optimizer: { type: 'sgd', lr: LR }, batchSize: expected.y.length });
  const epochs = await epochsOf(trainer.fit(data, { epochs: 1 }));
  t.equal(epochs.length, 1);
  t.ok(Math.abs(epochs[0]!.train.loss / expected.loss - 1) < 1e-5, 'the loss in training mode');
  data.dispose();
  const after = await net.stateDict();
  const found = gradientsFrom(before, after, LR);
  for (const [name, gradient] of expected.gradients) {
    agrees(t, found.get(name)!, gradient, tolerance, `gradient of ${name}`);
  }
  t.equal(expected.gradients.size, net.parameters.filter(({ trainable }) => trainable).length);
  for (const [name, statistics] of expected.moved) agrees(t, after.get(name)!.data, statistics, 1e-5, name);
  t.equal(expected.moved.size, net.parameters.filter(({ trainable }) => !trainable).length);
  return { state: after, logits: await net.predict(expected.x) };
}

t.test('a small residual network of PyTorch', async (t) => {
  const block = (x: ImageBuilder, name: string, channels: number, stride: number): ImageBuilder => {
    const conv = { kernel: 3, padding: 1, bias: false };
    const project = (x: ImageBuilder): ImageBuilder =>
      x
        .conv2d(channels, { kernel: 1, stride, bias: false, name: `${name}.downsample.0` })
        .batchNorm({ name: `${name}.downsample.1` });
    return x.residual(
      (x) =>
        x
          .conv2d(channels, { ...conv, stride, name: `${name}.conv1` })
          .batchNorm({ activation: 'relu', name: `${name}.bn1` })
          .conv2d(channels, { ...conv, name: `${name}.conv2` })
          .batchNorm({ name: `${name}.bn2` }),
      { activation: 'relu', shortcut: stride === 1 ? 'identity' : project },
    );
  };
  let image: ImageBuilder = network({ channels: 3, height: 24, width: 24 })
    .conv2d(4, { kernel: 7, stride: 2, padding: 3, bias: false, name: 'conv1' })
    .batchNorm({ activation: 'relu', name: 'bn1' })
    .maxPool2d({ kernel: 3, stride: 2, padding: 1 });
  image = block(block(image, 'layer1.0', 4, 1), 'layer1.1', 4, 1);
  image = block(block(image, 'layer2.0', 6, 2), 'layer2.1', 6, 1);
  const spec = image.globalAvgPool2d().flatten().dense(3, { name: 'fc' }).softmaxCrossEntropy();
  const file = path.join(import.meta.dirname, '../fixtures/residual/small-resnet.pt');
  const expected = expectedIn((await loadTorchFile(file)) as Map<string, unknown>);
  await compare(t, spec, await readParameters(file), expected, 1e-4);
});

const MAKE = `
import sys, torch, torchvision
from torch import nn
import torch.nn.functional as F
name, folder = sys.argv[1:]
def make():
    torch.manual_seed(3)
    net = torchvision.models.alexnet(dropout=0.0) if name == 'alexnet' else torchvision.models.resnet18()
    for key, buffer in net.named_buffers():
        if key.endswith('running_mean'): buffer.normal_(0, 0.1)
        if key.endswith('running_var'): buffer.uniform_(0.5, 1.5)
    return net
`;

t.test("torchvision's own networks", { skip: whyNoTorchPython('torchvision'), timeout: 300_000 }, async (t) => {
  for (const [name, model] of [
    ['resnet18', 'resnet18'],
    ['alexnet', 'alexnet-torchvision'],
  ] as const) {
    const folder = t.testdir({});
    runTorchPython(
      `${MAKE}
net = make()
x, y = torch.randn(3, 3, 224, 224), torch.tensor([7, 999, 0])
torch.save(net.state_dict(), folder + '/state.pth')
net.eval()
logits = net(x).detach()
net.train()
loss = F.cross_entropy(net(x), y)
loss.backward()
moved = {key: value.clone() for key, value in net.state_dict().items() if 'running' in key}
gradients = {key: parameter.grad for key, parameter in net.named_parameters()}
torch.save(dict(x=x, y=y, logits=logits, loss=loss.item(), moved=moved, gradients=gradients), folder + '/expected.pt')
`,
      name,
      folder,
    );
    const expected = expectedIn((await loadTorchFile(path.join(folder, 'expected.pt'))) as Map<string, unknown>);
    const state = await readParameters(path.join(folder, 'state.pth'));
    const { state: after, logits } = await compare(t, preset(model), state, expected, 1e-3);
    await saveState(path.join(folder, 'after.pt'), after);
    const back = JSON.parse(
      runTorchPython(
        `${MAKE}
import json
net = make()
net.load_state_dict(torch.load(folder + '/after.pt', weights_only=True))
net.eval()
print(json.dumps(net(torch.load(folder + '/expected.pt')['x']).flatten().tolist()))
`,
        name,
        folder,
      ),
    ) as number[];
    const worst = largestDifference(back, logits);
    t.ok(worst < 1e-4, `${name}: the logits there, after a step here: ${worst}`);
    fs.rmSync(path.join(folder, 'expected.pt'));
  }
});
