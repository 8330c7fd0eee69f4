/**
 * An independent account of what a network computes: plain loops in float64, written from the equations (PAPER:
 * Lillicrap et al. 2016; Nøkland 2016; Kingma & Ba 2015) and sharing nothing with the native code. Nor does it share
 * activations, losses or products of matrices with the other references (activations.ts, losses.ts, maps.ts), although
 * it has the same ones: test/rules/target-rules.test.ts holds one of them against this, which says something only as
 * long as a mistake in one is not a mistake in both.
 */

export interface ReferenceLayer {
  /** [out][in] */
  weight: number[][];
  bias: number[] | null;
  /** fa: [out][in]; dfa: [classes][out] */
  feedback: number[][] | null;
  activation: 'identity' | 'tanh' | 'relu' | 'sigmoid';
}

export interface Gradients {
  weight: number[][];
  bias: number[];
}

const sigma = {
  identity: (a: number) => a,
  tanh: Math.tanh,
  relu: (a: number) => Math.max(0, a),
  sigmoid: (a: number) => 1 / (1 + Math.exp(-a)),
};

const derivative = {
  identity: () => 1,
  tanh: (a: number) => 1 - Math.tanh(a) ** 2,
  relu: (a: number) => (a > 0 ? 1 : 0),
  sigmoid: (a: number) => sigma.sigmoid(a) * (1 - sigma.sigmoid(a)),
};

const zeros = (rows: number, columns: number): number[][] =>
  Array.from({ length: rows }, () => Array<number>(columns).fill(0));

/** Loss (mean over the batch) and the gradients of every layer under a rule. */
export function gradients(
  layers: ReferenceLayer[],
  rule: 'bp' | 'fa' | 'dfa',
  x: number[][],
  labels: number[],
  loss: 'softmax-cross-entropy' | 'squared-error' = 'softmax-cross-entropy',
): { loss: number; gradients: Gradients[]; outputs: number[][] } {
  const batch = x.length;
  const result: Gradients[] = layers.map((layer) => ({
    weight: zeros(layer.weight.length, layer.weight[0]!.length),
    bias: Array<number>(layer.weight.length).fill(0),
  }));
  const outputs: number[][] = [];
  let total = 0;
  for (let b = 0; b < batch; b++) {
    const h: number[][] = [x[b]!];
    const a: number[][] = [];
    for (const layer of layers) {
      const below = h.at(-1)!;
      const sums = layer.weight.map((row, i) => {
        let sum = layer.bias?.[i] ?? 0;
        for (let j = 0; j < row.length; j++) sum += row[j]! * below[j]!;
        return sum;
      });
      a.push(sums);
      h.push(sums.map(sigma[layer.activation]));
    }
    const o = h.at(-1)!;
    outputs.push(o);
    let error: number[]; // ∂(mean loss)/∂ output
    if (loss === 'softmax-cross-entropy') {
      const top = Math.max(...o);
      const exps = o.map((z) => Math.exp(z - top));
      const sum = exps.reduce((p, q) => p + q, 0);
      total += Math.log(sum) + top - o[labels[b]!]!;
      error = exps.map((e, i) => (e / sum - (i === labels[b] ? 1 : 0)) / batch);
    } else {
      const difference = o.map((value, i) => value - (i === labels[b] ? 1 : 0));
      total += difference.reduce((sum, d) => sum + d * d, 0);
      error = difference.map((d) => (2 * d) / batch);
    }
    const last = layers.length - 1;
    const delta: number[][] = [];
    delta[last] = error.map((e, i) => e * derivative[layers[last]!.activation](a[last]![i]!));
    for (let l = last - 1; l >= 0; l--) {
      const units = layers[l]!.weight.length;
      const down = Array.from({ length: units }, (_, j) => {
        // bp: Wᵀ δ above; fa: Bᵀ δ above; dfa: Bᵀ e, with B of this layer
        const above = rule === 'dfa' ? delta[last]! : delta[l + 1]!;
        const matrix =
          rule === 'bp' ? layers[l + 1]!.weight : rule === 'fa' ? layers[l + 1]!.feedback! : layers[l]!.feedback!;
        let sum = 0;
        for (let i = 0; i < above.length; i++) sum += matrix[i]![j]! * above[i]!;
        return sum;
      });
      delta[l] = down.map((value, j) => value * derivative[layers[l]!.activation](a[l]![j]!));
    }
    for (let l = 0; l <= last; l++) {
      for (let i = 0; i < delta[l]!.length; i++) {
        result[l]!.bias[i]! += delta[l]![i]!;
        for (let j = 0; j < h[l]!.length; j++) result[l]!.weight[i]![j]! += delta[l]![i]! * h[l]![j]!;
      }
    }
  }
  return { loss: total / batch, gradients: result, outputs };
}

/** An optimizer over one flat list of numbers. */
export type Update = (values: number[], gradient: number[]) => void;

export function adam(lr: number, beta1: number, beta2: number, eps: number, weightDecay = 0): Update {
  const m: number[] = [];
  const v: number[] = [];
  let t = 0;
  return (values, gradient) => {
    t++;
    for (let i = 0; i < values.length; i++) {
      const g = gradient[i]! + weightDecay * values[i]!;
      m[i] = beta1 * (m[i] ?? 0) + (1 - beta1) * g;
      v[i] = beta2 * (v[i] ?? 0) + (1 - beta2) * g * g;
      values[i]! -= (lr * (m[i]! / (1 - beta1 ** t))) / (Math.sqrt(v[i]! / (1 - beta2 ** t)) + eps);
    }
  };
}

export function sgd(lr: number, momentum = 0, weightDecay = 0): Update {
  const buffer: number[] = [];
  return (values, gradient) => {
    for (let i = 0; i < values.length; i++) {
      buffer[i] = momentum * (buffer[i] ?? 0) + gradient[i]! + weightDecay * values[i]!;
      values[i]! -= lr * buffer[i]!;
    }
  };
}

export function rmsprop(lr: number, alpha: number, eps: number, momentum = 0, weightDecay = 0): Update {
  const square: number[] = [];
  const buffer: number[] = [];
  return (values, gradient) => {
    for (let i = 0; i < values.length; i++) {
      const g = gradient[i]! + weightDecay * values[i]!;
      square[i] = alpha * (square[i] ?? 0) + (1 - alpha) * g * g;
      buffer[i] = momentum * (buffer[i] ?? 0) + g / (Math.sqrt(square[i]!) + eps);
      values[i]! -= lr * buffer[i]!;
    }
  };
}
