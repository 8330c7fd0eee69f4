/** The packed package in an empty project, as a user has it. */
import fs from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { packageRoot } from '../../scripts/paths.mjs';
import { temporaryFolder } from './folders.js';
import { lazy } from './lazy.js';
import { run, succeed, userEnvironment } from './processes.js';

const dir = temporaryFolder(t, 'package');
const QUIET = ['--no-audit', '--no-fund', '--prefer-offline', '--loglevel=error'];

/** The package as it is published, and the names of what is in it. */
export const packed = lazy(async (): Promise<{ tarball: string; names: string[] }> => {
  const options = { cwd: packageRoot, env: userEnvironment };
  const stdout = await succeed('npm', ['pack', '--json', '--pack-destination', dir], options);
  const [{ filename, files }] = JSON.parse(stdout.slice(stdout.indexOf('['))) as [
    { filename: string; files: { path: string }[] },
  ];
  return { tarball: path.join(dir, filename), names: files.map((file) => file.path) };
});

/** A project of a user's (test/fixtures/consumer). */
export class Consumer {
  readonly folder: string;
  /** Where the package lies once it is installed. */
  readonly installed: string;

  /** @param env of all that runs there, beside the user's own */
  constructor(
    name: string,
    readonly env: NodeJS.ProcessEnv = {},
  ) {
    this.folder = path.join(dir, name);
    this.installed = path.join(this.folder, 'node_modules/cortorch');
    fs.cpSync(path.join(packageRoot, 'test/fixtures/consumer'), this.folder, { recursive: true });
  }

  /** Runs a program there, as a user does. */
  run(command: string, args: readonly string[], env: NodeJS.ProcessEnv = {}) {
    return run(command, args, { cwd: this.folder, env: { ...userEnvironment, ...this.env, ...env } });
  }

  /** The same for what has to succeed. @returns its stdout */
  succeed(command: string, ...args: readonly string[]): Promise<string> {
    return succeed(command, args, { cwd: this.folder, env: { ...userEnvironment, ...this.env } });
  }

  /** @returns how npm ended, and all that it and the package's script said */
  async npmInstallWith(env: NodeJS.ProcessEnv, ...flags: readonly string[]) {
    const { tarball } = await packed();
    return this.run('npm', ['install', tarball, ...flags, ...QUIET], env);
  }

  async npmInstall(...flags: readonly string[]): Promise<void> {
    const { code, stderr } = await this.npmInstallWith({}, ...flags);
    if (code !== 0) throw new Error(stderr);
  }

  /** Compiles its TypeScript against the package's types. */
  async compile(): Promise<void> {
    for (const name of ['@types/node', 'undici-types']) {
      const to = path.join(this.folder, 'node_modules', name);
      fs.cpSync(path.join(packageRoot, 'node_modules', name), to, { recursive: true });
    }
    await this.succeed(process.execPath, path.join(packageRoot, 'node_modules/typescript/bin/tsc'), '-p', '.');
  }

  /** Trains with the compiled script and with the command line. */
  async train() {
    const { parameters, testError } = JSON.parse(await this.succeed(process.execPath, 'train.js')) as {
      parameters: number;
      testError: number;
    };
    const flags = '--dataset mnist --model mnist-fc --rule fa --max-steps 20 --seed 1 --json --out run';
    const stdout = await this.succeed('npx', 'cortorch', 'train', ...flags.split(' '));
    const events = stdout.trim().split('\n');
    return { parameters, testError, events: events.map((line) => JSON.parse(line) as Record<string, unknown>) };
  }
}
