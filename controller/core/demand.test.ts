import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { DemandReport, RevisionDemand } from '../../contracts/demand.ts';
import type { StatsReport } from '../../contracts/stats.ts';
import { DemandMerger, demandKey, SILENT_AFTER_MS } from './demand.ts';

const KEY = demandKey('uid', 'r1');
const START_MS = 1_000_000;

function report(
  sequence: number,
  uptimeMs: number,
  load: Partial<RevisionDemand> = {},
  activator = 'a',
): DemandReport {
  return {
    activator,
    sequence,
    uptimeMs,
    revisions: [
      {
        serviceUid: 'uid',
        revision: 'r1',
        requestSeconds: 0,
        requests: 0,
        inFlight: 0,
        queued: 0,
        oldestQueuedMs: 0,
        ...load,
      },
    ],
    coldAnswers: [],
    suspects: [],
  };
}

function stats(sequence: number, uptimeMs: number, requestSeconds: number, proxied: number): StatsReport {
  const load = (value: number) => ({ requestSeconds: value, requests: 0, inFlight: 0 });
  return {
    incarnation: 'i',
    claimId: 'c',
    serviceUid: 'uid',
    revision: 'r1',
    sequence,
    uptimeMs,
    direct: load(requestSeconds),
    proxied: load(proxied),
    residentBytes: 0,
  };
}

/** Request-seconds in the samples that were taken. */
function seconds(merger: DemandMerger): number {
  return merger
    .takeSamples(KEY)
    .reduce((sum, { concurrency, intervalMs }) => sum + (concurrency * intervalMs) / 1000, 0);
}

test('differences of cumulative counters become averages over the time between two reports', () => {
  const merger = new DemandMerger(START_MS);
  merger.report(report(1, 100, { requestSeconds: 0, inFlight: 1 }), START_MS + 100);
  merger.report(report(2, 300, { requestSeconds: 0.5, requests: 8, inFlight: 3 }), START_MS + 300);
  const [, sample] = merger.takeSamples(KEY);
  expect(sample).toEqual({ atMs: START_MS + 300, intervalMs: 200, concurrency: 2.5, requestsPerSecond: 40 });
  expect(merger.takeSamples(KEY)).toEqual([]);
});

test('what began and ended between two reports is in the samples though nothing is there at either', () => {
  const merger = new DemandMerger(START_MS);
  merger.report(report(1, 100), START_MS + 100);
  merger.report(report(2, 200, { requestSeconds: 0.05, requests: 1 }), START_MS + 200);
  expect(seconds(merger)).toBeCloseTo(0.05, 9);
  expect(merger.now(KEY, START_MS + 200)).toMatchObject({ queued: 0, inFlight: 0 });
});

test('a report that comes twice or late changes nothing', () => {
  const merger = new DemandMerger(START_MS);
  expect(merger.report(report(2, 200, { requestSeconds: 1, queued: 2 }), START_MS + 200)).toBe(true);
  expect(merger.report(report(2, 200, { requestSeconds: 1, queued: 2 }), START_MS + 210)).toBe(false);
  expect(merger.report(report(1, 100, { requestSeconds: 0, queued: 9 }), START_MS + 220)).toBe(false);
  expect(seconds(merger)).toBeCloseTo(1, 9);
  expect(merger.now(KEY, START_MS + 220).queued).toBe(2);
});

test('a report that was lost is made up for by the next one', () => {
  const merger = new DemandMerger(START_MS);
  merger.report(report(1, 1_000, { inFlight: 1 }), START_MS + 1_000);
  merger.report(report(3, 3_000, { requestSeconds: 2, inFlight: 1 }), START_MS + 3_000);
  expect(merger.takeSamples(KEY)[1]).toMatchObject({ concurrency: 1, intervalMs: 2_000 });
});

test('several activators add up', () => {
  const merger = new DemandMerger(START_MS);
  merger.report(report(1, 100, { requestSeconds: 0.1, queued: 1, oldestQueuedMs: 40 }, 'a'), START_MS + 100);
  merger.report(
    report(1, 100, { requestSeconds: 0.2, queued: 2, inFlight: 3, oldestQueuedMs: 70 }, 'b'),
    START_MS + 100,
  );
  expect(merger.now(KEY, START_MS + 110)).toMatchObject({ queued: 3, inFlight: 3, oldestQueuedMs: 80 });
  expect(seconds(merger)).toBeCloseTo(0.3, 9);
});

test('load that begins after a long silence is not spread over the silence', () => {
  const merger = new DemandMerger(START_MS);
  merger.report(report(1, 100), START_MS + 100);
  merger.takeSamples(KEY);
  merger.report(report(2, 3_600_000, { requestSeconds: 10, inFlight: 10 }), START_MS + 3_600_000);
  expect(merger.takeSamples(KEY)).toMatchObject([{ intervalMs: 1_000, concurrency: 10 }]);
});

test('an activator that is older than the controller begins with a base line', () => {
  const merger = new DemandMerger(START_MS);
  merger.report(
    report(900, 5_000_000, { requestSeconds: 12_345, requests: 99, inFlight: 2 }),
    START_MS + 100,
  );
  expect(merger.takeSamples(KEY)).toEqual([]);
  expect(merger.now(KEY, START_MS + 100).inFlight).toBe(2);
  merger.report(report(901, 5_000_100, { requestSeconds: 12_345.2, inFlight: 2 }), START_MS + 200);
  expect(seconds(merger)).toBeCloseTo(0.2, 6);
});

test('a restarted activator begins at zero under its new name, and the old one stops to count', () => {
  const merger = new DemandMerger(START_MS);
  merger.report(report(1, 100, { requestSeconds: 5, inFlight: 4 }, 'before'), START_MS + 100);
  seconds(merger);
  merger.report(report(1, 50, { requestSeconds: 0.1, inFlight: 2 }, 'after'), START_MS + 1_000);
  expect(seconds(merger)).toBeCloseTo(0.1, 9);
  expect(merger.now(KEY, START_MS + 1_000).inFlight).toBe(6);
  expect(merger.now(KEY, START_MS + 101 + SILENT_AFTER_MS).inFlight).toBe(2);
});

test('an activator that falls silent with requests is doubted after a second and given up after three', () => {
  const merger = new DemandMerger(START_MS);
  merger.report(report(1, 100, { queued: 1 }), START_MS);
  expect(merger.now(KEY, START_MS + 900)).toMatchObject({ queued: 1, isUncertain: false });
  expect(merger.now(KEY, START_MS + 1_100)).toMatchObject({ queued: 1, isUncertain: true });
  expect(merger.now(KEY, START_MS + 3_001)).toMatchObject({ queued: 0, isUncertain: false });
});

test('one that falls silent without requests is simply idle', () => {
  const merger = new DemandMerger(START_MS);
  merger.report(report(1, 100), START_MS);
  expect(merger.now(KEY, START_MS + 2_000)).toMatchObject({ queued: 0, isUncertain: false });
});

test('a revision that a report leaves out has nothing there any more', () => {
  const merger = new DemandMerger(START_MS);
  merger.report(report(1, 100, { inFlight: 3 }), START_MS);
  merger.report({ ...report(2, 200), revisions: [] }, START_MS + 100);
  expect(merger.now(KEY, START_MS + 100).inFlight).toBe(0);
});

test("of runtimes' stats only what no activator has seen counts", () => {
  const merger = new DemandMerger(START_MS);
  merger.stats(stats(1, 1_000, 0.5, 40), START_MS + 1_000);
  expect(seconds(merger)).toBeCloseTo(0.5, 9);
  merger.stats(stats(2, 2_000, 0.5, 90), START_MS + 2_000);
  expect(seconds(merger)).toBe(0);
});

test('a claim that has ended, a revision that is gone and a source silent for an hour are forgotten', () => {
  const merger = new DemandMerger(START_MS);
  merger.stats(stats(1, 1_000, 0.5, 0), START_MS);
  merger.report(report(1, 100, { requests: 7 }), START_MS);
  merger.forgetClaim('c');
  expect(merger.totalRequests(KEY)).toBe(7);
  merger.forget(() => true, START_MS + 3_600_001);
  expect(merger.totalRequests(KEY)).toBe(0);
  merger.report(report(1, 100, { requests: 7 }, 'b'), START_MS + 3_600_002);
  merger.forget(() => false, START_MS + 3_600_003);
  expect(merger.totalRequests(KEY)).toBe(0);
});

test('property: whatever is lost, doubled or late, the sum is what the newest report of each activator says', () => {
  const delivery = fc.array(fc.tuple(fc.constantFrom('a', 'b', 'c'), fc.nat(19)), { maxLength: 60 });
  fc.assert(
    fc.property(fc.array(fc.nat(50), { minLength: 20, maxLength: 20 }), delivery, (increments, delivered) => {
      const totals: number[] = [];
      for (const increment of increments) totals.push((totals.at(-1) ?? 0) + increment / 10);
      const merger = new DemandMerger(START_MS);
      const newest = new Map<string, number>();
      let nowMs = START_MS + 10_000_000;
      for (const [activator, index] of delivered) {
        nowMs += 10;
        const load = { requestSeconds: totals[index] ?? 0, requests: index, inFlight: 1 };
        merger.report(report(index + 1, (index + 1) * 100, load, activator), nowMs);
        newest.set(activator, Math.max(newest.get(activator) ?? -1, index));
      }
      let expected = 0;
      let requests = 0;
      for (const index of newest.values()) {
        expected += totals[index] ?? 0;
        requests += index;
      }
      expect(seconds(merger)).toBeCloseTo(expected, 6);
      expect(merger.totalRequests(KEY)).toBe(requests);
    }),
  );
});

test('requests at an endpoint that left are known from the reports that came after it had', () => {
  const merger = new DemandMerger(START_MS);
  const at = (sequence: number, load: Partial<RevisionDemand>): boolean =>
    merger.report(report(sequence, sequence * 100, load), START_MS + sequence * 100);
  const mayHave = (leftAtMs: number, nowMs: number): boolean =>
    merger.mayHaveRequests('x', 'uid/r1', START_MS + leftAtMs, START_MS + nowMs);
  expect(mayHave(0, 100)).toBe(false);
  at(1, { inFlight: 2, leaving: [] });
  // It was told before the endpoint had left, so it says nothing of that.
  expect(mayHave(100, 150)).toBe(true);
  at(2, { inFlight: 2, leaving: ['x'] });
  expect(mayHave(100, 250)).toBe(true);
  at(3, { inFlight: 2, leaving: ['y'] });
  expect(mayHave(100, 350)).toBe(false);
  at(4, { inFlight: 2 });
  expect(mayHave(100, 450)).toBe(true);
  expect(mayHave(100, 400 + SILENT_AFTER_MS + 1)).toBe(false);
  at(5, { inFlight: 0 });
  expect(mayHave(100, 550)).toBe(false);
});
