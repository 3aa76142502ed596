import { describe, expect, test } from 'vitest';
import type { ModelSignature } from '../model-signature.ts';
import { parseTritonConfig } from './model-config.ts';
import { checkSamples, warmUpFiles, warmUpRuns } from './warm-up-samples.ts';

const SIGNATURE: ModelSignature = {
  inputs: [
    { name: 'x', datatype: 'FP32', shape: ['n', 2] },
    { name: 'ids', datatype: 'INT64', shape: ['n', -1] },
  ],
  outputs: [],
  maxBatchSize: 4,
};
const IDS = 'inputs { key: "ids" value { data_type: TYPE_INT64 dims: 3 random_data: true } }';
const samplesOf = (text: string) => parseTritonConfig(`model_warmup { name: "a" ${text} }`).warmUp;
const runsOf = (text: string, files = new Map<string, Uint8Array>()) => [
  ...warmUpRuns(samplesOf(text), SIGNATURE, files, () => 0.25),
];

test('a sample is run as often as it says, with its rows, of zeros, chance or a file', () => {
  const text = `
    batch_size: 2 count: 3 ${IDS}
    inputs { key: "x" value { data_type: TYPE_FP32 dims: [ 2 ] input_data_file: "x.bin" } }`;
  checkSamples(samplesOf(text), SIGNATURE);
  expect(warmUpFiles(samplesOf(text))).toEqual(['x.bin']);
  const file = new Uint8Array(Float32Array.of(5, 7).buffer);
  const runs = runsOf(text, new Map([['x.bin', file]]));
  expect(runs).toHaveLength(3);
  expect(runs[2]).toEqual([
    { name: 'ids', datatype: 'INT64', shape: [2, 3], data: BigInt64Array.of(1n, 1n, 1n, 1n, 1n, 1n) },
    { name: 'x', datatype: 'FP32', shape: [2, 2], data: Float32Array.of(5, 7, 5, 7) },
  ]);
  // A run takes the memory of its tensors.
  expect(runs[2]?.[1]?.data).not.toBe(runs[1]?.[1]?.data);
});

test.each([
  ['TYPE_FP32', Float32Array.of(0.25, 0.25)],
  ['TYPE_FP16', Uint16Array.of(0x3400, 0x3400)],
  ['TYPE_UINT8', Uint8Array.of(1, 1)],
  ['TYPE_STRING', ['', '']],
] as const)('chance as %s is within what a model takes', (type, data) => {
  const runs = runsOf(`inputs { key: "x" value { data_type: ${type} dims: 2 random_data: true } }`);
  expect(runs[0]?.[0]?.data).toEqual(data);
});

test('a file of another size is said so', () => {
  const text = 'inputs { key: "x" value { data_type: TYPE_FP32 dims: 2 input_data_file: "x.bin" } }';
  expect(() => runsOf(text, new Map([['x.bin', new Uint8Array(3)]]))).toThrow('takes 8 bytes, got 3');
});

describe('samples that the model can’t take are refused', () => {
  const x = (more: string) => `inputs { key: "x" value { data_type: TYPE_FP32 zero_data: true ${more} } }`;
  test.each([
    [
      `${IDS} ${x('dims: 5')}`,
      "'a': input 'x' is FP32 of shape [1, 5] there, and the model takes FP32 of shape",
    ],
    [x('dims: 2'), "leaves out input 'ids', which the model wants"],
    [`batch_size: 5 ${IDS} ${x('dims: 2')}`, 'a batch_size of 5 is more than max_batch_size allows (4)'],
    ['inputs { key: "z" value { data_type: TYPE_BOOL zero_data: true } }', "no input 'z'; it has 'x', 'ids'"],
  ])('%j', (text, message) => {
    expect(() => checkSamples(samplesOf(text), SIGNATURE)).toThrow(
      expect.objectContaining({ code: 'model-invalid', message: expect.stringContaining(message) }),
    );
  });

  test('as is what takes more memory than is made up', () => {
    const text = `${x('dims: 2')} inputs { key: "ids" value { data_type: TYPE_INT64 dims: 99999999 zero_data: true } }`;
    expect(() => checkSamples(samplesOf(text), SIGNATURE)).toThrow('elements');
  });

  test.each([
    ['inputs { key: "x" }', 'wants a key, and a value with data_type and dims'],
    [
      'inputs { key: "x" value { data_type: TYPE_BOOL } }',
      'wants one of zero_data, random_data and input_data_file',
    ],
    [
      'inputs { key: "x" value { data_type: TYPE_BOOL zero_data: true random_data: true } }',
      'wants one of zero_data, random_data and input_data_file',
    ],
  ])('and one that says too little or too much: %j', (text, message) => {
    expect(() => samplesOf(text)).toThrow(message);
  });
});
