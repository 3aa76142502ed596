import fc from 'fast-check';
import { expect, test } from 'vitest';
import { RequestLoad } from './serving-load.ts';

test('requests are integrated over time, direct and proxied apart', () => {
  let nowMs = 1000;
  const load = new RequestLoad(() => nowMs);
  load.begin('direct');
  nowMs += 50;
  load.begin('proxied');
  load.begin('proxied');
  nowMs += 100;
  load.end('direct');
  load.end('proxied');
  nowMs += 200;
  expect(load.snapshot()).toEqual({
    direct: { requestSeconds: 0.15, requests: 1, inFlight: 0 },
    proxied: { requestSeconds: 0.4, requests: 2, inFlight: 1 },
  });
});

test('a reset begins anew and keeps what is in flight', () => {
  let nowMs = 0;
  const load = new RequestLoad(() => nowMs);
  load.begin('direct');
  nowMs = 100;
  load.reset();
  nowMs = 150;
  load.end('direct');
  expect(load.snapshot().direct).toEqual({ requestSeconds: 0.05, requests: 1, inFlight: 0 });
});

test('idle is true at once when nothing is in flight, true when the last request ends, false at the deadline', async () => {
  const load = new RequestLoad(() => performance.now());
  expect(await load.idle(0)).toBe(true);
  load.begin('direct');
  expect(await load.idle(5)).toBe(false);
  const idle = load.idle(60_000);
  load.end('direct');
  expect(await idle).toBe(true);
});

test('the integral is the sum of the times that each request was in flight', () => {
  fc.assert(
    fc.property(
      fc.array(fc.record({ startMs: fc.nat(1000), lastsMs: fc.nat(1000) }), { maxLength: 20 }),
      (requests) => {
        const events = requests
          .flatMap(({ startMs, lastsMs }) => [
            { atMs: startMs, step: 1 },
            { atMs: startMs + lastsMs, step: -1 },
          ])
          .toSorted((a, b) => a.atMs - b.atMs || b.step - a.step);
        let nowMs = 0;
        const load = new RequestLoad(() => nowMs);
        for (const { atMs, step } of events) {
          nowMs = atMs;
          if (step === 1) load.begin('proxied');
          else load.end('proxied');
        }
        const wholeMs = requests.reduce((sum, { lastsMs }) => sum + lastsMs, 0);
        const { requestSeconds, requests: count, inFlight } = load.snapshot().proxied;
        expect(requestSeconds).toBeCloseTo(wholeMs / 1000, 9);
        expect([count, inFlight]).toEqual([requests.length, 0]);
      },
    ),
  );
});
