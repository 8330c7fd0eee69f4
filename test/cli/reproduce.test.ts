/** `cortorch reproduce table1`: cells are trained once, kept, gone on with; the paper's numbers stand beside ours. */
import fs from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { cellNames, cellsOf, modelOf, paperRuleOf } from '../../lib/cli/cells.js';
import { paper } from '../../lib/training/hyperparameters.js';
import { cortorch, metricsOf, start, writeTinyData } from '../support/cli.js';
import { within } from '../support/folders.js';

const folder = t.testdir();
const data = writeTinyData(path.join(folder, 'data'), { train: 5600, test: 100 }); // 6 steps an epoch
const FC = ['reproduce', 'table1', '--dataset', 'mnist', '--data-dir', data, '--architecture', 'fc'];
const at = within(folder);

t.test('the cells are those of Table 1', (t) => {
  for (const architecture of ['fc', 'lc'] as const) {
    const cells = cellsOf(architecture);
    t.equal(cells.size, architecture === 'lc' ? 10 : 9);
    for (const [name, cell] of cells) {
      t.ok(cellNames.includes(name));
      t.ok(paper[modelOf('mnist', architecture, cell)]!.results[paperRuleOf(cell)], `${architecture} ${name}`);
    }
  }
  t.end();
});

t.test('wrong usage', async (t) => {
  const refused = async (message: RegExp, ...args: string[]) =>
    t.match(await cortorch(['reproduce', ...args]), { code: 2, stdout: '', stderr: message });
  await refused(/the table is missing: cortorch reproduce table1/);
  await refused(/there is no table table7 here: cortorch reproduce table1/, 'table7');
  await refused(/takes one TABLE and flags, but was given table1 fc/, 'table1', 'fc');
  await refused(/--dataset is missing/, 'table1');
  await refused(/--architecture is missing/, 'table1', '--dataset', 'mnist');
  const mnist = ['table1', '--dataset', 'mnist', '--architecture'];
  await refused(/--architecture: expected one of fc, lc/, ...mnist, 'conv');
  await refused(/Table 1 has no fashion-mnist/, 'table1', '--dataset', 'fashion-mnist', ...mnist.slice(3), 'fc');
  await refused(/--cells: "dtp" is no cell/, ...mnist, 'fc', '--cells', 'bp,dtp');
  await refused(/"bp-convnet" is not in the fc column/, ...mnist, 'fc', '--cells', 'bp-convnet');
  await refused(/no --rule/, ...mnist, 'fc', '--rule', 'bp');
});

t.test('trains cells, keeps them, and goes on', async (t) => {
  const out = at('fc');
  const flags = [...FC, '--cells', 'sdtp-alternating,bp,dtp-parallel', '--out', out, '--json'];
  const first = await cortorch([...flags, '--epochs', '1']);
  t.equal(first.code, 0, first.stderr);
  t.strictSame(fs.readdirSync(out).sort(), ['bp', 'dtp-parallel', 'sdtp-alternating']);
  t.equal(first.stdout.trim().split('\n').length, 4, 'nothing but cells and the table on stdout');
  t.match(first.lines, [
    { type: 'cell', cell: 'dtp-parallel', model: 'mnist-fc', rule: 'dtp', schedule: 'parallel' },
    { type: 'cell', cell: 'sdtp-alternating', status: 'trained', paper: { train: 0, test: 0.0228 } },
    { type: 'cell', cell: 'bp', schedule: null, run: path.join(out, 'bp'), ours: { epochs: 1 } },
    { type: 'table', table: 'table1', dataset: 'mnist', architecture: 'fc', epochs: 1 },
  ]);
  t.equal(first.lines[3]!.cells.length, 3);
  const epochs = metricsOf(path.join(out, 'dtp-parallel')).filter(({ type }) => type === 'epoch');
  const [epoch] = epochs;
  t.equal(epochs.length, 1);
  t.strictSame(first.lines[0]!.ours, {
    epochs: 1,
    train: epoch!.train.error,
    chosen: { epoch: 1, validation: epoch!.validation.error, test: epoch!.test.error },
    test: epoch!.test.error,
    selectedOnTest: { epoch: 1, test: epoch!.test.error },
  });

  const last = fs.statSync(path.join(out, 'bp', 'last.pt'));
  const second = await cortorch([...flags, '--epochs', '1']);
  t.match(second.lines[2], { cell: 'bp', status: 'kept', ours: first.lines[2]!.ours });
  t.equal(fs.statSync(path.join(out, 'bp', 'last.pt')).mtimeMs, last.mtimeMs, 'not written again');

  const more = await cortorch([...FC, '--cells', 'bp', '--out', out, '--epochs', '2']);
  t.equal(more.code, 0, more.stderr);
  t.match(more.stderr, /Going on with .*bp after epoch 1/);
  t.match(more.stdout, /cell +epochs +train +paper +test, by validation .*selected on test/);
  t.match(more.stdout, /^ bp +2 .* 1\.48 %$/m);
  // Fewer than there are: what was asked for is shown.
  const fewer = await cortorch([...flags, '--cells', 'bp', '--epochs', '1'].filter((_, i) => i !== 8 && i !== 9));
  t.match(fewer.lines[0], { status: 'kept', ours: first.lines[2]!.ours });

  // Errors that are told apart, and a last epoch that --max-steps cut short.
  const made = (epoch: number, train: number, validation: number, test: number, more = {}) => ({
    ...{ type: 'epoch', epoch, phase: 'forward', train: { error: train }, ...more },
    ...{ validation: { error: validation }, test: { error: test } },
  });
  const cut = made(3, 0.01, 0.02, 0.03, { partial: true });
  const lines = [made(1, 0.5, 0.3, 0.4), made(2, 0.2, 0.4, 0.3), cut];
  fs.writeFileSync(path.join(out, 'bp', 'metrics.jsonl'), lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
  const short = ['--cells', 'bp', '--out', out, '--epochs', '3', '--max-steps', '12', '--json'];
  const kept = await cortorch([...FC, ...short]);
  t.match(kept.lines[0], { cell: 'bp', status: 'kept' }, kept.stderr);
  t.strictSame(kept.lines[0]!.ours, {
    epochs: 2,
    train: 0.2,
    chosen: { epoch: 1, validation: 0.3, test: 0.4 },
    test: 0.3,
    selectedOnTest: { epoch: 2, test: 0.3 },
  });

  const other = await cortorch([...flags, '--epochs', '1', '--seed', '5']);
  t.match(other, { code: 2, stderr: /--seed is 5, but the run in .*dtp-parallel has 0/ });
});

t.test('the locally connected column has a convolutional cell; --max-steps', async (t) => {
  const args = FC.with(-1, 'lc');
  const { code, lines, stderr } = await cortorch([
    ...args,
    ...['--cells', 'bp-convnet', '--max-steps', '2', '--epochs', '1', '--out', at('lc'), '--json'],
  ]);
  t.equal(code, 0, stderr);
  t.match(lines[0], { cell: 'bp-convnet', model: 'mnist-conv', paper: { test: 0.0101 } });
});

t.test('a cell that diverges is a result', async (t) => {
  const out = at('diverged');
  const flags = [...FC, '--cells', 'bp,fa', '--epochs', '1', '--out', out, '--json'];
  t.equal((await cortorch([...flags, '--max-steps', '1'])).code, 0);
  // A run whose learning rate was changed by hand: its next step gives a NaN.
  const config = path.join(out, 'fa', 'config.json');
  const settings = JSON.parse(fs.readFileSync(config, 'utf8')) as object;
  fs.writeFileSync(config, JSON.stringify({ ...settings, lr: 1e38 }));
  const { code, lines, stderr } = await cortorch(flags);
  t.equal(code, 0, stderr);
  t.match(lines[0], { cell: 'fa', status: 'diverged', message: /NaN or infinite/ });
  t.match(lines[1], { cell: 'bp', status: 'trained', ours: { epochs: 1 } });
  t.match((await cortorch(flags.slice(0, -1))).stdout, /^ fa +diverged in epoch 1/m);
});

t.test('Ctrl-C ends it with 130; the same command goes on', async (t) => {
  const flags = [...FC, '--cells', 'fa,bp', '--out', at('interrupted')];
  const run = start([...flags, '--epochs', '100000']);
  await run.seen(/epoch 2\//);
  run.process.kill('SIGINT');
  const { code, stderr, stdout } = await run.finished;
  t.match({ code, stdout }, { code: 130, stdout: '' });
  t.match(stderr, /The same command goes on from there/);
  t.strictSame(fs.readdirSync(at('interrupted')), ['fa'], 'bp was not begun');
  const next = await cortorch([...flags, '--epochs', '1', '--json']);
  t.match(next.lines, [
    { cell: 'fa', status: 'kept', ours: { epochs: 1 } },
    { cell: 'bp', status: 'trained' },
  ]);
});
