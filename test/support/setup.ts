/** Fakes for the set-up tests: a libtorch of a few bytes, programs on a PATH of their own, zip files, a server. */
import fs from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import zlib from 'node:zlib';
import { writeFiles, type Files } from './folders.js';

/** The files by which a folder is taken for a libtorch. */
export function libtorchFiles(version: string, { cuda = '', machine = 0x3e } = {}): Files {
  const library = Buffer.alloc(64);
  library.write('\x7fELF', 'latin1');
  library.writeUInt16LE(machine, 18);
  return {
    'lib/libtorch.so': library,
    'lib/libtorch_cpu.so': library,
    'lib/libc10.so': library,
    'include/ATen/ATen.h': '',
    'version.py': `__version__ = '${version}'\ncuda: Optional[str] = ${cuda ? `'${cuda}'` : 'None'}\n`,
  };
}

export function fakeLibtorch(folder: string, version = '2.13.0+cpu', options = {}): string {
  return writeFiles(folder, libtorchFiles(version, options));
}

/** A folder for PATH that holds these shell scripts and nothing else. */
export function fakePrograms(folder: string, programs: Record<string, string>): string {
  fs.mkdirSync(folder, { recursive: true });
  for (const [name, body] of Object.entries(programs)) {
    fs.writeFileSync(path.join(folder, name), `#!/bin/sh\n${body}\n`, { mode: 0o755 });
  }
  return folder;
}

/** A Python that would import torch from `torch`, and whose pip does `pip`. */
export function fakePython(torch: string, pip = 'echo "No module named pip" >&2; exit 1'): string {
  return `if [ "$1" = -c ]; then echo "$0"; echo '${torch}'; exit; fi\n${pip}`;
}

/** A zip file, as wheels are: deflated entries. */
export function zip(files: Files): Buffer {
  const locals: Buffer[] = [];
  const directory: Buffer[] = [];
  let offset = 0;
  for (const [name, content] of Object.entries(files)) {
    const data = Buffer.from(content);
    const packed = zlib.deflateRawSync(data);
    const fields = Buffer.alloc(26); // version, flags, method, time, date, crc, packed, size, name, extra
    fields.writeUInt16LE(8, 4);
    fields.writeUInt32LE(zlib.crc32(data), 10);
    fields.writeUInt32LE(packed.length, 14);
    fields.writeUInt32LE(data.length, 18);
    fields.writeUInt16LE(Buffer.byteLength(name), 22);
    const tail = Buffer.alloc(14); // comment, disk, attributes, offset
    tail.writeUInt32LE(offset, 10);
    const local = Buffer.concat([Buffer.from('PK\x03\x04'), fields, Buffer.from(name), packed]);
    locals.push(local);
    directory.push(Buffer.from('PK\x01\x02\0\0'), fields, tail, Buffer.from(name));
    offset += local.length;
  }
  const entries = Buffer.concat(directory);
  const end = Buffer.alloc(22);
  end.write('PK\x05\x06', 'latin1');
  end.writeUInt16LE(locals.length, 8);
  end.writeUInt16LE(locals.length, 10);
  end.writeUInt32LE(entries.length, 12);
  end.writeUInt32LE(offset, 16);
  return Buffer.concat([...locals, entries, end]);
}

/** An archive of libtorch as it is published: everything in a folder libtorch/. */
export function libtorchArchive(version = '2.13.0+cpu'): Buffer {
  const { 'version.py': _, ...files } = libtorchFiles(version);
  const inFolder = Object.entries(files).map(([name, content]) => [`libtorch/${name}`, content] as const);
  return zip({ ...Object.fromEntries(inFolder), 'libtorch/build-version': `${version}\n` });
}

export async function serve(answer: http.RequestListener): Promise<{ url: string; close: () => void }> {
  const server = http.createServer(answer);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}/libtorch.zip`, close: () => server.close() };
}
