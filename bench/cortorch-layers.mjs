/**
 * cortorch's side of one locally connected layer of the benchmark `lc`, in a process of its own: its peak memory is the
 * layer's. Through the package's public face as a user has it (dist/, no TypeScript loader).
 *
 *     node --expose-gc cortorch-layers.mjs '{"layer":{"batch":100,"channels":1,…}}'
 *
 * Says and answers what lc_layers.py does, and times it in the same way: first it checks small layers against the
 * definition in float64; then it says {"ready":true,…} with the norms of its results for the layer and how long they
 * took; and answers each line on stdin:
 *     forward N     N times y = W x + b
 *     backward N    N times both gradients, dx and dW, of a forward pass
 *     memory        peak resident memory so far
 *
 * Both sides get their gradients from libtorch's autograd. A pass down consumes its graph here, so a forward pass comes
 * before each, outside of what is timed.
 */
import { createInterface } from 'node:readline';
import { peakMemory, say, settings } from './cortorch-side.mjs';

const built = '../dist/index.js'; // not there when this file is type-checked
/** @type {typeof import('../lib/index.js')} */
const { locallyConnected2d, scope, Tensor } = await import(built);

/**
 * @typedef {import('./lc-networks.js').Layer} Geometry
 * @typedef {import('../lib/index.js').Tensor} Images [B, C, H, W], but as they lie between our layers: [H, W, B, C]
 * @typedef {Record<'x' | 'weight' | 'bias' | 'delta', Float32Array>} Problem each as it lies in memory
 */

/** As in lc_layers.py. */
const TRY_SECONDS = 1;
const TRY_TWICE = 4; // seconds

/** @type {Geometry[]} as in lc_formulations.py */
const SMALL = [
  { batch: 3, channels: 2, height: 7, width: 6, kernel: 3, out: 4, stride: 2 },
  { batch: 2, channels: 3, height: 5, width: 8, kernel: 5, out: 4, stride: 1 },
  { batch: 2, channels: 1, height: 9, width: 9, kernel: 9, out: 5, stride: 4 },
];

const paddingOf = (/** @type {Geometry} */ { kernel }) => (kernel - 1) / 2;
const placesOf = (/** @type {Geometry} */ { height, width, stride }) =>
  /** @type {[number, number]} */ ([height, width].map((size) => Math.floor((size - 1) / stride) + 1));

/**
 * The numbers that lc_formulations.py makes, moved by `first`.
 *
 * @param {number} length
 * @param {number} stream
 * @param {number} first
 */
function random(length, stream, first) {
  const values = new Float32Array(length);
  for (let i = 0; i < length; i++) {
    let h = (i + stream * 2 ** 30) >>> 0;
    for (let turn = 0; turn < 2; turn++) h = Math.imul((h >>> 16) ^ h, 0x45d9f3b);
    values[i] = (((h >>> 16) ^ h) >>> 8) / 2 ** 24 + first;
  }
  return values;
}

/** @param {Geometry} g @returns {Problem} */
function randomProblem(g) {
  const [rows, columns] = placesOf(g);
  const places = rows * columns;
  return {
    x: random(g.height * g.width * g.batch * g.channels, 0, 0),
    weight: random(places * g.kernel ** 2 * g.channels * g.out, 1, -0.5),
    bias: random(places * g.out, 2, 0),
    delta: random(places * g.batch * g.out, 3, -0.5),
  };
}

/** [H, W, B, C] ↔ [B, C, H, W], without a copy. @param {Images} images */
const permuted = (images) => images.transpose(0, 2).transpose(1, 3);

class Layer {
  /** @param {Geometry} g @param {Problem} problem */
  constructor(g, { x, weight, bias, delta }) {
    const { batch, channels, height, width, kernel, out, stride } = g;
    const places = placesOf(g);
    this.x = scope(() => permuted(Tensor.from(x, [height, width, batch, channels])));
    this.weight = Tensor.from(weight, [...places, kernel, kernel, channels, out]);
    this.bias = Tensor.from(bias, [...places, out]);
    this.delta = scope(() => permuted(Tensor.from(delta, [...places, batch, out])));
    this.x.requiresGrad = true;
    this.weight.requiresGrad = true;
    this.window = { stride, padding: paddingOf(g) };
  }

  forward() {
    return locallyConnected2d(this.x, this.weight, this.bias, this.window);
  }

  /** @param {Images} y of forward(), once */
  backward(y) {
    y.backward({ gradient: this.delta });
  }

  clearGradients() {
    this.x.clearGrad();
    this.weight.clearGrad();
  }

  /**
   * y, dx and dW of one pass each.
   *
   * @template T
   * @param {(tensor: Images) => T} of what of each; all that it makes is freed
   */
  results(of) {
    const found = scope(() => {
      const y = this.forward();
      this.backward(y);
      const [dx, dw] = /** @type {[Images, Images]} */ ([this.x.grad, this.weight.grad]);
      return [permuted(y.detach()), permuted(dx), dw].map(of);
    });
    this.clearGradients();
    return found;
  }

  /** @param {number} n @returns seconds */
  timeForward(n) {
    const start = performance.now();
    for (let i = 0; i < n; i++) this.forward().dispose();
    return (performance.now() - start) / 1000;
  }

  /** @param {number} n @returns seconds */
  timeBackward(n) {
    let milliseconds = 0;
    for (let i = 0; i < n; i++) {
      const y = this.forward();
      const start = performance.now();
      this.backward(y);
      this.clearGradients();
      milliseconds += performance.now() - start;
      y.dispose();
    }
    return milliseconds / 1000;
  }
}

/**
 * y, dx and dW by the definition, place by place and tap by tap, each as it lies in memory.
 *
 * @param {Geometry} g @param {Record<string, any>} problem `any`: the compiler takes every element for a missing one
 */
function naive(g, { x, weight, bias, delta }) {
  const { batch, channels, height, width, kernel, out, stride } = g;
  const [rows, columns] = placesOf(g);
  const padding = paddingOf(g);
  /** @type {any[]} */
  const [y, dx, dw] = [delta, x, weight].map(({ length }) => new Float64Array(length));
  for (let i = 0; i < y.length; i++) y[i] = bias[Math.floor(i / (batch * out)) * out + (i % out)];
  for (let tap = 0; tap < rows * columns * kernel ** 2; tap++) {
    const place = Math.floor(tap / kernel ** 2);
    const row = Math.floor(place / columns) * stride - padding + (Math.floor(tap / kernel) % kernel);
    const column = (place % columns) * stride - padding + (tap % kernel);
    if (row < 0 || row >= height || column < 0 || column >= width) continue;
    for (let i = 0; i < batch * channels * out; i++) {
      const [b, c, o] = [Math.floor(i / (channels * out)), Math.floor(i / out) % channels, i % out];
      const from = ((row * width + column) * batch + b) * channels + c;
      const to = (place * batch + b) * out + o;
      const w = (tap * channels + c) * out + o;
      y[to] += weight[w] * x[from];
      dx[from] += weight[w] * delta[to];
      dw[w] += x[from] * delta[to];
    }
  }
  return [y, dx, dw];
}

/** @param {Geometry} g @throws if a result is not the definition's */
function check(g) {
  const problem = randomProblem(g);
  const right = naive(g, problem);
  const results = new Layer(g, problem).results((tensor) => /** @type {any} */ (tensor.data()));
  for (const [i, name] of ['y', 'dx', 'dW'].entries()) {
    const result = results[i];
    const error = norm(right[i].map((/** @type {number} */ value, /** @type {number} */ j) => value - result[j]));
    if (error < 1e-6 * norm(right[i])) continue;
    throw new Error(`${name} of ${JSON.stringify(g)} is wrong: ${error} away, of ${norm(right[i])}`);
  }
}

const norm = (/** @type {Float64Array} */ values) => Math.sqrt(values.reduce((sum, value) => sum + value ** 2, 0));

/**
 * Matrix by matrix: one sum of so many float32 values would be off. No copy: that would be the peak of the memory.
 *
 * @param {Images} tensor of matrices, contiguous
 */
function normOf(tensor) {
  const matrices = tensor.shape.slice(0, -2).reduce((a, b) => a * b, 1);
  const squares = tensor.reshape([matrices, 1, -1]).matmul(tensor.reshape([matrices, -1, 1]));
  return Math.sqrt(squares.to('float64').sum().item());
}

Tensor.from(0).dispose(); // loads the addon
const baseline = peakMemory();
for (const small of SMALL) check(small);
/** @type {{ layer: Geometry }} */
const { layer: geometry } = settings();
/** A function of its own, so that none of the module's registers keeps the arrays alive. */
const makeLayer = () => new Layer(geometry, randomProblem(geometry));
const layer = makeLayer();
globalThis.gc?.(); // the arrays: PyTorch's sides make their numbers in the tensors

let [forward, backward] = [layer.timeForward(1), layer.timeBackward(1)];
const first = forward + backward;
// The first time there is more to do: page faults, generated code. What takes very long is tried only once.
const more = first < TRY_TWICE ? Math.min(9, Math.ceil(TRY_SECONDS / first)) : 0;
for (let i = 0; i < more; i++) {
  forward = Math.min(forward, layer.timeForward(1));
  backward = Math.min(backward, layer.timeBackward(1));
}
const norms = layer.results(normOf);
say({ ready: true, baseline, norms, forward, backward });

for await (const line of createInterface(process.stdin)) {
  const [what, count] = line.split(' ');
  if (what === 'memory') say({ bytes: peakMemory() });
  else say({ seconds: what === 'forward' ? layer.timeForward(Number(count)) : layer.timeBackward(Number(count)) });
}
