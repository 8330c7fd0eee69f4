/** `cortorch eval`: the error of a checkpoint on a test set. */

import { isDeepStrictEqual } from 'node:util';
import type { Dataset } from '../data/dataset.js';
import type { ImageStream } from '../data/images/loader.js';
import { CortorchError, isOneOf } from '../errors.js';
import { isGpu } from '../model/device.js';
import { Network, type StateDict } from '../model/network.js';
import { networkOptionNames } from '../rules/names.js';
import { readNetworkFile, type ModelConfig } from '../training/checkpoint.js';
import { evaluationStream, loadDataset } from './data.js';
import { pick, unused } from './given.js';
import { duration, errorFormat, percent, plural, significant } from '../format.js';
import { datasetNames, isStreamed, type DatasetName, type Flags } from './options.js';
import { normalizationSettings, resizeSettings, squareOf } from './data-settings.js';
import { loadModel } from './settings.js';
import { toMap } from './values.js';
import { requireReconstruction, writeReconstructions } from './reconstructions.js';

/** Image files at a time, where nobody says: 77 MB of 224×224 floats. */
const STREAM_BATCH = 128;

/** @returns the exit code */
export async function evaluate(flags: Flags<'eval'>): Promise<number> {
  const { checkpoint: path, images, batchSize, threads, device, precision, json } = flags;
  if (path === undefined) {
    throw new CortorchError('ERR_USAGE', '--checkpoint is missing: --checkpoint runs/a/best.pt');
  }
  const { config, parameters } = await networkOf(path, flags);
  const dataset = flags.dataset ?? config.dataset;
  if (!isOneOf(dataset, datasetNames)) {
    throw new CortorchError('ERR_USAGE', `--dataset is missing, and ${path} does not say: --dataset mnist`);
  }
  if (images !== undefined) requireReconstruction(images, config.network, path);
  if (images !== undefined && isStreamed(dataset)) {
    throw new CortorchError('ERR_USAGE', `--images is for data sets in memory, not for ${dataset}; leave it out`);
  }
  // On a GPU as it was trained; on the CPU there is only fp32.
  const usual = device !== undefined && isGpu(device) ? config.precision : undefined;
  const chosen = precision ?? usual;
  // Of a rule of one's own nothing is needed: what is left of its network is bp's.
  const own = config.ruleSha256 !== undefined;
  using network = new Network(config.network, {
    rule: own ? 'bp' : config.rule,
    ...pick(config, networkOptionNames),
    // A checkpoint says how its network was trained: no data set's default stands in where it says none.
    normalization: normalizationSettings(flags, config.network) ?? config.normalization,
    ...(threads !== undefined && { threads }),
    ...(device !== undefined && { device }),
    ...(chosen !== undefined && { precision: chosen }),
  });
  const names = new Set(network.parameters.map(({ name }) => name));
  const forward = own ? new Map([...parameters].filter(([name]) => names.has(name))) : parameters;
  await network.loadStateDict(forward, { map: toMap(flags.map) });
  const test = await testImages(dataset, config, flags);
  const start = performance.now();
  const { loss, error, error5, examples } = await network.evaluate(test, batchSize === undefined ? {} : { batchSize });
  const seconds = (performance.now() - start) / 1000;
  if (json) console.log(JSON.stringify({ type: 'eval', loss, error, error5, examples }));
  else {
    const top5 = error5 === null ? '' : `, top-5 error ${percent(error5)}`;
    console.log(
      `${dataset} ${isStreamed(dataset) ? 'val' : 'test'}: error ${errorFormat(config.network)(error)}${top5}, loss ${significant(loss)} (${plural(examples, 'image')}, ${duration(seconds)})`,
    );
  }
  if (images !== undefined && !isStreamed(dataset)) {
    await writeReconstructions(images, network, dataset, flags.dataDir);
    console.error(`${images}: test images above their reconstructions`);
  }
  return 0;
}

/** A test set in memory, or image files: cut as the network was trained, unless flags say how. */
async function testImages(
  dataset: DatasetName,
  config: ModelConfig,
  flags: Flags<'eval'>,
): Promise<Dataset | ImageStream> {
  const { dataDir, batchSize = STREAM_BATCH, maxCorrupt } = flags;
  if (isStreamed(dataset)) {
    const crop = flags.crop ?? config.crop ?? 'random';
    const given = flags.resize ?? (flags.crop === undefined ? config.resize : undefined);
    const sizes = {
      crop,
      ...resizeSettings({ crop, ...(given && { resize: given }) }, squareOf(config.network, dataset)),
    };
    const files = {
      ...(dataDir !== undefined && { dataDir }),
      ...(maxCorrupt !== undefined && { maxCorrupt }),
    };
    return evaluationStream(dataset, config.network, { ...sizes, ...files, batchSize });
  }
  for (const name of ['crop', 'resize', 'maxCorrupt'] as const) {
    if (flags[name] !== undefined) throw unused(name, `${dataset}, which lies in memory`, 'leave it out');
  }
  const { train, test } = await loadDataset(dataset, dataDir);
  train.dispose();
  return test;
}

/** The checkpoint's own network, or, where it has none, as in PyTorch's files, the one that --model names. */
async function networkOf(
  path: string,
  { model, map }: Flags<'eval'>,
): Promise<{ parameters: StateDict; config: ModelConfig }> {
  const { parameters, config, key } = await readNetworkFile(path);
  const network = model === undefined ? undefined : await loadModel(model);
  if (config === null) {
    if (network === undefined) {
      throw new CortorchError(
        'ERR_USAGE',
        `--model is missing, and ${path} does not say of what network it is: --model mnist-fc, or --model FILE.json`,
      );
    }
    if (key !== null && key !== 'state_dict') console.error(`${path}: its parameters are those of ${key}`);
    return { parameters, config: { network, rule: 'bp', normalization: null, seed: 0 } };
  }
  if (network !== undefined && !isDeepStrictEqual(network, config.network)) {
    throw new CortorchError(
      'ERR_USAGE',
      `--model is ${model}, but ${path} holds another network, which it describes itself; leave --model out`,
    );
  }
  if (map !== undefined) {
    throw new CortorchError(
      'ERR_UNUSED_OPTION',
      `--map is not used by ${path}, which describes its own network; leave it out`,
    );
  }
  return { parameters, config };
}
