/** The options of the maps of images, as functions of tensors: how they are read, and what is refused. */
import t from 'tap';
import {
  avgPool2d,
  conv2d,
  conv2dAdjoint,
  conv2dOuter,
  dfaHiddenLayer,
  layer,
  liveTensors,
  locallyConnected1d,
  locallyConnected1dAdjoint,
  locallyConnected1dOuter,
  locallyConnected2d,
  locallyConnected2dAdjoint,
  locallyConnected2dOuter,
  maxPool2d,
  scope,
  Tensor,
} from '../../lib/index.js';
import { agrees } from '../support/compare.js';
import { count } from '../support/maps.js';
import { randomArray } from '../support/numbers.js';

const random = (shape: readonly number[], seed: number): Tensor => Tensor.from(randomArray(count(shape), seed), shape);

t.test("numbers, pairs, 'same' and 'valid'", async (t) => {
  scope(() => {
    const x = random([2, 3, 8, 6], 1);
    const weight = random([4, 3, 3, 5], 2);
    const same = (a: Tensor, b: Tensor, what: string): void => {
      t.strictSame(a.shape, b.shape, what);
      t.strictSame(a.data(), b.data(), what);
    };
    const { shape } = conv2d(x, weight, null, { padding: 'same' });
    t.strictSame(shape, [2, 4, 8, 6], 'the size is kept');
    same(
      conv2d(x, weight, null, { padding: 'same', dilation: [1, 2], stride: 2 }),
      conv2d(x, weight, null, { padding: [1, 4], dilation: [1, 2], stride: [2, 2] }),
      'same',
    );
    same(conv2d(x, weight), conv2d(x, weight, null, { padding: 'valid' }), 'valid');
    const local = random([4, 3, 3, 5, 3, 4], 3);
    t.strictSame(locallyConnected2d(x, local, null, { padding: 'same', stride: 2 }).shape, [2, 4, 4, 3]);
    const y = random([2, 4, 4, 3], 4);
    const options = { padding: 'same', stride: 2 } as const;
    t.strictSame(locallyConnected2dAdjoint(local, y, { ...options, inputSize: [8, 6] }).shape, x.shape);
    t.strictSame(locallyConnected2dAdjoint(local, y, { ...options, inputSize: [7, 5] }).shape, [2, 3, 7, 5]);
    t.strictSame(locallyConnected2dOuter(x, y, { ...options, kernel: [3, 5] }).shape, local.shape);
    t.strictSame(conv2dAdjoint(weight, y, { ...options, inputSize: [8, 6] }).shape, x.shape);
    t.strictSame(conv2dOuter(x, y, { ...options, kernel: [3, 5] }).shape, weight.shape);
    t.strictSame(maxPool2d(x, { kernel: 2 }).shape, [2, 3, 4, 3], 'the stride is the kernel');
    t.strictSame(avgPool2d(x, { kernel: [3, 2], stride: 1, padding: [1, 0] }).shape, [2, 3, 8, 5]);
    const corner = avgPool2d(Tensor.full([1, 1, 4, 4], 1), { kernel: 2, stride: 2, padding: 1 });
    t.equal(corner.data()[0], 0.25, 'padding counts, as in PyTorch by default');
    t.equal(maxPool2d(Tensor.full([1, 1, 4, 4], -1), { kernel: 2, padding: 1 }).data()[0], -1, 'or is no maximum');
  });
});

t.test('a signal is an image of height 1', async (t) => {
  const before = liveTensors();
  scope(() => {
    const x = random([2, 3, 10], 1);
    const weight = random([5, 3, 3, 4], 2);
    const bias = random([5, 4], 3);
    const options = { stride: 2, padding: 'same' } as const;
    for (const tensor of [x, weight, bias]) tensor.requiresGrad = true;
    const y = locallyConnected1d(x, weight, bias, options);
    const flat = { stride: [1, 2], padding: 'same' } as const;
    const [x2, w2] = [x.reshape([2, 3, 1, 10]), weight.reshape([1, 5, 1, 3, 3, 4])];
    const y2 = locallyConnected2d(x2, w2, bias.reshape([1, 5, 4]), flat);
    t.strictSame(y.shape, [2, 4, 5]);
    t.strictSame(y.data(), y2.data());
    t.strictSame(
      locallyConnected1dAdjoint(weight, y, { ...options, inputSize: 10 }).data(),
      locallyConnected2dAdjoint(w2, y2, { ...flat, inputSize: [1, 10] }).data(),
    );
    const outer = locallyConnected1dOuter(x, y, { ...options, kernel: 3 });
    t.strictSame(outer.shape, weight.shape);
    y.mul(y).sum().backward();
    t.strictSame(weight.grad!.shape, weight.shape, 'gradients have the shapes of signals');
    t.strictSame(bias.grad!.shape, bias.shape);
    const twice = outer.mul(2).data() as Float32Array;
    const gradient = weight.grad!.data() as Float32Array;
    t.ok(twice.every((value, i) => Math.abs(value - gradient[i]!) < 1e-4));
  });
  t.equal(liveTensors(), before, 'nothing is left behind');
});

t.test('layers over the maps of images', async (t) => {
  scope(() => {
    const x = random([2, 3, 8, 6], 1);
    const map = { type: 'locally-connected2d', stride: 2, padding: 'same' } as const;
    const weight = random([4, 3, 3, 3, 3, 4], 2);
    const bias = random([4, 3, 4], 3);
    const y = layer(x, { weight, bias, activation: 'tanh', rule: 'bp', map });
    const apart = locallyConnected2d(x, weight, bias, { stride: 2, padding: 'same' }).tanh();
    agrees(
      t,
      y.data() as Float32Array,
      apart.data() as Float32Array,
      1e-6,
      'the layer, and its parts one after the other',
    );
    const kernels = random([5, 3, 3, 3], 4);
    const shared = layer(x, { weight: kernels, rule: 'fa', feedback: kernels, map: { type: 'conv2d' } });
    t.strictSame(shared.data(), conv2d(x, kernels).data());
    const feedback = random([7, 4 * 4 * 3], 5);
    const hidden = dfaHiddenLayer(x, { weight, feedback, map });
    t.strictSame([hidden.y.shape, hidden.errorPort.shape], [y.shape, [2, 7]]);
    t.throws(() => layer(x, { weight, rule: 'bp', map: { type: 'conv3d' as 'conv2d' } }), {
      code: 'ERR_INVALID_ARGUMENT',
      message: /`map`/,
    });
    t.throws(() => layer(x, { weight, rule: 'bp', map: { type: 'conv2d' } }), {
      message: /\[out, in, k_h, k_w\] for `weight`/,
    });
  });
});

t.test('what cannot be is named', async (t) => {
  scope(() => {
    const x = random([2, 3, 8, 6], 1);
    const even = random([4, 3, 2, 2], 2);
    const refused = (body: () => unknown, message: RegExp, code = 'ERR_INVALID_ARGUMENT'): void => {
      t.throws(body, { code, message });
    };
    refused(() => conv2d(x, even, null, { padding: 'same' }), /kernel 2×2, since 'same' needs an odd kernel/);
    refused(() => conv2d(x, even, null, { stride: 0 }), /`stride`/);
    refused(() => conv2d(x, even, null, { padding: -1 }), /`padding`/);
    refused(() => conv2d(x, even, null, { dilation: [1.5, 1] }), /`dilation`/);
    refused(() => conv2d(x, random([4, 3], 1)), /\[out, in, k_h, k_w\] for `weight`.*\[4, 3\]/);
    refused(() => locallyConnected2d(x, even), /\[out_h, out_w, k_h, k_w, in, out\] for `weight`/);
    refused(() => conv2dAdjoint(even, x, {} as { inputSize: number }), /`inputSize`/);
    refused(() => conv2dOuter(x, x, {} as { kernel: number }), /`kernel`/);
    refused(() => maxPool2d(x, {} as { kernel: number }), /`kernel`/);
    refused(() => locallyConnected1d(x, even), /\[batch, channels, length\] for `x`/);
    refused(() => conv2d(x, random([4, 3, 9, 9], 1)), /9/, 'ERR_NATIVE');
    refused(() => conv2d(x, random([4, 2, 3, 3], 1)), /./, 'ERR_NATIVE');
    refused(() => maxPool2d(x, { kernel: 2, padding: 2 }), /./, 'ERR_NATIVE');
  });
});
