/** Do the tests notice a slip in the C++ half, as far as the CPU runs it? The slips: test/soak/mutations/native.ts. */
import path from 'node:path';
import t from 'tap';
import { succeed } from '../support/processes.js';
import { checkMutations, NotMade } from './mutations/mutation.js';
import { mutations } from './mutations/native.js';

const build = async (root: string): Promise<void> => {
  await succeed(process.execPath, [path.join(root, 'scripts/build.mjs')], { cwd: root });
};

const buildMutant = (root: string): Promise<void> =>
  build(root).catch((error: unknown) => {
    throw new NotMade((error as Error).message);
  });

t.test('a slip in native/ is noticed', { timeout: 7_200_000 }, (t) =>
  // A file that is restored is compiled with the next slip.
  checkMutations(t, 'mutations-native', mutations, { prepare: build, mutated: buildMutant, restored: async () => {} }),
);
