/**
 * Children that run while a test goes on. Each is in a process group of its own, with all that it starts itself, and
 * the group is killed when the test that started it ends, however it ends: well, with a failed assertion, by an error
 * or by a timeout. Where the process of the tests itself is killed, a guard does it.
 */
import { spawn, type ChildProcess, type ChildProcessByStdio } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import type { Socket } from 'node:net';
import path from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type TestBase } from 'tap';
import { packageRoot } from '../../scripts/paths.mjs';

export interface Ended {
  /** null: ended by a signal */
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Child<E extends Ended = Ended> {
  readonly process: ChildProcess;
  readonly finished: Promise<E>;
  /** Resolves when stdout and stderr together match; rejects if the process ends before. */
  seen(pattern: RegExp): Promise<void>;
}

export interface ProcessOptions {
  readonly cwd?: string | undefined;
  /** What differs from the environment of the tests; undefined takes a variable away. */
  readonly env?: NodeJS.ProcessEnv | undefined;
  /** Milliseconds after which it is killed. */
  readonly timeout?: number | undefined;
}

/**
 * The tests that are running, each within the one before it, and the children of each. What a file starts outside of
 * its tests has to be started before the first of them is named: later it would be taken for a child of a test that
 * runs meanwhile.
 */
const running: { readonly test: TestBase | null; readonly children: Set<ChildProcess> }[] = [
  { test: null, children: new Set() },
];
t.beforeEach((test) => void running.push({ test, children: new Set() }));
t.afterEach(async (test) => {
  // A test that has timed out ends a second time, when its function returns at last.
  const at = running.findIndex((frame) => frame.test === test);
  if (at > 0) await endAll(running.splice(at).flatMap(({ children }) => [...children]));
});
t.teardown(() => endAll(running.flatMap(({ children }) => [...children])));

async function endAll(children: readonly ChildProcess[]): Promise<void> {
  await Promise.all(
    children.map(async (child) => {
      const [exit, close] = [once(child, 'exit'), once(child, 'close')];
      killGroup(child);
      await exit;
      // Those that it started die at the same time, but nobody tells of it, except that their outputs are closed then.
      await Promise.race([close, sleep(1000, undefined, { ref: false })]);
    }),
  );
}

function killGroup({ pid }: ChildProcess): void {
  try {
    process.kill(-pid!, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error; // else nobody is left in it
  }
}

/** Reads `+ GROUP` and `- GROUP`, and kills the groups that are left when whoever wrote them is no more. */
const GUARD = `
groups=
while read -r sign group; do
  case $sign in
    +) groups="$groups $group" ;;
    -) left=; for g in $groups; do [ "$g" = "$group" ] || left="$left $g"; done; groups=$left ;;
  esac
done
for g in $groups; do kill -s KILL -- "-$g"; done`;

let guard: ChildProcessByStdio<Writable, null, null> | undefined;

/** An `exit` handler would not do: tap ends a file that has timed out by signals that leave no time for it. */
function tellGuard(sign: '+' | '-', { pid }: ChildProcess): void {
  if (guard === undefined) {
    guard = spawn('sh', ['-c', GUARD], { detached: true, stdio: ['pipe', 'ignore', 'ignore'] });
    // It waits for this process, not this process for it.
    guard.unref();
    (guard.stdin as Socket).unref();
  }
  guard.stdin.write(`${sign} ${pid}\n`);
}

/**
 * tap has every Node load its hooks: slower, and they end it at signals that a user's process survives. It puts them
 * into the environment of whatever is spawned, whose first act therefore is to take them out.
 */
const WITHOUT_HOOKS = ['-u', 'NODE_OPTIONS'];

/** What has to differ in the environment for a program to be run as a user runs it, not from within npm and tap. */
export const userEnvironment: NodeJS.ProcessEnv = Object.fromEntries(
  Object.keys(process.env)
    .filter((name) => /^(npm_|TAP|_TAPJS)/.test(name))
    .map((name) => [name, undefined]),
);

/** Whether there is such a process; one that is dead and only waits to be asked for its exit code is none. */
export function isRunning(pid: number): boolean {
  try {
    return !/^\d+ \(.*\) Z/s.test(fs.readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
}

/** Starts a program. */
export function startProcess(command: string, args: readonly string[], options: ProcessOptions = {}): Child {
  const { cwd, env, timeout } = options;
  const child: ChildProcessByStdio<null, Readable, Readable> = spawn('env', [...WITHOUT_HOOKS, command, ...args], {
    cwd,
    timeout,
    killSignal: 'SIGKILL',
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true, // a group of its own
  });
  if (child.pid !== undefined) {
    const { children } = running.at(-1)!;
    children.add(child);
    tellGuard('+', child);
    child.on('exit', () => {
      killGroup(child); // what it left behind
      children.delete(child);
      tellGuard('-', child);
    });
  }
  const output = { stdout: '', stderr: '' };
  const waiting = new Set<() => void>();
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (text: string) => {
      output[name] += text;
      for (const look of waiting) look();
    });
  }
  const finished = new Promise<Ended>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ code, signal, ...output }));
  });
  const seen = (pattern: RegExp): Promise<void> =>
    new Promise((resolve, reject) => {
      const look = (): void => {
        if (!pattern.test(output.stdout + output.stderr)) return;
        waiting.delete(look);
        resolve();
      };
      waiting.add(look);
      look();
      const missed = (): Error => new Error(`it ended without ${pattern}: ${output.stdout}${output.stderr}`);
      finished.then(() => reject(missed()), reject);
    });
  return { process: child, finished, seen };
}

/** Runs a program to its end. */
export const run = (command: string, args: readonly string[], options?: ProcessOptions): Promise<Ended> =>
  startProcess(command, args, options).finished;

/** The same for what has to succeed. @returns its stdout; anything else is an error that tells what it said */
export async function succeed(command: string, args: readonly string[], options?: ProcessOptions): Promise<string> {
  const { code, signal, stdout, stderr } = await run(command, args, options);
  if (code === 0) return stdout;
  const said = `${stdout}\n${stderr}`;
  const some = said.length <= 8000 ? said : `${said.slice(0, 4000)}\n…\n${said.slice(-4000)}`;
  throw new Error(`${command} ${args.join(' ')} ended with ${signal ?? code}:\n${some}`);
}

/** What a script imports a file of the project by, named from its root. */
export const moduleOf = (file: string): string => JSON.stringify(path.join(packageRoot, file));

const tsx = path.join(packageRoot, 'node_modules/tsx/dist/esm/index.mjs');

/** A command line of Node that runs a module's source, which may import TypeScript; `args` are its process.argv[1…]. */
export const nodeCommand = (source: string, args: readonly string[] = [], flags: readonly string[] = []): string[] => [
  ...[process.execPath, ...flags, '--import', tsx, '--input-type=module', '-e', source, '--', ...args],
];

export interface ScriptOptions extends ProcessOptions {
  readonly args?: readonly string[];
  /** Of Node, such as `--expose-gc`. */
  readonly flags?: readonly string[];
}

/** Runs a module's source in a Node of its own, in the folder of the package. */
export function runScript(source: string, { args, flags, ...options }: ScriptOptions = {}): Promise<Ended> {
  const [node, ...rest] = nodeCommand(source, args, flags);
  return run(node!, rest, { cwd: packageRoot, ...options });
}
