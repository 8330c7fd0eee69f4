/** The command line: finds the command, checks its flags, and turns what happens into an exit code. */

import yargs, { type Argv } from 'yargs';
import { CortorchError, isDefined } from '../errors.js';
import { presetNames } from '../model/presets.js';
import { didYouMean } from '../suggest.js';
import { cellNames } from './cells.js';
import { failed } from './failure.js';
import {
  commandOptions,
  kebab,
  options,
  parseOptions,
  type CommandName,
  type Flags,
  type OptionName,
} from './options.js';
import { packageVersion } from './settings.js';

interface Command<Name extends CommandName> {
  readonly describe: string;
  readonly example?: string;
  /** What its words mean; without them the command takes flags only. */
  readonly words?: readonly string[];
  /** The last word may be given many times. */
  readonly many?: true;
  /** @returns the exit code */
  readonly run: (flags: Flags<Name>, ...words: readonly (string | undefined)[]) => Promise<number> | number;
}

// What a command computes with is loaded when it runs.
const commands: { readonly [Name in CommandName]: Command<Name> } = {
  train: {
    describe: 'Train a network',
    example: 'train --dataset mnist --model mnist-fc --rule fa --epochs 10 --out runs/a',
    run: async (flags) => (await import('./train.js')).train(flags),
  },
  eval: {
    describe: 'Error of a checkpoint on a test set',
    example: 'eval --checkpoint runs/a/best.pt --dataset mnist',
    run: async (flags) => (await import('./eval.js')).evaluate(flags),
  },
  reproduce: {
    describe: "The paper's table beside ours: trains its cells one after another",
    example: 'reproduce table1 --dataset mnist --architecture fc --epochs 500 --out runs/table1',
    words: ['TABLE'],
    run: async (flags, word) => (await import('./reproduce.js')).reproduce(flags, word),
  },
  init: {
    describe: "Write a fresh network's parameters",
    example: 'init --model mnist-fc --rule fa --seed 1 --out start.pt',
    run: async (flags) => (await import('./init.js')).init(flags),
  },
  inspect: {
    describe: 'Show what a checkpoint holds: its tensors, and what else is in it',
    example: 'inspect runs/a/best.pt',
    words: ['FILE'],
    run: async (flags, file) => (await import('./inspect.js')).inspect(flags, file),
  },
  convert: {
    describe: "Write a checkpoint in the format of OUT's name: .pt, .pth or .safetensors",
    example: 'convert runs/a/best.pt model.safetensors',
    words: ['IN', 'OUT'],
    run: async (flags, input, output) => (await import('./convert.js')).convert(flags, input, output),
  },
  report: {
    describe: 'Write a page with the curves, results and settings of runs side by side',
    example: 'report runs/a runs/b --out report.html',
    words: ['RUN'],
    many: true,
    run: async (flags, ...folders) => (await import('./report.js')).report(flags, folders.filter(isDefined)),
  },
  data: {
    describe: 'Write image files to a few large tar shards, which train and eval read as well',
    example: 'data pack --dataset imagenet --data-dir imagenet --out imagenet-shards',
    words: ['pack'],
    run: async (flags, word) => (await import('./data-pack.js')).dataPack(flags, word),
  },
  doctor: {
    describe: 'Show what was found (libtorch, CUDA, threads, data) and the memory that a model needs',
    example: 'doctor --model imagenet-lc --rule dfa --batch-size 64',
    run: async (flags) => (await import('./doctor.js')).doctor(flags),
  },
};

/** It runs in bin/cortorch.js, before anything here can be loaded. */
const setup = ['setup', 'Get libtorch and build, where installing did not'] as const;

/**
 * Runs the command line.
 *
 * @param argv without the program's name
 * @returns the exit code: 0 done, 1 failed, 2 wrong usage, 130 interrupted
 */
export async function main(argv: readonly string[]): Promise<number> {
  process.stdout.off('error', ignore).on('error', ignore);
  try {
    return await dispatch(argv);
  } catch (error) {
    return failed(error, argv.includes('--debug'));
  }
}

/** A reader that has gone (`| head`) is no failure of ours. */
const ignore = (): void => undefined;

async function dispatch([name = '', ...args]: readonly string[]): Promise<number> {
  if (name === '--version') {
    console.log(packageVersion());
    return 0;
  }
  if (name === '--help' || name === '-h') {
    console.log(await helpOfAll());
    return 0;
  }
  if (!isCommand(name)) throw unknownCommand(name);
  const parser = parserOf(name);
  if (args.includes('--help') || args.includes('-h')) {
    console.log(withoutTypes(await parser.getHelp()));
    return 0;
  }
  const { _: rest, $0: _, ...given } = await parser.parse(args);
  const { words = [], many } = commands[name];
  if (rest.length > words.length && !many) {
    const takes = words.length === 0 ? 'flags only' : `one ${words.join(', one ')} and flags`;
    throw new CortorchError('ERR_USAGE', `cortorch ${name} takes ${takes}, but was given ${rest.join(' ')}`);
  }
  return run(name, commandOptions[name], given, rest.map(String));
}

function run<Name extends CommandName>(
  name: Name,
  known: readonly CommandOption<Name>[],
  given: Record<string, unknown>,
  words: readonly string[],
): Promise<number> | number {
  return commands[name].run(
    parseOptions(given, known, (flag) => `--${flag}`),
    ...words,
  );
}

type CommandOption<Name extends CommandName> = (typeof commandOptions)[Name][number];

const isCommand = (name: string): name is CommandName => Object.hasOwn(commands, name);

function unknownCommand(name: string): CortorchError {
  const names = [...Object.keys(commands), setup[0]];
  const all = `the commands are ${names.join(', ')}; --help tells more`;
  if (name === '') return new CortorchError('ERR_USAGE', `a command is missing: ${all}`);
  return new CortorchError('ERR_USAGE', `there is no command ${name}${didYouMean(name, names) || `: ${all}`}`);
}

/** yargs splits the words and writes the help; names and values are checked by {@link parseOptions}. */
function parserOf(name: CommandName): Argv {
  const names: readonly OptionName[] = commandOptions[name];
  const { describe, example, words = [], many } = commands[name];
  const parser = bare().usage(`cortorch ${[name, ...words].join(' ')}${many ? '…' : ''} [flags]\n\n${describe}.`);
  for (const option of names) {
    const { describe, group, parse } = options[option];
    // Texts, so that a value reaches its parser as it was written.
    const type = parse === options.json.parse ? 'boolean' : 'string';
    parser.option(kebab(option), { describe, group: `${group}:`, type });
  }
  if (example !== undefined) parser.example(`cortorch ${example}`, '');
  if (names.includes('model')) parser.epilogue(`Presets of --model: ${presetNames.join(', ')}.`);
  if (names.includes('cells')) parser.epilogue(`Cells: ${cellNames.join(', ')}.`);
  return parser;
}

/** Every value is a text to yargs: that is no help to anyone. */
const withoutTypes = (help: string): string => help.replace(/ +\[(string|boolean)\]$/gm, '');

function helpOfAll(): Promise<string> {
  const parser = bare().usage('cortorch <command> [flags]\n\nBiologically motivated deep learning at libtorch speed.');
  for (const [name, { describe, example }] of Object.entries(commands)) {
    parser.command(name, describe);
    if (example !== undefined) parser.example(`cortorch ${example}`, '');
  }
  return parser
    .command(...setup)
    .epilogue('cortorch <command> --help lists the flags of a command.')
    .getHelp();
}

function bare(): Argv {
  return yargs()
    .scriptName('cortorch')
    .locale('en')
    .wrap(Math.min(100, process.stdout.columns || 100))
    .parserConfiguration({
      'boolean-negation': false,
      'camel-case-expansion': false,
      'dot-notation': false,
      'parse-numbers': false,
      'parse-positional-numbers': false,
      'short-option-groups': false,
    })
    .help(false)
    .version(false)
    .exitProcess(false)
    .fail(false);
}
