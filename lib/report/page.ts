/** A report as one HTML file that needs nothing else: scripts, charts and pictures are in it. */

import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { errorFormat, integer, percent, plural } from '../format.js';
import { CortorchError, isPlainObject } from '../errors.js';
import { alignmentCurves, colorOf, learningCurves, type Chart } from './charts.js';
import { firstFilters, type Picture } from './filters.js';
import type { ReportRun } from './runs.js';

export async function reportPage(runs: readonly ReportRun[]): Promise<string> {
  const charts = [...learningCurves(runs)];
  const alignment = runs.flatMap(alignmentCurves);
  const filters: string[] = [];
  for (const run of runs) filters.push(...(await filtersOf(run))); // one after another: each has a checkpoint open
  const title = runs.length === 1 ? runs[0]!.name : `${runs.length} runs`;
  const body = [
    `<h1>cortorch: ${escape(title)}</h1>`,
    section('Results', resultsTable(runs)),
    section('Learning curves', charts.length === 0 ? '<p>No epoch is complete yet.</p>' : grid(charts, 0)),
    ...(alignment.length > 0 ? [section('Alignment', grid(alignment, charts.length))] : []),
    ...(filters.length > 0 ? [section('First-layer filters', `<div class="grid">${filters.join('')}</div>`)] : []),
    section('Settings', settingsTables(runs)),
  ];
  const specs = [...charts, ...alignment].map(({ spec }) => spec);
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>cortorch: ${escape(title)}</title>
<link rel="icon" href="data:,">
<style>${STYLE}</style>
</head>
<body>
<main>
${body.join('\n')}
</main>
<script type="application/json" id="charts">${JSON.stringify(specs).replaceAll('<', '\\u003c')}</script>
${(await scripts()).map((script) => `<script>${script}</script>`).join('\n')}
<script>
JSON.parse(document.getElementById('charts').textContent).forEach(function (spec, i) {
  vegaEmbed('#chart' + i, spec, { renderer: 'svg', actions: false }).catch(function (error) {
    document.getElementById('chart' + i).textContent = String(error);
    throw error;
  });
});
</script>
</body>
</html>
`;
}

/** None where the first layer has none; what is wrong with a run's checkpoint stands in the place of its own. */
async function filtersOf({ name, path }: ReportRun): Promise<readonly string[]> {
  const figure = (picture: string, caption: string): string =>
    `<figure>${picture}<figcaption><b>${escape(name)}.</b> ${escape(caption)}</figcaption></figure>`;
  try {
    const picture = await firstFilters(path);
    if (picture === null) return [];
    const { url, caption } = picture;
    const style = `width:min(100%,${enlarged(picture)}px)`;
    return [figure(`<img src="${url}" alt="${escape(caption)}" style="${style}">`, caption)];
  } catch (error) {
    if (!(error instanceof CortorchError)) throw error;
    return [figure('', `There is no picture: ${error.message}`)];
  }
}

/** By a whole factor, to about the width of a chart. */
const enlarged = ({ width }: Picture): number => width * Math.max(1, Math.min(12, Math.floor(480 / width)));

const section = (title: string, content: string): string => `<section><h2>${title}</h2>${content}</section>`;

const grid = (charts: readonly Chart[], first: number): string =>
  `<div class="grid">${charts
    .map(
      ({ title, caption }, i) =>
        `<figure><h3>${escape(title)}</h3><div class="chart" id="chart${first + i}" role="img" aria-label="${escape(`${title}. ${caption}`)}"></div>` +
        `<figcaption>${escape(caption)}</figcaption></figure>`,
    )
    .join('')}</div>`;

const escape = (text: string): string => text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);

type Cell = string | { readonly html: string };

function table(header: readonly string[], rows: readonly (readonly Cell[])[]): string {
  const cell = (content: Cell): string => (typeof content === 'string' ? escape(content) : content.html);
  const head = header.map((name) => `<th scope="col">${escape(name)}</th>`).join('');
  const body = rows.map((row) => {
    const [first, ...rest] = row.map(cell);
    return `<tr><th scope="row">${first}</th>${rest.map((content) => `<td>${content}</td>`).join('')}</tr>`;
  });
  // A box that scrolls can be reached by keyboard.
  return `<div class="scroll" tabindex="0"><table><thead><tr>${head}</tr></thead><tbody>${body.join('')}</tbody></table></div>`;
}

const text = (value: unknown): string =>
  value === undefined ? '–' : typeof value === 'string' ? value : JSON.stringify(value);

/** By the validation error; without validation the last epoch is as good as any. Never by the test error. */
function bestOf({ epochs }: ReportRun): ReportRun['epochs'][number] | undefined {
  const validated = epochs.filter(({ validation }) => validation !== null);
  if (validated.length === 0) return epochs.at(-1);
  return validated.reduce((best, epoch) => (epoch.validation!.error < best.validation!.error ? epoch : best));
}

interface Column {
  readonly title: string;
  readonly cell: (run: ReportRun, index: number) => Cell;
  /** Left out of a table in which no run has it. */
  readonly of?: (run: ReportRun) => boolean;
}

/** From so many classes on, the error of the five best answers is usual beside that of the best. */
const TOP5_CLASSES = 100;

type Part = 'validation' | 'test';

/** Errors as a run counts them; those of an autoencoder are mean squares. */
const errorOf = ({ isAutoencoder }: ReportRun, error: number | null | undefined): string =>
  typeof error === 'number'
    ? errorFormat({ loss: isAutoencoder ? 'reconstruction' : 'softmax-cross-entropy' })(error)
    : '–';

const publishedOf = (error: number | null | undefined): string =>
  typeof error === 'number' ? percent(error / 100) : '–';

const top5Of =
  (part: Part) =>
  (run: ReportRun): number | null =>
    (run.outputs ?? 0) >= TOP5_CLASSES ? (bestOf(run)?.[part]?.error5 ?? null) : null;

const top5 = (part: Part): Column => ({
  title: `${part} top-5`,
  cell: (run) => errorOf(run, top5Of(part)(run)),
  of: (run) => top5Of(part)(run) !== null,
});

const COLUMNS: readonly Column[] = [
  {
    title: 'run',
    cell: ({ name }, i) => ({
      html: `<span class="mark" style="background:${colorOf(i)}"></span>${escape(name)}`,
    }),
  },
  { title: 'model', cell: ({ config }) => text(config['model']) },
  {
    title: 'rule',
    cell: ({ config }) =>
      [config['rule'], config['schedule']]
        .filter((part) => part !== undefined)
        .map(text)
        .join(', '),
  },
  { title: 'data', cell: ({ config }) => text(config['dataset']) },
  { title: 'parameters', cell: ({ parameters }) => (parameters === null ? '–' : integer(parameters)) },
  { title: 'epochs', cell: ({ epochs, config }) => `${epochs.length} of ${text(config['epochs'])}` },
  { title: 'best epoch', cell: (run) => String(bestOf(run)?.epoch ?? '–') },
  { title: 'validation error', cell: (run) => errorOf(run, bestOf(run)?.validation?.error) },
  top5('validation'),
  { title: 'test error', cell: (run) => errorOf(run, bestOf(run)?.test?.error) },
  top5('test'),
  { title: 'test, last epoch', cell: (run) => errorOf(run, run.epochs.at(-1)?.test?.error) },
  { title: 'train, last epoch', cell: (run) => errorOf(run, run.epochs.at(-1)?.train.error) },
  {
    title: 'published train error',
    cell: ({ published }) => publishedOf(published?.errors.train),
    of: ({ published }) => typeof published?.errors.train === 'number',
  },
  {
    title: 'images/s',
    cell: ({ epochs }) => (epochs.length === 0 ? '–' : integer(epochs.at(-1)!.imagesPerSecond)),
  },
  { title: 'published test error', cell: ({ published }) => publishedOf(published?.errors.test) },
  {
    title: 'published top-5',
    cell: ({ published }) => publishedOf(published?.errors.test5),
    of: (run) =>
      run.published?.errors.test5 !== undefined &&
      (['validation', 'test'] as const).some((part) => top5Of(part)(run) !== null),
  },
];

function resultsTable(runs: readonly ReportRun[]): string {
  const columns = COLUMNS.filter(({ of }) => of === undefined || runs.some(of));
  const header = columns.map(({ title }) => title);
  const rows = runs.map((run, i) => columns.map(({ cell }) => cell(run, i)));
  const sources = [...new Set(runs.flatMap(({ published }) => (published ? [published.source] : [])))];
  const notes = sources.map((source) =>
    source.startsWith('Bartunov')
      ? `${source} (arXiv 1807.04587): after 500 epochs, the epoch chosen on the test set; ImageNet: top-1.`
      : `${source}: after its whole schedule.`,
  );
  const chosen = 'The best epoch has the smallest validation error; without validation it is the last.';
  const published = notes.length === 0 ? '' : ` Published errors: ${notes.join(' ')}`;
  return `${table(header, rows)}<p class="note">${escape(chosen + published)}</p>`;
}

/** What has a place of its own. */
const NOT_SETTINGS = new Set(['versions']);

/** A value of a run's settings; of what would fill the page, what tells it from another. */
function settingOf({ config, parameters }: ReportRun, name: string): string {
  const value = config[name];
  if (name === 'images' && typeof value === 'string') return value.replace(/^\w+:/, '').slice(0, 8);
  if (name !== 'network' || !isPlainObject(value)) return text(value);
  const digest = createHash('sha256').update(JSON.stringify(value)).digest('hex').slice(0, 8);
  const layers = Array.isArray(value['layers']) ? [plural(value['layers'].length, 'layer')] : [];
  const counted = parameters === null ? [] : [plural(parameters, 'parameter')];
  return [...layers, ...counted, digest].join(', ');
}

function settingsTables(runs: readonly ReportRun[]): string {
  const names = [...new Set(runs.flatMap(({ config }) => Object.keys(config)))].filter(
    (name) => !NOT_SETTINGS.has(name),
  );
  const valuesOf = (name: string): string[] => runs.map((run) => settingOf(run, name));
  const differ = names.filter((name) => new Set(valuesOf(name)).size > 1);
  const shared = names.filter((name) => !differ.includes(name));
  const versions = runs.map(({ config }) =>
    text(
      config['versions'] &&
        Object.entries(config['versions'])
          .map(([what, of]) => `${what} ${String(of)}`)
          .join(', '),
    ),
  );
  const header = ['setting', ...runs.map(({ name }) => name)];
  const different =
    differ.length > 0
      ? table(header, [...differ.map((name) => [name, ...valuesOf(name)]), ['versions', ...versions]])
      : '';
  const same = table(
    ['setting', 'value'],
    shared.map((name) => [name, settingOf(runs[0]!, name)]),
  );
  const summary = runs.length === 1 ? 'All settings' : 'Settings that all runs share';
  const intro = runs.length > 1 && differ.length > 0 ? '<p>What differs between the runs:</p>' : '';
  return `${runs.length > 1 ? intro + different : ''}<details><summary>${summary}</summary>${same}</details>`;
}

/**
 * The browser builds of Vega, Vega-Lite and Vega-Embed, which only the report needs.
 * @throws CortorchError ERR_DEPENDENCIES
 */
async function scripts(): Promise<readonly string[]> {
  return Promise.all(
    ['vega', 'vega-lite', 'vega-embed'].map(async (name) => {
      const code = await readFile(join(dirname(packageFile(name)), `${name}.min.js`), 'utf8');
      return code.replaceAll('</script', '<\\/script').replace(/^\/\/# sourceMappingURL=.*$/gm, '');
    }),
  );
}

function packageFile(name: string): string {
  try {
    return createRequire(import.meta.url).resolve(name);
  } catch (cause) {
    throw new CortorchError(
      'ERR_DEPENDENCIES',
      `the npm package ${name}, which draws the report, is not installed; npm install vega vega-lite vega-embed`,
      { cause },
    );
  }
}

const STYLE = `
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #fff; --line: #d5dae0; --soft: #5b6570; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ec; --paper: #15181c; --line: #363c44; --soft: #9aa4af; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1200px; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin: 2rem 0 .75rem; } h3 { font-size: 1rem; margin: 0 0 .25rem; }
h1, h3 { overflow-wrap: anywhere; }
.grid { display: grid; gap: 1.5rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); }
figure { margin: 0; min-width: 0; } figcaption, .note { color: var(--soft); font-size: .85rem; }
.chart { width: 100%; min-height: 240px; }
img { display: block; image-rendering: pixelated; max-width: 100%; height: auto; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .3rem .7rem; border-bottom: 1px solid var(--line); vertical-align: bottom; }
td { white-space: nowrap; } th:first-child { text-align: left; min-width: 7rem; max-width: 16rem; overflow-wrap: break-word; } tbody th { font-weight: 600; }
.mark { display: inline-block; width: .7rem; height: .7rem; border-radius: 50%; margin-right: .4rem; }
summary { cursor: pointer; padding: .5rem 0; }
`;
