import { allocateData, elementSizeBytes, showShape, type Tensor, type TensorData, viewOf } from './tensor.ts';

/**
 * Puts the tensors of several calls together along dimension 0, call after call. All calls have tensors of the same
 * names, and for each name one datatype and one shape apart from dimension 0.
 *
 * @returns tensors in the order of the first call, with memory of their own.
 * @throws RangeError for calls that don't fit together.
 */
export function concatenateTensors(calls: readonly (readonly Tensor[])[]): Tensor[] {
  const [first = []] = calls;
  return first.map((model) =>
    concatenateOne(
      model,
      calls.map((tensors) => named(tensors, model)),
    ),
  );
}

function named(tensors: readonly Tensor[], { name }: Tensor): Tensor {
  const found = tensors.find((tensor) => tensor.name === name);
  if (found === undefined) throw new RangeError(`a call of the batch has no tensor '${name}'`);
  return found;
}

function concatenateOne({ name, datatype, shape }: Tensor, parts: readonly Tensor[]): Tensor {
  let rows = 0;
  let count = 0;
  for (const part of parts) {
    if (part.datatype !== datatype || !isSameBehindRows(part.shape, shape)) {
      throw new RangeError(
        `tensor '${name}' is ${datatype} ${showShape(shape)} in one call of the batch and ${part.datatype} ${showShape(part.shape)} in another`,
      );
    }
    rows += part.shape[0] ?? 0;
    count += part.data.length;
  }
  return { name, datatype, shape: [rows, ...shape.slice(1)], data: concatenateData(datatype, parts, count) };
}

function concatenateData(datatype: Tensor['datatype'], parts: readonly Tensor[], count: number): TensorData {
  if (datatype === 'BYTES') return parts.flatMap(({ data }) => data as string[]);
  const whole = allocateData(datatype, count) as Exclude<TensorData, string[]>;
  // As bytes: one copy of memory for each call, whatever the datatype.
  const bytes = new Uint8Array(whole.buffer);
  let offset = 0;
  for (const { data } of parts) {
    const { buffer, byteOffset, byteLength } = data as Exclude<TensorData, string[]>;
    bytes.set(new Uint8Array(buffer, byteOffset, byteLength), offset);
    offset += byteLength;
  }
  return whole;
}

/**
 * Takes tensors apart along dimension 0: the first `rowCounts[0]` rows are the first call's, and so on. Numbers stay
 * in the memory that they are in: what a call gets is a view.
 *
 * @returns the tensors of each call, in their order; undefined when a tensor doesn't have as many rows as all calls
 *   together: then nobody can tell whose is what.
 */
export function splitTensors(
  tensors: readonly Tensor[],
  rowCounts: readonly number[],
): Tensor[][] | undefined {
  const rows = rowCounts.reduce((sum, count) => sum + count, 0);
  if (tensors.some(({ shape }) => shape[0] !== rows)) return undefined;
  let from = 0;
  return rowCounts.map((count) => {
    const part = tensors.map((tensor) => rowsOf(tensor, from, count, rows));
    from += count;
    return part;
  });
}

function rowsOf({ name, datatype, shape, data }: Tensor, from: number, count: number, rows: number): Tensor {
  const stride = rows === 0 ? 0 : data.length / rows;
  const start = from * stride;
  const length = count * stride;
  const own = Array.isArray(data)
    ? data.slice(start, start + length)
    : viewOf(
        datatype as Exclude<Tensor['datatype'], 'BYTES'>,
        data.buffer,
        data.byteOffset + start * elementSizeBytes(datatype),
        length,
      );
  return { name, datatype, shape: [count, ...shape.slice(1)], data: own };
}

function isSameBehindRows(left: readonly number[], right: readonly number[]): boolean {
  if (left.length !== right.length || left.length === 0) return false;
  for (let index = 1; index < left.length; index += 1) if (left[index] !== right[index]) return false;
  return true;
}
