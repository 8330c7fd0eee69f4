/** inspect and convert: there and back without a changed byte, and what is refused. */
import fs from 'node:fs';
import t from 'tap';
import { openCheckpoint } from '../../lib/checkpoint/checkpoint-file.js';
import { tensorsOf } from '../../lib/checkpoint/stored-values.js';
import { tensorDataFrom, type TensorData } from '../../lib/checkpoint/tensor-data.js';
import { loadTorchFile, saveTorchFile } from '../../lib/checkpoint/torch-file.js';
import { OrderedDict, PyFloat } from '../../lib/checkpoint/value.js';
import { within } from '../support/folders.js';
import { latin, tensor, text, torchArchive } from '../support/pickles.js';
import { runTorchPython, whyNoTorchPython } from '../support/python.js';
import { convert } from '../../lib/cli/convert.js';
import { inspect } from '../../lib/cli/inspect.js';

const folder = t.testdir({});
const at = within(folder);

const names = async (file: string): Promise<string[]> => {
  await using open = await openCheckpoint(file);
  return [...tensorsOf(open.value)].map(([name]) => name).sort();
};

t.test('a training checkpoint there and back', async (t) => {
  t.capture(console, 'error');
  const pair = (value: number) => tensorDataFrom(Float32Array.of(value, 2), [2]);
  await saveTorchFile(at('a.pt'), {
    state_dict: new OrderedDict([
      ['layers.0.weight', pair(1)],
      ['layers.0.weight_backward', pair(3)],
    ]),
    config: { rule: 'fa', seed: 1 },
    epoch: 2,
    step: 9,
    metrics: null,
  });
  t.equal(await convert({}, at('a.pt'), at('b.safetensors')), 0);
  t.equal(await convert({}, at('b.safetensors'), at('c.pt')), 0);
  t.ok(fs.readFileSync(at('a.pt')).equals(fs.readFileSync(at('c.pt'))), 'the same bytes');
  await convert({ forwardOnly: true }, at('a.pt'), at('d.pt'));
  t.strictSame(await names(at('d.pt')), ['layers.0.weight']);
});

t.test('--forward-only leaves out all that only learning uses', async (t) => {
  t.capture(console, 'error');
  const forward = ['auxiliary_head.weight', 'layers.0.bias', 'layers.0.weight', 'layers.1.weight'];
  // Inverses and auxiliary outputs of target propagation, feedback of a layer, and that which dfa shares.
  const backward = ['auxiliary.bias', 'auxiliary.weight', 'inverses.1.weight', 'layers.1.weight_backward'];
  const all = [...forward, ...backward, 'weight_backward'];
  const one = tensorDataFrom(Float32Array.of(1), [1]);
  await saveTorchFile(at('learnt.pt'), { state_dict: new OrderedDict(all.map((name) => [name, one])), epoch: 1 });
  for (const out of ['forward.pt', 'forward.safetensors']) {
    await convert({ forwardOnly: true }, at('learnt.pt'), at(out));
    t.strictSame(await names(at(out)), forward, out);
  }
});

t.test('metrics with a number that JSON does not have are left out, and that is said', async (t) => {
  const said = t.capture(console, 'error');
  await saveTorchFile(at('nan.pt'), {
    state_dict: new OrderedDict([['w', tensorDataFrom(Float32Array.of(1), [1])]]),
    epoch: 2,
    metrics: { train: { loss: NaN, error: 0.5 } },
  });
  await convert({}, at('nan.pt'), at('nan.safetensors'));
  await using file = await openCheckpoint(at('nan.safetensors'));
  t.match(file.metadata, { 'cortorch.epoch': '2' });
  t.notOk('cortorch.metrics' in file.metadata, 'no null in the place of a loss');
  t.match(
    said()
      .map(({ args }) => args.join(' '))
      .join('\n'),
    /^Left out.*: metrics\.$/m,
  );
});

t.test('.pt to .pt keeps ties, attributes and the order', async (t) => {
  t.capture(console, 'error');
  const tied = tensorDataFrom(Float32Array.of(1, 2, 3), [3]);
  const state = new OrderedDict([
    ['b', tied],
    ['a', { ...tied }],
  ]);
  state.attributes.set('_metadata', new OrderedDict([['', new Map([['version', 1]])]]));
  await saveTorchFile(at('tied.pt'), { state_dict: state, epoch: 1 });
  await convert({}, at('tied.pt'), at('again.pt'));
  t.ok(fs.readFileSync(at('tied.pt')).equals(fs.readFileSync(at('again.pt'))), 'the same bytes');
  const read = (await loadTorchFile(at('again.pt'))) as Map<string, OrderedDict<TensorData>>;
  const again = read.get('state_dict')!;
  t.strictSame([...again.keys()], ['b', 'a']);
  t.equal(again.get('a')!.data.buffer, again.get('b')!.data.buffer, 'one storage');
  t.ok(again.attributes.has('_metadata'));

  await convert({}, at('tied.pt'), at('tied.safetensors'));
  await using safe = await openCheckpoint(at('tied.safetensors'));
  const values = new Map([...tensorsOf(safe.value)]);
  t.same((await values.get('a')!.read()).data, tied.data, 'safetensors has no ties: a copy each');
});

const MAKE = `
import argparse, collections, sys, torch
value = {'state_dict': collections.OrderedDict(w=torch.ones(2)), 'args': argparse.Namespace(lr=0.1, layers=[3, 4]),
         's': {1, 2}, 'f': frozenset('a'), 'b': b'x\\x00\\xff', 'c': 1+2j, 'd': torch.device('cuda', 1)}
torch.save(value, sys.argv[1])
`;
const COMPARE = `
import sys, torch
a, b = (torch.load(p, weights_only=False) for p in sys.argv[1:])
assert torch.equal(a.pop('state_dict')['w'], b.pop('state_dict')['w'])
assert a == b and [type(v) for v in a.values()] == [type(v) for v in b.values()], (a, b)
`;

t.test('.pt to .pt keeps floats that are whole', async (t) => {
  t.capture(console, 'error');
  const weight = tensorDataFrom(Float32Array.of(1), [1]);
  const floats = { lr: new PyFloat(1), epoch: 3, nested: [new PyFloat(0), 0.5] };
  await saveTorchFile(at('floats.pt'), { weight, ...floats });
  await convert({}, at('floats.pt'), at('floats-again.pt'));
  t.ok(fs.readFileSync(at('floats.pt')).equals(fs.readFileSync(at('floats-again.pt'))), 'the same bytes');
});

t.test('what cannot be converted', async (t) => {
  t.capture(console, 'error');
  const code = 'ERR_CHECKPOINT_UNSUPPORTED';
  const weight = tensorDataFrom(new Float32Array(2 ** 18), [2 ** 18]);
  // 1 MiB, and 6 GiB if each name were to have its own.
  const many = new OrderedDict(Array.from({ length: 6000 }, (_, i) => [`w${i}`, weight]));
  await saveTorchFile(at('many.pt'), many);
  await t.rejects(convert({}, at('many.pt'), at('many.safetensors')), {
    code,
    message: /many\.pt.*share memory/,
  });
  t.notOk(fs.existsSync(at('many.safetensors')));
  // As Python writes a pathlib.Path: read as a record, of which nothing is known.
  const one = tensor({ elements: 'K\x01', shape: 'K\x01\x85', strides: 'K\x01\x85' });
  const pickle = latin('\x80\x02}(', text('p'), `cpathlib\nPosixPath\n${text('a')}\x85R`, text('w'), one, 'u.');
  fs.writeFileSync(at('path.pt'), torchArchive(pickle, Buffer.alloc(4)));
  await t.rejects(convert({}, at('path.pt'), at('path-again.pt')), {
    code,
    message: /path\.pt.*pathlib\.PosixPath.*--forward-only/,
  });
});

t.test("what is Python's own survives", { skip: whyNoTorchPython() }, async (t) => {
  t.capture(console, 'error');
  runTorchPython(MAKE, at('python.pt'));
  await convert({}, at('python.pt'), at('python-again.pt'));
  runTorchPython(COMPARE, at('python.pt'), at('python-again.pt'));
  t.strictSame(await loadTorchFile(at('python-again.pt')), await loadTorchFile(at('python.pt')));
});

t.test('inspect', async (t) => {
  const logged = t.capture(console, 'log');
  t.capture(console, 'error');
  await saveTorchFile(at('seen.pt'), {
    state_dict: new OrderedDict([['w', tensorDataFrom(Float32Array.of(1, 2.5), [2, 1])]]),
    epoch: 3,
  });
  t.equal(await inspect({ json: true, sums: true }, at('seen.pt')), 0);
  const [line] = logged().map(({ args }) => JSON.parse(args[0] as string) as object);
  t.strictSame(line, {
    format: 'torch-zip',
    tensors: [{ name: 'state_dict.w', shape: [2, 1], dtype: 'float32', sum: 3.5 }],
    metadata: { epoch: 3 },
  });
  await inspect({}, at('seen.pt'));
  const text = logged()
    .map(({ args }) => args.join(' '))
    .join('\n');
  t.match(text, /state_dict\.w/);
  t.match(text, /epoch/);
  // JSON has no such numbers.
  await saveTorchFile(at('numbers.pt'), { w: tensorDataFrom(Float32Array.of(1)), a: NaN, b: [-Infinity, 0.5] });
  await inspect({ json: true }, at('numbers.pt'));
  t.match(JSON.parse(logged().at(-1)!.args[0] as string), { metadata: { a: 'NaN', b: ['-Infinity', 0.5] } });

  // JSON has no NaN; and a name from a file may not clear the screen.
  await saveTorchFile(at('odd.pt'), {
    'w\u001b[2J': tensorDataFrom(Float32Array.of(NaN, 1), [2]),
    x: tensorDataFrom(Float32Array.of(Infinity, 1), [2]),
  });
  await inspect({ json: true, sums: true }, at('odd.pt'));
  const { tensors } = JSON.parse(logged()[0]!.args[0] as string) as { tensors: { sum: unknown }[] };
  t.strictSame(
    tensors.map(({ sum }) => sum),
    ['NaN', 'Infinity'],
  );
  await inspect({}, at('odd.pt'));
  const shown = logged()
    .map(({ args }) => args.join(' '))
    .join('\n');
  t.match(shown, 'w\\u001b[2J');
  t.notOk(shown.includes('\u001b'));
  await t.rejects(inspect({}, at('absent.pt')), { code: 'ERR_CHECKPOINT_NOT_FOUND', message: /absent\.pt/ });
});

t.test('refused', async (t) => {
  await saveTorchFile(at('good.pt'), { w: tensorDataFrom(Float32Array.of(1), [1]) });
  await t.rejects(convert({}, at('good.pt'), at('good.pt')), { code: 'ERR_USAGE', message: /same file/ });
  await t.rejects(convert({}, at('good.pt'), at('good.onnx')), { code: 'ERR_USAGE', message: /has to end in/ });
});
