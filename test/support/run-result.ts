/** What a run leaves, to compare one run with another. */
import path from 'node:path';
import { readCheckpoint } from '../../lib/training/checkpoint.js';
import { metricsOf, timeless } from './cli.js';
import { digests } from './digests.js';

/** Everything that a run leaves, without times. */
export async function result(run: string) {
  const [last, best] = await Promise.all([
    readCheckpoint(path.join(run, 'last.pt')),
    readCheckpoint(path.join(run, 'best.pt')),
  ]);
  const { state, best: chosen } = last.training!;
  const { parameters: forward, ...optimizer } = state.optimizer;
  const { parameters: inverse = [], ...inverseOptimizer } = state.inverseOptimizer ?? {};
  const moments = [...forward, ...inverse].flatMap(({ name, state: arrays }) =>
    Object.entries(arrays).map(([key, values]): [string, { data: Float32Array }] => [
      `${name} ${key}`,
      { data: values },
    ]),
  );
  return {
    last: {
      epoch: last.epoch,
      step: last.step,
      stepInEpoch: state.stepInEpoch,
      chosen,
      metrics: last.metrics,
    },
    best: { epoch: best.epoch, step: best.step, metrics: best.metrics },
    optimizer,
    inverseOptimizer,
    parameters: digests(last.parameters),
    bestParameters: digests(best.parameters),
    moments: digests(new Map(moments)),
    metrics: metricsOf(run)
      .slice(1)
      .map(timeless)
      .map((line) => ({ ...line, checkpoint: undefined })),
  };
}
