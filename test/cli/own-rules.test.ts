/**
 * Rules of one's own on the command line: training, going on bit for bit, what is recorded; and that nothing but a flag
 * makes it compile or load anything.
 */
import fs from 'node:fs';
import path from 'node:path';
import t, { type Test } from 'tap';
import { loadTorchFile, OrderedDict, readParameters, saveTorchFile, tensorDataFrom } from '../../lib/index.js';
import { readCheckpoint, readNetworkFile } from '../../lib/training/checkpoint.js';
import { packageRoot } from '../../scripts/paths.mjs';
import { findTool } from '../../scripts/toolchain.mjs';
import { cortorch as cortorchIn, metricsOf, smallSpec, writeTinyData, type Finished } from '../support/cli.js';
import { within } from '../support/folders.js';
import { lazy } from '../support/lazy.js';
import { result } from '../support/run-result.js';
import { fakePrograms } from '../support/setup.js';

const folder = t.testdir({ 'small.json': JSON.stringify(smallSpec) });
const at = within(folder);
const data = writeTinyData(at('data'), { train: 300, test: 50 });
const example = (name: string): string => path.join(packageRoot, 'examples/rules', `${name}.cpp`);

/** With a cache of rules of its own. */
const cortorch = (args: readonly string[], env: Record<string, string> = {}): Promise<Finished> =>
  cortorchIn(args, { cwd: folder, env: { XDG_CACHE_HOME: at('cache'), ...env } });

const DATA = ['--dataset', 'mnist', '--data-dir', data, '--validation', '50', '--batch-size', '25'];
const FLAGS = ['train', ...DATA, '--model', at('small.json'), '--seed', '3'];

async function succeed(args: readonly string[]): Promise<Finished> {
  const finished = await cortorch(args);
  if (finished.code === 0) return finished;
  throw new Error(`cortorch ${args.join(' ')}: ${finished.stderr}`);
}

/** A run of an example, of two epochs. */
const runs = {
  mirroring: lazy(async () => {
    const flags = ['--rule', example('mirroring'), '--rule-option', 'noise=0.2', '--diagnostics', '5'];
    const { lines } = await succeed([...FLAGS, ...flags, '--epochs', '2', '--json', '--out', at('mirroring')]);
    return { out: at('mirroring'), flags, lines };
  }),
  lagging: lazy(async () => {
    const flags = ['--rule', example('lagging'), '--rule-option', 'steps=8', '--diagnostics', '5'];
    const { lines } = await succeed([...FLAGS, ...flags, '--epochs', '2', '--json', '--out', at('lagging')]);
    return { out: at('lagging'), flags, lines };
  }),
};
const TIME = { timeout: 300_000 };

type Config = Readonly<Record<string, unknown>>;
const configOf = (run: string): Config => JSON.parse(fs.readFileSync(path.join(run, 'config.json'), 'utf8')) as Config;

for (const name of ['mirroring', 'lagging'] as const) {
  t.test(`${name}: what is recorded, and a run that goes on, bit for bit`, TIME, async (t) => {
    const { out, flags, lines } = await runs[name]();
    const ruleOptions = name === 'mirroring' ? { noise: 0.2, decay: 1 } : { steps: 8 };
    const record = { rule: name, ruleOptions, ruleSha256: /^[0-9a-f]{64}$/ };
    t.match(configOf(out), record);
    t.match(lines[0], { type: 'start', config: record });
    for (const file of ['last.pt', 'best.pt']) t.match((await readCheckpoint(path.join(out, file))).config, record);
    for (const file of ['config.json', 'metrics.jsonl', 'last.pt', 'best.pt'])
      t.notOk(fs.readFileSync(path.join(out, file)).includes(`${name}.cpp`), `no path in ${file}`);
    const inverse = configOf(out)['inverseOptimizer'];
    t.equal(inverse, name === 'mirroring' ? 'adam' : undefined, 'an optimizer where there is something to learn');

    const diagnoses = metricsOf(out).filter(({ type }) => type === 'diagnostics');
    t.ok(diagnoses.length >= 3);
    for (const { layers } of diagnoses)
      t.match(layers.at(-1), { name: 'layers.1', feedbackAngle: Number, gradientAngle: Number });

    const half = at(`${name}-half`);
    await succeed([...FLAGS, ...flags, '--epochs', '1', '--out', half]);
    await succeed(['train', '--resume', half, '--rule', example(name), '--epochs', '2']);
    t.strictSame(await result(half), await result(out));

    // In the middle of an epoch.
    const cut = at(`${name}-cut`);
    await succeed([...FLAGS, ...flags, '--epochs', '2', '--max-steps', '13', '--out', cut]);
    await succeed(['train', '--resume', cut, '--rule', example(name)]);
    t.strictSame((await result(cut)).parameters, (await result(out)).parameters);
  });
}

/** Neither stdout nor a file of the run: an error and its code. */
async function refused(t: Test, args: readonly string[], code: 1 | 2, words: RegExp, env = {}): Promise<void> {
  const finished = await cortorch(args, env);
  t.equal(finished.code, code, `${args.join(' ')}: ${finished.stderr}`);
  t.match(finished.stderr, words);
}

t.test('a run is resumed with the same file alone', TIME, async (t) => {
  const { out } = await runs.mirroring();
  const files = (): Buffer[] => fs.readdirSync(out).map((name) => fs.readFileSync(path.join(out, name)));
  const before = files();
  const sha256 = String(configOf(out)['ruleSha256']);
  const without = `ERR_RULE\\] the run in .*mirroring has the rule mirroring \\(sha256 ${sha256}\\).*add --rule ./FILE.cpp`;
  await refused(t, ['train', '--resume', out], 1, new RegExp(without));
  const changed = at('changed.cpp');
  fs.writeFileSync(changed, `${fs.readFileSync(example('mirroring'), 'utf8')}\n`);
  const other = `ERR_RULE\\].*is the rule mirroring \\(sha256 [0-9a-f]{64}\\), but the run in .* has mirroring \\(sha256 ${sha256}`;
  await refused(t, ['train', '--resume', out, '--rule', changed], 1, new RegExp(other));
  await refused(t, ['train', '--resume', out, '--rule', 'fa'], 2, /--rule is fa, but the run in .* has mirroring/);
  const option = ['--rule', example('mirroring'), '--rule-option', 'noise=0.3'];
  await refused(t, ['train', '--resume', out, ...option], 2, /--rule-option noise is 0\.3, but the run in .* has 0\.2/);
  t.strictSame(files(), before, 'nothing has changed');
  await succeed([...FLAGS, '--epochs', '1', '--out', at('bp')]);
  const ours = ['train', '--resume', at('bp'), '--rule', at('missing.cpp')];
  await refused(t, ours, 2, /--rule is .*missing\.cpp, but the run in .* has bp/);
});

t.test('options on the command line', TIME, async (t) => {
  await runs.mirroring();
  const train = [...FLAGS, '--rule', example('mirroring')];
  const wrong = (args: readonly string[], words: RegExp): Promise<void> => refused(t, [...train, ...args], 2, words);
  await wrong(['--rule-option', 'noise=0'], /number of at least 0\.000001 for `--rule-option noise` but received 0/);
  await wrong(['--rule-option', 'noise=loud'], /a number .* for `--rule-option noise` but received "loud"/);
  await wrong(['--rule-option', 'nois=1'], /--rule-option: rule mirroring has no option "nois"; did you mean noise\?/);
  await wrong(['--rule-option', 'noise'], /--rule-option: expected NAME=VALUE, such as every=5 but received "noise"/);
  await wrong(['--rule-option', 'noise=1', '--rule-option', 'noise=2'], /--rule-option: noise is given twice/);
  await wrong(['--rule-option', '__proto__=1'], /has no option "__proto__"/);
  await wrong(['--feedback-scale', 'xiao'], /--feedback-scale is not used by rule mirroring/);
  await refused(t, [...FLAGS, '--rule', 'fa', '--rule-option', 'a=1'], 2, /--rule-option is not used by rule fa/);
  await refused(t, [...FLAGS, '--rule', 'mirroring'], 2, /unknown rule "mirroring".*of your own is a file: --rule/);
  const optimizer = ['--inverse-lr', '0.1'];
  await runs.lagging();
  await refused(t, [...FLAGS, '--rule', example('lagging'), ...optimizer], 2, /rule lagging, which has no parameters/);
});

t.test('a file that does not compile, and no compiler', TIME, async (t) => {
  fs.writeFileSync(at('broken.cpp'), 'int ok;\nint broken = "text";\n');
  await refused(
    t,
    [...FLAGS, '--rule', 'broken.cpp'],
    1,
    /ERR_RULE\] .*broken\.cpp does not compile[^]*broken\.cpp:2:/,
  );
  const none = fakePrograms(at('none'), {});
  for (const name of ['env', 'node', 'sh']) fs.symlinkSync(findTool(name)!.path, path.join(none, name));
  await refused(t, [...FLAGS, '--rule', './broken.cpp'], 1, /ERR_COMPILER_NOT_FOUND[^]*apt-get install g\+\+/, {
    PATH: none,
    CXX: '',
  });
});

t.test('init, eval, inspect, convert, report: only init needs the file', TIME, async (t) => {
  const { out } = await runs.mirroring();
  const { best } = (await runs.mirroring()).lines.at(-1)!;
  const { lines } = await succeed(['eval', '--checkpoint', path.join(out, 'best.pt'), '--data-dir', data, '--json']);
  t.equal(lines[0]!.error, best.test.error);
  t.match(await succeed(['inspect', path.join(out, 'best.pt')]), { stdout: /^config\.rule: mirroring$/m });
  const converted = at('converted.safetensors');
  await succeed(['convert', path.join(out, 'best.pt'), converted]);
  t.match((await readNetworkFile(converted)).config, { rule: 'mirroring', ruleOptions: { noise: 0.2 } });
  const again = await succeed(['eval', '--checkpoint', converted, '--data-dir', data, '--json']);
  t.equal(again.lines[0]!.error, lines[0]!.error);
  await succeed(['report', out, '--out', at('report.html')]);
  const page = fs.readFileSync(at('report.html'), 'utf8');
  t.match(page, /<td>mirroring, parallel<\/td>/);
  t.match(page, '{&#34;noise&#34;:0.2,&#34;decay&#34;:1}');

  const start = ['init', '--model', at('small.json'), '--seed', '3'];
  await succeed([...start, '--rule', example('mirroring'), '--rule-option', 'decay=2', '--out', at('start.pt')]);
  const { parameters, config } = await readCheckpoint(at('start.pt'));
  t.match(config, { rule: 'mirroring', ruleOptions: { noise: 0.1, decay: 2 }, ruleSha256: String });
  t.ok(parameters.has('layers.1.weight_backward'));
  // As among rules of ours: what does not fit is named, and left out if that is asked for.
  const from = [...FLAGS, '--epochs', '1', '--init', at('start.pt')];
  await refused(t, from, 1, /unexpected: layers\.1\.weight_backward/);
  await succeed([...from, '--partial']);
  await succeed([...from, '--rule', example('mirroring')]);
});

t.test('eval takes the forward parameters, all of them, and leaves the rule’s out', TIME, async (t) => {
  const { out } = await runs.mirroring();
  const file = await dictOf(path.join(out, 'best.pt'));
  const state = [...(file['state_dict'] as Map<string, never>)];
  const save = (name: string, entries: readonly (readonly [string, never])[]): Promise<void> =>
    saveTorchFile(at(name), { ...file, state_dict: new OrderedDict(entries) });
  const evaluate = (name: string): Promise<Finished> =>
    cortorch(['eval', '--checkpoint', at(name), '--data-dir', data, '--json']);
  const extra = ['layers.1.trace', tensorDataFrom(new Float32Array(3), [3]) as never] as const;
  await save('extra.pt', [...state, extra]);
  t.match(await evaluate('extra.pt'), { code: 0 });
  const forward = ['layers.0.weight', 'layers.0.bias', 'layers.1.weight', 'layers.1.bias'];
  for (const name of ['forward.safetensors', 'forward.pt']) {
    await succeed(['convert', at('extra.pt'), at(name), '--forward-only']);
    t.strictSame([...(await readParameters(at(name))).keys()].sort(), forward.sort(), name);
  }
  await save(
    'less.pt',
    state.filter(([name]) => name !== 'layers.0.bias'),
  );
  t.match(await evaluate('less.pt'), { code: 1, stderr: /ERR_CHECKPOINT_MISMATCH.*missing: layers\.0\.bias/ });
});

/** A dict of a file as an object. */
const fromDict = (dict: unknown): Record<string, unknown> =>
  dict instanceof Map ? Object.fromEntries(dict as Map<string, unknown>) : (dict as Record<string, unknown>);
const dictOf = async (file: string): Promise<Record<string, unknown>> => fromDict(await loadTorchFile(file));

/** The programs that would compile, each of which leaves a mark. */
const marked = lazy(() => {
  const mark = at('compiled');
  const body = `echo "$0 $*" >> '${mark}'; exit 1`;
  const names = ['g++', 'g++-12', 'g++-13', 'g++-14', 'c++', 'clang++', 'gcc', 'cc', 'ld'];
  const bin = fakePrograms(at('bin'), Object.fromEntries(names.map((name) => [name, body])));
  return { mark, env: { PATH: `${bin}:${process.env['PATH']}`, XDG_CACHE_HOME: at('other-cache'), CXX: '' } };
});

t.test('a run, a checkpoint or a configuration from elsewhere makes it compile and load nothing', TIME, async (t) => {
  const { out } = await runs.lagging();
  const { mark, env } = marked();
  const evil = at('evil.cpp');
  fs.writeFileSync(evil, '#error compiled\n');
  fs.writeFileSync(at('evil.so'), 'no library');
  // The fakes do what they are for.
  await refused(t, [...FLAGS, '--rule', evil], 1, /ERR_COMPILER_NOT_FOUND/, env);
  t.ok(fs.existsSync(mark));
  fs.rmSync(mark);

  const sha256 = String(configOf(out)['ruleSha256']);
  const crafted: readonly Config[] = [
    { rule: './evil.cpp' },
    { rule: evil },
    { rule: './evil.cpp', ruleSha256: sha256 },
    { rule: '../lagging', ruleSha256: sha256 },
    { rule: { file: evil } },
    { rule: { file: evil }, ruleSha256: sha256 },
    { rule: [evil] },
    { rule: 'lagging', ruleFile: evil, ruleSha256: sha256 },
    { rule: 'lagging', rulePath: evil },
    { rule: 'lagging', ruleSha256: evil },
    { rule: 'lagging', ruleSha256: sha256, ruleOptions: { file: evil, library: at('evil.so') } },
    { rule: 'fa', ruleSha256: sha256 },
    { rule: 'fa', 'rule-option': [`file=${evil}`] },
    { rule: 'lagging' },
    { ruleSha256: sha256 },
  ];
  const { parameters } = await readCheckpoint(path.join(out, 'best.pt'));
  const tensors = [...parameters].map(([name, { data, shape }]) => [name, tensorDataFrom(data, shape)] as const);
  for (const [i, record] of crafted.entries()) {
    const what = JSON.stringify(record);
    const { rule: _, ruleOptions: __, ruleSha256: ___, ...rest } = configOf(out);
    const run = at(`crafted-${i}`);
    fs.cpSync(out, run, { recursive: true });
    const config = path.join(run, 'config.json');
    fs.writeFileSync(config, JSON.stringify({ ...rest, ...record }));
    const best = await dictOf(path.join(out, 'best.pt'));
    const { rule: ____, ruleOptions: _____, ruleSha256: ______, ...ofBest } = fromDict(best['config']);
    const checkpoint = { ...best, state_dict: new OrderedDict(tensors), config: { ...ofBest, ...record } };
    await saveTorchFile(path.join(run, 'best.pt'), checkpoint);
    const commands = [
      ['train', '--resume', run],
      ['train', '--config', config, '--out', at(`again-${i}`)],
      ['eval', '--checkpoint', path.join(run, 'best.pt'), '--data-dir', data],
    ];
    // The others read less than these: once is enough.
    if (i < 3) {
      commands.push(['inspect', path.join(run, 'best.pt')], ['report', run, '--out', at('crafted.html')]);
      commands.push(['convert', path.join(run, 'best.pt'), at(`crafted-${i}.safetensors`)]);
    }
    const ended = await Promise.all(commands.map((args) => cortorch(args, env)));
    for (const [k, { code, stderr }] of ended.entries()) {
      const text = `${what}: cortorch ${commands[k]!.join(' ')} ended with ${code}: ${stderr}`;
      t.ok(code === 0 || (code !== null && /^cortorch: \[ERR_/m.test(stderr)), text);
      if (k < 2) t.not(code, 0, text);
    }
  }
  t.notOk(fs.existsSync(mark), 'no compiler was started');
  t.notOk(fs.existsSync(at('other-cache')), 'no cache was looked for');
});

t.test('a configuration names rules, never files', TIME, async (t) => {
  const { out } = await runs.lagging();
  const write = (config: object): string => {
    fs.writeFileSync(at('config.json'), JSON.stringify(config));
    return at('config.json');
  };
  const train = [...FLAGS, '--epochs', '1', '--config'];
  const named = /ERR_USAGE\] config\.json names a file as its rule, "\.\/lagging\.cpp".*add --rule \.\/FILE\.cpp/;
  await refused(t, [...train, write({ rule: './lagging.cpp' })], 2, named);
  const recorded = configOf(out);
  const { rule, ruleOptions, ruleSha256 } = recorded;
  const same = { rule, ruleOptions, ruleSha256 };
  await refused(t, [...train, write(same)], 1, /ERR_RULE\] .*config\.json has the rule lagging \(sha256.*add --rule/);
  const option = ['--rule', example('lagging')];
  await succeed([...train, write(same), ...option, '--out', at('configured')]);
  t.match(configOf(at('configured')), same, 'with the options that it records');
  await succeed([...train, write(same), ...option, '--rule-option', 'steps=9', '--out', at('flag-wins')]);
  t.match(configOf(at('flag-wins')), { ...same, ruleOptions: { steps: 9 } });
  await succeed([...train, write({ 'rule-option': ['steps=7'] }), ...option, '--out', at('yaml')]);
  t.match(configOf(at('yaml')), { ...same, ruleOptions: { steps: 7 } });
  const other = { ...same, ruleSha256: 'f'.repeat(64) };
  await refused(
    t,
    [...train, write(other), ...option],
    1,
    /is the rule lagging .* but .*config\.json has lagging \(sha256 f/,
  );
  await succeed([...train, write(same), '--rule', 'fa', '--out', at('ours')]);
  t.match(configOf(at('ours')), { rule: 'fa', ruleSha256: undefined, ruleOptions: undefined });
  await refused(t, [...train, write({ ruleOptions })], 2, /ruleOptions in config\.json is not used without ruleSha256/);
});

t.test('doctor', TIME, async (t) => {
  await runs.lagging();
  const { stdout } = await cortorch(['doctor', '--model', 'mnist-fc', '--rule', example('lagging')]);
  t.match(stdout, 'mnist-fc with lagging, adam');
});
