import { Buffer } from 'node:buffer';
import { PilotlightError } from '../contracts/errors.ts';

/** An array of numbers from a numpy file, in the words of the Open Inference Protocol. */
export interface NpyArray {
  /** OIP datatype: BOOL, UINT8 … INT64, FP16, FP32 or FP64. */
  readonly datatype: string;
  readonly shape: readonly number[];
  /** Row-major, little-endian: what a binary tensor of that datatype and shape is. */
  readonly bytes: Uint8Array;
}

const MAGIC = Buffer.from('\u0093NUMPY', 'latin1');
/** Magic, version, header length (2 bytes in version 1, 4 in versions 2 and 3). */
const PREFIX_BYTES = { 1: 10, 2: 12, 3: 12 } as const;
/** numpy pads the header so that the data begins at a multiple of this. */
const ALIGNMENT_BYTES = 64;
/** numpy's own reader stops at 10,000 characters; a plain array needs about 80. */
const MAX_HEADER_BYTES = 65_536;
/** As in numpy: 2^64 has 20 digits, and a sign. */
const GROWTH_DIGITS = 21;
/** numpy's own limit. */
const MAX_RANK = 64;

interface NpyType {
  readonly datatype: string;
  readonly sizeBytes: number;
}

/** numpy's type without its byte order, and its OIP datatype. */
const TYPES: ReadonlyMap<string, NpyType> = new Map([
  ['b1', { datatype: 'BOOL', sizeBytes: 1 }],
  ['u1', { datatype: 'UINT8', sizeBytes: 1 }],
  ['u2', { datatype: 'UINT16', sizeBytes: 2 }],
  ['u4', { datatype: 'UINT32', sizeBytes: 4 }],
  ['u8', { datatype: 'UINT64', sizeBytes: 8 }],
  ['i1', { datatype: 'INT8', sizeBytes: 1 }],
  ['i2', { datatype: 'INT16', sizeBytes: 2 }],
  ['i4', { datatype: 'INT32', sizeBytes: 4 }],
  ['i8', { datatype: 'INT64', sizeBytes: 8 }],
  ['f2', { datatype: 'FP16', sizeBytes: 2 }],
  ['f4', { datatype: 'FP32', sizeBytes: 4 }],
  ['f8', { datatype: 'FP64', sizeBytes: 8 }],
]);

/**
 * Reads a `.npy` file, format versions 1 to 3 (numpy/lib/format.py), C order, little-endian. The result's bytes are a
 * view of `file`. Throws `invalid-request` that says what is wrong and how to save the array anew.
 *
 * @example
 * const { datatype, shape, bytes } = readNpy(await readFile('x.npy'));
 */
export function readNpy(file: Uint8Array): NpyArray {
  const { datatype, shape, dataStart } = readNpyHeader(file, file.byteLength);
  return { datatype, shape, bytes: file.subarray(dataStart) };
}

/** What the header of a `.npy` file says. */
export interface NpyHeader {
  readonly datatype: string;
  readonly shape: readonly number[];
  /** Where in the file the elements begin. */
  readonly dataStart: number;
}

/**
 * Reads the header of a `.npy` file from its first bytes, and compares it with the size of the file.
 *
 * @param head the first 66 KiB, or the whole of a smaller file.
 * @param fileBytes of the whole file.
 */
export function readNpyHeader(head: Uint8Array, fileBytes: number): NpyHeader {
  const buffer = Buffer.from(head.buffer, head.byteOffset, head.byteLength);
  if (buffer.length < MAGIC.length || !buffer.subarray(0, MAGIC.length).equals(MAGIC)) {
    invalid('not a .npy file: it does not begin with \\x93NUMPY; write it with numpy.save');
  }
  const version = buffer[MAGIC.length];
  if (version !== 1 && version !== 2 && version !== 3) {
    invalid(`.npy format version ${version ?? 'missing'} is not supported; expected 1, 2 or 3`);
  }
  const prefixBytes = PREFIX_BYTES[version];
  if (buffer.length < prefixBytes) invalid(`the .npy file ends in its header, after ${buffer.length} bytes`);
  const headerBytes = version === 1 ? buffer.readUInt16LE(8) : buffer.readUInt32LE(8);
  if (headerBytes > MAX_HEADER_BYTES) {
    invalid(`the .npy header says ${headerBytes} bytes; at most ${MAX_HEADER_BYTES} are read`);
  }
  const dataStart = prefixBytes + headerBytes;
  if (buffer.length < dataStart) {
    invalid(`the .npy file ends in its header: ${dataStart} bytes expected, got ${buffer.length}`);
  }
  const header = buffer.toString('utf8', prefixBytes, dataStart);
  const { datatype, sizeBytes } = readType(header);
  readOrder(header);
  const shape = readShape(header);
  const dataBytes = shape.reduce((product, size) => product * size, sizeBytes);
  if (dataBytes !== fileBytes - dataStart) {
    invalid(
      `the .npy file holds ${fileBytes - dataStart} bytes of data, but ${datatype} of shape [${shape.join(', ')}] takes ${dataBytes}`,
    );
  }
  return { datatype, shape, dataStart };
}

/** The text of a Python literal after a key of the header's dict, or a message that it is missing. */
function valueAfter(header: string, key: string, pattern: RegExp): string {
  const value = new RegExp(`['"]${key}['"]\\s*:\\s*${pattern.source}`).exec(header)?.[1];
  return value ?? invalid(`the .npy header has no usable '${key}': ${header.trim().slice(0, 200)}`);
}

function readType(header: string): NpyType {
  if (/['"]descr['"]\s*:\s*\[/.test(header)) {
    invalid('the .npy file holds records; expected an array of numbers or booleans');
  }
  const descr = valueAfter(header, 'descr', /['"]([^'"]{1,40})['"]/);
  const type = TYPES.get(descr.replace(/^[<=|]/, ''));
  if (type !== undefined) return type;
  if (descr.startsWith('>')) {
    invalid(
      `the .npy file is big-endian ('${descr}'); save it with array.astype(array.dtype.newbyteorder('<'))`,
    );
  }
  return invalid(
    `the .npy type '${descr}' has no protocol datatype; expected booleans, integers or floats of 16, 32 or 64 bits (array.astype)`,
  );
}

function readOrder(header: string): void {
  const order = valueAfter(header, 'fortran_order', /(True|False)/);
  if (order === 'True') {
    invalid('the .npy file is in Fortran order; save it with numpy.ascontiguousarray(array)');
  }
}

function readShape(header: string): number[] {
  const sizes = valueAfter(header, 'shape', /\(([\d,\sL]*)\)/)
    .split(',')
    .map((size) => size.trim().replace(/L$/, ''))
    .filter((size) => size !== '');
  if (sizes.length > MAX_RANK) invalid(`the .npy array has ${sizes.length} dimensions; at most ${MAX_RANK}`);
  return sizes.map((text) => {
    const size = /^\d+$/.test(text) ? Number(text) : Number.NaN;
    if (!Number.isSafeInteger(size)) invalid(`the .npy shape has '${text.slice(0, 40)}' for a dimension`);
    return size;
  });
}

/**
 * Writes a `.npy` file as numpy.save does: byte for byte: version 1 (64 dimensions stay far below its
 * 64 KiB of header), header padded so that the data begins at a multiple of 64 bytes. Throws `invalid-request` for a datatype that numpy
 * files don't hold here (BYTES) and for bytes that don't fit the shape.
 */
export function writeNpy(array: NpyArray): Uint8Array {
  const found = [...TYPES].find(([, type]) => type.datatype === array.datatype);
  if (found === undefined) invalid(`datatype ${array.datatype} cannot be written as .npy`);
  const [name, type] = found;
  if (array.shape.length > MAX_RANK) invalid(`numpy takes at most ${MAX_RANK} dimensions`);
  const dataBytes = array.shape.reduce((product, size) => product * size, type.sizeBytes);
  if (dataBytes !== array.bytes.byteLength) {
    invalid(
      `${array.datatype} of shape [${array.shape.join(', ')}] takes ${dataBytes} bytes, got ${array.bytes.byteLength}`,
    );
  }
  const descr = `${type.sizeBytes === 1 ? '|' : '<'}${name}`;
  const sizes = array.shape.length === 1 ? `${array.shape[0]},` : array.shape.join(', ');
  // numpy leaves room for the first dimension to grow to 21 digits when a file is appended to.
  const growth = array.shape.length === 0 ? 0 : GROWTH_DIGITS - String(array.shape[0]).length;
  const dict = `{'descr': '${descr}', 'fortran_order': False, 'shape': (${sizes}), }${' '.repeat(growth)}`;
  const unpadded = PREFIX_BYTES[1] + dict.length + 1;
  const padding = (ALIGNMENT_BYTES - (unpadded % ALIGNMENT_BYTES)) % ALIGNMENT_BYTES;
  const header = Buffer.from(`${dict}${' '.repeat(padding)}\n`, 'latin1');
  const prefix = Buffer.alloc(PREFIX_BYTES[1]);
  MAGIC.copy(prefix);
  prefix[MAGIC.length] = 1;
  prefix.writeUInt16LE(header.length, 8);
  return Buffer.concat([prefix, header, array.bytes]);
}

function invalid(message: string): never {
  throw new PilotlightError('invalid-request', message);
}
