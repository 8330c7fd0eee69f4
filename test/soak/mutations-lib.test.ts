/** Do the tests notice a slip in the TypeScript half? The slips: test/soak/mutations/lib.ts. */
import fs from 'node:fs';
import path from 'node:path';
import t from 'tap';
import ts from 'typescript';
import { packageRoot } from '../../scripts/paths.mjs';
import { checkMutations, NotMade } from './mutations/mutation.js';
import { mutations } from './mutations/lib.js';

/** What the command line runs of a file, made anew; its types are not checked. */
async function transpile(root: string, file: string): Promise<void> {
  const { outputText, diagnostics } = ts.transpileModule(fs.readFileSync(path.join(root, file), 'utf8'), {
    reportDiagnostics: true,
    compilerOptions: { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext },
  });
  const [wrong] = diagnostics!;
  if (wrong) throw new NotMade(`${file}: ${ts.flattenDiagnosticMessageText(wrong.messageText, '\n')}`);
  fs.writeFileSync(path.join(root, file.replace(/^lib/, 'dist').replace(/\.ts$/, '.js')), outputText);
}

/** The native half is the one that is built. */
const linkNative = async (root: string): Promise<void> =>
  fs.symlinkSync(path.join(packageRoot, 'build-native'), path.join(root, 'build-native'));

t.test('a slip in lib/ is noticed', { timeout: 3_600_000 }, (t) =>
  checkMutations(t, 'mutations-lib', mutations, { prepare: linkNative, mutated: transpile, restored: transpile }),
);
