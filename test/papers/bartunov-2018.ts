/** The tables of Bartunov et al. 2018 as they are printed there: what the presets' settings are compared with. */

/** A table by its columns: row → cell, as text. A `–` is left out. */
export type Columns = ReadonlyMap<string, ReadonlyMap<string, string>>;

/** Reads tables that blank lines separate; the first cell of a table is its name. */
export function columnsOf(text: string): ReadonlyMap<string, Columns> {
  const tables = text.trim().split(/\n\n+/);
  return new Map(
    tables.map((table) => {
      const [head, ...rows] = table.split('\n').map((line) => line.split('|').map((cell) => cell.trim()));
      const columns = head!.slice(1).map((name, i): [string, ReadonlyMap<string, string>] => {
        const cells = rows.map((row): [string, string] => [row[0]!, row[i + 1]!]);
        return [name, new Map(cells.filter(([, cell]) => cell !== '–'))];
      });
      return [head![0]!, new Map(columns)];
    }),
  );
}

/** Table 5. Where there is no row for β1, it is .9. */
export const TABLE_5 = `
MNIST FC   | DTP par | DTP alt  | SDTP par | SDTP alt | BP      | FA      | DFA
lr         | 7.57e-4 | 3.08e-4  | 4.02e-4  | 3.01e-4  | 1.52e-4 | 1.68e-4 | 1.649e-3
β1         | .99     | .99      | .99      | .9       | .9      | .9      | .9
β2         | .95     | .99      | .999     | .95      | .999    | .999    | .95
ε          | 1e-3    | 1e-4     | 1e-8     | 1e-4     | 1e-8    | 1e-4    | 1e-3
inverse lr | 7.68e-4 | 4.593e-3 | 1.101e-3 | 9.572e-3 | –       | –       | –
inverse β1 | .99     | .99      | .99      | .9       | –       | –       | –
inverse β2 | .999    | .999     | .95      | .95      | –       | –       | –
inverse ε  | 1e-4    | 1e-4     | 1e-6     | 1e-3     | –       | –       | –
α          | .15008  | .231758  | –        | –        | –       | –       | –
σ          | .36133  | .220444  | .213995  | .118267  | –       | –       | –

MNIST LC   | DTP par  | DTP alt  | SDTP par | SDTP alt | BP      | BP ConvNet | FA      | DFA
lr         | 9.05e-4  | 1.481e-3 | 1.45e-4  | 6.51e-4  | 1.33e-4 | 2.97e-4    | 2.19e-4 | 2.462e-3
β2         | .99      | .99      | .99      | .99      | .99     | .99        | .999    | .99
ε          | 1e-4     | 1e-4     | 1e-6     | 1e-4     | 1e-8    | 1e-8       | 1e-6    | 1e-4
inverse lr | 1.239e-3 | 1.37e-4  | 1.652e-3 | 3.741e-3 | –       | –          | –       | –
inverse β2 | .999     | .999     | .999     | .99      | –       | –          | –       | –
inverse ε  | 1e-4     | 1e-6     | 1e-4     | 1e-4     | –       | –          | –       | –
α          | .116131  | .310892  | –        | –        | –       | –          | –       | –
σ          | .099236  | .366964  | .061555  | .134739  | –       | –          | –       | –

CIFAR FC   | DTP par | DTP alt | SDTP par | SDTP alt | BP     | FA     | DFA
lr         | 1.2e-5  | 1.3e-5  | 1.29e-4  | 4.1e-5   | 1.9e-5 | 2.5e-5 | 5.0e-5
β2         | .999    | .999    | .99      | .99      | .999   | .99    | .99
ε          | 1e-8    | 1e-8    | 1e-6     | 1e-4     | 1e-6   | 1e-4   | 1e-8
inverse lr | 3.9e-5  | 1.14e-4 | 1.1e-5   | 1.4e-5   | –      | –      | –
inverse β2 | .99     | .99     | .99      | .99      | –      | –      | –
inverse ε  | 1e-6    | 1e-4    | 1e-6     | 1e-8     | –      | –      | –
α          | .125693 | .172085 | –        | –        | –      | –      | –
σ          | .169783 | .134811 | .273341  | .125678  | –      | –      | –

CIFAR LC   | DTP par | DTP alt | SDTP par | SDTP alt | BP     | BP ConvNet | FA     | DFA
lr         | 3.2e-5  | 3.6e-5  | 2.0e-5   | 1.09e-4  | 4.4e-5 | 1.33e-4    | 2.2e-5 | 4.0e-5
β2         | .99     | .99     | .99      | .99      | .999   | .99        | .999   | .999
ε          | 1e-6    | 1e-8    | 1e-4     | 1e-4     | 1e-6   | 1e-4       | 1e-8   | 1e-8
inverse lr | 8.52e-4 | 3.89e-4 | 2.61e-4  | 1.1e-5   | –      | –          | –      | –
inverse β2 | .999    | .999    | .999     | .99      | –      | –          | –      | –
inverse ε  | 1e-4    | 1e-8    | 1e-6     | 1e-8     | –      | –          | –      | –
α          | .189828 | .208141 | –        | –        | –      | –          | –      | –
σ          | .146728 | .094869 | .299769  | .023804  | –      | –          | –      | –

ImageNet LC | DTP par | DTP alt | SDTP par | BP     | BP ConvNet | FA
lr          | 2.17e-4 | 1.01e-4 | 1.1e-5   | 2.4e-5 | 4.9e-5     | 4.3e-5
β2          | .99     | .99     | .999     | .999   | .99        | .99
ε           | 1e-6    | 1e-8    | 1e-6     | 1e-8   | 1e-8       | 1e-4
inverse lr  | 2.34e-4 | 6.4e-5  | 1.70e-4  | –      | –          | –
inverse β2  | .999    | .999    | .999     | –      | –          | –
inverse ε   | 1e-6    | 1e-8    | 1e-8     | –      | –          | –
α           | .163359 | .03706  | –        | –      | –          | –
σ           | .192835 | .097217 | .168522  | –      | –          | –
`;

/** Table 1: errors in % on the training set and on the test set. */
export const TABLE_1 = `
Table 1             | MNIST FC    | MNIST LC    | CIFAR FC      | CIFAR LC
DTP parallel        | 0.44 / 2.86 | 0.00 / 1.52 | 59.45 / 59.14 | 28.69 / 39.47
DTP alternating     | 0.00 / 1.83 | 0.00 / 1.46 | 30.41 / 42.32 | 28.54 / 39.47
SDTP parallel       | 1.14 / 3.52 | 0.00 / 1.98 | 51.48 / 55.32 | 43.00 / 46.63
SDTP alternating    | 0.00 / 2.28 | 0.00 / 1.90 | 48.65 / 54.27 | 40.40 / 45.66
AO-SDTP parallel    | 0.96 / 2.93 | 0.00 / 1.92 | 4.28 / 47.11  | 32.67 / 40.05
AO-SDTP alternating | 0.00 / 1.86 | 0.00 / 1.91 | 0.00 / 45.40  | 34.11 / 40.21
FA                  | 0.00 / 1.85 | 0.00 / 1.26 | 25.62 / 41.97 | 17.46 / 37.44
DFA                 | 0.85 / 2.75 | 0.23 / 2.05 | 33.35 / 47.80 | 32.74 / 44.41
BP                  | 0.00 / 1.48 | 0.00 / 1.17 | 28.97 / 41.32 | 0.83 / 32.41
BP ConvNet          | –           | 0.00 / 1.01 | –             | 1.39 / 31.87
`;

/** Table 2: errors in % on ImageNet's validation set, of the first answer and of the best five. */
export const TABLE_2 = `
Table 2         | ImageNet LC
DTP parallel    | 98.34 / 94.56
DTP alternating | 99.36 / 97.28
SDTP parallel   | 99.28 / 97.15
FA              | 93.08 / 82.54
BP              | 71.43 / 49.07
BP ConvNet      | 63.93 / 40.17
`;
