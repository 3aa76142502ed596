import fc from 'fast-check';
import { expect, test } from 'vitest';
import { encodeOnnx, type OnnxModel, type OnnxValue } from '../../e2e/models/onnx-writer.ts';
import { LENGTH_DELIMITED, WireReader, WireWriter } from './protobuf.ts';
import { rehearseWithoutShapes, withoutShapes } from './shapeless-graph.ts';

const NODES = 64;
/** Field of a model's graph. */
const GRAPH = 7;

/** Each input by way of nodes of its own to an output. */
function model(inputs: readonly OnnxValue[], nodes = NODES): OnnxModel {
  const each = Math.ceil(nodes / inputs.length);
  return {
    inputs,
    outputs: inputs.map(({ name, type }) => ({ name: `${name}-${each}`, type })),
    nodes: inputs.flatMap(({ name }) =>
      Array.from({ length: each }, (_, index) => ({
        op: 'Identity',
        inputs: [index === 0 ? name : `${name}-${index}`],
        outputs: [`${name}-${index + 1}`],
      })),
    ),
  };
}

const withoutShape = (value: OnnxValue): OnnxValue => ({ name: value.name, type: value.type });

test('the graph is what it would be if its inputs had been written without their shapes, which are told beside it', () => {
  const dimension = fc.oneof(fc.nat({ max: 5000 }), fc.constantFrom('batch', 'width', 'ä'));
  const shapes = fc.array(fc.array(dimension, { minLength: 1, maxLength: 5 }), {
    minLength: 1,
    maxLength: 4,
  });
  fc.assert(
    fc.property(shapes, (given) => {
      const inputs = given.map((shape, index): OnnxValue => ({ name: `x${index}`, type: 'FLOAT', shape }));
      const found = withoutShapes(withValueInfo(encodeOnnx(model(inputs))));
      expect(found?.inputShapes).toEqual(new Map(given.map((shape, index) => [`x${index}`, shape])));
      const written = encodeOnnx({ ...model(inputs), inputs: inputs.map(withoutShape) });
      expect(fieldsOf(found?.model ?? new Uint8Array())).toEqual(fieldsOf(written));
    }),
  );
});

/** The fields of a model, and of its graph, by number: among those of other numbers they may come in any order. */
function fieldsOf(message: Uint8Array): Map<number, unknown[]> {
  const fields = new Map<number, unknown[]>();
  const reader = new WireReader(message);
  while (reader.next()) {
    const { field } = reader;
    const isGraph = field === GRAPH && reader.wireType === LENGTH_DELIMITED;
    const value = isGraph ? fieldsOf(reader.bytes()) : Buffer.from(reader.encoded()).toString('hex');
    fields.set(field, [...(fields.get(field) ?? []), value]);
  }
  return fields;
}

/** The same with the shape of an intermediate value, as ONNX Runtime writes them. */
function withValueInfo(bytes: Uint8Array): Uint8Array {
  const reader = new WireReader(bytes);
  const writer = new WireWriter();
  while (reader.next()) {
    if (reader.field === GRAPH) {
      const value = new WireWriter();
      value.string(1, 'x0-1');
      const valueInfo = new WireWriter();
      valueInfo.nested(13, value);
      writer.bytes(GRAPH, Buffer.concat([reader.bytes(), ...valueInfo.finish()]));
    } else writer.encoded(reader.encoded());
  }
  return Buffer.concat(writer.finish());
}

test('a scalar, an input of no shape, one with a value of its own and one that is no tensor stay as they are', () => {
  const inputs: OnnxValue[] = [
    { name: 'scalar', type: 'INT64', shape: [] },
    { name: 'any', type: 'FLOAT' },
    { name: 'given', type: 'FLOAT', shape: [1] },
    { name: 'many', type: 'FLOAT', shape: [3], kind: 'sequence' },
    { name: 'taken', type: 'FLOAT', shape: ['batch', 3] },
  ];
  const initializers = [{ name: 'given', type: 'FLOAT', dims: [1], data: Buffer.alloc(4) }] as const;
  const found = withoutShapes(encodeOnnx({ ...model(inputs), initializers }));
  expect(found?.inputShapes).toEqual(new Map([['taken', ['batch', 3]]]));
});

test('a graph of few nodes is planned quickly enough, and a file that is no model is for others to judge', () => {
  const inputs: OnnxValue[] = [{ name: 'x', type: 'FLOAT', shape: [3] }];
  expect(withoutShapes(encodeOnnx(model(inputs, NODES - 1)))).toBeUndefined();
  expect(withoutShapes(new Uint8Array())).toBeUndefined();
  expect(() => withoutShapes(Buffer.from('this is not ONNX'))).toThrow('Protocol Buffers');
});

test('the rehearsal goes all the way through', () => {
  expect(rehearseWithoutShapes()?.inputShapes).toEqual(new Map([['x', ['batch', 3]]]));
});
