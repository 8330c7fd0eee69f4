/** Interrupting and going on: the end is bit for bit that of a run that was left alone. */
import fs from 'node:fs';
import path from 'node:path';
import t, { type Test } from 'tap';
import { readCheckpoint } from '../../lib/training/checkpoint.js';
import { cortorch, metricsOf, runFiles, smallSpec, start, writeTinyData } from '../support/cli.js';
import { within } from '../support/folders.js';
import { result } from '../support/run-result.js';

const folder = t.testdir({ 'small.json': JSON.stringify(smallSpec) });
const data = writeTinyData(path.join(folder, 'data'), { train: 3100, test: 200 });
const at = within(folder);

/** 300 steps an epoch. */
const FLAGS = [
  ...['train', '--dataset', 'mnist', '--data-dir', data, '--model', at('small.json')],
  ...['--validation', '100', '--batch-size', '10', '--seed', '3', '--json'],
];

async function sameAsUndisturbed(t: Test, resumed: string, flags: readonly string[]) {
  const alone = `${resumed}-undisturbed`;
  t.match(await cortorch([...FLAGS, ...flags, '--out', alone]), { code: 0 });
  t.strictSame(await result(resumed), await result(alone));
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  t.test(`${signal} saves and ends with 130`, async (t) => {
    const out = at(signal);
    // It could go on for ever: the signal comes in the middle, however slow or fast the machine is.
    const run = start([...FLAGS, '--rule', 'fa', '--epochs', '100000', '--out', out]);
    await run.seen(/"epoch":1,/);
    run.process.kill(signal);
    const { code, stderr, lines } = await run.finished;
    t.equal(code, 130, stderr);
    t.match(stderr, `To go on: cortorch train --resume ${out}`);
    t.notMatch(lines.at(-1), { type: 'end' });
    const { epoch, step } = await readCheckpoint(path.join(out, 'last.pt'));
    t.ok(step >= 300 && Math.floor(step / 300) === epoch, `stopped at step ${step}`);

    const epochs = epoch + 2;
    const flags = ['--rule', 'fa', '--epochs', String(epochs)];
    const resumed = await cortorch(['train', '--resume', out, '--epochs', String(epochs), '--json']);
    t.equal(resumed.code, 0, resumed.stderr);
    t.match(resumed.lines[0], { type: 'start', config: { rule: 'fa', epochs } });
    t.match(resumed.stderr, `Going on with ${out} after epoch`);
    await sameAsUndisturbed(t, out, flags);
  });
}

t.test('an interrupted run in the middle of an epoch, with momentum, a cosine schedule and augmentation', async (t) => {
  const out = at('middle');
  const flags = ['--rule', 'dfa', '--epochs', '2', '--optimizer', 'sgd', '--momentum', '0.9'].concat([
    ...['--crop-padding', '2', '--flip', 'both'],
    '--lr-schedule',
    'cosine',
    '--warmup-epochs',
    '0.5',
  ]);
  t.match(await cortorch([...FLAGS, ...flags, '--max-steps', '410', '--out', out]), { code: 0 });
  t.match(await readCheckpoint(path.join(out, 'last.pt')), {
    epoch: 1,
    step: 410,
    training: { state: { stepInEpoch: 110 } },
  });
  t.match(metricsOf(out).at(-2), { epoch: 2, partial: true });
  t.match(await cortorch(['train', '--resume', out]), { code: 0 });
  await sameAsUndisturbed(t, out, flags);
});

t.test('a time limit saves, ends with 0, and the run goes on', async (t) => {
  const out = at('limited');
  const hours = String(4 / 3600); // four seconds of the process
  const run = await cortorch([...FLAGS, '--epochs', '100000', '--max-hours', hours, '--out', out]);
  t.equal(run.code, 0, run.stderr);
  t.match(
    run.stderr,
    `hours are over; saved in ${path.join(out, 'last.pt')}. To go on: cortorch train --resume ${out}`,
  );
  t.notMatch(run.lines.at(-1), { type: 'end' });
  const { epoch, step } = await readCheckpoint(path.join(out, 'last.pt'));
  t.ok(step > 0);
  const epochs = String(epoch + 1);
  const config = () => JSON.parse(fs.readFileSync(path.join(out, 'config.json'), 'utf8')) as { maxHours?: number };
  t.equal(config().maxHours, Number(hours));
  const resumed = await cortorch(['train', '--resume', out, '--epochs', epochs]);
  t.equal(resumed.code, 0, resumed.stderr);
  t.equal(config().maxHours, undefined, 'the limit was of that command');
  await sameAsUndisturbed(t, out, ['--epochs', epochs]);
  const wrong = await cortorch([...FLAGS, '--max-hours', '600', '--out', at('wrong')]);
  t.match(wrong, { code: 2, stderr: /max-hours.*at most 596/ });
});

t.test('checkpoints every so many steps, of which the last are kept', async (t) => {
  const out = at('kept');
  const flags = ['--epochs', '2', '--save-every', '100', '--keep', '3'];
  t.match(await cortorch([...FLAGS, ...flags, '--out', out]), { code: 0 });
  const kept = fs.readdirSync(out).filter((name) => name.startsWith('step-'));
  t.equal(kept.length, 3, kept.join(', '));
  t.equal(kept.at(-1), 'step-000000600.pt', 'the end of the last epoch');
  const [last, newest] = ['last.pt', kept.at(-1)!].map((name) => fs.readFileSync(path.join(out, name)));
  t.ok(last!.equals(newest!));
  // An earlier one is in the middle of an epoch, and training goes on from there to the same end.
  const { step, training } = await readCheckpoint(path.join(out, kept[0]!));
  t.ok(step > 300 && step < 600 && training!.state.stepInEpoch === step - 300, `at step ${step}`);
  fs.copyFileSync(path.join(out, kept[0]!), path.join(out, 'last.pt'));
  t.match(await cortorch(['train', '--resume', out]), { code: 0 });
  await sameAsUndisturbed(t, out, ['--epochs', '2']);
});

t.test('a killed run goes on from its last epoch', async (t) => {
  const out = at('killed');
  const run = start([...FLAGS, '--epochs', '100000', '--out', out]);
  await run.seen(/"epoch":2,/);
  run.process.kill('SIGKILL');
  t.equal((await run.finished).code, null);
  const { epoch } = await readCheckpoint(path.join(out, 'last.pt'));
  t.ok(epoch >= 1, `epoch ${epoch} is complete`);
  // What a kill in the middle of writing leaves.
  for (const name of ['last.pt', 'best.pt', 'config.json'])
    fs.writeFileSync(path.join(out, `.${name}.0123456789abcdef.tmp`), 'half');
  fs.appendFileSync(path.join(out, 'metrics.jsonl'), '{"type":"epoch","epo');
  const flags = ['--epochs', String(epoch + 1)];
  t.match(await cortorch(['train', '--resume', out, ...flags]), { code: 0 });
  t.strictSame(runFiles(out), ['best.pt', 'config.json', 'last.pt', 'metrics.jsonl']);
  await sameAsUndisturbed(t, out, flags);
});

t.test('a run can be resumed from its first second', async (t) => {
  const out = at('first');
  const run = start([...FLAGS, '--epochs', '100000', '--out', out]);
  await run.seen(/"type":"start"/);
  run.process.kill('SIGKILL');
  await run.finished;
  const { epoch } = await readCheckpoint(path.join(out, 'last.pt')); // 0, unless this process was slow to kill it
  const flags = ['--epochs', String(epoch + 1)];
  t.match(await cortorch(['train', '--resume', out, ...flags]), { code: 0 });
  await sameAsUndisturbed(t, out, flags);
});

t.test('a run of a GPU goes on elsewhere, if it is told to', async (t) => {
  const out = at('moved');
  t.match(await cortorch([...FLAGS, '--epochs', '1', '--out', out]), { code: 0 });
  // As if it had been computed on a GPU that is not in this computer.
  const file = path.join(out, 'config.json');
  const config = () => JSON.parse(fs.readFileSync(file, 'utf8')) as { device: string };
  fs.writeFileSync(file, JSON.stringify({ ...config(), device: 'cuda:99' }));
  t.match(await cortorch(['train', '--resume', out, '--epochs', '2']), {
    code: 1,
    stderr: /ERR_DEVICE_UNAVAILABLE\] device cuda:99 .*The run in .* was computed there; --device goes on/,
  });
  const moved = await cortorch(['train', '--resume', out, '--epochs', '2', '--device', 'cpu', '--json']);
  t.match(moved, {
    code: 0,
    stderr: /^Going on on cpu; the run was computed on cuda:99, and devices differ in the last bits$/m,
  });
  t.match(moved.lines[0], { type: 'start', device: 'cpu' });
  t.equal(config().device, 'cpu');
  const again = await cortorch(['train', '--resume', out, '--device', 'cpu']);
  t.notMatch(again.stderr, /last bits/);
  t.match(await cortorch(['train', '--resume', out, '--precision', 'bf16']), {
    code: 2,
    stderr: /--precision is bf16, but the run in .* has fp32; leave it out/,
  });
});

t.test('more epochs than at first, once it is finished', async (t) => {
  const out = at('more');
  t.match(await cortorch([...FLAGS, '--epochs', '1', '--out', out]), { code: 0 });
  const before = await result(out);
  const nothing = await cortorch(['train', '--resume', out, '--json']);
  t.match(nothing, { code: 0, stderr: /nothing left to do; --epochs N/ });
  t.match(nothing.lines.at(-1), { type: 'end', best: { epoch: 1 } });
  t.strictSame(await result(out), before);
  const more = ['train', '--resume', out, '--epochs', '2', '--threads', '1'];
  t.match(await cortorch(more), { code: 0 });
  t.match(await result(out), { last: { epoch: 2, step: 600 } });
  t.match(JSON.parse(fs.readFileSync(path.join(out, 'config.json'), 'utf8')), { epochs: 2, threads: 1 });
});

t.test('what must not change on resuming', async (t) => {
  const out = at('fixed');
  const flags = ['--epochs', '1', '--lr-schedule', 'cosine', '--lr', '0.001'];
  t.match(await cortorch([...FLAGS, ...flags, '--out', out]), { code: 0 });
  const refused = async (message: RegExp, ...more: string[]) => {
    const { code, stdout, stderr } = await cortorch(['train', '--resume', out, ...more]);
    t.match({ code, stdout, stderr }, { code: 2, stdout: '', stderr: message });
  };
  await refused(/--lr is 0\.01, but the run in .* has 0\.001/, '--lr', '0.01');
  await refused(/--rule is fa, but the run .* has bp/, '--rule', 'fa');
  await refused(/--momentum is 0\.9, but the run .* does not use it/, '--momentum', '0.9');
  const both = /--batch-size is 20, but the run .* has 10; --seed is 4, but the run .* has 3; leave them out/;
  await refused(both, '--batch-size', '20', '--seed', '4');
  await refused(/--epochs is 3, but the cosine schedule/, '--epochs', '3');
  await refused(/a run goes on in its own folder/, '--out', at('elsewhere'));
  t.match(await cortorch(['train', '--resume', out, '--lr', '0.001', '--out', out]), { code: 0 }, 'the same is fine');
  const elsewhere = at('data-elsewhere');
  fs.cpSync(data, elsewhere, { recursive: true });
  const harmless = ['--data-dir', elsewhere, '--threads', '1', '--max-steps', '500', '--json'];
  t.match(await cortorch(['train', '--resume', out, ...harmless]), { code: 0 }, 'harmless ones are taken');
  t.match(await cortorch(['train', '--resume', at('nowhere')]), {
    code: 1,
    stderr: /ERR_CHECKPOINT_NOT_FOUND.*is not the folder of a run: it has no config\.json/,
  });
});

t.test('Ctrl-C without --out, and a second one', async (t) => {
  const once = start([...FLAGS, '--epochs', '1000']);
  await once.seen(/"epoch":1,/);
  once.process.kill('SIGINT');
  t.match(await once.finished, { code: 130, stderr: /Interrupted. Nothing was written/ });

  const twice = start([...FLAGS, '--epochs', '1000', '--out', at('twice')]);
  await twice.seen(/"epoch":1,/);
  twice.process.kill('SIGINT');
  twice.process.kill('SIGINT'); // as npx does: it counts as one
  t.match(await twice.finished, { code: 130, stderr: /saved in/ });
});

t.test('a reader that goes away ends training in good order', async (t) => {
  const out = at('pipe');
  const run = start([...FLAGS, '--epochs', '1000', '--out', out]);
  await run.seen(/"epoch":1,/);
  run.process.stdout!.destroy();
  t.match(await run.finished, { code: 130 });
  t.ok((await readCheckpoint(path.join(out, 'last.pt'))).epoch >= 1);
});

t.test('target propagation goes on in the middle of an epoch of either phase', async (t) => {
  const rule = ['--rule', 'ao-sdtp', '--auxiliary', '5', '--schedule', 'alternating', '--noise', '0.2'];
  for (const [phase, steps] of [
    ['inverse', 130],
    ['forward', 420],
  ] as const) {
    const out = at(phase);
    const first = await cortorch([...FLAGS, ...rule, '--epochs', '3', '--max-steps', String(steps), '--out', out]);
    t.match(first, { code: 0 });
    t.match(first.lines.at(-2), { phase, partial: true });
    t.match(await cortorch(['train', '--resume', out, '--json']), { code: 0 });
    await sameAsUndisturbed(t, out, [...rule, '--epochs', '3']);
  }
  const lines = metricsOf(at('inverse')).filter(({ type }) => type === 'epoch');
  t.strictSame(
    lines.map(({ phase }) => phase),
    ['inverse', 'forward', 'inverse'],
  );
  t.strictSame(
    lines.map(({ train }) => train.inverseLoss > 0),
    [true, false, true],
  );
  const changed = await cortorch(['train', '--resume', at('inverse'), '--noise', '0.3']);
  t.match(changed, { code: 2, stderr: /--noise is 0\.3, but the run in .* has 0\.2/ });
  t.match(await cortorch(['eval', '--checkpoint', path.join(at('inverse'), 'best.pt'), '--data-dir', data]), {
    code: 0,
  });
});

t.test('fresh parameters with auxiliary outputs', async (t) => {
  const file = at('fresh.pt');
  const rule = ['--rule', 'ao-sdtp', '--auxiliary', '5'];
  const made = await cortorch(['init', '--model', at('small.json'), ...rule, '--seed', '9', '--out', file]);
  t.match(made, { code: 0, stderr: /--rule ao-sdtp --auxiliary 5 --init/ });
  const { parameters, config } = await readCheckpoint(file);
  t.equal(config.auxiliary, 5);
  t.equal(parameters.get('auxiliary.weight')!.shape[0], 5);
  const started = await cortorch([...FLAGS, ...rule, '--max-steps', '1', '--init', file, '--out', at('started')]);
  t.match(started, { code: 0 });
  const last = await readCheckpoint(path.join(at('started'), 'last.pt'));
  t.strictSame(last.parameters.get('auxiliary.weight'), parameters.get('auxiliary.weight'));
});
