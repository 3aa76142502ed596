import { describe, expect, test } from 'vitest';
import { type ModelSignature, validateInputs } from '../model-signature.ts';
import { configuredSignature } from './configured-signature.ts';
import { parseTritonConfig } from './model-config.ts';

const MODEL: ModelSignature = {
  inputs: [
    { name: 'x', datatype: 'FP32', shape: ['n', 3, 'width'] },
    { name: 'mask', datatype: 'BOOL', shape: ['n', 'width'] },
  ],
  outputs: [
    { name: 'y', datatype: 'FP32', shape: ['n', 10] },
    { name: 'words', datatype: 'BYTES', shape: ['n', -1] },
  ],
  maxBatchSize: 0,
};

const configured = (text: string, model = MODEL): ModelSignature =>
  configuredSignature(parseTritonConfig(text), model);

test('sizes that are configured are fixed, and outputs that are not named are not given', () => {
  const signature = configured(`
    max_batch_size: 4
    input [ { name: "mask" data_type: TYPE_BOOL dims: [ -1 ] }, { name: "x" dims: [ 3, 64 ] } ]
    output { name: "words" dims: 5 }`);
  expect(signature).toEqual({
    inputs: [
      { name: 'x', datatype: 'FP32', shape: ['n', 3, 64] },
      { name: 'mask', datatype: 'BOOL', shape: ['n', 'width'] },
    ],
    outputs: [{ name: 'words', datatype: 'BYTES', shape: ['n', 5] }],
    maxBatchSize: 4,
    maxRows: 4,
  });
});

test('without a batch the dims are all dimensions', () => {
  expect(configured('input [ { name: "x" dims: [ 2, 3, 8 ] }, { name: "mask" } ]').inputs[0]?.shape).toEqual([
    2, 3, 8,
  ]);
});

test('a request has no more rows than max_batch_size', () => {
  const signature = configured('max_batch_size: 2', {
    ...MODEL,
    inputs: [{ name: 'x', datatype: 'FP32', shape: ['n', 1] }],
  });
  const rows = (count: number) => [
    { name: 'x', datatype: 'FP32', shape: [count, 1], data: new Float32Array(count) } as const,
  ];
  expect(() => validateInputs(signature, rows(2))).not.toThrow();
  expect(() => validateInputs(signature, rows(3))).toThrow(
    "input 'x': 3 rows are more than the max_batch_size of 2; send them in several requests",
  );
});

describe('what does not go with the model is refused with what both say', () => {
  test.each([
    ['input { name: "z" }', "the model has no input 'z'; it has 'x', 'mask'"],
    ['input { name: "x" }', "leaves out input 'mask', which the model wants"],
    ['output [ { name: "y" }, { name: "y" } ]', "names output 'y' twice"],
    ['output { name: "q" }', "the model has no output 'q'; it has 'y', 'words'"],
    [
      'output { name: "words" data_type: TYPE_INT8 }',
      "output 'words' has the data_type of INT8, and the model's is BYTES; write data_type: TYPE_STRING",
    ],
    [
      'max_batch_size: 1 output { name: "y" dims: 9 }',
      "output 'y' has dims [9], and the model's shape without the batch dimension is [10]; write dims: [10]",
    ],
    ['output { name: "y" dims: 10 }', "output 'y' has dims [10], and the model's shape is"],
    ['output { name: "y" dims: [ -1, -1 ] }', 'write dims: [-1, 10]'],
  ])('%j', (text, message) => {
    expect(() => configured(text)).toThrow(expect.objectContaining({ code: 'model-invalid' }));
    expect(() => configured(text)).toThrow(message);
  });

  test('a batch of a model that has none', () => {
    const fixed = { ...MODEL, inputs: [{ name: 'x', datatype: 'FP32', shape: [1, 3] }] } as const;
    expect(() => configured('max_batch_size: 4', fixed)).toThrow('say max_batch_size: 0 and all dims');
  });
});
