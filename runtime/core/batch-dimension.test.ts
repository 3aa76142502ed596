import { expect, test } from 'vitest';
import { requireBatchDimension, saysItsBatch } from './batch-dimension.ts';
import type { SignatureDimension, TensorSignature } from './model-signature.ts';

function signature(input: SignatureDimension[], output: SignatureDimension[]) {
  const tensor = (name: string, shape: SignatureDimension[]): TensorSignature => ({
    name,
    datatype: 'FP32',
    shape,
  });
  return { inputs: [tensor('x', input)], outputs: [tensor('y', output)] };
}

test.each<[SignatureDimension[], SignatureDimension[], boolean]>([
  [['batch', 3], ['batch'], true],
  [['batch', 'width'], ['batch', 'width'], true],
  [['batch', 3], ['n', 3], false],
  [['batch', 3], [1, 3], false],
  [[-1, 3], [-1, 3], false],
  [['batch', 'batch'], ['batch'], false],
  [['batch', 3], [], false],
])(
  'input %j and output %j: only a name that is dimension 0 everywhere, and nowhere else, says a batch',
  (input, output, expected) => {
    expect(saysItsBatch(signature(input, output))).toBe(expected);
  },
);

test('a model without inputs and outputs has no batch', () => {
  expect(saysItsBatch({ inputs: [], outputs: [] })).toBe(false);
});

test.each<[SignatureDimension[], SignatureDimension[], RegExp]>([
  [
    [1, 3],
    ['n', 3],
    /batches of 8: input 'x' of shape \[1, 3\] has a first dimension that is fixed at 1; export/,
  ],
  [['n', 3], [], /output 'y' of shape \[\] is a scalar/],
  [['n', 'n'], ['n'], /input 'x' of shape \[n, n\] names its first dimension 'n' a second time/],
])('who asks for batches of input %j and output %j is told why it can’t be', (input, output, message) => {
  const check = (): void => requireBatchDimension(signature(input, output), 8);
  expect(check).toThrow(expect.objectContaining({ code: 'model-invalid' }));
  expect(check).toThrow(message);
});

test('who asks may have a variable first dimension of any name', () => {
  expect(() => requireBatchDimension(signature([-1, 3], ['m', 'k']), 8)).not.toThrow();
});
