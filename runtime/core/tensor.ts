import { DATATYPES, type Datatype, type NumbersByDatatype } from '../../contracts/datatypes.ts';
import { PilotlightError } from '../../contracts/errors.ts';

export { DATATYPES, type Datatype };

/** Elements of a tensor in row-major order. BOOL is one byte of 0 or 1, FP16 the bits of an IEEE half, BYTES a string an element. */
interface DataByDatatype extends NumbersByDatatype {
  BOOL: Uint8Array;
  FP16: Uint16Array;
  BYTES: string[];
}

export type TensorData = DataByDatatype[Datatype];
export type NumericData = Exclude<TensorData, string[]>;

/** A named tensor whose data and datatype agree; made by the decoders and by {@link tensorFromOrt}. */
export interface Tensor {
  readonly name: string;
  readonly datatype: Datatype;
  readonly shape: readonly number[];
  readonly data: TensorData;
}

/** A tensor as onnxruntime-node takes it: a plain object, because `new ort.Tensor('float16', Uint16Array)` yields a Float16Array on Node 24 and later, which `run()` then refuses. */
export interface OrtTensor {
  readonly type: string;
  readonly dims: readonly number[];
  readonly location: 'cpu';
  readonly data: TensorData;
}

/** A tensor as it comes from onnxruntime-node; `data` is checked here, so its type is open. */
export interface OrtOutput {
  readonly type: string;
  readonly dims: readonly number[];
  readonly data: unknown;
}

/** Bounds on what a request may declare; the size of its body is bounded by the server before it comes here. */
export interface TensorLimits {
  /** Elements of one tensor. */
  readonly maxElements: number;
  /** Dimensions of one tensor. */
  readonly maxRank: number;
  /** Inputs of one request, and outputs that it may ask for. */
  readonly maxTensors: number;
  /** Brackets open at once in JSON. */
  readonly maxJsonDepth: number;
}

/** 2^28 FP32 elements are 1 GiB, more than any body the server lets through; numpy stops at 64 dimensions, models at 8 or so. */
export const DEFAULT_TENSOR_LIMITS: TensorLimits = {
  maxElements: 2 ** 28,
  maxRank: 32,
  maxTensors: 1024,
  maxJsonDepth: 64,
};

interface DatatypeRow {
  readonly ort: string;
  /** 0 for BYTES, whose elements vary. */
  readonly sizeBytes: number;
}

const ROWS: Readonly<Record<Datatype, DatatypeRow>> = {
  BOOL: { ort: 'bool', sizeBytes: 1 },
  UINT8: { ort: 'uint8', sizeBytes: 1 },
  UINT16: { ort: 'uint16', sizeBytes: 2 },
  UINT32: { ort: 'uint32', sizeBytes: 4 },
  UINT64: { ort: 'uint64', sizeBytes: 8 },
  INT8: { ort: 'int8', sizeBytes: 1 },
  INT16: { ort: 'int16', sizeBytes: 2 },
  INT32: { ort: 'int32', sizeBytes: 4 },
  INT64: { ort: 'int64', sizeBytes: 8 },
  FP16: { ort: 'float16', sizeBytes: 2 },
  FP32: { ort: 'float32', sizeBytes: 4 },
  FP64: { ort: 'float64', sizeBytes: 8 },
  BYTES: { ort: 'string', sizeBytes: 0 },
};

const DATATYPE_BY_ORT: ReadonlyMap<string, Datatype> = new Map(
  DATATYPES.map((datatype) => [ROWS[datatype].ort, datatype]),
);

/** ONNX Runtime's name of a datatype, such as `float32` for FP32. */
export function ortTypeOf(datatype: Datatype): string {
  return ROWS[datatype].ort;
}

/** The datatype of an ONNX Runtime type name, undefined for what the protocol or the binding cannot carry (bfloat16, int4, complex …). */
export function datatypeOfOrt(ortType: string): Datatype | undefined {
  return DATATYPE_BY_ORT.get(ortType);
}

/** Bytes of one element; 0 for BYTES, whose elements vary in length. */
export function elementSizeBytes(datatype: Datatype): number {
  return ROWS[datatype].sizeBytes;
}

/** A datatype by its name in a request. Throws `unsupported` for BF16, `invalid-request` for anything unknown. */
export function parseDatatype(value: string, tensorName: string): Datatype {
  if (Object.hasOwn(ROWS, value)) return value as Datatype;
  if (value === 'BF16') {
    throw new PilotlightError(
      'unsupported',
      `tensor '${shown(tensorName)}': datatype BF16 is not supported by ONNX Runtime for Node; send FP32 or FP16`,
    );
  }
  throw new PilotlightError(
    'invalid-request',
    `tensor '${shown(tensorName)}': unknown datatype '${shown(value)}'; expected one of ${DATATYPES.join(', ')}`,
  );
}

/**
 * Number of elements that a shape holds: the product of its dimensions, 1 for a scalar's empty shape.
 * Throws `invalid-request` for a negative or fractional dimension, too many dimensions, and a product above the limit.
 * The product is checked after each factor: up to the limit it is exact, and where a double rounds (beyond 2^53) it is
 * already far above the limit, so it can't wrap round as 32- or 64-bit arithmetic would.
 */
export function elementCount(
  shape: readonly number[],
  tensorName: string,
  limits: TensorLimits = DEFAULT_TENSOR_LIMITS,
): number {
  if (shape.length > limits.maxRank) {
    throw new PilotlightError(
      'invalid-request',
      `tensor '${shown(tensorName)}': shape has ${shape.length} dimensions; at most ${limits.maxRank} are allowed`,
    );
  }
  let count = 1;
  let hasZero = false;
  for (const [index, size] of shape.entries()) {
    if (!Number.isSafeInteger(size) || size < 0) {
      throw new PilotlightError(
        'invalid-request',
        `tensor '${shown(tensorName)}': dimension ${index} of the shape must be a whole number of 0 or more, got ${size}`,
      );
    }
    // A zero makes the tensor empty, yet its other dimensions are bounded all the same:
    // an output's shape is often computed from them.
    if (size === 0) hasZero = true;
    else count *= size;
    if (count > limits.maxElements) {
      throw new PilotlightError(
        'invalid-request',
        `tensor '${shown(tensorName)}': shape ${showShape(shape)} holds more than the ${limits.maxElements} elements allowed`,
      );
    }
  }
  return hasZero ? 0 : count;
}

/** Zeroed room for `count` elements; for BYTES an array of empty strings. */
export function allocateData(datatype: Datatype, count: number): TensorData {
  if (datatype === 'BYTES') return Array.from<string>({ length: count }).fill('');
  return viewOf(datatype, new ArrayBuffer(count * elementSizeBytes(datatype)), 0, count);
}

/** A typed view of `count` elements at `byteOffset`, which must be a multiple of the element size; never for BYTES. */
export function viewOf(
  datatype: Exclude<Datatype, 'BYTES'>,
  buffer: ArrayBufferLike,
  byteOffset: number,
  count: number,
): NumericData {
  switch (datatype) {
    case 'BOOL':
    case 'UINT8':
      return new Uint8Array(buffer, byteOffset, count);
    case 'INT8':
      return new Int8Array(buffer, byteOffset, count);
    case 'UINT16':
    case 'FP16':
      return new Uint16Array(buffer, byteOffset, count);
    case 'INT16':
      return new Int16Array(buffer, byteOffset, count);
    case 'UINT32':
      return new Uint32Array(buffer, byteOffset, count);
    case 'INT32':
      return new Int32Array(buffer, byteOffset, count);
    case 'UINT64':
      return new BigUint64Array(buffer, byteOffset, count);
    case 'INT64':
      return new BigInt64Array(buffer, byteOffset, count);
    case 'FP32':
      return new Float32Array(buffer, byteOffset, count);
    case 'FP64':
      return new Float64Array(buffer, byteOffset, count);
  }
}

/** A tensor as onnxruntime-node's `run()` takes it. */
export function tensorToOrt(tensor: Tensor): OrtTensor {
  return { type: ortTypeOf(tensor.datatype), dims: tensor.shape, location: 'cpu', data: tensor.data };
}

/**
 * An output of onnxruntime-node as a tensor; Float16Array becomes a view of its bits, nothing is copied.
 * Throws `unsupported` for a type outside the protocol, `inference-failed` when data and type disagree.
 */
export function tensorFromOrt(name: string, output: OrtOutput): Tensor {
  const datatype = datatypeOfOrt(output.type);
  if (datatype === undefined) {
    throw new PilotlightError(
      'unsupported',
      `output '${name}' has the ONNX type ${output.type}, which the inference protocol cannot carry`,
    );
  }
  const shape = output.dims.map(Number);
  const data = ortData(datatype, output.data);
  if (data === undefined || data.length !== shape.reduce((product, size) => product * size, 1)) {
    throw new PilotlightError(
      'inference-failed',
      `output '${name}' of type ${output.type} and shape ${showShape(shape)} came with data that does not match`,
    );
  }
  return { name, datatype, shape, data };
}

function ortData(datatype: Datatype, data: unknown): TensorData | undefined {
  if (datatype === 'BYTES') return Array.isArray(data) ? (data as string[]) : undefined;
  if (!ArrayBuffer.isView(data) || data instanceof DataView) return undefined;
  const sizeBytes = elementSizeBytes(datatype);
  if (data.byteOffset % sizeBytes !== 0 || data.byteLength % sizeBytes !== 0) return undefined;
  return viewOf(datatype, data.buffer, data.byteOffset, data.byteLength / sizeBytes);
}

/** A shape for a message: `[2, 3]`, with symbolic dimensions by their name. */
export function showShape(shape: readonly (number | string)[]): string {
  return `[${shape.join(', ')}]`;
}

/** A caller's string for a message: at most 80 characters, control characters replaced, so that an error body stays small and one line. */
export function shown(text: string): string {
  const short = text.length > 80 ? `${text.slice(0, 80)}…` : text;
  // oxlint-disable-next-line no-control-regex
  return short.replace(/[\u0000-\u001f\u007f]/g, '�').toWellFormed();
}
