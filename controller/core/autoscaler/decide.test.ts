import { describe, expect, it } from 'vitest';
import { codesOf, desiredOf, START_MS, Timeline } from './testing/timeline.ts';

describe('load', () => {
  it('is divided by the target and rounded up', () => {
    const life = new Timeline({ targetCapacity: 5, targetUtilisation: 0.7 }, 1);
    life.frozen = true;
    const last = life.load(8.4, 60);
    expect(last).toMatchObject({ valid: true, desired: 3, mode: 'proxied' });
  });

  it('is explained in words and numbers', () => {
    const life = new Timeline(
      { targetCapacity: 5, targetUtilisation: 0.7, panicThresholdPercentage: 1000 },
      1,
    );
    life.frozen = true;
    expect(life.load(8.4, 60).reason).toBe(
      '3 wanted: 8.4 concurrent requests over 60 s / target 3.5 per replica; 1 ready',
    );
  });

  it('scrolls out of the window: after 60 s of 4 at once comes 3, and 60 s later 3 is what is left', () => {
    const life = new Timeline({ panicThresholdPercentage: 1e6 }, 1);
    expect(life.load(4, 60).desired).toBe(4);
    expect(life.load(3, 58).desired).toBe(4);
    expect(life.load(3, 2).desired).toBe(3);
  });

  it('counts in requests per second where the metric says so', () => {
    const life = new Timeline({ metric: 'rps', targetCapacity: 200, targetUtilisation: 0.7 }, 4);
    const last = life.load(300, 60);
    expect(last.desired).toBe(4); // a restarted autoscaler that finds 4 keeps 4
    expect(life.load(300, 4).desired).toBe(3); // 300 / 140 = 2.14
    expect(life.last?.reason).toBe('3 wanted: 300 requests/s over 60 s / target 140 per replica; 4 ready');
  });

  it('counts a request that began and ended between two looks', () => {
    const life = new Timeline({}, 1);
    life.load(0, 60);
    life.nowMs += 2000;
    const sample = { atMs: life.nowMs, intervalMs: 2000, concurrency: 0.01, requestsPerSecond: 0.5 };
    expect(life.ask({ samples: [sample] })).toMatchObject({ desired: 1, reasonCode: 'target' });
  });

  it.each([
    ['was counted though it took no measurable time', 0, 0.5],
    ['takes so long that none begins or ends', 1e-9, 0],
  ])('keeps the last replica for a request that %s', (_, concurrency, requestsPerSecond) => {
    const life = new Timeline({}, 1);
    life.load(0, 58);
    life.nowMs += 2000;
    const sample = { atMs: life.nowMs, intervalMs: 2000, concurrency, requestsPerSecond };
    expect(life.ask({ samples: [sample] })).toMatchObject({ desired: 1, reasonCode: 'idle-window' });
  });

  it('a request too short to show in the average still keeps the last replica', () => {
    const life = new Timeline({}, 1);
    life.load(0, 50);
    life.nowMs += 2000;
    const sample = { atMs: life.nowMs, intervalMs: 2000, concurrency: 1e-9, requestsPerSecond: 0.5 };
    life.ask({ samples: [sample] });
    expect(codesOf(life.series(0, 58)).every((code) => code === 'idle-window')).toBe(true);
    expect(life.load(0, 2).reasonCode).toBe('to-zero');
  });

  it('does not buy a replica for a rounding error: 2.1 at once over a target of 3 × 0.7 is 1', () => {
    const life = new Timeline({ targetCapacity: 3, targetUtilisation: 0.7 }, 1);
    expect(life.load(2.1, 10).desired).toBe(1);
  });
});

describe("don't know", () => {
  it('is its own answer, not 0, when no load has been reported', () => {
    const life = new Timeline({}, 1);
    expect(life.ask()).toMatchObject({ valid: false, desired: undefined, reasonCode: 'no-data' });
    expect(life.last?.reason).toBe('unknown: no load reported for 60 s; 1 ready stay');
  });

  it('comes back when reports have been missing for a whole window', () => {
    const life = new Timeline({}, 1);
    life.load(1, 30);
    life.silence(58);
    expect(life.ask().valid).toBe(true);
    life.silence(2);
    expect(life.ask()).toMatchObject({ valid: false, reasonCode: 'no-data' });
  });

  it('is the answer when the replicas could not be counted', () => {
    const life = new Timeline({}, 1);
    life.load(1, 30);
    const answer = life.ask({ readyReplicas: undefined });
    expect(answer).toMatchObject({ valid: false, desired: undefined, reasonCode: 'unknown-replicas' });
  });

  it('is what a sample with an impossible number in it amounts to', () => {
    const life = new Timeline({}, 1);
    const sample = { atMs: START_MS, intervalMs: 1000, concurrency: Number.NaN, requestsPerSecond: 0 };
    expect(life.ask({ samples: [sample, { ...sample, concurrency: -1 }] }).valid).toBe(false);
  });
});

describe('panic', () => {
  it('comes within the panic window, long before the stable window has noticed', () => {
    const life = new Timeline({}, 1);
    life.load(1, 60);
    const surge = life.series(10, 6);
    // Over 6 s: (2 × 10 + 4 × 1) / 6 = 4, (4 × 10 + 2 × 1) / 6 = 7, 10.
    expect(desiredOf(surge)).toEqual([4, 7, 10]);
    expect(codesOf(surge)).toEqual(['panic', 'panic', 'panic']);
    expect(surge.at(-1)?.reason).toBe(
      '10 wanted: panic for 4 s, 10 concurrent requests over 6 s / target 1 per replica; 7 ready',
    );
  });

  it('never lets go of a replica, then ends a stable window after the last crossing', () => {
    const life = new Timeline({}, 1);
    life.load(1, 60);
    life.load(10, 6);
    // At 62 s 4 replicas were needed and 1 was ready: 400 %. At 64 s it was 7 of 4, at 66 s 10 of 7.
    const after = life.series(0, 58);
    expect(after.slice(0, -1).every((decision) => decision.reasonCode === 'panic-hold')).toBe(true);
    expect(desiredOf(after)).toEqual([...Array.from({ length: 28 }, () => 10), 5]);
    expect(life.last?.reasonCode).toBe('scale-down-rate');
  });

  it('says what it holds, since when, and why', () => {
    const life = new Timeline({ targetCapacity: 4 }, 1);
    life.load(1, 60);
    life.load(16, 6);
    expect(life.load(0, 4).reason).toBe(
      'holding 4: 2.43 concurrent requests over 60 s / target 4 per replica would be 1; maxScaleDownRate 2 keeps 2 of 4 ready; panic for 8 s holds 4 (5.33 over 6 s needs 50 % of 4 ready); 4 ready',
    );
  });

  it('starts at a restart that finds more than one replica, and keeps what is there', () => {
    const life = new Timeline({}, 4);
    const first = life.series(0, 60);
    expect(new Set(desiredOf(first))).toEqual(new Set([4]));
    expect(codesOf(first).every((code) => code === 'panic-hold')).toBe(true);
    expect(life.load(0, 4).desired).toBe(2);
  });

  it('holds what a queue asked for while the load was unknown and all replicas were gone', () => {
    const life = new Timeline({ activationScale: 5 }, 2);
    life.frozen = true;
    life.ask();
    life.ready = 0;
    expect(life.ask({ queuedNow: 1 })).toMatchObject({ desired: 5, reasonCode: 'from-zero' });
    life.ready = 5;
    expect(life.load(0, 4)).toMatchObject({ desired: 5, reasonCode: 'panic-hold' });
  });

  it('does not start at a restart that finds one', () => {
    const life = new Timeline({}, 1);
    expect(life.load(0, 2).reasonCode).toBe('idle-window');
  });

  it('takes the stable window where that wants more', () => {
    const life = new Timeline({}, 2);
    life.load(8, 58);
    const last = life.load(0, 6);
    expect(last.desired).toBe(8);
  });
});

describe('rates', () => {
  it('let a count grow by the up rate at most, and at least by one', () => {
    const life = new Timeline({ maxScaleUpRate: 1.1 }, 2);
    expect(life.series(9, 4).map((decision) => decision.desired)).toEqual([3, 4]);
    expect(life.last?.reason).toContain('would be 9; maxScaleUpRate 1.1 allows 4 from 3 ready');
  });

  it('let a count shrink by the down rate at most: 9, 4, 2, 1, 0', () => {
    const life = new Timeline({ stableWindowMs: 2000, scaleToZeroGraceMs: 0 }, 1);
    life.load(9, 12);
    expect(life.ready).toBe(9);
    const falling = life.series(0, 8);
    expect(desiredOf(falling)).toEqual([4, 2, 1, 0]);
    expect(codesOf(falling)).toEqual(['scale-down-rate', 'scale-down-rate', 'scale-down-rate', 'to-zero']);
    expect(falling[0]?.reason).toBe(
      '4 wanted: 0 concurrent requests over 2 s / target 1 per replica would be 0; maxScaleDownRate 2 keeps 4 of 9 ready; 9 ready',
    );
  });
});

describe('bounds', () => {
  it('raise to minReplicas and say so', () => {
    const life = new Timeline({ minReplicas: 2 }, 1);
    expect(life.load(0, 60)).toMatchObject({ desired: 2, reasonCode: 'min-replicas' });
    expect(life.last?.reason).toContain('would be 0');
    expect(life.last?.reason).toContain('minReplicas is 2');
  });

  it('cut to maxReplicas and say so', () => {
    const life = new Timeline({ maxReplicas: 3 }, 1);
    expect(life.load(50, 10)).toMatchObject({ desired: 3, reasonCode: 'max-replicas' });
    expect(life.last?.reason).toMatch(/would be 50; .*maxReplicas is 3; 3 ready$/);
  });

  it('hold minReplicas even while no load is known', () => {
    expect(new Timeline({ minReplicas: 2 }, 0).ask()).toMatchObject({ valid: true, desired: 2 });
  });

  it('start a new revision at its initial scale, until it has had it', () => {
    const life = new Timeline({ initialScale: 3 }, 0);
    life.initialised = false;
    life.frozen = true;
    expect(life.ask()).toMatchObject({ desired: 3, reasonCode: 'initial-scale' });
    life.ready = 2;
    expect(life.load(0, 4)).toMatchObject({ desired: 3, reasonCode: 'initial-scale' });
    life.ready = 3;
    life.load(0, 2);
    life.ready = 1;
    expect(life.load(0, 20)).toMatchObject({ desired: 1, reasonCode: 'idle-window' });
  });

  it('start nothing for a new revision whose initial scale is 0', () => {
    const life = new Timeline({ initialScale: 0 }, 0);
    life.initialised = false;
    expect(life.load(0, 10)).toMatchObject({ desired: 0, reasonCode: 'at-zero' });
  });

  it('raise any count above 0 to the activation scale', () => {
    const life = new Timeline({ activationScale: 4 }, 1);
    expect(life.load(0.5, 4)).toMatchObject({ desired: 4, reasonCode: 'activation-scale' });
  });
});

describe('scale-down delay', () => {
  it('holds the highest count of the last 10 s', () => {
    const life = new Timeline(
      { scaleDownDelayMs: 10_000, stableWindowMs: 6000, panicThresholdPercentage: 1e6 },
      1,
    );
    life.load(4, 12);
    expect(desiredOf(life.series(2, 16))).toEqual([4, 4, 4, 4, 4, 3, 2, 2]);
    expect(life.last?.reasonCode).toBe('target');
  });

  it('is named while it holds', () => {
    const life = new Timeline(
      { scaleDownDelayMs: 10_000, stableWindowMs: 6000, panicThresholdPercentage: 1e6 },
      1,
    );
    life.load(4, 12);
    expect(life.load(2, 8).reason).toBe(
      'holding 4: 2 concurrent requests over 6 s / target 1 per replica would be 2; scaleDownDelay of 10 s holds 4; 4 ready',
    );
  });
});

describe('mode', () => {
  it('is direct while there is room for a burst, by the panic window', () => {
    const life = new Timeline({ targetCapacity: 10, targetBurstCapacity: 5, maxReplicas: 1 }, 1);
    expect(life.load(5, 6).mode).toBe('direct'); // 10 − 5 − 5 = 0
    expect(life.load(6, 6).mode).toBe('proxied'); // −1
  });

  it('is proxied with no replica ready, whatever is wanted', () => {
    const life = new Timeline({ targetBurstCapacity: 0 }, 0);
    expect(life.ask({ queuedNow: 1 })).toMatchObject({ desired: 1, mode: 'proxied' });
    expect(life.load(1, 2)).toMatchObject({ desired: 1, mode: 'direct' });
  });

  it('is always proxied with a target burst capacity of -1', () => {
    expect(new Timeline({ targetBurstCapacity: -1 }, 3).load(1, 6).mode).toBe('proxied');
  });
});

describe('time', () => {
  it('may go back an hour: the windows go on as if it had stood still', () => {
    const life = new Timeline({ panicThresholdPercentage: 1e6 }, 1);
    life.load(4, 60);
    life.nowMs -= 3_600_000;
    expect(life.ask().desired).toBe(4);
    expect(life.load(2, 60).desired).toBe(2);
    expect(life.load(0, 58).desired).toBe(1);
    expect(life.load(0, 2).desired).toBe(0);
  });

  it('may jump: a laptop that slept for 8 hours does not know, then looks anew', () => {
    const life = new Timeline({}, 1);
    life.load(1, 60);
    life.load(0, 30);
    life.silence(8 * 3600);
    expect(life.ask()).toMatchObject({ valid: false, reasonCode: 'no-data' });
    expect(life.load(0, 58)).toMatchObject({ desired: 1, reasonCode: 'idle-window' });
    expect(life.load(0, 2)).toMatchObject({ desired: 0, reasonCode: 'to-zero' });
  });

  it('may be no number at all', () => {
    const life = new Timeline({}, 1);
    life.load(1, 60);
    life.nowMs = Number.NaN;
    expect(life.ask().desired).toBe(1);
  });
});

describe('a change of settings', () => {
  it('takes effect on the data at hand: a shorter window forgets sooner', () => {
    const life = new Timeline({ panicThresholdPercentage: 1e6 }, 1);
    life.load(4, 54);
    life.load(1, 6);
    const shorter = new Timeline({ panicThresholdPercentage: 1e6, stableWindowMs: 6000 }, life.ready);
    shorter.state = life.state;
    shorter.nowMs = life.nowMs;
    expect(life.last?.desired).toBe(4);
    expect(shorter.ask()).toMatchObject({ desired: 2, reasonCode: 'scale-down-rate' });
    expect(shorter.ask().desired).toBe(1);
  });

  it('of the delay forgets what the one before held', () => {
    const short = { stableWindowMs: 2000, panicThresholdPercentage: 1e6 };
    const life = new Timeline({ ...short, scaleDownDelayMs: 60_000 }, 1);
    life.load(9, 4);
    expect(life.load(3, 4)).toMatchObject({ desired: 9, reasonCode: 'scale-down-delay' });
    const without = new Timeline(short, life.ready);
    Object.assign(without, { state: life.state, nowMs: life.nowMs });
    expect(without.load(3, 4).desired).toBe(3);
    Object.assign(life, { state: without.state, nowMs: without.nowMs, ready: 3 });
    expect(life.load(2, 2)).toMatchObject({ desired: 2 });
  });

  it('of the metric starts the windows anew: requests at once are not requests per second', () => {
    const life = new Timeline({}, 1);
    life.load(4, 60);
    const other = new Timeline({ metric: 'rps', targetCapacity: 1 }, life.ready);
    other.state = life.state;
    other.nowMs = life.nowMs;
    expect(other.ask().valid).toBe(false);
  });
});
