/**
 * Whole networks on images (maps, pooling, flatten, dense layers) against float64 loops, under every rule; and a
 * network of convolutions in Python.
 */
import fs from 'node:fs';
import path from 'node:path';
import t, { type Test } from 'tap';
import {
  Dataset,
  Network,
  network,
  Trainer,
  type NetworkOptions,
  type RuleName,
  type StateDict,
} from '../../lib/index.js';
import { isMap, type ResolvedPool } from '../../lib/model/layers.js';
import type { ResolvedSpec } from '../../lib/model/spec.js';
import { writeCheckpoint } from '../../lib/training/checkpoint.js';
import { runTorchPython, whyNoTorchPython } from '../support/python.js';
import { sigma, slope } from '../support/activations.js';
import { agrees, differs } from '../support/compare.js';
import { crossEntropy } from '../support/losses.js';
import { count, naive, naiveDense, outputSize, type Geometry } from '../support/maps.js';
import { gradientsFrom, randomState } from '../support/networks.js';
import { largest, randomArray, sameBits, type Numbers } from '../support/numbers.js';

const batch = 5;
const classes = 4;
const labels = Array.from({ length: batch }, (_, b) => (b * 3) % classes);

/** The networks: rectangles everywhere, so that height and width, or channels and places, cannot be confused. */
const specs: Readonly<Record<string, ResolvedSpec>> = {
  'LC, max, conv, average': network({ channels: 2, height: 11, width: 8 })
    .locallyConnected2d(3, { kernel: [3, 2], stride: [1, 2], padding: [1, 0], activation: 'tanh' }) // 3×11×4
    .maxPool2d({ kernel: [3, 2], stride: [2, 1], padding: [1, 1] }) // 3×6×5
    .conv2d(4, { kernel: [2, 3], stride: 1, padding: [0, 1], activation: 'tanh' }) // 4×5×5
    .avgPool2d({ kernel: [2, 3], stride: [1, 2], padding: [1, 1] }) // 4×6×3
    .flatten()
    .dense(6, { activation: 'tanh' })
    .dense(classes)
    .softmaxCrossEntropy(),
  'average, conv, max, LC': network({ channels: 3, height: 9, width: 12 })
    .avgPool2d({ kernel: 2, stride: [1, 2] }) // 3×8×6
    .conv2d(17, { kernel: [3, 2], dilation: [2, 1], padding: [1, 1], activation: 'relu', bias: false }) // 17×6×7
    .maxPool2d({ kernel: [2, 3] }) // 17×3×2
    .locallyConnected2d(5, { kernel: [2, 1], padding: [1, 0], activation: 'sigmoid', name: 'eye' }) // 5×4×2
    .flatten()
    .dense(classes)
    .softmaxCrossEntropy(),
};

/** A pool over [batch, channels, ...size]: for each output the inputs in its window, and the share of each. */
function pool({ type, kernel, stride, padding }: ResolvedPool, shape: readonly number[], x: Numbers) {
  const [channels, height, width] = shape as [number, number, number];
  const size = [height, width] as const;
  const [oh, ow] = outputSize({ batch, channels: [1, 1], size, kernel, stride, padding, dilation: [1, 1] });
  const y = new Float64Array(batch * channels * oh * ow);
  const shares: { readonly from: number; readonly to: number; readonly share: number }[] = [];
  for (let plane = 0; plane < batch * channels; plane++) {
    for (let place = 0; place < oh * ow; place++) {
      const window: number[] = [];
      for (let p = 0; p < kernel[0]; p++) {
        for (let q = 0; q < kernel[1]; q++) {
          const row = Math.floor(place / ow) * stride[0] - padding[0] + p;
          const column = (place % ow) * stride[1] - padding[1] + q;
          if (row < 0 || row >= height || column < 0 || column >= width) continue;
          window.push((plane * height + row) * width + column);
        }
      }
      const to = plane * oh * ow + place;
      const best = window.reduce((a, b) => (x[b]! > x[a]! ? b : a));
      for (const from of window) {
        const share = type === 'avg-pool2d' ? 1 / count(kernel) : from === best ? 1 : 0;
        shares.push({ from, to, share });
        y[to]! += share * x[from]!;
      }
    }
  }
  const down = (g: Numbers): Float64Array => {
    const result = new Float64Array(x.length);
    for (const { from, to, share } of shares) result[from]! += share * g[to]!;
    return result;
  };
  return { shape: [channels, oh, ow], y, down };
}

/** Outputs, loss and gradients by name, in float64, from the equations; images in the order (batch, C, H, W). */
function reference(spec: ResolvedSpec, rule: RuleName, state: StateDict, images: Float32Array) {
  interface Done {
    readonly prefix: string | null;
    readonly y: Numbers;
    readonly slope: (y: number) => number;
    /** For other weights (feedback) too. */
    readonly at: (delta: Numbers, weight?: Numbers) => ReturnType<typeof naiveDense>;
    readonly down: (g: Numbers) => Numbers;
  }
  const done: Done[] = [];
  let [shape, h]: [readonly number[], Numbers] = [spec.input, images];
  let index = 0;
  for (const layer of spec.layers) {
    const x = h;
    if (layer.type === 'flatten') {
      shape = [count(shape)]; // C, H, W: nothing moves
      done.push({ prefix: null, y: x, slope: slope.identity, at: null!, down: (g) => g });
      continue;
    }
    if (!isMap(layer)) {
      const pooled = pool(layer as ResolvedPool, shape, x);
      [shape, h] = [pooled.shape, pooled.y];
      done.push({ prefix: null, y: h, slope: slope.identity, at: null!, down: pooled.down });
      continue;
    }
    const prefix = layer.name ?? `layers.${index}`;
    index++;
    const own = state.get(`${prefix}.weight`)!.data;
    const bias = state.get(`${prefix}.bias`)?.data ?? null;
    let at: Done['at'];
    if (layer.type === 'dense') {
      at = (delta, weight = own) => naiveDense(batch, { x, weight, bias, delta });
      shape = [layer.units];
    } else {
      const { kernel, stride, padding, dilation, type } = layer;
      const [channels, height, width] = shape as [number, number, number];
      const g: Geometry = {
        ...{ batch, channels: [channels, layer.channels], size: [height, width] },
        ...{ kernel, stride, padding, dilation },
      };
      at = (delta, weight = own) => naive(g, type, { x, weight, bias, delta });
      shape = [layer.channels, ...outputSize(g)];
    }
    h = at(new Float64Array(batch * count(shape))).apply.map(sigma[layer.activation]);
    done.push({ prefix, y: h, slope: slope[layer.activation], at, down: null! });
  }

  const outputs = h;
  const { loss, error } = crossEntropy(outputs, labels);

  const gradients = new Map<string, Float64Array>();
  let g: Numbers | null = error;
  for (const [i, layer] of [...done.entries()].reverse()) {
    const { prefix, y } = layer;
    if (prefix === null) {
      g &&= layer.down(g);
      continue;
    }
    const units = y.length / batch;
    if (rule === 'dfa' && i < done.length - 1) {
      const feedback = (state.get(`${prefix}.weight_backward`) ?? state.get('weight_backward'))!;
      const columns = feedback.shape[1]!;
      const sent = new Float64Array(batch * units);
      for (let b = 0; b < batch; b++)
        for (let k = 0; k < classes; k++)
          for (let j = 0; j < units; j++)
            sent[b * units + j]! += error[b * classes + k]! * feedback.data[k * columns + j]!;
      g = sent;
    }
    const arriving: Numbers = g!;
    const delta: Numbers = Float64Array.from({ length: y.length }, (_, j) => arriving[j]! * layer.slope(y[j]!));
    const own = layer.at(delta);
    gradients.set(`${prefix}.weight`, own.outer);
    if (state.has(`${prefix}.bias`)) gradients.set(`${prefix}.bias`, own.biasSums);
    const backward = state.get(`${prefix}.weight_backward`)?.data;
    if (rule === 'bp') g = own.adjoint;
    else g = rule === 'fa' && backward ? layer.at(delta, backward).adjoint : null;
  }
  return { outputs, loss, gradients };
}

/** Of random parameters. */
const scaleOf = (name: string): number => (name.endsWith('backward') ? 1 : 0.4);

/** What one step of SGD with a learning rate of 1 on one batch subtracts. */
async function step(net: Network, images: Float32Array) {
  using data = Dataset.fromArrays({ images, labels, shape: net.spec.input, classes });
  const before = await net.stateDict();
  const trainer = new Trainer(net, { optimizer: { type: 'sgd', lr: 1 }, batchSize: batch });
  let [steps, loss] = [0, NaN];
  for await (const event of trainer.fit(data, { epochs: 1 })) {
    if (event.type === 'epoch') loss = event.train.loss;
    else steps = event.step;
  }
  if (steps !== 1) throw new Error(`${steps} steps`);
  const after = await net.stateDict();
  const gradients = gradientsFrom(before, after, 1);
  return { loss, gradients, before, after };
}

/** One step's gradients, those of the reference, and whether they agree. */
async function compare(t: Test, spec: ResolvedSpec, options: NetworkOptions, state?: StateDict) {
  using net = new Network(spec, options);
  await net.loadStateDict(state ?? randomState(net, scaleOf));
  const images = randomArray(batch * count(spec.input), 7, 2);
  const outputs = await net.predict(images);
  const got = await step(net, images);
  const want = reference(spec, net.rule, got.before, images);
  agrees(t, outputs, want.outputs, 2e-6, 'outputs');
  t.ok(Math.abs(got.loss - want.loss) < 1e-6 * want.loss, `loss ${got.loss}, ${want.loss}`);
  for (const { name, trainable } of net.parameters) {
    if (!trainable) {
      t.equal(largest(got.gradients.get(name)!), 0, `${name} is fixed`);
      continue;
    }
    const gradient = want.gradients.get(name)!;
    // Subtracting float32 weights leaves 2⁻²⁵, against gradients of which the largest are above 0.01.
    agrees(t, got.gradients.get(name)!, gradient, 1e-5, name);
    t.ok(largest(gradient) > 0.01, `${name}: the largest is ${largest(gradient)}`);
  }
  return { ...got, images };
}

for (const [name, spec] of Object.entries(specs)) {
  for (const rule of ['bp', 'fa', 'dfa'] as const) {
    t.test(`${name}: outputs and a step of ${rule} are the reference’s`, async (t) => {
      await compare(t, spec, { rule });
    });
  }

  t.test(`${name}: shared feedback of dfa is the first columns of one matrix`, async (t) => {
    using shared = new Network(spec, { rule: 'dfa', dfaFeedback: 'shared', seed: 5 });
    using perLayer = new Network(spec, { rule: 'dfa', seed: 5 });
    const [a, b] = [await shared.stateDict(), await perLayer.stateDict()];
    const trainable = shared.parameters.filter((p) => p.trainable).map((p) => p.name);
    t.ok(trainable.length >= 5 && trainable.includes('layers.0.weight'));
    for (const name of trainable) t.ok(sameBits(a.get(name)!.data, b.get(name)!.data), `${name} from a seed`);

    const state = randomState(shared, scaleOf);
    const matrix = state.get('weight_backward')!;
    const columns = matrix.shape[1]!;
    const apart: StateDict = new Map();
    for (const { name, shape } of perLayer.parameters) {
      if (!name.endsWith('.weight_backward')) {
        apart.set(name, state.get(name)!);
        continue;
      }
      const [rows, units] = shape as [number, number];
      const data = new Float32Array(rows * units);
      for (let k = 0; k < rows; k++) data.set(matrix.data.subarray(k * columns, k * columns + units), k * units);
      apart.set(name, { shape, data });
    }
    const widths = [...apart].filter(([name]) => name.endsWith('.weight_backward')).map(([, p]) => p.shape[1]!);
    t.equal(columns, Math.max(...widths), 'as wide as the widest layer');
    t.ok(Math.min(...widths) < columns, 'and some are narrower');

    const one = await compare(t, spec, { rule: 'dfa', dfaFeedback: 'shared' }, state);
    const each = await compare(t, spec, { rule: 'dfa' }, apart);
    for (const name of trainable) {
      t.ok(sameBits(one.after.get(name)!.data, each.after.get(name)!.data), `${name} after a step: same bits`);
    }
  });
}

t.test('gradients of the rules differ where they should', async (t) => {
  const spec = specs['LC, max, conv, average']!;
  using net = new Network(spec, { rule: 'dfa' });
  const state = randomState(net, scaleOf);
  const images = randomArray(batch * count(spec.input), 7, 2);
  const [bp, dfa] = (['bp', 'dfa'] as const).map((rule) => reference(spec, rule, state, images).gradients);
  for (const hidden of ['layers.0.weight', 'layers.1.weight', 'layers.2.weight']) {
    differs(t, dfa!.get(hidden)!, bp!.get(hidden)!, 0.1, hidden);
  }
  t.strictSame(dfa!.get('layers.3.weight')!, bp!.get('layers.3.weight')!, 'the last layer');
});

t.test('a checkpoint of convolutions and pools in nn.Sequential', { skip: whyNoTorchPython() }, async (t) => {
  const folder = t.testdir();
  const spec = network({ channels: 2, height: 11, width: 8 })
    .conv2d(5, { kernel: [3, 2], stride: [1, 2], padding: [1, 0], activation: 'tanh', name: '0' })
    .maxPool2d({ kernel: [3, 2], stride: [2, 1], padding: [1, 1] })
    .conv2d(4, { kernel: [2, 3], dilation: [2, 1], padding: 1, activation: 'relu', bias: false, name: '3' })
    .avgPool2d({ kernel: [2, 3], stride: [1, 2], padding: [1, 1] })
    .flatten()
    .dense(classes, { name: '7' })
    .softmaxCrossEntropy();
  using net = new Network(spec);
  await net.loadStateDict(randomState(net, scaleOf));
  const images = randomArray(batch * count(spec.input), 7, 2);
  const checkpoint = path.join(folder, 'conv.pt');
  await writeCheckpoint(checkpoint, {
    parameters: await net.stateDict(),
    config: { network: spec, rule: 'bp', normalization: null, seed: 0 },
    ...{ epoch: 0, step: 0, metrics: null, training: null },
  });
  fs.writeFileSync(path.join(folder, 'images.bin'), images);
  const script = `
import json, sys, torch
from torch import nn
model = nn.Sequential(
    nn.Conv2d(2, 5, (3, 2), stride=(1, 2), padding=(1, 0)), nn.Tanh(),
    nn.MaxPool2d((3, 2), stride=(2, 1), padding=(1, 1)),
    nn.Conv2d(5, 4, (2, 3), dilation=(2, 1), padding=1, bias=False), nn.ReLU(),
    nn.AvgPool2d((2, 3), stride=(1, 2), padding=(1, 1)),
    nn.Flatten(), nn.LazyLinear(${classes}))
x = torch.frombuffer(bytearray(open(sys.argv[2], 'rb').read()), dtype=torch.float32).reshape(${batch}, 2, 11, 8)
model(x)
state = torch.load(sys.argv[1], weights_only=True)['state_dict']
model.load_state_dict(state, strict=True)
print(json.dumps({'outputs': model(x).flatten().tolist(), 'keys': list(state)}))
`;
  const python = JSON.parse(runTorchPython(script, checkpoint, path.join(folder, 'images.bin'))) as {
    outputs: number[];
    keys: string[];
  };
  t.strictSame(python.keys, ['0.weight', '0.bias', '3.weight', '7.weight', '7.bias']);
  const outputs = await net.predict(images);
  t.ok(largest(outputs) > 0.1);
  agrees(t, outputs, python.outputs, 2e-6, 'outputs');
  const ours = reference(spec, 'bp', await net.stateDict(), images).outputs;
  agrees(t, ours, python.outputs, 2e-6, 'and the reference gives them too');
});
