/**
 * Writes a {@link NetworkSpec} layer by layer. The types know an image from a vector: a dense layer straight on
 * an image does not compile, and where nothing is compiled it is an error that says what to do.
 *
 * @example
 * const spec = network({ channels: 1, height: 28, width: 28 })
 *   .flatten()
 *   .dense(256, { activation: 'tanh' })
 *   .dense(10)
 *   .softmaxCrossEntropy();
 */

import { isCount, isPlainObject, invalid } from '../errors.js';
import {
  parseNetworkSpec,
  shapeAfter,
  type DenseSpec,
  type LayerSpec,
  type LossName,
  type ResolvedSpec,
} from './spec.js';

export interface ImageShape {
  readonly channels: number;
  readonly height: number;
  readonly width: number;
}

export interface VectorShape {
  readonly features: number;
}

export type DenseOptions = Omit<DenseSpec, 'type' | 'units'>;

/** A network so far, whose output is an image. */
export interface ImageBuilder {
  /** [channels, height, width] */
  readonly shape: readonly [number, number, number];
  /** The image as a vector in the order (C, H, W). */
  flatten(): VectorBuilder;
}

/** A network so far, whose output is a vector. */
export interface VectorBuilder {
  /** [features] */
  readonly shape: readonly [number];
  /** σ(W x + b) with `units` outputs. */
  dense(units: number, options?: DenseOptions): VectorBuilder;
  /** Ends the network: outputs are logits, one a class. */
  softmaxCrossEntropy(): ResolvedSpec;
  /** Ends the network: outputs are values. */
  squaredError(): ResolvedSpec;
}

/**
 * Starts a network on images, or on vectors.
 *
 * @throws CortorchError ERR_INVALID_ARGUMENT
 */
export function network(input: ImageShape): ImageBuilder;
export function network(input: VectorShape): VectorBuilder;
export function network(input: ImageShape | VectorShape): ImageBuilder | VectorBuilder {
  const expected = '{ channels, height, width } or { features }';
  if (!isPlainObject(input)) throw invalid('input', expected, input);
  const shape = 'features' in input ? [input.features] : [input.channels, input.height, input.width];
  if (!shape.every(isCount)) throw invalid('input', `${expected}, all positive integers`, input);
  return new Builder(shape, [], shape) as unknown as ImageBuilder | VectorBuilder;
}

/** Both interfaces at once; each builder is immutable, so a stem can be used twice. */
class Builder {
  readonly #input: readonly number[];
  readonly #layers: readonly LayerSpec[];
  readonly shape: readonly number[];

  constructor(input: readonly number[], layers: readonly LayerSpec[], shape: readonly number[]) {
    this.#input = input;
    this.#layers = layers;
    this.shape = shape;
  }

  flatten(): Builder {
    return this.#with({ type: 'flatten' });
  }

  dense(units: number, options: DenseOptions = {}): Builder {
    return this.#with({ type: 'dense', units, ...options });
  }

  softmaxCrossEntropy(): ResolvedSpec {
    return this.#end('softmax-cross-entropy');
  }

  squaredError(): ResolvedSpec {
    return this.#end('squared-error');
  }

  #with(layer: LayerSpec): Builder {
    const shape = shapeAfter(layer, this.shape, `layers[${this.#layers.length}]`);
    return new Builder(this.#input, [...this.#layers, layer], shape);
  }

  #end(loss: LossName): ResolvedSpec {
    return parseNetworkSpec({ input: this.#input, layers: this.#layers, loss });
  }
}
