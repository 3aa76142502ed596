import fc from 'fast-check';
import protobuf from 'protobufjs';
import { beforeAll, expect, test } from 'vitest';
import { PilotlightError } from '../../../contracts/errors.ts';
import { WireReader, WireWriter } from '../../core/protobuf.ts';
import { DATATYPES, type Datatype, type Tensor, viewOf } from '../../core/tensor.ts';
import { decodeModelInferRequest, encodeModelInferResponse } from './infer-messages.ts';
import { decodeContents, encodeContents } from './tensor-contents.ts';
import { loadProtocol } from './test-grpc-client.ts';

/** protobufjs, from the protocol's own file, is what ours is held against. */
let Request: protobuf.Type;
let Response: protobuf.Type;
let Contents: protobuf.Type;
beforeAll(async () => {
  const root = await loadProtocol();
  Request = root.lookupType('inference.ModelInferRequest');
  Response = root.lookupType('inference.ModelInferResponse');
  Contents = root.lookupType('inference.InferTensorContents');
});

function encode(type: protobuf.Type, value: object): Buffer {
  return Buffer.from(type.encode(type.fromObject(value)).finish());
}

function decode(type: protobuf.Type, writer: WireWriter): Record<string, unknown> {
  const bytes = Buffer.concat(writer.finish());
  expect(bytes.length).toBe(writer.sizeBytes);
  return type.toObject(type.decode(bytes), { longs: String, arrays: true, bytes: String });
}

const FIELD: Partial<Record<Datatype, string>> = {
  BOOL: 'boolContents',
  INT8: 'intContents',
  INT16: 'intContents',
  INT32: 'intContents',
  INT64: 'int64Contents',
  UINT8: 'uintContents',
  UINT16: 'uintContents',
  UINT32: 'uintContents',
  UINT64: 'uint64Contents',
  FP32: 'fp32Contents',
  FP64: 'fp64Contents',
};

const elements: Partial<Record<Datatype, fc.Arbitrary<number | bigint>>> = {
  BOOL: fc.integer({ min: 0, max: 1 }),
  INT8: fc.integer({ min: -128, max: 127 }),
  INT16: fc.integer({ min: -32768, max: 32767 }),
  INT32: fc.integer(),
  INT64: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  UINT8: fc.nat(255),
  UINT16: fc.nat(65535),
  UINT32: fc.nat(2 ** 32 - 1),
  UINT64: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  FP32: fc.float(),
  FP64: fc.double(),
};

function typed(datatype: Datatype, values: readonly (number | bigint)[]): Tensor {
  if (datatype === 'BYTES') throw new TypeError('BYTES is no number');
  const size = datatype.endsWith('64') ? 8 : 4;
  const data = viewOf(datatype, new ArrayBuffer(values.length * size), 0, values.length);
  values.forEach((value, index) => {
    (data as unknown as (number | bigint)[])[index] = value;
  });
  return { name: 't', datatype, shape: [values.length], data };
}

test('typed contents of every datatype are what protobufjs reads and writes', () => {
  for (const datatype of DATATYPES) {
    const element = elements[datatype];
    const field = FIELD[datatype];
    if (element === undefined || field === undefined) continue;
    fc.assert(
      fc.property(fc.array(element, { maxLength: 30 }), (values) => {
        const tensor = typed(datatype, values);
        const theirs = encode(Contents, {
          [field]: values.map((value) => (typeof value === 'bigint' ? String(value) : value)),
        });
        expect(decodeContents([theirs], tensor)).toEqual(tensor.data);
        const ours = decode(Contents, encodeContents(tensor))[field] as (string | number | boolean)[];
        const expected = values.map((value) =>
          typeof value === 'bigint' ? String(value) : datatype === 'BOOL' ? value === 1 : value,
        );
        expect(ours.map((value) => (value === 0 ? 0 : value))).toEqual(
          expected.map((value) => (value === 0 ? 0 : value)),
        );
      }),
      { numRuns: 50 },
    );
  }
});

test('elements that came unpacked, and contents that came in pieces, are put together', () => {
  const unpacked = Buffer.from([0x18, 5, 0x18, 7]);
  const more = encode(Contents, { int64Contents: ['-1'] });
  const data = decodeContents([unpacked, more], { name: 't', datatype: 'INT64', shape: [3] });
  expect(data).toEqual(BigInt64Array.of(5n, 7n, -1n));
});

test('BYTES go through as text', () => {
  const theirs = encode(Contents, {
    bytesContents: [Buffer.from('a'), Buffer.from('Zürich 🙂'), Buffer.alloc(0)],
  });
  const head = { name: 't', datatype: 'BYTES', shape: [3] } as const;
  const data = decodeContents([theirs], head);
  expect(data).toEqual(['a', 'Zürich 🙂', '']);
  expect(Buffer.concat(encodeContents({ ...head, data }).finish()).equals(theirs)).toBe(true);
});

test('contents that do not fit are refused with the tensor, what was expected and what came', () => {
  const ints = encode(Contents, { intContents: [1, 300] });
  const refuse = (datatype: Datatype, shape: number[]): string => {
    try {
      decodeContents([ints], { name: 'x', datatype, shape });
    } catch (error) {
      return error instanceof PilotlightError ? error.message : String(error);
    }
    return 'taken';
  };
  expect(refuse('FP32', [2])).toBe("input 'x': FP32 comes in fp32_contents, got int_contents");
  expect(refuse('INT32', [3])).toBe("input 'x': INT32 of shape [3] needs 3 elements in int_contents, got 2");
  expect(refuse('INT8', [2])).toBe("input 'x': element 1: 300 is out of the range of INT8");
  expect(refuse('FP16', [2])).toContain('raw_input_contents');
  expect(refuse('INT32', [2 ** 28])).toContain('needs 268435456 elements');
});

test('requests and responses are what protobufjs reads and writes, parameters of every kind included', () => {
  const parameters = {
    flag: { boolParam: true },
    big: { int64Param: '-9223372036854775808' },
    text: { stringParam: 'ü' },
    real: { doubleParam: 1.0 },
    huge: { uint64Param: '18446744073709551615' },
  };
  const message = encode(Request, {
    modelName: 'm',
    modelVersion: '2',
    id: 'id-1',
    parameters,
    inputs: [
      { name: 'a', datatype: 'FP32', shape: ['1', '2'], contents: { fp32Contents: [1, 2] } },
      { name: 'b', datatype: 'INT64', shape: ['-1'], contents: {} },
    ],
    outputs: [{ name: 'o' }, { name: 'p' }],
  });
  const request = decodeModelInferRequest(message);
  expect(request).toMatchObject({
    modelName: 'm',
    modelVersion: '2',
    id: 'id-1',
    isRaw: false,
    outputNames: ['o', 'p'],
  });
  expect(() => request.inputs()).toThrow(
    'dimension 0 of the shape must be a whole number of 0 or more, got -1',
  );

  const large = new Float32Array(5000).map((_, index) => index);
  const outputs: Tensor[] = [
    { name: 'o', datatype: 'FP32', shape: [5000], data: large },
    { name: 'p', datatype: 'UINT64', shape: [1], data: BigUint64Array.of(2n ** 64n - 1n) },
  ];
  const answer = decode(Response, encodeModelInferResponse(request, { name: 'm', version: '2' }, outputs));
  expect(answer).toMatchObject({
    modelName: 'm',
    modelVersion: '2',
    id: 'id-1',
    parameters,
    rawOutputContents: [],
  });
  expect(answer['outputs']).toMatchObject([
    { name: 'o', datatype: 'FP32', shape: ['5000'], contents: { fp32Contents: [...large] } },
    { name: 'p', contents: { uint64Contents: ['18446744073709551615'] } },
  ]);
  const raw = decode(
    Response,
    encodeModelInferResponse({ ...request, isRaw: true }, { name: 'm', version: '' }, outputs),
  );
  expect(raw['rawOutputContents']).toEqual([Buffer.from(large.buffer).toString('base64'), '//////////8=']);
});

test('raw data beside typed contents, or for another number of inputs, is refused', () => {
  const input = { name: 'a', datatype: 'UINT8', shape: ['1'] };
  const both = encode(Request, {
    inputs: [{ ...input, contents: { uintContents: [1] } }],
    rawInputContents: [Buffer.of(1)],
  });
  expect(() => decodeModelInferRequest(both).inputs()).toThrow(
    "input 'a' has contents beside raw_input_contents",
  );
  const more = encode(Request, { inputs: [input], rawInputContents: [Buffer.of(1), Buffer.of(2)] });
  expect(() => decodeModelInferRequest(more).inputs()).toThrow(
    'raw_input_contents has 2 entries for 1 inputs',
  );
});

test('every varint comes back as it was', () => {
  fc.assert(
    fc.property(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), (value) => {
      const writer = new WireWriter();
      writer.varint(Number(value & 0xffffffffn), Number(value >> 32n));
      const bytes = Buffer.concat(writer.finish());
      expect(
        bytes.equals(
          Buffer.from(
            protobuf.Writer.create()
              .uint64(String(value) as never)
              .finish(),
          ),
        ),
      ).toBe(true);
      const reader = new WireReader(bytes);
      reader.varint();
      expect((BigInt(reader.high) << 32n) | BigInt(reader.low)).toBe(value);
    }),
  );
});

test('bytes that are no message are refused and nothing else happens, however they are broken', () => {
  const good = encode(Request, {
    modelName: 'm',
    inputs: [{ name: 'a', datatype: 'INT32', shape: ['2'], contents: { intContents: [1, -2] } }],
    parameters: { p: { stringParam: 'x' } },
  });
  const broken = fc.oneof(
    fc.uint8Array({ maxLength: 200 }),
    fc.tuple(fc.nat(good.length - 1), fc.nat(255)).map(([at, byte]) => {
      const copy = Buffer.from(good);
      copy[at] = byte;
      return copy;
    }),
    fc.nat(good.length).map((length) => good.subarray(0, length)),
  );
  fc.assert(
    fc.property(broken, (bytes) => {
      try {
        decodeModelInferRequest(bytes).inputs();
      } catch (error) {
        expect(error).toBeInstanceOf(PilotlightError);
      }
    }),
    { numRuns: 3000 },
  );
});
