import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { deviationPercent, largest, lossPercent, median, quantile } from './statistics.ts';

const numbers = fc.array(fc.double({ noNaN: true, min: -1e9, max: 1e9 }), { minLength: 1, maxLength: 200 });

describe('quantile', () => {
  test('interpolates between the two nearest ranks, as NumPy does', () => {
    // numpy.quantile([15, 20, 35, 40, 50], [0.05, 0.3, 0.4, 0.95])
    const values = [15, 20, 35, 40, 50];
    expect(quantile(values, 0.05)).toBeCloseTo(16);
    expect(quantile(values, 0.3)).toBeCloseTo(23);
    expect(quantile(values, 0.4)).toBeCloseTo(29);
    expect(quantile(values, 0.95)).toBeCloseTo(48);
  });

  test('takes the values in any order and leaves them as they are', () => {
    const values = [3, 1, 2];
    expect(median(values)).toBe(2);
    expect(values).toEqual([3, 1, 2]);
  });

  test('of one value is that value', () => {
    expect(quantile([7], 0.95)).toBe(7);
  });

  test('lies between the smallest and the largest value and grows with q', () => {
    fc.assert(
      fc.property(
        numbers,
        fc.double({ min: 0, max: 1, noNaN: true }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (values, one, other) => {
          const low = quantile(values, Math.min(one, other));
          const high = quantile(values, Math.max(one, other));
          expect(low).toBeLessThanOrEqual(high);
          expect(low).toBeGreaterThanOrEqual(quantile(values, 0));
          expect(high).toBeLessThanOrEqual(largest(values));
        },
      ),
    );
  });

  test('sorts by size, not by digits', () => {
    expect(median([9, 10, 100])).toBe(10);
  });

  test('keeps an infinite value', () => {
    expect(largest([1, Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY])).toBe(Number.POSITIVE_INFINITY);
    expect(quantile([1, Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY], 0.75)).toBe(
      Number.POSITIVE_INFINITY,
    );
  });

  test('refuses no values, NaN, and a q out of range', () => {
    expect(() => median([])).toThrow('at least one value');
    expect(() => median([1, Number.NaN])).toThrow('NaN');
    expect(() => quantile([1], 95)).toThrow('from 0 to 1, got 95');
    expect(() => quantile([1], Number.NaN)).toThrow('from 0 to 1');
  });
});

describe('comparisons', () => {
  test('a loss is what is missing of the reference, in percent', () => {
    expect(lossPercent(1_000, 750)).toBe(25);
    expect(lossPercent(1_000, 1_100)).toBeCloseTo(-10);
  });

  test('a deviation counts upwards and downwards', () => {
    expect(deviationPercent(100, 96)).toBeCloseTo(4);
    expect(deviationPercent(100, 104)).toBeCloseTo(4);
  });

  test('there is no loss of nothing', () => {
    expect(() => lossPercent(0, 1)).toThrow('above 0');
  });
});
