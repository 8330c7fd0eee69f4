/**
 * What README and docs show: TypeScript is type-checked and run, command lines have flags that there are, and the rule
 * of docs/own-rules.md trains.
 */
import fs from 'node:fs';
import path from 'node:path';
import t from 'tap';
import ts from 'typescript';
import * as cortorchExports from '../../lib/index.js';
import { commandOptions, options, parseOptions, type CommandName } from '../../lib/cli/options.js';
import { packageRoot } from '../../scripts/paths.mjs';
import { FETCHED_VERSION } from '../../scripts/libtorch.mjs';
import { cortorch, metricsOf, writeTinyData } from '../support/cli.js';
import { temporaryFolder, within, writeFiles } from '../support/folders.js';
import { run } from '../support/processes.js';
import { result } from '../support/run-result.js';

/** A cache of rules of this file's own. */
const env = { XDG_CACHE_HOME: temporaryFolder(t, 'rules') };

const TIME = { timeout: 600_000 };

interface Block {
  /** Such as `README.md:38`. */
  readonly where: string;
  readonly language: string;
  readonly text: string;
}

function blocksOf(file: string): Block[] {
  const blocks: Block[] = [];
  let open: { line: number; language: string; lines: string[] } | null = null;
  for (const [i, line] of fs.readFileSync(path.join(packageRoot, file), 'utf8').split('\n').entries()) {
    const fence = /^```(.*)$/.exec(line);
    if (fence && open === null) open = { line: i + 1, language: fence[1]!, lines: [] };
    else if (fence && open !== null) {
      blocks.push({ where: `${file}:${open.line}`, language: open.language, text: open.lines.join('\n') });
      open = null;
    } else open?.lines.push(line);
  }
  if (open !== null) throw new Error(`${file}:${open.line}: a block that does not end`);
  return blocks;
}

const documents = ['README.md', ...fs.readdirSync(path.join(packageRoot, 'docs')).map((name) => `docs/${name}`)];
/** What is done with the others would have to be said here first. */
const LANGUAGES = ['', 'ts', 'sh', 'ini', 'cpp'];
const blocks = documents.filter((name) => name.endsWith('.md')).flatMap(blocksOf);

/** A rule's file, whole; the other blocks of C++ are of the examples. */
const ownRule = blocks.find(({ language, text }) => language === 'cpp' && text.includes('CORTORCH_RULE'))!;
/** As the page calls it. */
const OWN_RULE = 'sign-flip.cpp';

/** A module: what a block takes for granted is imported, and it trains for an epoch at most. */
function moduleOf(text: string): string {
  const imported = new Set(
    /import \{([^}]*)\} from 'cortorch'/
      .exec(text)?.[1]
      ?.split(',')
      .map((name) => name.trim()),
  );
  const used = Object.keys(cortorchExports).filter((name) => new RegExp(`\\b${name}\\(|\\b${name}\\.`).test(text));
  const missing = used.filter((name) => !imported.has(name));
  const code = text.replace(/epochs: \d+/g, 'epochs: 1');
  return `${missing.length > 0 ? `import { ${missing.join(', ')} } from 'cortorch';\n` : ''}${code}\nexport {};\n`;
}

/** @returns what the compiler has to say of the files */
function typeErrors(files: readonly string[]): string[] {
  const config = ts.getParsedCommandLineOfConfigFile(
    path.join(packageRoot, 'tsconfig.json'),
    { noEmit: true, noUnusedLocals: false },
    {
      ...ts.sys,
      onUnRecoverableConfigFileDiagnostic: (problem) =>
        t.fail(ts.flattenDiagnosticMessageText(problem.messageText, '\n')),
    },
  )!;
  const program = ts.createProgram(files, config.options);
  return ts.getPreEmitDiagnostics(program).map(({ file, start, messageText }) => {
    const line = file === undefined ? '' : `${file.fileName}:${file.getLineAndCharacterOfPosition(start!).line + 1}: `;
    return line + ts.flattenDiagnosticMessageText(messageText, '\n');
  });
}

t.test('blocks are of languages that are checked, or that nobody runs', async (t) => {
  for (const { where, language } of blocks) t.ok(LANGUAGES.includes(language), `${where}: ${language}`);
});

t.test('README claims the versions of libtorch that CI builds', async (t) => {
  const text = fs.readFileSync(path.join(packageRoot, 'README.md'), 'utf8');
  const [cpu] = FETCHED_VERSION.split('+');
  t.match(text, `libtorch ${cpu} for the CPU`);
  const cuda = /torch==([\d.]+)/.exec(fs.readFileSync(path.join(packageRoot, '.ci/cuda-libtorch'), 'utf8'))![1];
  t.match(text, `builds the CUDA kernels on ${cuda}`);
});

t.test('TypeScript in the documents', { timeout: 300_000 }, async (t) => {
  const shown = blocks.filter(({ language }) => language === 'ts');
  t.ok(shown.length >= 3, `${shown.length} blocks`);
  const files = Object.fromEntries(shown.map(({ text }, i) => [`block-${i}.ts`, moduleOf(text)]));
  // Within the package, whose name they import.
  const folder = writeFiles(t.testdir(), { ...files, [OWN_RULE]: ownRule.text });
  const paths = Object.keys(files).map((name) => path.join(folder, name));
  t.strictSame(typeErrors(paths), []);
  // The checker does see what is wrong.
  const wrong = path.join(folder, 'wrong.ts');
  fs.writeFileSync(wrong, moduleOf("new Network(preset('mnist-fc'), { rule: 'no such rule' });"));
  t.match(typeErrors([wrong]), [/no such rule/]);
  for (const [i, file] of paths.entries()) {
    const { code, stderr } = await run(process.execPath, ['--import', 'tsx', file], { cwd: folder, env });
    t.equal(code, 0, `${shown[i]!.where}: ${stderr}`);
  }
});

/** A line of a shell, its continuations joined, without its comment. */
const commandLines = blocks
  .filter(({ language }) => language === '' || language === 'sh')
  .flatMap(({ where, text }) =>
    text
      .replaceAll(/\\\n\s*/g, '')
      .split('\n')
      .flatMap((line) => {
        const words = /\bnpx cortorch (.*)$/.exec(line.replace(/\s+#.*$/, ''))?.[1];
        return words === undefined ? [] : [{ where, words: words.replaceAll('"', '').trim().split(/\s+/) }];
      }),
  );

/** Flags by name, and the other words. */
function read(words: readonly string[]): { flags: Record<string, string | true>; rest: string[] } {
  const flags: Record<string, string | true> = {};
  const rest: string[] = [];
  for (let i = 0; i < words.length; i++) {
    const word = words[i]!;
    if (!word.startsWith('--')) {
      rest.push(word);
      continue;
    }
    const name = word.slice(2);
    const camel = name.replace(/-([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
    const isSwitch = (options as Record<string, { parse: unknown }>)[camel]?.parse === options.json.parse;
    flags[name] = isSwitch ? true : words[++i]!;
  }
  return { flags, rest };
}

t.test('command lines in the documents have commands, flags and values that there are', async (t) => {
  t.ok(commandLines.length > 30, `${commandLines.length} command lines`);
  for (const { where, words } of commandLines) {
    const [command, ...args] = words;
    if (command === 'setup') continue; // of bin/, without flags
    const known = commandOptions[command as CommandName];
    if (!t.ok(known, `${where}: cortorch ${command}`)) continue;
    t.doesNotThrow(
      () => parseOptions(read(args).flags, known, (flag) => `--${flag}`),
      `${where}: cortorch ${words.join(' ')}`,
    );
  }
});

t.test('those on MNIST run, one after the other', { timeout: 600_000 }, async (t) => {
  const folder = writeFiles(t.testdir(), { [OWN_RULE]: ownRule.text });
  const at = within(folder);
  let ran = 0;
  for (const { where, words } of commandLines) {
    const { flags, rest } = read(words);
    const inputs = [flags.checkpoint, flags.resume, ...rest.slice(1)].filter((word) => typeof word === 'string');
    const isThere = inputs.every((name) => name === flags.out || fs.existsSync(at(name)));
    const [command] = words;
    const runs =
      flags.device === undefined &&
      (command === 'train'
        ? (flags.dataset === 'mnist' && flags.init === undefined) || flags.resume !== undefined
        : ['eval', 'init', 'inspect', 'report', 'doctor'].includes(command!));
    if (!runs || !isThere) continue;
    const short = command === 'train' ? ['--max-steps', flags.resume === undefined ? '2' : '4'] : [];
    const { code, stderr } = await cortorch([...words, ...short], { cwd: folder, env });
    if (t.equal(code, 0, `${where}: cortorch ${words.join(' ')}\n${stderr}`)) ran++;
  }
  t.ok(ran >= 7, `${ran} ran`);
});

t.test('C++ in the documents is a rule of forty lines at most, or of the examples', async (t) => {
  t.ok(ownRule.text.split('\n').length <= 40);
  const folder = path.join(packageRoot, 'examples/rules');
  const examples = fs.readdirSync(folder).map((name) => fs.readFileSync(path.join(folder, name), 'utf8'));
  for (const { where, language, text } of blocks) {
    if (language !== 'cpp' || text === ownRule.text) continue;
    t.ok(
      examples.some((example) => example.includes(`\n${text}\n`)),
      where,
    );
  }
});

t.test('the rule of the page trains every map, goes on bit for bit, and is in a report', TIME, async (t) => {
  const folder = writeFiles(t.testdir(), { [OWN_RULE]: ownRule.text });
  const at = within(folder);
  const data = writeTinyData(at('data'), { train: 60, test: 20 });
  const flags = ['train', '--dataset', 'mnist', '--data-dir', data, '--validation', '20', '--batch-size', '10'];
  const own = ['--rule', `./${OWN_RULE}`];
  const succeed = async (args: readonly string[]): Promise<void> => {
    const { code, stderr } = await cortorch(args, { cwd: folder, env });
    t.equal(code, 0, `cortorch ${args.join(' ')}: ${stderr}`);
  };
  for (const model of ['mnist-fc', 'mnist-lc', 'mnist-conv']) {
    const train = [...flags, '--model', model, ...own, '--rule-option', 'every=2', '--diagnostics', '1'];
    await succeed([...train, '--epochs', '2', '--out', at(model)]);
    await succeed([...train, '--epochs', '2', '--max-steps', '3', '--out', at(`${model}-cut`)]);
    await succeed(['train', '--resume', at(`${model}-cut`), ...own]);
    const [whole, cut] = await Promise.all([result(at(model)), result(at(`${model}-cut`))]);
    t.strictSame(cut.parameters, whole.parameters, model);
    t.strictSame(cut.moments, whole.moments, model);
    const diagnoses = metricsOf(at(model)).filter(({ type }) => type === 'diagnostics');
    // Of the top layer, which little moves in eight steps: B, B, -B, -B, …
    const angles = diagnoses.map(({ layers }) => layers.at(-1)!['feedbackAngle' as 'gradientAngle']);
    t.equal(angles.length, 8);
    for (const [a, b] of [
      [angles[1]!, angles[2]!],
      [angles[5]!, angles[6]!],
    ])
      t.ok(Math.abs(a! + b! - 180) < 10, `${model}: ${a}° and ${b}°, on both sides of 90°`);
  }
  await succeed([
    'report',
    ...['mnist-fc', 'mnist-lc', 'mnist-conv'].map((name) => at(name)),
    '--out',
    at('page.html'),
  ]);
  const page = fs.readFileSync(at('page.html'), 'utf8');
  t.match(page, '<td>sign-flip</td>');
  t.match(page, '{&#34;every&#34;:2}');
});
