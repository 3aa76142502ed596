import { Buffer } from 'node:buffer';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { PilotlightError } from '../contracts/errors.ts';
import { readNpy, writeNpy } from './npy.ts';

/** numpy.save of numpy.array([[1.5, -2, 0]], dtype='<f4'), numpy 2.4.6, as base64. */
const FROM_NUMPY =
  'k05VTVBZAQB2AHsnZGVzY3InOiAnPGY0JywgJ2ZvcnRyYW5fb3JkZXInOiBGYWxzZSwgJ3NoYXBlJzogKDEsIDMpLCB9ICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIAoAAMA/AAAAwAAAAAA=';

const SIZES: Readonly<Record<string, number>> = {
  BOOL: 1,
  UINT8: 1,
  UINT16: 2,
  UINT32: 4,
  UINT64: 8,
  INT8: 1,
  INT16: 2,
  INT32: 4,
  INT64: 8,
  FP16: 2,
  FP32: 4,
  FP64: 8,
};

/** A file of any format version around a header that the test chooses. */
function fileOf(header: string, data: readonly number[] = [], version: 1 | 2 | 3 = 1): Uint8Array {
  const text = Buffer.from(header);
  const length = Buffer.alloc(version === 1 ? 2 : 4);
  if (version === 1) length.writeUInt16LE(text.length);
  else length.writeUInt32LE(text.length);
  const magic = Buffer.from(`\u0093NUMPY${String.fromCharCode(version)}\u0000`, 'latin1');
  return Buffer.concat([magic, length, text, Buffer.from(data)]);
}

const header = (descr: string, shape: string, order = 'False') =>
  `{'descr': '${descr}', 'fortran_order': ${order}, 'shape': ${shape}, }\n`;

describe('readNpy', () => {
  test('reads what numpy writes', () => {
    const { datatype, shape, bytes } = readNpy(Buffer.from(FROM_NUMPY, 'base64'));
    expect({ datatype, shape }).toEqual({ datatype: 'FP32', shape: [1, 3] });
    expect(new Float32Array(Uint8Array.from(bytes).buffer)).toEqual(new Float32Array([1.5, -2, 0]));
  });

  test.each([1, 2, 3] as const)('reads format version %s', (version) => {
    expect(readNpy(fileOf(header('|u1', '(2,)'), [7, 8], version))).toEqual({
      datatype: 'UINT8',
      shape: [2],
      bytes: Buffer.from([7, 8]),
    });
  });

  test('reads scalars, empty arrays and keys in another order', () => {
    expect(readNpy(fileOf(header('|b1', '()'), [1])).shape).toEqual([]);
    expect(readNpy(fileOf(header('<i8', '(0, 3)'))).shape).toEqual([0, 3]);
    expect(readNpy(fileOf('{"shape": (1,), "fortran_order": False, "descr": "|i1"}', [5])).datatype).toBe(
      'INT8',
    );
  });

  test.each<[string, Uint8Array, string]>([
    ['another file', Buffer.from('PK\u0003\u0004 a zip'), 'not a .npy file'],
    ['nothing', new Uint8Array(), 'not a .npy file'],
    [
      'an unknown version',
      Buffer.from('\u0093NUMPY\u0009\u0000\u0000\u0000', 'latin1'),
      'version 9 is not supported',
    ],
    ['half a header', fileOf(header('<f4', '(1,)')).subarray(0, 40), 'ends in its header'],
    [
      'a huge header',
      Buffer.from('\u0093NUMPY\u0002\u0000\u00ff\u00ff\u00ff\u00ff', 'latin1'),
      'at most 65536 are read',
    ],
    ['big-endian data', fileOf(header('>f4', '(1,)'), [0, 0, 0, 0]), "newbyteorder('<')"],
    ['Fortran order', fileOf(header('<f4', '(1,)', 'True'), [0, 0, 0, 0]), 'ascontiguousarray'],
    ['text', fileOf(header('<U5', '(1,)'), []), "type '<U5' has no protocol datatype"],
    ['objects', fileOf(header('|O', '(1,)'), []), "type '|O' has no protocol datatype"],
    [
      'records',
      fileOf("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }"),
      'holds records',
    ],
    ['too little data', fileOf(header('<f4', '(2,)'), [0, 0, 0, 0]), 'takes 8'],
    ['too much data', fileOf(header('|u1', '(1,)'), [0, 0]), 'holds 2 bytes of data'],
    ['an absurd shape', fileOf(header('|u1', `(${'9'.repeat(30)},)`)), 'for a dimension'],
    ['no shape', fileOf("{'descr': '<f4', 'fortran_order': False}"), "no usable 'shape'"],
  ])('refuses %s and says why', (_what, file, message) => {
    expect(() => readNpy(file)).toThrow(
      expect.objectContaining({
        code: 'invalid-request',
        message: expect.stringContaining(message) as string,
      }),
    );
  });

  test('whatever the bytes are, they are read or refused with a PilotlightError', () => {
    const valid = fileOf(header('<f4', '(1, 2)'), [1, 2, 3, 4, 5, 6, 7, 8]);
    const edited = fc.array(fc.tuple(fc.nat(valid.length - 1), fc.nat(255)), { minLength: 1, maxLength: 5 });
    fc.assert(
      fc.property(edited, fc.nat(valid.length), (edits, length) => {
        const bytes = Uint8Array.from(valid).subarray(0, length);
        for (const [at, value] of edits) bytes[at] = value;
        try {
          readNpy(bytes);
        } catch (error) {
          if (!(error instanceof PilotlightError)) throw error;
        }
      }),
      { numRuns: 1000 },
    );
  });
});

describe('writeNpy', () => {
  test('writes byte for byte what numpy writes', () => {
    const floats = new Float32Array([1.5, -2, 0]);
    const file = writeNpy({ datatype: 'FP32', shape: [1, 3], bytes: new Uint8Array(floats.buffer) });
    expect(Buffer.from(file).toString('base64')).toBe(FROM_NUMPY);
  });

  test('every array comes back, its data at a multiple of 64 bytes', () => {
    const arrays = fc
      .tuple(fc.constantFrom(...Object.keys(SIZES)), fc.array(fc.nat(4), { maxLength: 5 }))
      .chain(([datatype, shape]) => {
        const length = shape.reduce((product, size) => product * size, SIZES[datatype] ?? 0);
        return fc
          .uint8Array({ minLength: length, maxLength: length })
          .map((bytes) => ({ datatype, shape, bytes }));
      });
    fc.assert(
      fc.property(arrays, (array) => {
        const file = writeNpy(array);
        const read = readNpy(file);
        expect({ ...read, bytes: Uint8Array.from(read.bytes) }).toEqual(array);
        expect((file.byteLength - array.bytes.byteLength) % 64).toBe(0);
      }),
    );
  });

  test('refuses BYTES and data that does not fit its shape', () => {
    expect(() => writeNpy({ datatype: 'BYTES', shape: [0], bytes: new Uint8Array() })).toThrow('BYTES');
    expect(() => writeNpy({ datatype: 'FP32', shape: [2], bytes: new Uint8Array(4) })).toThrow(
      'takes 8 bytes',
    );
  });
});
