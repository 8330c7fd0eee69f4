/** The shared convolution against plain loops; test/python/gradcheck.py compares it with PyTorch's own functions. */
import t from 'tap';
import { conv2d, conv2dAdjoint, conv2dOuter, scope, Tensor } from '../../lib/index.js';
import { describeGeometry, mixed, naive, operands, randomGeometries } from '../support/maps.js';
import { relativeError } from '../support/compare.js';
import { runScript } from '../support/processes.js';
import { checkClose, checkGradients } from '../support/tensors.js';

const limits = { float32: 3e-6, float64: 1e-12 } as const;

t.test('apply, adjoint and outer against plain loops in float64', async (t) => {
  let compared = 0;
  let all = 0;
  for (const [i, g] of [mixed, ...randomGeometries(40, 11)].entries()) {
    for (const dtype of i % 4 === 0 ? (['float32', 'float64'] as const) : (['float32'] as const)) {
      scope(() => {
        const { values, shapes, x, weight, bias, delta } = operands(g, 'conv2d', dtype);
        const want = naive(g, 'conv2d', values);
        const check = (what: string, got: Tensor, expected: Float64Array, shape: number[]): void => {
          const name = `${describeGeometry(g)}, ${dtype}: ${what}`;
          t.strictSame([got.dtype, got.shape], [dtype, shape], `${name}: shape`);
          const error = relativeError(got.data() as Float32Array, expected); // nothing but padding may be in reach
          t.ok(error < limits[dtype], `${name}: ${error}`);
          all++;
          if (expected.some((value) => value !== 0)) compared++;
        };
        check('apply', conv2d(x, weight, bias, g), want.apply, shapes.y);
        const { apply } = naive(g, 'conv2d', { ...values, bias: null });
        check('apply without bias', conv2d(x, weight, null, g), apply, shapes.y);
        check('adjoint', conv2dAdjoint(weight, delta, { ...g, inputSize: g.size }), want.adjoint, shapes.x);
        check('outer', conv2dOuter(x, delta, g), want.outer, shapes.weight);
      });
    }
  }
  t.ok(compared > 0.8 * all, `${compared} of ${all} were not of zeros alone`);
});

t.test('⟨W x, y⟩ = ⟨x, Wᵀ y⟩ = ⟨W, x ⊗ y⟩', async (t) => {
  for (const g of [mixed, ...randomGeometries(10, 12)]) {
    scope(() => {
      const { x, weight, delta } = operands(g, 'conv2d', 'float64');
      const [a, b, c] = [
        conv2d(x, weight, null, g).mul(delta).sum().item(),
        conv2dAdjoint(weight, delta, { ...g, inputSize: g.size })
          .mul(x)
          .sum()
          .item(),
        conv2dOuter(x, delta, g).mul(weight).sum().item(),
      ];
      const limit = 1e-10 * Math.max(1, Math.abs(a));
      t.ok(Math.abs(a - b) < limit && Math.abs(a - c) < limit, `${describeGeometry(g)}: ${a} ${b} ${c}`);
    });
  }
});

t.test('an empty batch, and operands that are not contiguous', async (t) => {
  scope(() => {
    const none = { ...mixed, batch: 0 };
    const { x, weight, bias, delta, shapes } = operands(none, 'conv2d');
    t.strictSame(conv2d(x, weight, bias, none).shape, shapes.y);
    t.strictSame(conv2dAdjoint(weight, delta, { ...none, inputSize: none.size }).shape, shapes.x);
    const outer = conv2dOuter(x, delta, none);
    t.strictSame(outer.shape, shapes.weight);
    t.ok(outer.data().every((value) => value === 0));
  });
  scope(() => {
    const { x, weight, delta } = operands(mixed, 'conv2d');
    const moved = (tensor: Tensor): Tensor => {
      const other = tensor.transpose(0, 2).transpose(1, 3);
      return Tensor.from(other.data(), other.shape).transpose(1, 3).transpose(0, 2);
    };
    checkClose(t, 'apply', conv2d(moved(x), moved(weight), null, mixed), conv2d(x, weight, null, mixed));
    checkClose(t, 'outer', conv2dOuter(moved(x), moved(delta), mixed), conv2dOuter(x, delta, mixed));
    const options = { ...mixed, inputSize: mixed.size };
    checkClose(
      t,
      'adjoint',
      conv2dAdjoint(moved(weight), moved(delta), options),
      conv2dAdjoint(weight, delta, options),
    );
  });
});

t.test('the derivatives of each operation are made of the other two', async (t) => {
  scope(() => {
    const { values, x, weight, bias, delta } = operands(mixed, 'conv2d');
    const { biasSums } = naive(mixed, 'conv2d', values);
    const options = { ...mixed, inputSize: mixed.size };
    for (const leaf of [x, weight, bias, delta]) leaf.requiresGrad = true;
    const [applied, adjoint, outer] = [
      conv2d(x, weight, null, mixed).detach(),
      conv2dAdjoint(weight, delta, options).detach(),
      conv2dOuter(x, delta, mixed).detach(),
    ];
    checkGradients(t, 'apply', conv2d(x, weight, bias, mixed), delta, [
      [x, adjoint],
      [weight, outer],
      [bias, Tensor.from(biasSums, bias.shape)],
    ]);
    checkGradients(t, 'adjoint', conv2dAdjoint(weight, delta, options), x, [
      [weight, outer],
      [delta, applied],
    ]);
    checkGradients(t, 'outer', conv2dOuter(x, delta, mixed), weight, [
      [x, adjoint],
      [delta, applied],
    ]);
  });
});

t.test('the gradient of a bias alone', async (t) => {
  scope(() => {
    const { values, x, weight, bias, delta } = operands(mixed, 'conv2d');
    bias.requiresGrad = true;
    conv2d(x, weight, bias, mixed).backward({ gradient: delta });
    const { biasSums } = naive(mixed, 'conv2d', values);
    t.ok(relativeError(bias.grad!.data() as Float32Array, biasSums) < 1e-6);
  });
});

t.test('what does not fit is named, with what would', async (t) => {
  scope(() => {
    const { x, weight, delta } = operands(mixed, 'conv2d');
    t.throws(() => conv2d(delta, weight, null, mixed), {
      code: 'ERR_NATIVE',
      message: /^conv2d: x has 4 channels, but weight .* takes 3/,
    });
    t.throws(() => conv2d(x, weight, Tensor.full([3], 1), mixed), {
      message: /^conv2d: expected bias to be \[4\], but its shape is \[3\]/,
    });
    t.throws(() => conv2d(x.reshape([15, 9, 8]), weight), {
      message: /^conv2d: expected x to be \[batch, channels, height, width\]/,
    });
    t.throws(() => conv2d(Tensor.full([1, 3, 1, 1], 1), weight), {
      message: /^conv2d: a kernel of 3×2 .*the largest kernel that fits is 1×1/,
    });
    t.throws(() => conv2dAdjoint(weight, x, { ...mixed, inputSize: mixed.size }), {
      message: /^conv2d_adjoint: .*output of \[4, 3, 3\], but y's shape is \[5, 3, 9, 8\]/,
    });
    t.throws(() => conv2dOuter(x, delta, { ...mixed, stride: 1 }), {
      message: /^conv2d_outer: .*gives an output of \[4, 9, 6\], but delta's shape is \[5, 4, 3, 3\]/,
    });
    t.throws(() => conv2d(x, weight.to('float64'), null, mixed), {
      message: /^conv2d: x is Float but weight is Double/,
    });
  });
});

t.test("libtorch's own warnings do not reach the terminal", async (t) => {
  // NNPACK, which knows few processors, printed one at each small convolution.
  const script = `
    import { conv2d, Tensor } from './lib/index.ts';
    for (const n of [1, 4, 16, 32])
      for (const k of [1, 3, 5])
        conv2d(Tensor.from(new Float32Array(n * 3 * 64), [n, 3, 8, 8]), Tensor.from(new Float32Array(12 * k * k), [4, 3, k, k]), null);`;
  const { code, stderr } = await runScript(script);
  t.strictSame([code, stderr], [0, '']);
});
