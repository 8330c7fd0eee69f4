/** `cortorch report`: runs side by side, as a page. */

import { CortorchError } from '../errors.js';
import { writeFileAtomic } from '../files.js';
import { reportPage } from '../report/page.js';
import { readRuns } from '../report/runs.js';
import { plural } from '../format.js';
import type { Flags } from './options.js';

/** @returns the exit code */
export async function report(
  { out = 'report.html', json }: Flags<'report'>,
  folders: readonly string[],
): Promise<number> {
  if (folders.length === 0) throw new CortorchError('ERR_USAGE', 'RUN is missing: cortorch report runs/a runs/b');
  const runs = await readRuns(folders);
  await writeFileAtomic(out, Buffer.from(await reportPage(runs)));
  if (json) console.log(JSON.stringify({ type: 'report', path: out, runs: runs.length }));
  else console.error(`${out}: a report of ${plural(runs.length, 'run')}; open it in a browser`);
  return 0;
}
