/**
 * Python, for tests that compare with the real thing: the interpreter that CORTORCH_PYTHON names, or `python3`. For one
 * with PyTorch also `python3` with PYTHONPATH set to the folder of the torch package that the project resolved, if that
 * is a whole one and not only the libraries.
 */
import { execFileSync } from 'node:child_process';
import { basename, delimiter, dirname } from 'node:path';

export const python = process.env.CORTORCH_PYTHON ?? 'python3';

/** For `{ skip }`: why there is no Python that imports these modules; false if there is one. */
export const whyNoPython = (...modules: readonly string[]): string | false => whyNot(process.env, modules);

/**
 * Runs a Python script.
 *
 * @param script the source; `args` are `sys.argv[1:]`
 * @returns what it printed
 */
export const runPython = (script: string, ...args: readonly string[]): string => execute(process.env, script, args);

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

/** For `{ skip }`: why there is no Python that imports torch and these modules, with what was tried. */
export function whyNoTorchPython(...modules: readonly string[]): string | false {
  const found = torchPython();
  if (found === null) return answer!.reason;
  return modules.length > 0 && whyNot(found.env, modules);
}

/** The same as {@link runPython}, with torch. */
export function runTorchPython(script: string, ...args: readonly string[]): string {
  const found = torchPython();
  if (found === null) throw new Error(answer!.reason);
  return execute(found.env, script, args);
}

function execute(env: NodeJS.ProcessEnv, script: string, args: readonly string[] = []): string {
  return execFileSync(python, ['-W', 'ignore', '-c', script, ...args], {
    env,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
    maxBuffer: 2 ** 26,
  });
}

function attempt(env: NodeJS.ProcessEnv, script: string): { output: string } | { problem: string } {
  try {
    return { output: execute(env, script) };
  } catch (error) {
    const label = env === process.env ? python : `${python} with PYTHONPATH=${env.PYTHONPATH}`;
    const { stderr, message } = error as Error & { stderr?: string };
    return { problem: `${label}: ${stderr?.trim().split('\n').at(-1) || message}` };
  }
}

function whyNot(env: NodeJS.ProcessEnv, modules: readonly string[]): string | false {
  const tried = attempt(env, modules.map((name) => `import ${name}\n`).join(''));
  return 'problem' in tried && tried.problem;
}

function find(): { python: TorchPython | null; reason: string } {
  const candidates: NodeJS.ProcessEnv[] = [process.env];
  if (process.env.CORTORCH_PYTHON === undefined) {
    const libtorch = resolveLibtorch().found?.path;
    if (libtorch !== undefined && basename(libtorch) === 'torch') {
      const { PYTHONPATH } = process.env;
      candidates.push({ ...process.env, PYTHONPATH: [dirname(libtorch), PYTHONPATH].filter(Boolean).join(delimiter) });
    }
  }
  const problems: string[] = [];
  for (const env of candidates) {
    const tried = attempt(env, 'import os, torch\nprint(torch.__version__)\nprint(os.path.dirname(torch.__file__))');
    if ('problem' in tried) {
      problems.push(tried.problem);
      continue;
    }
    const [version, folder] = tried.output.trim().split('\n');
    return { python: { command: python, env, version: version!, folder: folder! }, reason: '' };
  }
  return {
    python: null,
    reason: `no Python with torch (name one with CORTORCH_PYTHON): ${problems.join('; ')}`,
  };
}
