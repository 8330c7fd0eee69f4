/** Wrong usage: exit code 2, and one sentence that names what is wrong and what would be right. */
import fs from 'node:fs';
import path from 'node:path';
import t, { type Test } from 'tap';
import { main } from '../../lib/cli/main.js';
import { commandOptions, kebab, options } from '../../lib/cli/options.js';
import { gatherSettings, optimizerOf, resolveSettings, lrScheduleOf } from '../../lib/cli/settings.js';
import { preset, presetNames } from '../../lib/model/presets.js';
import { smallSpec } from '../support/cli.js';

/** Runs the command line in this process: for calls that end before anything is computed. */
async function call(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const { log, error } = console;
  const said: { stdout: string[]; stderr: string[] } = { stdout: [], stderr: [] };
  console.log = (text: unknown) => said.stdout.push(String(text));
  console.error = (text: unknown) => said.stderr.push(text instanceof Error ? text.stack! : String(text));
  try {
    const code = await main(args);
    return { code, stdout: said.stdout.join('\n'), stderr: said.stderr.join('\n') };
  } finally {
    Object.assign(console, { log, error });
  }
}

const MNIST = ['--dataset', 'mnist', '--model', 'mnist-fc'];

/** What `cortorch train` with these flags says, without its code. */
async function refused(t: Test, flags: readonly string[], code: string, message: RegExp, exit = 2) {
  const { code: exitCode, stdout, stderr } = await call('train', ...flags);
  t.equal(exitCode, exit, `exit code of ${flags.join(' ')}`);
  t.equal(stdout, '', 'nothing on stdout');
  t.match(stderr, new RegExp(`^cortorch: \\[${code}\\] `));
  t.match(stderr, message);
  t.ok(stderr.split('\n').length <= 2, 'one or two lines');
}

t.test('help and version', async (t) => {
  const help = await call('--help');
  t.equal(help.code, 0);
  for (const name of ['train', 'eval', 'reproduce', 'init', 'doctor', 'setup'])
    t.match(help.stdout, `cortorch ${name} `);
  const { version } = JSON.parse(fs.readFileSync('package.json', 'utf8')) as { version: string };
  const { stdout: flags } = await call('train', '--help');
  const words = flags.replace(/\s+/g, ' ');
  for (const [flag, theirs] of [
    ['batch-size', "100; alexnet, resnet*: their recipe's"],
    ['optimizer', 'adam; alexnet, resnet*: sgd'],
    ['momentum', '0; alexnet, resnet*: 0.9'],
    ['weight-decay', '0; alexnet, resnet*: 1e-4'],
    ['lr-schedule', 'constant; alexnet, resnet*: step'],
    ['epochs', "10; alexnet, resnet*: their recipe's"],
  ] as const)
    t.match(words.split(` --${flag} `)[1]?.split(' --')[0], `(default ${theirs})`, flag);
  for (const name of presetNames) t.match((await call('train', '--help')).stdout, name);
  t.match(await call('--version'), { code: 0, stdout: version });
  for (const [command, names] of Object.entries(commandOptions)) {
    const { code, stdout } = await call(command, '--help');
    t.equal(code, 0);
    for (const name of names) t.match(stdout, new RegExp(`--${kebab(name)} `), `${command} --${kebab(name)}`);
  }
});

t.test('commands', async (t) => {
  t.match(await call(), {
    code: 2,
    stderr: /a command is missing.*train, eval, reproduce, init, inspect, convert, report, data, doctor, setup/,
  });
  t.match(await call('trian'), { code: 2, stderr: /no command trian; did you mean train\?/ });
  t.match(await call('convert', 'a', 'b.pt', 'c'), { code: 2, stderr: /takes one IN, one OUT and flags/ });
  t.match(await call('train', 'mnist'), { code: 2, stderr: /takes flags only, but was given mnist/ });
});

t.test('misspelt flags', async (t) => {
  await refused(t, [...MNIST, '--epoch', '3'], 'ERR_UNKNOWN_OPTION', /no --epoch; did you mean --epochs\?/);
  await refused(t, [...MNIST, '--bacth-size', '3'], 'ERR_UNKNOWN_OPTION', /did you mean --batch-size\?/);
  await refused(t, [...MNIST, '--zzz'], 'ERR_UNKNOWN_OPTION', /no --zzz; --help lists/);
  await refused(t, [...MNIST, '--checkpoint', 'x'], 'ERR_UNKNOWN_OPTION', /no --checkpoint/);
  await refused(t, [...MNIST, '-e', '3'], 'ERR_UNKNOWN_OPTION', /no --e/);
  t.match(await call('eval', '--epochs', '3'), { code: 2, stderr: /no --epochs/ });
  t.match(await call('eval', '--noise', '3'), { code: 2, stderr: /no --noise/ });
});

t.test('values', async (t) => {
  const bad = (flag: string, value: string, message: RegExp) =>
    refused(t, [...MNIST, flag, value], 'ERR_USAGE', message);
  await bad('--epochs', '0', /--epochs: expected a whole number of at least 1 but received "0"/);
  await bad('--epochs', '2.5', /at least 1/);
  await bad('--epochs', 'ten', /received "ten"/);
  await bad('--lr', '-1', /--lr: expected a number above 0 but received "-1"/);
  await bad('--lr', 'NaN', /above 0/);
  await bad('--beta1', '1', /below 1/);
  await bad('--seed', '-3', /at least 0/);
  await bad('--mean', '0.1,x', /--mean: expected numbers such as/);
  await bad('--optimizer', 'adma', /one of adam, sgd, rmsprop.*did you mean adam\?/);
  await bad('--dataset', 'mnits', /mnits/);
  await refused(t, [...MNIST, '--lr'], 'ERR_USAGE', /--lr: .* it has no value/);
  await refused(t, [...MNIST, '--lr', '--json'], 'ERR_USAGE', /no value/);
  await refused(t, [...MNIST, '--lr', '1', '--lr', '2'], 'ERR_USAGE', /--lr/);
});

t.test('what a rule, an optimizer or a schedule does not use', async (t) => {
  const unused = (message: RegExp, ...flags: string[]) =>
    refused(t, [...MNIST, ...flags], 'ERR_UNUSED_OPTION', message);
  await unused(/--momentum is not used by optimizer adam; choose --optimizer sgd or rmsprop/, '--momentum', '0.9');
  await unused(/--beta1 is not used by optimizer sgd; choose --optimizer adam/, '--optimizer', 'sgd', '--beta1', '0.5');
  await unused(/--beta1/, '--optimizer', 'rmsprop', '--beta1', '0.5');
  await unused(/--lr-steps is not used by the cosine schedule/, '--lr-schedule', 'cosine', '--lr-steps', '3');
  await unused(/--lr-decay is not used by the constant schedule/, '--lr-decay', '0.5');
});

t.test('settings of target propagation', async (t) => {
  const used = (rule: string, ...flags: string[]) => [...MNIST, '--rule', rule, ...flags];
  const flags = { noise: '0.1', schedule: 'parallel', 'inverse-lr': '0.1' };
  for (const [flag, value] of Object.entries({
    ...flags,
    'loss-reduction': 'sum',
    'first-phase': 'inverse',
  })) {
    const message = new RegExp(`--${flag} is not used by rule fa; choose a rule of target propagation`);
    await refused(t, used('fa', `--${flag}`, value), 'ERR_UNUSED_OPTION', message);
  }
  const unused = (message: RegExp, ...flags: string[]) => refused(t, flags, 'ERR_UNUSED_OPTION', message);
  await unused(/--target-step is not used by rule fa; choose rule dtp,/, ...used('fa', '--target-step', '0.1'));
  await unused(/--target-step is not used by rule sdtp.*choose rule dtp/, ...used('sdtp', '--target-step', '0.1'));
  await unused(/--auxiliary is not used by rule sdtp; choose rule ao-sdtp/, ...used('sdtp', '--auxiliary', '9'));
  await unused(
    /--first-phase is not used by the parallel schedule/,
    ...used('dtp', '--schedule', 'parallel', '--first-phase', 'forward'),
  );
  await unused(
    /--inverse-momentum is not used by inverse optimizer adam; choose --inverse-optimizer sgd or rmsprop/,
    ...used('dtp', '--inverse-momentum', '0.9'),
  );
  await unused(/--hyperparameters is not used by mnist-fc with tp/, ...used('tp', '--hyperparameters', 'paper'));
  await unused(
    /--hyperparameters is not used by optimizer sgd: the paper's are Adam's/,
    ...used('bp', '--hyperparameters', 'paper', '--optimizer', 'sgd'),
  );
  const usage = (message: RegExp, ...flags: string[]) => refused(t, flags, 'ERR_USAGE', message);
  await usage(/--noise: expected σ, a number of at least 0.*"-1"/, ...used('dtp', '--noise=-1'));
  await usage(/--auxiliary: expected a whole number.*the rule is sdtp/, ...used('ao-sdtp', '--auxiliary', '0'));
  await usage(/--target-step: expected a number above 0/, ...used('dtp', '--target-step', '0'));
  await usage(/--schedule: expected one of parallel, alternating/, ...used('dtp', '--schedule', 'turns'));
  await refused(
    t,
    used('dtp', '--noise', '0.1,0.2'),
    'ERR_INVALID_ARGUMENT',
    /4: one for each inverse from below for `--noise`/,
  );
  // One number is that of all inverses, four are one for each.
  const dtp = { dataset: 'mnist', model: 'mnist-fc', rule: 'dtp' } as const;
  for (const [text, noise] of [
    ['0.2', 0.2],
    ['0.1,0.2,0.3,0.4', [0.1, 0.2, 0.3, 0.4]],
  ] as const) {
    const config = await resolveSettings({ ...dtp, noise: options.noise.parse(text) });
    t.strictSame(config.noise, noise);
  }
});

t.test('a recipe is the default of its network, unless another optimizer is asked for', async (t) => {
  const resnet = { dataset: 'cifar10', model: 'resnet20' } as const;
  const config = await resolveSettings(resnet);
  t.match(config, {
    ...{ batchSize: 128, optimizer: 'sgd', lr: 0.1, momentum: 0.9, weightDecay: 1e-4 },
    ...{ lrSchedule: 'step', lrDecay: 0.1 },
  });
  // He et al. 2016, section 4.2: 64,000 steps of 128 of 45,000 images, divided by ten after 32,000 and 48,000.
  const stepsPerEpoch = Math.ceil(45_000 / 128);
  const { epochs, lrSteps } = config;
  [epochs, ...lrSteps!].forEach((epoch, i) => {
    t.ok(Math.abs(epoch - [64_000, 32_000, 48_000][i]! / stepsPerEpoch) < 1, `${epoch} of ${epochs} epochs`);
  });
  t.match(await resolveSettings({ ...resnet, epochs: 4 }), { epochs: 4, lrSchedule: 'step', lrSteps: [2, 3] });
  t.match(await resolveSettings({ ...resnet, epochs: 1 }), { lrSchedule: 'constant' }, 'an only epoch');
  t.match(await resolveSettings({ ...resnet, epochs: 1, lrSteps: [1] }), { lrSchedule: 'step', lrSteps: [1] });
  const other = await resolveSettings({ ...resnet, optimizer: 'adam' });
  t.match(other, { epochs: 10, batchSize: 100, lr: 1e-3, lrSchedule: 'constant' });
});

t.test('renamings', async (t) => {
  const map = (text: string) =>
    refused(t, [...MNIST, '--init', 'a.pt', '--map', text], 'ERR_USAGE', /--map: fc1 is renamed twice/);
  await map('fc1=layers.0,fc1=layers.1');
  await map('fc2=layers.1,fc1=layers.0,fc1=layers.0');
  t.strictSame(options.map.parse('fc1=layers.0,fc2=layers.1'), ['fc1=layers.0', 'fc2=layers.1']);
});

t.test('the feedback of dfa', async (t) => {
  const dfa = [...MNIST, '--rule', 'dfa'];
  await refused(
    t,
    [...MNIST, '--dfa-feedback', 'shared'],
    'ERR_UNUSED_OPTION',
    /--dfa-feedback is not used by rule bp; choose rule dfa, or leave it out/,
  );
  await refused(t, [...MNIST, '--rule', 'fa', '--dfa-feedback', 'per-layer'], 'ERR_UNUSED_OPTION', /rule fa/);
  await refused(t, [...dfa, '--dfa-feedback', 'share'], 'ERR_USAGE', /--dfa-feedback: .*did you mean shared\?/);
  t.match(await call('init', '--model', 'mnist-fc', '--dfa-feedback', 'shared', '--out', 'x.pt'), {
    code: 2,
    stderr: /ERR_UNUSED_OPTION.*--dfa-feedback/,
  });
});

t.test('what belongs together', async (t) => {
  await refused(t, ['--model', 'mnist-fc'], 'ERR_USAGE', /--dataset is missing/);
  await refused(t, ['--dataset', 'mnist'], 'ERR_USAGE', /--model is missing/);
  await refused(t, [...MNIST, '--mean', '0.1'], 'ERR_USAGE', /--std is missing/);
  await refused(t, [...MNIST, '--std', '0.1'], 'ERR_USAGE', /--mean is missing/);
  await refused(t, [...MNIST, '--mean', '0,0', '--std', '1,1'], 'ERR_USAGE', /--mean: expected 1 number/);
  await refused(t, [...MNIST, '--mean', '0', '--std', '0'], 'ERR_USAGE', /--std: expected numbers above 0/);
  await refused(t, [...MNIST, '--lr-schedule', 'step'], 'ERR_USAGE', /--lr-steps is missing/);
  await refused(t, [...MNIST, '--lr-schedule', 'step', '--lr-steps', '3,3'], 'ERR_USAGE', /rising epochs/);
});

t.test('unknown rules and presets, and those of later versions', async (t) => {
  const model = (name: string) => ['--dataset', 'mnist', '--model', name];
  await refused(t, model('mnist-f'), 'ERR_UNKNOWN_OPTION', /unknown model "mnist-f".*mean mnist-fc/);
  await refused(t, [...MNIST, '--rule', 'hebb'], 'ERR_UNKNOWN_OPTION', /unknown rule "hebb".*bp, fa, dfa/);
  await refused(
    t,
    [...MNIST, '--last-layer', 'bp'],
    'ERR_UNUSED_OPTION',
    /--last-layer is not used by rule bp; choose/,
  );
  await refused(t, [...MNIST, '--feedback-scale', 'xiao'], 'ERR_UNUSED_OPTION', /--feedback-scale is not used/);
  await refused(t, ['--dataset', 'imagenett'], 'ERR_USAGE', /mean imagenet\?/);
});

t.test('devices and precisions', async (t) => {
  const unavailable = (message: RegExp, ...flags: string[]) =>
    refused(t, [...MNIST, ...flags], 'ERR_DEVICE_UNAVAILABLE', message, 1);
  // No machine has so many.
  await unavailable(/device cuda:99 is not available: .*;/, '--device', 'cuda:99');
  await unavailable(/precision bf16 needs a GPU; use fp32 on the CPU/, '--precision', 'bf16');
  await unavailable(/precision tf32 needs a GPU/, '--device', 'cpu', '--precision', 'tf32');
  const usage = (message: RegExp, ...flags: string[]) => refused(t, [...MNIST, ...flags], 'ERR_USAGE', message);
  await usage(/--device: expected cpu, cuda or cuda:i.*but received "tpu"/, '--device', 'tpu');
  await usage(/--device: .* it has no value/, '--device');
  await usage(/--precision: expected one of fp32, tf32, bf16.*mean bf16\?/, '--precision', 'bf-16');
  const unused = (message: RegExp, ...flags: string[]) =>
    refused(t, [...MNIST, ...flags], 'ERR_UNUSED_OPTION', message);
  await unused(/--moments bf16 is not used by device cpu; choose device cuda/, '--moments', 'bf16');
  await unused(/--inverse-moments bf16 is not used by device cpu/, ...['--rule', 'dtp', '--inverse-moments', 'bf16']);
  await unused(/--inverse-moments is not used by rule bp/, '--inverse-moments', 'bf16');
  await unused(
    /--moments is not used by optimizer sgd without momentum.*; add --momentum/,
    ...['--optimizer', 'sgd', '--moments', 'fp32'],
  );
  await unused(
    /--inverse-moments is not used by inverse optimizer sgd without momentum.*; add --inverse-momentum/,
    ...['--rule', 'dtp', '--inverse-optimizer', 'sgd', '--inverse-moments', 'fp32'],
  );
});

t.test("a spec of one's own: the key is named", async (t) => {
  const { layers: _, ...rest } = smallSpec;
  const folder = t.testdir({
    'good.json': JSON.stringify(smallSpec),
    'units.json': JSON.stringify({ ...rest, layers: [{ type: 'flatten' }, { type: 'dense', unit: 3 }] }),
    'broken.json': '{"input": [',
  });
  const file = (name: string) => ['--dataset', 'mnist', '--model', path.join(folder, name)];
  await refused(t, file('units.json'), 'ERR_INVALID_SPEC', /units\.json: layers\[1\]\.unit.*did you mean units\?/);
  await refused(t, file('broken.json'), 'ERR_INVALID_SPEC', /broken\.json is not JSON/);
  await refused(t, file('none.json'), 'ERR_USAGE', /none\.json: there is no such file/);
});

t.test('configuration files', async (t) => {
  const folder = t.testdir({
    'typo.yaml': 'dataset: mnist\nbatchsize: 5\n',
    'type.yaml': 'dataset: mnist\nmodel: mnist-fc\nepochs: many\n',
    'twice.yaml': 'batch-size: 5\nbatchSize: 6\n',
    'out.yaml': 'out: runs/a\n',
    'broken.yaml': 'dataset: [mnist\n',
    'list.yaml': '- dataset\n',
    'empty.yaml': '',
  });
  const bad = (name: string, code: string, message: RegExp) =>
    refused(t, ['--config', path.join(folder, name)], code, message);
  await bad('typo.yaml', 'ERR_UNKNOWN_OPTION', /no batchsize in typo\.yaml; did you mean batch-size/);
  await bad(
    'type.yaml',
    'ERR_USAGE',
    /epochs in type\.yaml: expected a whole number of at least 1 but received "many"/,
  );
  await bad('twice.yaml', 'ERR_USAGE', /batchSize in twice\.yaml is given twice/);
  await bad('out.yaml', 'ERR_UNKNOWN_OPTION', /no out in out\.yaml/);
  await bad('broken.yaml', 'ERR_USAGE', /broken\.yaml is neither YAML nor JSON/);
  await bad('list.yaml', 'ERR_USAGE', /expected settings/);
  await bad('empty.yaml', 'ERR_USAGE', /expected settings/);
  await bad('none.yaml', 'ERR_USAGE', /cannot read .*none\.yaml: there is no such file/);
});

t.test('flags win over the file; a resolved configuration resolves to itself', async (t) => {
  const folder = t.testdir({
    'a.yaml':
      'dataset: mnist\nmodel: mnist-fc\nrule: fa\nbatch-size: 50\nlrSteps: [2, 4]\nlr-schedule: step\nmean: 0.1\nstd: "0.3"\n',
  });
  const { settings } = await gatherSettings({ config: path.join(folder, 'a.yaml'), batchSize: 20 });
  const config = await resolveSettings(settings);
  t.match(config, { rule: 'fa', batchSize: 20, lrSteps: [2, 4], mean: [0.1], std: [0.3], validation: 5000 });
  t.strictSame(optimizerOf(config), {
    type: 'adam',
    lr: 1.68e-4,
    beta1: 0.9,
    beta2: 0.999,
    eps: 1e-4,
    weightDecay: 0,
    batchManhattan: false,
    moments: 'fp32',
  });
  t.strictSame(lrScheduleOf(config), { type: 'step', steps: [2, 4], decay: 0.1, warmupEpochs: 0 });

  const saved = path.join(folder, 'config.json');
  fs.writeFileSync(saved, JSON.stringify(config));
  const again = await gatherSettings({ config: saved });
  t.strictSame(await resolveSettings(again.settings, again.network), config);
  const changed = await gatherSettings({ config: saved, model: 'mnist-lc' });
  t.strictSame((await resolveSettings(changed.settings, changed.network)).network, preset('mnist-lc'));

  t.notOk('dfaFeedback' in config, 'of dfa only');
  const dfa = { dataset: 'mnist', model: 'mnist-fc', rule: 'dfa' } as const;
  t.equal((await resolveSettings(dfa)).dfaFeedback, 'per-layer');
  t.equal((await resolveSettings({ ...dfa, dfaFeedback: 'shared' })).dfaFeedback, 'shared');
});

t.test('files and folders are kept by their whole names: a run may be resumed from elsewhere', async (t) => {
  const { settings } = await gatherSettings({ dataDir: 'data/mnist', init: 'start.pt', model: './own.json' });
  t.strictSame(settings, {
    dataDir: path.resolve('data/mnist'),
    init: path.resolve('start.pt'),
    model: path.resolve('own.json'),
  });
  t.strictSame((await gatherSettings({ model: 'mnist-fc' })).settings, { model: 'mnist-fc' }, 'a preset is no file');
});

t.test('what does not fit into the memory is refused before anything is done', async (t) => {
  const folder = t.testdir({
    'huge.json': JSON.stringify({
      input: [1, 28, 28],
      layers: [
        { type: 'locally-connected2d', channels: 10 ** 9, kernel: 5 },
        { type: 'flatten' },
        { type: 'dense', units: 10 },
      ],
    }),
  });
  const out = path.join(folder, 'run');
  const huge = ['--model', path.join(folder, 'huge.json')];
  // There is no such data set either, but that is never looked at.
  const data = ['--dataset', 'mnist', '--data-dir', path.join(folder, 'none')];
  await refused(t, [...data, ...huge, '--out', out], 'ERR_OUT_OF_MEMORY', /needs .* PB .*weights .*use a smaller/, 1);
  t.notOk(fs.existsSync(out), 'no folder was made');
  const batch = [...data, '--model', 'mnist-fc', '--batch-size', '1000000000000', '--out', out];
  await refused(t, batch, 'ERR_OUT_OF_MEMORY', /activations .*use a batch size of at most \d+$/, 1);
  t.notOk(fs.existsSync(out));
  const init = await call('init', ...huge, '--out', path.join(folder, 'start.pt'));
  t.match(init, { code: 1, stderr: /ERR_OUT_OF_MEMORY/ });
});

t.test('--debug shows the stack', async (t) => {
  t.match(await call('train', '--debug'), { code: 2, stderr: /\n {4}at / });
  t.notMatch((await call('train')).stderr, /\n {4}at /);
});

t.test('every flag has a description of one line', async (t) => {
  for (const [name, { describe }] of Object.entries(options)) t.ok(describe.length < 90, name);
});
