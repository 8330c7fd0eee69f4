/** No C++ exception may reach Node, which would end the process: whatever is exported is guarded where that is done. */
import fs from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { packageRoot } from '../../scripts/paths.mjs';

const folder = path.join(packageRoot, 'native/node');
const sources = fs.readdirSync(folder).filter((name) => /\.(cpp|h)$/.test(name) && name !== 'open_libraries.cpp');

t.test('functions are made by Exports, methods by Wrapped, and by nobody else', async (t) => {
  const makers: [pattern: RegExp, file: string][] = [
    [/Function::New\(/, 'exports.h'],
    [/\b(Instance|Static)(Method|Accessor|Value)\b/, 'wrapped.h'],
  ];
  for (const [pattern, only] of makers) {
    const found = sources.filter((name) => pattern.test(fs.readFileSync(path.join(folder, name), 'utf8')));
    // A thread-safe function is called by nobody in JavaScript.
    t.same(
      found.filter((name) => name !== 'compute_thread.cpp'),
      [only],
    );
  }
  for (const [, only] of makers) t.match(fs.readFileSync(path.join(folder, only), 'utf8'), 'guarded(');
});

t.test('constructors guard themselves', async (t) => {
  let found = 0;
  for (const name of sources) {
    const text = fs.readFileSync(path.join(folder, name), 'utf8');
    for (const [, body] of text.matchAll(
      /^\w+Handle::\w+Handle\(const Napi::CallbackInfo& info\)[^{]*\{\n([^]*?)^\}/gm,
    )) {
      t.match(body, 'guarded(', name);
      found++;
    }
  }
  t.equal(found, 4, 'of Tensor, Dataset, Network and Trainer');
});
