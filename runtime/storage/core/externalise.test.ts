import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  encodeOnnx,
  type OnnxGraph,
  type OnnxModel,
  type OnnxTensor,
  type OnnxType,
} from '../../../e2e/models/onnx-writer.ts';
import { bytes, integer, message, text } from '../../../e2e/models/protobuf.ts';
import { Externaliser, NotExternalisable } from './externalise.ts';

interface Taken {
  graph: Buffer;
  weights: Buffer;
  tensors: number;
}

/** Pushes a file in chunks that end at `borders`, always through one buffer, as a reader of files does. */
function externalise(file: Buffer, borders: readonly number[] = []): Taken {
  const externaliser = new Externaliser('weights.bin');
  const written: { offset: number; bytes: Buffer }[] = [];
  const ends = [...new Set(borders.map((border) => border % (file.length + 1)))].sort((a, b) => a - b);
  const reused = Buffer.alloc(file.length);
  let start = 0;
  for (const end of [...ends, file.length]) {
    const chunk = reused.subarray(0, end - start);
    file.copy(chunk, 0, start, end);
    for (const piece of externaliser.push(chunk))
      written.push({ offset: piece.offset, bytes: Buffer.from(piece.bytes) });
    reused.fill(0xee);
    start = end;
  }
  const { graph, weightsBytes, tensors } = externaliser.finish();
  const weights = Buffer.alloc(weightsBytes);
  let at = 0;
  for (const piece of written) {
    expect(piece.offset).toBeGreaterThanOrEqual(at);
    piece.bytes.copy(weights, piece.offset);
    at = piece.offset + piece.bytes.length;
  }
  return { graph: Buffer.from(graph), weights, tensors };
}

const graphWith = (initializers: readonly OnnxTensor[]): OnnxGraph => ({
  nodes: [{ op: 'Identity', inputs: ['x'], outputs: ['y'] }],
  inputs: [{ name: 'x', type: 'FLOAT', shape: [1] }],
  outputs: [{ name: 'y', type: 'FLOAT', shape: [1] }],
  initializers,
});

const ELEMENT_BYTES: Partial<Record<OnnxType, number>> = {
  FLOAT: 4,
  DOUBLE: 8,
  INT64: 8,
  UINT64: 8,
  UINT32: 4,
  INT32: 4,
  INT16: 2,
  UINT16: 2,
  FLOAT16: 2,
  BFLOAT16: 2,
  INT8: 1,
  UINT8: 1,
  FLOAT8E4M3FN: 1,
};

const anyTensor = fc
  .record({
    type: fc.constantFrom(...(Object.keys(ELEMENT_BYTES) as OnnxType[])),
    rows: fc.integer({ min: 1, max: 12 }),
    columns: fc.integer({ min: 1, max: 300 }),
    layout: fc.constantFrom('raw' as const, 'typed' as const, 'unpacked' as const),
    seed: fc.integer(),
  })
  .map(({ type, rows, columns, layout, seed }): Omit<OnnxTensor, 'name'> => {
    const data = Buffer.alloc(rows * columns * (ELEMENT_BYTES[type] ?? 1));
    for (let index = 0; index < data.length; index += 1)
      data[index] = (Math.imul(seed + index, 2_654_435_761) >>> 11) & 0xff;
    return { type, dims: [rows, columns], data, layout };
  });

const anyModel = fc
  .record({
    own: fc.array(anyTensor, { maxLength: 4 }),
    inner: fc.array(anyTensor, { maxLength: 2 }),
    constant: anyTensor,
  })
  .map(({ own, inner, constant }): OnnxModel => {
    const named = (tensors: typeof own, prefix: string) =>
      tensors.map((tensor, index) => ({ ...tensor, name: `${prefix}${index}` }));
    const graph = graphWith(named(own, 'own'));
    return {
      ...graph,
      nodes: [
        ...graph.nodes,
        {
          op: 'If',
          inputs: ['c'],
          outputs: ['z'],
          attributes: { then_branch: { graph: graphWith(named(inner, 'inner')) } },
        },
        { op: 'Constant', inputs: [], outputs: ['k'], attributes: { value: { ...constant, name: 'k' } } },
      ],
    };
  });

/** All tensors of the model with their bytes, wherever it keeps them. */
function tensorsOf(model: OnnxModel): Map<string, Buffer> {
  const found = new Map<string, Buffer>();
  const look = (graph: OnnxGraph): void => {
    for (const tensor of graph.initializers ?? []) found.set(tensor.name, tensor.data);
    for (const node of graph.nodes) {
      for (const value of Object.values(node.attributes ?? {})) {
        if (typeof value === 'object' && 'graph' in value) look(value.graph);
        if (typeof value === 'object' && 'data' in value) found.set(value.name, value.data);
      }
    }
  };
  look(model);
  return found;
}

/** Reads protobuf fields of one message: [field, value], nested messages as bytes. */
function fields(buffer: Buffer): [field: number, value: number | Buffer][] {
  const found: [number, number | Buffer][] = [];
  let at = 0;
  const varint = (): number => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = buffer[at++] ?? 0;
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return Number(value);
    }
  };
  while (at < buffer.length) {
    const tag = varint();
    if (tag % 8 === 0) found.push([tag >> 3, varint()]);
    else {
      const length = tag % 8 === 2 ? varint() : tag % 8 === 5 ? 4 : 8;
      found.push([tag >> 3, buffer.subarray(at, at + length)]);
      at += length;
    }
  }
  return found;
}

/** The tensors of an externalised graph that lie in the weights file, by name. */
function movedTensors({ graph, weights }: Taken): Map<string, Buffer> {
  const moved = new Map<string, Buffer>();
  const CHILDREN: Record<string, Record<number, string>> = {
    model: { 7: 'graph' },
    graph: { 1: 'node', 5: 'tensor' },
    node: { 5: 'attribute' },
    attribute: { 5: 'tensor', 6: 'graph' },
    tensor: {},
  };
  const look = (kind: string, buffer: Buffer): void => {
    const entries: Record<string, string> = {};
    let name = '';
    for (const [field, value] of fields(buffer)) {
      const child = CHILDREN[kind]?.[field];
      if (child !== undefined && typeof value !== 'number') look(child, value);
      if (kind !== 'tensor' || typeof value === 'number') continue;
      if (field === 8) name = value.toString();
      if (field !== 13) continue;
      const [key = '', entry = ''] = fields(value).map(([, part]) => part.toString());
      entries[key] = entry;
    }
    if (entries['location'] === undefined) return;
    expect(entries['location']).toBe('weights.bin');
    const offset = Number(entries['offset']);
    expect(offset % 4096).toBe(0);
    moved.set(name, weights.subarray(offset, offset + Number(entries['length'])));
  };
  look('model', graph);
  return moved;
}

test('every tensor that is moved has its bytes in the weights file, whichever field they came in', () => {
  fc.assert(
    fc.property(anyModel, (model) => {
      const taken = externalise(encodeOnnx(model));
      const moved = movedTensors(taken);
      const all = tensorsOf(model);
      expect(moved.size).toBe(taken.tensors);
      for (const [name, data] of moved)
        expect(data.equals(all.get(name) ?? Buffer.alloc(0)), name).toBe(true);
      for (const [name, data] of all) {
        if (
          data.length >= 64 * 1024 ||
          (data.length >= 4096 &&
            model.initializers?.some(
              ({ name: own, layout, type }) => own === name && layout === 'raw' && type !== 'INT64',
            ) === true)
        )
          expect([...moved.keys()]).toContain(name);
      }
    }),
    { numRuns: 25 },
  );
});

test('where the chunks end makes no difference', () => {
  fc.assert(
    fc.property(anyModel, fc.array(fc.nat(1_000_000), { maxLength: 40 }), (model, borders) => {
      const file = encodeOnnx(model);
      expect(externalise(file, borders)).toEqual(externalise(file));
    }),
    { numRuns: 25 },
  );
});

test('a model that is fed byte by byte gives the same files', () => {
  const data = Buffer.alloc(8192, 7);
  const file = encodeOnnx(graphWith([{ name: 'w', type: 'FLOAT', dims: [2048], data, layout: 'typed' }]));
  expect(externalise(file, Array.from(file.keys()))).toEqual(externalise(file));
});

test('a model of small tensors, strings and external data is passed on byte by byte', () => {
  const file = encodeOnnx({
    ...graphWith([{ name: 'w', type: 'FLOAT', dims: [8], data: Buffer.alloc(32) }]),
    nodes: [{ op: 'Custom', inputs: ['x'.repeat(10_000)], outputs: ['y'] }],
  });
  const { graph, tensors } = externalise(file);
  expect(graph.equals(file)).toBe(true);
  expect(tensors).toBe(0);
});

describe('4 bit elements', () => {
  test.each(['raw', 'typed', 'unpacked'] as const)(
    '%s: two in a byte, an odd one fills its byte up',
    (layout) => {
      const data = Buffer.alloc(4501, 0xa7);
      const model = graphWith([{ name: 'w', type: 'INT4', dims: [9001], data, layout }]);
      expect(
        movedTensors(externalise(encodeOnnx(model)))
          .get('w')
          ?.equals(data),
      ).toBe(true);
    },
  );
});

test('true is 1, whatever number stood for it', () => {
  const entries = Buffer.alloc(8192, 2);
  entries[5] = 0;
  const tensor = [...integer(1, 8192), ...integer(2, 9), ...bytes(5, entries), ...text(8, 'w')];
  const file = Buffer.concat(message(7, message(5, tensor)));
  const moved = movedTensors(externalise(file)).get('w');
  expect([...(moved ?? [])].every((byte, index) => byte === (index === 5 ? 0 : 1))).toBe(true);
});

const large = bytes(9, Buffer.alloc(8192));
const tensorFile = (...parts: Buffer[][]): Buffer => Buffer.concat(message(7, message(5, parts.flat())));
const float = [...integer(1, 2048), ...integer(2, 1), ...text(8, 'w')];

test.each<[string, Buffer, RegExp]>([
  ['data twice', tensorFile(float, large, large), /data twice/],
  [
    'data here and elsewhere',
    tensorFile(float, large, message(13, [...text(1, 'location'), ...text(2, 'w')])),
    /here and elsewhere/,
  ],
  ['another shape than data', tensorFile(integer(1, 7), integer(2, 1), large), /8192 bytes instead of 28/],
  [
    'data in the field of another type',
    tensorFile(integer(1, 2048), integer(2, 1), bytes(5, Buffer.alloc(8192))),
    /has data in field 5/,
  ],
  ['segments', tensorFile(float, message(3, integer(1, 0)), large), /segments/],
  ['an end within a field', tensorFile(float, large).subarray(0, 5000), /ends within a field/],
  [
    'a length past its message',
    Buffer.concat(message(7, [...bytes(2, Buffer.alloc(5000)), Buffer.from([0x2a, 0xff, 0x7f])])),
    /past the end/,
  ],
  ['a group', Buffer.from([0x0b]), /wire type 3/],
  ['no protobuf', Buffer.from('<html>'), /./],
])('what has %s is left to the plain load', (_what, file, message_) => {
  expect(() => externalise(file)).toThrow(NotExternalisable);
  expect(() => externalise(file)).toThrow(message_);
});

test('raw data before its type stays in the graph: whether it is text is not known yet', () => {
  const file = tensorFile(integer(1, 2048), large, integer(2, 1), text(8, 'w'));
  expect(externalise(file).graph.equals(file)).toBe(true);
});

test('shapes that ONNX Runtime reads while it infers stay in the graph; long lists of indices do not', () => {
  const int64 = (count: number, layout: 'raw' | 'typed'): OnnxTensor => ({
    name: `${count}`,
    type: 'INT64',
    dims: [count],
    data: Buffer.alloc(count * 8, 1),
    layout,
  });
  const file = encodeOnnx(graphWith([int64(600, 'raw'), int64(700, 'typed'), int64(9_000, 'raw')]));
  expect([...movedTensors(externalise(file)).keys()]).toEqual(['9000']);
});
