/** `cortorch report`: what the page holds, that its charts are right, and that a browser opens it without a network. */
import fs from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import t from 'tap';
import { parse, View } from 'vega';
import { compile, type TopLevelSpec } from 'vega-lite';
import { cortorch, metricsOf, smallSpec, writeTinyData } from './support/cli.js';

const dir = t.testdir({});
const dataDir = writeTinyData(path.join(dir, 'data'));

interface ChartSpec {
  readonly data: { readonly values: readonly Record<string, number | string>[] };
}

async function train(name: string, ...flags: string[]): Promise<string> {
  const out = path.join(dir, name);
  const common = ['--dataset', 'mnist', '--data-dir', dataDir, '--validation', '100', '--batch-size', '50'];
  const { code, stderr } = await cortorch(['train', ...common, '--threads', '1', '--out', out, ...flags]);
  t.equal(code, 0, stderr);
  return out;
}

async function report(...args: string[]): Promise<{ html: string; specs: readonly ChartSpec[] }> {
  const out = path.join(dir, 'report.html');
  const { code, stderr } = await cortorch(['report', ...args, '--out', out]);
  t.equal(code, 0, stderr);
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
const lcSpec = await (await import('../lib/model/spec.js')).parseNetworkSpec(lc);
t.equal(lcSpec.layers.length, 3);

const runs = [
  await train('bp', '--model', specFile, '--rule', 'bp', '--epochs', '3', '--diagnostics', '7'),
  await train('dtp <b>&"', '--model', 'mnist-fc', '--rule', 'dtp', '--epochs', '2', '--diagnostics', '7'),
  await train('lc', '--model', lcFile, '--rule', 'usf', '--epochs', '2', '--lr', '0.01'),
];
const { html, specs } = await report(...runs);

t.test('curves are those of the metrics', async (t) => {
  const errors = specs[0]!.data.values;
  const expected = runs.flatMap((run) =>
    metricsOf(run)
      .filter(({ type }) => type === 'epoch')
      .map(({ epoch, test }) => ({ run: path.basename(run), epoch, value: 100 * test.error })),
  );
  t.strictSame(errors, expected, 'the test error');
  const angles = metricsOf(runs[0]!)
    .filter(({ type }) => type === 'diagnostics')
    .flatMap(({ step, layers }) =>
      layers.map(({ name, gradientAngle }: { name: string; gradientAngle: number }) => ({
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
    const compiled = compile(fixed, { logger: logger as never });
    t.strictSame(warnings, []);
    const view = new View(parse(compiled.spec), { renderer: 'none' });
    const svg = await view.toSVG();
    view.finalize();
    const points = /class="mark-symbol role-mark[^"]*"[^>]*>(.*?)<\/g>/s.exec(svg)![1]!;
    t.equal(points.match(/<path/g)!.length, spec.data.values.length, 'a point for each value');
  }
});

t.test('results, settings, filters', async (t) => {
  t.notMatch(html, /<b>&"/, 'names are escaped');
  t.match(html, /dtp &#60;b&#62;&#38;&#34;/);
  const [results] = html.match(/<h2>Results<\/h2>.*?<\/table>/s)!;
  const best = metricsOf(runs[0]!).find(({ type }) => type === 'end')!.best;
  t.ok(results!.includes(`${(100 * best.test.error).toFixed(2)}`), 'the error of the best epoch');
  t.match(results, /2\.86/, "the paper's mnist-fc with dtp in parallel");
  t.match(html, /Bartunov et al\. 2018 .*500 epochs, the epoch chosen on the test set/);
  const [differ] = html.match(/What differs.*?<\/table>/s)!;
  t.match(differ, /<th scope="row">rule<\/th><td>bp<\/td><td>dtp<\/td><td>usf<\/td>/);
  t.notMatch(differ, /<th scope="row">batchSize/, 'what is shared is apart');
  const pictures = html.match(/<img src="data:image\/png;base64,[^"]+" alt="[^"]+"/g)!;
  t.equal(pictures.length, 1, 'a dense first layer has no filters');
  t.match(html, /filters of 4 of the 5 channels of layers\.0 at all 4 × 4 places/);
  const png = Buffer.from(/base64,([^"]+)/.exec(pictures[0]!)![1]!, 'base64');
  const { default: sharp } = await import('sharp');
  const { data, info } = await sharp(png).ensureAlpha().raw().toBuffer({ resolveWithObject: true });
  t.strictSame([info.width, info.height], [16 * 5 - 1, 4 * 5 - 1]);
  const { readCheckpoint } = await import('../lib/training/checkpoint.js');
  const { parameters } = await readCheckpoint(path.join(runs[2]!, 'best.pt'));
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

t.test('unfinished runs, and folders that are none', async (t) => {
  const cut = path.join(dir, 'cut');
  fs.mkdirSync(cut);
  fs.copyFileSync(path.join(runs[0]!, 'config.json'), path.join(cut, 'config.json'));
  const [start, ...rest] = fs.readFileSync(path.join(runs[0]!, 'metrics.jsonl'), 'utf8').split('\n');
  fs.writeFileSync(path.join(cut, 'metrics.jsonl'), `${start}\n`);
  t.match((await report(cut)).html, /No epoch is complete yet/);
  fs.writeFileSync(path.join(cut, 'metrics.jsonl'), [start, ...rest].join('\n').slice(0, -60));
  t.equal((await report(cut)).specs[0]!.data.values.length, 3, 'without its last line');
  for (const [folders, message] of [
    [[path.join(dir, 'data')], /data is not the folder of a run: it has no config\.json; name one/],
    [[runs[0]!, path.join(dir, 'nowhere')], /nowhere is not the folder of a run/],
  ] as const) {
    const failed = await cortorch(['report', ...folders]);
    t.equal(failed.code, 1);
    t.match(failed.stderr, message);
  }
  const usage = await cortorch(['report']);
  t.equal(usage.code, 2);
  t.match(usage.stderr, /RUN is missing/);
  const unwritable = await cortorch(['report', runs[0]!, '--out', path.join(dir, 'no/such/report.html')]);
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
    await report(...runs);
    const args = [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-background-networking',
      '--disable-component-update',
    ];
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
