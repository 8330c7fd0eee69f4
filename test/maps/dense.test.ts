import t from 'tap';
import { dense, denseAdjoint, denseOuter, scope, Tensor } from '../../lib/index.js';
import { agrees } from '../support/compare.js';
import { naiveDense } from '../support/maps.js';
import { randomArray } from '../support/numbers.js';
import { buildFolder } from '../../scripts/paths.mjs';
import { runTorchPython, whyNoTorchPython } from '../support/python.js';
import { checkClose } from '../support/tensors.js';
import { readFileSync } from 'node:fs';

// Batch 1; sizes that are no multiple of 16, of the micro-kernel's panel (64) or of its depth (512); the paper's
// layers; one input, one output.
const shapes = [
  [1, 1, 1],
  [1, 784, 256],
  [100, 784, 256],
  [100, 256, 10],
  [37, 17, 5],
  [3, 513, 65],
  [128, 1030, 129],
  [5, 2, 1000],
  [200, 8, 8],
] as const;

t.test('apply, adjoint and outer against plain loops in float64', async (t) => {
  for (const [batch, inputs, outputs] of shapes) {
    for (const dtype of ['float32', 'float64'] as const) {
      scope(() => {
        const xs = randomArray(batch * inputs, 1);
        const ws = randomArray(outputs * inputs, 2);
        const bs = randomArray(outputs, 3);
        const ds = randomArray(batch * outputs, 4);
        const x = Tensor.from(xs, [batch, inputs]).to(dtype);
        const w = Tensor.from(ws, [outputs, inputs]).to(dtype);
        const b = Tensor.from(bs, [outputs]).to(dtype);
        const d = Tensor.from(ds, [batch, outputs]).to(dtype);
        const loops = { x: xs, weight: ws, delta: ds };
        const want = naiveDense(batch, { ...loops, bias: bs });
        const limit = dtype === 'float64' ? 1e-12 : 2e-6;
        const name = `${batch} × (${inputs} → ${outputs}) ${dtype}`;
        const check = (what: string, got: Tensor, want: Float64Array, shape: number[]): void => {
          t.strictSame(got.shape, shape, `${name} ${what}: shape`);
          agrees(t, got.data() as Float32Array, want, limit, `${name} ${what}`);
        };
        check('apply', dense(x, w, b), want.apply, [batch, outputs]);
        check('apply without bias', dense(x, w), naiveDense(batch, { ...loops, bias: null }).apply, [batch, outputs]);
        check('adjoint', denseAdjoint(w, d), want.adjoint, [batch, inputs]);
        check('outer', denseOuter(x, d), want.outer, [outputs, inputs]);
      });
    }
  }
});

t.test('operands that are not contiguous', async (t) => {
  scope(() => {
    const x = Tensor.from(randomArray(20 * 30, 1), [20, 30]);
    const w = Tensor.from(randomArray(20 * 7, 2), [20, 7]);
    const same = (a: Tensor, b: Tensor): boolean => t.strictSame(a.data(), b.data());
    const copy = (a: Tensor): Tensor => Tensor.from(a.data(), a.shape);
    same(dense(x.transpose(), w.transpose()), dense(copy(x.transpose()), copy(w.transpose())));
    same(denseAdjoint(w, x.transpose()), denseAdjoint(w, copy(x.transpose())));
    same(denseOuter(x.transpose(), copy(x.transpose())), denseOuter(copy(x.transpose()), x.transpose()));
  });
});

t.test('leading dimensions, and none of anything', async (t) => {
  scope(() => {
    const w = Tensor.from(randomArray(12, 1), [3, 4]);
    const x = Tensor.from(randomArray(40, 2), [2, 5, 4]);
    t.strictSame(dense(x, w).shape, [2, 5, 3]);
    t.strictSame(dense(x, w).data(), dense(x.reshape([10, 4]), w).data());
    t.strictSame(dense(x.reshape([10, 4]).sum(0), w).shape, [3], 'a vector');
    t.strictSame(denseAdjoint(w, Tensor.full([2, 5, 3], 1)).shape, [2, 5, 4]);
    t.strictSame(denseOuter(x, Tensor.full([2, 5, 3], 1)).shape, [3, 4]);
    t.strictSame(dense(Tensor.full([0, 4], 0), w).shape, [0, 3], 'no examples');
    t.strictSame(denseOuter(Tensor.full([0, 4], 0), Tensor.full([0, 3], 0)).data(), new Float32Array(12));
    t.strictSame(
      dense(Tensor.full([2, 0], 0), Tensor.full([3, 0], 0), Tensor.from([1, 2, 3])).data(),
      Float32Array.of(1, 2, 3, 1, 2, 3),
      'no inputs',
    );
    t.strictSame(denseAdjoint(Tensor.full([0, 4], 0), Tensor.full([2, 0], 0)).data(), new Float32Array(8));
  });
});

t.test('the gradients of outer are differentiable in turn', async (t) => {
  scope(() => {
    const leafOf = (rows: number, columns: number, seed: number): Tensor => {
      const tensor = Tensor.from(randomArray(rows * columns, seed), [rows, columns]);
      tensor.requiresGrad = true;
      return tensor;
    };
    const [x, d, g] = [leafOf(5, 4, 1), leafOf(5, 3, 2), leafOf(3, 4, 3)];
    const v = Tensor.from(randomArray(15, 4), [5, 3]);
    const u = Tensor.from(randomArray(20, 5), [5, 4]);
    // The gradients of ⟨G, δᵀx⟩ are x Gᵀ and δ G; of ⟨v, x Gᵀ⟩ + ⟨u, δ G⟩ those below are wanted.
    denseOuter(x, d).mul(g).sum().backward({ createGraph: true });
    const next = d.grad!.mul(v).sum().add(x.grad!.mul(u).sum());
    for (const tensor of [x, d, g]) tensor.clearGrad();
    next.backward();
    checkClose(t, 'x', x.grad!, denseAdjoint(g, v));
    checkClose(t, 'δ', d.grad!, dense(u, g));
    checkClose(t, 'G', g.grad!, denseOuter(x, v).add(denseOuter(u, d)));
  });
});

t.test('the gradient of a bias alone', async (t) => {
  scope(() => {
    const bias = Tensor.from([1, 2, 3]);
    bias.requiresGrad = true;
    const gradient = Tensor.from(randomArray(15, 4), [5, 3]);
    dense(Tensor.from(randomArray(20, 1), [5, 4]), Tensor.from(randomArray(12, 2), [3, 4]), bias).backward({
      gradient,
    });
    agrees(t, bias.grad!.data() as Float32Array, gradient.sum(0).data() as Float32Array, 1e-6, 'sums over the batch');
  });
});

t.test('⟨W x, y⟩ = ⟨x, Wᵀ y⟩ = ⟨W, y ⊗ x⟩', async (t) => {
  scope(() => {
    const x = Tensor.from(randomArray(33 * 71, 1), [33, 71]).to('float64');
    const w = Tensor.from(randomArray(19 * 71, 2), [19, 71]).to('float64');
    const y = Tensor.from(randomArray(33 * 19, 3), [33, 19]).to('float64');
    const [a, b, c] = [
      dense(x, w).mul(y).sum().item(),
      denseAdjoint(w, y).mul(x).sum().item(),
      denseOuter(x, y).mul(w).sum().item(),
    ];
    t.ok(Math.abs(a - b) < 1e-10 * Math.abs(a) && Math.abs(a - c) < 1e-10 * Math.abs(a), `${a} ${b} ${c}`);
  });
});

t.test('the shapes that do not fit are named', async (t) => {
  scope(() => {
    const w = Tensor.full([3, 4], 1);
    const x = Tensor.full([2, 5], 1);
    t.throws(() => dense(x, w), {
      code: 'ERR_NATIVE',
      message: /last size of x to be 4, but its shape is \[2, 5\]/,
    });
    t.throws(() => dense(Tensor.full([], 1), w), { message: /last size of x/ });
    t.throws(() => dense(x, Tensor.full([3], 1)), {
      message: /weight to be \[out, in\], but its shape is \[3\]/,
    });
    t.throws(() => dense(Tensor.full([2, 4], 1), w, Tensor.full([2], 1)), { message: /bias to be \[3\]/ });
    t.throws(() => dense(Tensor.full([2, 4], 1).to('float64'), w), {
      message: /x is Double but weight is Float/,
    });
    t.throws(() => dense(Tensor.full([2, 4], 1).to('int32'), w), { message: /float32, float64 or bfloat16/ });
    t.throws(() => denseAdjoint(w, x), { message: /last size of y to be 3/ });
    t.throws(() => denseOuter(x, Tensor.full([3, 4], 1)), { message: /equal leading sizes/ });
  });
});

t.test('the results do not depend on the number of threads, beyond rounding', async (t) => {
  const { Network } = await import('../../lib/index.js');
  const spec = {
    input: [70],
    layers: [
      { type: 'dense', units: 300, activation: 'tanh' },
      { type: 'dense', units: 40 },
    ],
    loss: 'softmax-cross-entropy',
  } as const;
  const images = randomArray(90 * 70, 1);
  const results: Float32Array[] = [];
  for (const threads of [1, 2, 3]) {
    using network = new Network(spec, { threads, seed: 3 });
    t.equal(network.threads, threads);
    results.push(await network.predict(images));
  }
  // The order of summation is the same; how the micro-kernel rounds may depend on the rectangle that it gets.
  agrees(t, results[1]!, results[0]!, 1e-6, '2 threads');
  agrees(t, results[2]!, results[0]!, 1e-6, '3 threads');
});

t.test('PyTorch: gradcheck and gradgradcheck through the loaded library', { skip: whyNoTorchPython() }, async (t) => {
  const script = readFileSync(new URL('../python/gradcheck.py', import.meta.url), 'utf8');
  t.equal(runTorchPython(script, buildFolder().library).trim().split('\n').at(-1), 'all passed');
});
