import t from 'tap';
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import {
  Dataset,
  layer,
  liveTensors,
  Network,
  network,
  scope,
  Tensor,
  Trainer,
  type TrainEvent,
} from '../../lib/index.js';
import { gc } from '../support/gc.js';
import { randomArray } from '../support/numbers.js';
import { moduleOf, runScript } from '../support/processes.js';

/** A network whose single step takes some tenths of a second, and data for it. */
function heavy(): { net: Network; data: Dataset } {
  const net = new Network(
    network({ features: 2000 })
      .dense(3000, { activation: 'tanh' })
      .dense(2000, { activation: 'tanh' })
      .dense(10)
      .softmaxCrossEntropy(),
  );
  const data = Dataset.fromArrays({
    images: new Uint8Array(1000 * 2000),
    labels: new Uint8Array(1000),
    shape: [2000],
    classes: 10,
  });
  return { net, data };
}

function light(): { net: Network; data: Dataset } {
  const net = new Network(network({ features: 20 }).dense(16, { activation: 'tanh' }).dense(10).softmaxCrossEntropy());
  const images = randomArray(1000 * 20, 1);
  const labels = Uint8Array.from({ length: 1000 }, (_, i) => i % 10);
  return { net, data: Dataset.fromArrays({ images, labels, shape: [20], classes: 10 }) };
}

/** Past the progress events, whose number depends on how fast the machine is. */
async function nextEpoch(steps: AsyncIterator<TrainEvent, void>): Promise<void> {
  for (;;) {
    const { value, done } = await steps.next();
    if (done === true) throw new Error('the fit ended');
    if (value.type === 'epoch') return;
  }
}

t.test('the event loop turns while a single step runs', async (t) => {
  const { net, data } = heavy();
  const trainer = new Trainer(net, { batchSize: 1000 });
  let turns = 0;
  let running = true;
  const turn = (): void => {
    turns++;
    if (running) setImmediate(turn);
  };
  turn();
  const steps = trainer.fit(data, { epochs: 1 });
  const first = await steps.next();
  running = false;
  t.equal(first.value?.type, 'progress');
  t.equal((first.value as { step: number }).step, 1, 'one step');
  t.ok(turns > 100, `${turns} turns`);
  await steps.return();
  net.dispose();
});

t.test('an abort ends training between two steps; the model stays usable and training goes on', async (t) => {
  const { net, data } = light();
  const trainer = new Trainer(net, { batchSize: 10 });
  const abort = new AbortController();
  const work = (async () => {
    for await (const event of trainer.fit(data, { epochs: 1e6, signal: abort.signal })) {
      if (event.type === 'progress' && event.step > 500) abort.abort(new Error('enough'));
    }
  })();
  await t.rejects(work, { code: 'ERR_ABORTED', cause: { message: 'enough' } });
  const { step, optimizer } = await trainer.state();
  t.ok(step > 500 && step === optimizer.steps);
  const before = await net.evaluate(data);
  for await (const _event of trainer.fit(data, { epochs: 1e6, maxSteps: step + 10 }));
  t.equal((await trainer.state()).step, step + 10);
  t.not((await net.evaluate(data)).loss, before.loss);

  // In the middle of a long run of steps, and from outside of the loop.
  const later = new AbortController();
  setTimeout(() => later.abort(), 50);
  await t.rejects(
    (async () => {
      for await (const _event of trainer.fit(data, { epochs: 1e6, signal: later.signal }));
    })(),
    { code: 'ERR_ABORTED' },
  );
  await t.rejects(net.evaluate(data, { signal: later.signal }), { code: 'ERR_ABORTED' }, 'given already');
  t.equal((await net.evaluate(data)).examples, 1000);
  await t.rejects(trainer.fit(data, { epochs: 1e6, signal: later.signal }).next(), { code: 'ERR_ABORTED' });
  for await (const event of trainer.fit(data, { epochs: 1e6 })) {
    if (event.type === 'progress') break; // leaving the loop is fine too
  }
  net.dispose();
});

t.test('an aborted evaluation says so, and takes no other one with it', async (t) => {
  const { net, data } = heavy();
  const abort = new AbortController();
  const stopped = net.evaluate(data, { batchSize: 10, signal: abort.signal });
  const other = net.evaluate(data, { batchSize: 1000 });
  setTimeout(() => abort.abort(), 20);
  await t.rejects(stopped, { code: 'ERR_ABORTED' });
  t.equal((await other).examples, 1000);
  net.dispose();
});

t.test('one fit() at a time', async (t) => {
  const { net, data } = light();
  const trainer = new Trainer(net, { batchSize: 10 });
  const first = trainer.fit(data, { epochs: 100 });
  await first.next();
  await t.rejects(trainer.fit(data, { epochs: 100 }).next(), { code: 'ERR_BUSY' });
  await first.return();
  const again = await trainer.fit(data, { epochs: 100 }).next();
  t.ok(again.value);
  net.dispose();
});

t.test('disposing of a network that trains: the promise is settled, nothing crashes', async (t) => {
  const { net, data } = light();
  const trainer = new Trainer(net, { batchSize: 10 });
  const loop = (async () => {
    for await (const _event of trainer.fit(data, { epochs: 1e6 }));
  })();
  const waiting = net.evaluate(data).catch(() => undefined); // settled either way
  setTimeout(() => net.dispose(), 30);
  await t.rejects(loop, { code: 'ERR_DISPOSED' });
  await waiting;
});

t.test(
  'disposing of a network that evaluates: the running job stops, and what waits behind it is rejected',
  async (t) => {
    const { net, data } = heavy();
    const jobs = [
      net.evaluate(data, { batchSize: 1 }), // a thousand steps, were it left alone
      net.evaluate(data),
      net.predict(new Uint8Array(2000)),
    ];
    setTimeout(() => net.dispose(), 20);
    const outcomes = await Promise.allSettled(jobs);
    t.match(
      outcomes,
      jobs.map(() => ({ status: 'rejected', reason: { code: 'ERR_DISPOSED' } })),
    );
  },
);

t.test('10,000 steps scripted on tensors leave none behind', async (t) => {
  const before = liveTensors();
  let weight = Tensor.full([8, 8], 0.1);
  for (let step = 0; step < 10_000; step++) {
    const next = scope(() => {
      weight.requiresGrad = true;
      const loss = layer(weight, { weight, activation: 'tanh', rule: 'bp' }).sum();
      loss.backward();
      return weight.detach().sub(weight.grad!.mul(1e-6));
    });
    weight.dispose();
    weight = next;
  }
  t.equal(liveTensors(), before + 1);
  weight.dispose();
});

t.test('a script’s products run on one thread, whoever set the number of threads before', async (t) => {
  // The model sets it for the process, so that libtorch sets MKL's on the worker's thread when that first calls it.
  const { code, stdout, stderr } = await runScript(`
    import { once } from 'node:events';
    import { Worker } from 'node:worker_threads';
    import { Network, network } from ${moduleOf('lib/index.ts')};
    const net = new Network(network({ features: 3 }).dense(2).softmaxCrossEntropy(), { threads: 2 });
    await net.stateDict();
    const worker = new Worker(${JSON.stringify(`
      import('tsx/esm/api').then(async ({ register }) => {
        register();
        const { readdirSync } = await import('node:fs');
        const { parentPort } = await import('node:worker_threads');
        const { Tensor } = await import(${moduleOf('lib/index.ts')});
        const threads = () => readdirSync('/proc/self/task').length;
        const a = Tensor.from(new Float32Array(500 * 500).fill(1), [500, 500]);
        const before = threads();
        const sum = a.matmul(a).sum().item();
        parentPort.postMessage([before, threads(), sum]);
      });`)}, { eval: true });
    const [answer] = await once(worker, 'message');
    console.log(JSON.stringify(answer));
    net.dispose();`);
  t.equal(code, 0, stderr);
  const [before, after, sum] = JSON.parse(stdout) as [number, number, number];
  t.equal(after, before, 'no thread was made');
  t.equal(sum, 500 ** 3);
});

/** Resident memory in bytes, without what the garbage collector gives back: the least of a few readings. */
async function resident(collect: () => void): Promise<number> {
  let least = Infinity;
  for (let i = 0; i < 8; i++) {
    collect();
    await new Promise((resolve) => setTimeout(resolve, 25)); // V8 unmaps on another thread
    least = Math.min(least, process.memoryUsage.rss());
  }
  return least;
}

t.test('10,000 steps leave the live-tensor count and the resident memory where they were', async (t) => {
  const { net, data } = light();
  const trainer = new Trainer(net, { batchSize: 100 });
  const train = async (maxSteps: number): Promise<void> => {
    for await (const _event of trainer.fit(data, { epochs: 1e6, maxSteps, test: data }));
  };
  await train(5000); // warm: kernels compiled, pools filled, V8's heap at its size
  const [tensors, before] = [liveTensors(), await resident(gc)];
  await train(15_000);
  const grown = (await resident(gc)) - before;
  t.equal(liveTensors(), tensors);
  // A lost gradient a step would be 20 MB (the network's is 2 kB).
  t.ok(grown < 8e6, `grown by ${(grown / 1e6).toFixed(1)} MB`);
  t.comment(`grown by ${(grown / 1e6).toFixed(1)} MB`);
  net.dispose();
});

/** Runs a module's source with the package's functions and `rss()`, resident memory in MiB. @returns its JSON */
async function measured<T>(body: string): Promise<T> {
  const { code, stdout, stderr } = await runScript(
    `import { Dataset, Network, network, Tensor, Trainer } from ${moduleOf('lib/index.ts')};
    import { native } from ${moduleOf('lib/native.ts')};
    const resident = ${resident.toString()};
    const rss = async () => (await resident(gc)) / 2 ** 20;
    const large = () => new Network(
      network({ features: 2000 }).dense(6000, { activation: 'tanh' }).dense(10).softmaxCrossEntropy());
    const data = Dataset.fromArrays({ images: new Uint8Array(4 * 2000), labels: new Uint8Array(4), shape: [2000], classes: 10 });
    ${body}`,
    { flags: ['--expose-gc'] },
  );
  if (code !== 0) throw new Error(`it ended with ${code}: ${stderr}`);
  return JSON.parse(stdout) as T;
}

t.test(
  'a disposed network gives its memory back: parameters, gradients, moments and what the pool keeps',
  async (t) => {
    // 48 MB of weights, as many of gradients, twice as many of moments; the trainer is still held.
    const [before, during, after] = await measured<[number, number, number]>(`
    new Network(network({ features: 3 }).dense(2).softmaxCrossEntropy()).dispose();
    const before = await rss();
    const net = large();
    const trainer = new Trainer(net, { batchSize: 4 });
    for await (const _ of trainer.fit(data, { epochs: 3 }));
    const during = await rss();
    net.dispose();
    console.log(JSON.stringify([before, during, await rss()]));
    trainer.state().catch(() => {});`);
    t.ok(during - before > 150, `${during - before} MiB while it trains`);
    t.ok(after - before < 40, `${after - before} MiB are left`);
  },
);

t.test('V8 knows of the memory of a network, and that it is gone', async (t) => {
  const [made, disposed] = await measured<[number, number]>(`
    const before = native().tensor.externalMemory();
    const net = large();
    const made = native().tensor.externalMemory() - before;
    net.dispose();
    console.log(JSON.stringify([made, native().tensor.externalMemory() - before]));`);
  t.ok(made > 45e6, `${made} bytes`);
  t.ok(Math.abs(disposed) < 5e6, `${disposed} bytes are left`);
});

t.test('the pool keeps no more in all than its limit', async (t) => {
  const kept = await measured<number>(`
    native().limitPool(50 * 2 ** 20);
    const before = await rss();
    // Of sizes that never come again: 20, 21, … MB.
    for (let megabytes = 20; megabytes < 40; megabytes++) Tensor.from(new Float32Array(megabytes * 250_000)).dispose();
    console.log(JSON.stringify((await rss()) - before));`);
  // 590 MB were given back to it.
  t.ok(kept < 150, `${kept} MiB`);
});

t.test('what stateDict() gives is as it was when it was asked for', async (t) => {
  const { net } = light();
  const before = await net.stateDict();
  const other = new Map([...before].map(([name, value]) => [name, { ...value, data: value.data.map((x) => x + 1) }]));
  const state = net.stateDict();
  const loaded = net.loadStateDict(other);
  // JavaScript looks at the first only when the second has long been done.
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 200);
  t.strictSame(await state, before);
  await loaded;
  t.strictSame(await net.stateDict(), other);
  net.dispose();
});

const script = (body: string): string => `
  import { Dataset, Network, network, Trainer } from ${moduleOf('lib/index.ts')};
  const net = new Network(network({ features: 500 }).dense(500, { activation: 'tanh' }).dense(10).softmaxCrossEntropy());
  const data = Dataset.fromArrays({ images: new Uint8Array(500 * 500), labels: new Uint8Array(500), shape: [500], classes: 10 });
  const trainer = new Trainer(net, { batchSize: 50 });
  const events = trainer.fit(data, { epochs: 1e9 });
  ${body}
`;

t.test('the process ends cleanly in the middle of training', async (t) => {
  const ways: Record<string, [body: string, code: number]> = {
    'process.exit()': ['await events.next(); void events.next(); process.exit(7);', 7],
    'process.exit() from a timer, a step running': [
      'setTimeout(() => process.exit(3), 80); for await (const event of events) void event;',
      3,
    ],
    'an uncaught exception': [
      'setTimeout(() => { throw new Error("expected"); }, 50); for await (const event of events) void event;',
      1,
    ],
    'the end, with an idle network that nobody disposed of': ['await events.next(); await events.return();', 0],
    'exit from inside an event': ['for await (const event of events) process.exit(5);', 5],
  };
  for (const [name, [body, code]] of Object.entries(ways)) {
    const ended = await runScript(script(body));
    t.strictSame([ended.code, ended.signal], [code, null], `${name}\n${ended.stderr}`);
    t.notMatch(ended.stderr, /terminate called|core dumped|FATAL/, name);
  }
});

t.test('worker threads: each has its own, and one that is terminated takes nothing with it', async (t) => {
  const { net, data } = light();
  const trainer = new Trainer(net, { batchSize: 10 });
  for (let i = 0; i < 6; i++) {
    const endless = JSON.stringify(new URL('../support/endless-worker.ts', import.meta.url).href);
    const source = `import('tsx/esm/api').then(({ register }) => { register(); return import(${endless}); });`;
    const worker = new Worker(source, { eval: true });
    t.teardown(() => worker.terminate());
    worker.on('error', (error) => t.fail(String(error)));
    await once(worker, 'message');
    const steps = trainer.fit(data, { epochs: 1e6 });
    await nextEpoch(steps);
    const code = await worker.terminate();
    t.equal(code, 1, 'terminated');
    await nextEpoch(steps); // training here goes on
    await steps.return();
  }
  // What training here made of the network is what it makes without any worker.
  const alone = light();
  const again = new Trainer(alone.net, { batchSize: 10 });
  for (let i = 0; i < 6; i++) {
    const steps = again.fit(alone.data, { epochs: 1e6 });
    await nextEpoch(steps);
    await nextEpoch(steps);
    await steps.return();
  }
  t.strictSame(await net.stateDict(), await alone.net.stateDict());
  net.dispose();
  alone.net.dispose();
});
