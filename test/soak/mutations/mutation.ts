/**
 * One slip in one place after the other, in a copy of the project: do the tests of the part concerned notice? The
 * lists are beside this file. What was tried stands in `.cache/soak`, so that a run goes on where it was stopped; a
 * change of what the outcomes depend on begins anew.
 */
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import type { Test } from 'tap';
import { packageRoot } from '../../../scripts/paths.mjs';
import type { Ended } from '../../support/processes.js';
import { copyProject, projectFiles, runTestFile } from '../../support/project-copy.js';

export interface Mutation {
  /** What is broken, in a few words: `adam: no bias correction`. */
  readonly what: string;
  /** From the root of the project. */
  readonly file: string;
  /** What stands there, exactly once. */
  readonly from: string;
  readonly to: string;
  /** The tests of the part concerned, the quickest first; the first that fails is enough. */
  readonly tests: readonly string[];
  /** Why it is not tried: it does what the original does, or what notices it is no test file. */
  readonly untried?: string;
}

/** A slip that the compiler refuses shows nothing of the tests. */
export class NotMade extends Error {}

/** What has to be made of the sources of a copy before its tests can run. */
export interface Making {
  /** Of an untouched copy. */
  prepare(root: string): Promise<void>;
  /** Of one with a slip in this file. @throws NotMade */
  mutated(root: string, file: string): Promise<void>;
  /** After the slip was taken back; what the next mutation makes anew may be left to it. */
  restored(root: string, file: string): Promise<void>;
  /** Runs a test, where tests are no test files. */
  readonly run?: (root: string, test: string, timeout: number) => Promise<Ended>;
}

/** A mutant may run on for ever: one whose tests take so long is noticed too. Milliseconds. */
const TOO_LONG = 240_000;
const COPIES = 2;

/** What a broken program ends with. Any other signal came from outside, and says nothing of the mutation. */
const CRASHES: readonly (NodeJS.Signals | null)[] = ['SIGSEGV', 'SIGABRT', 'SIGBUS', 'SIGFPE', 'SIGILL', 'SIGTRAP'];

/** Tests of memory and time are alone on the machine, as in `npm test`. */
let serial: Promise<unknown> = Promise.resolve();

const runFile = (root: string, test: string, timeout: number): Promise<Ended> => runTestFile(root, test, {}, timeout);

/** @returns null where it passes; else how it ended. @throws Error if it was ended from outside */
async function failureOf(root: string, test: string, { run = runFile }: Making): Promise<string | null> {
  const start = performance.now();
  const running = serial.then(() => run(root, test, TOO_LONG));
  if (test.startsWith('test/serial/')) serial = running.catch(() => undefined);
  const { code, signal, stdout } = await running;
  if (code === 0) return null;
  if (signal !== null && performance.now() - start >= TOO_LONG) return `${test}: no end`;
  if (signal !== null && !CRASHES.includes(signal)) throw new Error(`${test} was ended by ${signal}`);
  const first = /^(?: +not ok \d+ -|FAILED) (.*)$/m.exec(stdout)?.[1] ?? signal ?? `exit code ${code}`;
  return `${test}: ${first.slice(0, 100)}`;
}

/** A failure has to come twice: once may be chance on a machine with other work. */
async function certainFailureOf(root: string, test: string, making: Making): Promise<string | null> {
  const first = await failureOf(root, test, making);
  return first === null || first.endsWith('no end') ? first : failureOf(root, test, making);
}

/** @returns what the file holds. @throws Error unless `from` stands there once */
function original(root: string, { what, file, from, to }: Mutation): string {
  const good = fs.readFileSync(path.join(root, file), 'utf8');
  if (good.split(from).length !== 2 || from === to) throw new Error(`${what}: not exactly once in ${file}: ${from}`);
  return good;
}

/** Makes the slip. @returns what the file held */
function mutate(root: string, mutation: Mutation): string {
  const good = original(root, mutation);
  const bad = good.replace(mutation.from, () => mutation.to);
  fs.writeFileSync(path.join(root, mutation.file), bad);
  return good;
}

/** What the outcome of a mutation depends on. */
const MATTERS = /^(?:lib|native|scripts|test|bin)\/|^[^/]*\.(?:json|txt)$/;

/** What was found out, by mutation; kept in a file. */
class Record {
  readonly #file: string;
  readonly #key: string;
  readonly #found: Map<string, string | null>;

  constructor(name: string, files: readonly string[]) {
    const hash = createHash('sha256');
    for (const file of files.filter((name) => MATTERS.test(name)))
      hash.update(`${file}\0`).update(fs.readFileSync(path.join(packageRoot, file)));
    this.#key = hash.digest('hex');
    this.#file = path.join(packageRoot, '.cache/soak', `${name}.json`);
    const { key, found } = JSON.parse(fs.existsSync(this.#file) ? fs.readFileSync(this.#file, 'utf8') : '{}') as {
      key?: string;
      found?: [string, string | null][];
    };
    this.#found = new Map(key === this.#key ? found : []);
  }

  get(what: string): string | null | undefined {
    return this.#found.get(what);
  }

  set(what: string, how: string | null): void {
    this.#found.set(what, how);
    fs.mkdirSync(path.dirname(this.#file), { recursive: true });
    fs.writeFileSync(this.#file, JSON.stringify({ key: this.#key, found: [...this.#found] }));
  }
}

/**
 * Makes each mutation in turn and passes where all are noticed. `CORTORCH_MUTATIONS`, a regular expression, chooses
 * some by their words or files.
 */
export async function checkMutations(
  t: Test,
  name: string,
  mutations: readonly Mutation[],
  making: Making,
): Promise<void> {
  const names = mutations.map(({ what }) => what);
  t.equal(new Set(names).size, names.length, 'each has words of its own');
  for (const mutation of mutations) original(packageRoot, mutation);
  const chosen = new RegExp(process.env.CORTORCH_MUTATIONS ?? '');
  const files = await projectFiles();
  const record = new Record(name, files);
  const own = mutations.filter(({ what, file }) => chosen.test(what) || chosen.test(file));
  const queue = own.filter(({ untried }) => untried === undefined);
  t.ok(queue.length > 0, `there are mutations of ${chosen}`);
  const waiting = queue.filter(({ what }) => record.get(what) === undefined);

  const copies: string[] = [];
  while (waiting.length > 0 && copies.length < COPIES) copies.push(await copyProject(t));
  for (const root of copies) await making.prepare(root);
  /** Where one copy stops with an error, what the other one sees may be its end. */
  let stopped = false;
  const isStopped = (): boolean => stopped;
  const inAll = (work: (root: string) => Promise<void>): Promise<unknown> =>
    Promise.all(
      copies.map((root) =>
        work(root).catch((error: unknown) => {
          stopped = true;
          throw error;
        }),
      ),
    );

  const tests = [...new Set(waiting.flatMap((mutation) => mutation.tests))];
  await inAll(async (root) => {
    for (let test = tests.shift(); test !== undefined && !isStopped(); test = tests.shift()) {
      const failure = await certainFailureOf(root, test, making);
      if (failure !== null) throw new Error(`without any mutation: ${failure}`);
    }
  });
  await inAll(async (root) => {
    for (let mutation = waiting.shift(); mutation !== undefined && !isStopped(); mutation = waiting.shift()) {
      const { what, file } = mutation;
      const good = mutate(root, mutation);
      let failure: string | null = null;
      try {
        await making.mutated(root, file);
        for (const test of mutation.tests) failure ??= await certainFailureOf(root, test, making);
      } catch (error) {
        if (!(error instanceof NotMade)) throw error;
        t.fail(`${file}: ${what}: ${error.message}`);
        fs.writeFileSync(path.join(root, file), good);
        continue;
      }
      if (isStopped()) return;
      fs.writeFileSync(path.join(root, file), good);
      await making.restored(root, file);
      record.set(what, failure);
      console.error(
        `${failure === null ? 'NOT NOTICED' : 'noticed'}: ${file}: ${what}${failure ? ` (${failure})` : ''}`,
      );
    }
  });
  for (const { what, file, tests } of queue) {
    const how = record.get(what);
    if (how !== undefined) t.ok(how, `${file}: ${what}: ${how ?? `not noticed by ${tests.join(', ')}`}`);
  }
  t.comment(
    `${queue.length} of ${mutations.length} mutations, ${own.length - queue.length} more are listed and not tried`,
  );
}
