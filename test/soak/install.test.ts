/** npm install in an empty project, which compiles the packed package there from source. */
import fs from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { readRecord } from '../../scripts/record.mjs';
import { Consumer } from '../support/consumer.js';

t.test('installed, built, compiled against, trained', { timeout: 3_600_000 }, async (t) => {
  const consumer = new Consumer('consumer');
  const start = performance.now();
  const { code, stderr } = await consumer.npmInstallWith({ CORTORCH_BUILD_FROM_SOURCE: '1' });
  t.equal(code, 0, stderr);
  t.comment(`npm install took ${((performance.now() - start) / 1000).toFixed(0)} s`);
  t.ok(fs.existsSync(path.join(consumer.installed, 'build-native/Release/cortorch.node')));
  t.equal(readRecord(consumer.installed)!.prebuilt, false);
  await consumer.compile();
  const { testError, events } = await consumer.train();
  t.ok(testError > 0.05 && testError < 0.2, `chance is 0.9; test error ${testError} after 300 steps`);
  t.match(events.at(-1), { type: 'end', checkpoint: String });
});
