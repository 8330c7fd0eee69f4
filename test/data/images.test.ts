/** Images from files: the order of class folders, decoding against sharp's own pipeline, and epochs of batches. */
import fs from 'node:fs';
import path from 'node:path';
import sharp, { type Sharp } from 'sharp';
import t from 'tap';
import { decodeImage, randomCrop, type ImageTransform } from '../../lib/data/images/decode.js';
import { randomFor } from '../../lib/data/images/draws.js';
import { imagenetClasses, listImagenet, listImages } from '../../lib/data/images/folders.js';
import { ImageStream, type ImageStreamOptions } from '../../lib/data/images/loader.js';
import { writeFiles } from '../support/folders.js';
import { largestDifference } from '../support/compare.js';
import { picture } from '../support/pictures.js';
import { runPython, runTorchPython, whyNoPython, whyNoTorchPython } from '../support/python.js';

const folder = t.testdir({});

const write = (name: string, bytes: Uint8Array | string = ''): string =>
  path.join(writeFiles(folder, { [name]: bytes }), name);

const NONE: ImageTransform = { size: 32, crop: 'none', resize: 36, flip: 'none' };

/** As planes. */
async function decode(bytes: Uint8Array, transform: ImageTransform, seed = 0): Promise<Uint8Array> {
  const target = new Uint8Array(3 * transform.size ** 2);
  await decodeImage(sharp, bytes, transform, randomFor(seed, 1, 0), target);
  const plane = transform.size ** 2;
  return Uint8Array.from(target, (_, i) => target[3 * (i % plane) + Math.floor(i / plane)]!);
}

/** Interleaved pixels of sharp as planes, by another way than the package's: one channel at a time. */
async function planes(image: Sharp): Promise<Uint8Array> {
  const png = await image.png().toBuffer();
  const channels = ([0, 1, 2] as const).map((c) => sharp(png).extractChannel(c).raw().toBuffer());
  return new Uint8Array(Buffer.concat(await Promise.all(channels)));
}

t.test('folders in the order of ImageFolder', async (t) => {
  for (const name of [
    ...['b/2.JPG', 'b/10.png', 'b/notes.txt', 'B/x.webp', 'a/z.jpeg', 'a/s/1.jpg', 'a/s-1/1.jpg'],
    'a/s/x/1.jpg', // ImageFolder sorts the whole paths of folders: '-' comes before '/'
  ]) {
    write(`order/${name}`);
  }
  write('order/\u{1f600}/1.jpg'); // beyond U+FFFF: after U+FFxx, unlike in JavaScript's own order
  write('order/\uff21/1.jpg');
  write('order/stray.jpg');
  const { files, labels, classes } = await listImages(path.join(folder, 'order'));
  t.same(classes, ['B', 'a', 'b', '\uff21', '\u{1f600}']);
  t.same(
    files.map((file) => path.relative(path.join(folder, 'order'), file)),
    [
      ...['B/x.webp', 'a/z.jpeg', 'a/s/1.jpg', 'a/s-1/1.jpg', 'a/s/x/1.jpg'],
      ...['b/10.png', 'b/2.JPG', '\uff21/1.jpg', '\u{1f600}/1.jpg'],
    ],
  );
  t.same([...labels], [0, 1, 1, 1, 1, 2, 2, 3, 4]);
});

t.test('a link is what it leads to', async (t) => {
  write('linked/a/1.jpg');
  write('elsewhere/2.jpg');
  fs.symlinkSync(path.join(folder, 'elsewhere'), path.join(folder, 'linked/b'));
  fs.symlinkSync(path.join(folder, 'elsewhere/2.jpg'), path.join(folder, 'linked/a/3.jpg'));
  fs.symlinkSync(path.join(folder, 'nowhere.jpg'), path.join(folder, 'linked/a/4.jpg'));
  const { files, classes } = await listImages(path.join(folder, 'linked'));
  t.same(classes, ['a', 'b']);
  t.same(
    files.map((file) => path.relative(path.join(folder, 'linked'), file)),
    ['a/1.jpg', 'a/3.jpg', 'a/4.jpg', 'b/2.jpg'],
    'one to nothing is a file: reading it will tell',
  );
});

t.test('folders that cannot be used', async (t) => {
  const code = 'ERR_DATASET_NOT_FOUND';
  await t.rejects(listImages(path.join(folder, 'nowhere')), { code, message: /nowhere is not a folder/ });
  await t.rejects(listImages(write('file.jpg')), { code, message: /file.jpg is not a folder/ });
  write('flat/1.jpg');
  await t.rejects(listImages(path.join(folder, 'flat')), { code, message: /no class folders/ });
  write('half/a/1.jpg');
  write('half/b/readme.txt');
  await t.rejects(listImages(path.join(folder, 'half')), { code, message: /class folders b;/ });
});

t.test("ImageNet's index", async (t) => {
  const ids = Array.from({ length: 1000 }, (_, i) => `n${String(10_000_000 + 7 * i)}`);
  const index = Object.fromEntries(ids.map((id, i) => [i, [id, `thing ${i}`]]));
  const code = 'ERR_DATASET_NOT_FOUND';

  write(`few/train/${ids[900]}/1.JPEG`);
  write(`few/train/${ids[3]}/1.JPEG`);
  const few = path.join(folder, 'few');
  await t.rejects(listImagenet(few, 'train'), { code, message: /put imagenet_class_index.json/ });
  write('few/LOC_synset_mapping.txt', ids.map((id, i) => `${id} thing ${i}, other\n`).join(''));
  t.same([...(await listImagenet(few, 'train')).labels], [3, 900]);
  write('few/imagenet_class_index.json', JSON.stringify(index));
  const listed = await listImagenet(few, 'train');
  t.same([...listed.labels], [3, 900]);
  t.same(listed.classes, ids);
  write('few/train/dogs/1.JPEG');
  await t.rejects(listImagenet(few, 'train'), { code: 'ERR_DATASET_CORRUPT', message: /dogs is not named/ });
  const twice = JSON.stringify({ ...index, 999: index[998] });
  for (const wrong of ['{', '[]', '{"0":["n00000001","x"]}', '{"1":null}', twice]) {
    write('few/imagenet_class_index.json', wrong);
    await t.rejects(imagenetClasses(few), { code: 'ERR_DATASET_CORRUPT', message: /1,000 different/ });
  }

  for (const id of ids) write(`whole/train/${id}/1.JPEG`);
  write(`whole/val/${ids[500]}/1.JPEG`);
  t.same([...(await listImagenet(path.join(folder, 'whole'), 'val')).labels], [500]);

  write('flatval/val/ILSVRC2012_val_00000001.JPEG');
  await t.rejects(listImagenet(path.join(folder, 'flatval'), 'val'), { code, message: /ground_truth/ });
});

t.test('every kind of image becomes RGB, upright', async (t) => {
  const base = picture(64, 64);
  const expected = await planes(base.clone().resize(32, 32, { fit: 'fill', kernel: 'linear' }));
  const near = async (bytes: Uint8Array, tolerance: number, name: string): Promise<void> => {
    const most = largestDifference(await decode(bytes, NONE), expected);
    t.ok(most <= tolerance, `${name}: ${most}`);
  };
  await near(await base.clone().png().toBuffer(), 0, 'PNG');
  await near(
    await base.clone().ensureAlpha(0.5).png().toBuffer(),
    2, // resized with its alpha: rounded twice more
    'PNG with alpha',
  );
  await near(await base.clone().jpeg({ quality: 100, chromaSubsampling: '4:4:4' }).toBuffer(), 6, 'JPEG');
  // Made smaller while it is decoded.
  await near(await base.clone().webp({ lossless: true }).toBuffer(), 1, 'WebP');
  await near(await base.clone().toColourspace('rgb16').png().toBuffer(), 1, '16-bit PNG');
  const upright = await base.clone().rotate(270).png().toBuffer();
  await near(
    await sharp(upright).withMetadata({ orientation: 6 }).jpeg({ quality: 100, chromaSubsampling: '4:4:4' }).toBuffer(),
    6,
    'EXIF orientation 6',
  );
  const cmyk = await base.clone().toColourspace('cmyk').jpeg({ quality: 100 }).toBuffer();
  t.equal((await sharp(cmyk).metadata()).channels, 4);
  const own = await planes(sharp(cmyk).toColourspace('srgb').resize(32, 32, { fit: 'fill', kernel: 'linear' }));
  t.ok(largestDifference(await decode(cmyk, NONE), own) <= 8, 'CMYK');
  const grey = await decode(await base.clone().toColourspace('b-w').jpeg().toBuffer(), NONE);
  t.same(grey.subarray(0, 1024), grey.subarray(1024, 2048), 'grey: three equal planes');
  t.same(grey.subarray(0, 1024), grey.subarray(2048));
  t.ok(grey[31]! > grey[0]! + 20);
});

t.test('crops', async (t) => {
  const png = await picture(97, 61).png().toBuffer();
  const jpeg = (width: number, height: number, orientation = 1): Promise<Buffer> =>
    picture(width, height).withMetadata({ orientation }).jpeg({ quality: 100, chromaSubsampling: '4:4:4' }).toBuffer();
  const large = await jpeg(900, 700);
  const turned = await jpeg(700, 900, 6);
  const centre = await decode(png, { ...NONE, crop: 'center' });
  // 97×61 becomes 57×36, of which 25 columns are too many: 12.5 before the middle, which Python rounds to 12.
  const resized = await sharp(png).resize(57, 36, { fit: 'fill', kernel: 'linear' }).png().toBuffer();
  t.same(centre, await planes(sharp(resized).extract({ left: 12, top: 2, width: 32, height: 32 })), 'centre');

  for (const [name, bytes, tolerance] of [
    ['PNG', png, 0],
    ['JPEG, decoded small', large, 8],
    ['JPEG, turned', turned, 8],
  ] as const) {
    for (let seed = 0; seed < 6; seed++) {
      const upright = await sharp(bytes).autoOrient().png().toBuffer();
      const size = await sharp(upright).metadata();
      const random = randomFor(seed, 1, 0);
      const crop = randomCrop(size.width, size.height, random);
      const [mirrored, upsideDown] = [random.nextBelow(2) === 1, random.nextBelow(2) === 1];
      const part = sharp(upright).extract(crop).resize(32, 32, { fit: 'fill', kernel: 'linear' });
      const expected = await planes(
        sharp(await part.png().toBuffer())
          .flop(mirrored)
          .flip(upsideDown),
      );
      const got = await decode(bytes, { ...NONE, crop: 'random', flip: 'both' }, seed);
      const most = largestDifference(got, expected);
      t.ok(most <= tolerance, `${name}, seed ${seed}`, { most, crop });
    }
  }

  let [total, fallback] = [0, 0];
  for (let seed = 0; seed < 2000; seed++) {
    const crop = randomCrop(500, 375, randomFor(seed, 0, 0));
    const ratio = crop.width / crop.height;
    const area = (crop.width * crop.height) / (500 * 375);
    if (crop.left < 0 || crop.top < 0 || crop.left + crop.width > 500 || crop.top + crop.height > 375) {
      t.fail('outside the image', crop);
    }
    if (ratio < 0.73 || ratio > 1.36 || area < 0.078) fallback++;
    total += area;
  }
  t.equal(fallback, 0);
  // torchvision's algorithm, written again in Python: mean 0.4328, deviation 0.2166 over 200,000 draws.
  t.ok(Math.abs(total / 2000 - 0.4328) < (4 * 0.2166) / Math.sqrt(2000), `mean area ${total / 2000}`);
  t.same(randomCrop(1000, 3, randomFor(0, 0, 0)), { left: 498, top: 0, width: 4, height: 3 }, 'too wide');
  t.same(randomCrop(1, 1, randomFor(0, 0, 0)), { left: 0, top: 0, width: 1, height: 1 });
});

t.test('decoded and resized as Pillow does it', { skip: whyNoPython('PIL') }, async (t) => {
  // Detail at every scale, so that another filter or another place would show.
  const [width, height] = [300, 220];
  const pixels = new Uint8Array(3 * width * height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const wave = (a: number, b: number): number => 127 + 60 * Math.sin(x / a) + 60 * Math.cos(y / b);
      pixels.set([wave(3, 9), wave(20, 5), wave(7, 40)], 3 * (y * width + x));
    }
  }
  const base = sharp(pixels, { raw: { width, height, channels: 3 } });
  const files: Record<string, Buffer> = {
    'full.jpg': await base.clone().jpeg({ quality: 95, chromaSubsampling: '4:4:4' }).toBuffer(),
    'halved.jpg': await base.clone().jpeg({ quality: 90, chromaSubsampling: '4:2:0' }).toBuffer(),
    'progressive.jpg': await base.clone().jpeg({ quality: 95, progressive: true }).toBuffer(),
    'grey.jpg': await base.clone().toColourspace('b-w').jpeg({ quality: 95 }).toBuffer(),
    'turned.jpg': await base.clone().withMetadata({ orientation: 8 }).jpeg({ quality: 95 }).toBuffer(),
    'profile.jpg': await base.clone().withIccProfile('p3').jpeg({ quality: 95 }).toBuffer(),
    'plain.png': await base.clone().png().toBuffer(),
  };
  const code = `
import io, json, sys
from PIL import Image, ImageOps
def squares(path):
    image = ImageOps.exif_transpose(Image.open(path)).convert('RGB')
    stretched = image.resize((32, 32), Image.BILINEAR)
    scale = 36 / min(image.size)
    width, height = (36, round(image.height * scale)) if image.width < image.height else (round(image.width * scale), 36)
    left, top = round((width - 32) / 2), round((height - 32) / 2)
    middle = image.resize((width, height), Image.BILINEAR).crop((left, top, left + 32, top + 32))
    return [list(square.tobytes()) for square in (stretched, middle)]
print(json.dumps({path: squares(path) for path in sys.argv[1:]}))`;
  const paths = Object.entries(files).map(([name, bytes]) => write(`pillow/${name}`, bytes));
  const theirs = JSON.parse(runPython(code, ...paths)) as Record<string, [number[], number[]]>;
  for (const [i, [name, bytes]] of Object.entries(files).entries()) {
    for (const [s, crop] of (['none', 'center'] as const).entries()) {
      const target = new Uint8Array(3 * 32 * 32);
      await decodeImage(sharp, bytes, { ...NONE, crop }, randomFor(0, 0, 0), target);
      const differences = theirs[paths[i]!]![s]!.map((value, j) => Math.abs(value - target[j]!));
      const mean = differences.reduce((a, b) => a + b) / differences.length;
      t.ok(mean < 2, `${name}, ${crop}: ${mean} on average`);
      t.ok(Math.max(...differences) <= 16, `${name}, ${crop}: ${Math.max(...differences)} at most`);
    }
  }
});

t.test("labels and order of torchvision's ImageFolder", { skip: whyNoTorchPython('torchvision') }, async (t) => {
  for (const name of [
    'b/2.JPG',
    'b/10.png',
    'b/notes.txt',
    'B/x.webp',
    'a/z.jpeg',
    'a/s/1.jpg',
    'a/s-1/1.jpg',
    'a/s/x/1.jpg',
    '\uff21/1.jpg',
    '\u{1f600}/1.jpg',
  ])
    write(`vision/${name}`);
  const code = `
import json, sys
from torchvision.datasets import ImageFolder
print(json.dumps(ImageFolder(sys.argv[1]).samples))`;
  const dir = path.join(folder, 'vision');
  const theirs = JSON.parse(runTorchPython(code, dir)) as [string, number][];
  const { files, labels } = await listImages(dir);
  t.same(
    files.map((file, i) => [file, labels[i]]),
    theirs,
  );
});

t.test('epochs', async (t) => {
  const files: string[] = [];
  for (let i = 0; i < 23; i++)
    files.push(
      write(
        `epochs/c/${i}.png`,
        await picture(40, 30, 10 * i)
          .png()
          .toBuffer(),
      ),
    );
  const list = { files, labels: Int32Array.from(files, (_, i) => i), classes: files };
  const options: ImageStreamOptions = { size: 16, batchSize: 4, crop: 'random', flip: 'both', seed: 5 };
  const read = async (stream: ImageStream, epoch: number, start = 0): Promise<[number, number[], string][]> => {
    const all: [number, number[], string][] = [];
    for await (const { index, labels, images } of stream.epoch(epoch, start)) {
      t.equal(images.length, labels.length * 3 * 16 * 16);
      all.push([index, [...labels], Buffer.from(images).toString('base64')]);
    }
    return all;
  };
  const stream = new ImageStream(list, options);
  t.equal(stream.batches, 6);
  const first = await read(stream, 1);
  t.same(
    first.map(([index]) => index),
    [0, 1, 2, 3, 4, 5],
  );
  const labels = (epoch: typeof first): number[] => epoch.flatMap(([, some]) => some);
  const sorted = (values: number[]): number[] => values.sort((a, b) => a - b);
  t.same(sorted(labels(first)), [...files.keys()], 'every image once');
  t.same(await read(new ImageStream(list, { ...options, concurrency: 1, prefetch: 1 }), 1), first);
  t.same(await read(new ImageStream(list, { ...options, concurrency: 4, prefetch: 5 }), 1), first);
  t.same(await read(stream, 1, 4), first.slice(4), 'from the middle');
  t.same(await read(stream, 1, 6), []);
  const second = await read(stream, 2);
  t.notSame(labels(second), labels(first));
  t.same(sorted(labels(second)), [...files.keys()]);
  t.notSame(await read(new ImageStream(list, { ...options, seed: 6 }), 1), first);
  t.same(labels(await read(new ImageStream(list, { ...options, shuffle: false }), 1)), [...files.keys()]);

  // How an image is cropped and flipped: by the epoch and the image alone, wherever it is in the batch.
  const pixels = async (epoch: number, more: Partial<ImageStreamOptions>): Promise<string[]> => {
    const found: string[] = [];
    for await (const { labels, images } of new ImageStream(list, { ...options, ...more }).epoch(epoch)) {
      const size = images.length / labels.length;
      for (const [i, label] of labels.entries())
        found[label] = Buffer.from(images.subarray(i * size, (i + 1) * size)).toString('base64');
    }
    return found;
  };
  const inOrder = await pixels(1, { shuffle: false });
  t.same(await pixels(1, { batchSize: 5 }), inOrder);
  t.notSame(await pixels(2, { shuffle: false }), inOrder);
  // Of a square of 224 the shorter side is 256 as a rule, so of one of 7 it is 8.
  const center = (resize?: number) => pixels(1, { size: 7, crop: 'center', flip: 'none', ...(resize && { resize }) });
  t.same(await center(), await center(8));
  t.notSame(await center(), await center(7));
});

t.test('what is not an image is reported, skipped and counted', async (t) => {
  const jpeg = await picture(300, 200).jpeg().toBuffer();
  const huge = sharp({
    limitInputPixels: false,
    create: { width: 20_000, height: 20_000, channels: 3, background: 'red' },
  });
  const bad = [
    write('corrupt/c/empty.jpg'),
    write('corrupt/c/half.jpg', jpeg.subarray(0, jpeg.length >> 1)),
    write('corrupt/c/half.png', (await picture(300, 200).png().toBuffer()).subarray(0, 900)),
    write('corrupt/c/text.jpg', 'not an image'),
    write('corrupt/c/huge.png', await huge.png({ compressionLevel: 1 }).toBuffer()),
    path.join(folder, 'corrupt/c/removed.jpg'),
  ];
  const good = [write('corrupt/c/good.jpg', jpeg), write('corrupt/c/png.jpg', await picture(9, 9).png().toBuffer())];
  const files = [...bad, ...good];
  const list = { files, labels: Int32Array.from(files, (_, i) => i), classes: files };
  const reported: string[] = [];
  const onCorrupt = (file: string, reason: string): void => {
    reported.push(`${path.basename(file)}: ${reason}`);
  };
  const options: ImageStreamOptions = { size: 16, batchSize: 5, shuffle: false, onCorrupt };
  const stream = new ImageStream(list, { ...options, maxCorrupt: 6 });
  for (let epoch = 1; epoch <= 2; epoch++) {
    const batches = [];
    for await (const batch of stream.epoch(epoch)) batches.push(batch);
    t.same(
      batches.map(({ index, labels }) => [index, [...labels]]),
      [[1, [6, 7]]],
      'the first batch has nothing left',
    );
    t.equal(batches[0]!.images.length, 2 * 3 * 16 * 16);
    const alone = new ImageStream({ files: good, labels: Int32Array.of(6, 7), classes: good }, options);
    t.same(batches[0]!.images, (await alone.epoch(epoch).next()).value!.images, 'pixels are those of the labels');
  }
  t.same([...stream.corrupt], bad);
  t.equal(reported.length, 6, 'once each');
  for (const [i, reason] of [/file is empty/, /ends before/, /./, /unsupported/, /pixel limit/, /ENOENT/].entries()) {
    t.match(reported[i], reason);
  }
  const strict = new ImageStream(list, { ...options, maxCorrupt: 3 });
  await t.rejects(strict.epoch(1).next(), {
    code: 'ERR_DATASET_CORRUPT',
    message: /text\.jpg.*4 images.*3 may be/,
  });
  t.equal(strict.corrupt.size, 4);
});

t.test('arguments', async (t) => {
  const list = { files: ['a'], labels: Int32Array.of(0), classes: ['a'] };
  const code = 'ERR_INVALID_ARGUMENT';
  const options = { size: 16, batchSize: 4 };
  for (const wrong of [
    { size: 0 },
    { batchSize: 1.5 },
    { resize: 8 },
    { prefetch: 0 },
    { concurrency: 0 },
    { seed: -1 },
  ]) {
    t.throws(() => new ImageStream(list, { ...options, ...wrong }), {
      code,
      message: new RegExp(Object.keys(wrong)[0]!),
    });
  }
  t.throws(() => new ImageStream(list, { ...options, crop: 'left' as 'none' }), { code });
  t.throws(() => new ImageStream({ ...list, files: [] }, options), { code });
  t.throws(() => new ImageStream({ ...list, labels: new Int32Array(2) }, options), { code });
  const stream = new ImageStream(list, options);
  await t.rejects(stream.epoch(-1).next(), { code });
  await t.rejects(stream.epoch(1, 2).next(), { code });
});
