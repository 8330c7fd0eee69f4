import t from 'tap';
import { layer, scope, Tensor } from '../../lib/index.js';
import { sigma } from '../support/activations.js';

/** Values where the parts of the approximations meet, and where they end. */
const points = Float32Array.from([
  ...Array.from({ length: 20_001 }, (_, i) => (i - 10_000) / 1000),
  ...[0.624, 0.6249999, 0.625, 0.6250001, 8.9, 9.01, 9.02, 10, 50, 87, 88, 100, 1e10, 1e-10, 1e-20, 1e-40, 0].flatMap(
    (x) => [x, -x],
  ),
  Infinity,
  -Infinity,
]);

/** The distance between a float32 and a real number, in units of the last place there. */
function ulps(got: number, want: number): number {
  if (got === want || Math.fround(want) === got) return 0;
  const exponent = Math.max(-126, Math.floor(Math.log2(Math.abs(want) || 2 ** -126)));
  return Math.abs(got - want) / 2 ** (exponent - 23);
}

t.test('fused activations are within 3 units in the last place of float64', async (t) => {
  for (const activation of ['tanh', 'sigmoid', 'relu', 'identity'] as const) {
    scope(() => {
      const x = Tensor.from(points, [points.length, 1]);
      const one = Tensor.full([1, 1], 1);
      const y = layer(x, { weight: one, activation, rule: 'bp' }).data() as Float32Array;
      let worst = 0;
      let where = NaN;
      points.forEach((point, i) => {
        // A sigmoid of −88 and less is a subnormal number, flushed towards the smallest normal one.
        if (activation === 'sigmoid' && point < -87) {
          t.ok(y[i]! >= 0 && y[i]! < 1e-37);
          return;
        }
        const error = ulps(y[i]!, sigma[activation](point));
        if (!(error <= worst)) [worst, where] = [error, point];
      });
      t.ok(worst <= 3, `${activation}: ${worst} at ${where}`);
    });
  }
});

/** Of any payload: it goes through the integers by which exp is made. */
const nans = new Float32Array(
  Uint32Array.of(0x7fc00000, 0x7fc00001, 0x7fc000ff, 0x7fd55555, 0x7fffffff, 0xffc00000, 0xffc00003, 0xffffffff).buffer,
);

t.test('NaN stays NaN: it is how a diverged run is noticed', async (t) => {
  for (const activation of ['tanh', 'sigmoid', 'relu', 'identity'] as const) {
    scope(() => {
      const x = Tensor.full([20, 3], NaN);
      const y = layer(x, { weight: Tensor.full([33, 3], 1), activation, rule: 'bp' });
      t.ok((y.data() as Float32Array).every(Number.isNaN), activation);
      // More than a vector holds.
      const each = new Float32Array(5 * nans.length);
      for (let i = 0; i < 5; i++) each.set(nans, i * nans.length);
      const z = layer(Tensor.from(each, [each.length, 1]), { weight: Tensor.full([1, 1], 1), activation, rule: 'bp' });
      t.ok((z.data() as Float32Array).every(Number.isNaN), `${activation}: NaN of any payload`);
    });
  }
});
