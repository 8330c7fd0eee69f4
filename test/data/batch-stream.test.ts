/**
 * Training and evaluation over streams of batches: as over a data set in memory, from any batch, and with the waiting
 * told.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import {
  Dataset,
  network,
  Network,
  Trainer,
  type BatchStream,
  type EpochEvent,
  type StreamBatch,
} from '../../lib/index.js';
import { epochsOf } from '../support/networks.js';

const [C, H, W] = [3, 5, 4];
const SIZE = C * H * W;
const COUNT = 60;
const BATCH = 7;
const CLASSES = 8;
const images = Uint8Array.from({ length: COUNT * SIZE }, (_, i) => (Math.imul(i + 1, 2654435761) >>> 24) % 251);
const labels = Int32Array.from({ length: COUNT }, (_, i) => i % CLASSES);
const spec = network({ channels: C, height: H, width: W })
  .conv2d(4, { kernel: 3, activation: 'tanh' })
  .flatten()
  .dense(CLASSES)
  .softmaxCrossEntropy();
const optimizer = { type: 'adam', lr: 0.01 } as const;
const normalization = { mean: [0.5, 0.25, 0.1], std: [0.5, 0.3, 0.2] };

/** The values of a pixel together. */
function interleaved(planes: Uint8Array): Uint8Array {
  const out = new Uint8Array(planes.length);
  for (let i = 0; i < planes.length; i++) {
    const [example, value] = [Math.floor(i / SIZE), i % SIZE];
    const [channel, pixel] = [Math.floor(value / (H * W)), value % (H * W)];
    out[example * SIZE + pixel * C + channel] = planes[i]!;
  }
  return out;
}

interface Options {
  readonly layout?: 'channels-last';
  readonly delay?: number;
  /** Numbers of batches that are not there. */
  readonly missing?: readonly number[];
  readonly asked?: [epoch: number, start: number][];
}

/** Another order in each epoch. */
function stream({ layout, delay = 0, missing = [], asked }: Options = {}): BatchStream {
  const batches = Math.ceil(COUNT / BATCH);
  return {
    batches,
    batchSize: BATCH,
    async *epoch(epoch, start = 0): AsyncGenerator<StreamBatch> {
      asked?.push([epoch, start]);
      for (let index = start; index < batches; index++) {
        if (delay > 0) await sleep(delay);
        if (missing.includes(index)) continue;
        const members = [];
        for (let i = index * BATCH; i < Math.min(COUNT, (index + 1) * BATCH); i++)
          members.push((i * 7 + epoch * 11) % COUNT);
        const chosen = Uint8Array.from(members.flatMap((i) => [...images.subarray(i * SIZE, (i + 1) * SIZE)]));
        yield {
          images: layout === 'channels-last' ? interleaved(chosen) : chosen,
          labels: members.map((i) => labels[i]!),
          ...(layout && { layout }),
          ...(missing.length > 0 && { index }),
        };
      }
    },
  };
}

const make = (): { net: Network; trainer: Trainer } => {
  const net = new Network(spec, { seed: 1, normalization });
  return { net, trainer: new Trainer(net, { optimizer, batchSize: BATCH, seed: 2 }) };
};

async function weights(net: Network): Promise<string> {
  const all = [...(await net.stateDict()).values()].map(({ data }) => Buffer.from(data.buffer));
  return Buffer.concat(all).toString('base64');
}

const fit = (trainer: Trainer, data: BatchStream, epochs: number, maxSteps?: number): Promise<EpochEvent[]> =>
  epochsOf(trainer.fit(data, { epochs, maxSteps }));

t.test('both layouts, and a stream that starts at any batch, end the same', async (t) => {
  const { net, trainer } = make();
  const asked: [number, number][] = [];
  const events = await fit(trainer, stream({ asked }), 3);
  t.same(asked, [
    [0, 0],
    [1, 0],
    [2, 0],
  ]);
  t.equal(events.length, 3);
  t.ok(events[2]!.train.loss < events[0]!.train.loss);
  const expected = await weights(net);
  net.dispose();

  const last = make();
  await fit(last.trainer, stream({ layout: 'channels-last' }), 3);
  t.equal(await weights(last.net), expected, 'channels last');
  last.net.dispose();

  for (const step of [1, 8, 9, 10, 20]) {
    const before = make();
    const first = await fit(before.trainer, stream(), 3, step);
    t.equal(first.at(-1)!.partial, step % 9 === 0 ? undefined : true, `${step} steps: ended in an epoch?`);
    const after = make();
    await after.net.loadStateDict(await before.net.stateDict());
    await after.trainer.loadState(await before.trainer.state());
    const seen: [number, number][] = [];
    const rest = await fit(after.trainer, stream({ asked: seen }), 3);
    t.same(seen[0], [Math.floor(step / 9), step % 9]);
    t.equal(await weights(after.net), expected, `after ${step} steps`);
    t.same(rest.at(-1)!.train, events.at(-1)!.train);
    before.net.dispose();
    after.net.dispose();
  }
});

t.test('where batches are missing, it goes on behind them', async (t) => {
  const { net, trainer } = make();
  const missing = [2, 3, 8];
  await fit(trainer, stream({ missing }), 2);
  const { step, stepInEpoch } = await trainer.state();
  t.same([step, stepInEpoch], [12, 0]);
  for (const [steps, from] of [
    [2, [0, 2]],
    [3, [0, 5]],
    [6, [0, 8]], // that nothing comes any more is only seen by asking
    [7, [1, 1]],
  ] as const) {
    const before = make();
    await fit(before.trainer, stream({ missing }), 2, steps);
    const asked: [number, number][] = [];
    await fit(before.trainer, stream({ missing, asked }), 2);
    t.same(asked[0], from, `${steps} steps`);
    t.equal(await weights(before.net), await weights(net));
    before.net.dispose();
  }
  net.dispose();
});

t.test('evaluation', async (t) => {
  const { net, trainer } = make();
  using data = Dataset.fromArrays({ images, labels, shape: [C, H, W], classes: CLASSES });
  const expected = await net.evaluate(data);
  for (const options of [{}, { layout: 'channels-last' }] as const) {
    const got = await net.evaluate(stream(options));
    t.ok(Math.abs(got.loss - expected.loss) < 1e-6);
    t.same({ ...got, loss: 0 }, { ...expected, loss: 0 });
  }
  const epochs = await epochsOf(trainer.fit(data, { epochs: 1, validation: stream(), test: data }));
  t.equal(epochs.length, 1);
  t.ok(Math.abs(epochs[0]!.validation!.loss - epochs[0]!.test!.loss) < 1e-6);
  t.equal(epochs[0]!.validation!.error5, epochs[0]!.test!.error5);
  t.notOk('waiting' in epochs[0]!, 'in memory');
  const stop = AbortSignal.abort();
  await t.rejects(net.evaluate(stream(), { signal: stop }), { code: 'ERR_ABORTED' });
  net.dispose();
});

t.test('real-valued targets have no five best answers', async (t) => {
  using net = new Network(network({ features: 3 }).dense(7).squaredError(), { seed: 1 });
  const values = Float32Array.from({ length: 2 * 3 }, (_, i) => Math.cos(i));
  const batch = { images: values, targets: Float32Array.from({ length: 2 * 7 }, (_, i) => Math.sin(i)) };
  using data = Dataset.fromArrays({ ...batch, shape: [3] });
  const got = await net.evaluate({ batches: 1, batchSize: 2, epoch: () => [batch] });
  t.equal(got.error5, null);
  t.same(got, await net.evaluate(data));
  const labelled = await net.evaluate({ batches: 1, batchSize: 2, epoch: () => [{ images: values, labels: [0, 1] }] });
  t.type(labelled.error5, 'number', 'labels do, under any loss');
});

t.test('the share of waiting', async (t) => {
  const { net, trainer } = make();
  const [fast] = await fit(trainer, stream(), 1);
  const [slow] = (await fit(trainer, stream({ delay: 150 }), 2)).slice(-1);
  t.ok(slow!.waiting! > 0.5 && slow!.waiting! <= 1, `${slow!.waiting} waiting for one that takes its time`);
  t.ok(slow!.seconds > 0.9, 'waiting is a part of the time');
  t.ok(fast!.waiting! < slow!.waiting!, `${fast!.waiting} for one that does not`);
  net.dispose();
});

t.test('what a listener does between two events is no part of training', async (t) => {
  using net = new Network(spec, { seed: 1, normalization });
  const trainer = new Trainer(net, { optimizer, batchSize: BATCH });
  let slept = 0;
  let epochs = 0;
  // Nine batches of 60 ms: progress is told twice or so.
  for await (const event of trainer.fit(stream({ delay: 60 }), { epochs: 1 })) {
    if (event.type === 'progress') {
      await sleep(1000);
      slept++;
    }
    if (event.type !== 'epoch') continue;
    epochs++;
    t.ok(slept > 0, `${slept} events`);
    t.ok(event.seconds < 1, `${event.seconds} s`);
    t.ok(event.waiting! > 0.3 && event.waiting! <= 1, `${event.waiting} of it waiting`);
  }
  t.equal(epochs, 1);
});

t.test('a schedule needs no stepsPerEpoch', async (t) => {
  using net = new Network(spec, { seed: 1 });
  const lrSchedule = { type: 'cosine' } as const;
  const trainer = new Trainer(net, { optimizer, lrSchedule, batchSize: BATCH });
  t.equal((await fit(trainer, stream(), 1)).length, 1);
});

t.test('refused', async (t) => {
  using net = new Network(spec, { seed: 1 });
  const trainer = new Trainer(net, { batchSize: 8 });
  const code = 'ERR_INVALID_ARGUMENT';
  await t.rejects(fit(trainer, stream(), 1), { code, message: /batches of 8.*batches of 7/ });
  await t.rejects(fit(trainer, { epoch: 1 } as unknown as BatchStream, 1), { code, message: /data/ });
  await t.rejects(net.evaluate({ batches: 1 } as unknown as BatchStream), { code, message: /Dataset/ });
  const wrong = (batch: object): BatchStream => ({
    batches: 1,
    batchSize: 8,
    epoch: () => [batch as StreamBatch],
  });
  const one = { images: images.subarray(0, SIZE), labels: [0] };
  await t.rejects(net.evaluate(wrong({ ...one, layout: 'last' })), { code, message: /channels-last/ });
  await t.rejects(net.evaluate(wrong({ ...one, index: -1 })), { code, message: /index/ });
  await t.rejects(net.evaluate(wrong({ ...one, labels: [CLASSES] })), { code, message: /labels\[0\]/ });
  await t.rejects(net.evaluate({ batches: 1, batchSize: 8, epoch: () => [] }), { code, message: /example/ });
});
