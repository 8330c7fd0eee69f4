/** `cortorch eval --images`: test images above what an autoencoder makes of them. */
import fs from 'node:fs';
import path from 'node:path';
import sharp from 'sharp';
import t from 'tap';
import { encodePng } from '../../lib/data/png.js';
import { Network } from '../../lib/model/network.js';
import { readCheckpoint } from '../../lib/training/checkpoint.js';
import { cortorch, smallSpec, succeedCortorch, writeTinyData } from '../support/cli.js';
import { within } from '../support/folders.js';
import { lazy } from '../support/lazy.js';

const SIDE = 28;
const COUNT = 16;
const autoencoder = {
  input: [1, SIDE, SIDE],
  layers: [
    { type: 'flatten' },
    { type: 'dense', units: 32, activation: 'tanh' },
    { type: 'dense', units: SIDE * SIDE },
  ],
  loss: 'reconstruction',
};
const folder = t.testdir({
  'autoencoder.json': JSON.stringify(autoencoder),
  'classifier.json': JSON.stringify(smallSpec),
});
const data = writeTinyData(path.join(folder, 'data'), { train: 300, test: 20 });
const at = within(folder);
const TRAIN = ['train', '--dataset', 'mnist', '--data-dir', data, '--validation', '0', '--epochs', '1'];
const evaluate = (run: string, file: string) =>
  cortorch(['eval', '--checkpoint', at(`${run}/best.pt`), '--data-dir', data, '--json', '--images', at(file)]);

const train = (model: string, out: string, ...flags: readonly string[]) =>
  succeedCortorch([...TRAIN, '--model', at(model), '--out', at(out), ...flags]);
const autoencoders = {
  plain: lazy(() => train('autoencoder.json', 'plain', '--lr', '0.01')),
  normalised: lazy(() => train('autoencoder.json', 'normalised', '--lr', '0.01', '--mean', '0.2', '--std', '0.25')),
};

for (const name of ['plain', 'normalised'] as const) {
  t.test(`originals above reconstructions, ${name}`, async (t) => {
    await autoencoders[name]();
    const { code, lines, stderr } = await evaluate(name, `${name}.png`);
    t.equal(code, 0, stderr);
    t.match(lines, [{ type: 'eval', examples: 20, error5: null }]);
    const image = sharp(at(`${name}.png`));
    t.match(await image.metadata(), { format: 'png', width: COUNT * SIDE, height: 2 * SIDE, channels: 1 });
    const pixels = await image.extractChannel(0).raw().toBuffer();
    const at2 = (row: number, i: number, y: number, x: number) =>
      pixels[(row * SIDE + y) * COUNT * SIDE + i * SIDE + x]!;

    const originals = fs.readFileSync(path.join(data, 't10k-images-idx3-ubyte')).subarray(16, 16 + COUNT * SIDE ** 2);
    const { config, parameters } = await readCheckpoint(at(`${name}/best.pt`));
    using network = new Network(config.network, { rule: 'bp', normalization: config.normalization });
    await network.loadStateDict(parameters);
    const outputs = await network.predict(originals);
    const [mean, std] = name === 'plain' ? [0, 1] : [0.2, 0.25];
    let [wrong, off] = [0, 0];
    for (let p = 0; p < originals.length; p++) {
      const [x, y, i] = [p % SIDE, Math.floor(p / SIDE) % SIDE, Math.floor(p / SIDE ** 2)];
      wrong += Number(at2(0, i, y, x) !== originals[p]);
      const wanted = Math.min(255, Math.max(0, 255 * (outputs[p]! * std + mean)));
      off = Math.max(off, Math.abs(at2(1, i, y, x) - wanted));
    }
    t.equal(wrong, 0, 'the originals, byte by byte');
    t.ok(off <= 0.51, `reconstructions are off by at most ${off}`);
  });
}

t.test('colours', async (t) => {
  const row = Uint8Array.from({ length: 2 * 3 * 2 * 2 }, (_, i) => i); // two images, planes one after another
  const { data: pixels, info } = await sharp(await encodePng([row, row], [3, 2, 2]))
    .raw()
    .toBuffer({ resolveWithObject: true });
  t.match(info, { width: 4, height: 4, channels: 3 });
  t.strictSame([...pixels.subarray(0, 12)], [0, 4, 8, 1, 5, 9, 12, 16, 20, 13, 17, 21]);
  t.strictSame(pixels.subarray(0, 24), pixels.subarray(24), 'the second row');
});

t.test('what it refuses', async (t) => {
  await train('classifier.json', 'classifier');
  t.match(await evaluate('classifier', 'x.png'), {
    code: 2,
    stdout: '',
    stderr: /ERR_USAGE\] --images shows reconstructions, but .*best\.pt has the loss softmax-cross-entropy; leave/,
  });
  await autoencoders.plain();
  t.match(await evaluate('plain', 'x.jpg'), { code: 2, stdout: '', stderr: /--images: .* ends in \.png/ });
  t.match(await evaluate('plain', 'none/x.png'), {
    code: 1,
    stderr: /ERR_WRITE_FAILED.*none does not exist/,
  });
  t.notOk(fs.existsSync(at('x.png')));
});
