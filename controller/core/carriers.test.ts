import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type CarrierState, hearCarrier, NO_CARRIERS, settleCarriers } from './carriers.ts';

const nobodyLost = (): boolean => false;
const parts = ({ carriers }: CarrierState): Record<string, number> =>
  Object.fromEntries(carriers.map((carrier) => [carrier.activator, carrier.parts]));

/** Both report each 100 ms for so long. */
function reports(state: CarrierState, loads: Record<string, number>, fromMs: number, forMs: number) {
  let now = state;
  for (let atMs = fromMs; atMs < fromMs + forMs; atMs += 100) {
    for (const [activator, requests] of Object.entries(loads))
      now = hearCarrier(now, activator, requests, atMs);
  }
  return now;
}

test('the first activator with requests has everything, the second its part at its first report', () => {
  const first = hearCarrier(NO_CARRIERS, 'b', 5, 0);
  expect(parts(first)).toEqual({ b: 16 });
  expect(parts(hearCarrier(first, 'a', 5, 100))).toEqual({ a: 8, b: 8 });
});

test('parts follow the load, and small changes of it move nothing', () => {
  let state = reports(NO_CARRIERS, { a: 5, b: 5 }, 0, 3_000);
  state = settleCarriers(reports(state, { a: 6, b: 5 }, 3_000, 5_000), nobodyLost, 8_000);
  expect(parts(state)).toEqual({ a: 8, b: 8 });
  state = settleCarriers(reports(state, { a: 20, b: 1 }, 8_000, 5_000), nobodyLost, 13_000);
  expect(parts(state)).toEqual({ a: 14, b: 2 });
});

test('one that has had nothing for 30 s leaves its part to the other; at rest all stay as they are', () => {
  let state = reports(NO_CARRIERS, { a: 5, b: 5 }, 0, 1_000);
  state = reports(state, { a: 5 }, 1_000, 31_000);
  expect(parts(settleCarriers(state, nobodyLost, 32_000))).toEqual({ a: 16 });
  const atRest = reports(NO_CARRIERS, { a: 5, b: 5 }, 0, 1_000);
  expect(parts(settleCarriers(atRest, nobodyLost, 600_000))).toEqual({ a: 8, b: 8 });
});

test('a lost one is out at once, the last one too', () => {
  const state = reports(NO_CARRIERS, { a: 5, b: 5 }, 0, 1_000);
  const withoutA = settleCarriers(state, (activator) => activator === 'a', 1_000);
  expect(parts(withoutA)).toEqual({ b: 16 });
  expect(settleCarriers(withoutA, () => true, 1_100).carriers).toEqual([]);
});

test('whatever is reported, everybody who carries has a part, and there are 16 of them or one for each', () => {
  const step = fc.tuple(
    fc.nat(20),
    fc.double({ min: 0, max: 1e6, noNaN: true }),
    fc.nat(40_000),
    fc.boolean(),
  );
  fc.assert(
    fc.property(fc.array(step, { minLength: 1, maxLength: 60 }), (steps) => {
      let state = NO_CARRIERS;
      let nowMs = 0;
      for (const [activator, requests, laterMs, settles] of steps) {
        nowMs += laterMs;
        state = hearCarrier(state, `a${activator}`, requests, nowMs);
        if (settles) state = settleCarriers(state, nobodyLost, nowMs);
        const { carriers, loads } = state;
        expect(carriers.map((carrier) => carrier.activator)).toEqual([...loads.keys()].sort());
        expect(Math.min(...carriers.map((carrier) => carrier.parts))).toBeGreaterThanOrEqual(1);
        const total = carriers.reduce((all, carrier) => all + carrier.parts, 0);
        expect(total).toBe(Math.max(16, carriers.length));
      }
    }),
  );
});
