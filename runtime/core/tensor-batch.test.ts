import fc from 'fast-check';
import { expect, test } from 'vitest';
import { DATATYPES, type Datatype, type Tensor, viewOf } from './tensor.ts';
import { concatenateTensors, splitTensors } from './tensor-batch.ts';

const BYTES_OF: Partial<Record<Datatype, number>> = {
  BOOL: 1,
  UINT8: 1,
  INT8: 1,
  UINT16: 2,
  INT16: 2,
  FP16: 2,
};

/** Any bits at all, NaN and its like included; sometimes in the midst of a larger buffer, as of a request's body. */
function tensorArbitrary(
  name: string,
  datatype: Datatype,
  rows: number,
  rest: readonly number[],
): fc.Arbitrary<Tensor> {
  const count = rest.reduce((product, size) => product * size, rows);
  const shape = [rows, ...rest];
  if (datatype === 'BYTES') {
    return fc
      .array(fc.string(), { minLength: count, maxLength: count })
      .map((data) => ({ name, datatype, shape, data }));
  }
  const sizeBytes = BYTES_OF[datatype] ?? (datatype.endsWith('64') ? 8 : 4);
  const length = count * sizeBytes;
  return fc
    .tuple(fc.uint8Array({ minLength: length, maxLength: length }), fc.constantFrom(0, 8, 16))
    .map(([bytes, before]) => {
      const buffer = new ArrayBuffer(before + length + 8);
      new Uint8Array(buffer).set(bytes, before);
      return { name, datatype, shape, data: viewOf(datatype, buffer, before, count) };
    });
}

const batchArbitrary = fc
  .record({
    datatypes: fc.uniqueArray(fc.constantFrom(...DATATYPES), { minLength: 1, maxLength: 4 }),
    rest: fc.array(fc.nat(3), { maxLength: 2 }),
    rowCounts: fc.array(fc.integer({ min: 0, max: 4 }), { minLength: 1, maxLength: 5 }),
  })
  .chain(({ datatypes, rest, rowCounts }) =>
    fc.tuple(
      ...rowCounts.map((rows) =>
        fc.tuple(...datatypes.map((datatype) => tensorArbitrary(datatype, datatype, rows, rest))),
      ),
    ),
  );

/** Bits, since NaN has many. */
function bits({ name, datatype, shape, data }: Tensor): unknown {
  const content = Array.isArray(data)
    ? data
    : Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString('hex');
  return { name, datatype, shape, content };
}

test('what is put together and taken apart again is what it was, bit by bit, for every datatype', () => {
  fc.assert(
    fc.property(batchArbitrary, (calls) => {
      const whole = concatenateTensors(calls);
      const rowCounts = calls.map(([first]) => first?.shape[0] ?? 0);
      const parts = splitTensors(whole, rowCounts);
      expect(parts?.map((part) => part.map(bits))).toEqual(calls.map((call) => call.map(bits)));
    }),
  );
});

test('inputs are found by their name, in whatever order a client sends them', () => {
  const tensor = (name: string, value: number): Tensor => ({
    name,
    datatype: 'INT32',
    shape: [1],
    data: Int32Array.of(value),
  });
  const whole = concatenateTensors([
    [tensor('a', 1), tensor('b', 2)],
    [tensor('b', 4), tensor('a', 3)],
  ]);
  expect(whole.map(({ name, data }) => [name, [...(data as Int32Array)]])).toEqual([
    ['a', [1, 3]],
    ['b', [2, 4]],
  ]);
});

test('calls that do not fit together are refused, and an output without the rows of all is nobody’s', () => {
  const tensor = (shape: number[]): Tensor => ({
    name: 'x',
    datatype: 'FP32',
    shape,
    data: new Float32Array(shape.reduce((product, size) => product * size, 1)),
  });
  expect(() => concatenateTensors([[tensor([1, 2])], [tensor([1, 3])]])).toThrow(/\[1, 2\].*\[1, 3\]/);
  expect(() => concatenateTensors([[tensor([])], [tensor([])]])).toThrow(RangeError);
  expect(() => concatenateTensors([[tensor([1])], []])).toThrow(/no tensor 'x'/);
  expect(splitTensors([tensor([3, 2])], [1, 1])).toBeUndefined();
  expect(splitTensors([tensor([])], [1])).toBeUndefined();
});
