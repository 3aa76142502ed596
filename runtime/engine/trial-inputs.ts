import { allocateData, elementSizeBytes, type Tensor, type TensorData } from '../core/tensor.ts';

/** An input of a request: all that a trial needs of it. Nobody's data is kept. */
export type InputShape = Pick<Tensor, 'name' | 'datatype' | 'shape'>;

/** 1.0 and 0.5 as IEEE halves. */
const HALVES = [0x3c00, 0x3800];

/**
 * Made-up inputs of so many rows, each row filled with one value and no two neighbours alike, so that a model which
 * mixes rows shows it. Small numbers: within every vocabulary, and not 0, which divides.
 *
 * @param from first of the rows: the same row is the same in a batch and alone.
 */
export function trialInputs(shapes: readonly InputShape[], rows: number, from = 0): Tensor[] {
  return shapes.map(({ name, datatype, shape }) => {
    const rest = shape.slice(1);
    const stride = rest.reduce((product, size) => product * size, 1);
    const data = allocateData(datatype, rows * stride);
    for (let row = 0; row < rows; row += 1) fillRow(data, datatype, row + from, row * stride, stride);
    return { name, datatype, shape: [rows, ...rest], data };
  });
}

/** Of one row, all inputs together. */
export function rowBytes(shapes: readonly InputShape[]): number {
  return shapes.reduce((sum, { datatype, shape }) => {
    const stride = shape.slice(1).reduce((product, size) => product * size, 1);
    return sum + stride * (elementSizeBytes(datatype) || 16);
  }, 0);
}

function fillRow(
  data: TensorData,
  datatype: Tensor['datatype'],
  row: number,
  start: number,
  length: number,
): void {
  const end = start + length;
  // Texts stay empty: which ones a model knows is its own matter.
  if (Array.isArray(data)) return;
  if (data instanceof BigInt64Array || data instanceof BigUint64Array)
    data.fill(BigInt(1 + (row % 2)), start, end);
  else if (datatype === 'BOOL') data.fill(1, start, end);
  else if (datatype === 'FP16') data.fill(HALVES[row % 2] ?? 0, start, end);
  else if (datatype === 'FP32' || datatype === 'FP64') data.fill((1 + (row % 7)) / 8, start, end);
  else data.fill(1 + (row % 2), start, end);
}
