import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  afterCrash,
  afterFailedStart,
  afterReady,
  mayStart,
  nextStartMs,
  type StartTrouble,
} from './start-trouble.ts';

const NOT_FOUND = { code: 'model-not-found', message: 'no such file' };
const DIED = { code: 'replica-failed', message: 'the process ended' };

/** When the tries come if each fails at once and is made as soon as it may. */
function tries(failure: { code: string; message: string }, isAsked: boolean, untilMs: number): number[] {
  const times: number[] = [];
  let trouble: StartTrouble | undefined;
  let nowMs = 0;
  while (nowMs <= untilMs) {
    times.push(nowMs);
    trouble = afterFailedStart(trouble, failure, nowMs);
    nowMs = nextStartMs(trouble, isAsked);
  }
  return times;
}

test('what may pass is tried again at once, then after 0.5, 1, 2 … 30 s', () => {
  expect(tries(DIED, false, 120_000)).toEqual([
    0, 0, 500, 1_500, 3_500, 7_500, 15_500, 31_500, 61_500, 91_500,
  ]);
});

test('what will last is told at once and tried again after 10, 20, 40 … 300 s', () => {
  expect(afterFailedStart(undefined, NOT_FOUND, 0).isFailed).toBe(true);
  expect(tries(NOT_FOUND, false, 1_000_000)).toEqual([
    0, 10_000, 30_000, 70_000, 150_000, 310_000, 610_000, 910_000,
  ]);
});

test('requests have it tried again after 5, 10, 20 … 60 s', () => {
  expect(tries(NOT_FOUND, true, 200_000)).toEqual([0, 5_000, 15_000, 35_000, 75_000, 135_000, 195_000]);
});

test('a failure that may pass is told to callers at the third in a row', () => {
  let trouble = afterFailedStart(undefined, DIED, 0);
  expect(trouble.isFailed).toBe(false);
  trouble = afterFailedStart(trouble, DIED, 0);
  expect(trouble.isFailed).toBe(false);
  expect(afterFailedStart(trouble, DIED, 500).isFailed).toBe(true);
});

test('a success ends it; crashes stay counted for ten minutes', () => {
  expect(afterReady(afterFailedStart(undefined, NOT_FOUND, 0), 1)).toBeUndefined();
  const crashed = afterCrash(afterCrash(undefined, 'died', 0), 'died', 1_000);
  expect(afterReady(crashed, 2_000)).toMatchObject({ crashes: 2, isFailed: false });
  expect(afterReady(crashed, 700_000)).toBeUndefined();
  expect(afterCrash(crashed, 'died', 700_000).crashes).toBe(1);
});

test('without trouble nothing holds a start back', () => {
  expect(mayStart(undefined, false, 0)).toBe(true);
});

test('property: a start is always allowed again within five minutes, and asking never makes it later', () => {
  const failure = fc.constantFrom(NOT_FOUND, DIED, { code: 'model-load-timeout', message: 'slow' });
  fc.assert(
    fc.property(
      fc.array(fc.tuple(failure, fc.nat(1_000_000)), { minLength: 1, maxLength: 200 }),
      (failures) => {
        let trouble: StartTrouble | undefined;
        let nowMs = 0;
        for (const [what, laterMs] of failures) {
          nowMs += laterMs;
          trouble = afterFailedStart(trouble, what, nowMs);
          expect(nextStartMs(trouble, false) - nowMs).toBeLessThanOrEqual(300_000);
          expect(nextStartMs(trouble, true)).toBeLessThanOrEqual(nextStartMs(trouble, false));
          expect(mayStart(trouble, false, nextStartMs(trouble, false))).toBe(true);
        }
      },
    ),
  );
});
