import { describe, expect, test } from 'vitest';
import { type ModelSignature, selectOutputs, validateInputs } from './model-signature.ts';
import { tensorOf } from './testing-tensors.ts';

const signature: ModelSignature = {
  inputs: [
    { name: 'image', datatype: 'FP32', shape: ['batch', 3, -1] },
    { name: 'length', datatype: 'INT64', shape: ['batch'] },
  ],
  outputs: [
    { name: 'scores', datatype: 'FP32', shape: ['batch', 10] },
    { name: 'label', datatype: 'BYTES', shape: ['batch'] },
  ],
  maxBatchSize: 0,
};

const image = (shape: number[]) => tensorOf('FP32', shape, [1], 'image');
const length = (shape: number[]) => tensorOf('INT64', shape, [1n], 'length');

describe('validateInputs', () => {
  test('accepts what fits, in any order and with any size of a variable dimension', () => {
    expect(() => validateInputs(signature, [image([2, 3, 7]), length([2])])).not.toThrow();
    expect(() => validateInputs(signature, [length([1]), image([1, 3, 1])])).not.toThrow();
  });

  test.each([
    [
      'a missing input',
      [image([1, 3, 1])],
      "missing input 'length'; expected INT64 of shape [batch], got only 'image'",
    ],
    ['no inputs', [], "missing input 'image'; expected FP32 of shape [batch, 3, -1], got no inputs"],
    [
      'an unexpected input',
      [tensorOf('FP32', [1], [1], 'picture')],
      "unexpected input 'picture'; the model takes 'image', 'length'",
    ],
    ['an input given twice', [length([1]), length([1])], "input 'length' is given twice"],
    [
      'a wrong datatype',
      [tensorOf('FP64', [1, 3, 1], [1], 'image')],
      "input 'image': expected datatype FP32, got FP64",
    ],
    [
      'a wrong rank',
      [image([3, 1])],
      "input 'image': expected shape [batch, 3, -1], got [3, 1]: 3 dimensions are needed, not 2",
    ],
    [
      'a wrong fixed dimension',
      [image([1, 4, 1])],
      "input 'image': expected shape [batch, 3, -1], got [1, 4, 1]: dimension 1 must be 3, not 4",
    ],
    [
      'a symbolic dimension of two sizes',
      [image([2, 3, 1]), length([5])],
      "input 'length': expected shape [batch], got [5]: dimension 0 ('batch') is 5, but input 'image' has 2 for it",
    ],
    [
      'data of another length than its shape',
      [{ ...image([1, 3, 2]), data: new Float32Array(5) }],
      "input 'image': shape [1, 3, 2] holds 6 elements, got 5",
    ],
  ])('refuses %s and says what was expected and what came', (_what, tensors, message) => {
    expect(() => validateInputs(signature, tensors)).toThrow(
      expect.objectContaining({ code: 'invalid-request', status: 400, message }),
    );
  });
});

describe('selectOutputs', () => {
  test('gives all outputs when none is named, else those named in the order of the request', () => {
    expect(selectOutputs(signature, []).map(({ name }) => name)).toEqual(['scores', 'label']);
    expect(selectOutputs(signature, [{ name: 'label' }]).map(({ name }) => name)).toEqual(['label']);
  });

  test('refuses an output that the model does not have, and one named twice', () => {
    expect(() => selectOutputs(signature, [{ name: 'nope' }])).toThrow(
      "unknown output 'nope'; the model gives 'scores', 'label'",
    );
    expect(() => selectOutputs(signature, [{ name: 'label' }, { name: 'label' }])).toThrow('requested twice');
  });
});
