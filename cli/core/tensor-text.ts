import { shortNumber } from '../../client/core/infer-message.ts';
import { isFloat, type TensorWithValues } from '../../client/core/tensor-values.ts';

/** As numpy prints: larger tensors are shortened, with this many elements of each dimension at either end. */
const SUMMARISED_ABOVE = 100;
const EDGE_ITEMS = 3;
const SIGNIFICANT_DIGITS = 5;

/** One output for a person: name, datatype, shape, a line of statistics for large ones, and the values nested. */
export function tensorText(tensor: TensorWithValues): string {
  const { name, datatype, shape, values } = tensor;
  const head = `${name}  ${datatype} [${shape.join(', ')}]`;
  const isLarge = values.length > SUMMARISED_ABOVE;
  const statistics = isLarge && isFloat(datatype) ? [statisticsLine(values as ArrayLike<number>)] : [];
  return [head, ...statistics, nested(tensor, 0, 0, isLarge)].join('\n  ');
}

function statisticsLine(values: ArrayLike<number>): string {
  let least = Number.POSITIVE_INFINITY;
  let most = Number.NEGATIVE_INFINITY;
  let sum = 0;
  for (let index = 0; index < values.length; index++) {
    const value = values[index] ?? Number.NaN;
    least = Math.min(least, value);
    most = Math.max(most, value);
    sum += value;
  }
  return `min ${brief(least)}, max ${brief(most)}, mean ${brief(sum / values.length)}`;
}

function nested(tensor: TensorWithValues, dimension: number, start: number, isLarge: boolean): string {
  const { shape, values, datatype } = tensor;
  const size = shape[dimension];
  if (size === undefined) return elementText(values[start], datatype);
  const stride = shape.slice(dimension + 1).reduce((product, length) => product * length, 1);
  const part = (index: number): string => nested(tensor, dimension + 1, start + index * stride, isLarge);
  const isCut = isLarge && size > 2 * EDGE_ITEMS;
  const indexes = Array.from({ length: isCut ? 2 * EDGE_ITEMS : size }, (_item, index) =>
    isCut && index >= EDGE_ITEMS ? size - 2 * EDGE_ITEMS + index : index,
  );
  const parts = indexes.map(part);
  if (isCut) parts.splice(EDGE_ITEMS, 0, '…');
  const isRow = dimension === shape.length - 1;
  const separator = isRow ? ', ' : `,\n  ${' '.repeat(dimension + 1)}`;
  return `[${parts.join(separator)}]`;
}

function elementText(value: unknown, datatype: string): string {
  if (typeof value === 'string') return JSON.stringify(value);
  if (typeof value !== 'number' || !isFloat(datatype)) return String(value);
  const exact = shortNumber(value, datatype);
  return exact.length <= SIGNIFICANT_DIGITS + 2 ? exact : brief(value);
}

const brief = (value: number): string => String(Number(value.toPrecision(SIGNIFICANT_DIGITS)));
