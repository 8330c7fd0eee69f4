/** Shapes of convolutions, shared or not, and of pooling. */
import t from 'tap';
import { network, parseNetworkSpec, type LayerSpec } from '../../lib/index.js';
import { placeLayers } from '../../lib/model/shapes.js';
import { sitesOf } from '../../lib/model/sites.js';
import { countParameters } from '../support/maps.js';
import { Random } from '../../lib/random.js';

/** Starts at which a window lies within the padded line: counted, not computed. */
function count(size: number, kernel: number, stride: number, padding: number, dilation: number): number {
  let places = 0;
  for (let start = -padding; ; start += stride) {
    for (let tap = 0; tap < kernel; tap++) {
      if (start + tap * dilation >= size + padding) return places;
    }
    places++;
  }
}

const specOf = (input: readonly number[], layer: LayerSpec) => ({
  input,
  layers: [layer, { type: 'flatten' }, { type: 'dense', units: 2 }],
  loss: 'softmax-cross-entropy',
});

t.test('sizes are those of a count, for any window', async (t) => {
  const random = new Random(1);
  const pick = (from: number, to: number): number => from + (random.nextUint32() % (to - from + 1));
  let refused = 0;
  for (let i = 0; i < 2000; i++) {
    const [channels, height, width, out] = [pick(1, 3), pick(1, 12), pick(1, 12), pick(1, 4)];
    const pair = (from: number, to: number) => [pick(from, to), pick(from, to)] as const;
    const [kernel, stride, dilation] = [pair(1, 5), pair(1, 4), pair(1, 3)];
    const type = (['locally-connected2d', 'conv2d', 'max-pool2d', 'avg-pool2d'] as const)[i % 4]!;
    const isPool = type === 'max-pool2d' || type === 'avg-pool2d';
    const padding = isPool
      ? ([pick(0, Math.floor(kernel[0] / 2)), pick(0, Math.floor(kernel[1] / 2))] as const)
      : pair(0, 4);
    const layer: LayerSpec = isPool
      ? { type, kernel, stride, padding }
      : { type, channels: out, kernel, stride, padding, dilation };
    const want = [height, width].map((size, d) =>
      count(size, kernel[d]!, stride[d]!, padding[d]!, isPool ? 1 : dilation[d]!),
    );
    const spec = specOf([channels, height, width], layer);
    if (want.includes(0)) {
      refused++;
      let message = '';
      try {
        parseNetworkSpec(spec);
      } catch (error) {
        message = (error as Error).message;
      }
      const remedy = /use a kernel of at most (\d+)×(\d+), or a padding of (\d+)×(\d+)$/.exec(message);
      if (!remedy) t.fail(`no remedy in: ${message}`);
      const [kh, kw, ph, pw] = remedy!.slice(1).map(Number);
      const smaller = kernel.map((size, d) => Math.min(size, [kh!, kw!][d]!)) as [number, number];
      if (!isPool) {
        parseNetworkSpec(specOf(spec.input, { ...layer, kernel: smaller } as LayerSpec));
      }
      parseNetworkSpec(specOf(spec.input, { ...layer, padding: [ph!, pw!] } as LayerSpec));
      continue;
    }
    const resolved = parseNetworkSpec(spec);
    const got = placeLayers(resolved)[0]!.output;
    if (JSON.stringify(got) !== JSON.stringify([isPool ? channels : out, ...want])) {
      t.fail(`${JSON.stringify(layer)} on ${height}×${width}: ${got.join('×')}, counted ${want.join('×')}`);
    }
  }
  t.ok(refused > 100, `${refused} that do not fit were refused, and what the error says does fit`);
});

t.test('defaults are written out as [height, width]', async (t) => {
  const resolve = (layer: LayerSpec) => parseNetworkSpec(specOf([2, 9, 9], layer)).layers[0];
  t.strictSame(resolve({ type: 'conv2d', channels: 3, kernel: 3 }), {
    ...{ type: 'conv2d', channels: 3, kernel: [3, 3], stride: [1, 1], padding: [0, 0], dilation: [1, 1] },
    ...{ activation: 'identity', bias: true, initializer: 'glorot-uniform' },
  });
  t.match(resolve({ type: 'locally-connected2d', channels: 3, kernel: [3, 5], padding: 'same', dilation: [1, 2] }), {
    padding: [1, 4],
  });
  t.match(resolve({ type: 'conv2d', channels: 3, kernel: 3, padding: 'same', stride: 2 }), {
    padding: [1, 1],
  });
  t.match(resolve({ type: 'conv2d', channels: 3, kernel: 3, padding: 'valid' }), { padding: [0, 0] });
  t.strictSame(resolve({ type: 'max-pool2d', kernel: [2, 3] }), {
    ...{ type: 'max-pool2d', kernel: [2, 3], stride: [2, 3], padding: [0, 0] },
  });
  const spec = parseNetworkSpec(specOf([2, 9, 9], { type: 'avg-pool2d', kernel: 3, padding: 1 }));
  t.strictSame(parseNetworkSpec(JSON.parse(JSON.stringify(spec))), spec, 'a resolved spec resolves to itself');
});

t.test('shapes of weights and biases, and their number', async (t) => {
  const spec = network({ channels: 3, height: 8, width: 6 })
    .locallyConnected2d(4, { kernel: [3, 1], stride: 2, padding: 'same' })
    .conv2d(5, { kernel: 2, bias: false })
    .flatten()
    .dense(7)
    .softmaxCrossEntropy();
  t.strictSame(
    sitesOf(spec).map(({ weight, bias }) => [weight, bias]),
    [
      [
        [4, 3, 3, 1, 3, 4],
        [4, 3, 4],
      ],
      [[5, 4, 2, 2], null],
      [[7, 5 * 3 * 2], [7]],
    ],
  );
  t.equal(countParameters(spec), 4 * 3 * 3 * 1 * 3 * 4 + 4 * 3 * 4 + 5 * 4 * 4 + 7 * 30 + 7);
});

t.test('a signal is an image of height 1', async (t) => {
  const built = network({ channels: 2, length: 20 })
    .locallyConnected1d(4, { kernel: 5, stride: 2, padding: 'same', dilation: 2 })
    .maxPool1d({ kernel: 2 })
    .conv1d(3, { kernel: 3, padding: 1 })
    .avgPool1d({ kernel: 2, stride: 1, padding: 1 })
    .flatten()
    .dense(2)
    .softmaxCrossEntropy();
  t.strictSame(
    placeLayers(built).map(({ output }) => output.join('×')),
    ['4×1×10', '4×1×5', '3×1×5', '3×1×6', '18', '2'],
  );
  t.strictSame(built.layers[0], {
    ...{ type: 'locally-connected2d', channels: 4, kernel: [1, 5], stride: [1, 2], padding: [0, 4] },
    ...{ dilation: [1, 2], activation: 'identity', bias: true, initializer: 'glorot-uniform' },
  });
  const image = network({ channels: 1, height: 4, width: 4 }) as unknown as {
    conv1d(channels: number, options: object): void;
  };
  t.throws(() => image.conv1d(2, { kernel: 3 }), {
    code: 'ERR_INVALID_SPEC',
    message: /layers\[0\]: a one-dimensional layer takes a signal.*1×4×4; use the two-dimensional form/,
  });
});

t.test('a mistake names the layer, and says what would fit', async (t) => {
  const image = (layer: object, more: object[] = []) => ({
    input: [3, 8, 6],
    layers: [layer, ...more],
    loss: 'softmax-cross-entropy',
  });
  const conv = { type: 'conv2d', channels: 4, kernel: 3 };
  const cases: [object, RegExp][] = [
    [
      image({ ...conv, kernel: 9 }),
      /^layers\[0\]: the kernel 9×9 is larger than its input, 8×6 with padding 0×0; use a kernel of at most 8×6, or a padding of 1×2$/,
    ],
    [
      image({ ...conv, name: 'eye', kernel: [3, 4], dilation: [1, 2] }),
      /^layers\[0\] \("eye"\): the kernel 3×4 of dilation 1×2 .*at most 8×3, or a padding of 0×1$/,
    ],
    [
      image({ type: 'flatten' }, [conv]),
      /^layers\[1\]: a conv2d layer takes an image, but its input is a vector of 144; put it before the flatten/,
    ],
    [image({ type: 'dense', units: 3 }), /^layers\[0\]: a dense layer takes a vector.*3×8×6; put a flatten before it/],
    [image(conv), /ends in an image 4×6×4.*end with a flatten and a dense layer/],
    [
      image({ ...conv, kernel: 0 }),
      /^layers\[0\]\.kernel: expected a positive integer, or two: \[height, width\] but received 0/,
    ],
    [image({ ...conv, kernel: [3] }), /^layers\[0\]\.kernel: .*\[height, width\]/],
    [image({ ...conv, stride: '2' }), /^layers\[0\]\.stride: .*received "2"/],
    [image({ ...conv, dilation: [1, 0] }), /^layers\[0\]\.dilation/],
    [image({ ...conv, padding: -1 }), /^layers\[0\]\.padding: expected 'same', 'valid', an integer of at least 0/],
    [image({ ...conv, padding: 'full' }), /^layers\[0\]\.padding: .*received "full"/],
    [
      image({ ...conv, kernel: 4, padding: 'same' }),
      /^layers\[0\]\.padding: .*kernel 4×4, since 'same' needs an odd kernel/,
    ],
    [image({ ...conv, channels: 1.5 }), /^layers\[0\]\.channels: expected a positive integer/],
    [
      image({ type: 'conv2d', kernel: 3 }),
      /^layers\[0\]\.channels: expected a positive integer but received undefined/,
    ],
    [image({ type: 'conv2d', channels: 4 }), /^layers\[0\]\.kernel: .*received undefined/],
    [image({ ...conv, units: 4 }), /^layers\[0\]\.units: there is no such key/],
    [image({ ...conv, strides: 4 }), /^layers\[0\]\.strides: .*did you mean stride\?/],
    [image({ ...conv, type: 'locally-conected2d' }), /did you mean locally-connected2d\?/],
    [
      image({ type: 'max-pool2d', kernel: 3, padding: 2 }),
      /^layers\[0\]\.padding: 2×2 is more than half of the kernel 3×3.*at most 1×1/,
    ],
    [image({ type: 'max-pool2d', kernel: 3, dilation: 2 }), /^layers\[0\]\.dilation: there is no such key/],
    [image({ type: 'avg-pool2d', kernel: 9 }), /^layers\[0\]: the kernel 9×9 is larger/],
    [image({ type: 'max-pool2d', kernel: 2 }, [{ type: 'flatten' }]), /no layer has weights/],
  ];
  for (const [spec, message] of cases) {
    t.throws(() => parseNetworkSpec(spec), { code: 'ERR_INVALID_SPEC', message }, String(message));
  }
  const built = network({ channels: 1, height: 4, width: 4 });
  t.throws(() => built.conv2d(2, { kernel: 5 }), { code: 'ERR_INVALID_SPEC', message: /^layers\[0\]: / });
  t.throws(() => network({ channels: 1, length: 0 }), { code: 'ERR_INVALID_ARGUMENT', message: /length/ });
});
