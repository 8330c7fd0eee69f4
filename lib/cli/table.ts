/** Tables in plain text. */

export interface Column {
  readonly title: string;
  /** Numbers go to the right. Default left. */
  readonly align?: 'left' | 'right';
}

/**
 * Draws a table.
 *
 * @param rows one text for each column
 * @example
 *  rule   test error
 * ───────────────────
 *  bp         3.31 %
 * ───────────────────
 */
export function table(columns: readonly Column[], rows: readonly (readonly string[])[]): string {
  const widths = columns.map(({ title }, i) => Math.max(title.length, ...rows.map((row) => row[i]!.length)));
  const draw = (cells: readonly string[]): string => {
    const padded = cells.map((cell, i) =>
      columns[i]!.align === 'right' ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!),
    );
    return ` ${padded.join(GAP)}`.trimEnd();
  };
  const width = widths.reduce((sum, column) => sum + column + GAP.length, 0) - GAP.length + 2;
  const line = '─'.repeat(width);
  return [line, draw(columns.map(({ title }) => title)), line, ...rows.map(draw), line].join('\n');
}

const GAP = '   ';
