/** The locally connected networks of the paper (Bartunov et al. 2018, Table 3) and what they cost at least. */

/** A layer with `same` padding, as the Python sides want it. */
export interface Layer {
  readonly batch: number;
  readonly channels: number;
  readonly height: number;
  readonly width: number;
  readonly kernel: number;
  readonly out: number;
  readonly stride: number;
}

export const NETWORKS = ['mnist', 'cifar10', 'imagenet'] as const;
export type NetworkName = (typeof NETWORKS)[number];

interface Architecture {
  /** [channels, height, width] */
  readonly input: readonly [number, number, number];
  /** [kernel, out, stride] */
  readonly local: readonly (readonly [number, number, number])[];
  /** Units. */
  readonly dense: readonly number[];
}

const ARCHITECTURES: Record<NetworkName, Architecture> = {
  mnist: {
    input: [1, 28, 28],
    local: [
      [3, 32, 2],
      [3, 64, 2],
    ],
    dense: [1024, 10],
  },
  cifar10: {
    input: [3, 32, 32],
    local: [
      [5, 64, 2],
      [5, 128, 2],
      [3, 256, 1],
    ],
    dense: [1024, 10],
  },
  imagenet: {
    input: [3, 224, 224],
    local: [
      [9, 48, 4],
      [3, 48, 2],
      [5, 96, 1],
      [3, 96, 2],
      [3, 192, 1],
      [3, 192, 2],
      [3, 384, 1],
    ],
    dense: [1000],
  },
};

export function layersOf(name: NetworkName, batch: number): Layer[] {
  const { input, local } = ARCHITECTURES[name];
  let [channels, height, width] = input;
  return local.map(([kernel, out, stride]) => {
    const layer = { batch, channels, height, width, kernel, out, stride };
    [channels, height, width] = [out, ...placesOf(layer)];
    return layer;
  });
}

/** The sizes of the dense layers on top, their input first. */
export function denseOf(name: NetworkName): number[] {
  const last = layersOf(name, 1).at(-1)!;
  return [last.out * count(placesOf(last)), ...ARCHITECTURES[name].dense];
}

const count = (sizes: readonly number[]) => sizes.reduce((a, b) => a * b, 1);
const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);

export function placesOf({ height, width, stride }: Layer): [number, number] {
  return [Math.floor((height - 1) / stride) + 1, Math.floor((width - 1) / stride) + 1];
}

/** "32×14×14, 3×3, 64, s2" */
export const describeLayer = ({ channels, height, width, kernel, out, stride }: Layer) =>
  `${channels}×${height}×${width}, ${kernel}×${kernel}, ${out}, s${stride}`;

/** How many taps there are along one side, and how many of them are inside the image. */
function tapsAlong(size: number, { kernel, stride }: Layer) {
  const padding = (kernel - 1) / 2;
  const places = Math.floor((size - 1) / stride) + 1;
  let inside = 0;
  for (let place = 0; place < places; place++) {
    const first = place * stride - padding;
    inside += Math.min(first + kernel, size) - Math.max(first, 0);
  }
  return { nominal: places * kernel, inside };
}

/**
 * Floating-point operations of one of the three operations; a multiply-add is two. `nominal` counts every tap,
 * `inside` only those that are not on the padding, which nobody has to compute.
 */
export function flopOf(layer: Layer): { nominal: number; inside: number } {
  const [rows, columns] = [tapsAlong(layer.height, layer), tapsAlong(layer.width, layer)];
  const perTap = 2 * layer.batch * layer.channels * layer.out;
  return { nominal: perTap * rows.nominal * columns.nominal, inside: perTap * rows.inside * columns.inside };
}

const tapsOf = ({ kernel, channels }: Layer) => kernel ** 2 * channels;
const weightsOf = (layer: Layer) => count(placesOf(layer)) * tapsOf(layer) * layer.out;

/** Bytes that a formulation in PyTorch has in memory at once in the backward pass, a little generously. */
export function bytesInPyTorch(form: string, layer: Layer): number {
  const places = layer.batch * count(placesOf(layer));
  const patches = places * tapsOf(layer);
  // Both factors of a broadcast product have a gradient of the size of the product before it is summed.
  const products = form.startsWith('multiply') ? 2 * patches * layer.out : 0;
  const images = layer.batch * layer.channels * layer.height * layer.width + places * layer.out;
  return 4 * (products + 3 * patches + 2 * weightsOf(layer) + 3 * images);
}

/** Weights and biases, without the fixed feedback of fa. */
export function parametersOf(name: NetworkName): number {
  const dense = denseOf(name);
  return (
    sum(layersOf(name, 1).map((layer) => weightsOf(layer) + count(placesOf(layer)) * layer.out)) +
    sum(dense.slice(1).map((units, i) => (dense[i]! + 1) * units))
  );
}

/** Of one operation of each layer. */
export function flopOfMaps(name: NetworkName, batch: number): number[] {
  const local = layersOf(name, batch).map((layer) => flopOf(layer).inside);
  return [...local, ...flopOfDense(denseOf(name), batch)];
}

/** Of one operation of each dense layer. @param sizes of the layers, the input first */
export const flopOfDense = (sizes: readonly number[], batch: number): number[] =>
  sizes.slice(1).map((units, i) => 2 * batch * sizes[i]! * units);

/** Of a training step of bp or fa, which cost the same: no error goes down through the first layer. */
export function flopOfStep(name: NetworkName, batch: number): number {
  const maps = flopOfMaps(name, batch);
  return 3 * sum(maps) - maps[0]!;
}

/** Bytes that Adam moves at least: it reads parameter, gradient and both moments, and writes all but the gradient. */
export const bytesOfAdam = (name: NetworkName) => 28 * parametersOf(name);
