import { expect, test } from 'vitest';
import type { StatsReport } from '../../contracts/stats.ts';
import { DIRECT_AFTER_MS } from '../core/direct.ts';
import { resolvedService } from '../core/testing/resolved-service.ts';
import { claimToken } from './claim-token.ts';
import { EngineBench } from './testing/engine-bench.ts';

const UID = 'uid-ocr';

/** A platform that may lead callers to replicas, and a service with one that takes 4 at once and keeps room for 2. */
async function withService(scaling: object = {}): Promise<EngineBench> {
  const bench = new EngineBench({}, { mayBeDirect: true });
  await bench.warm();
  bench.world.apply(
    resolvedService('ocr', {
      predictor: { minReplicas: 1 },
      scaling: { burstCapacity: 2, stableWindow: '6s', ...scaling },
    }),
  );
  await bench.clock.until(() => bench.endpoints(UID).length === 1);
  return bench;
}

const sequences = new WeakMap<EngineBench, number>();

/** Every ready replica reports so many requests that came straight to it. */
function stats(bench: EngineBench, inFlight: number, capacity?: number): void {
  const sequence = (sequences.get(bench) ?? 0) + 1;
  sequences.set(bench, sequence);
  const idle = { requestSeconds: 0, requests: 0, inFlight: 0 };
  for (const { phase, claimId, owner, id } of bench.controller.context.records.values()) {
    if (phase !== 'ready' || claimId === undefined || owner === undefined) continue;
    const report: StatsReport = {
      incarnation: id,
      claimId,
      ...owner,
      sequence,
      uptimeMs: sequence * 1_000,
      direct: { requestSeconds: sequence * inFlight, requests: sequence, inFlight },
      proxied: idle,
      residentBytes: 0,
      ...(capacity !== undefined && { capacity }),
    };
    expect(bench.controller.stats(report, claimToken('secret', claimId))).toBe(true);
  }
}

async function reportFor(bench: EngineBench, durationMs: number, inFlight = 1): Promise<void> {
  for (let ms = 0; ms < durationMs; ms += 1_000) {
    stats(bench, inFlight);
    await bench.clock.advance(1_000);
  }
}

/** What was done for callers, in order. */
const steering = (bench: EngineBench): string[] =>
  bench.world.calls.filter((call) => /^(welcome|lead|send-away|drain) /.test(call));
const led = (bench: EngineBench): readonly string[] => bench.world.led.get(UID) ?? [];

async function direct(bench: EngineBench): Promise<string> {
  await reportFor(bench, DIRECT_AFTER_MS + 4_000);
  const [id = ''] = led(bench);
  expect(bench.endpoints(UID)).toContain(id);
  return id;
}

test('a replica that reports that it takes more at once is sent more from then on, and the autoscaler reckons with it', async () => {
  const bench = await withService();
  const before = bench.route(UID).revisions[0]?.endpoints[0]?.capacity;
  stats(bench, 0, 32);
  await bench.clock.settle();
  expect(bench.route(UID).revisions[0]?.endpoints[0]?.capacity).toBe(32);
  expect(before).not.toBe(32);
  const [runtime] = bench.controller.context.services.get(UID)?.runtimes.values() ?? [];
  expect(runtime?.capacity).toBe(32);
  // What the platform saw when it began is older.
  await bench.clock.advance(5_000);
  stats(bench, 0);
  await bench.clock.settle();
  expect(bench.route(UID).revisions[0]?.endpoints[0]?.capacity).toBe(32);
});

test('with headroom for ten seconds callers are led to the replica, which has been told to welcome them', async () => {
  const bench = await withService();
  await reportFor(bench, DIRECT_AFTER_MS - 2_000);
  expect(led(bench)).toEqual([]);
  const id = await direct(bench);
  expect(steering(bench)).toEqual([`welcome ${id}`, `lead ${UID} ${id}`]);
  expect(bench.route(UID).directHosts).toEqual(['ocr.default']);
  expect(bench.world.statuses.get(UID)?.scaling?.path).toBe('direct');
});

test('a runtime that has not reported its load gets no callers of its own', async () => {
  const bench = await withService();
  await bench.clock.advance(DIRECT_AFTER_MS * 3);
  expect(led(bench)).toEqual([]);
});

test('where the operator does not want it, nobody is led to a replica', async () => {
  const bench = new EngineBench();
  await bench.warm();
  bench.world.apply(resolvedService('ocr', { predictor: { minReplicas: 1 }, scaling: { burstCapacity: 0 } }));
  await bench.clock.until(() => bench.endpoints(UID).length === 1);
  await reportFor(bench, DIRECT_AFTER_MS * 3);
  expect(led(bench)).toEqual([]);
});

test('when headroom shrinks callers go through activators again, at the replica’s next report', async () => {
  const bench = await withService();
  const id = await direct(bench);
  stats(bench, 3);
  await bench.clock.settle();
  expect(led(bench)).toEqual([]);
  expect(steering(bench).slice(-2)).toEqual([`lead ${UID}`, `send-away ${id}`]);
  expect(bench.route(UID).directHosts).toBeUndefined();
  // The replica serves on.
  expect(bench.endpoints(UID)).toEqual([id]);
});

test('a service that scales to zero goes back to activators before its last replica leaves', async () => {
  const bench = await withService();
  const id = await direct(bench);
  bench.world.apply(
    resolvedService('ocr', {
      predictor: { minReplicas: 0 },
      scaling: { burstCapacity: 2, stableWindow: '6s', scaleToZeroGracePeriod: '0s' },
    }),
  );
  await bench.clock.until(() => {
    return bench.world.calls.includes(`drain ${id}`);
  });
  expect(steering(bench).slice(-3)).toEqual([`lead ${UID}`, `send-away ${id}`, `drain ${id}`]);
  expect(led(bench)).toEqual([]);
});

test('a replica that leaves keeps its callers for the time that they need to go', async () => {
  const bench = await withService();
  const id = await direct(bench);
  bench.world.delete(UID);
  const fromMs = bench.clock.nowMs();
  await bench.clock.until(() => bench.world.calls.includes(`drain ${id}`));
  expect(bench.clock.nowMs() - fromMs).toBeGreaterThanOrEqual(5_000);
});

test('EndpointSlices that cannot be written keep a replica from leaving for five seconds and no longer', async () => {
  const bench = await withService();
  const id = await direct(bench);
  bench.world.failing.push('lead');
  bench.world.delete(UID);
  await bench.clock.until(() => bench.world.calls.includes(`drain ${id}`), 20_000);
});

test('a canary brings callers back: only an activator shares requests out', async () => {
  const bench = await withService();
  await direct(bench);
  bench.world.apply(
    resolvedService('ocr', {
      predictor: { minReplicas: 1, canaryTrafficPercent: 10 },
      uri: 'file:/models/other',
      scaling: { burstCapacity: 2, stableWindow: '6s' },
      generation: 2,
    }),
  );
  await bench.clock.until(() => bench.endpoints(UID).length === 2);
  await reportFor(bench, DIRECT_AFTER_MS * 2);
  expect(led(bench)).toEqual([]);
});
