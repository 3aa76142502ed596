import { expect, test } from 'vitest';
import { signatureOf } from './signature.ts';
import { warmUpInputs } from './warm-up-input.ts';

test('fixed, named and unnamed dimensions come as numbers, names and -1', () => {
  const signature = signatureOf(
    [{ name: 'x', isTensor: true, type: 'float32', shape: ['batch', 3, ''] }],
    [{ name: 'y', isTensor: true, type: 'string', shape: [] }],
  );
  expect(signature).toEqual({
    inputs: [{ name: 'x', datatype: 'FP32', shape: ['batch', 3, -1] }],
    outputs: [{ name: 'y', datatype: 'BYTES', shape: [] }],
    maxBatchSize: 0,
  });
});

test('a sequence is refused with the name of the input', () => {
  expect(() => signatureOf([{ name: 'tokens', isTensor: false }], [])).toThrow(
    /input 'tokens' is a sequence/,
  );
});

test('a datatype outside the protocol is refused with the name of the output', () => {
  const output = { name: 'packed', isTensor: true, type: 'int4', shape: [2] } as const;
  expect(() => signatureOf([], [output])).toThrow(/output 'packed' has the ONNX type int4/);
});

test('made-up input has batch 1, one size for each name, and ones of the right datatype', () => {
  const inputs = warmUpInputs({
    inputs: [
      { name: 'image', datatype: 'FP16', shape: ['n', 3, 'width'] },
      { name: 'mask', datatype: 'INT64', shape: [-1, 'width'] },
      { name: 'text', datatype: 'BYTES', shape: [2] },
      { name: 'rate', datatype: 'INT64', shape: [] },
      { name: 'late', datatype: 'BOOL', shape: [4, 'batch_size'] },
    ],
    outputs: [],
    maxBatchSize: 0,
  });
  expect(inputs?.map(({ shape }) => shape)).toEqual([[1, 3, 32], [1, 32], [2], [], [4, 1]]);
  expect(inputs?.map(({ data }) => data[0])).toEqual([0x3c00, 1n, '', 1n, 1]);
});

test('shapes too large to make up are left to the first request', () => {
  const huge = { name: 'x', datatype: 'FP32', shape: [1, 100_000, 100_000] } as const;
  expect(warmUpInputs({ inputs: [huge], outputs: [], maxBatchSize: 0 })).toBeUndefined();
});
