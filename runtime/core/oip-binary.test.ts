import { Buffer } from 'node:buffer';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { PilotlightError } from '../../contracts/errors.ts';
import { decodeBinaryTensor, encodeBinaryTensor } from './binary-tensor.ts';
import type { ModelSignature, SignatureDimension } from './model-signature.ts';
import { decodeInferBody } from './oip-binary.ts';
import { encodeInferResponse } from './oip-response.ts';
import { DATATYPES, type Datatype, DEFAULT_TENSOR_LIMITS, type Tensor } from './tensor.ts';
import { anyTensor, bitsOf, EXTREMES, tensorOf } from './testing-tensors.ts';

const LIMITS = DEFAULT_TENSOR_LIMITS;
const nothing: ModelSignature = { inputs: [], outputs: [], maxBatchSize: 0 };

function oneInput(
  datatype: Datatype,
  shape: readonly SignatureDimension[],
  maxBatchSize = 0,
): ModelSignature {
  return { inputs: [{ name: 'x', datatype, shape }], outputs: [], maxBatchSize };
}

/** A body with its JSON padded by spaces, so that the binary part begins at any offset. */
function bodyOf(json: string, parts: readonly Uint8Array[], padding = 0) {
  const head = json + ' '.repeat(padding);
  return { body: Buffer.concat([Buffer.from(head), ...parts]), header: String(Buffer.byteLength(head)) };
}

function inputJson(tensor: Tensor, sizeBytes: number): string {
  return `{"name":${JSON.stringify(tensor.name)},"shape":${JSON.stringify(tensor.shape)},"datatype":"${tensor.datatype}","parameters":{"binary_data_size":${sizeBytes}}}`;
}

describe('binary tensors', () => {
  test.each(DATATYPES)('%s keeps its extremes', (datatype) => {
    const tensor = tensorOf(datatype, [EXTREMES[datatype].length]);
    const data = decodeBinaryTensor(encodeBinaryTensor(tensor), tensor, LIMITS);
    expect(bitsOf({ ...tensor, data })).toEqual(bitsOf(tensor));
  });

  test('bytes are little-endian and BYTES carry their length before them', () => {
    expect(encodeBinaryTensor(tensorOf('UINT16', [2], [1, 0x1234]))).toEqual(
      new Uint8Array([1, 0, 0x34, 0x12]),
    );
    expect([...encodeBinaryTensor(tensorOf('BYTES', [2], ['é', '']))]).toEqual([
      2, 0, 0, 0, 0xc3, 0xa9, 0, 0, 0, 0,
    ]);
  });

  test('aligned bytes are viewed, others copied', () => {
    const memory = new Uint8Array(24);
    const shape = { name: 'x', datatype: 'FP64', shape: [2] } as const;
    const viewed = decodeBinaryTensor(memory.subarray(8), shape, LIMITS) as Float64Array;
    expect(viewed.buffer).toBe(memory.buffer);
    const copied = decodeBinaryTensor(memory.subarray(4, 20), shape, LIMITS) as Float64Array;
    expect(copied.buffer).not.toBe(memory.buffer);
    expect(copied).toEqual(new Float64Array(2));
  });

  test.each<[string, Datatype, number[], number[], string]>([
    ['too few bytes', 'FP32', [2], [0, 0, 0, 0], 'FP32 of shape [2] takes 8 bytes, got 4'],
    ['too many bytes', 'INT8', [1], [0, 0], 'INT8 of shape [1] takes 1 bytes, got 2'],
    ['a BOOL of 2', 'BOOL', [3], [0, 1, 2], 'element 2: expected a BOOL of 0 or 1, got 2'],
    ['no length', 'BYTES', [1], [1, 0], 'takes at least 4 bytes, got 2'],
    ['a length beyond the end', 'BYTES', [1], [2, 0, 0, 0, 65], 'its length says 2 bytes, 1 are left'],
    ['half a length', 'BYTES', [2], [1, 0, 0, 0, 65, 1, 0, 0], 'element 1: expected a 4-byte length'],
    ['bytes left over', 'BYTES', [1], [1, 0, 0, 0, 65, 66], 'end after 5 bytes, got 6'],
    ['a huge length', 'BYTES', [1], [255, 255, 255, 255], 'its length says 4294967295 bytes'],
    ['a huge shape', 'BYTES', [2 ** 28], [0, 0, 0, 0], 'takes at least'],
    ['bytes that are not UTF-8', 'BYTES', [1], [1, 0, 0, 0, 255], 'element 0 is not valid UTF-8'],
    ['a NUL', 'BYTES', [1], [1, 0, 0, 0, 0], 'element 0 has a NUL character'],
  ])('%s is refused', (_what, datatype, shape, bytes, message) => {
    expect(() => decodeBinaryTensor(Uint8Array.from(bytes), { name: 'x', datatype, shape }, LIMITS)).toThrow(
      expect.objectContaining({
        code: 'invalid-request',
        message: expect.stringContaining(message) as string,
      }),
    );
  });
});

describe('requests with binary data', () => {
  test('any tensors come through in order, at any offset', () => {
    fc.assert(
      fc.property(fc.array(anyTensor(), { maxLength: 4 }), fc.nat(8), (drawn, padding) => {
        const tensors = drawn.map((tensor, index) => ({ ...tensor, name: `t${index}` }));
        const parts = tensors.map(encodeBinaryTensor);
        const inputs = tensors.map((tensor, index) => inputJson(tensor, parts[index]?.byteLength ?? 0));
        const { body, header } = bodyOf(`{"inputs":[${inputs.join(',')}]}`, parts, padding);
        const request = decodeInferBody(body, header, nothing);
        expect(request.inputs.map(bitsOf)).toEqual(tensors.map(bitsOf));
        expect(request.inputs.map(({ name, shape }) => [name, shape])).toEqual(
          tensors.map(({ name, shape }) => [name, shape]),
        );
      }),
    );
  });

  test('JSON data and binary data may stand in one request', () => {
    const tensor = tensorOf('FP16', [2], [0x3c00, 0x4000], 'half');
    const json = `{"inputs":[{"name":"j","shape":[1],"datatype":"INT8","data":[5]},${inputJson(tensor, 4)}]}`;
    const { body, header } = bodyOf(json, [encodeBinaryTensor(tensor)]);
    expect(decodeInferBody(body, header, nothing).inputs.map(({ data }) => data)).toEqual([
      new Int8Array([5]),
      new Uint16Array([0x3c00, 0x4000]),
    ]);
  });

  test('a response with binary outputs comes back as the tensors that went out', () => {
    fc.assert(
      fc.property(fc.array(anyTensor(), { minLength: 1, maxLength: 4 }), fc.nat(15), (drawn, mask) => {
        const outputs = drawn.map((tensor, index) => ({ ...tensor, name: `y${index}` }));
        const isBinary = (name: string) => {
          const index = Number(name.slice(1));
          return (mask & (1 << index)) !== 0 || outputs[index]?.datatype === 'FP16';
        };
        const response = encodeInferResponse(
          { modelName: 'm', modelVersion: '1', id: 'i', parameters: {}, outputs },
          isBinary,
        );
        const body = Buffer.concat(response.chunks);
        expect(response.sizeBytes).toBe(body.byteLength);
        // A space keeps the length, and so the offsets behind it.
        const jsonBytes = response.inferenceHeaderLengthBytes ?? body.byteLength;
        const request = body.subarray(0, jsonBytes).toString().replace('"outputs":', '"inputs": ');
        const header = response.inferenceHeaderLengthBytes?.toString();
        const decoded = decodeInferBody(
          Buffer.concat([Buffer.from(request), body.subarray(jsonBytes)]),
          header,
          nothing,
        );
        expect(decoded.inputs.map(bitsOf)).toEqual(outputs.map(bitsOf));
        expect(decoded.id).toBe('i');
      }),
    );
  });

  test.each([
    ['-1', 'must be a whole number of bytes'],
    ['abc', "got 'abc'"],
    ['1e3', 'must be a whole number of bytes'],
    ['9999', 'says 9999 bytes of JSON, but the body has 13'],
    ['99999999999999999999', 'must be a whole number of bytes'],
  ])('header value %s is refused', (header, message) => {
    expect(() => decodeInferBody(Buffer.from('{"inputs":[]}'), header, nothing)).toThrow(message);
  });

  test('sizes that do not add up are refused', () => {
    const tensor = tensorOf('INT8', [4], [1, 2, 3, 4]);
    const refuse = (sizeBytes: number, part: number[]) => () => {
      const { body, header } = bodyOf(`{"inputs":[${inputJson(tensor, sizeBytes)}]}`, [
        Uint8Array.from(part),
      ]);
      decodeInferBody(body, header, nothing);
    };
    expect(refuse(4, [1, 2, 3])).toThrow('binary_data_size says 4 bytes, but 3 are left of the body');
    expect(refuse(4, [1, 2, 3, 4, 5])).toThrow('add up to');
    expect(refuse(3, [1, 2, 3])).toThrow('INT8 of shape [4] takes 4 bytes, got 3');
    expect(refuse(-1, [])).toThrow('binary_data_size must be a whole number');
    expect(() => {
      const { body, header } = bodyOf(
        '{"inputs":[{"name":"x","shape":[1],"datatype":"INT8","data":[1],"parameters":{"binary_data_size":1}}]}',
        [Uint8Array.from([1])],
      );
      decodeInferBody(body, header, nothing);
    }).toThrow('both "data" and "binary_data_size"');
  });

  test('whatever bytes and header come, they decode or fail with a PilotlightError', () => {
    const signatures = [nothing, oneInput('FP32', ['n', 2], 4), oneInput('BYTES', [1])];
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 64 }),
        fc.oneof(fc.nat(70).map(String), fc.string()),
        fc.constantFrom(...signatures),
        (bytes, header, signature) => {
          try {
            decodeInferBody(bytes, header, signature);
          } catch (error) {
            if (!(error instanceof PilotlightError)) throw error;
          }
        },
      ),
      { numRuns: 2000 },
    );
  });
});

describe('raw bodies (header value 0)', () => {
  const floats = encodeBinaryTensor(tensorOf('FP32', [6], [1, 2, 3, 4, 5, 6]));

  test.each<[string, readonly SignatureDimension[], number, number[]]>([
    ['a fixed shape is taken as it is', [2, 3], 0, [2, 3]],
    ['one variable dimension follows from the size', ['n', 3], 0, [2, 3]],
    [
      'the batch dimension is 1 and another variable one follows from the size',
      ['batch', -1, 2],
      8,
      [1, 3, 2],
    ],
  ])('%s', (_what, shape, maxBatchSize, wanted) => {
    const request = decodeInferBody(floats, '0', oneInput('FP32', shape, maxBatchSize));
    expect(request.inputs[0]?.shape).toEqual(wanted);
    expect(request.inputs[0]?.data).toEqual(new Float32Array([1, 2, 3, 4, 5, 6]));
    expect(request.binaryDataOutput).toBe(true);
  });

  test('a batch follows from the size where all other dimensions are fixed, and a size that fits none is refused', () => {
    const request = decodeInferBody(floats, '0', oneInput('FP32', ['batch', 3], 8));
    expect(request.inputs[0]?.shape).toEqual([2, 3]);
    expect(() => decodeInferBody(floats, '0', oneInput('FP32', ['batch', 4], 8))).toThrow(
      /multiple of 16 bytes/,
    );
  });

  test('BYTES is one element without a length', () => {
    const request = decodeInferBody(Buffer.from('Grüße'), '0', oneInput('BYTES', ['n']));
    expect(request.inputs[0]).toMatchObject({ shape: [1], data: ['Grüße'] });
    expect(decodeInferBody(Buffer.from('a'), '0', oneInput('BYTES', ['b', 1], 4)).inputs[0]?.shape).toEqual([
      1, 1,
    ]);
  });

  test.each<[string, ModelSignature, string]>([
    [
      'two inputs',
      { ...nothing, inputs: [...oneInput('FP32', [1]).inputs, { name: 'b', datatype: 'FP32', shape: [1] }] },
      'needs a model with one input, this one has 2',
    ],
    ['two variable dimensions', oneInput('FP32', ['h', 'w']), 'more than one variable dimension'],
    ['a size that does not divide', oneInput('FP32', ['n', 4]), 'must be a multiple of 16 bytes, got 24'],
    ['a size other than the fixed shape’s', oneInput('FP32', [5]), 'takes 20 bytes, got 24'],
    ['BYTES of several elements', oneInput('BYTES', [2]), 'a raw body is one element of BYTES'],
  ])('refuses a model of %s', (_what, signature, message) => {
    expect(() => decodeInferBody(floats, '0', signature)).toThrow(message);
  });
});
