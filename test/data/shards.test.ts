/**
 * Tar shards: what is packed comes back bit for bit, Python and GNU tar read it, theirs are read here, and what is
 * wrong is said.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { setTimeout } from 'node:timers/promises';
import t from 'tap';
import {
  ImageStream,
  listImages,
  listShards,
  packImages,
  type ImageList,
  type PackOptions,
  type PackProgress,
} from '../../lib/index.js';
import { digestOf, splitList } from '../../lib/data/images/parts.js';
import { tarEnd, tarHeader, tarPadding, walkTar } from '../../lib/data/tar.js';
import { cortorch, start } from '../support/cli.js';
import { within } from '../support/folders.js';
import { lazy } from '../support/lazy.js';
import { writePicture } from '../support/pictures.js';
import { runPython, whyNoPython } from '../support/python.js';

const folder = t.testdir({});
const at = within(folder);

const write = (file: string, i: number): Promise<void> =>
  writePicture(file, { width: 9 + (i % 5), height: 8 + (i % 7) }, { r: (i * 37) % 256, g: (i * 91) % 256, b: 40 });

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

/** In several shards. */
const packed = lazy(async () => {
  const dir = at('packed-20000');
  return { dir, shards: await packImages(list, dir, { part: 'train', maxBytes: 20_000 }) };
});

t.test('an epoch of the shards is that of the folders', async (t) => {
  for (const maxBytes of [1, 20_000, undefined]) {
    const dir = at(`packed-${maxBytes}`);
    const { shards } =
      maxBytes === 20_000
        ? await packed()
        : { shards: await packImages(list, dir, { part: 'train', ...(maxBytes && { maxBytes }) }) };
    t.equal(shards.length > 1, maxBytes !== undefined, `${shards.length} shards`);
    if (maxBytes === 20_000) {
      for (const { name, bytes } of shards) {
        t.equal(fs.statSync(path.join(dir, name)).size, bytes);
        t.ok(bytes <= maxBytes);
      }
    }
    const listed = (await listShards(dir, 'train'))!;
    t.same([...listed.labels], [...list.labels]);
    t.same(listed.classes, ['ant', 'bee', 'cat']);
    t.equal(new Set(listed.files).size, names.length, 'names are different');
    for (const number of [0, 1]) t.same(await epoch(listed, number), await epoch(list, number));
    for (const [i, file] of list.files.entries()) {
      t.ok(fs.readFileSync(file).equals(await listed.read!(i)), 'the file itself');
    }
    t.equal(await listShards(dir, 'val'), null);
  }
});

const shardsIn = (dir: string): string[] => fs.readdirSync(dir).filter((name) => name.endsWith('.tar'));
const bytesIn = (dir: string): Buffer =>
  Buffer.concat(
    shardsIn(dir)
      .sort()
      .map((name) => fs.readFileSync(path.join(dir, name))),
  );

t.test('held out of shards', async (t) => {
  const { dir } = await packed();
  const listed = (await listShards(dir, 'train'))!;
  const { train, validation } = splitList(listed, 6, 1);
  for (const part of [train, validation]) {
    for (const [i, file] of part.files.entries()) {
      const original = listed.files.indexOf(file);
      t.equal(part.labels[i], list.labels[original], file);
      t.ok(fs.readFileSync(list.files[original]!).equals(await part.read!(i)), file);
    }
  }
  t.equal(train.files.length + validation.files.length, names.length);
});

t.test('the digest of a list', (t) => {
  const of = (dataDir: string, files: string[], labels: number[]): string =>
    digestOf(
      { files: files.map((file) => path.join(dataDir, file)), labels: Int32Array.from(labels), classes: ['a', 'b'] },
      dataDir,
    );
  const digest = of('/data', ['x.jpg', 'y.jpg'], [0, 1]);
  t.equal(of('/elsewhere', ['x.jpg', 'y.jpg'], [0, 1]), digest, 'where the folder is does not matter');
  t.not(of('/data', ['x.jpg', 'y.jpg'], [1, 1]), digest, 'labels do');
  t.not(of('/data', ['y.jpg', 'x.jpg'], [0, 1]), digest, 'and the order');
  t.not(of('/data', ['x.jpg'], [0]), digest);
  t.end();
});

t.test('a file that changes while it is packed', async (t) => {
  for (const change of [-1, 1]) {
    let length = 700;
    const read = (): Promise<Buffer> => {
      const bytes = Buffer.alloc(length);
      length = 700 + change; // from the second time on
      return Promise.resolve(bytes);
    };
    const images: ImageList = { files: ['x/a.jpg'], labels: new Int32Array(1), classes: ['c'], read };
    await t.rejects(packImages(images, at(`changes-${change}`), { part: 'train' }), {
      code: 'ERR_READ_FAILED',
      message: `cannot pack x/a.jpg: it has changed: it had 700 bytes, and now it has ${700 + change}; mend or remove it`,
    });
  }
});

t.test('other programs read them', { skip: whyNoPython() }, async (t) => {
  const { dir } = await packed();
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
  const out = JSON.parse(runPython(code, dir)) as [number, string][];
  const sha1 = (file: string): string =>
    spawnSync('sha1sum', [file], { encoding: 'utf8' }).stdout.replace(/^\\/, '').slice(0, 40);
  t.same(
    out,
    list.files.map((file, i) => [list.labels[i], sha1(file)]),
  );
  for (const name of shardsIn(dir)) {
    const gnu = spawnSync('tar', ['-tvf', path.join(dir, name)], { encoding: 'utf8' });
    t.equal(gnu.status, 0, gnu.stderr);
    t.equal(gnu.stderr, '');
  }
});

t.test("other programs' shards, without an index", { skip: whyNoPython() }, async (t) => {
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
    runPython(code, dir, ...list.files.slice(0, 9));
    const foreign = (await listShards(dir, 'train'))!;
    t.same([...foreign.labels], [0, 2, 0, 2, 0, 1, 3, 1, 3], format);
    t.same(foreign.classes, ['0', '1', '2', '3']);
    for (const [i, original] of [0, 2, 4, 6, 8, 1, 3, 5, 7].entries()) {
      t.ok(fs.readFileSync(list.files[original]!).equals(await foreign.read!(i)));
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
  // Two images of one size in each other's place.
  const twins = at('twins');
  const pair = ['a', 'b'].map((name) => {
    const file = at('twin-images', 'c', `${name}.jpg`);
    fs.mkdirSync(path.dirname(file), { recursive: true });
    fs.writeFileSync(file, name.repeat(700));
    return file;
  });
  await packImages({ files: pair, labels: new Int32Array(2), classes: ['c'] }, twins, { part: 'train' });
  const both = (await listShards(twins, 'train'))!;
  const tar = fs.readFileSync(path.join(twins, 'train-000000.tar'));
  const sample = (tar.length - 1024) / 2;
  const swapped = [tar.subarray(sample, 2 * sample), tar.subarray(0, sample), tar.subarray(2 * sample)];
  fs.writeFileSync(path.join(twins, 'train-000000.tar'), Buffer.concat(swapped));
  await t.rejects(both.read!(0), { code, message: /^train-000000\.tar: c\/a\.jpg is not at byte 512/ });
  fs.rmSync(path.join(twins, 'train-000000.tar'));
  await t.rejects(
    both.read!(1),
    { code: 'ERR_READ_FAILED', message: /train-000000.tar/ },
    'opened anew after the error',
  );
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

/** A header with some of its bytes changed, and its checksum right again: of the bytes, or of them as signed ones. */
function changed(header: Buffer, change: (header: Buffer) => void, signed = false): Buffer {
  change(header);
  header.write('        ', 148);
  let sum = 0;
  for (const byte of signed ? Int8Array.from(header) : header) sum += byte;
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return header;
}

t.test('headers as other programs write them', async (t) => {
  const file = at('headers.tar');
  const put = (...headers: Buffer[]) => fs.writeFileSync(file, Buffer.concat([...headers, tarEnd()]));
  const namesIn = async (): Promise<string[]> => {
    const found: string[] = [];
    for await (const { name } of walkTar(file)) found.push(name);
    return found;
  };
  // The start of a long path has a field of its own.
  put(changed(tarHeader('a.jpg', 0), (header) => header.write('some/folder', 345)));
  t.same(await namesIn(), ['some/folder/a.jpg']);
  // Old programs added bytes as signed ones.
  put(changed(tarHeader('é.jpg', 0), () => undefined, true));
  t.same(await namesIn(), ['é.jpg']);
  // A name that is said to have a gigabyte, in GNU's way and in POSIX's.
  for (const type of ['L', 'x']) {
    put(changed(tarHeader('a', 2 ** 30), (header) => header.write(type, 156)));
    await t.rejects(namesIn(), {
      code: 'ERR_DATASET_CORRUPT',
      message: /headers\.tar: the (name|header) at byte 0 has 1073741824 bytes; at most \d+ are read/,
    });
  }
});

t.test('interrupted, and again', async (t) => {
  // Packing does not decode: 30 MiB that are quickly made.
  const source = at('noise');
  const noise = randomBytes(2 ** 20);
  for (let i = 0; i < 300; i++) {
    const file = path.join(source, 'train', `c${i % 3}`, `${i}.jpg`);
    fs.mkdirSync(path.dirname(file), { recursive: true });
    fs.writeFileSync(file, noise.subarray(i * 2000, i * 2000 + 100_000 + i));
  }
  const flags = (out: string, size = 1): string[] => [
    ...['data', 'pack', '--dataset', 'folder', '--data-dir', source, '--out', out, '--shard-size', `${size}`],
  ];
  const whole = at('noise-whole');
  t.equal((await cortorch(flags(whole))).code, 0);
  for (const signal of ['SIGKILL', 'SIGINT'] as const) {
    const dir = at(`noise-${signal}`);
    const run = start(flags(dir));
    while (!fs.existsSync(path.join(dir, 'train-000002.tar')) && run.process.exitCode === null) await setTimeout(1);
    run.process.kill(signal);
    const { code, stderr } = await run.finished;
    t.equal(code, signal === 'SIGINT' ? 130 : null, signal);
    if (signal === 'SIGINT') t.match(stderr, /the same command goes on/);
    const there = shardsIn(dir);
    t.ok(there.length >= 3 && there.length < shardsIn(whole).length, `${there.length} shards`);
    for (const name of there) {
      t.ok(fs.readFileSync(path.join(dir, name)).equals(fs.readFileSync(path.join(whole, name))), 'whole');
    }
    await t.rejects(listShards(dir, 'train'), { code: 'ERR_DATASET_CORRUPT', message: /are not complete/ });
    t.match(await cortorch(flags(dir, 2)), { code: 1, stderr: /packing\.json is of other images, or of an/ });

    const inodes = there.map((name) => fs.statSync(path.join(dir, name)).ino);
    for (const name of ['train-000020.tar', 'train.packing.json', 'train.index.json'])
      fs.writeFileSync(path.join(dir, `.${name}.0123456789abcdef.tmp`), 'of a killed process');
    t.equal((await cortorch(flags(dir))).code, 0);
    t.same(fs.readdirSync(dir).sort(), fs.readdirSync(whole).sort());
    for (const name of fs.readdirSync(dir)) {
      t.ok(fs.readFileSync(path.join(dir, name)).equals(fs.readFileSync(path.join(whole, name))), name);
    }
    t.same(
      there.map((name) => fs.statSync(path.join(dir, name)).ino),
      inodes,
      'those that were complete are kept',
    );
  }
  // A shard that got lost is written again.
  fs.rmSync(path.join(whole, 'train-000004.tar'));
  t.equal((await cortorch(flags(whole))).code, 0);
  t.ok(bytesIn(whole).equals(bytesIn(at('noise-SIGKILL'))));
});

t.test('what is there already', async (t) => {
  const code = 'ERR_WRITE_FAILED';
  const foreign = at('somebody-elses');
  fs.mkdirSync(foreign);
  fs.writeFileSync(path.join(foreign, 'train-3.tar'), 'precious');
  await t.rejects(packImages(list, foreign, { part: 'train' }), {
    code,
    message: /train-3\.tar is there already/,
  });
  t.same(fs.readdirSync(foreign), ['train-3.tar']);
  t.equal(fs.readFileSync(path.join(foreign, 'train-3.tar'), 'utf8'), 'precious');
  await packImages(list, foreign, { part: 'val' });

  // Other labels do not change the size of a shard.
  const dir = at('other-labels');
  const stop = new AbortController();
  const onProgress = ({ phase, images }: PackProgress): void => {
    if (phase === 'shards' && images > 20) stop.abort();
  };
  const options: PackOptions = { part: 'train', maxBytes: 5000 };
  await t.rejects(packImages(list, dir, { ...options, onProgress, signal: stop.signal }), {
    code: 'ERR_ABORTED',
  });
  t.ok(shardsIn(dir).length > 3);
  const other = { ...list, labels: list.labels.map((label) => 2 - label) };
  for (const wrong of [other, { ...list, classes: ['x', 'y', 'z'] }]) {
    await t.rejects(packImages(wrong, dir, options), {
      code,
      message: /train\.packing\.json is of other images/,
    });
  }
  await packImages(list, dir, options);
  for (const wrong of [other, { ...list, classes: ['x', 'y', 'z'] }]) {
    await t.rejects(packImages(wrong, dir, options), {
      code,
      message: /train\.index\.json is of other images/,
    });
  }
  await packImages({ ...list, files: [...list.files] }, dir, options);
  t.notOk(fs.existsSync(path.join(dir, 'train.packing.json')));
  // From shards to shards of another size, and back.
  const large = at('repacked');
  await packImages((await listShards(dir, 'train'))!, large, { part: 'train' });
  await packImages((await listShards(large, 'train'))!, at('back'), options);
  t.ok(bytesIn(at('back')).equals(bytesIn(dir)));
});

t.test('keys', async (t) => {
  const bytes = Buffer.from('no image, but packed as it is');
  const files = ['x/.jpg', 'x/a.b.JPG', 'x/a_b.png', 'x/2/a.b.jpg', 'x/a_b-2.jpg', 'x/3/a.b.jpg', 'x/..jpg'];
  const labels = new Int32Array(files.length);
  const images: ImageList = { files, labels, classes: ['v1.0'], read: () => Promise.resolve(bytes) };
  const [shard] = await packImages(images, at('keys'), { part: 'train' });
  t.same(
    shard!.members,
    ['_.jpg', 'a_b.jpg', 'a_b-2.png', 'a_b-3.jpg', 'a_b-2-2.jpg', 'a_b-4.jpg', '_-2.jpg'].map((name) => `v1_0/${name}`),
  );
  const code = 'ERR_INVALID_ARGUMENT';
  for (const wrong of [{ files: ['x/a'] }, { files: ['x/a.txt'] }, { files: [], labels: new Int32Array(0) }]) {
    await t.rejects(packImages({ ...images, ...wrong }, at('no-keys'), { part: 'train' }), { code });
  }
  // Videos: the same names in every folder.
  const frames = { ...images, files: Array.from({ length: 3_000 }, (_, i) => `x/${i}/frame.jpg`) };
  const many = { ...frames, labels: new Int32Array(3_000) };
  const [videos] = await packImages(many, at('frames'), { part: 'train' });
  t.equal(new Set(videos!.members).size, 3_000);
});

t.test('samples of other programs', async (t) => {
  let count = 0;
  /** A folder with a shard of these files, in this order. */
  const shard = (files: readonly (readonly [name: string, content: string])[], name = 'train-0.tar'): string => {
    const dir = at(`samples-${count++}`);
    fs.mkdirSync(dir);
    const parts = files.flatMap(([name, text]) => [tarHeader(name, text.length), text, tarPadding(text.length)]);
    fs.writeFileSync(path.join(dir, name), Buffer.concat([...parts.map((part) => Buffer.from(part)), tarEnd()]));
    return dir;
  };
  const apart = shard([
    ['d.1/a.jpg', 'A'],
    ['d.1/a.seg.png', 'mask'],
    ['README', 'text'],
    ['b.WEBP', 'B'],
    ['b.cls', ' 12\n'],
    ['d.1/a.CLS', '3'],
    ['c.json', '{}'],
  ]);
  const images = (await listShards(apart, 'train'))!;
  t.same(
    images.files.map((file) => path.relative(apart, file)),
    ['train-0.tar/d.1/a.jpg', 'train-0.tar/b.WEBP'],
  );
  t.same([...images.labels], [3, 12]);
  t.equal(images.classes.length, 13);
  t.same(await Promise.all([0, 1].map((i) => images.read!(i).then(String))), ['A', 'B']);

  // The size in binary, as GNU tar writes it where octal digits are too few.
  const tar = path.join(apart, 'train-0.tar');
  const original = fs.readFileSync(tar);
  const binary = Buffer.from(original);
  changed(binary.subarray(0, 512), (header) => {
    header.fill(0, 124, 136)[124] = 0x80;
    header[135] = 1;
  });
  fs.writeFileSync(tar, binary);
  t.equal(String(await (await listShards(apart, 'train'))!.read!(0)), 'A');
  // The list that was made before looks for the old header.
  const code = 'ERR_DATASET_CORRUPT';
  await t.rejects(images.read!(0), { code, message: /^train-0\.tar: d\.1\/a\.jpg is not at byte 512/ });
  t.equal(String(await images.read!(1)), 'B', 'which has not changed');
  fs.writeFileSync(tar, original);
  t.equal(String(await images.read!(0)), 'A');
  fs.truncateSync(tar, 600);
  await t.rejects(images.read!(1), { code, message: /b\.WEBP is not at byte/ });
  await t.rejects(listShards(apart, 'train'), {
    code,
    message: /train-0\.tar: it is cut off in d\.1\/a\.jpg|end mark/,
  });
  const label = (text: string) =>
    [
      ['a.jpg', 'A'],
      ['a.cls', text],
    ] as const;
  for (const [files, message] of [
    [
      [
        ['a.jpg', 'A'],
        ['a.png', 'A'],
        ['a.cls', '1'],
      ],
      /a\.png is the second image of a;/,
    ],
    [
      [
        ['a.jpg', 'A'],
        ['a.cls', '1'],
        ['a.cls', '2'],
      ],
      /a\.cls is the second label of a;/,
    ],
    [label('x'), /a\.cls is no label/],
    [label('-1'), /a\.cls is no label/],
    [label('1.5'), /a\.cls is no label/],
    [label(''), /a\.cls is no label/],
    [label('1000000'), /a\.cls is no label/],
    [label('9'.repeat(400)), /a\.cls is no label/],
  ] as const) {
    await t.rejects(listShards(shard(files), 'train'), { code, message });
  }
  const numbered = shard(label('1'), 'train-8.tar');
  const copy = (name: string): void => fs.copyFileSync(path.join(numbered, 'train-8.tar'), path.join(numbered, name));
  for (const name of ['train-10.tar', 'train-small-9.tar', 'xtrain-9.tar', 'train-9.tar.part']) copy(name);
  await t.rejects(listShards(numbered, 'train'), {
    code,
    message: /train-10\.tar: the shard before it is train-8\.tar; copy what is missing/,
  });
  copy('train-9.tar');
  t.same(
    (await listShards(numbered, 'train'))!.files.map((file) => path.relative(numbered, file)),
    [8, 9, 10].map((n) => `train-${n}.tar/a.jpg`),
  );
});

t.test('few files are open, and none for long', { skip: process.platform !== 'linux' }, async (t) => {
  const dir = at('many-shards');
  const bytes = Buffer.alloc(700);
  const files = Array.from({ length: 150 }, (_, i) => `${i}.jpg`);
  const images = { files, labels: new Int32Array(150), classes: ['c'], read: () => Promise.resolve(bytes) };
  t.equal((await packImages(images, dir, { part: 'train', maxBytes: 1 })).length, 150);
  const packed = (await listShards(dir, 'train'))!;
  const open = (): number =>
    fs.readdirSync('/proc/self/fd').filter((fd) => {
      try {
        return fs.readlinkSync(`/proc/self/fd/${fd}`).startsWith(dir);
      } catch {
        return false; // the folder that is being read
      }
    }).length;
  t.equal(open(), 0, 'none before they are read');
  for (let round = 0; round < 2; round++) await Promise.all(files.map((_, i) => packed.read!(i)));
  for (const i of files.keys()) t.same(await packed.read!(i), bytes);
  const some = open(); // 64, and those that are just being closed
  t.ok(some > 0 && some < 100, `${some} open`);
  while (open() > 0) await setTimeout(100); // or the test times out
  t.same(await packed.read!(149), bytes, 'opened again');
});

t.test('on the command line', async (t) => {
  const source = at('many');
  for (const part of ['train', 'val']) {
    for (let i = 0; i < (part === 'train' ? 400 : 6); i++)
      await write(path.join(source, part, `c${i % 3}`, `${i}.jpg`), i);
  }
  const flags = (out: string) => ['data', 'pack', '--dataset', 'folder', '--data-dir', source, '--out', out];
  const packed = at('whole');
  const whole = await cortorch([...flags(packed), '--json']);
  t.equal(whole.code, 0, whole.stderr);
  t.match(whole.lines, [
    { type: 'pack', part: 'train', images: 400, shards: 1 },
    { type: 'pack', part: 'val', images: 6, shards: 1 },
  ]);
  t.match(await cortorch(flags(packed)), { code: 0 }, 'a second time it is there already');

  const valOnly = at('val-only');
  fs.cpSync(path.join(source, 'val'), path.join(valOnly, 'val'), { recursive: true });
  const val = await cortorch(['data', 'pack', '--dataset', 'folder', '--data-dir', valOnly, '--out', at('val-shards')]);
  t.equal(val.code, 0, val.stderr);
  t.ok(bytesIn(at('val-shards')).equals(fs.readFileSync(path.join(packed, 'val-000000.tar'))));

  const model = at('small.json');
  const layers = [{ type: 'flatten' }, { type: 'dense', units: 3 }];
  fs.writeFileSync(model, JSON.stringify({ input: [3, 8, 8], layers, loss: 'softmax-cross-entropy' }));
  const losses = [];
  for (const dir of [source, packed]) {
    const run = ['train', '--dataset', 'folder', '--data-dir', dir, '--model', model, '--epochs', '1', '--json'];
    const { code, lines, stderr } = await cortorch(run);
    t.equal(code, 0, stderr);
    losses.push([lines[1]!.train, lines[1]!.validation]);
  }
  t.same(losses[0], losses[1], 'training is the same');

  await write(path.join(source, 'train', 'c1', 'new.jpg'), 3);
  t.match(await cortorch(flags(packed)), { code: 1, stderr: /train\.index\.json is of other images/ });
  for (const [args, message] of [
    [['data'], /what to do is missing: cortorch data pack/],
    [['data', 'unpack'], /there is no cortorch data unpack/],
    [['data', 'pack', '--dataset', 'mnist'], /--dataset is mnist, which is no folder/],
    [['data', 'pack', '--dataset', 'folder'], /--data-dir is missing/],
    [['data', 'pack', '--dataset', 'folder', '--data-dir', source], /--out is missing/],
    [flags(source), /--out is .*many, where the images are/],
  ] as const) {
    t.match(await cortorch(args), { code: 2, stderr: message });
  }
});
