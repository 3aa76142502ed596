import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type DataByDatatype, type Datatype, fromWire, type Tensor, toWire } from './tensors.ts';

const SAMPLES: DataByDatatype = {
  BOOL: [true, false, true],
  UINT8: Uint8Array.of(0, 1, 255),
  UINT16: Uint16Array.of(0, 1, 65_535),
  UINT32: Uint32Array.of(0, 1, 2 ** 32 - 1),
  UINT64: BigUint64Array.of(0n, 1n, 2n ** 64n - 1n),
  INT8: Int8Array.of(-128, 0, 127),
  INT16: Int16Array.of(-32_768, 0, 32_767),
  INT32: Int32Array.of(-(2 ** 31), 0, 2 ** 31 - 1),
  INT64: BigInt64Array.of(-(2n ** 63n), 0n, 2n ** 63n - 1n),
  FP16: Float16Array.of(1, -2, Number.POSITIVE_INFINITY),
  FP32: Float32Array.of(1.5, Number.NaN, -0),
  FP64: Float64Array.of(0.1, Number.NEGATIVE_INFINITY, 1e300),
  BYTES: ['', 'Zürich', '🙂'],
};

test.each(Object.keys(SAMPLES) as Datatype[])('%s comes back as it went', (datatype) => {
  const tensor = { name: 'x', datatype, shape: [3], data: SAMPLES[datatype] } as unknown as Tensor;
  expect(fromWire(toWire(tensor))).toEqual(tensor);
});

test('texts of any kind come back', () => {
  fc.assert(
    fc.property(fc.array(fc.string({ unit: 'grapheme' })), (data) => {
      const tensor: Tensor<'BYTES'> = { name: 'x', datatype: 'BYTES', shape: [data.length], data };
      expect(fromWire(toWire(tensor))).toEqual(tensor);
    }),
  );
});

test('data that does not fill its shape is refused before it is sent', () => {
  const tensor: Tensor = { name: 'x', datatype: 'FP32', shape: [2, 2], data: Float32Array.of(1) };
  expect(() => toWire(tensor)).toThrow('tensor "x": shape [2, 2] holds 4 elements, got 1');
});
