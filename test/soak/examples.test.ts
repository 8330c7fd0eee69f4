/** Every example, as its own comment says that it is started. */
import fs from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { Network, preset, saveTorchFile, tensorDataFrom } from '../../lib/index.js';
import { packageRoot } from '../../scripts/paths.mjs';
import { lenet } from '../../examples/lenet.js';
import { within } from '../support/folders.js';
import { run } from '../support/processes.js';

const at = within(t.testdir());

/** A checkpoint of fresh parameters. */
async function written(name: string, net: Network): Promise<string> {
  const state = [...(await net.stateDict())].map(
    ([key, { shape, data }]) => [key, tensorDataFrom(data, shape)] as const,
  );
  await saveTorchFile(at(name), Object.fromEntries(state));
  net.dispose();
  return at(name);
}

/** CIFAR-10's binary version, of ten images a file. */
function cifar10(): string {
  const folder = at('cifar-10-batches-bin');
  fs.mkdirSync(folder, { recursive: true });
  for (const name of ['data_batch_1', 'data_batch_2', 'data_batch_3', 'data_batch_4', 'data_batch_5', 'test_batch']) {
    const records = Array.from({ length: 10 }, (_, i) => Buffer.concat([Buffer.from([i]), Buffer.alloc(3072, 25 * i)]));
    fs.writeFileSync(path.join(folder, `${name}.bin`), Buffer.concat(records));
  }
  return folder;
}

/** The arguments, and what is to be printed last. */
const EXAMPLES: Readonly<Record<string, [args: () => Promise<string[]>, last: RegExp]>> = {
  'lenet.ts': [
    async () => [await written('lenet.pth', new Network(lenet()))],
    /^an epoch of fa later: [1-6]?\d\.\d\d %$/,
  ],
  'locally-connected.ts': [async () => [], /^epoch 3: test error [1-9]\.\d\d %/],
  'mirroring.ts': [async () => [], /^epoch 2: test error [2-6]\.\d\d %$/],
  'own-rule.ts': [async () => [], /^step 500: loss 0\.0\d+$/],
  'resnet20.ts': [
    async () => [await written('resnet20.th', new Network(preset('resnet20'))), cifar10()],
    /^10 images, accuracy \d+\.\d\d %$/,
  ],
  'target-propagation.ts': [async () => [], /^6 forward: test error 0\.0\d{3}, loss of the inverses -$/],
  'train-mnist.ts': [async () => [], /^epoch 5: test error [4-7]\.\d\d %, /],
};

t.test('each is here', async (t) => {
  const names = fs.readdirSync(path.join(packageRoot, 'examples')).filter((name) => name.endsWith('.ts'));
  t.strictSame(names.sort(), Object.keys(EXAMPLES));
});

for (const [name, [args, last]] of Object.entries(EXAMPLES)) {
  t.test(name, { timeout: 600_000 }, async (t) => {
    const command = ['--import', 'tsx', `examples/${name}`, ...(await args())];
    const { code, stdout, stderr } = await run(process.execPath, command, { cwd: packageRoot });
    t.equal(code, 0, stderr);
    t.match(stdout.trim().split('\n').at(-1), last);
  });
}
