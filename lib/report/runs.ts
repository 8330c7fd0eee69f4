/** What a report shows of a run: its settings and metrics, as its folder has them. */

import { readFile } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { CortorchError, isPlainObject } from '../errors.js';
import { countOutputs } from '../model/shapes.js';
import { parseNetworkSpec } from '../model/spec.js';
import type { RuleName } from '../rules/names.js';
import type { ScheduleName } from '../rules/target.js';
import { publishedErrors } from '../training/hyperparameters.js';
import type { DiagnosticsEvent, EpochEvent } from '../training/events.js';

export interface ReportRun {
  /** Of its folder; longer where two folders have one name. */
  readonly name: string;
  readonly path: string;
  readonly config: Readonly<Record<string, unknown>>;
  /** Whether it gives its inputs back: its error is a mean square, not a fraction. */
  readonly isAutoencoder: boolean;
  /** Values that its network gives; null: it is none of this version's */
  readonly outputs: number | null;
  /** null: it has not begun */
  readonly parameters: number | null;
  /** Complete ones. */
  readonly epochs: readonly EpochEvent[];
  readonly diagnoses: readonly DiagnosticsEvent[];
  readonly published: ReturnType<typeof publishedErrors>;
}

/**
 * Reads the folders of runs, finished or not; one that is named twice comes once.
 *
 * @throws CortorchError ERR_CHECKPOINT_NOT_FOUND for a folder of no run; ERR_READ_FAILED
 */
export async function readRuns(folders: readonly string[]): Promise<readonly ReportRun[]> {
  const all = folders.map((folder) => resolve(folder));
  const once = folders.filter((_, i) => all.indexOf(all[i]!) === i);
  const names = shortNames(once.map((folder) => resolve(folder)));
  return Promise.all(once.map((folder, i) => readRun(folder, names[i]!)));
}

/** The last parts of paths, as many as tell them apart. */
function shortNames(paths: readonly string[]): string[] {
  const last = (path: string, parts: number): string => path.split(/[\\/]/).slice(-parts).join('/');
  return paths.map((path) => {
    const others = paths.filter((other) => other !== path);
    let parts = 1;
    while (others.some((other) => last(other, parts) === last(path, parts))) parts++;
    return last(path, parts) || basename(path);
  });
}

async function readRun(path: string, name: string): Promise<ReportRun> {
  const config = parsed(await read(path, 'config.json'));
  if (!isPlainObject(config)) throw noRun(path, 'its config.json is no object of settings');
  const lines = (await read(path, 'metrics.jsonl')).split('\n').map(parsed).filter(isPlainObject);
  const ofType = <T>(type: string): T[] => lines.filter((line) => line['type'] === type) as T[];
  const { model, rule, schedule, dataset, network } = config;
  const [start] = ofType<{ parameters?: number }>('start');
  return {
    name,
    path,
    config,
    isAutoencoder: isPlainObject(network) && network['loss'] === 'reconstruction',
    outputs: outputsOf(network),
    parameters: start?.parameters ?? null,
    epochs: ofType<EpochEvent>('epoch').filter(({ partial }) => !partial),
    diagnoses: ofType('diagnostics'),
    published: publishedErrors(
      String(model),
      rule as RuleName,
      (schedule ?? null) as ScheduleName | null,
      String(dataset),
    ),
  };
}

function outputsOf(network: unknown): number | null {
  try {
    return countOutputs(parseNetworkSpec(network));
  } catch (error) {
    if (!(error instanceof CortorchError)) throw error;
    return null;
  }
}

async function read(folder: string, name: string): Promise<string> {
  try {
    return await readFile(join(folder, name), 'utf8');
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') throw noRun(folder, `it has no ${name}`);
    throw new CortorchError('ERR_READ_FAILED', `cannot read ${join(folder, name)}: ${message}; check its permissions`, {
      cause: error,
    });
  }
}

const noRun = (path: string, why: string): CortorchError =>
  new CortorchError(
    'ERR_CHECKPOINT_NOT_FOUND',
    `${path} is not the folder of a run: ${why}; name one that cortorch train --out made`,
  );

/** A run that was killed may have left half a line. */
function parsed(line: string): unknown {
  try {
    return JSON.parse(line) as unknown;
  } catch {
    return undefined;
  }
}
