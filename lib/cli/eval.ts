/** `cortorch eval`: the error of a checkpoint on a test set. */

import { CortorchError, isOneOf } from '../errors.js';
import { Network } from '../model/network.js';
import { readCheckpoint } from '../training/checkpoint.js';
import { loadDataset } from './data.js';
import { duration, errorFormat, percent, plural, significant } from './format.js';
import { datasetNames, type Flags } from './options.js';
import { normalizationSettings } from './settings.js';
import { requireReconstruction, writeReconstructions } from './reconstructions.js';

/** @returns the exit code */
export async function evaluate(flags: Flags<'eval'>): Promise<number> {
  const { checkpoint: path, images, dataDir, batchSize, threads, device, precision, json } = flags;
  if (path === undefined) {
    throw new CortorchError('ERR_USAGE', '--checkpoint is missing: --checkpoint runs/a/best.pt');
  }
  const { config, parameters } = await readCheckpoint(path);
  const dataset = flags.dataset ?? config.dataset;
  if (!isOneOf(dataset, datasetNames)) {
    throw new CortorchError('ERR_USAGE', `--dataset is missing, and ${path} does not say: --dataset mnist`);
  }
  if (images !== undefined) requireReconstruction(images, config.network, path);
  using network = new Network(config.network, {
    rule: config.rule,
    ...(config.dfaFeedback && { dfaFeedback: config.dfaFeedback }),
    ...(config.auxiliary !== undefined && { auxiliary: config.auxiliary }),
    // A checkpoint says how its network was trained: no data set's default stands in where it says none.
    normalization: normalizationSettings(flags, config.network) ?? config.normalization,
    ...(threads !== undefined && { threads }),
    ...(device !== undefined && { device }),
    ...(precision !== undefined && { precision }),
  });
  await network.loadStateDict(parameters);
  const { train, test } = await loadDataset(dataset, dataDir);
  train.dispose();
  const start = performance.now();
  const { loss, error, error5, examples } = await network.evaluate(
    test,
    batchSize === undefined ? {} : { batchSize },
  );
  const seconds = (performance.now() - start) / 1000;
  if (json) console.log(JSON.stringify({ type: 'eval', loss, error, error5, examples }));
  else {
    const top5 = error5 === null ? '' : `, top-5 error ${percent(error5)}`;
    console.log(
      `${dataset} test: error ${errorFormat(config.network)(error)}${top5}, loss ${significant(loss)} (${plural(examples, 'image')}, ${duration(seconds)})`,
    );
  }
  if (images !== undefined) {
    await writeReconstructions(images, network, dataset, dataDir);
    console.error(`${images}: test images above their reconstructions`);
  }
  return 0;
}
