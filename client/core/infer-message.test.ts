import { Buffer } from 'node:buffer';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { answerJson, decodeAnswer, encodeRequest, parseExact, shortNumber } from './infer-message.ts';
import { tensorBytes, tensorValues } from './tensor-values.ts';

test('a request is JSON that announces each tensor, and the tensors behind it', () => {
  const bytes = new Uint8Array(Float32Array.from([1, 2]).buffer);
  const { headers, body } = encodeRequest([{ name: 'x', datatype: 'FP32', shape: [1, 2], bytes }], {
    outputs: ['y'],
  });
  const jsonBytes = Number(headers['inference-header-content-length']);
  expect(JSON.parse(Buffer.from(body).toString('utf8', 0, jsonBytes))).toEqual({
    inputs: [{ name: 'x', datatype: 'FP32', shape: [1, 2], parameters: { binary_data_size: 8 } }],
    outputs: [{ name: 'y' }],
    parameters: { binary_data_output: true },
  });
  expect(new Uint8Array(body.subarray(jsonBytes))).toEqual(bytes);
});

test('an answer of binary tensors is read at any offset, several behind each other', () => {
  const head = JSON.stringify({
    model_name: 'm',
    outputs: [
      { name: 'flag', datatype: 'BOOL', shape: [3], parameters: { binary_data_size: 3 } },
      { name: 'big', datatype: 'INT64', shape: [1], parameters: { binary_data_size: 8 } },
      { name: 'text', datatype: 'BYTES', shape: [2], parameters: { binary_data_size: 11 } },
    ],
  });
  const body = Buffer.concat([
    Buffer.from(head),
    Buffer.from([1, 0, 1]),
    Buffer.from(BigInt64Array.from([-9_007_199_254_740_993n]).buffer),
    Buffer.from([1, 0, 0, 0, 0x61, 2, 0, 0, 0, 0xc3, 0xa9]),
  ]);
  const { outputs } = decodeAnswer(body, String(head.length));
  expect(outputs.map(({ values }) => Array.from(values as ArrayLike<unknown>))).toEqual([
    [true, false, true],
    [-9_007_199_254_740_993n],
    ['a', 'é'],
  ]);
});

test('JSON answers keep integers beyond 2^53, NaN and infinities, written bare or as text', () => {
  const body = Buffer.from(
    '{"model_name":"m NaN","outputs":[{"name":"i","datatype":"INT64","shape":[2],"data":[[9007199254740993],[1]]},{"name":"f","datatype":"FP32","shape":[3],"data":[NaN,-Infinity,"Infinity"]}]}',
  );
  const answer = decodeAnswer(body, undefined);
  expect(answer.modelName).toBe('m NaN');
  expect(Array.from(answer.outputs[0]?.values as ArrayLike<unknown>)).toEqual([9_007_199_254_740_993n, 1]);
  expect(Array.from(answer.outputs[1]?.values as ArrayLike<unknown>)).toEqual([
    Number.NaN,
    -Infinity,
    Infinity,
  ]);
  expect(answerJson(answer)).toContain('"data":[9007199254740993,1]');
});

test.each([
  ['more JSON than there is', Buffer.from('{}'), '9', /9 bytes of JSON in a body of 2/],
  ['something else', Buffer.from('{"ok":true}'), undefined, /no "outputs"/],
])('an answer with %s is refused', (_what, body, length, message) => {
  expect(() => decodeAnswer(body, length)).toThrow(message);
});

test('a tensor that is shorter than its shape says is refused with both sizes', () => {
  const tensor = { name: 'y', datatype: 'FP32', shape: [2], bytes: new Uint8Array(4) };
  expect(() => tensorValues(tensor)).toThrow('tensor "y": FP32 [2] takes 8 bytes, got 4');
});

test('text that looks like a bare word stays text', () => {
  expect(parseExact(String.raw`{"a":"say \"NaN\", Infinity"}`)).toEqual({ a: 'say "NaN", Infinity' });
});

test('any float of single precision is the same after it was printed', () => {
  fc.assert(
    fc.property(fc.float({ noNaN: true, noDefaultInfinity: true }), (value) => {
      expect(Math.fround(Number(shortNumber(value, 'FP32')))).toBe(Object.is(value, -0) ? 0 : value);
    }),
  );
  expect(shortNumber(Math.fround(0.1), 'FP32')).toBe('0.1');
});

test('values become the bytes that they came from, for each number type', () => {
  const datatypes = [
    'UINT8',
    'INT8',
    'UINT16',
    'INT16',
    'UINT32',
    'INT32',
    'UINT64',
    'INT64',
    'FP32',
    'FP64',
  ];
  fc.assert(
    fc.property(
      fc.constantFrom(...datatypes),
      fc.array(fc.integer({ min: 0, max: 100 }), { minLength: 1, maxLength: 9 }),
      (datatype, numbers) => {
        const shape = [numbers.length];
        const bytes = tensorBytes({ name: 'x', datatype, shape, values: numbers });
        const back = tensorValues({ name: 'x', datatype, shape, bytes });
        expect(Array.from(back as ArrayLike<number | bigint>, Number)).toEqual(numbers);
      },
    ),
  );
});
