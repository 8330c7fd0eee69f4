import t from 'tap';
import { availableParallelism } from 'node:os';
import {
  conv2d,
  conv2dAdjoint,
  conv2dOuter,
  layer,
  locallyConnected2d,
  locallyConnected2dAdjoint,
  locallyConnected2dOuter,
  scope,
  Tensor,
} from '../../lib/index.js';
import {
  count,
  describeGeometry,
  mixed,
  naive,
  operands,
  outputSize,
  randomGeometries,
  shapesOf,
  type Geometry,
} from '../support/maps.js';
import { sigma } from '../support/activations.js';
import { agrees, relativeError } from '../support/compare.js';
import { randomArray, sameBits } from '../support/numbers.js';
import { runScript } from '../support/processes.js';
import { checkClose, checkGradients } from '../support/tensors.js';

const limits = { float32: 3e-6, float64: 1e-12 } as const;

/**
 * More examples (256) and output channels (64, or more with few examples) than go into one product: tap by tap, by
 * packed patches of few channels, and in a tile of more than 256 columns.
 */
const plain = { kernel: [2, 2], stride: [1, 1], padding: [1, 0], dilation: [1, 1] } as const;
const cut: readonly Geometry[] = [
  { ...plain, batch: 300, channels: [17, 150], size: [1, 3] },
  { ...plain, batch: 300, channels: [3, 150], size: [1, 3] },
  { ...plain, batch: 5, channels: [2, 700], size: [2, 2] },
];

/** Memory in the order of `permutation`, the shape as before. */
function laidOut(tensor: Tensor, swaps: readonly (readonly [number, number])[]): Tensor {
  let moved = tensor;
  for (const [a, b] of swaps) moved = moved.transpose(a, b);
  let back = Tensor.from(moved.data(), moved.shape);
  for (const [a, b] of [...swaps].reverse()) back = back.transpose(a, b);
  return back;
}

t.test('apply, adjoint and outer against plain loops in float64', async (t) => {
  let compared = 0;
  let all = 0;
  for (const [i, g] of [mixed, ...cut, ...randomGeometries(80, 1)].entries()) {
    for (const dtype of i % 4 === 0 ? (['float32', 'float64'] as const) : (['float32'] as const)) {
      scope(() => {
        const { values, shapes, x, weight, bias, delta } = operands(g, 'locally-connected2d', dtype);
        const want = naive(g, 'locally-connected2d', values);
        const check = (what: string, got: Tensor, expected: Float64Array, shape: number[]): void => {
          const name = `${describeGeometry(g)}, ${dtype}: ${what}`;
          t.strictSame([got.dtype, got.shape], [dtype, shape], `${name}: shape`);
          const error = relativeError(got.data() as Float32Array, expected); // nothing but padding may be in reach
          t.ok(error < limits[dtype], `${name}: ${error}`);
          all++;
          if (expected.some((value) => value !== 0)) compared++;
        };
        check('apply', locallyConnected2d(x, weight, bias, g), want.apply, shapes.y);
        check('adjoint', locallyConnected2dAdjoint(weight, delta, { ...g, inputSize: g.size }), want.adjoint, shapes.x);
        check('outer', locallyConnected2dOuter(x, delta, g), want.outer, shapes.weight);
        const { apply } = naive(g, 'locally-connected2d', { ...values, bias: null });
        check('apply without bias', locallyConnected2d(x, weight, null, g), apply, shapes.y);
      });
    }
  }
  t.ok(compared > 0.8 * all, `${compared} of ${all} were not of zeros alone`);
});

t.test('with the same weights everywhere it is a convolution', async (t) => {
  for (const g of [mixed, ...randomGeometries(20, 2)]) {
    scope(() => {
      const { x, delta } = operands(g, 'locally-connected2d');
      const [inputs, outputs] = g.channels;
      const [kh, kw] = g.kernel;
      const places = count(outputSize(g));
      const kernels = randomArray(count(g.kernel) * inputs * outputs, 5); // [k_h, k_w, in, out]
      const everywhere = new Float32Array(places * kernels.length);
      for (let i = 0; i < places; i++) everywhere.set(kernels, i * kernels.length);
      const weight = Tensor.from(everywhere, shapesOf(g, 'locally-connected2d').weight);
      // [k_h, k_w, in, out] → [out, in, k_h, k_w]
      const shared = Tensor.from(kernels, [kh, kw, inputs, outputs]).transpose(0, 3).transpose(1, 2).transpose(2, 3);
      const close = (what: string, a: Tensor, b: Tensor): void =>
        checkClose(t, `${describeGeometry(g)}: ${what}`, a, b, 3e-6);
      close('apply', locallyConnected2d(x, weight, null, g), conv2d(x, shared, null, g));
      const options = { ...g, inputSize: g.size };
      close('adjoint', locallyConnected2dAdjoint(weight, delta, options), conv2dAdjoint(shared, delta, options));
      // The gradient of what is shared is the sum over the places.
      const summed = locallyConnected2dOuter(x, delta, g)
        .reshape([places, kh * kw, inputs, outputs])
        .sum(0)
        .transpose(0, 2)
        .reshape([outputs, inputs, kh, kw]);
      close('outer', summed, conv2dOuter(x, delta, g));
    });
  }
});

t.test('⟨W x, y⟩ = ⟨x, Wᵀ y⟩ = ⟨W, x ⊗ y⟩', async (t) => {
  for (const g of [mixed, ...randomGeometries(20, 3)]) {
    scope(() => {
      const { x, weight, delta } = operands(g, 'locally-connected2d', 'float64');
      const [a, b, c] = [
        locallyConnected2d(x, weight, null, g).mul(delta).sum().item(),
        locallyConnected2dAdjoint(weight, delta, { ...g, inputSize: g.size })
          .mul(x)
          .sum()
          .item(),
        locallyConnected2dOuter(x, delta, g).mul(weight).sum().item(),
      ];
      const limit = 1e-10 * Math.max(1, Math.abs(a));
      t.ok(Math.abs(a - b) < limit && Math.abs(a - c) < limit, `${describeGeometry(g)}: ${a} ${b} ${c}`);
    });
  }
});

t.test('operands that lie in memory in any order', async (t) => {
  const orders: Record<string, [number, number][]> = {
    'channels last': [
      [1, 2],
      [2, 3],
    ],
    'batch last': [
      [0, 1],
      [1, 2],
      [2, 3],
    ],
    'location-major': [
      [0, 2],
      [1, 3],
    ],
    'width before height': [[2, 3]],
    'channels before examples': [[0, 1]],
  };
  for (const g of [mixed, { ...mixed, channels: [17, 33], batch: 18 } as const]) {
    scope(() => {
      const { x, weight, bias, delta, shapes } = operands(g, 'locally-connected2d');
      const same = (a: Tensor, b: Tensor, what: string): void => checkClose(t, what, a, b);
      const inputSize = g.size;
      for (const [name, swaps] of Object.entries(orders)) {
        const [x_, delta_] = [laidOut(x, swaps), laidOut(delta, swaps)];
        t.strictSame(x_.shape, shapes.x);
        same(locallyConnected2d(x_, weight, bias, g), locallyConnected2d(x, weight, bias, g), `apply, ${name}`);
        same(
          locallyConnected2dAdjoint(weight, delta_, { ...g, inputSize }),
          locallyConnected2dAdjoint(weight, delta, { ...g, inputSize }),
          `adjoint, ${name}`,
        );
        same(locallyConnected2dOuter(x_, delta, g), locallyConnected2dOuter(x, delta, g), `outer of x, ${name}`);
        same(locallyConnected2dOuter(x, delta_, g), locallyConnected2dOuter(x, delta, g), `outer of δ, ${name}`);
      }
      const swaps = [
        [0, 5],
        [1, 3],
      ] as const;
      const [weight_, bias_] = [laidOut(weight, swaps), laidOut(bias, [[0, 2]])];
      same(locallyConnected2d(x, weight_, bias_, g), locallyConnected2d(x, weight, bias, g), 'weights');
      same(
        locallyConnected2dAdjoint(weight_, delta, { ...g, inputSize }),
        locallyConnected2dAdjoint(weight, delta, { ...g, inputSize }),
        'adjoint, weights',
      );
      // What comes out of one map goes into the next as it is.
      const one = {
        batch: g.batch,
        channels: [g.channels[1], 2],
        size: outputSize(g),
        kernel: [2, 2],
      } as const;
      const next: Geometry = { ...mixed, ...one, stride: [1, 1], padding: [1, 1], dilation: [1, 1] };
      const y = locallyConnected2d(x, weight, bias, g);
      const above = operands(next, 'locally-connected2d').weight;
      same(
        locallyConnected2d(y, above, null, next),
        locallyConnected2d(Tensor.from(y.data(), y.shape), above, null, next),
        'of another map',
      );
    });
  }
});

t.test('a layer without a bias: every column of a wide tile is activated', async (t) => {
  const g = cut[2]!;
  scope(() => {
    const { x, weight } = operands(g, 'locally-connected2d');
    const map = { type: 'locally-connected2d', stride: [...g.stride], padding: [...g.padding] } as const;
    for (const activation of ['tanh', 'sigmoid', 'relu'] as const) {
      const y = layer(x, { weight, activation, rule: 'bp', map });
      const a = locallyConnected2d(x, weight, null, g).data() as Float32Array;
      agrees(t, y.data() as Float32Array, Array.from(a, sigma[activation]), 1e-6, activation);
    }
  });
});

t.test('an empty batch', async (t) => {
  const g = { ...mixed, batch: 0 };
  scope(() => {
    const { x, weight, bias, delta, shapes } = operands(g, 'locally-connected2d');
    t.strictSame(locallyConnected2d(x, weight, bias, g).shape, shapes.y);
    t.strictSame(locallyConnected2dAdjoint(weight, delta, { ...g, inputSize: g.size }).shape, shapes.x);
    const outer = locallyConnected2dOuter(x, delta, g);
    t.strictSame(outer.shape, shapes.weight);
    t.ok(outer.data().every((value) => value === 0));
  });
});

t.test('two sizes of the input that give one of the output', async (t) => {
  scope(() => {
    const { weight, delta } = operands(mixed, 'locally-connected2d');
    const [height, width] = mixed.size;
    const exact = locallyConnected2dAdjoint(weight, delta, { ...mixed, inputSize: [height, width] });
    const fewer = locallyConnected2dAdjoint(weight, delta, { ...mixed, inputSize: [height, width - 1] });
    t.strictSame(exact.shape, [5, 3, height, width]);
    t.strictSame(fewer.shape, [5, 3, height, width - 1]);
    const values = (tensor: Tensor): Float32Array => tensor.transpose(0, 3).data() as Float32Array; // width first
    t.ok(sameBits(values(exact).subarray(0, count(fewer.shape)), values(fewer)));
  });
});

t.test('the derivatives of each operation are made of the other two', async (t) => {
  for (const g of [mixed, ...randomGeometries(6, 4, 50_000)]) {
    scope(() => {
      const { x, weight, bias, delta } = operands(g, 'locally-connected2d');
      const options = { ...g, inputSize: g.size };
      for (const leaf of [x, weight, bias, delta]) leaf.requiresGrad = true;
      const check = (what: string, ...how: [y: Tensor, gradient: Tensor, want: [Tensor, Tensor][]]): void =>
        checkGradients(t, `${describeGeometry(g)}: ${what}`, ...how);
      const { biasSums } = naive(g, 'locally-connected2d', {
        x: x.data() as Float32Array,
        weight: weight.data() as Float32Array,
        bias: null,
        delta: delta.data() as Float32Array,
      });
      check('apply', locallyConnected2d(x, weight, bias, g), delta, [
        [x, locallyConnected2dAdjoint(weight, delta, options).detach()],
        [weight, locallyConnected2dOuter(x, delta, g).detach()],
        [bias, Tensor.from(biasSums, bias.shape)],
      ]);
      check('adjoint', locallyConnected2dAdjoint(weight, delta, options), x, [
        [weight, locallyConnected2dOuter(x, delta, g).detach()],
        [delta, locallyConnected2d(x, weight, null, g).detach()],
      ]);
      check('outer', locallyConnected2dOuter(x, delta, g), weight, [
        [x, locallyConnected2dAdjoint(weight, delta, options).detach()],
        [delta, locallyConnected2d(x, weight, null, g).detach()],
      ]);
    });
  }
});

t.test('the gradient of a bias alone', async (t) => {
  scope(() => {
    const { values, x, weight, bias, delta } = operands(mixed, 'locally-connected2d');
    bias.requiresGrad = true;
    locallyConnected2d(x, weight, bias, mixed).backward({ gradient: delta });
    const { biasSums } = naive(mixed, 'locally-connected2d', values);
    t.ok(relativeError(bias.grad!.data() as Float32Array, biasSums) < 1e-6);
  });
});

t.test('what does not fit is named, with what would', async (t) => {
  scope(() => {
    const { x, weight, bias, delta } = operands(mixed, 'locally-connected2d');
    const inputSize = mixed.size;
    const native = { code: 'ERR_NATIVE' };
    t.throws(() => locallyConnected2d(x, weight, bias), {
      ...native,
      message: /^locally_connected2d: .*weight of shape \[7, 7, 3, 2, 3, 4\], but its shape is \[3, 3, 3, 2, 3, 4\]/,
    });
    t.throws(() => locallyConnected2d(delta, weight, bias, mixed), {
      ...native,
      message: /^locally_connected2d: x has 4 channels, but weight .* takes 3/,
    });
    t.throws(() => locallyConnected2d(x.reshape([15, 9, 8]), weight, bias, mixed), {
      message:
        /^locally_connected2d: expected x to be \[batch, channels, height, width\], but its shape is \[15, 9, 8\]/,
    });
    t.throws(() => locallyConnected2d(x, weight, Tensor.full([4], 1), mixed), {
      message: /^locally_connected2d: expected bias to be \[3, 3, 4\], but its shape is \[4\]/,
    });
    t.throws(() => locallyConnected2d(x.to('float64'), weight, bias, mixed), {
      message: /^locally_connected2d: x is Double but weight is Float/,
    });
    t.throws(() => locallyConnected2d(x.to('int32'), weight, bias, mixed), {
      message: /^locally_connected2d: expected x to be float32, float64 or bfloat16, but it is Int/,
    });
    t.throws(() => locallyConnected2d(Tensor.full([1, 3, 2, 2], 1), weight, null, { dilation: [2, 3] }), {
      message: /^locally_connected2d: a kernel of 3×2 .*the largest kernel that fits is 1×1/,
    });
    t.throws(() => locallyConnected2dAdjoint(weight, x, { ...mixed, inputSize }), {
      message: /^locally_connected2d_adjoint: .*output of \[4, 3, 3\], but y's shape is \[5, 3, 9, 8\]/,
    });
    t.throws(() => locallyConnected2dAdjoint(weight, delta, { ...mixed, inputSize: [20, 20] }), {
      message: /^locally_connected2d_adjoint: .*v of shape/,
    });
    t.throws(() => locallyConnected2dOuter(x, delta, { ...mixed, kernel: [3, 3] }), {
      message: /^locally_connected2d_outer: .*delta's shape is \[5, 4, 3, 3\]/,
    });
    t.throws(() => locallyConnected2d(Tensor.full([1, 3, 9, 2], 1), weight, null, { dilation: [1, 3] }), {
      message: /^locally_connected2d: a kernel of 3×2 .*the largest kernel that fits is 9×1/,
    });
    t.throws(() => locallyConnected2dOuter(x, Tensor.full([7, 4, 3, 3], 1), mixed), {
      message: /^locally_connected2d_outer: x is a batch of 5 but delta one of 7/,
    });
    const two = Tensor.from(delta.data().subarray(0, 2 * 4 * 3 * 3), [2, 4, 3, 3]);
    t.throws(() => locallyConnected2dOuter(x, two, mixed), {
      message: /^locally_connected2d_outer: x is a batch of 5 but delta one of 2/,
    });
  });
});

t.test('the bits do not depend on the number of threads', async (t) => {
  // OpenMP reads the number when it is loaded: a process for each.
  const module = (name: string): string => JSON.stringify(new URL(name, import.meta.url).href);
  const script = `
    import { createHash } from 'node:crypto';
    import { locallyConnected2d, locallyConnected2dAdjoint, locallyConnected2dOuter, Tensor } from ${module('../../lib/index.ts')};
    import { native } from ${module('../../lib/native.ts')};
    import { count, randomGeometries, shapesOf } from ${module('../support/maps.ts')};
    import { randomArray } from ${module('../support/numbers.ts')};
    const digests = [];
    const digest = (tensor) => digests.push(createHash('sha256').update(tensor.data()).digest('hex'));
    for (const g of randomGeometries(12, 5, 3_000_000)) {
      const { x, y, weight } = shapesOf(g, 'locally-connected2d');
      const random = (shape, seed) => Tensor.from(randomArray(count(shape), seed), shape);
      const [image, weights, delta] = [random(x, 1), random(weight, 2), random(y, 3)];
      digest(locallyConnected2d(image, weights, null, g));
      digest(locallyConnected2dAdjoint(weights, delta, { ...g, inputSize: g.size }));
      digest(locallyConnected2dOuter(image, delta, g));
    }
    console.log(JSON.stringify({ threads: native().info().threads, digests }));`;
  const run = async (threads: number) => {
    const { code, stdout, stderr } = await runScript(script, { env: { OMP_NUM_THREADS: String(threads) } });
    t.equal(code, 0, stderr);
    return JSON.parse(stdout) as { threads: number; digests: string[] };
  };
  const [one, two] = [await run(1), await run(2)];
  t.strictSame([one.threads, two.threads], [1, Math.min(2, availableParallelism())]);
  t.strictSame(two.digests, one.digests);
});

t.test('a second time, the same bits', async (t) => {
  scope(() => {
    const { x, weight, bias, delta } = operands({ ...mixed, batch: 64, channels: [17, 33] }, 'locally-connected2d');
    const twice = (f: () => Tensor): boolean => sameBits(f().data() as Float32Array, f().data() as Float32Array);
    t.ok(twice(() => locallyConnected2d(x, weight, bias, mixed)));
    t.ok(twice(() => locallyConnected2dAdjoint(weight, delta, { ...mixed, inputSize: mixed.size })));
    t.ok(twice(() => locallyConnected2dOuter(x, delta, mixed)));
  });
});
