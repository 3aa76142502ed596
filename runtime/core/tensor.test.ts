import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { PilotlightError } from '../../contracts/errors.ts';
import {
  allocateData,
  DATATYPES,
  datatypeOfOrt,
  elementCount,
  elementSizeBytes,
  ortTypeOf,
  parseDatatype,
  shown,
  tensorFromOrt,
  tensorToOrt,
} from './tensor.ts';
import { bitsOf, tensorOf } from './testing-tensors.ts';

describe('datatypes', () => {
  test.each(DATATYPES)('%s maps to an ONNX Runtime type and back', (datatype) => {
    expect(datatypeOfOrt(ortTypeOf(datatype))).toBe(datatype);
  });

  test.each(DATATYPES.filter((datatype) => datatype !== 'BYTES'))(
    '%s has room of its element size',
    (datatype) => {
      const data = allocateData(datatype, 6);
      expect(data).toHaveLength(6);
      expect((data as Uint8Array).byteLength).toBe(6 * elementSizeBytes(datatype));
    },
  );

  test('types outside the protocol have no datatype', () => {
    for (const type of ['bfloat16', 'int4', 'uint4', 'complex64', '', '__proto__', 'constructor']) {
      expect(datatypeOfOrt(type)).toBeUndefined();
    }
  });

  test('BF16 is answered with 501, an unknown datatype with 400 and the list of those there are', () => {
    expect(() => parseDatatype('BF16', 'x')).toThrow(
      expect.objectContaining({ code: 'unsupported', status: 501 }),
    );
    for (const unknown of ['FLOAT', 'fp32', '__proto__', 'toString', '']) {
      expect(() => parseDatatype(unknown, 'x')).toThrow(
        expect.objectContaining({
          code: 'invalid-request',
          message: expect.stringContaining('BOOL, UINT8') as string,
        }),
      );
    }
  });
});

describe('elementCount', () => {
  test('is the product of the dimensions, 1 for a scalar and 0 when one of them is 0', () => {
    expect(elementCount([2, 3, 4], 'x')).toBe(24);
    expect(elementCount([], 'x')).toBe(1);
    expect(elementCount([5, 0, 7], 'x')).toBe(0);
  });

  test.each([
    { shape: [-1, 2], wanted: /dimension 0 .* got -1/ },
    { shape: [2, 1.5], wanted: /dimension 1 .* got 1.5/ },
    { shape: [2 ** 53, 2 ** 53], wanted: /dimension 0/ },
    { shape: [2 ** 20, 2 ** 20], wanted: /more than the 268435456 elements/ },
    { shape: [2 ** 32, 2 ** 32, 2 ** 32], wanted: /more than/ },
    { shape: [0, 2 ** 52], wanted: /more than/ },
    { shape: Array.from({ length: 33 }, () => 1), wanted: /33 dimensions; at most 32/ },
  ])('refuses $shape', ({ shape, wanted }) => {
    expect(() => elementCount(shape, 'x')).toThrow(wanted);
  });

  test('never lets a product wrap round: it equals exact arithmetic or throws', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(2 ** 31), { maxLength: 6 }), (shape) => {
        const exact = shape.reduce((product, size) => product * BigInt(size), 1n);
        try {
          expect(BigInt(elementCount(shape, 'x'))).toBe(exact);
        } catch (error) {
          if (!(error instanceof PilotlightError)) throw error;
          expect(shape.reduce((product, size) => product * BigInt(size || 1), 1n)).toBeGreaterThan(2n ** 28n);
        }
      }),
    );
  });
});

describe('ONNX Runtime tensors', () => {
  test.each(DATATYPES)('%s goes to ONNX Runtime and comes back', (datatype) => {
    const tensor = tensorOf(datatype, [2, 3]);
    const ort = tensorToOrt(tensor);
    expect(ort).toMatchObject({ type: ortTypeOf(datatype), dims: [2, 3], location: 'cpu' });
    expect(bitsOf(tensorFromOrt('x', ort))).toEqual(bitsOf(tensor));
  });

  test('a Float16Array output becomes its bits without a copy', () => {
    const halves = new Float16Array([1, -2, 65_504]);
    const tensor = tensorFromOrt('y', { type: 'float16', dims: [3], data: halves });
    expect(tensor.data).toEqual(new Uint16Array([0x3c00, 0xc000, 0x7bff]));
    expect((tensor.data as Uint16Array).buffer).toBe(halves.buffer);
  });

  test('outputs that the protocol cannot carry or that contradict themselves are errors with their name', () => {
    expect(() => tensorFromOrt('y', { type: 'bfloat16', dims: [1], data: new Uint16Array(1) })).toThrow(
      /output 'y'.*bfloat16/,
    );
    expect(() => tensorFromOrt('y', { type: 'float32', dims: [3], data: new Float32Array(2) })).toThrow(
      expect.objectContaining({ code: 'inference-failed' }),
    );
    expect(() => tensorFromOrt('y', { type: 'string', dims: [1], data: new Uint8Array(1) })).toThrow(
      expect.objectContaining({ code: 'inference-failed' }),
    );
  });
});

test('a name from a request is shortened and cleaned before it stands in a message', () => {
  expect(shown('a\nb\u0000')).toBe('a�b�');
  expect(shown('x'.repeat(1000))).toBe(`${'x'.repeat(80)}…`);
  expect(shown(`${'x'.repeat(79)}🌍`).isWellFormed()).toBe(true);
});
