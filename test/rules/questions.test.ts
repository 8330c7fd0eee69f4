/** Rules are asked, not recognised: no file but theirs compares a rule's name, and they stand on nobody who asks. */
import fs from 'node:fs';
import path from 'node:path';
import t from 'tap';
import ts from 'typescript';
import { packageRoot } from '../../scripts/paths.mjs';
import { ruleNames } from '../../lib/index.js';

const lib = path.join(packageRoot, 'lib');
const files = fs
  .readdirSync(lib, { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.ts'))
  .map((name) => name.replaceAll('\\', '/'));

const parse = (text: string, name: string): ts.SourceFile =>
  ts.createSourceFile(name, text, ts.ScriptTarget.Latest, true);

const isName = (node: ts.Node): boolean =>
  ts.isStringLiteralLike(node) && (ruleNames as readonly string[]).includes(node.text);

const comparisons = new Set([
  ts.SyntaxKind.EqualsEqualsToken,
  ts.SyntaxKind.EqualsEqualsEqualsToken,
  ts.SyntaxKind.ExclamationEqualsToken,
  ts.SyntaxKind.ExclamationEqualsEqualsToken,
]);

/** Whether a part of the code decides something by a rule's name. */
function decides(node: ts.Node): boolean {
  if (ts.isBinaryExpression(node)) {
    return comparisons.has(node.operatorToken.kind) && (isName(node.left) || isName(node.right));
  }
  if (ts.isCaseClause(node)) return isName(node.expression);
  if (!ts.isCallExpression(node)) return false;
  // ['fa', 'usf'].includes(rule), isOneOf(rule, ['fa', 'usf']), new Set(['fa', 'usf']).has(rule), rule.startsWith('fa')
  const { expression, arguments: given } = node;
  const list = (one: ts.Node): boolean => ts.isArrayLiteralExpression(one) && one.elements.some(isName);
  if (ts.isIdentifier(expression)) return expression.text === 'isOneOf' && given.some(list);
  if (!ts.isPropertyAccessExpression(expression)) return false;
  const { name, expression: of } = expression;
  if (['startsWith', 'endsWith', 'includes', 'indexOf'].includes(name.text) && given.some(isName)) return true;
  const listed = list(of) || (ts.isNewExpression(of) && (of.arguments ?? []).some(list));
  return listed && ['includes', 'indexOf', 'has'].includes(name.text);
}

function decisions(source: ts.SourceFile): string[] {
  const found: string[] = [];
  const visit = (node: ts.Node): void => {
    if (decides(node)) {
      const { line } = source.getLineAndCharacterOfPosition(node.getStart());
      found.push(`${source.fileName}:${line + 1}: ${node.getText().split('\n')[0]!}`);
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  return found;
}

t.test('nobody but rules compares their names', async (t) => {
  for (const slip of [
    "if (rule === 'dtp') {}",
    "const a = 'fa' != network.rule;",
    "switch (rule) { case 'ao-sdtp': break; }",
    "['usf', 'brsf'].includes(rule);",
    "isOneOf(rule, ['tp', 'sdtp']);",
    "new Set(['tp']).has(rule);",
    "rule.endsWith('sdtp');",
  ]) {
    t.equal(decisions(parse(slip, 'slip.ts')).length, 1, slip);
  }
  for (const fine of ["const table = { bp: 1, 'ao-sdtp': 2 };", "const { rule = 'bp' } = flags;", "type === 'sgd'"]) {
    t.strictSame(decisions(parse(fine, 'fine.ts')), [], fine);
  }
  const others = files.filter((name) => !name.startsWith('rules/'));
  t.ok(others.length > 80, 'all of lib');
  for (const name of others) {
    t.strictSame(decisions(parse(fs.readFileSync(path.join(lib, name), 'utf8'), `lib/${name}`)), [], `lib/${name}`);
  }
});

/** The files that a file imports, for their values or their types. */
function imports(name: string): string[] {
  const source = parse(fs.readFileSync(path.join(lib, name), 'utf8'), name);
  return source.statements.flatMap((statement) => {
    if (!ts.isImportDeclaration(statement) && !ts.isExportDeclaration(statement)) return [];
    const { moduleSpecifier: from } = statement;
    if (from === undefined || !ts.isStringLiteral(from) || !from.text.startsWith('.')) return [];
    const file = path.posix.join(path.posix.dirname(name), from.text).replace(/\.js$/, '.ts');
    return files.includes(file) ? [file] : [];
  });
}

t.test('rules stand on specs, shapes and settings, and on nothing that asks them', async (t) => {
  const below = new Set<string>();
  const visit = (name: string): void => {
    if (below.has(name)) return;
    below.add(name);
    imports(name).forEach(visit);
  };
  visit('rules/ask.ts');
  const inRules = ['ask', 'direct', 'gradient', 'names', 'options', 'rule', 'target'].map((name) => `rules/${name}.ts`);
  t.strictSame([...below].filter((name) => name.startsWith('rules/')).sort(), inRules);
  t.strictSame([...below].filter((name) => !name.startsWith('rules/')).sort(), [
    'errors.ts',
    ...['geometry', 'layers', 'parameter-names', 'shapes', 'sites', 'spec-error', 'spec'].map((n) => `model/${n}.ts`),
    'suggest.ts',
    'training/optimizer.ts',
  ]);
  for (const name of below) {
    if (name.startsWith('rules/')) continue;
    t.notOk(
      imports(name).some((other) => other.startsWith('rules/')),
      `${name} asks no rule`,
    );
  }
});
