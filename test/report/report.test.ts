/** `cortorch report`: what the page holds, that its charts are right, and that a browser opens it without a network. */
import fs from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import t from 'tap';
import { parse, View } from 'vega';
import { compile, type TopLevelSpec } from 'vega-lite';
import { Network, network } from '../../lib/index.js';
import { firstFilters } from '../../lib/report/filters.js';
import { reportPage } from '../../lib/report/page.js';
import { readRuns } from '../../lib/report/runs.js';
import { writeCheckpoint } from '../../lib/training/checkpoint.js';
import { cortorch, metricsOf, smallSpec, succeedCortorch, writeTinyData } from '../support/cli.js';
import { parseNetworkSpec } from '../../lib/model/spec.js';
import { writeFiles } from '../support/folders.js';
import { lazy } from '../support/lazy.js';

const dir = t.testdir({});
const dataDir = writeTinyData(path.join(dir, 'data'));

interface ChartSpec {
  readonly data: { readonly values: readonly Record<string, number | string>[] };
}

async function train(name: string, ...flags: string[]): Promise<string> {
  const out = path.join(dir, name);
  const common = ['--dataset', 'mnist', '--data-dir', dataDir, '--validation', '100', '--batch-size', '50'];
  await succeedCortorch(['train', ...common, '--threads', '1', '--out', out, ...flags]);
  return out;
}

async function report(...args: string[]): Promise<{ html: string; specs: readonly ChartSpec[] }> {
  const out = path.join(dir, 'report.html');
  await succeedCortorch(['report', ...args, '--out', out]);
  const html = fs.readFileSync(out, 'utf8');
  const [, json] = /<script type="application\/json" id="charts">(.*?)<\/script>/s.exec(html)!;
  return { html, specs: JSON.parse(json!) as ChartSpec[] };
}

const specFile = path.join(dir, 'small.json');
fs.writeFileSync(specFile, JSON.stringify(smallSpec));
const lc = {
  input: [1, 28, 28],
  layers: [
    { type: 'locally-connected2d', channels: 5, kernel: 4, stride: 8, activation: 'tanh' },
    { type: 'flatten' },
    { type: 'dense', units: 10 },
  ],
};
const lcFile = path.join(dir, 'lc.json');
fs.writeFileSync(lcFile, JSON.stringify(lc));

const runs = {
  bp: lazy(() => train('bp', '--model', specFile, '--rule', 'bp', '--epochs', '3', '--diagnostics', '7')),
  dtp: lazy(() => train('dtp <b>&"', '--model', 'mnist-fc', '--rule', 'dtp', '--epochs', '2', '--diagnostics', '7')),
  lc: lazy(() => train('lc', '--model', lcFile, '--rule', 'usf', '--epochs', '2', '--lr', '0.01')),
};
/** All of them, and the report of them. */
const whole = lazy(async () => {
  const folders = [await runs.bp(), await runs.dtp(), await runs.lc()];
  return { folders, ...(await report(...folders)) };
});

t.test('curves are those of the metrics', async (t) => {
  const { folders, specs } = await whole();
  const errors = specs[0]!.data.values;
  const expected = folders.flatMap((run) =>
    metricsOf(run)
      .filter(({ type }) => type === 'epoch')
      .map(({ epoch, test }) => ({ run: path.basename(run), epoch, value: 100 * test.error })),
  );
  t.strictSame(errors, expected, 'the test error');
  const angles = metricsOf(await runs.bp())
    .filter(({ type }) => type === 'diagnostics')
    .flatMap(({ step, layers }) =>
      layers.map(({ name, gradientAngle }) => ({
        step,
        layer: name,
        value: gradientAngle,
      })),
    );
  t.ok(
    specs.some((spec) => JSON.stringify(spec.data.values) === JSON.stringify(angles)),
    'alignment, layer by layer',
  );
});

t.test('Vega draws each', async (t) => {
  const { specs } = await whole();
  for (const spec of specs) {
    const warnings: string[] = [];
    const logger = {
      warn: (...text: readonly unknown[]) => (warnings.push(text.join(' ')), logger),
      error: (...text: readonly unknown[]) => (warnings.push(text.join(' ')), logger),
      info: () => logger,
      debug: () => logger,
      level: () => logger,
    };
    const fixed = { ...spec, width: 400 } as unknown as TopLevelSpec;
    const compiled = compile(fixed, { logger });
    t.strictSame(warnings, []);
    const view = new View(parse(compiled.spec), { renderer: 'none' });
    const svg = await view.toSVG();
    view.finalize();
    const points = /class="mark-symbol role-mark[^"]*"[^>]*>(.*?)<\/g>/s.exec(svg)![1]!;
    t.equal(points.match(/<path/g)!.length, spec.data.values.length, 'a point for each value');
  }
});

t.test('results, settings, filters', async (t) => {
  const { html } = await whole();
  t.notMatch(html, /<b>&"/, 'names are escaped');
  t.match(html, /<script type="application\/json" id="charts">[^<]+<\/script>/, 'also in the charts: no tag ends them');
  t.match(html, /dtp &#60;b&#62;&#38;&#34;/);
  const [results] = html.match(/<h2>Results<\/h2>.*?<\/table>/s)!;
  const best = metricsOf(await runs.bp()).find(({ type }) => type === 'end')!.best;
  t.ok(results.includes((100 * best.test.error).toFixed(2)), 'the error of the best epoch');
  t.match(results, /2\.86/, "the paper's mnist-fc with dtp in parallel");
  t.match(html, /Bartunov et al\. 2018 .*500 epochs, the epoch chosen on the test set/);
  const [differ] = html.match(/What differs.*?<\/table>/s)!;
  t.match(differ, /<th scope="row">rule<\/th><td>bp<\/td><td>dtp<\/td><td>usf<\/td>/);
  t.notMatch(differ, /<th scope="row">batchSize/, 'what is shared is apart');
  const pictures = html.match(/<img src="data:image\/png;base64,[^"]+" alt="[^"]+"/g)!;
  t.equal(pictures.length, 1, 'a dense first layer has no filters');
  t.equal(parseNetworkSpec(lc).layers.length, 3);
  t.match(html, /filters of 4 of the 5 channels of layers\.0 at all 4 × 4 places/);
  const png = Buffer.from(/base64,([^"]+)/.exec(pictures[0])![1]!, 'base64');
  const { default: sharp } = await import('sharp');
  const { data, info } = await sharp(png).ensureAlpha().raw().toBuffer({ resolveWithObject: true });
  t.strictSame([info.width, info.height], [16 * 5 - 1, 4 * 5 - 1]);
  const { readCheckpoint } = await import('../../lib/training/checkpoint.js');
  const { parameters } = await readCheckpoint(path.join(await runs.lc(), 'best.pt'));
  const weight = parameters.get('layers.0.weight')!.data; // [4, 4, 4, 4, 1, 5]
  const at = (channel: number, row: number, column: number, y: number, x: number): number =>
    weight[(((row * 4 + column) * 4 + y) * 4 + x) * 5 + channel]!;
  for (const [channel, row, column] of [
    [0, 0, 0],
    [2, 3, 1],
  ] as const) {
    const places = [...Array(16).keys()].map((i) => [Math.floor(i / 4), i % 4] as const);
    const largest = Math.max(...places.map(([y, x]) => Math.abs(at(channel, row, column, y, x))));
    for (const [y, x] of places) {
      const pixel = data[((row * 5 + y) * info.width + (channel * 4 + column) * 5 + x) * info.channels]!;
      const expected = 127.5 + (127.5 * at(channel, row, column, y, x)) / largest;
      t.ok(Math.abs(pixel - expected) <= 1, `channel ${channel}, place ${row}, ${column}: ${y}, ${x}`);
    }
  }
});

/** A run's folder from parts, as a training of days would leave it. */
const write = (name: string, config: object, lines: readonly object[]): string =>
  writeFiles(path.join(dir, name), {
    'config.json': JSON.stringify(config),
    'metrics.jsonl': lines.map((line) => `${JSON.stringify(line)}\n`).join(''),
  });
const epochLine = (epoch: number, scores: { train: object; validation: object | null; test: object | null }) => ({
  ...{ type: 'epoch', epoch, phase: 'forward', seconds: 1, evaluationSeconds: 1, imagesPerSecond: 1000 },
  ...scores,
});
/** A row of the results by the titles of its columns. */
function resultsOf(html: string, run: string): Record<string, string> {
  const [results] = html.match(/<h2>Results<\/h2>.*?<\/table>/s)!;
  const cells = (row: string): string[] =>
    [...row.matchAll(/<t[hd][^>]*>(.*?)<\/t[hd]>/gs)].map(([, cell]) => cell!.replace(/<[^>]*>/g, ''));
  const [header, ...rows] = [...results.matchAll(/<tr>(.*?)<\/tr>/gs)].map(([, row]) => cells(row!));
  const row = rows.find(([name]) => name === run)!;
  return Object.fromEntries(header!.map((title, i) => [title, row[i]!]));
}
const captions = (html: string): string[] => [...html.matchAll(/<h3>(.*?)<\/h3>/g)].map(([, title]) => title!);

t.test('an autoencoder: errors that are no fractions', async (t) => {
  const file = path.join(dir, 'autoencoder.json');
  const layers = [{ type: 'flatten' }, { type: 'dense', units: 8, activation: 'tanh' }, { type: 'dense', units: 784 }];
  fs.writeFileSync(file, JSON.stringify({ input: [1, 28, 28], layers, loss: 'reconstruction' }));
  const run = await train('autoencoder', '--model', file, '--rule', 'bp', '--epochs', '2');
  const both = await report(await runs.bp(), run);
  const last = metricsOf(run)
    .filter(({ type }) => type === 'epoch')
    .at(-1)!;
  const shown = resultsOf(both.html, 'autoencoder');
  t.equal(shown['test, last epoch'], last.test.error.toPrecision(4), 'a mean square');
  t.match(resultsOf(both.html, 'bp')['test, last epoch'], /^\d+\.\d\d %$/);
  t.strictSame(captions(both.html).slice(0, 6), [
    ...['Test error', 'Test error of autoencoders', 'Validation error', 'Validation error of autoencoders'],
    ...['Training error', 'Training error of autoencoders'],
  ]);
  t.ok(both.specs[0]!.data.values.every(({ run: name }) => name === 'bp'));
  t.strictSame(
    both.specs[1]!.data.values.map(({ run: name, value }) => [name, value]),
    metricsOf(run)
      .filter(({ type }) => type === 'epoch')
      .map(({ test }) => ['autoencoder', test.error]),
  );
  t.match(JSON.stringify(both.specs[1]), /"title":"mean squared error"/);
  const colors = both.specs.slice(0, 2).map((spec) => JSON.stringify(spec).match(/"range":(\[.*?\])/)![1]);
  t.strictSame(colors, ['["#0072B2"]', '["#D55E00"]'], 'each run has its own colour in all charts');
});

t.test('the best epoch is chosen by validation, and one that was cut short is none', async (t) => {
  const scores = (validation: number, test: number) => ({
    train: { loss: 1, error: 0.5 },
    validation: { loss: 1, error: validation },
    test: { loss: 1, error: test },
  });
  const config = { model: 'mnist-fc', rule: 'bp', dataset: 'mnist', epochs: 4, network: smallSpec };
  const run = write('chosen', config, [
    ...[scores(0.5, 0.1), scores(0.2, 0.4), scores(0.3, 0.3)].map((one, i) => epochLine(i + 1, one)),
    { ...epochLine(4, scores(0.1, 0.05)), partial: true },
  ]);
  const runs = await readRuns([run]);
  t.strictSame(
    runs[0]!.epochs.map(({ epoch }) => epoch),
    [1, 2, 3],
  );
  t.match(resultsOf(await reportPage(runs), 'chosen'), {
    ...{ epochs: '3 of 4', 'best epoch': '2', 'validation error': '20.00 %', 'test error': '40.00 %' },
    'test, last epoch': '30.00 %',
  });
});

t.test('runs of one name are told apart by their folders', async (t) => {
  const config = { model: 'mnist-fc', rule: 'bp', dataset: 'mnist', epochs: 1, network: smallSpec };
  const named = ['one/2026/run', 'two/2026/run', 'two/2026/other'].map((name) => write(name, config, []));
  t.strictSame(
    (await readRuns(named)).map(({ name }) => name),
    ['one/2026/run', 'two/2026/run', 'other'],
  );
});

t.test('filters of a convolution, in colour', async (t) => {
  const [kh, kw, count] = [2, 3, 5];
  const spec = network({ channels: 3, height: 4, width: 5 })
    .conv2d(count, { kernel: [kh, kw] })
    .flatten()
    .dense(2)
    .softmaxCrossEntropy();
  using net = new Network(spec, { seed: 3 });
  const parameters = await net.stateDict();
  const config = { network: spec, rule: 'bp', normalization: null, seed: 3 } as const;
  const run = path.join(dir, 'coloured');
  fs.mkdirSync(run);
  const file = path.join(run, 'best.pt');
  await writeCheckpoint(file, { parameters, config, epoch: 1, step: 1, metrics: null, training: null });
  const picture = await firstFilters(run);
  const { default: sharp } = await import('sharp');
  const png = Buffer.from(picture!.url.replace('data:image/png;base64,', ''), 'base64');
  const { data, info } = await sharp(png).raw().toBuffer({ resolveWithObject: true });
  t.strictSame([info.width, info.height, info.channels], [count * (kw + 1) - 1, kh, 4]);
  const weight = parameters.get('layers.0.weight')!.data; // [out, in, k_h, k_w], as PyTorch's
  let worst = 0;
  for (let o = 0; o < count; o++) {
    const filter = weight.subarray(o * 3 * kh * kw, (o + 1) * 3 * kh * kw);
    const largest = Math.max(...filter.map(Math.abs));
    filter.forEach((value, i) => {
      const [c, y, x] = [Math.floor(i / (kh * kw)), Math.floor(i / kw) % kh, i % kw];
      const pixel = data[(y * info.width + o * (kw + 1) + x) * 4 + c]!;
      worst = Math.max(worst, Math.abs(pixel - 127.5 - (127.5 * value) / largest));
    });
  }
  t.ok(worst <= 0.501, `${worst} from the weights`);
});

t.test('published errors, and those of the five best answers', async (t) => {
  const { preset } = await import('../../lib/index.js');
  const network = preset('imagenet-conv');
  const common = { model: 'imagenet-conv', rule: 'bp', epochs: 1, network };
  const validation = { loss: 3, error: 0.7, error5: 0.4567 };
  const lines = [epochLine(1, { train: { loss: 3, error: 0.8 }, validation, test: null })];
  const own = write('imagenet', { ...common, dataset: 'imagenet', images: 'sha256:aaaa0000' }, lines);
  const other = write('photos', { ...common, dataset: 'folder', images: 'sha256:bbbb0000' }, lines);
  const { html } = await report(own, other, await runs.dtp());
  t.match(resultsOf(html, 'imagenet'), {
    ...{ 'validation top-5': '45.67 %', 'published test error': '63.93 %', 'published top-5': '40.17 %' },
    ...{ 'published train error': '–', 'train, last epoch': '80.00 %' },
  });
  t.notOk('test top-5' in resultsOf(html, 'imagenet'), 'nobody has one');
  t.match(
    resultsOf(html, 'photos'),
    { 'validation top-5': '45.67 %', 'published test error': '–', 'published top-5': '–' },
    'other images',
  );
  const dtp = Object.values(
    resultsOf(
      html,
      (await runs.dtp())
        .split('/')
        .at(-1)!
        .replace(/[<>&"]/g, (c) => `&#${c.charCodeAt(0)};`),
    ),
  );
  t.ok(dtp.includes('0.44 %'), "the paper's training error");
  t.ok(dtp.filter((cell) => cell === '–').length >= 2, 'of ten classes there are no five best');
  t.match(html, /<th scope="row">images<\/th><td>aaaa0000<\/td><td>bbbb0000<\/td>/, 'images that differ');
  const alone = (await report(await runs.bp())).html;
  t.notMatch(alone, /top-5|published train error/, 'columns that no run has are left out');

  const resnet = write(
    'resnet',
    { model: 'resnet20', rule: 'usf', dataset: 'cifar10', epochs: 1, network: preset('resnet20') },
    [
      epochLine(1, {
        train: { loss: 1, error: 0.5 },
        validation: null,
        test: { loss: 1, error: 0.5, error5: 0.1 },
      }),
    ],
  );
  const replicated = (await report(resnet)).html;
  t.match(
    replicated,
    / An independent replication of Xiao et al\. 2019, whose own numbers are not these: after its whole schedule\./,
  );
  t.notMatch(replicated, /arXiv|top-5/);
});

t.test('networks that differ show', async (t) => {
  const config = JSON.parse(fs.readFileSync(path.join(await runs.bp(), 'config.json'), 'utf8')) as {
    network: { layers: { activation?: string }[] };
  };
  config.network.layers[1]!.activation = 'relu';
  const changed = write('relu', config, metricsOf(await runs.bp()));
  const [differ] = (await report(await runs.bp(), changed)).html.match(/What differs.*?<\/table>/s)!;
  const [, a, b] = /<th scope="row">network<\/th><td>(.*?)<\/td><td>(.*?)<\/td>/.exec(differ)!;
  t.match(a, /^3 layers, 25,450 parameters, [0-9a-f]{8}$/);
  t.match(b, /^3 layers, 25,450 parameters, [0-9a-f]{8}$/);
  t.not(a, b);
});

t.test('many diagnoses are thinned', async (t) => {
  const steps = 16_000;
  const layers = Array.from({ length: 9 }, (_, i) => `layers.${i}`);
  const config = JSON.parse(fs.readFileSync(path.join(await runs.bp(), 'config.json'), 'utf8')) as object;
  const long = write('long', config, [
    ...metricsOf(await runs.bp()).filter(({ type }) => type !== 'diagnostics'),
    ...Array.from({ length: steps }, (_, i) => ({
      ...{ type: 'diagnostics', epoch: 1, step: i },
      layers: layers.map((name, l) => ({ name, gradientAngle: l + i / steps })),
    })),
  ]);
  const { html, specs } = await report(long);
  const spec = specs.find(({ data }) => data.values.some((row) => 'layer' in row))!;
  const shown = spec.data.values.filter(({ layer }) => layer === 'layers.3').map(({ step }) => Number(step));
  t.strictSame([shown.length, shown[0], shown.at(-1)], [400, 0, steps - 1]);
  const gaps = shown.slice(1).map((step, i) => step - shown[i]!);
  t.ok(Math.max(...gaps) - Math.min(...gaps) <= 1, 'evenly');
  t.equal(spec.data.values.length, 400 * layers.length);
  t.match(html, /90° is no alignment\. Of 16,000 diagnoses 400 are shown, evenly spaced\.</);
});

t.test('a checkpoint that cannot be read has a message in the place of its filters', async (t) => {
  const broken = path.join(dir, 'broken');
  fs.cpSync(await runs.lc(), broken, { recursive: true });
  const best = fs.readFileSync(path.join(broken, 'best.pt'));
  fs.writeFileSync(path.join(broken, 'best.pt'), best.subarray(0, best.length / 2));
  const { html } = await report(broken, await runs.lc());
  t.match(html, /<b>broken\.<\/b> There is no picture: .*best\.pt/);
  t.equal(html.match(/<img src="data:image\/png/g)!.length, 1, 'the other run has its picture');
});

t.test('the first layer with weights above a batch norm', async (t) => {
  const file = path.join(dir, 'normed.json');
  const layers = [
    { type: 'batch-norm' },
    { type: 'conv2d', channels: 3, kernel: 5, stride: 4 },
    { type: 'flatten' },
    { type: 'dense', units: 10 },
  ];
  fs.writeFileSync(file, JSON.stringify({ input: [1, 28, 28], layers }));
  const run = await train('normed', '--model', file, '--epochs', '1');
  t.match((await report(run)).html, /The 3 filters of layers\.1, 5 × 5, after epoch 1/);
});

t.test('a folder that is named twice is one run', async (t) => {
  const out = path.join(dir, 'twice.html');
  const twice = [
    'report',
    await runs.bp(),
    `${await runs.bp()}/`,
    path.relative(process.cwd(), await runs.bp()),
    '--out',
    out,
  ];
  const { code, lines, stderr } = await cortorch([...twice, '--json']);
  t.equal(code, 0, stderr);
  t.match(lines, [{ type: 'report', runs: 1 }]);
});

t.test('unfinished runs, and folders that are none', async (t) => {
  const cut = path.join(dir, 'cut');
  fs.mkdirSync(cut);
  fs.copyFileSync(path.join(await runs.bp(), 'config.json'), path.join(cut, 'config.json'));
  const [start, ...rest] = fs.readFileSync(path.join(await runs.bp(), 'metrics.jsonl'), 'utf8').split('\n');
  fs.writeFileSync(path.join(cut, 'metrics.jsonl'), `${start}\n`);
  t.match((await report(cut)).html, /No epoch is complete yet/);
  fs.writeFileSync(path.join(cut, 'metrics.jsonl'), [start, ...rest].join('\n').slice(0, -60));
  t.equal((await report(cut)).specs[0]!.data.values.length, 3, 'without its last line');
  for (const [folders, message] of [
    [[path.join(dir, 'data')], /data is not the folder of a run: it has no config\.json; name one/],
    [[await runs.bp(), path.join(dir, 'nowhere')], /nowhere is not the folder of a run/],
  ] as const) {
    const failed = await cortorch(['report', ...folders]);
    t.equal(failed.code, 1);
    t.match(failed.stderr, message);
  }
  const usage = await cortorch(['report']);
  t.equal(usage.code, 2);
  t.match(usage.stderr, /RUN is missing/);
  const unwritable = await cortorch(['report', await runs.bp(), '--out', path.join(dir, 'no/such/report.html')]);
  t.equal(unwritable.code, 1);
  t.match(unwritable.stderr, /ERR_WRITE_FAILED|cannot write/);
});

const CHROMIUM = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find((file) =>
  fs.existsSync(file),
);

t.test(
  'in a browser',
  { skip: CHROMIUM === undefined && 'there is no Chromium (apt-get install chromium)', timeout: 120_000 },
  async (t) => {
    const { chromium } = await import('playwright-core');
    const { folders, specs } = await whole();
    await report(...folders);
    const args = ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update'];
    const browser = await chromium.launch({ executablePath: CHROMIUM!, args });
    t.teardown(() => browser.close());
    for (const [width, colorScheme] of [
      [1280, 'light'],
      [360, 'dark'],
    ] as const) {
      const page = await browser.newPage({ viewport: { width, height: 800 }, colorScheme });
      const problems: string[] = [];
      page.on('console', (message) => void problems.push(message.text()));
      page.on('pageerror', (error) => void problems.push(error.message));
      page.on('request', (request) => {
        if (!/^(file|data|blob):/.test(request.url())) problems.push(request.url());
      });
      await page.goto(pathToFileURL(path.join(dir, 'report.html')).href);
      await page.waitForFunction(
        `document.querySelectorAll('.chart svg').length === document.querySelectorAll('.chart').length`,
      );
      const size = await page.evaluate<{ overflow: number; charts: number; narrowest: number }>(`({
        overflow: document.documentElement.scrollWidth - innerWidth,
        charts: document.querySelectorAll('.chart svg').length,
        narrowest: Math.min(...[...document.querySelectorAll('.chart svg')].map((svg) => svg.getBoundingClientRect().width)),
      })`);
      t.strictSame(problems, [], `${width}: no errors, nothing from a network`);
      t.equal(size.charts, specs.length);
      t.ok(size.overflow <= 0, `${width}: the page does not scroll sideways`);
      t.ok(size.narrowest > Math.min(width, 400) * 0.75, `${width}: the charts take their room`);
      await page.close();
    }
  },
);
