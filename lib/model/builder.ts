/**
 * Writes a {@link NetworkSpec} layer by layer. The types know an image from a signal and a vector: a dense layer
 * straight on an image, or a convolution of a vector, does not compile, and where nothing is compiled it is an
 * error that says what to do.
 *
 * @example
 * const spec = network({ channels: 1, height: 28, width: 28 })
 *   .locallyConnected2d(32, { kernel: 3, stride: 2, padding: 'same', activation: 'tanh' })
 *   .flatten()
 *   .dense(256, { activation: 'tanh' })
 *   .dense(10)
 *   .softmaxCrossEntropy();
 */

import { isCount, isPlainObject, invalid } from '../errors.js';
import { describe, type Pair } from './geometry.js';
import {
  nameOf,
  parseLayer,
  type ActivationName,
  type BatchNormSpec,
  type Conv2dSpec,
  type DenseSpec,
  type LayerSpec,
  type MaxPool2dSpec,
} from './layers.js';
import { shapeAfter } from './shapes.js';
import { specError } from './spec-error.js';
import { parseNetworkSpec, type LossName, type ResolvedSpec } from './spec.js';

export interface ImageShape {
  readonly channels: number;
  readonly height: number;
  readonly width: number;
}

/** A one-dimensional signal: in the spec an image of height 1. */
export interface SignalShape {
  readonly channels: number;
  readonly length: number;
}

export interface VectorShape {
  readonly features: number;
}

export type DenseOptions = Omit<DenseSpec, 'type' | 'units'>;
/** Of convolutions, shared or not. */
export type ConvolutionOptions = Omit<Conv2dSpec, 'type' | 'channels'>;
export type PoolOptions = Omit<MaxPool2dSpec, 'type'>;
export type BatchNormOptions = Omit<BatchNormSpec, 'type'>;

/** Of a residual block on a builder of type B. */
export interface ResidualOptions<B> {
  /** Default `identity`; `pad` for images; or the shortcut's layers, such as a 1×1 convolution. */
  readonly shortcut?: 'identity' | 'pad' | ((input: B) => B);
  /** Of the sum; default `identity`. */
  readonly activation?: ActivationName;
}

/** Options of the two-dimensional form, in which sizes are numbers. */
type OneDimensional<T> = {
  readonly [K in keyof T]: Pair extends T[K] ? Exclude<T[K], Pair> : T[K];
};
export type Convolution1dOptions = OneDimensional<ConvolutionOptions>;
export type Pool1dOptions = OneDimensional<PoolOptions>;

/** A network so far, whose output is an image. */
export interface ImageBuilder {
  /** [channels, height, width] */
  readonly shape: readonly [number, number, number];
  /** σ(W x + b) with weights of its own at every place of the output, which has `channels`. */
  locallyConnected2d(channels: number, options: ConvolutionOptions): ImageBuilder;
  /** σ(W x + b) with the same weights at every place of the output, which has `channels`. */
  conv2d(channels: number, options: ConvolutionOptions): ImageBuilder;
  maxPool2d(options: PoolOptions): ImageBuilder;
  avgPool2d(options: PoolOptions): ImageBuilder;
  /** The mean of each channel, as an image of 1 × 1. */
  globalAvgPool2d(): ImageBuilder;
  /** σ of each channel normalised: in training by the batch's mean and deviation, in evaluation by running ones. */
  batchNorm(options?: BatchNormOptions): ImageBuilder;
  /**
   * σ(layers(x) + shortcut(x)).
   *
   * @param layers adds the block's layers to the builder that it is given
   */
  residual(layers: (input: ImageBuilder) => ImageBuilder, options?: ResidualOptions<ImageBuilder>): ImageBuilder;
  /** The image as a vector in the order (C, H, W). */
  flatten(): VectorBuilder;
}

/** A network so far, whose output is a signal. */
export interface SignalBuilder {
  /** [channels, 1, length] */
  readonly shape: readonly [number, number, number];
  /** As {@link ImageBuilder.locallyConnected2d}, with a kernel of height 1. */
  locallyConnected1d(channels: number, options: Convolution1dOptions): SignalBuilder;
  conv1d(channels: number, options: Convolution1dOptions): SignalBuilder;
  maxPool1d(options: Pool1dOptions): SignalBuilder;
  avgPool1d(options: Pool1dOptions): SignalBuilder;
  /** The signal as a vector in the order (C, L). */
  flatten(): VectorBuilder;
}

/** A network so far, whose output is a vector. */
export interface VectorBuilder {
  /** [features] */
  readonly shape: readonly [number];
  /** σ(W x + b) with `units` outputs. */
  dense(units: number, options?: DenseOptions): VectorBuilder;
  /** σ of each feature normalised: in training by the batch's mean and deviation, in evaluation by running ones. */
  batchNorm(options?: BatchNormOptions): VectorBuilder;
  /** As {@link ImageBuilder.residual}. */
  residual(layers: (input: VectorBuilder) => VectorBuilder, options?: ResidualOptions<VectorBuilder>): VectorBuilder;
  /** Ends the network: outputs are logits, one a class. */
  softmaxCrossEntropy(): ResolvedSpec;
  /** Ends the network: outputs are values. */
  squaredError(): ResolvedSpec;
  /** Ends the network: outputs are the input's values in the order (C, H, W), given back. */
  reconstruction(): ResolvedSpec;
}

/**
 * Starts a network on images, on signals or on vectors.
 *
 * @throws CortorchError ERR_INVALID_ARGUMENT
 */
export function network(input: ImageShape): ImageBuilder;
export function network(input: SignalShape): SignalBuilder;
export function network(input: VectorShape): VectorBuilder;
export function network(input: ImageShape | SignalShape | VectorShape): unknown {
  const expected = '{ channels, height, width }, { channels, length } or { features }';
  if (!isPlainObject(input)) throw invalid('input', expected, input);
  const shape = shapeOf(input);
  if (!shape.every(isCount)) throw invalid('input', `${expected}, all positive integers`, input);
  return new Builder(shape, [], shape);
}

function shapeOf(input: ImageShape | SignalShape | VectorShape): readonly number[] {
  if ('features' in input) return [input.features];
  if ('length' in input) return [input.channels, 1, input.length];
  return [input.channels, input.height, input.width];
}

/** All interfaces at once; each builder is immutable, so a stem can be used twice. */
class Builder {
  readonly #input: readonly number[];
  readonly #layers: readonly LayerSpec[];
  readonly shape: readonly number[];

  constructor(input: readonly number[], layers: readonly LayerSpec[], shape: readonly number[]) {
    this.#input = input;
    this.#layers = layers;
    this.shape = shape;
  }

  locallyConnected2d(channels: number, options: ConvolutionOptions): Builder {
    return this.#with({ type: 'locally-connected2d', channels, ...options });
  }

  conv2d(channels: number, options: ConvolutionOptions): Builder {
    return this.#with({ type: 'conv2d', channels, ...options });
  }

  maxPool2d(options: PoolOptions): Builder {
    return this.#with({ type: 'max-pool2d', ...options });
  }

  avgPool2d(options: PoolOptions): Builder {
    return this.#with({ type: 'avg-pool2d', ...options });
  }

  globalAvgPool2d(): Builder {
    const [, height = 1, width = 1] = this.shape;
    return this.#with({ type: 'avg-pool2d', kernel: [height, width] });
  }

  batchNorm(options: BatchNormOptions = {}): Builder {
    return this.#with({ type: 'batch-norm', ...options });
  }

  residual(layers: (input: Builder) => Builder, options: ResidualOptions<Builder> = {}): Builder {
    const { shortcut } = options;
    return this.#with({
      type: 'residual',
      ...options,
      layers: this.#added(layers, 'layers'),
      ...(typeof shortcut === 'function' && { shortcut: this.#added(shortcut, 'options.shortcut') }),
    } as LayerSpec);
  }

  /** What a function adds to a builder that starts with this one's shape. */
  #added(add: (input: Builder) => Builder, name: string): readonly LayerSpec[] {
    if (typeof add !== 'function') throw invalid(name, 'a function from a builder to a builder', add);
    const result: unknown = add(new Builder(this.shape, [], this.shape));
    if (!(result instanceof Builder))
      throw invalid(name, 'a function that returns the builder it was given, with layers', result);
    return result.#layers;
  }

  locallyConnected1d(channels: number, options: Convolution1dOptions): Builder {
    return this.#with({ type: 'locally-connected2d', channels, ...this.#flat<ConvolutionOptions>(options) });
  }

  conv1d(channels: number, options: Convolution1dOptions): Builder {
    return this.#with({ type: 'conv2d', channels, ...this.#flat<ConvolutionOptions>(options) });
  }

  maxPool1d(options: Pool1dOptions): Builder {
    return this.#with({ type: 'max-pool2d', ...this.#flat<PoolOptions>(options) });
  }

  avgPool1d(options: Pool1dOptions): Builder {
    return this.#with({ type: 'avg-pool2d', ...this.#flat<PoolOptions>(options) });
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

  reconstruction(): ResolvedSpec {
    return this.#end('reconstruction');
  }

  /** One-dimensional options as those of an image of height 1. */
  #flat<T extends PoolOptions | ConvolutionOptions>(options: OneDimensional<T>): T {
    if (this.shape.length === 3 && this.shape[1] !== 1) {
      throw specError(
        `layers[${this.#layers.length}]: a one-dimensional layer takes a signal, but its input is an image ` +
          `${describe(this.shape)}; use the two-dimensional form`,
      );
    }
    const flat = Object.entries({ ...options }).map(([key, value]) => {
      const isSize = ['kernel', 'stride', 'padding', 'dilation'].includes(key) && typeof value === 'number';
      return [key, isSize ? [key === 'padding' ? 0 : 1, value] : value] as const;
    });
    return Object.fromEntries(flat) as unknown as T;
  }

  #with(layer: LayerSpec): Builder {
    const index = this.#layers.length;
    const where = `layers[${index}]`;
    const resolved = parseLayer(layer, where);
    const shape = shapeAfter(resolved, this.shape, nameOf(where, resolved));
    return new Builder(this.#input, [...this.#layers, resolved], shape);
  }

  #end(loss: LossName): ResolvedSpec {
    return parseNetworkSpec({ input: this.#input, layers: this.#layers, loss });
  }
}
