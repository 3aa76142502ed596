import { describe, expect, it } from 'vitest';
import { panicAtStart, raisePanic, stepPanic } from './panic.ts';

const WINDOW_MS = 60_000;

describe('panic', () => {
  it('starts when the load crosses the threshold and not before', () => {
    expect(stepPanic(undefined, false, WINDOW_MS, 5_000)).toBeUndefined();
    expect(stepPanic(undefined, true, WINDOW_MS, 5_000)).toEqual({
      startedMs: 5_000,
      lastOverMs: 5_000,
      maxReplicas: 0,
    });
  });

  it('is extended as long as the load is over the threshold, and still knows when it started', () => {
    const started = stepPanic(undefined, true, WINDOW_MS, 5_000);
    expect(stepPanic(started, true, WINDOW_MS, 50_000)).toMatchObject({
      startedMs: 5_000,
      lastOverMs: 50_000,
    });
  });

  it('lasts a whole stable window after the last crossing and ends with the next look', () => {
    const panic = stepPanic(undefined, true, WINDOW_MS, 5_000);
    expect(stepPanic(panic, false, WINDOW_MS, 65_000)).toBe(panic);
    expect(stepPanic(panic, false, WINDOW_MS, 65_001)).toBeUndefined();
  });

  it('keeps the highest count', () => {
    const panic = raisePanic({ startedMs: 0, lastOverMs: 0, maxReplicas: 4 }, 9);
    expect(panic.maxReplicas).toBe(9);
    expect(raisePanic(panic, 2).maxReplicas).toBe(9);
  });

  it('is on after a restart that finds more than one replica', () => {
    expect(panicAtStart(0, 1)).toBeUndefined();
    expect(panicAtStart(1, 1)).toBeUndefined();
    expect(panicAtStart(2, 1)).toEqual({ startedMs: 1, lastOverMs: 1, maxReplicas: 2 });
  });
});
