/** cortorch's side of `npm run bench -- checkpoint`: opens a file and reads one tensor. */
import { readFileSync, writeFileSync } from 'node:fs';

const built = '../dist/index.js'; // not there when this file is type-checked
/** @type {unknown} */
const cortorch = await import(built);
const { openCheckpoint, saveTorchFile, tensorDataFrom, tensorsOf, typedArrayOf } =
  /** @type {typeof import('../lib/index.js')} */ (cortorch);

const [path = '', name = ''] = process.argv.slice(2);
/** Not `resourceUsage().maxRSS`, which begins with the peak of the process that started this one. */
const peak = () => 1024 * Number(/^VmHWM:\s*(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]);

/**
 * @param {string} path
 * @param {string} name
 */
async function read(path, name) {
  const file = await openCheckpoint(path);
  const found = [...tensorsOf(file.value)].find(([own]) => own === name);
  if (found === undefined) throw new Error(`${path} has no ${name}`);
  const tensor = await found[1].read();
  await file.close();
  return tensor;
}

// What the first call of all costs is no part of it.
await saveTorchFile(`${path}.small`, { a: tensorDataFrom(new Float32Array(1)) });
await read(`${path}.small`, 'a');
const before = peak();
const start = performance.now();
const tensor = await read(path, name);
const ms = performance.now() - start;
const bytes = peak() - before;
// The bytes are read: the sum is only to be sure of them. PyTorch's is within its time, since it maps the file.
const sum = /** @type {Float32Array} */ (typedArrayOf(tensor)).reduce((total, value) => total + value, 0);
writeFileSync(1, `${JSON.stringify({ ms, bytes, sum })}\n`);
