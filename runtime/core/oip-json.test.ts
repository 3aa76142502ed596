import { Buffer } from 'node:buffer';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { PilotlightError } from '../../contracts/errors.ts';
import { nestedJson } from './json-output.ts';
import type { ModelSignature } from './model-signature.ts';
import { decodeInferRequest } from './oip-json.ts';
import { echoedParameters, planOutputs } from './oip-messages.ts';
import { encodeInferResponse } from './oip-response.ts';
import { DATATYPES, type Datatype, DEFAULT_TENSOR_LIMITS, type Tensor } from './tensor.ts';
import { anyTensor, bitsOf, EXTREMES, tensorOf } from './testing-tensors.ts';

const JSON_DATATYPES = DATATYPES.filter((datatype) => datatype !== 'FP16');

function decode(text: string) {
  return decodeInferRequest(Buffer.from(text));
}

function decodeOne(datatype: string, shape: number[], data: string): Tensor {
  const request = decode(
    `{"inputs":[{"name":"x","shape":${JSON.stringify(shape)},"datatype":"${datatype}","data":${data}}]}`,
  );
  return request.inputs[0] as Tensor;
}

/** The text of a response as the request that sends its outputs back. */
function asRequest(tensor: Tensor): Uint8Array {
  const response = encodeInferResponse(
    { modelName: 'm', modelVersion: undefined, id: undefined, parameters: {}, outputs: [tensor] },
    () => false,
  );
  const text = Buffer.concat(response.chunks).toString();
  return Buffer.from(text.replace('"outputs":', '"inputs":'));
}

describe('tensor data as JSON', () => {
  test.each(JSON_DATATYPES)('%s keeps its extremes from response to request', (datatype) => {
    const tensor = tensorOf(datatype, [EXTREMES[datatype].length]);
    const decoded = decodeInferRequest(asRequest(tensor)).inputs[0] as Tensor;
    expect(bitsOf(decoded)).toEqual(bitsOf(tensor));
    expect(decoded).toMatchObject({ name: 'x', datatype, shape: tensor.shape });
  });

  test('every tensor survives the way out and back, bit for bit', () => {
    fc.assert(
      fc.property(anyTensor(JSON_DATATYPES), (tensor) => {
        const decoded = decodeInferRequest(asRequest(tensor)).inputs[0] as Tensor;
        expect(bitsOf(decoded)).toEqual(bitsOf(tensor));
        expect(decoded.shape).toEqual(tensor.shape);
      }),
      { numRuns: 500 },
    );
  });

  test('nested and flat data mean the same', () => {
    fc.assert(
      fc.property(anyTensor(JSON_DATATYPES), (tensor) => {
        const nested = decodeOne(tensor.datatype, [...tensor.shape], nestedJson(tensor));
        expect(bitsOf(nested)).toEqual(bitsOf(tensor));
      }),
      { numRuns: 500 },
    );
  });

  test('numbers read as JSON.parse reads them, in every spelling', () => {
    const sign = fc.constantFrom('', '-');
    const digits = fc.stringMatching(/^(0|[1-9]\d{0,24})$/);
    const fraction = fc.oneof(fc.constant(''), fc.stringMatching(/^\.\d{1,24}$/));
    const exponent = fc.oneof(fc.constant(''), fc.stringMatching(/^[eE][+-]?\d{1,2}$/));
    const spelled = fc.tuple(sign, digits, fraction, exponent).map((parts) => parts.join(''));
    fc.assert(
      fc.property(fc.array(spelled, { minLength: 1, maxLength: 5 }), (texts) => {
        const wanted = texts.map((text) => JSON.parse(text) as number);
        const data = `[${texts.join(',')}]`;
        expect(Array.from(decodeOne('FP64', [texts.length], data).data as Float64Array)).toEqual(wanted);
        if (wanted.every((value) => Number.isFinite(Math.fround(value)))) {
          expect(Array.from(decodeOne('FP32', [texts.length], data).data as Float32Array)).toEqual(
            wanted.map(Math.fround),
          );
        }
      }),
      { numRuns: 2000 },
    );
  });

  test('the text of a float32 reads as that float32, however many digits it has', () => {
    fc.assert(
      fc.property(
        fc.float({ noNaN: true, noDefaultInfinity: true }),
        fc.integer({ min: 9, max: 21 }),
        (value, digits) => {
          const [read] = decodeOne('FP32', [1], `[${value.toPrecision(digits)}]`).data as Float32Array;
          expect(read).toBe(Math.fround(Number(value.toPrecision(digits))));
        },
      ),
    );
  });

  test('values beside the middle of two float32s go to the side where their double goes', () => {
    const words = new DataView(new ArrayBuffer(8));
    const nearTie = fc.tuple(
      fc.integer({ min: 0x30000000, max: 0x4f000000 }),
      fc.integer({ min: -3, max: 3 }),
    );
    fc.assert(
      fc.property(nearTie, fc.integer({ min: 16, max: 30 }), ([bits, steps], digits) => {
        words.setUint32(0, bits);
        const low = words.getFloat32(0);
        words.setUint32(0, bits + 1);
        words.setFloat64(0, (low + words.getFloat32(0)) / 2);
        words.setBigUint64(0, words.getBigUint64(0) + BigInt(steps));
        const text = words.getFloat64(0).toPrecision(digits);
        const [read] = decodeOne('FP32', [1], `[${text}]`).data as Float32Array;
        expect(read).toBe(Math.fround(Number(text)));
      }),
      { numRuns: 5000 },
    );
  });

  test('small numbers with many zeros after the point are read exactly', () => {
    const texts = [22, 23, 24, 30, 60].map((zeros) => `0.${'0'.repeat(zeros)}123`);
    const { data } = decodeOne('FP64', [texts.length], `[${texts.join(',')}]`);
    expect(Array.from(data as Float64Array)).toEqual(texts.map(Number));
  });

  test('NaN and infinities are read as bare words and as strings', () => {
    const { data } = decodeOne('FP32', [6], '[NaN, Infinity, -Infinity, "NaN", "Infinity", "-Infinity"]');
    expect(Array.from(data as Float32Array)).toEqual([NaN, Infinity, -Infinity, NaN, Infinity, -Infinity]);
  });

  test('a response writes NaN and infinities bare, as the text says', () => {
    const response = encodeInferResponse(
      {
        modelName: 'm',
        modelVersion: '2',
        id: 'a"b',
        parameters: { n: 9_007_199_254_740_993n, on: true },
        outputs: [tensorOf('FP32', [4], [Number.NaN, Infinity, -Infinity, -0], 'y')],
      },
      () => false,
    );
    expect(Buffer.concat(response.chunks).toString()).toBe(
      '{"model_name":"m","model_version":"2","id":"a\\"b","parameters":{"n":9007199254740993,"on":true},' +
        '"outputs":[{"name":"y","datatype":"FP32","shape":[4],"data":[NaN,Infinity,-Infinity,-0.0]}]}',
    );
    expect(response).toMatchObject({
      contentType: 'application/json',
      inferenceHeaderLengthBytes: undefined,
    });
    expect(response.sizeBytes).toBe(Buffer.concat(response.chunks).byteLength);
  });

  test('BOOL takes true, false, 0 and 1', () => {
    expect(decodeOne('BOOL', [4], '[true,false,0,1]').data).toEqual(new Uint8Array([1, 0, 0, 1]));
  });

  test('a whole number may be written with a fraction or an exponent', () => {
    expect(decodeOne('INT32', [3], '[1.0, 2e3, -0]').data).toEqual(new Int32Array([1, 2000, 0]));
    expect(decodeOne('INT64', [3], '[1.0, -2e3, -0]').data).toEqual(new BigInt64Array([1n, -2000n, 0n]));
  });

  test('a scalar stands bare or in an array', () => {
    expect(decodeOne('INT32', [], '7').data).toEqual(new Int32Array([7]));
    expect(decodeOne('INT32', [], '[7]').data).toEqual(new Int32Array([7]));
  });

  test.each<[Datatype, number[], string, string]>([
    ['UINT8', [3], '[1,2,300]', "tensor 'x': element 2: 300 is out of the range of UINT8 (0 … 255)"],
    ['UINT8', [1], '[-1]', 'element 0: -1 is out of the range of UINT8'],
    ['INT8', [2], '[0,128]', 'element 1: 128 is out of the range of INT8 (-128 … 127)'],
    ['INT32', [1], '[1.5]', 'element 0: 1.5 is not a whole number'],
    ['INT64', [1], '[9223372036854775808]', 'element 0: 9223372036854775808 is out of the range of INT64'],
    ['UINT64', [2], '[1,-1]', 'element 1: -1 is out of the range of UINT64'],
    ['UINT64', [1], '[18446744073709551616]', 'out of the range of UINT64 (0 … 18446744073709551615)'],
    ['INT64', [1], `[${'9'.repeat(100_000)}]`, 'out of the range of INT64'],
    ['INT64', [1], '[1e30]', 'element 0: 1e30 is not a whole number'],
    ['FP32', [1], '[3.5e38]', 'element 0: 3.5e38 is out of the range of FP32'],
    ['FP64', [1], '[1e999]', 'element 0: 1e999 is out of the range of FP64'],
    ['FP32', [2], '[1,null]', 'element 1: expected a number (FP32), got null'],
    ['FP32', [2], '[1,"two"]', 'element 1: expected a number (FP32), got "two"'],
    ['BOOL', [1], '[2]', 'element 0: 2 is not a BOOL'],
    ['BYTES', [2], '["a",1]', 'element 1: expected a string (BYTES), got 1'],
    ['BYTES', [1], '["a\\u0000b"]', 'element 0 has a NUL character'],
    ['BYTES', [1], '["\\ud800"]', 'element 0 has a lone surrogate'],
    ['FP32', [3], '[1,2]', "tensor 'x': shape [3] holds 3 elements, got 2"],
    ['FP32', [2], '[1,2,3]', "tensor 'x': shape [2] holds 2 elements, got more"],
    ['FP32', [2, 2], '[[1,2],[3]]', 'nested as its shape [2, 2], got an array of 1 at depth 2'],
    ['FP32', [2, 3], '[[1,2],[3,4],[5,6]]', 'nested as its shape [2, 3], got an array of 2 at depth 2'],
    ['FP32', [2, 1, 2], '[[1,2],[3,4]]', 'got an element at depth 2'],
    ['FP32', [4], '[[1,2,3,4]]', 'got an array at depth 2'],
    ['FP32', [2, 1], '[[1],2]', 'got an element at depth 1'],
    ['FP32', [1], '[01]', 'without leading zeros'],
    ['FP32', [1], '[1.]', 'digits after its point'],
    ['FP32', [1], '[1e]', 'digits in its exponent'],
    ['FP32', [1], '5', "expected an array for the data of tensor 'x'"],
    ['FP16', [1], '[1]', "input 'x': FP16 data can only be sent as binary data"],
  ])('refuses %s of shape %j with data %s', (datatype, shape, data, message) => {
    expect(() => decodeOne(datatype, shape, data)).toThrow(
      expect.objectContaining({
        code: 'invalid-request',
        status: 400,
        message: expect.stringContaining(message) as string,
      }),
    );
  });

  test('BF16 is answered with 501', () => {
    expect(() => decodeOne('BF16', [1], '[1]')).toThrow(expect.objectContaining({ status: 501 }));
  });

  test('bytes that are not UTF-8 are refused in strings', () => {
    const text = '{"inputs":[{"name":"x","shape":[1],"datatype":"BYTES","data":["@"]}]}';
    const bytes = Buffer.from(text);
    bytes[text.indexOf('@')] = 0xff;
    expect(() => decodeInferRequest(bytes)).toThrow('valid UTF-8');
  });
});

describe('the request around the data', () => {
  test('fields may come in any order, with what the protocol does not know between them', () => {
    const request = decode(
      '{"extra":{"deep":[1,{"a":null}]},"inputs":[{"data":[[1,2]],"hint":1,"datatype":"INT8","shape":[1,2],"name":"x"}],"id":"7"}',
    );
    expect(request.id).toBe('7');
    expect(request.inputs).toEqual([
      { name: 'x', datatype: 'INT8', shape: [1, 2], data: new Int8Array([1, 2]) },
    ]);
  });

  test('parameters keep their types, integers beyond 2^53 their digits, and __proto__ is a name like any other', () => {
    const { parameters } = decode(
      '{"inputs":[],"parameters":{"s":"t","n":1.5,"big":9007199254740993,"b":false,"__proto__":"p","gone":null,"binary_data_output":true}}',
    );
    expect(Object.entries(parameters)).toEqual([
      ['s', 't'],
      ['n', 1.5],
      ['big', 9_007_199_254_740_993n],
      ['b', false],
      ['__proto__', 'p'],
      ['binary_data_output', true],
    ]);
    expect(Object.keys(echoedParameters(parameters))).not.toContain('binary_data_output');
    expect(({} as Record<string, unknown>)['p']).toBeUndefined();
  });

  test('null counts as absent', () => {
    const request = decode('{"id":null,"parameters":null,"outputs":null,"inputs":[]}');
    expect(request).toMatchObject({ id: undefined, outputs: [], binaryDataOutput: false });
  });

  test.each([
    ['', 'expected an object for the request, got the end'],
    ['[]', 'expected an object for the request'],
    ['{}', 'no "inputs"'],
    ['{"inputs":[]} x', 'expected the end of the JSON, got x'],
    ['{"inputs":[],"inputs":[]}', 'the request has "inputs" twice'],
    ['{"inputs":[],"id":5}', 'expected a string for id, got 5'],
    ['{"inputs":[],"parameters":{"a":[1]}}', "expected a string, number or boolean for parameter 'a'"],
    ['{"inputs":[],"parameters":{"binary_data_output":1}}', 'must be true or false, got 1'],
    ['{"inputs":[{"shape":[1],"datatype":"FP32","data":[1]}]}', 'input 0 has no "name"'],
    ['{"inputs":[{"name":"x","datatype":"FP32","data":[1]}]}', 'input \'x\' has no "shape"'],
    ['{"inputs":[{"name":"x","shape":[1],"data":[1]}]}', 'input \'x\' has no "datatype"'],
    ['{"inputs":[{"name":"x","shape":[1],"datatype":"FP32"}]}', "input 'x' has no data"],
    ['{"inputs":[{"name":"x","shape":[-1],"datatype":"FP32","data":[1]}]}', 'dimension 0'],
    ['{"inputs":[{"name":"x","shape":["a"],"datatype":"FP32","data":[1]}]}', 'must be a whole number, got a'],
    [
      '{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","parameters":{"binary_data_size":4}}]}',
      'no header Inference-Header-Content-Length',
    ],
    ['{"inputs":[],"outputs":[{}]}', 'output 0 has no "name"'],
    ['{"inputs":[,]}', 'expected an object for input 0'],
    ['{"inputs":[]', "expected ',' or '}'"],
    ['{"a":1 "inputs":[]}', "expected ',' or '}'"],
    ['{"a":[1,],"inputs":[]}', 'expected a value'],
    ['{"a":1.,"inputs":[]}', 'digits after its point'],
    ['{"a":[0.5,01],"inputs":[]}', 'without leading zeros'],
    ['{"a":-,"inputs":[]}', 'expected a number'],
    ['{"a":1e,"inputs":[]}', 'digits in its exponent'],
    ['{"a":"\n","inputs":[]}', 'control characters'],
    ['{"a":"\\x","inputs":[]}', 'valid escapes'],
  ])('refuses %s', (text, message) => {
    expect(() => decode(text)).toThrow(
      expect.objectContaining({
        code: 'invalid-request',
        message: expect.stringContaining(message) as string,
      }),
    );
  });

  test.each(['shared_memory_region'])('parameter %s is answered with 501', (parameter) => {
    expect(() =>
      decode(
        `{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","parameters":{"${parameter}":"r"},"data":[1]}]}`,
      ),
    ).toThrow(expect.objectContaining({ status: 501 }));
  });

  test('classification is answered with 501', () => {
    expect(() => decode('{"inputs":[],"outputs":[{"name":"y","parameters":{"classification":3}}]}')).toThrow(
      expect.objectContaining({ status: 501 }),
    );
  });
});

describe('hostile bodies', () => {
  test('deep nesting is refused wherever it stands, without recursion', () => {
    const deep = '['.repeat(1_000_000);
    const wanted = expect.objectContaining({ code: 'invalid-request' });
    expect(() => decode(`{"x":${deep}`)).toThrow(wanted);
    expect(() => decode(`{"x":${'{"a":'.repeat(100_000)}`)).toThrow(wanted);
    expect(() => decode(`{"inputs":[{"data":${deep}`)).toThrow(wanted);
    expect(() => decodeOne('FP32', [1, 1, 1], deep)).toThrow(wanted);
    expect(() => decode(deep)).toThrow(wanted);
  });

  test('a shape alone claims no memory', () => {
    const before = process.memoryUsage().arrayBuffers;
    expect(() => decodeOne('FP64', [2 ** 27], '[1]')).toThrow('more than the data that came');
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(1_000_000);
  });

  test('too many inputs, outputs and dimensions are refused', () => {
    const limits = { ...DEFAULT_TENSOR_LIMITS, maxTensors: 2, maxRank: 2 };
    const input = '{"name":"x","shape":[1],"datatype":"FP32","data":[1]}';
    const refuse = (text: string) => () => decodeInferRequest(Buffer.from(text), limits);
    expect(refuse(`{"inputs":[${input},${input},${input}]}`)).toThrow('more than the 2 inputs');
    expect(refuse('{"inputs":[],"outputs":[{"name":"a"},{"name":"b"},{"name":"c"}]}')).toThrow(
      'more than the 2 outputs',
    );
    expect(refuse('{"inputs":[{"name":"x","shape":[1,1,1]}]}')).toThrow('more than the 2 dimensions');
  });

  test('nothing is accepted that JSON.parse refuses, but for NaN and infinities', () => {
    const text =
      '{"id":"1","x":[1,{"k":-0.5e3}],"inputs":[{"name":"x","shape":[2,2],"datatype":"FP32","data":[[1,-2.5],[0,4e-1]]},' +
      '{"data":[123],"name":"l","shape":[1],"datatype":"INT64"}],"outputs":[{"name":"y","parameters":{"p":true}}]}';
    const edit = fc.tuple(
      fc.nat(text.length),
      fc.nat(2),
      fc.constantFrom(...Array.from('[]{}",:-+01.e \\\t'), ''),
    );
    let accepted = 0;
    fc.assert(
      fc.property(fc.array(edit, { minLength: 1, maxLength: 3 }), (edits) => {
        const edited = edits.reduce(
          (body, [at, removed, put]) => body.slice(0, at) + put + body.slice(at + removed),
          text,
        );
        try {
          decode(edited);
        } catch (error) {
          if (!(error instanceof PilotlightError)) throw error;
          return;
        }
        accepted++;
        expect(() => JSON.parse(edited) as unknown).not.toThrow();
      }),
      { numRuns: 5000 },
    );
    // Else the property would hold for a decoder that refuses everything.
    expect(accepted).toBeGreaterThan(50);
  });

  test('whatever the bytes are, they decode or fail with a PilotlightError', () => {
    const valid = Buffer.from(
      '{"id":"1","parameters":{"p":1e5},"inputs":[{"name":"x","shape":[2,2],"datatype":"FP32","data":[[1,-2.5],[NaN,4e-1]]},' +
        '{"name":"s","shape":[1],"datatype":"BYTES","data":["a\\u00e9ü"]},{"data":[9007199254740993],"name":"l","shape":[1],"datatype":"INT64"}],' +
        '"outputs":[{"name":"y","parameters":{"binary_data":true}}]}',
    );
    const mutated = fc
      .array(
        fc.tuple(
          fc.nat(valid.length),
          fc.nat(3),
          fc.oneof(fc.nat(255), fc.constantFrom(...Buffer.from('[]{}",:-0.eN\\'))),
        ),
        {
          minLength: 1,
          maxLength: 6,
        },
      )
      .map((edits) => {
        let bytes = Uint8Array.from(valid);
        for (const [at, removed, inserted] of edits) {
          bytes = Uint8Array.from([...bytes.subarray(0, at), inserted, ...bytes.subarray(at + removed)]);
        }
        return bytes;
      });
    fc.assert(
      fc.property(fc.oneof(mutated, fc.uint8Array({ maxLength: 200 })), (bytes) => {
        try {
          decodeInferRequest(bytes);
        } catch (error) {
          if (!(error instanceof PilotlightError)) throw error;
          expect(error.message.length).toBeLessThan(2000);
        }
      }),
      { numRuns: 5000 },
    );
  });
});

describe('planOutputs', () => {
  const signature: ModelSignature = {
    inputs: [],
    outputs: [
      { name: 'y', datatype: 'FP32', shape: [1] },
      { name: 'h', datatype: 'FP16', shape: [1] },
    ],
    maxBatchSize: 0,
  };
  const plan = (text: string) =>
    planOutputs(signature, decode(text)).map(({ signature: output, binary }) => [output.name, binary]);

  test('takes the output’s own binary_data before the request’s binary_data_output', () => {
    expect(
      plan(
        '{"inputs":[],"parameters":{"binary_data_output":true},"outputs":[{"name":"h"},{"name":"y","parameters":{"binary_data":false}}]}',
      ),
    ).toEqual([
      ['h', true],
      ['y', false],
    ]);
  });

  test('refuses FP16 as JSON before anything runs, and an output that the model lacks', () => {
    expect(() => plan('{"inputs":[]}')).toThrow("output 'h' is FP16, which JSON cannot carry");
    expect(() => plan('{"inputs":[],"outputs":[{"name":"z"}]}')).toThrow("unknown output 'z'");
  });
});
