/** The filters of a run's first layer, as a picture. */

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { loadSharp } from '../data/sharp.js';
import { isMap, isParametric } from '../model/layers.js';
import { placeLayers } from '../model/shapes.js';
import { readParameterOf } from '../training/checkpoint.js';

export interface Picture {
  /** A PNG as a data URL. */
  readonly url: string;
  readonly width: number;
  readonly height: number;
  readonly caption: string;
}

/** Most filters of a convolution, and most channels of a locally connected layer, that are shown. */
const FILTERS = 64;
const CHANNELS = 4;
const COLUMNS = 16;

/** One filter: k_h × k_w × in values, in any order of memory. */
interface Filter {
  /** The value at a place of a channel of the input. */
  at(y: number, x: number, channel: number): number;
}

/**
 * @returns null: there is no checkpoint yet, or the first layer has no filters of grey or colour images
 * @throws CortorchError as {@link readParameterOf}; ERR_DEPENDENCIES
 */
export async function firstFilters(folder: string): Promise<Picture | null> {
  const file = ['best.pt', 'last.pt'].map((name) => join(folder, name)).find((path) => existsSync(path));
  if (file === undefined) return null;
  const found = await readParameterOf(file, ({ network }) => {
    const placed = placeLayers(network);
    const { layer, input, output } = placed.find((one) => isMap(one.layer))!;
    if (layer.type !== 'conv2d' && layer.type !== 'locally-connected2d') return null;
    const channels = input[0]!;
    if (channels !== 1 && channels !== 3) return null;
    // A batch norm may lie below.
    const number = placed.filter((one) => isParametric(one.layer)).findIndex((one) => one.layer === layer);
    const name = layer.name ?? `layers.${number}`;
    return { parameter: `${name}.weight`, name, layer, channels, output };
  });
  if (found === null) return null;
  const { name, layer, channels, output, epoch } = found;
  const { data } = found.value;
  const [kh, kw] = layer.kernel;
  const size = { height: kh, width: kw, channels };
  const after = `after epoch ${epoch}`;
  const scaled = 'each scaled by its own largest weight, grey is zero';
  if (layer.type === 'conv2d') {
    const count = Math.min(FILTERS, layer.channels);
    const filters = Array.from({ length: count }, (_, o): Filter => ({
      at: (y, x, c) => data[((o * channels + c) * kh + y) * kw + x]!,
    }));
    const rows = Math.ceil(count / COLUMNS);
    const of = count < layer.channels ? `${count} of the ${layer.channels}` : `The ${count}`;
    const caption = `${of} filters of ${name}, ${kh} × ${kw}, ${after}; ${scaled}.`;
    return { ...(await draw(filters, rows, Math.min(COLUMNS, count), size)), caption };
  }
  // Places as they lie in the image, one output channel beside the other.
  const [, rows, columns] = output as readonly [number, number, number];
  const shown = Math.min(CHANNELS, layer.channels);
  const filters = Array.from({ length: shown * rows * columns }, (_, i): Filter => {
    const [row, column] = [Math.floor(i / (shown * columns)), i % (shown * columns)];
    const o = Math.floor(column / columns);
    const place = row * columns + (column % columns);
    return { at: (y, x, c) => data[(((place * kh + y) * kw + x) * channels + c) * layer.channels + o]! };
  });
  const caption =
    `The filters of ${shown} of the ${layer.channels} channels of ${name} at all ${rows} × ${columns} places, ` +
    `one channel beside the other, ${kh} × ${kw} each, ${after}; ${scaled}.`;
  return { ...(await draw(filters, rows, shown * columns, size)), caption };
}

/** A grid of filters with a line of nothing between them. */
async function draw(
  filters: readonly Filter[],
  rows: number,
  columns: number,
  { height, width, channels }: { readonly height: number; readonly width: number; readonly channels: number },
): Promise<Omit<Picture, 'caption'>> {
  const [h, w] = [rows * (height + 1) - 1, columns * (width + 1) - 1];
  const pixels = Buffer.alloc(h * w * 4); // transparent
  for (const [i, filter] of filters.entries()) {
    const [top, left] = [Math.floor(i / columns) * (height + 1), (i % columns) * (width + 1)];
    let largest = 0;
    const each = (visit: (value: number, y: number, x: number, c: number) => void): void => {
      for (let y = 0; y < height; y++)
        for (let x = 0; x < width; x++) for (let c = 0; c < channels; c++) visit(filter.at(y, x, c), y, x, c);
    };
    each((value) => (largest = Math.max(largest, Math.abs(value))));
    each((value, y, x, c) => {
      const at = ((top + y) * w + left + x) * 4;
      const grey = Math.round(127.5 + (largest > 0 ? (127.5 * value) / largest : 0));
      if (channels === 1) pixels.fill(grey, at, at + 3);
      else pixels[at + c] = grey;
      pixels[at + 3] = 255;
    });
  }
  const sharp = await loadSharp();
  const png = await sharp(pixels, { raw: { width: w, height: h, channels: 4 } })
    .png()
    .toBuffer();
  return { url: `data:image/png;base64,${png.toString('base64')}`, width: w, height: h };
}
