/** Our files in PyTorch, and PyTorch's here. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { readAll } from '../support/read-all.js';
import { openCheckpoint } from '../../lib/checkpoint/checkpoint-file.js';
import { loadTorchFile, saveTorchFile } from '../../lib/checkpoint/torch-file.js';
import { DTYPES, isTensorData, tensorDataFrom, type DType, type TensorData } from '../../lib/checkpoint/tensor-data.js';
import { OpaqueObject, OrderedDict, PyFloat, Tuple, type CheckpointValue } from '../../lib/checkpoint/value.js';
import { lazy } from '../support/lazy.js';
import { runPython, runTorchPython, whyNoPython, whyNoTorchPython } from '../support/python.js';

const folder = t.testdir();
const skip = whyNoTorchPython();

/** Values as text that Python and TypeScript write alike; tensors with dtype, shape and bytes. */
const DESCRIBE = `
import sys, json, collections, torch
def describe(v):
    if isinstance(v, torch.Tensor):
        raw = v.detach().contiguous().reshape(-1)
        raw = raw.view(torch.uint8) if raw.numel() else torch.empty(0, dtype=torch.uint8)
        return f"tensor {str(v.dtype)[6:]} {list(v.shape)} {bytes(raw.tolist()).hex()}"
    if isinstance(v, collections.OrderedDict):
        meta = ' with ' + describe(v._metadata) if getattr(v, '_metadata', None) is not None else ''
        return 'OrderedDict(' + '; '.join(f'{describe(k)}: {describe(x)}' for k, x in v.items()) + ')' + meta
    if isinstance(v, dict): return '{' + '; '.join(f'{describe(k)}: {describe(x)}' for k, x in v.items()) + '}'
    if isinstance(v, list): return '[' + '; '.join(map(describe, v)) + ']'
    if isinstance(v, tuple): return '(' + '; '.join(map(describe, v)) + ')'
    if isinstance(v, float): return 'float ' + v.hex() if EXACT else 'number ' + (str(int(v)) if v == v and abs(v) < 1e15 and v == int(v) else v.hex())
    if isinstance(v, bool) or v is None: return str(v)
    if isinstance(v, int): return ('int ' if EXACT else 'number ') + str(v)
    if isinstance(v, str): return json.dumps(v)
    raise Exception(type(v))
`;

/** The same of what was read; ints and floats cannot be told apart then. */
function describe(value: CheckpointValue): string {
  if (value === null) return 'None';
  if (typeof value === 'boolean') return value ? 'True' : 'False';
  if (typeof value === 'string')
    return JSON.stringify(value).replace(/[^\0-~]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);
  if (typeof value === 'bigint') return `number ${value}`;
  if (typeof value === 'number') return `number ${Number.isSafeInteger(value) ? value : hexFloat(value)}`;
  if (isTensorData(value))
    return `tensor ${value.dtype} [${value.shape.join(', ')}] ${Buffer.from(value.data).toString('hex')}`;
  if (Array.isArray(value)) {
    const items = value.map(describe).join('; ');
    return value instanceof Tuple ? `(${items})` : `[${items}]`;
  }
  if (!(value instanceof Map)) throw new Error('not read as this');
  const items = [...(value as Map<CheckpointValue, CheckpointValue>)]
    .map(([k, v]) => `${describe(k)}: ${describe(v)}`)
    .join('; ');
  if (!(value instanceof OrderedDict)) return `{${items}}`;
  const metadata = value.attributes.get('_metadata');
  return `OrderedDict(${items})${metadata === undefined ? '' : ` with ${describe(metadata)}`}`;
}

/** Python's float.hex(). */
function hexFloat(value: number): string {
  if (Number.isNaN(value)) return 'nan';
  if (!Number.isFinite(value)) return value > 0 ? 'inf' : '-inf';
  const bytes = Buffer.alloc(8);
  bytes.writeDoubleBE(value);
  const bits = bytes.toString('hex');
  const exponent = (parseInt(bits.slice(0, 3), 16) & 0x7ff) - 1023;
  return `${value < 0 ? '-' : ''}0x1.${bits.slice(3)}p${exponent < 0 ? '' : '+'}${exponent}`;
}

const WRITE = `
EXACT = False
${DESCRIBE}
from collections import OrderedDict
torch.manual_seed(1)
nn = torch.nn
dtypes = sys.argv[2].split(',')
base = torch.arange(24, dtype=torch.float32).reshape(2, 3, 4)
values = {}
def tensors():
    for name in dtypes:
        d = getattr(torch, name)
        raw = torch.arange(48, dtype=torch.uint8)
        yield name, (raw % 2 == 0) if d is torch.bool else raw.view(d)
values['dtypes'] = dict(tensors())
values['views'] = {
  'transposed': base.transpose(0, 2), 'part': base[:, 1:, ::2], 'row': base[1, 2], 'expanded': torch.ones(3, 1).expand(3, 4),
  'scalar': torch.tensor(3.5), 'empty': torch.zeros(0), 'empty2': torch.zeros(2, 0, 3), 'offset': base.reshape(-1)[5:],
  'flipped': base.flip(0), 'channels_last': torch.arange(48.).reshape(1, 3, 4, 4).to(memory_format=torch.channels_last),
  'double_t': torch.arange(6, dtype=torch.float64).reshape(2, 3).t(), 'complex_t': torch.view_as_complex(torch.arange(12.).reshape(2, 3, 2)).t(),
  'byte_t': torch.arange(6, dtype=torch.uint8).reshape(2, 3).t(), 'half_t': torch.arange(6).half().reshape(2, 3).t(),
  'c128_t': torch.view_as_complex(torch.arange(12, dtype=torch.float64).reshape(2, 3, 2)).t(),
}
model = nn.Sequential(OrderedDict(conv=nn.Conv2d(1, 2, 3), bn=nn.BatchNorm2d(2), flat=nn.Flatten(), fc=nn.Linear(8, 3)))
values['state_dict'] = model.state_dict()
opt = torch.optim.Adam(model.parameters(), lr=1e-3)
model(torch.randn(4, 1, 4, 4)).sum().backward(); opt.step()
values['optimizer'] = opt.state_dict()
sgd = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9); sgd.step()
values['checkpoint'] = {'epoch': 12, 'best': 0.98125, 'arch': 'résnet ✓', 'state_dict': model.state_dict(), 'optimizer': sgd.state_dict(), 'done': True, 'none': None}
tied = nn.Parameter(torch.ones(2, 2))
values['parameters'] = {'a': tied, 'b': tied, 'c': tied.data[0]}
values['numbers'] = [0, 1, -1, 255, 256, 65536, 2**31, -2**31, 2**53, 2**63, -2**63, 2**200, -2**200, 0.1, -2.5, 1e300, float('inf'), float('-inf'), float('nan'), 1.5, (1, (2,), ()), [], {}, {1: 'a', -2: 'b', 2**70: 'c', None: 'd', 0.5: 'e'}]
values['size'] = {'size': torch.Size([1, 2])}
values['bare'] = torch.arange(3)
values['many'] = {f'k{i}': torch.full((1,), float(i)) for i in range(400)}
values['long'] = {'text': 'x' * 100000, 'list': list(range(3000))}
for name, value in values.items():
    torch.save(value, f'{sys.argv[1]}/{name}.pt')
    torch.save(value, f'{sys.argv[1]}/{name}.proto4', pickle_protocol=4)
    if name != 'dtypes': torch.save(value, f'{sys.argv[1]}/{name}.old', _use_new_zipfile_serialization=False)
    print(json.dumps([name, describe(value)]))
torch.serialization.set_crc32_options(False)
torch.save(values['state_dict'], f'{sys.argv[1]}/nocrc.pt')
print(json.dumps(['nocrc', describe(values['state_dict'])]))
torch.save(model, f'{sys.argv[1]}/model.pth')
typed = {k: v for k, v in values['dtypes'].items() if k in sys.argv[3].split(',')}
torch.save(typed, f'{sys.argv[1]}/typed.old', _use_new_zipfile_serialization=False)
print(json.dumps(['typed', describe(typed)]))
import argparse
torch.save({'args': argparse.Namespace(lr=0.1, layers=[1, 2]), 'names': {'a'}, 'w': base, 'dtype': torch.float16, 'device': torch.device('cuda:0'), 'z': 1+2j}, f'{sys.argv[1]}/objects.pth')
torch.save({'x': torch.view_as_complex(base.reshape(-1, 2)).conj()}, f'{sys.argv[1]}/conj.pth')
torch.save({'x': torch.quantize_per_tensor(base, 0.1, 0, torch.qint8)}, f'{sys.argv[1]}/quantized.pth')
torch.save({'x': torch.zeros(1).expand(2**40)}, f'{sys.argv[1]}/expanded.pth')
torch.jit.save(torch.jit.script(model), f'{sys.argv[1]}/script.pth')
`;

/** Lets Python write its files; what it printed of them. */
const written = lazy(() => {
  const plain = Object.keys(DTYPES).filter((name) => !name.startsWith('q'));
  const typed = plain.filter((name) => DTYPES[name as DType].storage !== null && name !== 'bool');
  return runTorchPython(WRITE, folder, plain.join(','), typed.join(','));
});

t.test('files of torch.save are read here', { skip }, async (t) => {
  const expected = written()
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as [string, string]);
  t.equal(expected.length, 13);
  for (const [name, description] of expected) {
    if (name === 'typed') {
      t.equal(describe(await loadTorchFile(join(folder, 'typed.old'))), description, 'types, before 1.6');
      continue;
    }
    t.equal(describe(await loadTorchFile(join(folder, `${name}.pt`))), description, name);
    if (name === 'nocrc') continue;
    t.equal(describe(await loadTorchFile(join(folder, `${name}.proto4`))), description, `${name}, protocol 4`);
    if (name === 'dtypes') continue;
    t.equal(describe(await loadTorchFile(join(folder, `${name}.old`))), description, `${name}, before 1.6`);
    for (const ending of ['pt', 'old']) {
      await using file = await openCheckpoint(join(folder, `${name}.${ending}`));
      t.equal(file.format, ending === 'pt' ? 'torch-zip' : 'torch-legacy');
      t.equal(describe(await readAll(file.value)), description, `${name}.${ending}, tensor by tensor`);
    }
  }
  const parameters = (await loadTorchFile(join(folder, 'parameters.pt'))) as Map<string, TensorData>;
  t.equal(parameters.get('a')!.data.buffer, parameters.get('c')!.data.buffer, 'shared storages stay shared');
});

t.test('objects of other classes are records, and TorchScript is its parameters', { skip }, async (t) => {
  written();
  const objects = (await loadTorchFile(join(folder, 'objects.pth'))) as Map<string, OpaqueObject>;
  const names = objects.get('args')!;
  t.equal(names.className, 'argparse.Namespace');
  t.strictSame(
    [...(names.state as Map<string, unknown>)],
    [
      ['lr', 0.1],
      ['layers', [1, 2]],
    ],
  );
  t.match(objects.get('names'), { className: 'builtins.set', args: [['a']] });
  t.match(objects.get('dtype'), { className: 'torch.float16', args: [] });
  t.match(objects.get('device'), { className: 'torch.device', args: ['cuda', 0] });
  t.match(objects.get('z'), { className: 'builtins.complex', args: [1, 2] });
  const quantized = (await loadTorchFile(join(folder, 'quantized.pth'))) as Map<string, OpaqueObject>;
  const integers = (quantized.get('x')!.state as Map<string, TensorData>).get('int_repr')!;
  t.equal(integers.dtype, 'qint8');
  t.strictSame([...new Int8Array(integers.data.buffer)].slice(0, 4), [0, 10, 20, 30], 'base / 0.1');
  const script = (await loadTorchFile(join(folder, 'script.pth'))) as Map<string, CheckpointValue>;
  const state = (await loadTorchFile(join(folder, 'state_dict.pt'))) as Map<string, CheckpointValue>;
  t.strictSame([...script.keys()].sort(), [...state.keys()].sort(), 'the names of its state_dict');
  for (const [name, value] of state) t.equal(describe(script.get(name)!), describe(value), name);
});

t.test('and refused with a reason where they hold more', { skip }, async (t) => {
  written();
  const refused = async (name: string, message: RegExp): Promise<void> => {
    const file = join(folder, name);
    await t.rejects(loadTorchFile(file), { code: 'ERR_CHECKPOINT_UNSUPPORTED', message }, name);
    await t.rejects(loadTorchFile(file), { message: new RegExp(`^cannot read the checkpoint ${file}: .*; .`) }, name);
  };
  await refused('model.pth', /whole pickled model.*container\.Sequential.*state_dict\(\), OUT\)/);
  await refused('conj.pth', /resolve_conj/);
  await refused('expanded.pth', /\.clone\(\)/);
});

const READ = `
EXACT = True
${DESCRIBE}
path = sys.argv[1]
print(describe(torch.load(path, weights_only=True)))
print(describe(torch.load(path, weights_only=True, mmap=True)))
from torch.utils.serialization import config
config.load.calculate_storage_offsets = True
print(describe(torch.load(path, weights_only=True, mmap=True)))
config.load.calculate_storage_offsets = False
import zipfile
print(zipfile.ZipFile(path).testzip())
value = torch.load(path, weights_only=True)
print(value['shared'][0].data_ptr() == value['shared'][1].data_ptr(), value['shared'][0].data_ptr() == value['shared'][2].data_ptr())
`;

t.test('files written here are read by torch.load(weights_only=True), also mapped', { skip }, async (t) => {
  const file = join(folder, 'ours.pt');
  const bytes = Uint8Array.from({ length: 48 }, (_, i) => i);
  const raw = (dtype: DType): TensorData => ({
    dtype,
    shape: [48 / DTYPES[dtype].bytes],
    data: dtype === 'bool' ? bytes.map((b) => b % 2) : bytes,
  });
  const metadata = new OrderedDict<CheckpointValue>([['w', tensorDataFrom(Float32Array.of(1, 2))]]);
  metadata.attributes.set('_metadata', new OrderedDict([['', new Map([['version', 1]])]]));
  const shared = new Float32Array(4);
  await saveTorchFile(file, {
    dtypes: (Object.keys(DTYPES) as DType[]).map(raw),
    empty: [
      tensorDataFrom(new Float32Array(0), [0]),
      tensorDataFrom(new Float64Array(0), [2, 0, 3]),
      tensorDataFrom(new Uint16Array(0)),
    ],
    scalar: tensorDataFrom(Float32Array.of(0.5), []),
    metadata,
    numbers: [0, 255, 256, 65536, -1, 2 ** 31, -(2 ** 53) + 1, 2n ** 64n, -(2n ** 63n), 2n ** 2000n],
    floats: [0.1, -2.5, 1e300, Infinity, new PyFloat(1), new PyFloat(-3), -0],
    mixed: [
      null,
      true,
      false,
      'ünï ✓ 🧠',
      '',
      Tuple.of<CheckpointValue>(1, 'a', Tuple.of()),
      [],
      {},
      { a: { b: [1] } },
    ],
    keys: new Map<number | string | null, CheckpointValue>([
      [1, 'a'],
      ['1', 'b'],
      [null, 'c'],
      [0.5, 'd'],
    ]),
    many: Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`k${i}`, tensorDataFrom(Float32Array.of(i))])),
    shared: [tensorDataFrom(shared), tensorDataFrom(shared, [2, 2]), tensorDataFrom(new Float32Array(4))],
  });
  const hex = (array: Uint8Array): string => Buffer.from(array).toString('hex');
  const expected =
    '{' +
    [
      `"dtypes": [${(Object.keys(DTYPES) as DType[]).map((d) => `tensor ${d} [${48 / DTYPES[d].bytes}] ${hex(raw(d).data)}`).join('; ')}]`,
      '"empty": [tensor float32 [0] ; tensor float64 [2, 0, 3] ; tensor uint16 [0] ]',
      '"scalar": tensor float32 [] 0000003f',
      '"metadata": OrderedDict("w": tensor float32 [2] 0000803f00000040) with OrderedDict("": {"version": int 1})',
      `"numbers": [${[0, 255, 256, 65536, -1, 2 ** 31, -(2 ** 53) + 1, 2n ** 64n, -(2n ** 63n), 2n ** 2000n].map((n) => `int ${n}`).join('; ')}]`,
      '"floats": [float 0x1.999999999999ap-4; float -0x1.4000000000000p+1; float 0x1.7e43c8800759cp+996; float inf; float 0x1.0000000000000p+0; float -0x1.8000000000000p+1; float -0x0.0p+0]',
      '"mixed": [None; True; False; "\\u00fcn\\u00ef \\u2713 \\ud83e\\udde0"; ""; (int 1; "a"; ()); []; {}; {"a": {"b": [int 1]}}]',
      '"keys": {int 1: "a"; "1": "b"; None: "c"; float 0x1.0000000000000p-1: "d"}',
      `"many": {${Array.from({ length: 300 }, (_, i) => `"k${i}": tensor float32 [1] ${hex(tensorDataFrom(Float32Array.of(i)).data)}`).join('; ')}}`,
      `"shared": [tensor float32 [4] ${'0'.repeat(32)}; tensor float32 [2, 2] ${'0'.repeat(32)}; tensor float32 [4] ${'0'.repeat(32)}]`,
    ].join('; ') +
    '}';
  const [plain, mapped, calculated, zip, shares] = runTorchPython(READ, file).trim().split('\n');
  t.equal(plain, expected);
  t.equal(mapped, expected);
  t.equal(calculated, expected, 'with offsets that PyTorch works out itself');
  t.equal(zip, 'None');
  t.equal(shares, 'True False');
});

t.test('a state_dict written here loads strictly into an equal module', { skip }, async (t) => {
  const file = join(folder, 'best.pt');
  await saveTorchFile(file, {
    state_dict: new OrderedDict([
      ['layers.0.weight', tensorDataFrom(Float32Array.of(1, 2, 3, 4, 5, 6), [2, 3])],
      ['layers.0.bias', tensorDataFrom(Float32Array.of(0.5, -0.5))],
    ]),
    config: { rule: 'fa', lr: 1e-3, layers: [{ units: 2 }] },
  });
  const script = `
import sys, torch
c = torch.load(sys.argv[1], weights_only=True)
m = torch.nn.Module(); m.layers = torch.nn.ModuleList([torch.nn.Linear(3, 2)])
print(m.load_state_dict(c['state_dict'], strict=True), m.layers[0](torch.tensor([1., 0., -1.])).tolist(), c['config'])
torch.save(c, sys.argv[2])`;
  const again = join(folder, 'again.pt');
  const output = runTorchPython(script, file, again);
  t.equal(
    output,
    "<All keys matched successfully> [-1.5, -2.5] {'rule': 'fa', 'lr': 0.001, 'layers': [{'units': 2}]}\n",
  );
  t.equal(describe(await loadTorchFile(again)), describe(await loadTorchFile(file)), 'and saved there, it comes back');
});

t.test('pickled in Python, a command is refused and not run', { skip: whyNoPython() }, async (t) => {
  const file = join(folder, 'evil.pt');
  const proof = join(folder, 'proof');
  const script = `
import sys, os, pickle, zipfile
class Evil:
    def __reduce__(self): return os.system, ('touch ' + sys.argv[2],)
with zipfile.ZipFile(sys.argv[1], 'w') as z:
    z.writestr('archive/data.pkl', pickle.dumps({'w': Evil()}, protocol=2)); z.writestr('archive/version', '3')`;
  runPython(script, file, proof);
  await t.rejects(loadTorchFile(file), {
    code: 'ERR_CHECKPOINT_UNSUPPORTED',
    message: /posix\.system.*no code of a checkpoint/,
  });
  t.notOk(existsSync(proof), 'nothing was run');
});
