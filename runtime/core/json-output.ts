import { PilotlightError } from '../../contracts/errors.ts';
import type { Tensor } from './tensor.ts';

/**
 * The elements of a tensor as one flat JSON array. NaN, Infinity and -Infinity stand bare as Python's json writes
 * them, -0 as -0.0, every other float with the fewest digits that give the same double back (so FP32 survives
 * exactly), 64-bit integers with all their digits.
 * Throws `unsupported` when the text would exceed what a JavaScript string holds (512 MiB).
 *
 * Measured for 50,000 FP32 values, 1 MB of text, Node 26.10: 3.3 ms; `floats.join()` would take 6.0 ms.
 */
export function flatJson(tensor: Tensor): string {
  return withinStringLimit(tensor.name, () => {
    const values = plainValues(tensor);
    return values === undefined ? `[${elementTexts(tensor).join(',')}]` : JSON.stringify(values);
  });
}

/** The elements as arrays nested by the tensor's shape; a scalar (shape []) stands bare. */
export function nestedJson(tensor: Tensor): string {
  return withinStringLimit(tensor.name, () => {
    const values = plainValues(tensor);
    if (values !== undefined) return JSON.stringify(nest<unknown>(values, tensor.shape, (part) => part));
    return nest(elementTexts(tensor), tensor.shape, (part) => `[${part.join(',')}]`);
  });
}

/** The slices along the first dimension, each nested by the rest of the shape: one text a row. The shape must not be empty. */
export function rowsJson(tensor: Tensor): string[] {
  const [rowCount = 0, ...rowShape] = tensor.shape;
  const stride = rowShape.reduce((product, size) => product * size, 1);
  return Array.from({ length: rowCount }, (_, row) =>
    nestedJson({
      ...tensor,
      shape: rowShape,
      data: tensor.data.slice(row * stride, (row + 1) * stride),
    }),
  );
}

/** Groups elements by the last dimension, those groups by the one before, and so on; [2, 0] gives two empty groups. */
function nest<Part>(
  elements: readonly Part[],
  shape: readonly number[],
  combine: (part: Part[]) => Part,
): Part {
  let parts = elements;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    const size = shape[axis] ?? 0;
    let groupCount = 1;
    for (let outer = 0; outer < axis; outer++) groupCount *= shape[outer] ?? 0;
    const groups: Part[] = [];
    for (let group = 0; group < groupCount; group++) {
      groups.push(combine(parts.slice(group * size, (group + 1) * size)));
    }
    parts = groups;
  }
  return parts[0] as Part;
}

/** The elements as values that JSON.stringify writes right; undefined where it would not: 64-bit integers, -0, NaN, infinities. */
function plainValues(tensor: Tensor): readonly unknown[] | undefined {
  const { datatype, data } = tensor;
  switch (datatype) {
    case 'BYTES':
      return data as string[];
    case 'INT64':
    case 'UINT64':
      return undefined;
    case 'BOOL':
      return Array.from(data as Uint8Array, (flag) => flag !== 0);
    case 'FP16':
      return plainFloats(halves(data as Uint16Array));
    case 'FP32':
    case 'FP64':
      return plainFloats(data as Float32Array | Float64Array);
    case 'UINT8':
    case 'UINT16':
    case 'UINT32':
    case 'INT8':
    case 'INT16':
    case 'INT32':
      return Array.from(data as Int32Array);
  }
}

function plainFloats(data: Float16Array | Float32Array | Float64Array): readonly number[] | undefined {
  // A loop, since Array.from goes through an iterator, which takes longer than writing the text.
  const values: number[] = [];
  for (let index = 0; index < data.length; index++) {
    const value = data[index] as number;
    if (!Number.isFinite(value) || (value === 0 && Object.is(value, -0))) return undefined;
    values.push(value);
  }
  return values;
}

function elementTexts(tensor: Tensor): string[] {
  const { datatype, data } = tensor;
  if (datatype === 'FP16') return Array.from<number, string>(halves(data as Uint16Array), floatText);
  if (datatype === 'FP32' || datatype === 'FP64') {
    return Array.from<number, string>(data as Float64Array, floatText);
  }
  return Array.from<unknown, string>(data, String);
}

function floatText(value: number): string {
  return Object.is(value, -0) ? '-0.0' : String(value);
}

function halves(bits: Uint16Array): Float16Array {
  return new Float16Array(bits.buffer, bits.byteOffset, bits.length);
}

function withinStringLimit(name: string, write: () => string): string {
  try {
    return write();
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new PilotlightError(
      'unsupported',
      `output '${name}' is too large for JSON; ask for it as binary data (parameters: {"binary_data": true})`,
      { cause: error },
    );
  }
}
