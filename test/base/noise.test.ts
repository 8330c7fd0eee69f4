/** The noise that inverses are trained with: its numbers one by one, their distribution, and what they depend on. */
import t from 'tap';
import { Network, Trainer, type StateDict } from '../../lib/index.js';
import { call } from '../../lib/native.js';
import { network } from '../../lib/model/builder.js';
import { largestDifference } from '../support/compare.js';
import { randomArray, sameBits } from '../support/numbers.js';
import { runScript } from '../support/processes.js';
import { normals, philox } from '../support/philox.js';

const noise = (seed: number, layer: number, step: number, count: number): Float32Array =>
  call((n) => n.noise(seed, layer, step, count));

t.test('the reference generator gives the published answers', async (t) => {
  // Random123's kat_vectors.
  const digits = '243f6a88 85a308d3 13198a2e 03707344 a4093822 299f31d0'.split(' ').map((hex) => BigInt(`0x${hex}`));
  const ones = 0xffffffffn;
  for (const [counter, key, answer] of [
    [[0n, 0n, 0n, 0n], [0n, 0n], '6627e8d5 e169c58d bc57ac4c 9b00dbd8'],
    [[ones, ones, ones, ones], [ones, ones], '408f276d 41c83b0e a20bc7c6 6d5451fd'],
    [digits.slice(0, 4), digits.slice(4), 'd16cfe09 94fdcceb 5001e420 24126ea1'],
  ] as const) {
    const words = philox(counter, key).map((word) => word.toString(16).padStart(8, '0'));
    t.equal(words.join(' '), answer);
  }
});

t.test('each number is Box and Muller’s of its Philox block', async (t) => {
  for (const [seed, layer, step, count] of [
    [0, 1, 0, 1000],
    [1, 2, 3, 64],
    [2 ** 53 - 1, 7, 2 ** 31, 333],
    [0x12345678, 1, 2 ** 32 - 1, 17],
    [5, 4, 1, 1],
  ] as const) {
    const got = noise(seed, layer, step, count);
    const want = normals(seed, layer, step, count);
    t.equal(got.length, count);
    // Cosines near zero have the angle's absolute error: half a unit of float32 at 2π, times the radius.
    const worst = largestDifference(got, want);
    t.ok(worst < 2e-6, `seed ${seed}, layer ${layer}, step ${step}: ${worst}`);
  }
  t.equal(noise(1, 1, 0, 0).length, 0);
  t.ok(sameBits(noise(3, 2, 1, 1001).subarray(0, 77), noise(3, 2, 1, 77)), 'more numbers begin with fewer');
});

t.test('standard normal: moments, tails, and no correlation', async (t) => {
  const many = 1 << 20;
  const x = noise(11, 1, 0, many);
  const mean = (f: (value: number, i: number) => number): number => {
    let sum = 0;
    for (let i = 0; i < many; i++) sum += f(x[i]!, i);
    return sum / many;
  };
  /** Within five standard errors, the variance of one term being given. */
  const near = (found: number, wanted: number, variance: number, what: string): boolean =>
    t.ok(Math.abs(found - wanted) < 5 * Math.sqrt(variance / many), `${what}: ${found}`);
  near(
    mean((v) => v),
    0,
    1,
    'mean',
  );
  near(
    mean((v) => v ** 2),
    1,
    2,
    'variance',
  );
  near(
    mean((v) => v ** 3),
    0,
    15,
    'third moment',
  );
  near(
    mean((v) => v ** 4),
    3,
    96,
    'fourth moment',
  );
  for (const [z, share] of [
    [0.5, 0.6170750774519738],
    [1, 0.31731050786291415],
    [2, 0.04550026389635842],
    [3, 0.0026997960632601866],
    [4, 0.00006334248366623996],
  ] as const) {
    near(
      mean((v) => (Math.abs(v) > z ? 1 : 0)),
      share,
      share * (1 - share),
      `beyond ${z}`,
    );
  }
  t.ok(x.every(Number.isFinite));
  // Neighbours, the other half of the pair, the other pair of the block, the next group, the next half of the job.
  for (const lag of [1, 16, 32, 48, 64, 1024, many / 2]) {
    near(
      mean((v, i) => v * x[(i + lag) % many]!),
      0,
      1,
      `correlation over ${lag}`,
    );
    near(
      mean((v, i) => v ** 2 * x[(i + lag) % many]! ** 2),
      1,
      8,
      `of squares over ${lag}`,
    );
  }
});

t.test('another seed, layer or step: other numbers, uncorrelated', async (t) => {
  const many = 100_000;
  const base = noise(1, 1, 0, many);
  for (const [seed, layer, step] of [
    [2, 1, 0],
    [1 + 2 ** 32, 1, 0],
    [1, 2, 0],
    [1, 1, 1],
    [1, 1, 2 ** 16],
    [0, 1, 1],
    [1, 0, 1],
  ] as const) {
    const other = noise(seed, layer, step, many);
    const what = `seed ${seed}, layer ${layer}, step ${step}`;
    t.ok(other.filter((value, i) => value === base[i]).length < 5, `${what}: other numbers`);
    let product = 0;
    other.forEach((value, i) => (product += (value * base[i]!) / many));
    t.ok(Math.abs(product) < 5 / Math.sqrt(many), `${what}: ${product}`);
  }
  t.ok(sameBits(noise(1, 1, 0, many), base), 'and the same again');
});

/** Trained inverses of a network whose noise is more than one thread's share, and the noise itself, as hex digits. */
const child = `
import { createHash } from 'node:crypto';
import { Network, network, Trainer } from './lib/index.js';
import { call } from './lib/native.js';
const hash = createHash('sha256').update(call((n) => n.noise(9, 2, 7, 200_001)));
const spec = network({ channels: 1, height: 12, width: 12 })
  .locallyConnected2d(16, { kernel: 3, padding: 'same', activation: 'tanh' })
  .locallyConnected2d(8, { kernel: 3, stride: 2, activation: 'tanh' })
  .flatten().dense(3).softmaxCrossEntropy();
const net = new Network(spec, { rule: 'sdtp', seed: 1, threads: Number(process.argv[1]) });
const images = Float32Array.from({ length: 20 * 144 }, (_, i) => Math.sin(i * i));
const labels = Array.from({ length: 20 }, (_, i) => i % 3);
for await (const _ of new Trainer(net, { noise: 0.3 }).fit(() => [{ images, labels }], { epochs: 3 }));
for (const { data } of (await net.stateDict()).values()) hash.update(data);
net.dispose();
console.log(net.threads, hash.digest('hex'));
`;

t.test('the same bits whatever the number of threads', async (t) => {
  const run = async (threads: number): Promise<string[]> => {
    const { code, stdout, stderr } = await runScript(child, {
      args: [String(threads)],
      env: { OMP_NUM_THREADS: String(threads) },
    });
    t.equal(code, 0, stderr);
    return stdout.trim().split(' ');
  };
  const [one, two, three] = [await run(1), await run(2), await run(3)];
  t.strictSame([one[0], two[0], three[0]], ['1', '2', '3']);
  t.match(one[1], /^[0-9a-f]{64}$/);
  t.equal(two[1], one[1]);
  t.equal(three[1], one[1]);
});

t.test('training: the trainer’s seed and its steps decide, and σ = 0 is no noise', async (t) => {
  const spec = network({ features: 6 })
    .dense(5, { activation: 'tanh' })
    .dense(4, { activation: 'tanh' })
    .dense(3)
    .softmaxCrossEntropy();
  const batch = { images: randomArray(60, 1), labels: Array.from({ length: 10 }, (_, i) => i % 3) };
  const trained = async (seed: number, sigma: number): Promise<StateDict> => {
    using net = new Network(spec, { rule: 'dtp', seed: 4 });
    const trainer = new Trainer(net, { seed, noise: sigma });
    for await (const _event of trainer.fit(() => [batch], { epochs: 2 }));
    return await net.stateDict();
  };
  const [one, same, other] = [await trained(1, 0.2), await trained(1, 0.2), await trained(2, 0.2)];
  const [quiet, silent] = [await trained(1, 0), await trained(2, 0)];
  for (const [name, { data }] of one) {
    t.ok(sameBits(data, same.get(name)!.data), name);
    t.ok(sameBits(quiet.get(name)!.data, silent.get(name)!.data), `${name} without noise`);
    if (name.startsWith('inverses')) {
      t.notOk(sameBits(data, other.get(name)!.data), `${name} of another seed`);
      t.notOk(sameBits(data, quiet.get(name)!.data), `${name} with noise`);
    }
  }
});
