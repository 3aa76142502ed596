import { describe, expect, it } from 'vitest';
import type { SimulatedDecision, SimulationResult } from './simulate.ts';
import { arrivals, callers, simulate } from './simulate.ts';
import { autoscalerSpec } from './spec.ts';
import { ONE_EACH } from './testing/timeline.ts';

function at(result: SimulationResult, atMs: number): SimulatedDecision {
  const found = result.decisions.findLast((decision) => decision.atMs <= atMs);
  if (found === undefined) throw new Error(`nothing decided up to ${atMs} ms`);
  return found;
}

function mostReplicas(result: SimulationResult): number {
  return Math.max(...result.decisions.map((decision) => decision.ready + decision.starting));
}

describe('a burst from 0 to 50 and back to 0', () => {
  const result = simulate({
    spec: autoscalerSpec(ONE_EACH),
    requests: callers({ count: 50, fromMs: 10_000, toMs: 40_000, serviceMs: 1000 }),
    startDelayMs: 1000,
    untilMs: 240_000,
  });

  it('starts at once, without waiting for a tick that is 2 s away', () => {
    const simulated = simulate({
      spec: autoscalerSpec(ONE_EACH),
      requests: arrivals({ everyMs: 1000, fromMs: 10_001, toMs: 10_002, serviceMs: 10 }),
      startDelayMs: 50,
      untilMs: 20_000,
    });
    expect(simulated.waitsMs).toEqual([50]);
    expect(at(result, 10_000)).toMatchObject({ desired: 1, reasonCode: 'from-zero', queued: 50 });
  });

  it('has a replica for each request at the first tick after, and never more', () => {
    expect(at(result, 12_000).desired).toBe(50);
    expect(mostReplicas(result)).toBe(50);
  });

  it('answers all and leaves nothing behind', () => {
    expect(result.unserved).toBe(0);
    expect(result.answered).toBe(result.waitsMs.length);
    expect(result.decisions.at(-1)).toMatchObject({ desired: 0, ready: 0, starting: 0 });
  });

  it('holds through panic, then follows the window down to zero', () => {
    const falling = result.decisions.filter((decision) => decision.atMs > 40_000);
    const counts = falling.map((decision) => decision.desired ?? -1);
    expect(counts).toEqual(counts.toSorted((a, b) => b - a));
    const codes = new Set(falling.map((decision) => decision.reasonCode));
    expect([...codes]).toEqual(['panic-hold', 'scale-down-rate', 'target', 'to-zero', 'at-zero']);
    // The last answer is out at 41 s at the latest; a stable window later the last replica goes.
    const zeroAtMs = falling.find((decision) => decision.desired === 0)?.atMs;
    expect(zeroAtMs).toBeGreaterThanOrEqual(100_000);
    expect(zeroAtMs).toBeLessThanOrEqual(106_000);
  });
});

describe('five callers all the time', () => {
  const result = simulate({
    spec: autoscalerSpec({ targetCapacity: 1 }),
    requests: callers({ count: 5, fromMs: 10_000, toMs: 600_000, serviceMs: 500 }),
    startDelayMs: 1000,
    untilMs: 600_000,
  });

  it('settle at 5 / 0.7 = 7.14, so 8 replicas, and stay there', () => {
    const late = result.decisions.filter((decision) => decision.atMs > 20_000 && decision.atMs < 600_000);
    expect(new Set(late.map((decision) => decision.desired))).toEqual(new Set([8]));
  });

  it('wait only at the start', () => {
    expect(result.waitsMs.slice(200).every((waitMs) => waitMs === 0)).toBe(true);
  });
});

describe('a single short request every 30 s', () => {
  const sparse = (everyMs: number): SimulationResult =>
    simulate({
      spec: autoscalerSpec({ targetCapacity: 1 }),
      requests: arrivals({ everyMs, fromMs: 5_000, toMs: 600_000, serviceMs: 20 }),
      startDelayMs: 500,
      untilMs: 600_000,
    });

  it('keeps its replica: each comes within the stable window of the one before', () => {
    const result = sparse(30_000);
    expect(result.started).toBe(1);
    expect(result.waitsMs.filter((waitMs) => waitMs > 0)).toEqual([500]);
  });

  it('loses it when they come every 2 minutes, and each is a cold start', () => {
    const result = sparse(120_000);
    expect(result.waitsMs).toEqual([500, 500, 500, 500, 500]);
    expect(result.started).toBe(5);
    // Each time 500 ms to start and about 60 s of idleness.
    expect(result.replicaMs).toBeLessThan(5 * 65_000);
  });

  it('keeps it for 2 minutes with a keep-alive of 3', () => {
    const result = simulate({
      spec: autoscalerSpec({ targetCapacity: 1, keepAliveMs: 180_000 }),
      requests: arrivals({ everyMs: 120_000, fromMs: 5_000, toMs: 600_000, serviceMs: 20 }),
      startDelayMs: 500,
      untilMs: 600_000,
    });
    expect(result.started).toBe(1);
  });
});

describe('replicas that take a minute to start', () => {
  it('are not asked for again while they start: the count is a total', () => {
    const result = simulate({
      spec: autoscalerSpec({ targetCapacity: 4 }),
      requests: callers({ count: 8, fromMs: 10_000, toMs: 200_000, serviceMs: 1000 }),
      startDelayMs: 60_000,
      untilMs: 300_000,
    });
    expect(result.started).toBe(3); // 8 / 2.8 = 2.86
    expect(mostReplicas(result)).toBe(3);
    // The first is ready at 70 s and takes 4; the other 4 have its places at 71 s, before the second comes.
    expect(Math.max(...result.waitsMs)).toBe(61_000);
    expect(result.unserved).toBe(0);
  });

  it('are asked for by the backlog when callers do not wait: that is KPA, and maxReplicas bounds it', () => {
    const flood = {
      requests: arrivals({ everyMs: 125, fromMs: 10_000, toMs: 200_000, serviceMs: 1000 }),
      startDelayMs: 60_000,
      untilMs: 300_000,
    };
    const unbounded = simulate({ spec: autoscalerSpec({ targetCapacity: 4 }), ...flood });
    const bounded = simulate({ spec: autoscalerSpec({ targetCapacity: 4, maxReplicas: 6 }), ...flood });
    expect(mostReplicas(unbounded)).toBeGreaterThan(100);
    expect(mostReplicas(bounded)).toBe(6);
    expect(bounded.unserved).toBe(0);
  });
});

describe('a surge on top of a steady load', () => {
  const result = simulate({
    spec: autoscalerSpec({ targetCapacity: 4 }),
    requests: [
      ...callers({ count: 2, fromMs: 10_000, toMs: 300_000, serviceMs: 500 }),
      ...callers({ count: 40, fromMs: 100_000, toMs: 110_000, serviceMs: 500 }),
    ],
    startDelayMs: 500,
    untilMs: 400_000,
  });

  it('puts it in panic at the next tick', () => {
    expect(at(result, 100_000)).toMatchObject({ desired: 1, reasonCode: 'target' });
    expect(at(result, 102_000)).toMatchObject({ desired: 6, reasonCode: 'panic' });
    expect(at(result, 106_000)).toMatchObject({ desired: 15, reasonCode: 'panic' }); // 42 / 2.8
  });

  it('keeps all replicas until a stable window after the last crossing, at 102 s', () => {
    const during = result.decisions.filter((found) => found.atMs >= 106_000 && found.atMs <= 162_000);
    expect(new Set(during.map((decision) => decision.desired))).toEqual(new Set([15]));
    expect(at(result, 164_000)).toMatchObject({ desired: 7, reasonCode: 'scale-down-rate' });
  });

  it('is forgotten when it has left the stable window', () => {
    expect(at(result, 172_000)).toMatchObject({ desired: 1, reasonCode: 'target' });
  });
});

describe('a restarted autoscaler', () => {
  it('keeps the four replicas it finds busy, through its first empty window', () => {
    const result = simulate({
      spec: autoscalerSpec({ targetCapacity: 4 }),
      requests: callers({ count: 10, fromMs: 0, toMs: 100_000, serviceMs: 500 }),
      startDelayMs: 500,
      readyReplicas: 4,
      untilMs: 90_000,
    });
    expect(result.started).toBe(0);
    expect(at(result, 90_000)).toMatchObject({ desired: 4, ready: 4 }); // 10 / 2.8 = 3.57
  });
});
