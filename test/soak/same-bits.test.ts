/**
 * Does this version train to the same bits as an earlier one? `CORTORCH_BEFORE=<commit> npm run soak -- same-bits`
 * builds that one in a folder of its own and compares what digests.ts says of both, case by case.
 */
import fs from 'node:fs';
import path from 'node:path';
import t, { type Test } from 'tap';
import { packageRoot } from '../../scripts/paths.mjs';
import { temporaryFolder } from '../support/folders.js';
import { succeed } from '../support/processes.js';

const BEFORE = process.env.CORTORCH_BEFORE ?? '';

/** Cases that have a digest, at the least: fewer would be a mistake in digests.ts. */
const CASES = 300;
/** Why there may be none: target propagation does not go through every map. */
const REFUSAL = 'ERR_INVALID_SPEC';

interface Line {
  readonly name: string;
  readonly digest?: string;
  readonly error?: string;
}

async function digestsOf(root: string): Promise<Line[]> {
  const script = path.join(packageRoot, 'test/soak/digests.ts');
  const stdout = await succeed(process.execPath, ['--import', 'tsx', script, path.join(root, 'dist')], {
    cwd: packageRoot,
    env: { OMP_WAIT_POLICY: 'passive' },
  });
  return stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Line);
}

/** The files of a commit, built: no checkout, in which Git would see the packages. @returns its root, until `t` ends */
async function built(t: Test, commit: string): Promise<string> {
  const folder = temporaryFolder(t, 'before');
  const archive = path.join(folder, 'files.tar');
  await succeed('git', ['archive', '--format=tar', `--output=${archive}`, commit], { cwd: packageRoot });
  const root = path.join(folder, 'project');
  fs.mkdirSync(root);
  await succeed('tar', ['-xf', archive, '-C', root]);
  fs.symlinkSync(path.join(packageRoot, 'node_modules'), path.join(root, 'node_modules'));
  await succeed(process.execPath, ['scripts/build.mjs'], { cwd: root });
  await succeed(process.execPath, ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.build.json'], { cwd: root });
  return root;
}

const skip = BEFORE === '' && 'CORTORCH_BEFORE names no commit';

t.test('every case ends in the bits of before', { skip, timeout: 7_200_000 }, async (t) => {
  const commit = (await succeed('git', ['rev-parse', '--verify', `${BEFORE}^{commit}`], { cwd: packageRoot })).trim();
  const before = await digestsOf(await built(t, commit));
  const now = await digestsOf(packageRoot);
  t.strictSame(
    now.map(({ name }) => name),
    before.map(({ name }) => name),
    'the same cases',
  );
  const compared = now.filter(({ digest }) => digest !== undefined);
  const refused = now.length - compared.length;
  t.ok(compared.length >= CASES, `${compared.length} cases or more`);
  t.equal(new Set(compared.map(({ digest }) => digest)).size, compared.length, 'no two cases have the same digest');
  for (const [i, line] of now.entries()) {
    t.strictSame(line, before[i], line.name);
    if (line.error !== undefined) t.equal(line.error, REFUSAL, `${line.name}: refused for what it is`);
  }
  console.error(`${compared.length} cases compared with ${commit.slice(0, 10)}, ${refused} refused by both`);
});
