/**
 * Unpacks a zip file (a wheel is one) with nothing but Node: the machine may have neither unzip nor Python.
 * Stored and deflated entries, no zip64: libtorch for the CPU is far below 4 GB.
 */
import fs from 'node:fs';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { Transform } from 'node:stream';
import zlib from 'node:zlib';

const END_OF_DIRECTORY = 0x06054b50;
const DIRECTORY_ENTRY = 0x02014b50;
const END_LENGTH = 22;
const ENTRY_LENGTH = 46;

/**
 * @param {string} archive
 * @param {string} folder is created
 * @param {(name: string) => boolean} [wanted]
 */
export async function unzip(archive, folder, wanted = () => true) {
  const fd = fs.openSync(archive, 'r');
  try {
    for (const entry of readDirectory(fd, archive)) {
      if (entry.name.endsWith('/') || !wanted(entry.name)) continue;
      const target = path.join(folder, entry.name);
      // A name such as ../../.bashrc must not leave the folder.
      if (!isInside(folder, target)) {
        throw new Error(`${archive} holds an entry outside its folder: ${entry.name}`);
      }
      fs.mkdirSync(path.dirname(target), { recursive: true });
      await extract(archive, fd, entry, target);
    }
  } finally {
    fs.closeSync(fd);
  }
}

/** @param {string} folder @param {string} target */
function isInside(folder, target) {
  const relative = path.relative(folder, target);
  return relative !== '' && !relative.startsWith('..') && !path.isAbsolute(relative);
}

/**
 * @typedef {{ name: string, method: number, crc: number, packed: number, size: number, offset: number }} Entry
 * @param {number} fd
 * @param {string} archive
 * @returns {Entry[]}
 */
function readDirectory(fd, archive) {
  const length = fs.fstatSync(fd).size;
  const tail = read(fd, Math.max(0, length - END_LENGTH - 0xffff), Math.min(length, END_LENGTH + 0xffff));
  let end = tail.length - END_LENGTH;
  while (end >= 0 && tail.readUInt32LE(end) !== END_OF_DIRECTORY) end--;
  if (end < 0) throw new Error(`${archive} is not a zip file, or not a whole one`);

  const count = tail.readUInt16LE(end + 10);
  const directory = read(fd, tail.readUInt32LE(end + 16), tail.readUInt32LE(end + 12));
  const entries = [];
  let at = 0;
  for (let i = 0; i < count; i++) {
    if (directory.readUInt32LE(at) !== DIRECTORY_ENTRY) throw new Error(`${archive}: damaged directory`);
    const name = directory.readUInt16LE(at + 28);
    const extra = directory.readUInt16LE(at + 30);
    const comment = directory.readUInt16LE(at + 32);
    entries.push({
      name: directory.toString('utf8', at + ENTRY_LENGTH, at + ENTRY_LENGTH + name),
      method: directory.readUInt16LE(at + 10),
      crc: directory.readUInt32LE(at + 16),
      packed: directory.readUInt32LE(at + 20),
      size: directory.readUInt32LE(at + 24),
      offset: directory.readUInt32LE(at + 42),
    });
    at += ENTRY_LENGTH + name + extra + comment;
  }
  return entries;
}

/**
 * @param {string} archive
 * @param {number} fd
 * @param {Entry} entry
 * @param {string} target
 */
async function extract(archive, fd, { name, method, crc, packed, size, offset }, target) {
  if (method !== 0 && method !== 8) throw new Error(`${archive}: ${name} is packed in an unknown way`);
  // The local header repeats the name and has an extra field of its own length.
  const local = read(fd, offset, 30);
  const start = offset + 30 + local.readUInt16LE(26) + local.readUInt16LE(28);

  let sum = 0;
  let length = 0;
  const check = new Transform({
    transform(/** @type {Buffer} */ chunk, _encoding, done) {
      sum = zlib.crc32(chunk, sum);
      length += chunk.length;
      done(null, chunk);
    },
  });
  if (packed === 0) fs.writeFileSync(target, '');
  else {
    const source = fs.createReadStream(archive, { start, end: start + packed - 1, highWaterMark: 1 << 20 });
    const inflate = method === 8 ? [zlib.createInflateRaw({ chunkSize: 1 << 18 })] : [];
    await pipeline([source, ...inflate, check, fs.createWriteStream(target)]);
  }
  if (length !== size || sum !== crc) throw new Error(`${archive}: ${name} is damaged`);
}

/** @param {number} fd @param {number} position @param {number} length */
function read(fd, position, length) {
  const buffer = Buffer.alloc(length);
  const got = fs.readSync(fd, buffer, 0, length, position);
  if (got !== length) throw new Error('the zip file ends too early');
  return buffer;
}
