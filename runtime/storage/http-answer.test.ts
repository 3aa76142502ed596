import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  contentRange,
  preconditions,
  readRangeAnswer,
  retryAfterSeconds,
  statusError,
  versionOf,
} from './http-answer.ts';
import { networkError } from './http-client.ts';
import { backoffMs } from './retry.ts';

const range = { first: 100, last: 199 };
const file = { path: 'm', sizeBytes: 1000, version: '"a"' };
const ok = { etag: '"a"', 'content-range': 'bytes 100-199/1000' };

describe('the answer to a range request', () => {
  test('is the range, or the whole file', () => {
    expect(readRangeAnswer({ status: 206, headers: ok }, file, range, 'it')).toEqual({
      kind: 'range',
      totalBytes: 1000,
      version: '"a"',
    });
    expect(
      readRangeAnswer({ status: 200, headers: { 'content-length': '1000' } }, file, range, 'it'),
    ).toMatchObject({
      kind: 'whole',
      totalBytes: 1000,
    });
  });

  test('of other content is a change, however it shows', () => {
    for (const answer of [
      { status: 412, headers: {} },
      { status: 416, headers: {} },
      { status: 206, headers: { ...ok, etag: '"b"' } },
      { status: 206, headers: { ...ok, 'content-range': 'bytes 100-199/999' } },
      { status: 200, headers: { 'content-length': '999' } },
    ]) {
      expect(() => readRangeAnswer(answer, file, range, 'it')).toThrow(
        expect.objectContaining({ code: 'model-changed' }),
      );
    }
  });

  test('may call an ETag weak, or show a date beside another kind of version', () => {
    const weak = { ...ok, etag: 'W/"a"' };
    expect(readRangeAnswer({ status: 206, headers: weak }, file, range, 'it').kind).toBe('range');
    const dated = { 'content-range': 'bytes 100-199/1000', 'last-modified': 'Tue, 24 Nov 2026 03:00:00 GMT' };
    expect(readRangeAnswer({ status: 206, headers: dated }, file, range, 'it').kind).toBe('range');
    const since = { ...file, version: 'last-modified:Tue, 24 Nov 2026 02:00:00 GMT' };
    expect(() => readRangeAnswer({ status: 206, headers: dated }, since, range, 'it')).toThrow('has changed');
  });

  test.each(['bytes 101-199/1000', 'bytes 100-200/1000', 'bytes 0-99/1000', 'items 100-199/1000', undefined])(
    'with Content-Range %s is an error',
    (text) => {
      const headers = text === undefined ? {} : { 'content-range': text };
      expect(() => readRangeAnswer({ status: 206, headers }, file, range, 'it')).toThrow(
        expect.objectContaining({ code: 'model-unreachable' }),
      );
    },
  );
});

test('Content-Range round-trips and nothing malformed is taken', () => {
  fc.assert(
    fc.property(fc.nat(), fc.nat(), fc.nat(), (first, length, more) => {
      const last = first + length;
      const total = last + 1 + more;
      expect(contentRange(`bytes ${first}-${last}/${total}`)).toEqual({ first, last, total });
      expect(contentRange(`bytes ${last + 1}-${first}/${total}`)).toBeUndefined();
    }),
  );
  expect(contentRange('bytes 0-1/*')).toEqual({ first: 0, last: 1, total: undefined });
  expect(contentRange('bytes */10')).toBeUndefined();
});

test('the version is the ETag, else the date; only a strong ETag becomes If-Match', () => {
  expect(versionOf({ etag: '"a"', 'last-modified': 'x' })).toBe('"a"');
  expect(versionOf({ 'last-modified': 'x' })).toBe('last-modified:x');
  expect(versionOf({})).toBeUndefined();
  expect(preconditions('"a"')).toEqual({ 'if-match': '"a"' });
  expect(preconditions('W/"a"')).toEqual({});
  expect(preconditions('last-modified:x')).toEqual({});
  expect(preconditions(undefined)).toEqual({});
});

test('Retry-After is read as seconds or as a date', () => {
  const now = Date.UTC(2026, 10, 24, 3, 0, 0);
  expect(retryAfterSeconds('7', now)).toBe(7);
  expect(retryAfterSeconds('Tue, 24 Nov 2026 03:00:05 GMT', now)).toBe(5);
  expect(retryAfterSeconds('Tue, 24 Nov 2026 02:00:00 GMT', now)).toBe(0);
  expect(retryAfterSeconds('soon', now)).toBeUndefined();
  expect(retryAfterSeconds(undefined, now)).toBeUndefined();
});

test.each([
  [404, 'model-not-found'],
  [410, 'model-not-found'],
  [401, 'model-forbidden'],
  [403, 'model-forbidden'],
  [429, 'model-unreachable'],
  [500, 'model-unreachable'],
  [418, 'model-unreachable'],
])('status %i is %s', (status, code) => {
  expect(statusError(status, {}, 'it')).toMatchObject({ code });
});

test('a wait before a retry is as long as asked for, else random below a doubling bound, and never long', () => {
  expect(backoffMs(1, { backoffMs: 100, retryAfterSeconds: 3, random: 0 })).toBe(3_000);
  expect(backoffMs(1, { backoffMs: 100, retryAfterSeconds: 3_600, random: 0 })).toBe(30_000);
  expect(backoffMs(3, { backoffMs: 100, random: 0.5 })).toBe(200);
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 60 }),
      fc.double({ min: 0, max: 0.999, noNaN: true }),
      (attempt, random) => {
        const wait = backoffMs(attempt, { backoffMs: 100, random });
        expect(wait).toBeGreaterThanOrEqual(0);
        expect(wait).toBeLessThanOrEqual(Math.min(5_000, 100 * 2 ** (attempt - 1)));
      },
    ),
  );
});

test('faults of the network are told apart, and only those of TLS are final', () => {
  const fault = (code: string) => networkError(Object.assign(new Error(code), { code }), 'host:1', 'it');
  expect(fault('ENOTFOUND')).toMatchObject({
    retryable: true,
    message: expect.stringContaining('cannot be resolved'),
  });
  expect(fault('ECONNREFUSED')).toMatchObject({
    retryable: true,
    message: expect.stringContaining('refuses'),
  });
  expect(fault('ECONNRESET')).toMatchObject({
    retryable: true,
    message: expect.stringContaining('broke (ECONNRESET)'),
  });
  for (const code of [
    'DEPTH_ZERO_SELF_SIGNED_CERT',
    'CERT_HAS_EXPIRED',
    'ERR_TLS_CERT_ALTNAME_INVALID',
    'EPROTO',
  ]) {
    expect(fault(code)).toMatchObject({
      code: 'model-unreachable',
      retryable: false,
      message: expect.stringContaining('NODE_EXTRA_CA_CERTS'),
    });
  }
});
