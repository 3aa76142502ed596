import fc from 'fast-check';
import { expect, test } from 'vitest';
import { DIRECT_AFTER_MS, type DirectConditions, type DirectState, PROXIED, stepDirect } from './direct.ts';

const good: DirectConditions = {
  isPossible: true,
  isRuntime: true,
  isStopped: false,
  revisions: 1,
  hasHeadroom: true,
  replicas: [
    { capacity: 8, inFlight: 3 },
    { capacity: 8, inFlight: 6 },
  ],
  burstCapacity: 7,
};

function after(ms: number, conditions: DirectConditions, from: DirectState = PROXIED): DirectState {
  return stepDirect(stepDirect(from, conditions, 0), conditions, ms);
}

test('headroom that has lasted for ten seconds makes a service direct', () => {
  expect(after(DIRECT_AFTER_MS - 1, good).isDirect).toBe(false);
  expect(after(DIRECT_AFTER_MS, good).isDirect).toBe(true);
});

test('whatever speaks against it keeps a service proxied, and brings it back at once', () => {
  const against: Partial<DirectConditions>[] = [
    { isPossible: false },
    { isRuntime: false },
    { isStopped: true },
    { revisions: 2 },
    { revisions: 0 },
    { hasHeadroom: false },
    { replicas: [] },
    { burstCapacity: 8 },
    { burstCapacity: -1 },
    { replicas: [{ capacity: 8, inFlight: 20 }] },
  ];
  const direct = after(DIRECT_AFTER_MS, good);
  for (const one of against) {
    expect(after(DIRECT_AFTER_MS, { ...good, ...one }), JSON.stringify(one)).toEqual(PROXIED);
    expect(stepDirect(direct, { ...good, ...one }, DIRECT_AFTER_MS + 1), JSON.stringify(one)).toEqual(
      PROXIED,
    );
  }
});

test('a burst capacity of 0 wants no room: replicas that are full stay direct', () => {
  const full = { ...good, burstCapacity: 0, replicas: [{ capacity: 1, inFlight: 9 }] };
  expect(after(DIRECT_AFTER_MS, full).isDirect).toBe(true);
});

test('whatever the load does, a service turns direct at most once in ten seconds', () => {
  const step = fc.tuple(fc.nat(4_000), fc.boolean());
  fc.assert(
    fc.property(fc.array(step, { maxLength: 100 }), (steps) => {
      let state = PROXIED;
      let nowMs = 0;
      let turnedAtMs = -Infinity;
      for (const [laterMs, hasHeadroom] of steps) {
        nowMs += laterMs;
        const next = stepDirect(state, { ...good, hasHeadroom }, nowMs);
        expect(next.isDirect && !hasHeadroom).toBe(false);
        if (next.isDirect && !state.isDirect) {
          expect(nowMs - turnedAtMs).toBeGreaterThanOrEqual(DIRECT_AFTER_MS);
          turnedAtMs = nowMs;
        }
        state = next;
      }
    }),
  );
});
