/** Tar shards: what is packed comes back bit for bit, Python and GNU tar read it, theirs are read here, and what is wrong is said. */
import { execFileSync, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import sharp from 'sharp';
import t from 'tap';
import { ImageStream, listImages, listShards, packImages, type ImageList } from '../lib/index.js';
import { tarHeader, walkTar } from '../lib/data/tar.js';
import { cortorch, start } from './support/cli.js';

const folder = t.testdir({});
const at = (...parts: string[]): string => path.join(folder, ...parts);

async function write(file: string, i: number): Promise<void> {
  fs.mkdirSync(path.dirname(file), { recursive: true });
  const background = { r: (i * 37) % 256, g: (i * 91) % 256, b: 40 };
  const image = sharp({ create: { width: 9 + (i % 5), height: 8 + (i % 7), channels: 3, background } });
  fs.writeFileSync(file, await (file.endsWith('.png') ? image.png() : image.jpeg()).toBuffer());
}

const LONG = 'long-'.repeat(30);
const names = [
  'ant/1.jpg',
  'ant/2.x.y.jpg', // dots that WebDataset would take for the start of the extension
  'ant/2_x_y.JPG',
  `ant/${LONG}.jpeg`,
  'ant/Ünicode 名前.png',
  `bee/${'é'.repeat(49)}.jpg`, // 98 bytes, and 102 with the folder
  ...Array.from({ length: 30 }, (_, i) => `${i % 2 ? 'bee' : 'cat'}/n${i}.jpg`),
];
await Promise.all(names.map((name, i) => write(at('images', 'train', name), i)));
const list = await listImages(at('images', 'train'));

async function epoch(images: ImageList, number: number): Promise<string[]> {
  const stream = new ImageStream(images, { size: 8, batchSize: 7, crop: 'random', flip: 'both', seed: 3 });
  const batches = [];
  for await (const { images: bytes, labels } of stream.epoch(number)) {
    batches.push(`${Buffer.from(bytes).toString('base64')} ${labels.join(',')}`);
  }
  return batches;
}

t.test('an epoch of the shards is that of the folders', async (t) => {
  for (const maxBytes of [1, 20_000, undefined]) {
    const dir = at(`packed-${maxBytes}`);
    const shards = await packImages(list, dir, { part: 'train', ...(maxBytes && { maxBytes }) });
    t.equal(shards.length > 1, maxBytes !== undefined, `${shards.length} shards`);
    if (maxBytes === 20_000) {
      for (const { name, bytes } of shards) {
        t.equal(fs.statSync(path.join(dir, name)).size, bytes);
        t.ok(bytes <= maxBytes);
      }
    }
    const packed = (await listShards(dir, 'train'))!;
    t.same([...packed.labels], [...list.labels]);
    t.same(packed.classes, ['ant', 'bee', 'cat']);
    t.equal(new Set(packed.files).size, names.length, 'names are different');
    for (const number of [0, 1]) t.same(await epoch(packed, number), await epoch(list, number));
    for (const [i, file] of list.files.entries()) {
      t.ok(fs.readFileSync(file).equals((await packed.read!(i)) as Buffer), 'the file itself');
    }
    t.equal(await listShards(dir, 'val'), null);
  }
});

const python = process.env['CORTORCH_PYTHON'] ?? 'python3';
const whyNoPython = spawnSync(python, ['--version']).status === 0 ? false : `no ${python} here`;
const readAll = (dir: string): Buffer => {
  const tars = fs.readdirSync(dir).filter((name) => name.endsWith('.tar'));
  return Buffer.concat(tars.sort().map((name) => fs.readFileSync(path.join(dir, name))));
};

t.test('other programs read them', { skip: whyNoPython }, (t) => {
  const dir = at('packed-20000');
  const code = `
import glob, hashlib, json, sys, tarfile
samples = {}
for shard in sorted(glob.glob(sys.argv[1] + '/*.tar')):
    with tarfile.open(shard) as archive:
        for member in archive:
            base = member.name.split('/')[-1]
            key = member.name[:len(member.name) - len(base)] + base.split('.', 1)[0]
            extension = base.split('.', 1)[1]
            assert (member.uid, member.mtime, member.isfile()) == (0, 0, True)
            samples.setdefault(key, {})[extension] = archive.extractfile(member).read()
out = []
for key, sample in samples.items():
    (image,) = [sample[e] for e in sample if e != 'cls']
    out.append([int(sample['cls']), hashlib.sha1(image).hexdigest()])
print(json.dumps(out))
`;
  const out = JSON.parse(execFileSync(python, ['-c', code, dir], { encoding: 'utf8' })) as [number, string][];
  const sha1 = (file: string): string =>
    spawnSync('sha1sum', [file], { encoding: 'utf8' }).stdout.replace(/^\\/, '').slice(0, 40);
  t.same(
    out,
    list.files.map((file, i) => [list.labels[i], sha1(file)]),
  );
  for (const name of fs.readdirSync(dir).filter((name) => name.endsWith('.tar'))) {
    const gnu = spawnSync('tar', ['-tvf', path.join(dir, name)], { encoding: 'utf8' });
    t.equal(gnu.status, 0, gnu.stderr);
    t.equal(gnu.stderr, '');
  }
  t.end();
});

t.test("other programs' shards, without an index", { skip: whyNoPython }, async (t) => {
  for (const format of ['USTAR', 'PAX', 'GNU']) {
    const dir = at(`foreign-${format}`);
    fs.mkdirSync(dir);
    const code = `
import io, sys, tarfile, glob
files = sys.argv[2:]
for s in range(2):
    with tarfile.open(sys.argv[1] + '/train-%06d.tar' % s, 'w', format=tarfile.${format}_FORMAT) as archive:
        for i, file in list(enumerate(files))[s::2]:
            for extension, data in (('cls', str(i % 4).encode()), ('jpg', open(file, 'rb').read()), ('json', b'{}')):
                info = tarfile.TarInfo('deep/' + 'folder' * ${format === 'USTAR' ? 3 : 30} + '/%04d.' % i + extension)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
`;
    execFileSync(python, ['-c', code, dir, ...list.files.slice(0, 9)]);
    const foreign = (await listShards(dir, 'train'))!;
    t.same([...foreign.labels], [0, 2, 0, 2, 0, 1, 3, 1, 3], format);
    t.same(foreign.classes, ['0', '1', '2', '3']);
    for (const [i, original] of [0, 2, 4, 6, 8, 1, 3, 5, 7].entries()) {
      t.ok(fs.readFileSync(list.files[original]!).equals((await foreign.read!(i)) as Buffer));
    }
  }
  const dir = at('unlabelled');
  fs.mkdirSync(dir);
  execFileSync('tar', ['-cf', path.join(dir, 'train-0.tar'), '-C', at('images', 'train'), 'ant/1.jpg']);
  await t.rejects(listShards(dir, 'train'), {
    code: 'ERR_DATASET_CORRUPT',
    message: /train-0\.tar: ant\/1\.jpg has no label, a file ant\/1\.cls/,
  });
  fs.writeFileSync(path.join(dir, 'train-0.tar'), 'no archive at all, and much shorter than a block');
  await t.rejects(listShards(dir, 'train'), { code: 'ERR_DATASET_CORRUPT', message: /train-0\.tar: / });
});

t.test('shards that changed', async (t) => {
  const dir = at('changed');
  await packImages(list, dir, { part: 'train', maxBytes: 20_000 });
  const shard = path.join(dir, 'train-000001.tar');
  const bytes = fs.readFileSync(shard);
  const code = 'ERR_DATASET_CORRUPT';
  fs.rmSync(shard);
  await t.rejects(listShards(dir, 'train'), { code, message: /000001\.tar: there is no such file/ });
  fs.writeFileSync(shard, bytes.subarray(512));
  await t.rejects(listShards(dir, 'train'), {
    code,
    message: /000001\.tar: it has \d+ bytes, but the index/,
  });
  // Of the right length, but with something else in it: told of each image, as of corrupt files.
  fs.writeFileSync(shard, Buffer.alloc(bytes.length, 7));
  const reported: string[] = [];
  const stream = new ImageStream((await listShards(dir, 'train'))!, {
    ...{ size: 8, batchSize: 50, maxCorrupt: 1000 },
    onCorrupt: (file, reason) => reported.push(`${file}: ${reason}`),
  });
  for await (const _ of stream.epoch(0));
  t.ok(reported.length > 3);
  for (const line of reported) t.match(line, /000001\.tar\/(.*): train-000001\.tar: \1 is not at byte \d+/);
  fs.writeFileSync(shard, bytes);
  const index = path.join(dir, 'train.index.json');
  const text = fs.readFileSync(index, 'utf8');
  for (const wrong of [
    'no JSON',
    '{}',
    text.replace('shards 1', 'shards 9'),
    text.replace('train-000001.tar', '../train.tar'),
    text.replace(/"labels":\[\d/, '"labels":[99'),
    text.replace(/"offsets":\[\d+/, '"offsets":[123456789'),
    text.replace(/"sizes":\[\d+,/, '"sizes":['),
  ]) {
    fs.writeFileSync(index, wrong);
    await t.rejects(listShards(dir, 'train'), { code, message: /train\.index\.json is no index/ });
  }
});

t.test('names and sizes of any length', async (t) => {
  const names = [
    'a',
    'n'.repeat(100),
    'n'.repeat(101),
    'é'.repeat(51),
    `d/${'x'.repeat(5000)}`,
    ...[96, 97, 98, 99, 990].map((n) => 'y'.repeat(n)),
  ];
  const file = at('names.tar');
  const parts = names.flatMap((name, i) => [tarHeader(name, i), Buffer.alloc(i === 0 ? 0 : 512, 'z')]);
  fs.writeFileSync(file, Buffer.concat([...parts, Buffer.alloc(1024)]));
  const found = [];
  for await (const { name, size } of walkTar(file)) found.push([name, size]);
  t.same(
    found,
    names.map((name, i) => [name, i]),
  );
  const gnu = spawnSync('tar', ['-tf', file], {
    encoding: 'utf8',
    env: { ...process.env, LC_ALL: 'C.UTF-8' },
  });
  t.equal(gnu.stderr, '');
  t.same(gnu.stdout.trim().split('\n').length, names.length);
  // A file of 9 GB, of which only the headers are there to be read: the size does not fit into octal digits.
  const large = tarHeader('large', 9 * 2 ** 30);
  t.equal(large.length, 3 * 512);
  fs.writeFileSync(file, large);
  await t.rejects(walkTar(file).next(), {
    code: 'ERR_DATASET_CORRUPT',
    message: /names\.tar: it is cut off in large/,
  });
});

t.test('on the command line; interrupted, and again', async (t) => {
  const source = at('many');
  for (const part of ['train', 'val']) {
    for (let i = 0; i < (part === 'train' ? 400 : 6); i++)
      await write(path.join(source, part, `c${i % 3}`, `${i}.jpg`), i);
  }
  const flags = (out: string) => ['data', 'pack', '--dataset', 'folder', '--data-dir', source, '--out', out];
  const whole = await cortorch([...flags(at('whole')), '--json']);
  t.equal(whole.code, 0, whole.stderr);
  t.match(whole.lines, [
    { type: 'pack', part: 'train', images: 400, shards: 1 },
    { type: 'pack', part: 'val', images: 6, shards: 1 },
  ]);
  // Killed at some moment, again and again: what is there is a whole shard, or none.
  const killed = at('killed');
  for (let i = 0; i < 4; i++) {
    const run = start([...flags(killed), '--shard-size', '1']);
    await new Promise((resolve) => setTimeout(resolve, 350 + 120 * i));
    run.process.kill('SIGKILL');
    await run.finished;
  }
  const again = await cortorch([...flags(killed), '--shard-size', '1']);
  t.equal(again.code, 0, again.stderr);
  t.same(fs.readdirSync(killed).sort(), [
    'train-000000.tar',
    'train.index.json',
    'val-000000.tar',
    'val.index.json',
  ]);
  t.ok(readAll(killed).equals(readAll(at('whole'))), 'the same bytes');
  t.match(
    await cortorch([...flags(killed), '--shard-size', '1']),
    { code: 0 },
    'a second time it is there already',
  );

  const model = at('small.json');
  const layers = [{ type: 'flatten' }, { type: 'dense', units: 3 }];
  fs.writeFileSync(model, JSON.stringify({ input: [3, 8, 8], layers, loss: 'softmax-cross-entropy' }));
  const losses = [];
  for (const dir of [source, killed]) {
    const run = [
      'train',
      '--dataset',
      'folder',
      '--data-dir',
      dir,
      '--model',
      model,
      '--epochs',
      '1',
      '--json',
    ];
    const { code, lines, stderr } = await cortorch(run);
    t.equal(code, 0, stderr);
    losses.push([lines[1]!.train, lines[1]!.validation]);
  }
  t.same(losses[0], losses[1], 'training is the same');

  await write(path.join(source, 'train', 'c1', 'new.jpg'), 3);
  t.match(await cortorch(flags(killed)), { code: 1, stderr: /train\.index\.json is of other images/ });
  for (const [args, message] of [
    [['data'], /what to do is missing: cortorch data pack/],
    [['data', 'unpack'], /there is no cortorch data unpack/],
    [['data', 'pack', '--dataset', 'mnist'], /--dataset is mnist, which is no folder/],
    [['data', 'pack', '--dataset', 'folder'], /--data-dir is missing/],
    [['data', 'pack', '--dataset', 'folder', '--data-dir', source], /--out is missing/],
  ] as const) {
    t.match(await cortorch(args), { code: 2, stderr: message });
  }
});
