/** Pickles and checkpoint files put together by hand: such as PyTorch writes, and such as nobody should. */
import { ZipWriter } from '../../lib/checkpoint/zip.js';

/** Bytes from texts whose characters are bytes. */
export const latin = (...parts: readonly string[]): Buffer => Buffer.from(parts.join(''), 'latin1');

/** Four bytes, the least significant first. */
export const int4 = (value: number): string =>
  String.fromCharCode(value & 255, (value >> 8) & 255, (value >> 16) & 255, value >>> 24);

/** A text, as an instruction of a pickle. */
export const text = (value: string): string => `X${int4(Buffer.byteLength(value, 'latin1'))}${value}`;

interface TensorPickle {
  /** Of its storage; by default 4. Like what follows, instructions that push numbers or tuples of them. */
  readonly elements?: string;
  readonly offset?: string;
  readonly shape: string;
  readonly strides: string;
}

/** A tensor over storage 0, of floats. */
export const tensor = ({ elements = 'K\x04', offset = 'K\0', shape, strides }: TensorPickle): string =>
  `ctorch._utils\n_rebuild_tensor_v2\n((${text('storage')}ctorch\nFloatStorage\n${text('0')}${text('cpu')}` +
  `${elements}tQ${offset}${shape}${strides}\x89ccollections\nOrderedDict\n)RtR`;

/** A zip archive as the package writes them, its checksums right. */
export function zipArchive(entries: readonly (readonly [name: string, data: Uint8Array])[]): Buffer {
  const zip = new ZipWriter();
  const chunks = entries.flatMap(([name, data]) => [...zip.entry(name, data)]);
  return Buffer.concat([...chunks, ...zip.end()]);
}

/** A checkpoint around a pickle. */
export const torchArchive = (pickle: Uint8Array, ...storages: readonly Uint8Array[]): Buffer =>
  zipArchive([
    ['archive/data.pkl', pickle],
    ['archive/byteorder', Buffer.from('little')],
    ...storages.map((data, i) => [`archive/data/${i}`, data] as const),
  ]);

/** What a checkpoint of the format before 1.6 begins with. */
export const LEGACY_MAGIC = latin('\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.');

/** The format before 1.6 around a pickle's instructions, with what follows it. */
export const legacyFile = (body: string, rest: readonly Uint8Array[], littleEndian = true): Buffer =>
  Buffer.concat([
    LEGACY_MAGIC,
    latin('\x80\x02M\xe9\x03.'),
    latin(`\x80\x02}(${text('protocol_version')}M\xe9\x03${text('little_endian')}${littleEndian ? '\x88' : '\x89'}u.`),
    latin(`\x80\x02${body}.`),
    ...rest,
  ]);
