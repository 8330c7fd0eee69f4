/**
 * A network's description: plain data that can be saved, loaded and compared. Shapes are inferred from it, and
 * every mistake in it is named by its key.
 */

import { isCount, isOneOf, isPlainObject } from '../errors.js';
import { parseLayers, type LayerSpec, type ResolvedLayer } from './layers.js';
import { countOutputs, product } from './shapes.js';
import { checkKeys, specError, wrong } from './spec-error.js';

/**
 * Softmax cross-entropy: mean over the batch, in nats. Squared error: summed over outputs, mean over the batch.
 * Reconstruction: a squared error whose targets are the inputs.
 */
export type LossName = 'softmax-cross-entropy' | 'squared-error' | 'reconstruction';
export const lossNames: readonly LossName[] = ['softmax-cross-entropy', 'squared-error', 'reconstruction'];

export interface NetworkSpec {
  /** Of one example: [channels, height, width], or [features]. */
  readonly input: readonly number[];
  readonly layers: readonly LayerSpec[];
  readonly loss: LossName;
}

/** A spec in which every default is written out. */
export interface ResolvedSpec {
  readonly input: readonly number[];
  readonly layers: readonly ResolvedLayer[];
  readonly loss: LossName;
}

/**
 * Checks a spec and writes out its defaults.
 *
 * @throws CortorchError ERR_INVALID_SPEC that names the key (`layers[2].units`) and what would be right
 */
export function parseNetworkSpec(value: unknown): ResolvedSpec {
  if (!isPlainObject(value)) throw wrong('the spec', 'an object with input, layers and loss', value);
  checkKeys(value, ['input', 'layers', 'loss'], '');
  const input = value['input'];
  if (!Array.isArray(input) || ![1, 3].includes(input.length) || !input.every(isCount)) {
    throw wrong('input', '[channels, height, width] or [features]', input);
  }
  const layers = parseLayers(value['layers'], 'layers');
  const loss = value['loss'] ?? 'softmax-cross-entropy';
  if (!isOneOf(loss, lossNames)) throw wrong('loss', `one of ${lossNames.join(', ')}`, loss);
  const spec = { input: [...input], layers, loss };
  const outputs = countOutputs(spec);
  if (loss === 'reconstruction' && outputs !== product(spec.input)) {
    throw specError(
      `layers: with the loss reconstruction the network must give the ${product(spec.input)} values of its input back, ` +
        `but it gives ${outputs}; end with a layer of ${product(spec.input)} units`,
    );
  }
  return spec;
}
