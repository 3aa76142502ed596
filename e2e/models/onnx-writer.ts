import { closeSync, openSync, writeSync } from 'node:fs';
import { basename } from 'node:path';
import { bytes, fieldTag, float, integer, message, type Parts, text, varint } from './protobuf.ts';

/**
 * Writes ONNX files for tests and benchmarks, field numbers as in onnx/onnx.proto (IR version 10). Ready-made
 * graphs are in `onnx-models.ts`; a graph of one's own is an `OnnxModel`:
 *
 * @example
 * writeOnnxFile('/some/folder/double.onnx', {
 *   inputs: [{ name: 'x', type: 'FLOAT', shape: ['n'] }],
 *   outputs: [{ name: 'y', type: 'FLOAT', shape: ['n'] }],
 *   nodes: [{ op: 'Add', inputs: ['x', 'x'], outputs: ['y'] }],
 * });
 */
export const ONNX_TYPES = {
  FLOAT: 1,
  UINT8: 2,
  INT8: 3,
  UINT16: 4,
  INT16: 5,
  INT32: 6,
  INT64: 7,
  STRING: 8,
  BOOL: 9,
  FLOAT16: 10,
  DOUBLE: 11,
  UINT32: 12,
  UINT64: 13,
  BFLOAT16: 16,
  FLOAT8E4M3FN: 17,
  UINT4: 21,
  INT4: 22,
} as const;
export type OnnxType = keyof typeof ONNX_TYPES;

export interface OnnxValue {
  name: string;
  type: OnnxType;
  /** Numbers are fixed, strings symbolic; absent: rank unknown. */
  shape?: readonly (number | string)[];
  /** `sequence` of such tensors, or an `optional` one, instead of a tensor. */
  kind?: 'tensor' | 'sequence' | 'optional';
}

export interface OnnxTensor {
  name: string;
  type: OnnxType;
  dims: readonly number[];
  /** Little-endian, row-major; two elements of a 4 bit type in a byte. */
  data: Buffer;
  /** `raw_data` unless it is to be in the field of its type, packed or entry by entry, as older exporters write. */
  layout?: 'raw' | 'typed' | 'unpacked';
}

export type OnnxAttribute =
  | number
  | string
  | readonly number[]
  | { float: number }
  | OnnxTensor
  | { graph: OnnxGraph };

export interface OnnxNode {
  op: string;
  domain?: string;
  inputs: readonly string[];
  outputs: readonly string[];
  attributes?: Readonly<Record<string, OnnxAttribute>>;
}

export interface OnnxGraph {
  nodes: readonly OnnxNode[];
  inputs: readonly OnnxValue[];
  outputs: readonly OnnxValue[];
  initializers?: readonly OnnxTensor[];
}

/** A function of the model itself: its nodes stand for each node that names it as its operator. */
export interface OnnxFunction {
  name: string;
  domain: string;
  inputs: readonly string[];
  outputs: readonly string[];
  nodes: readonly OnnxNode[];
}

export interface OnnxModel extends OnnxGraph {
  /** Default 10. */
  irVersion?: number;
  /** Version of the default operator set, default 21. */
  opset?: number;
  /** Further operator sets by domain. */
  domains?: Readonly<Record<string, number>>;
  functions?: readonly OnnxFunction[];
}

/** Where a tensor's bytes lie in the external data file. */
interface ExternalPlace {
  file: string;
  offset: number;
}

/** Alignment of external tensors: a page, so that ONNX Runtime can map each. */
const EXTERNAL_ALIGNMENT_BYTES = 4096;

/** The bytes of a model file with all weights inline; protobuf bounds it to 2 GiB. */
export function encodeOnnx(model: OnnxModel): Buffer {
  return Buffer.concat(modelParts(model, new Map()));
}

/**
 * Writes `path`; with `external` the weights of `minimumBytes` or more go into `<path>.data` beside it, which
 * has no bound and is memory-mapped when loaded.
 *
 * @returns the files written, the model first.
 */
export function writeOnnxFile(
  path: string,
  model: OnnxModel,
  options: { external?: boolean; minimumBytes?: number } = {},
): string[] {
  if (options.external !== true) {
    writeParts(path, modelParts(model, new Map()));
    return [path];
  }
  const dataPath = `${path}.data`;
  const places = new Map<string, ExternalPlace>();
  const parts: Parts = [];
  let offset = 0;
  for (const tensor of model.initializers ?? []) {
    if (tensor.data.length < (options.minimumBytes ?? 1024)) continue;
    const padding =
      (EXTERNAL_ALIGNMENT_BYTES - (offset % EXTERNAL_ALIGNMENT_BYTES)) % EXTERNAL_ALIGNMENT_BYTES;
    parts.push(Buffer.alloc(padding), tensor.data);
    places.set(tensor.name, { file: basename(dataPath), offset: offset + padding });
    offset += padding + tensor.data.length;
  }
  writeParts(dataPath, parts);
  writeParts(path, modelParts(model, places));
  return [path, dataPath];
}

function writeParts(path: string, parts: Parts): void {
  const file = openSync(path, 'w');
  try {
    for (const part of parts) {
      for (let done = 0; done < part.length; ) done += writeSync(file, part, done);
    }
  } finally {
    closeSync(file);
  }
}

function modelParts(model: OnnxModel, places: ReadonlyMap<string, ExternalPlace>): Parts {
  const domains = Object.entries({ '': model.opset ?? 21, ...model.domains });
  const opsets = (field: number): Parts =>
    domains.flatMap(([domain, version]) => message(field, [...text(1, domain), ...integer(2, version)]));
  return [
    ...integer(1, model.irVersion ?? 10),
    ...text(2, 'pilotlight-tests'),
    ...message(7, graphParts(model, places)),
    ...opsets(8),
    ...(model.functions ?? []).flatMap((one) =>
      message(25, [
        ...text(1, one.name),
        ...one.inputs.flatMap((name) => text(4, name)),
        ...one.outputs.flatMap((name) => text(5, name)),
        ...one.nodes.flatMap((node) => message(7, nodeParts(node))),
        ...opsets(9),
        ...text(10, one.domain),
      ]),
    ),
  ];
}

function graphParts(graph: OnnxGraph, places: ReadonlyMap<string, ExternalPlace>): Parts {
  return [
    ...graph.nodes.flatMap((node) => message(1, nodeParts(node))),
    ...text(2, 'graph'),
    ...(graph.initializers ?? []).flatMap((tensor) =>
      message(5, tensorParts(tensor, places.get(tensor.name))),
    ),
    ...graph.inputs.flatMap((value) => message(11, valueParts(value))),
    ...graph.outputs.flatMap((value) => message(12, valueParts(value))),
  ];
}

function nodeParts(node: OnnxNode): Parts {
  return [
    ...node.inputs.flatMap((name) => text(1, name)),
    ...node.outputs.flatMap((name) => text(2, name)),
    ...text(4, node.op),
    ...Object.entries(node.attributes ?? {}).flatMap(([name, value]) =>
      message(5, attributeParts(name, value)),
    ),
    ...text(7, node.domain ?? ''),
  ];
}

function attributeParts(name: string, value: OnnxAttribute): Parts {
  const head = text(1, name);
  if (typeof value === 'number') return [...head, ...integer(3, value), ...integer(20, 2)];
  if (typeof value === 'string') return [...head, ...text(4, value), ...integer(20, 3)];
  if ('float' in value) return [...head, ...float(2, value.float), ...integer(20, 1)];
  if ('graph' in value)
    return [...head, ...message(6, graphParts(value.graph, new Map())), ...integer(20, 5)];
  if ('data' in value) return [...head, ...message(5, tensorParts(value, undefined)), ...integer(20, 4)];
  return [...head, ...value.flatMap((item) => integer(8, item)), ...integer(20, 7)];
}

function tensorParts(tensor: OnnxTensor, place: ExternalPlace | undefined): Parts {
  const head = [
    ...tensor.dims.flatMap((size) => integer(1, size)),
    ...integer(2, ONNX_TYPES[tensor.type]),
    ...text(8, tensor.name),
  ];
  if (place === undefined && (tensor.layout ?? 'raw') !== 'raw') return typedTensorParts(tensor);
  if (place === undefined) return [...head, ...bytes(9, tensor.data)];
  const entry = (key: string, value: string): Parts => message(13, [...text(1, key), ...text(2, value)]);
  return [
    ...head,
    ...entry('location', place.file),
    ...entry('offset', String(place.offset)),
    ...entry('length', String(tensor.data.length)),
    ...integer(14, 1),
  ];
}

/** The field of the type's entries, the width of one, and how it is written (onnx.proto, comments of TensorProto). */
const TYPED: Partial<Record<OnnxType, [field: number, entryBytes: number, wire: 'fixed' | 'varint']>> = {
  FLOAT: [4, 4, 'fixed'],
  DOUBLE: [10, 8, 'fixed'],
  INT64: [7, 8, 'varint'],
  UINT64: [11, 8, 'varint'],
  UINT32: [11, 4, 'varint'],
  INT32: [5, 4, 'varint'],
  INT16: [5, 2, 'varint'],
  UINT16: [5, 2, 'varint'],
  FLOAT16: [5, 2, 'varint'],
  BFLOAT16: [5, 2, 'varint'],
  INT8: [5, 1, 'varint'],
  UINT8: [5, 1, 'varint'],
  BOOL: [5, 1, 'varint'],
  FLOAT8E4M3FN: [5, 1, 'varint'],
  INT4: [5, 1, 'varint'],
  UINT4: [5, 1, 'varint'],
};

/** By field number, as protobuf writes: the name comes behind the data, but before 64 bit entries. */
function typedTensorParts(tensor: OnnxTensor): Parts {
  const [field, entryBytes, wire] = TYPED[tensor.type] ?? [0, 0, 'varint'];
  if (field === 0) throw new Error(`${tensor.type} has no entries here`);
  const isSigned = tensor.type.startsWith('INT') && tensor.type !== 'INT4';
  const bits = BigInt(entryBytes * 8);
  const entries: Parts = [];
  for (let at = 0; at < tensor.data.length; at += entryBytes) {
    const raw = tensor.data.subarray(at, at + entryBytes);
    if (wire === 'fixed') entries.push(raw);
    else {
      const number = BigInt(`0x${Buffer.from(raw.toReversed()).toString('hex')}`);
      entries.push(varint(isSigned ? BigInt.asIntN(Number(bits), number) : number));
    }
  }
  const data =
    tensor.layout === 'typed'
      ? bytes(field, Buffer.concat(entries))
      : entries.flatMap((entry) => [
          fieldTag(field, wire === 'varint' ? 0 : entryBytes === 4 ? 5 : 1),
          entry,
        ]);
  const name = text(8, tensor.name);
  return [
    ...tensor.dims.flatMap((size) => integer(1, size)),
    ...integer(2, ONNX_TYPES[tensor.type]),
    ...(field < 8 ? [...data, ...name] : [...name, ...data]),
  ];
}

function valueParts(value: OnnxValue): Parts {
  const shape = value.shape?.flatMap((size) =>
    message(1, typeof size === 'number' ? integer(1, size) : text(2, size)),
  );
  const tensorType = message(1, [
    ...integer(1, ONNX_TYPES[value.type]),
    ...(shape === undefined ? [] : message(2, shape)),
  ]);
  switch (value.kind ?? 'tensor') {
    case 'tensor':
      return [...text(1, value.name), ...message(2, tensorType)];
    case 'sequence':
      return [...text(1, value.name), ...message(2, message(4, message(1, tensorType)))];
    case 'optional':
      return [...text(1, value.name), ...message(2, message(9, message(1, tensorType)))];
  }
}
