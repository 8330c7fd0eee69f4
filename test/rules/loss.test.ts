import t from 'tap';
import { Dataset, Network, scope, softmaxCrossEntropy, squaredError, Tensor } from '../../lib/index.js';

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
  ];
  using data = Dataset.fromArrays({
    images: Float32Array.from(rows.flatMap((row) => row.logits)),
    labels: rows.map((row) => row.label),
    shape: [7],
    classes: 7,
  });
  for (const batchSize of [1, 2, 5, 100]) {
    const { error, error5, examples } = await network.evaluate(data, { batchSize });
    t.strictSame([error, error5, examples], [3 / 5, 1 / 5, 5]);
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
