import type { GivenTensor, TransformTensor } from '../../contracts/transform.ts';
import {
  allocateData,
  DATATYPES,
  type Datatype,
  DEFAULT_TENSOR_LIMITS,
  elementCount,
  type NumericData,
  shown,
  showShape,
  type Tensor,
  type TensorData,
} from './tensor.ts';

/** Tensors as a user's module sees them: FP16 as numbers instead of bits; the memory is the same. */
export function tensorsForModule(tensors: readonly Tensor[]): TransformTensor[] {
  return tensors.map((tensor) => {
    const { datatype, data } = tensor;
    if (datatype !== 'FP16' || Array.isArray(data)) return tensor as TransformTensor;
    const halves = new Float16Array(data.buffer as ArrayBuffer, data.byteOffset, data.length);
    return { ...tensor, datatype, data: halves };
  });
}

/**
 * What a user's module gave, as tensors of ours: whatever JavaScript may hold is looked at, and plain arrays become
 * typed ones.
 *
 * @param where begins the messages, such as `preprocess: inputs`.
 * @throws Error that names the tensor, what was expected and what came.
 */
export function takeTensors(given: unknown, where: string): Tensor[] {
  const { maxTensors } = DEFAULT_TENSOR_LIMITS;
  if (!Array.isArray(given)) throw new Error(`${where}: expected an array of tensors, got ${kindOf(given)}`);
  if (given.length === 0 || given.length > maxTensors) {
    throw new Error(`${where}: expected 1 to ${maxTensors} tensors, got ${given.length}`);
  }
  const names = new Set<string>();
  return given.map((one: unknown, index) => {
    const tensor = takeTensor(one, `${where}[${index}]`);
    if (names.has(tensor.name)) throw new Error(`${where}: '${shown(tensor.name)}' is there twice`);
    names.add(tensor.name);
    return tensor;
  });
}

function takeTensor(given: unknown, where: string): Tensor {
  if (typeof given !== 'object' || given === null) {
    throw new Error(`${where}: expected {name, datatype, shape, data}, got ${kindOf(given)}`);
  }
  const { name, datatype: typeName, shape, data } = given as Partial<Record<keyof GivenTensor, unknown>>;
  if (typeof name !== 'string' || name === '') {
    throw new Error(`${where}.name: expected text, got ${kindOf(name)}`);
  }
  const what = `${where} ('${shown(name)}')`;
  const datatype = DATATYPES.find((known) => known === typeName);
  if (datatype === undefined) {
    const came = typeof typeName === 'string' ? `'${shown(typeName)}'` : kindOf(typeName);
    throw new Error(`${what}.datatype: expected one of ${DATATYPES.join(', ')}, got ${came}`);
  }
  const sizes = takeShape(shape, what);
  const count = elementCount(sizes, name, DEFAULT_TENSOR_LIMITS);
  return { name, datatype, shape: sizes, data: takeData(data, datatype, count, sizes, what) };
}

function takeShape(shape: unknown, what: string): number[] {
  const { maxRank } = DEFAULT_TENSOR_LIMITS;
  if (!Array.isArray(shape) || shape.length > maxRank) {
    throw new Error(`${what}.shape: expected an array of at most ${maxRank} sizes, got ${kindOf(shape)}`);
  }
  return shape.map((size: unknown, index) => {
    if (typeof size === 'number' && Number.isSafeInteger(size) && size >= 0) return size;
    throw new Error(`${what}.shape[${index}]: expected a whole number of 0 or more, got ${shownValue(size)}`);
  });
}

function takeData(
  data: unknown,
  datatype: Datatype,
  count: number,
  shape: readonly number[],
  what: string,
): TensorData {
  const length = isView(data) || Array.isArray(data) ? data.length : undefined;
  if (length === undefined) {
    throw new Error(`${what}.data: expected ${EXPECTED[datatype]}, got ${kindOf(data)}`);
  }
  if (length !== count) {
    throw new Error(`${what}.data: shape ${showShape(shape)} holds ${count} elements, got ${length}`);
  }
  if (isView(data)) {
    if (data.constructor.name !== EXPECTED[datatype]) {
      throw new Error(
        `${what}.data: expected ${EXPECTED[datatype]} for ${datatype}, got ${data.constructor.name}`,
      );
    }
    if (datatype === 'BOOL') checkBools(data as Uint8Array, what);
    if (!(data instanceof Float16Array)) return data;
    return new Uint16Array(data.buffer as ArrayBuffer, data.byteOffset, data.length);
  }
  return fromPlain(data as readonly unknown[], datatype, what);
}

/** Classes of typed arrays, by name: those of another realm are as good. */
const EXPECTED: Readonly<Record<Datatype, string>> = {
  BOOL: 'Uint8Array',
  UINT8: 'Uint8Array',
  UINT16: 'Uint16Array',
  UINT32: 'Uint32Array',
  UINT64: 'BigUint64Array',
  INT8: 'Int8Array',
  INT16: 'Int16Array',
  INT32: 'Int32Array',
  INT64: 'BigInt64Array',
  FP16: 'Float16Array',
  FP32: 'Float32Array',
  FP64: 'Float64Array',
  BYTES: 'an array of strings',
};

function isView(data: unknown): data is NumericData | Float16Array {
  return ArrayBuffer.isView(data) && !(data instanceof DataView);
}

function checkBools(flags: Uint8Array, what: string): void {
  const index = flags.findIndex((flag) => flag > 1);
  if (index >= 0) throw new Error(`${what}.data[${index}]: expected a BOOL of 0 or 1, got ${flags[index]}`);
}

function fromPlain(values: readonly unknown[], datatype: Datatype, what: string): TensorData {
  const wrong = (index: number, expected: string): Error =>
    new Error(`${what}.data[${index}]: expected ${expected}, got ${shownValue(values[index])}`);
  if (datatype === 'BYTES') {
    return values.map((value, index) => {
      if (typeof value === 'string' && value.isWellFormed() && !value.includes('\0')) return value;
      throw wrong(index, 'text without NUL');
    });
  }
  const data = allocateData(datatype, values.length);
  const target: NumericData | Float16Array =
    datatype === 'FP16' ? new Float16Array((data as Uint16Array).buffer) : (data as NumericData);
  for (const [index, value] of values.entries()) {
    if (datatype === 'BOOL') {
      if (typeof value !== 'boolean' && value !== 0 && value !== 1) throw wrong(index, 'true or false');
      target[index] = value ? 1 : 0;
    } else if (datatype === 'INT64' || datatype === 'UINT64') {
      if (typeof value !== 'bigint' && !Number.isSafeInteger(value)) throw wrong(index, 'a whole number');
      const big = BigInt(value as number | bigint);
      target[index] = big;
      if (target[index] !== big) throw wrong(index, `a number that ${datatype} can hold`);
    } else {
      if (typeof value !== 'number') throw wrong(index, 'a number');
      target[index] = value;
      const isInteger = !datatype.startsWith('FP');
      if (isInteger && target[index] !== value) throw wrong(index, `a number that ${datatype} can hold`);
    }
  }
  return data;
}

/** A value's kind for a message; never its content, which may be large. */
export function kindOf(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (value === null) return 'null';
  if (Array.isArray(value)) return `an array of ${value.length}`;
  if (ArrayBuffer.isView(value)) return value.constructor.name;
  if (typeof value === 'object') {
    const keys = Object.keys(value).slice(0, 8);
    return keys.length === 0 ? 'an empty object' : `an object with ${shown(keys.join(', '))}`;
  }
  return `a ${typeof value}`;
}

function shownValue(value: unknown): string {
  if (typeof value === 'number' || typeof value === 'bigint' || typeof value === 'boolean')
    return String(value);
  return typeof value === 'string' ? `'${shown(value)}'` : kindOf(value);
}
