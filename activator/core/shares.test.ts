import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Carrier } from '../../contracts/routes.ts';
import { dealOut, sharesOf } from './shares.ts';

const carriers = (...parts: number[]): Carrier[] =>
  parts.map((count, index) => ({ activator: `a${index}`, parts: count }));
const sum = (numbers: readonly number[]): number => numbers.reduce((total, one) => total + one, 0);

test('two equal carriers have half of each replica, and the odd units by turns', () => {
  expect(dealOut([4, 4], carriers(8, 8))).toEqual([
    [2, 2],
    [2, 2],
  ]);
  expect(dealOut([1, 1, 3], carriers(8, 8))).toEqual([
    [1, 0, 2],
    [0, 1, 1],
  ]);
});

test('whoever has more of the requests has more of the capacity, but nobody who carries is left with none', () => {
  expect(dealOut([8], carriers(12, 4))).toEqual([[6], [2]]);
  expect(dealOut([3], carriers(15, 1))).toEqual([[2], [1]]);
});

test('one replica of capacity 1 belongs to one of two carriers', () => {
  expect(dealOut([1], carriers(8, 8))).toEqual([[1], [0]]);
});

test('where nobody shares each replica is there as a whole', () => {
  expect(sharesOf([4, 2], undefined, 'a0')).toEqual([4, 2]);
  expect(sharesOf([4, 2], [], 'a0')).toEqual([4, 2]);
  expect(sharesOf([4, 2], carriers(8, 8), 'a1')).toEqual([2, 1]);
});

test('one that is not among the carriers takes what one more of them would have', () => {
  expect(sharesOf([6, 3], carriers(8, 8), 'a7')).toEqual([2, 1]);
  expect(sharesOf([1], carriers(8), 'a7')).toEqual([0]);
});

const capacitiesArbitrary = fc.array(fc.integer({ min: 1, max: 40 }), { maxLength: 12 });
const partsArbitrary = fc.array(fc.integer({ min: 1, max: 16 }), { minLength: 1, maxLength: 9 });

test('whatever the carriers, each replica is dealt out completely and never twice', () => {
  fc.assert(
    fc.property(capacitiesArbitrary, partsArbitrary, (capacities, parts) => {
      const shares = dealOut(capacities, carriers(...parts));
      for (const [endpoint, capacity] of capacities.entries()) {
        const units = shares.map((share) => share[endpoint] ?? Number.NaN);
        expect(sum(units)).toBe(capacity);
        expect(Math.min(...units)).toBeGreaterThanOrEqual(0);
      }
    }),
  );
});

test('with a unit for each, every carrier has one, and its proportion but for the number of carriers', () => {
  fc.assert(
    fc.property(capacitiesArbitrary, partsArbitrary, (capacities, parts) => {
      const shares = dealOut(capacities, carriers(...parts));
      const total = sum(capacities);
      for (const [index, share] of shares.entries()) {
        const units = sum(share);
        if (total >= parts.length) expect(units).toBeGreaterThanOrEqual(1);
        else expect(units).toBeLessThanOrEqual(1);
        const fair = (total * (parts[index] ?? 0)) / sum(parts);
        expect(Math.abs(units - fair)).toBeLessThan(parts.length);
      }
    }),
  );
});

test('each activator’s own view is its column of what all of them deal', () => {
  fc.assert(
    fc.property(capacitiesArbitrary, partsArbitrary, (capacities, parts) => {
      const all = carriers(...parts);
      expect(all.map(({ activator }) => sharesOf(capacities, all, activator))).toEqual(
        dealOut(capacities, all),
      );
    }),
  );
});
