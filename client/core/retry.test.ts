import fc from 'fast-check';
import { expect, test } from 'vitest';
import { DEFAULT_RETRY, parseRetryAfter, retryDelayMs } from './retry.ts';

const delay = (status: number | undefined, retryAfterMs?: number, attempt = 1, leftMs = 60_000) =>
  retryDelayMs(DEFAULT_RETRY, { attempt, status, retryAfterMs }, 0, leftMs);

test('a busy server is asked again when it says so, and no earlier', () => {
  expect(delay(503, 1000)).toBe(1000);
  expect(delay(429, 2000)).toBe(2000);
  expect(delay(503)).toBeUndefined();
});

test('a connection that could not be made, and a replica that broke, are tried again with growing waits', () => {
  expect([1, 2, 3].map((attempt) => delay(undefined, undefined, attempt))).toEqual([100, 200, 400]);
  expect(delay(502)).toBe(100);
  expect(delay(undefined, undefined, 4)).toBeUndefined();
});

test("a caller's mistake is not repeated, nor what failed within the model", () => {
  for (const status of [400, 404, 413, 421, 500, 501, 504]) expect(delay(status, 1000)).toBeUndefined();
});

test('no wait outlasts the deadline or the policy, nor is shorter than what the server asks for', () => {
  expect(delay(503, 1000, 1, 900)).toBeUndefined();
  expect(delay(503, 60_000)).toBeUndefined();
  fc.assert(
    fc.property(fc.nat(10_000), fc.double({ min: 0, max: 1, noNaN: true }), (retryAfterMs, random) => {
      const failed = { attempt: 1, status: 503, retryAfterMs };
      const waitMs = retryDelayMs(DEFAULT_RETRY, failed, random, Number.POSITIVE_INFINITY);
      expect(waitMs).toBeGreaterThanOrEqual(retryAfterMs);
      expect(waitMs).toBeLessThanOrEqual(DEFAULT_RETRY.maxWaitMs);
    }),
  );
});

test('Retry-After is seconds or a date', () => {
  const nowMs = Date.parse('Tue, 24 Nov 2026 12:00:00 GMT');
  expect(parseRetryAfter('3', nowMs)).toBe(3000);
  expect(parseRetryAfter('Tue, 24 Nov 2026 12:00:05 GMT', nowMs)).toBe(5000);
  expect(parseRetryAfter('Tue, 24 Nov 2026 11:00:00 GMT', nowMs)).toBe(0);
  for (const text of [null, undefined, '', 'soon', '-1'])
    expect(parseRetryAfter(text, nowMs)).toBeUndefined();
});
