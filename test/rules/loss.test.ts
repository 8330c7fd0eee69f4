import t from 'tap';
import { Dataset, Network, scope, softmaxCrossEntropy, squaredError, Tensor } from '../../lib/index.js';
import { agrees } from '../support/compare.js';
import { crossEntropy } from '../support/losses.js';

t.test('softmax cross-entropy: value and gradient, also far from zero', async (t) => {
  for (const shift of [0, 1000, -1000]) {
    scope(() => {
      const logits = Tensor.from([
        [1 + shift, 2 + shift, 4 + shift],
        [0 + shift, 0 + shift, 0 + shift],
      ]);
      logits.requiresGrad = true;
      const loss = softmaxCrossEntropy(logits, Tensor.from(BigInt64Array.of(2n, 0n)));
      const sum = Math.exp(1) + Math.exp(2) + Math.exp(4);
      t.ok(Math.abs(loss.item() - (Math.log(sum) - 4 + Math.log(3)) / 2) < 1e-6);
      loss.mul(3).backward();
      const want = [Math.exp(1) / sum, Math.exp(2) / sum, Math.exp(4) / sum - 1, 1 / 3 - 1, 1 / 3, 1 / 3];
      logits.grad!.data().forEach((g, i) => t.ok(Math.abs(Number(g) - (3 * want[i]!) / 2) < 1e-6));
    });
  }
});

t.test('squared error: summed over outputs, mean over the batch; labels are one-hot', async (t) => {
  scope(() => {
    const outputs = Tensor.from([
      [1, 2],
      [3, 5],
    ]);
    outputs.requiresGrad = true;
    const loss = squaredError(
      outputs,
      Tensor.from([
        [0, 0],
        [1, 1],
      ]),
    );
    t.equal(loss.item(), (1 + 4 + 4 + 16) / 2);
    loss.backward();
    t.strictSame(outputs.grad!.data(), Float32Array.of(1, 2, 2, 4));
    t.equal(squaredError(outputs, Tensor.from(BigInt64Array.of(0n, 1n))).item(), (0 + 4 + 9 + 16) / 2);
  });
});

/** Second derivatives along a direction: those of the gradient, by differences in float64. */
t.test('losses are differentiated twice', async (t) => {
  const outputs = [0.3, -1.2, 0.8, 0.1, 0.4, -0.6];
  const direction = [0.5, 1, -0.25, -1, 0.75, 0.5];
  const labels = [2, 0];
  const references: Record<string, (o: number[]) => number[]> = {
    'softmax-cross-entropy': (o) => [...crossEntropy(o, labels).error],
    'squared-error': (o) => o.map((value, i) => value - (labels[Math.floor(i / 3)] === i % 3 ? 1 : 0)), // 2 / batch
  };
  const losses = { 'softmax-cross-entropy': softmaxCrossEntropy, 'squared-error': squaredError };
  for (const [name, gradientOf] of Object.entries(references)) {
    scope(() => {
      const leaf = Tensor.from(Float32Array.from(outputs), [2, 3]);
      leaf.requiresGrad = true;
      const targets = Tensor.from(BigInt64Array.from(labels.map(BigInt)));
      losses[name as keyof typeof losses](leaf, targets).mul(3).backward({ createGraph: true });
      const gradient = leaf.grad!;
      agrees(
        t,
        gradient.data() as Float32Array,
        gradientOf(outputs).map((value) => 3 * value),
        1e-6,
        `${name}: once`,
      );
      leaf.clearGrad();
      gradient
        .mul(Tensor.from(Float32Array.from(direction), [2, 3]))
        .sum()
        .backward();
      const step = 1e-5;
      const moved = (by: number): number[] => gradientOf(outputs.map((value, i) => value + by * direction[i]!));
      const wanted = moved(step).map((value, i) => (3 * (value - moved(-step)[i]!)) / (2 * step));
      agrees(t, leaf.grad!.data() as Float32Array, wanted, 1e-5, `${name}: twice`);
    });
  }
});

t.test('targets of another shape or type are refused', async (t) => {
  scope(() => {
    const outputs = Tensor.full([3, 3], 1);
    const refused = (targets: Tensor): void => {
      t.throws(() => squaredError(outputs, targets), {
        code: 'ERR_NATIVE',
        message: /expected targets of the outputs' shape/,
      });
    };
    refused(Tensor.from(new BigInt64Array(0), [3, 0]));
    refused(Tensor.from(new BigInt64Array(9), [3, 3]));
    refused(Tensor.full([3, 2], 1));
    refused(Tensor.from(new Int32Array(9), [3, 3]));
    t.throws(() => squaredError(outputs, Tensor.full([2, 3], 1)), { message: /3 outputs but/ });
    t.throws(() => softmaxCrossEntropy(outputs, Tensor.from(new BigInt64Array(3), [3, 1])), {
      message: /labels \[batch\]/,
    });
    for (const [label, classes] of [
      [-1n, 3],
      [3n, 3],
      [-(2n ** 63n), 3],
    ] as const) {
      const labels = Tensor.from(BigInt64Array.of(0n, label, 2n));
      for (const loss of [softmaxCrossEntropy, squaredError]) {
        t.throws(
          () => loss(outputs, labels),
          { code: 'ERR_NATIVE', message: `label ${label}` },
          `${loss.name} ${classes}`,
        );
      }
    }
    t.throws(() => softmaxCrossEntropy(Tensor.full([3, 0], 1), Tensor.from(new BigInt64Array(3))), {
      message: /no classes/,
    });
    t.throws(() => squaredError(outputs.to('float64'), outputs.to('float64')), {
      message: /float32 outputs/,
    });
  });
});

/** A network that gives its input back. */
async function passThrough(classes: number): Promise<Network> {
  const network = new Network({
    input: [classes],
    layers: [{ type: 'dense', units: classes, bias: false }],
    loss: 'softmax-cross-entropy',
  });
  const weight = new Float32Array(classes * classes);
  for (let i = 0; i < classes; i++) weight[i * classes + i] = 1;
  await network.loadStateDict(new Map([['layers.0.weight', { shape: [classes, classes], data: weight }]]));
  return network;
}

t.test('error and error5: ties go to the lower class, and the denominator is the number of examples', async (t) => {
  using network = await passThrough(7);
  const rows = [
    { logits: [0, 9, 0, 0, 0, 0, 0], label: 1 }, // right
    { logits: [5, 5, 0, 0, 0, 0, 0], label: 0 }, // tie: the lower class wins
    { logits: [5, 5, 0, 0, 0, 0, 0], label: 1 }, // tie lost: second
    { logits: [7, 6, 5, 4, 3, 2, 1], label: 4 }, // fifth
    { logits: [7, 6, 5, 4, 3, 2, 1], label: 5 }, // sixth
    { logits: [NaN, NaN, NaN, NaN, NaN, NaN, NaN], label: 0 }, // no answer is a wrong one
  ];
  using data = Dataset.fromArrays({
    images: Float32Array.from(rows.flatMap((row) => row.logits)),
    labels: rows.map((row) => row.label),
    shape: [7],
    classes: 7,
  });
  for (const batchSize of [1, 2, 5, 100]) {
    const { error, error5, examples } = await network.evaluate(data, { batchSize });
    t.strictSame([error, error5, examples], [4 / 6, 2 / 6, 6]);
  }
  using few = await passThrough(3);
  using small = Dataset.fromArrays({ images: new Float32Array(3), labels: [0], shape: [3], classes: 3 });
  t.equal((await few.evaluate(small)).error5, null, 'five best of three');
  using five = await passThrough(5);
  using all = Dataset.fromArrays({ images: new Float32Array(5), labels: [4], shape: [5], classes: 5 });
  t.equal((await five.evaluate(all)).error5, null, 'five best of five are never wrong');
  using six = await passThrough(6);
  using most = Dataset.fromArrays({ images: new Float32Array(6), labels: [5], shape: [6], classes: 6 });
  t.equal((await six.evaluate(most)).error5, 1, 'the last of six, as all are equal');
});
