/**
 * A stream of images holds no more memory after many than after some. Its short form is
 * test/serial/images-memory.test.ts.
 */
import t from 'tap';
import { memoryOver } from '../support/streamed-memory.js';

t.test('memory stays flat over 20,000 images', { timeout: 600_000 }, async (t) => {
  const after = await memoryOver(t, 20_000);
  t.equal(after.length, 4);
  const grown = after[3]! - after[0]!;
  t.ok(grown < 30, `${after.map(Math.round).join(', ')} MiB after each quarter of them`);
});
