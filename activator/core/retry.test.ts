import { expect, test } from 'vitest';
import { type AttemptEnd, afterAttempt, type RetryFacts } from './retry.ts';

function facts(end: AttemptEnd, changes: Partial<RetryFacts> = {}): RetryFacts {
  return {
    end,
    method: 'POST',
    inference: false,
    retryAll: false,
    bodyHeld: true,
    unsentRetries: 0,
    sentRetries: 0,
    staleRetries: 0,
    ...changes,
  };
}

test.each(['connect', 'refused', 'misdirected'] as const)(
  '%s: elsewhere, whatever the call, but not for ever',
  (end) => {
    expect(afterAttempt(facts(end))).toBe('elsewhere');
    expect(afterAttempt(facts(end, { unsentRetries: 5, sentRetries: 1 }))).toBe('elsewhere');
    expect(afterAttempt(facts(end, { unsentRetries: 6 }))).toBe('no');
    expect(afterAttempt(facts(end, { bodyHeld: false }))).toBe('no');
  },
);

test('broken: elsewhere once, for inference and services that opted in', () => {
  expect(afterAttempt(facts('broken'))).toBe('no');
  expect(afterAttempt(facts('broken', { method: 'GET' }))).toBe('no');
  expect(afterAttempt(facts('broken', { inference: true }))).toBe('elsewhere');
  expect(afterAttempt(facts('broken', { retryAll: true }))).toBe('elsewhere');
  expect(afterAttempt(facts('broken', { inference: true, sentRetries: 1 }))).toBe('no');
  expect(afterAttempt(facts('broken', { inference: true, bodyHeld: false }))).toBe('no');
});

test('stale: here once, for what may be sent twice', () => {
  expect(afterAttempt(facts('stale'))).toBe('no');
  expect(afterAttempt(facts('stale', { method: 'GET' }))).toBe('here');
  expect(afterAttempt(facts('stale', { inference: true }))).toBe('here');
  expect(afterAttempt(facts('stale', { method: 'GET', staleRetries: 1 }))).toBe('no');
  // A replica that dies closes its kept connections first and resets the new one after that.
  expect(afterAttempt(facts('broken', { inference: true, staleRetries: 1 }))).toBe('elsewhere');
});
