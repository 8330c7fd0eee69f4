/**
 * A Python with PyTorch, for tests that compare with the real thing. Tried in this order:
 * the interpreter that CORTORCH_PYTHON names; `python3`; `python3` with PYTHONPATH set to the folder of the torch
 * package that the project resolved, if that is a whole one and not only the libraries.
 */
import { execFileSync } from 'node:child_process';
import { dirname, basename } from 'node:path';

/** A Python that imports torch. */
export interface TorchPython {
  readonly command: string;
  readonly env: NodeJS.ProcessEnv;
  /** Such as `2.13.0+cpu`. */
  readonly version: string;
  /** The folder of its torch package. */
  readonly folder: string;
}

// The resolver is JavaScript; a name that the compiler does not follow spares a declaration file for one call.
const resolver = new URL('../../scripts/libtorch.mjs', import.meta.url).href;
const { resolveLibtorch } = (await import(resolver)) as {
  resolveLibtorch: () => { found: { path: string } | null };
};

let answer: { python: TorchPython | null; reason: string } | undefined;

/** @returns null if there is none; {@link whyNoTorchPython} then says why */
export function torchPython(): TorchPython | null {
  return (answer ??= find()).python;
}

/** What was tried, for `t.skip` or `{ skip: whyNoTorchPython() }`; false if there is a Python with torch. */
export function whyNoTorchPython(): string | false {
  return torchPython() === null ? answer!.reason : false;
}

/**
 * Runs a Python script with torch.
 *
 * @param script the source; `args` are `sys.argv[1:]`
 * @returns what it printed
 */
export function runTorchPython(script: string, ...args: string[]): string {
  const python = torchPython();
  if (python === null) throw new Error(answer!.reason);
  return execFileSync(python.command, ['-W', 'ignore', '-c', script, ...args], {
    env: python.env,
    encoding: 'utf8',
    maxBuffer: 2 ** 26,
  });
}

function find(): { python: TorchPython | null; reason: string } {
  const named = process.env.CORTORCH_PYTHON;
  const candidates: [command: string, env: NodeJS.ProcessEnv][] =
    named === undefined ? [['python3', process.env]] : [[named, process.env]];
  if (named === undefined) {
    const libtorch = resolveLibtorch().found?.path;
    if (libtorch !== undefined && basename(libtorch) === 'torch') {
      candidates.push(['python3', { ...process.env, PYTHONPATH: dirname(libtorch) }]);
    }
  }
  const tried: string[] = [];
  for (const [command, env] of candidates) {
    const label = env === process.env ? command : `${command} with PYTHONPATH=${env.PYTHONPATH}`;
    try {
      const script = 'import os, torch; print(torch.__version__); print(os.path.dirname(torch.__file__))';
      const output = execFileSync(command, ['-W', 'ignore', '-c', script], {
        env,
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'pipe'],
      });
      const [version, folder] = output.trim().split('\n');
      return { python: { command, env, version: version!, folder: folder! }, reason: '' };
    } catch (error) {
      const { stderr, message } = error as Error & { stderr?: string };
      tried.push(`${label}: ${stderr?.trim().split('\n').at(-1) ?? message}`);
    }
  }
  return {
    python: null,
    reason: `no Python with torch (name one with CORTORCH_PYTHON): ${tried.join('; ')}`,
  };
}
