/**
 * LeNet-5 as PyTorch's nn.Sequential has it: layers are called by their places in it, those without parameters counted,
 * so that the checkpoint of such a model loads. Evaluates one on MNIST and trains it on by feedback alignment.
 *
 *   npx tsx examples/lenet.ts FILE.pth             evaluates a checkpoint, then trains it for an epoch
 *   npx tsx examples/lenet.ts > lenet.json         the network as a spec, for cortorch's --model
 */
import { pathToFileURL } from 'node:url';
import { mnist, Network, network, readParameters, Trainer, type ResolvedSpec } from 'cortorch';

export function lenet(): ResolvedSpec {
  return network({ channels: 1, height: 28, width: 28 })
    .conv2d(6, { kernel: 5, padding: 2, activation: 'relu', name: '0' })
    .avgPool2d({ kernel: 2 })
    .conv2d(16, { kernel: 5, activation: 'relu', name: '3' })
    .avgPool2d({ kernel: 2 })
    .flatten()
    .dense(120, { activation: 'relu', name: '7' })
    .dense(84, { activation: 'relu', name: '9' })
    .dense(10, { name: '11' })
    .softmaxCrossEntropy();
}

const percent = (error: number): string => `${(100 * error).toFixed(2)} %`;

if (import.meta.url === pathToFileURL(process.argv[1]!).href) {
  const file = process.argv[2];
  if (file === undefined) console.log(JSON.stringify(lenet(), null, 2));
  else {
    const { train, test } = await mnist();
    const parameters = await readParameters(file);
    using bp = new Network(lenet());
    await bp.loadStateDict(parameters);
    console.log(`as it is: test error ${percent((await bp.evaluate(test)).error)}`);
    // Feedback weights are not in the file: fa brings its own.
    using fa = new Network(lenet(), { rule: 'fa', seed: 1 });
    await fa.loadStateDict(new Map([...(await fa.stateDict()), ...parameters]));
    const trainer = new Trainer(fa, { optimizer: { type: 'adam', lr: 1e-4 } });
    for await (const event of trainer.fit(train, { epochs: 1, test })) {
      if (event.type === 'epoch') console.log(`an epoch of fa later: ${percent(event.test!.error)}`);
    }
  }
}
