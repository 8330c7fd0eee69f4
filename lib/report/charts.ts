/** The curves of a report, as specifications of Vega-Lite. */

import { integer } from '../format.js';
import type { LayerDiagnosis } from '../native.js';
import type { ReportRun } from './runs.js';

export interface Chart {
  readonly title: string;
  /** One sentence: what is shown. */
  readonly caption: string;
  readonly spec: Readonly<Record<string, unknown>>;
}

/** One for each run, everywhere: colours of Okabe and Ito's and of Tol's sets, which the colour-blind tell apart. */
const COLORS = [
  ...['#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9'],
  ...['#8C6D31', '#7F7F7F', '#882255', '#44AA99', '#999933', '#6A5ACD'],
];

export const colorOf = (index: number): string => COLORS[index % COLORS.length]!;

type Row = Readonly<Record<string, string | number>>;

const axis = (title: string) => ({ title, grid: true, tickCount: 6 });

/** Ink is the page's, light or dark. */
const config = {
  background: null,
  font: 'system-ui, sans-serif',
  view: { stroke: null },
  axis: {
    labelColor: 'currentColor',
    titleColor: 'currentColor',
    domainColor: 'currentColor',
    tickColor: 'currentColor',
    gridColor: 'currentColor',
    gridOpacity: 0.12,
  },
  legend: {
    labelColor: 'currentColor',
    titleColor: 'currentColor',
    orient: 'bottom',
    columns: 3,
    symbolType: 'stroke',
  },
};

function lines(
  rows: readonly Row[],
  x: { readonly field: string; readonly title: string },
  y: { readonly title: string; readonly scale?: object },
  color: object,
): Chart['spec'] {
  return {
    $schema: 'https://vega.github.io/schema/vega-lite/v6.json',
    width: 'container',
    height: 240,
    autosize: { type: 'fit-x', contains: 'padding' },
    data: { values: rows },
    mark: { type: 'line', point: { size: 18 }, strokeWidth: 1.8, clip: true, tooltip: true },
    encoding: {
      x: { field: x.field, type: 'quantitative', axis: { ...axis(x.title), format: '~s' } },
      y: { field: 'value', type: 'quantitative', axis: axis(y.title), scale: y.scale ?? { zero: false } },
      color,
    },
    config,
  };
}

type Epoch = ReportRun['epochs'][number];

/**
 * Errors and losses of all runs together, by epoch; those of autoencoders, which are other quantities, by themselves.
 */
export function learningCurves(runs: readonly ReportRun[]): readonly Chart[] {
  const chart = (
    title: string,
    caption: string,
    yTitle: string,
    value: (epoch: Epoch) => number | null | undefined,
    drawn = runs,
  ): Chart[] => {
    const color = {
      field: 'run',
      type: 'nominal',
      title: null,
      sort: null,
      scale: {
        domain: drawn.map(({ name }) => name),
        range: drawn.map((run) => colorOf(runs.indexOf(run))),
      },
    };
    const rows = drawn.flatMap(({ name, epochs }) =>
      epochs.flatMap((epoch) => {
        const y = value(epoch);
        return typeof y === 'number' ? [{ run: name, epoch: epoch.epoch, value: y }] : [];
      }),
    );
    if (rows.length === 0) return [];
    return [{ title, caption, spec: lines(rows, { field: 'epoch', title: 'epoch' }, { title: yTitle }, color) }];
  };
  const classifiers = runs.filter(({ isAutoencoder }) => !isAutoencoder);
  const autoencoders = runs.filter(({ isAutoencoder }) => isAutoencoder);
  const errors = (title: string, caption: string, error: (epoch: Epoch) => number | undefined): Chart[] => [
    ...chart(
      title,
      caption,
      'error, %',
      (epoch) => {
        const fraction = error(epoch);
        return fraction === undefined ? null : 100 * fraction;
      },
      classifiers,
    ),
    ...chart(`${title} of autoencoders`, caption, 'mean squared error', error, autoencoders),
  ];
  const ofBatches = 'Of the batches of the epoch, each before its update.';
  const loss = ({ train }: Epoch): number => train.loss;
  return [
    ...errors('Test error', 'After each epoch; nothing is chosen by it.', ({ test }) => test?.error),
    ...errors(
      'Validation error',
      'After each epoch, on images held out of the training set.',
      ({ validation }) => validation?.error,
    ),
    ...errors('Training error', ofBatches, ({ train }) => train.error),
    ...chart('Training loss', ofBatches, 'loss', loss, classifiers),
    ...chart('Training loss of autoencoders', ofBatches, 'squared error, summed', loss, autoencoders),
    ...chart(
      'Loss of the inverses',
      'The local losses of the learned inverses, summed, in the epochs that train them.',
      'loss',
      ({ train }) => train.inverseLoss,
    ),
  ];
}

const DIAGNOSES = [
  [
    'gradientAngle',
    'angle to the gradient of backpropagation',
    "Between each layer's weight gradient under the rule and that of backpropagation on the same batch; 90° is no alignment.",
    'degrees',
  ],
  [
    'feedbackAngle',
    'angle between feedback and weights',
    'Between the weights by which the error goes down and the forward weights.',
    'degrees',
  ],
  [
    'feedbackNormRatio',
    'size of the feedback',
    'Norm of the weights by which the error goes down, over that of the forward weights.',
    'ratio',
  ],
  [
    'targetAngle',
    'angle of the targets',
    'Between h − ĥ, a layer’s activity less its target, and the gradient of the loss with respect to h; 0° is steepest descent.',
    'degrees',
  ],
  [
    'reconstructionError',
    'error of the inverses',
    '‖h − g(f(h))‖² / ‖h‖²: what is lost on the way up a layer and back by its learned inverse.',
    'fraction',
  ],
] as const satisfies readonly (readonly [keyof LayerDiagnosis, string, string, string])[];

/**
 * Most steps of a curve: about one for each pixel of a chart. More would only make a page that browsers cannot open.
 */
const MOST_STEPS = 400;

/** Each run's own, layer by layer. */
export function alignmentCurves(run: ReportRun): readonly Chart[] {
  const all = run.diagnoses;
  const shown = Math.min(all.length, MOST_STEPS);
  const diagnoses =
    shown === all.length
      ? all
      : Array.from({ length: shown }, (_, i) => all[Math.round((i * (all.length - 1)) / (shown - 1))]!);
  const thinned = shown === all.length ? '' : ` Of ${integer(all.length)} diagnoses ${shown} are shown, evenly spaced.`;
  return DIAGNOSES.flatMap(([key, what, caption, unit]): Chart[] => {
    const rows = diagnoses.flatMap(({ step, layers }) =>
      layers.flatMap((layer) => {
        const value = layer[key];
        return value === undefined ? [] : [{ step, layer: layer.name, value }];
      }),
    );
    if (rows.length === 0) return [];
    const names = [...new Set(rows.map(({ layer }) => layer))];
    const color = { field: 'layer', type: 'ordinal', sort: names, title: null, scale: { scheme: 'viridis' } };
    const largest = rows.reduce((most, { value }) => Math.max(most, value), 90);
    const scale = unit === 'degrees' ? { domain: [0, largest] } : { zero: true };
    const spec = lines(rows, { field: 'step', title: 'step' }, { title: unit, scale }, color);
    return [{ title: `${run.name}: ${what}`, caption: caption + thinned, spec }];
  });
}
