/** A tensor as it goes over the wire: row-major, little-endian, or, for BYTES, texts. */
export interface WireTensor {
  readonly name: string;
  /** Open Inference Protocol datatype: BOOL, UINT8 … INT64, FP16, FP32, FP64, BYTES. */
  readonly datatype: string;
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

/** Values of a tensor by flat, row-major index. */
export type TensorValues = ArrayLike<number> | ArrayLike<bigint> | ArrayLike<boolean> | ArrayLike<string>;

export interface TensorWithValues {
  readonly name: string;
  readonly datatype: string;
  readonly shape: readonly number[];
  readonly values: TensorValues;
}

type NumberArray = new (buffer: ArrayBuffer) => ArrayLike<number> | ArrayLike<bigint>;

interface NumberType {
  readonly sizeBytes: number;
  readonly array: NumberArray;
}

const NUMBER_TYPES: ReadonlyMap<string, NumberType> = new Map<string, NumberType>([
  ['UINT8', { sizeBytes: 1, array: Uint8Array }],
  ['UINT16', { sizeBytes: 2, array: Uint16Array }],
  ['UINT32', { sizeBytes: 4, array: Uint32Array }],
  ['UINT64', { sizeBytes: 8, array: BigUint64Array }],
  ['INT8', { sizeBytes: 1, array: Int8Array }],
  ['INT16', { sizeBytes: 2, array: Int16Array }],
  ['INT32', { sizeBytes: 4, array: Int32Array }],
  ['INT64', { sizeBytes: 8, array: BigInt64Array }],
  ['FP16', { sizeBytes: 2, array: Float16Array }],
  ['FP32', { sizeBytes: 4, array: Float32Array }],
  ['FP64', { sizeBytes: 8, array: Float64Array }],
]);

export const elementCount = (shape: readonly number[]): number =>
  shape.reduce((product, size) => product * size, 1);

export const isFloat = (datatype: string): boolean => datatype.startsWith('FP');

/**
 * The values of a binary tensor. BYTES elements are read as UTF-8.
 *
 * @throws Error when the bytes don't fit datatype and shape.
 */
export function tensorValues({ name, datatype, shape, bytes }: WireTensor): TensorValues {
  const count = elementCount(shape);
  if (datatype === 'BYTES') return textValues(name, bytes, count);
  if (datatype === 'BOOL') {
    expectSize(name, datatype, shape, bytes, count);
    return Array.from(bytes, (byte) => byte !== 0);
  }
  const type = NUMBER_TYPES.get(datatype);
  if (type === undefined) throw new Error(`tensor "${name}": datatype ${datatype} can't be shown`);
  expectSize(name, datatype, shape, bytes, count * type.sizeBytes);
  // A copy: what comes out of a response begins at any byte, a typed array must be aligned.
  return new type.array(new Uint8Array(bytes).buffer);
}

function expectSize(
  name: string,
  datatype: string,
  shape: readonly number[],
  bytes: Uint8Array,
  wantedBytes: number,
): void {
  if (bytes.byteLength === wantedBytes) return;
  throw new Error(
    `tensor "${name}": ${datatype} [${shape.join(', ')}] takes ${wantedBytes} bytes, got ${bytes.byteLength}`,
  );
}

/** BYTES on the wire: a little-endian uint32 length before each element. */
function textValues(name: string, bytes: Uint8Array, count: number): string[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const decoder = new TextDecoder();
  const texts: string[] = [];
  let position = 0;
  while (position + 4 <= bytes.byteLength) {
    const length = view.getUint32(position, true);
    position += 4;
    if (position + length > bytes.byteLength) break;
    texts.push(decoder.decode(bytes.subarray(position, position + length)));
    position += length;
  }
  if (position !== bytes.byteLength || texts.length !== count) {
    throw new Error(`tensor "${name}": expected ${count} texts, got ${texts.length} and broken bytes`);
  }
  return texts;
}

/** The bytes of a little-endian tensor from values as JSON gives them; only numbers and booleans. */
export function tensorBytes({ name, datatype, values }: TensorWithValues): Uint8Array {
  if (datatype === 'BOOL') return Uint8Array.from(values as ArrayLike<boolean>, (value) => (value ? 1 : 0));
  const type = NUMBER_TYPES.get(datatype);
  if (type === undefined) throw new Error(`output "${name}" is ${datatype}: a .npy file holds numbers`);
  const typed = new type.array(new ArrayBuffer(values.length * type.sizeBytes));
  const isBig = datatype === 'INT64' || datatype === 'UINT64';
  for (let index = 0; index < values.length; index++) {
    const value = values[index] as number | bigint;
    (typed as { [index: number]: number | bigint })[index] = isBig ? BigInt(value) : Number(value);
  }
  return new Uint8Array((typed as unknown as Uint8Array).buffer);
}
