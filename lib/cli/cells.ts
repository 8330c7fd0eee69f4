/** The cells of the paper's Table 1: Bartunov et al. 2018, which trains a network by every rule. */

import type { PaperRule } from '../training/hyperparameters.js';
import type { RuleName } from '../rules/names.js';
import type { ScheduleName } from '../rules/target.js';

export const architectureNames = ['fc', 'lc'] as const;
export type ArchitectureName = (typeof architectureNames)[number];

export interface Cell {
  /** Of its row as the paper prints it. */
  readonly title: string;
  readonly rule: RuleName;
  readonly schedule?: ScheduleName;
  /** The LC column's network with shared weights. */
  readonly shared?: true;
}

const targets = (title: string, rule: RuleName): readonly (readonly [string, Cell])[] =>
  (['parallel', 'alternating'] as const).map((schedule) => [
    `${rule}-${schedule}`,
    { title: `${title}, ${schedule}`, rule, schedule },
  ]);

/** In the paper's order. */
const cells = new Map<string, Cell>([
  ...targets('DTP', 'dtp'),
  ...targets('SDTP', 'sdtp'),
  ...targets('AO-SDTP', 'ao-sdtp'),
  ['fa', { title: 'FA', rule: 'fa' }],
  ['dfa', { title: 'DFA', rule: 'dfa' }],
  ['bp', { title: 'BP', rule: 'bp' }],
  ['bp-convnet', { title: 'BP ConvNet', rule: 'bp', shared: true }],
]);

export const cellNames: readonly string[] = [...cells.keys()];

/** The cells of a column. */
export const cellsOf = (architecture: ArchitectureName): ReadonlyMap<string, Cell> =>
  new Map([...cells].filter(([, { shared }]) => !shared || architecture === 'lc'));

export const modelOf = (dataset: string, architecture: ArchitectureName, { shared }: Cell): string =>
  `${dataset}-${shared ? 'conv' : architecture}`;

/** How the published numbers call it. */
export const paperRuleOf = ({ rule, schedule }: Cell): PaperRule =>
  (schedule === undefined ? rule : `${rule} ${schedule}`) as PaperRule;
