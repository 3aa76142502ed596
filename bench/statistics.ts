/**
 * The q-quantile of `values`, 0 ≤ q ≤ 1, with linear interpolation between the two nearest ranks
 * (Hyndman and Fan 1996, type 7, which is NumPy's and R's default).
 *
 * @throws RangeError for no values, values that are no numbers, or a q out of range.
 */
export function quantile(values: ArrayLike<number>, q: number): number {
  if (!(q >= 0 && q <= 1)) throw new RangeError(`expected a quantile from 0 to 1, got ${q}`);
  if (values.length === 0) throw new RangeError('expected at least one value, got none');
  const sorted = Float64Array.from(values).sort();
  // NaN sorts to the end.
  if (Number.isNaN(sorted.at(-1))) throw new RangeError('expected numbers, got NaN among them');
  const rank = q * (sorted.length - 1);
  const below = sorted[Math.floor(rank)] ?? Number.NaN;
  const above = sorted[Math.ceil(rank)] ?? Number.NaN;
  // Not below + (above − below) · share: that turns two infinities into NaN.
  return below === above ? below : below + (above - below) * (rank - Math.floor(rank));
}

/** The middle value. @throws RangeError for no values. */
export function median(values: ArrayLike<number>): number {
  return quantile(values, 0.5);
}

/** @throws RangeError for no values. */
export function largest(values: ArrayLike<number>): number {
  return quantile(values, 1);
}

/** By how many percent `value` falls short of `reference`; negative when it is larger. */
export function lossPercent(reference: number, value: number): number {
  if (!(reference > 0)) throw new RangeError(`expected a reference above 0, got ${reference}`);
  return (1 - value / reference) * 100;
}

/** How far `value` is from `reference`, in percent of the reference, whichever is larger. */
export function deviationPercent(reference: number, value: number): number {
  return Math.abs(lossPercent(reference, value));
}
