import type { NumericData, Tensor } from './tensor.ts';

/**
 * Kernels for one row and for many add in another order, which shows in the last digits: 1e-5 of the largest value in
 * deep networks. A model that mixes rows is off by percents. A half has three digits in all.
 */
const TOLERANCE = { FP16: 4e-3, FP32: 1e-3, FP64: 1e-3 } as const;

/** Whether two answers are the same but for the order in which numbers were added. */
export function areClose(left: readonly Tensor[], right: readonly Tensor[]): boolean {
  return (
    left.length === right.length &&
    left.every((tensor) => {
      const other = right.find(({ name }) => name === tensor.name);
      return other !== undefined && isClose(tensor, other);
    })
  );
}

function isClose(left: Tensor, right: Tensor): boolean {
  const { datatype } = left;
  if (datatype !== right.datatype || left.shape.join() !== right.shape.join()) return false;
  if (datatype === 'FP16' || datatype === 'FP32' || datatype === 'FP64') {
    return areNumbersClose(numbersOf(left), numbersOf(right), TOLERANCE[datatype]);
  }
  const others = right.data;
  return Array.prototype.every.call(left.data, (value: unknown, index: number) => value === others[index]);
}

function numbersOf({ datatype, data }: Tensor): ArrayLike<number> {
  if (datatype !== 'FP16') return data as Float32Array | Float64Array;
  const { buffer, byteOffset, length } = data as NumericData;
  return new Float16Array(buffer, byteOffset, length);
}

function areNumbersClose(left: ArrayLike<number>, right: ArrayLike<number>, tolerance: number): boolean {
  let largest = 0;
  for (let index = 0; index < left.length; index += 1) {
    const size = Math.abs(left[index] ?? 0);
    if (size > largest && size < Number.POSITIVE_INFINITY) largest = size;
  }
  for (let index = 0; index < left.length; index += 1) {
    const [one, other] = [left[index] ?? Number.NaN, right[index] ?? Number.NaN];
    // Equal infinities and numbers that are none on both sides are no difference.
    if (!Object.is(one, other) && !(Math.abs(one - other) <= largest * tolerance)) return false;
  }
  return true;
}
