import { describe, expect, it } from 'vitest';
import { desiredOf, Timeline } from './testing/timeline.ts';

describe('to zero', () => {
  it('goes after a stable window when requests went through an activator anyway', () => {
    const life = new Timeline({}, 1);
    life.load(1, 60);
    const after = life.series(0, 60);
    expect(
      desiredOf(after)
        .slice(0, -1)
        .every((desired) => desired === 1),
    ).toBe(true);
    expect(after.at(-1)).toMatchObject({ desired: 0, reasonCode: 'to-zero', mode: 'proxied' });
    expect(after.at(-1)?.reason).toBe('0 wanted: idle for 60 s, activator answered, grace of 30 s over');
  });

  it('first puts the activator in the path, then waits for its proof, then for the grace', () => {
    const life = new Timeline({ targetBurstCapacity: 0 }, 1);
    life.activatorProved = false;
    expect(life.load(1, 60).mode).toBe('direct');
    expect(life.load(0, 58)).toMatchObject({ desired: 1, mode: 'direct', reasonCode: 'target' });
    expect(life.load(0, 2)).toMatchObject({ desired: 1, mode: 'proxied', reasonCode: 'activator-unproved' });
    expect(life.load(0, 10)).toMatchObject({ desired: 1, mode: 'proxied', reasonCode: 'activator-unproved' });
    life.activatorProved = true;
    expect(life.load(0, 2)).toMatchObject({ desired: 1, mode: 'proxied', reasonCode: 'grace' });
    expect(life.last?.reason).toBe('holding 1: idle for 72 s, activator answered, grace of 30 s; 18 s left');
    expect(life.load(0, 16).reasonCode).toBe('grace');
    expect(life.load(0, 2)).toMatchObject({ desired: 0, reasonCode: 'to-zero' });
  });

  it('starts over when a request comes during the grace', () => {
    const life = new Timeline({ targetBurstCapacity: 0 }, 1);
    life.load(1, 60);
    expect(life.load(0, 70).reasonCode).toBe('grace');
    expect(life.load(1, 2)).toMatchObject({ desired: 1, mode: 'direct', reasonCode: 'target' });
    expect(life.load(0, 88).reasonCode).toBe('grace');
    expect(life.load(0, 2).reasonCode).toBe('to-zero');
  });

  it('keeps the last replica for the keep-alive', () => {
    const life = new Timeline({ keepAliveMs: 300_000 }, 1);
    life.load(1, 10);
    expect(life.load(0, 298)).toMatchObject({ desired: 1, reasonCode: 'keep-alive' });
    expect(life.last?.reason).toBe('holding 1: idle for 298 s, keep-alive of 300 s; 2 s left');
    expect(life.load(0, 2)).toMatchObject({ desired: 0, reasonCode: 'to-zero' });
  });

  it('keeps the last replica for the retention', () => {
    const life = new Timeline({ scaleToZeroRetentionMs: 90_000 }, 1);
    life.load(1, 10);
    expect(life.load(0, 148)).toMatchObject({ desired: 1, reasonCode: 'retention' });
    expect(life.load(0, 2)).toMatchObject({ desired: 0, reasonCode: 'to-zero' });
  });

  it('does not go while a request is in flight or queued, whatever the averages say', () => {
    const life = new Timeline({}, 1);
    life.load(0, 58);
    life.nowMs += 4000;
    expect(life.ask({ inFlightNow: 1 })).toMatchObject({ desired: 1, reasonCode: 'idle-window' });
    life.nowMs += 30_000;
    expect(life.ask({ queuedNow: 1 }).desired).toBe(1);
  });

  it('stays at zero while the last replica drains, though the proof is gone', () => {
    const life = new Timeline({}, 1);
    life.load(0, 60);
    expect(life.last?.desired).toBe(0);
    life.frozen = true;
    life.ready = 1;
    life.activatorProved = false;
    expect(life.load(0, 10)).toMatchObject({ desired: 0, reasonCode: 'at-zero' });
  });
});

describe('at zero', () => {
  it('stays, and says since when', () => {
    const life = new Timeline({}, 1);
    life.load(1, 10);
    life.load(0, 60);
    life.silence(240);
    expect(life.ask()).toMatchObject({ valid: true, desired: 0, reason: '0 wanted: no request for 300 s' });
  });

  it('starts nothing for the idle revisions that a restarted controller finds', () => {
    const life = new Timeline({}, 0);
    expect(life.ask().valid).toBe(false);
    expect(life.load(0, 4)).toMatchObject({ desired: 0, reason: '0 wanted: no request has been seen' });
  });

  it('is what it is, once the replicas could be counted', () => {
    const life = new Timeline({}, 0);
    life.nowMs += 1000;
    const samples = [{ atMs: life.nowMs, intervalMs: 1000, concurrency: 0, requestsPerSecond: 0 }];
    expect(life.ask({ samples, readyReplicas: undefined }).valid).toBe(false);
    expect(life.ask()).toMatchObject({ desired: 0, reasonCode: 'at-zero' });
  });

  it('does not take a starting replica away after a restart', () => {
    const life = new Timeline({}, 0);
    life.frozen = true;
    life.nowMs += 1000;
    const samples = [{ atMs: life.nowMs, intervalMs: 1000, concurrency: 0, requestsPerSecond: 0 }];
    expect(life.ask({ samples, startingReplicas: 1 })).toMatchObject({
      desired: 1,
      reasonCode: 'idle-window',
    });
  });

  it('leaves at once for a queued request, before any load has been reported', () => {
    const life = new Timeline({}, 1);
    life.load(0, 60);
    life.silence(3600);
    expect(life.ask({ queuedNow: 3 })).toMatchObject({ desired: 1, reasonCode: 'from-zero' });
    expect(life.last?.reason).toBe('1 wanted: 3 queued requests; 0 ready');
  });

  it('leaves at once right after it got there, while the window still says 0', () => {
    const life = new Timeline({ activationScale: 3 }, 1);
    life.load(0, 60);
    expect(life.last?.reasonCode).toBe('to-zero');
    life.nowMs += 100;
    expect(life.ask({ queuedNow: 1 })).toMatchObject({ desired: 3, reasonCode: 'from-zero' });
    expect(life.last?.reason).toBe('3 wanted: 1 queued request; 0 ready');
  });

  it('gets back what was wanted before, when all replicas are lost and the load is not known', () => {
    const life = new Timeline({}, 3);
    life.load(3, 10);
    life.silence(120);
    life.ready = 0;
    expect(life.ask({ queuedNow: 1 })).toMatchObject({ desired: 3, reasonCode: 'from-zero' });
  });

  it('leaves for the activation scale where there is one, and not above the maximum', () => {
    expect(new Timeline({ activationScale: 5 }).ask({ queuedNow: 1 }).desired).toBe(5);
    expect(new Timeline({ activationScale: 5, maxReplicas: 2 }).ask({ queuedNow: 1 })).toMatchObject({
      desired: 2,
      reasonCode: 'max-replicas',
    });
  });

  it('leaves on the load alone when the request is over before the look', () => {
    const life = new Timeline({}, 0);
    life.load(0, 4);
    expect(life.load(1, 1).desired).toBe(1);
  });

  it('sees a burst at its full height: the silence before it does not water it down', () => {
    const life = new Timeline({}, 1);
    life.load(0, 60);
    life.load(0, 120); // reported all the while
    expect(life.load(50, 1).desired).toBe(50);
  });
});
