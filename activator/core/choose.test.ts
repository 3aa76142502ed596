import fc from 'fast-check';
import { expect, test } from 'vitest';
import { chooseByWeight, pickOfTwo } from './choose.ts';

function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state * 1664525 + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

test('weights are honoured within the noise of 20,000 draws', () => {
  const random = generator(1);
  const counts = new Map<string, number>();
  const items = [
    { name: 'a', weightPercent: 90 },
    { name: 'b', weightPercent: 0 },
    { name: 'c', weightPercent: 10 },
  ];
  for (let draw = 0; draw < 20_000; draw++) {
    const name = chooseByWeight(items, random)?.name ?? '';
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  expect(counts.get('b')).toBeUndefined();
  // Standard deviation of the share is 0.2 %; four of them.
  expect((counts.get('c') ?? 0) / 20_000).toBeCloseTo(0.1, 1.9);
});

test('a weight of 0 is never chosen beside another, and without any weight it is the newest', () => {
  fc.assert(
    fc.property(
      fc.array(fc.nat(100), { minLength: 1, maxLength: 5 }),
      fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
      (weights, draw) => {
        const items = weights.map((weightPercent, index) => ({ weightPercent, index }));
        const chosen = chooseByWeight(items, () => draw);
        if (weights.some((weight) => weight > 0)) expect(chosen?.weightPercent).toBeGreaterThan(0);
        else expect(chosen).toBe(items.length === 1 ? items[0] : items.at(-1));
      },
    ),
  );
  expect(chooseByWeight([], () => 0)).toBeUndefined();
});

test('pick of two takes one with room, and never the more loaded of two', () => {
  const item = fc.record({ inFlight: fc.nat(8), capacity: fc.integer({ min: 1, max: 8 }) });
  fc.assert(
    fc.property(fc.array(item, { maxLength: 6 }), fc.integer(), (items, seed) => {
      const hasRoom = (one: (typeof items)[number]): boolean => one.inFlight < one.capacity;
      const picked = pickOfTwo(items, hasRoom, generator(seed));
      const free = items.filter(hasRoom);
      if (free.length === 0) expect(picked).toBeUndefined();
      else expect(free).toContain(picked);
      if (free.length === 2 && picked !== undefined) {
        const least = Math.min(...free.map(({ inFlight, capacity }) => inFlight / capacity));
        expect(picked.inFlight / picked.capacity).toBe(least);
      }
    }),
  );
});

test('load spreads over eight endpoints nearly evenly', () => {
  const random = generator(3);
  const items = Array.from({ length: 8 }, () => ({ inFlight: 0, capacity: 1_000 }));
  for (let request = 0; request < 4_000; request++) {
    const picked = pickOfTwo(items, () => true, random);
    if (picked !== undefined) picked.inFlight++;
  }
  for (const { inFlight } of items) expect(Math.abs(inFlight - 500)).toBeLessThan(15);
});
