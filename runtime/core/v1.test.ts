import { Buffer } from 'node:buffer';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { PilotlightError } from '../../contracts/errors.ts';
import { nestedJson } from './json-output.ts';
import type { ModelSignature, SignatureDimension } from './model-signature.ts';
import { DATATYPES, type Datatype } from './tensor.ts';
import { anyTensor, bitsOf, tensorOf } from './testing-tensors.ts';
import { decodePredictRequest, encodePredictResponse } from './v1.ts';

function one(datatype: Datatype, shape: readonly SignatureDimension[] = []): ModelSignature {
  return { inputs: [{ name: 'x', datatype, shape }], outputs: [], maxBatchSize: 0 };
}

const two: ModelSignature = {
  inputs: [
    { name: 'a', datatype: 'FP32', shape: ['n', 2] },
    { name: 'b', datatype: 'INT64', shape: ['n'] },
  ],
  outputs: [],
  maxBatchSize: 0,
};

const predict = (text: string, signature: ModelSignature) =>
  decodePredictRequest(Buffer.from(text), signature);

describe('requests', () => {
  test('instances are the rows of a model’s only input', () => {
    expect(predict('{"instances":[[1,2],[3,4.5]]}', one('FP32'))).toEqual({
      layout: 'rows',
      rowCount: 2,
      inputs: [{ name: 'x', datatype: 'FP32', shape: [2, 2], data: new Float32Array([1, 2, 3, 4.5]) }],
    });
    expect(predict('{"signature_name":"s","instances":["a","b"]}', one('BYTES')).inputs[0]).toMatchObject({
      shape: [2],
      data: ['a', 'b'],
    });
  });

  test('instances as objects become one tensor an input, whatever the order of their keys', () => {
    const request = predict('{"instances":[{"a":[1,2],"b":9007199254740993},{"b":-1,"a":[3,4]}]}', two);
    expect(request.inputs).toEqual([
      { name: 'a', datatype: 'FP32', shape: [2, 2], data: new Float32Array([1, 2, 3, 4]) },
      { name: 'b', datatype: 'INT64', shape: [2], data: new BigInt64Array([9_007_199_254_740_993n, -1n]) },
    ]);
  });

  test('inputs are columns: one tensor, or an object of tensors', () => {
    expect(predict('{"inputs":[[1],[2]]}', one('INT8')).inputs[0]).toMatchObject({ shape: [2, 1] });
    const request = predict('{"inputs":{"b":[7],"a":[[1,2]]}}', two);
    expect(request).toMatchObject({ layout: 'columns', rowCount: undefined });
    expect(request.inputs.map(({ name, shape }) => [name, shape])).toEqual([
      ['b', [1]],
      ['a', [1, 2]],
    ]);
  });

  test('FP16 inputs are rounded from the numbers given', () => {
    expect(predict('{"instances":[1,0.1,-2]}', one('FP16')).inputs[0]?.data).toEqual(
      new Uint16Array([0x3c00, 0x2e66, 0xc000]),
    );
    expect(() => predict('{"instances":[70000]}', one('FP16'))).toThrow('out of the range of FP16');
  });

  test.each([
    ['{}', one('FP32'), 'got neither'],
    ['{"instances":[1],"inputs":[1]}', one('FP32'), 'got both'],
    ['{"instances":[1],"instances":[1]}', one('FP32'), 'twice'],
    ['{"instances":5}', one('FP32'), 'expected an array for "instances", got 5'],
    ['{"instances":[]}', one('FP32'), '"instances" is empty'],
    ['{"instances":[[1,2],[3]]}', one('FP32'), 'got an array of 1 at depth 2'],
    ['{"instances":[[1,2],3]}', one('FP32'), 'got an element at depth 1'],
    ['{"instances":[1,[2]]}', one('FP32'), 'got an array at depth 2'],
    ['{"instances":["1"]}', one('FP32'), 'element 0: expected a number (FP32), got "1"'],
    ['{"instances":[{"b64":"AA=="}]}', one('BYTES'), "unexpected input 'b64'; the model takes 'x'"],
    ['{"instances":[[1,2]]}', two, 'expected "instances" as objects with these keys'],
    [
      '{"instances":[{"a":[1,2],"b":1},{"a":[1,2]}]}',
      two,
      "instance 1 has no input 'b', which instance 0 has",
    ],
    [
      '{"instances":[{"a":[1,2]},{"a":[1,2],"b":1}]}',
      two,
      "instance 0 has no input 'b', which instance 1 has",
    ],
    ['{"instances":[{"a":[1,2],"a":[1,2]}]}', two, "instance 0 has input 'a' twice"],
    ['{"instances":[{"a":[1,2]},{"a":[1]}]}', two, "tensor 'a'"],
    ['{"instances":[{"a":[1,2]},[1]]}', two, 'expected an object for instance 1'],
    ['{"inputs":{"c":[1]}}', two, "unexpected input 'c'"],
    [`{"instances":${'['.repeat(50)}1${']'.repeat(50)}}`, one('FP32'), 'deeper than the 32 dimensions'],
  ])('refuses %s', (text, signature, message) => {
    expect(() => predict(text, signature)).toThrow(
      expect.objectContaining({
        code: 'invalid-request',
        message: expect.stringContaining(message) as string,
      }),
    );
  });

  test('a first instance larger than all the others claims no memory for them', () => {
    const rows = [
      '{"a":[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]}',
      ...Array.from({ length: 2000 }, () => '{"a":[]}'),
    ];
    expect(() => predict(`{"instances":[${rows.join(',')}]}`, two)).toThrow('the other instances differ');
  });

  test('nested data of any datatype is read with its shape', () => {
    const withRows = anyTensor(DATATYPES.filter((datatype) => datatype !== 'FP16')).filter(
      ({ shape }) => shape.length > 0 && !shape.includes(0),
    );
    fc.assert(
      fc.property(withRows, (tensor) => {
        const request = predict(`{"instances":${nestedJson(tensor)}}`, one(tensor.datatype));
        expect(request.inputs[0]?.shape).toEqual(tensor.shape);
        expect(request.inputs.map(bitsOf)).toEqual([bitsOf(tensor)]);
      }),
    );
  });

  test('whatever the bytes are, they decode or fail with a PilotlightError', () => {
    const text = '{"instances":[{"a":[1,2],"b":3},{"a":[4,5],"b":6}]}';
    const edited = fc
      .array(
        fc.tuple(fc.nat(text.length), fc.constantFrom('[', ']', '{', '}', '"', ',', ':', '0', 'a', '-', '')),
        {
          minLength: 1,
          maxLength: 4,
        },
      )
      .map((edits) => edits.reduce((body, [at, put]) => body.slice(0, at) + put + body.slice(at + 1), text));
    fc.assert(
      fc.property(edited, fc.constantFrom(one('FP32'), two), (body, signature) => {
        try {
          predict(body, signature);
        } catch (error) {
          if (!(error instanceof PilotlightError)) throw error;
        }
      }),
      { numRuns: 3000 },
    );
  });
});

describe('responses', () => {
  const rows = { layout: 'rows', rowCount: 2 } as const;
  const columns = { layout: 'columns', rowCount: undefined } as const;
  const y = tensorOf('FP32', [2, 2], [1, 2, 3, Number.NaN], 'y');
  const z = tensorOf('BYTES', [2], ['p', 'q'], 'z');
  const encode = (...args: Parameters<typeof encodePredictResponse>) =>
    Buffer.from(encodePredictResponse(...args)).toString();

  test('one output is nested by its shape', () => {
    expect(encode([y], rows)).toBe('{"predictions":[[1,2],[3,NaN]]}');
    expect(encode([y], columns)).toBe('{"outputs":[[1,2],[3,NaN]]}');
    expect(encode([tensorOf('FP16', [2], [0x3c00, 0x2e66], 'h')], rows)).toBe(
      '{"predictions":[1,0.0999755859375]}',
    );
    expect(encode([tensorOf('BOOL', [], [1], 's')], columns)).toBe('{"outputs":true}');
  });

  test('several outputs are objects by name, a row each or a column each', () => {
    expect(encode([y, z], rows)).toBe('{"predictions":[{"y":[1,2],"z":"p"},{"y":[3,NaN],"z":"q"}]}');
    expect(encode([y, z], columns)).toBe('{"outputs":{"y":[[1,2],[3,NaN]],"z":["p","q"]}}');
  });

  test('outputs that cannot be split into rows are an error that says what to do', () => {
    expect(() => encode([y, tensorOf('FP32', [3], [1], 'w')], rows)).toThrow(
      "output 'w' has shape [3], which cannot be split into 2 predictions",
    );
  });

  test('nesting follows the shape, zero sizes and scalars included', () => {
    expect(nestedJson(tensorOf('INT8', [2, 0, 3]))).toBe('[[],[]]');
    expect(nestedJson(tensorOf('INT8', [0]))).toBe('[]');
    expect(nestedJson(tensorOf('INT64', [2, 1, 2], [1n, 2n, 3n, 4n]))).toBe('[[[1,2]],[[3,4]]]');
    expect(nestedJson(tensorOf('INT64', [], [5n]))).toBe('5');
  });

  test('what JSON.parse can read back equals the tensor', () => {
    fc.assert(
      fc.property(anyTensor(['INT32', 'BYTES', 'BOOL', 'UINT8']), (tensor) => {
        const { outputs } = JSON.parse(encode([tensor], columns)) as { outputs: unknown };
        const flat = [outputs].flat(5).map((value) => (typeof value === 'boolean' ? Number(value) : value));
        expect(flat).toEqual(Array.from<unknown>(tensor.data));
      }),
    );
  });
});
