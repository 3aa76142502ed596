import { expect, test } from 'vitest';
import {
  afterRead,
  afterTime,
  afterWrite,
  type ElectionState,
  intentOf,
  type Lease,
  leads,
  microTime,
  NOT_STARTED,
  released,
} from './lease-core.ts';

const rules = { identity: 'me', leaseDurationMs: 5_000, renewDeadlineMs: 4_000, retryMs: 1_000 };
const START_MS = 1_800_000_000_000;

const leaseOf = (holderIdentity: string, leaseTransitions: number, renewals = 0): Lease => ({
  metadata: { name: 'x', resourceVersion: '1' },
  spec: {
    holderIdentity,
    leaseTransitions,
    leaseDurationSeconds: 5,
    renewTime: microTime(START_MS + renewals * 1_000),
  },
});
const seen = (lease: Lease | undefined, atMs = START_MS, before = NOT_STARTED): ElectionState =>
  afterRead(before, lease, atMs, rules);

test('a Lease that is not there is made, its count beginning at the minutes since 1970', () => {
  expect(intentOf(seen(undefined), START_MS, rules)).toEqual({
    type: 'write',
    epoch: 30_000_000,
    spec: {
      holderIdentity: 'me',
      leaseDurationSeconds: 5,
      leaseTransitions: 30_000_000,
      acquireTime: '2027-01-15T08:00:00.000000Z',
      renewTime: '2027-01-15T08:00:00.000000Z',
    },
  });
});

test("another's Lease is taken a whole duration after its last change was seen, not sooner", () => {
  const state = seen(leaseOf('other', 7));
  expect(intentOf(state, START_MS, rules)).toEqual({ type: 'wait', forMs: 1_000 });
  expect(intentOf(state, START_MS + 4_999, rules)).toEqual({ type: 'wait', forMs: 1 });
  expect(intentOf(state, START_MS + 5_000, rules)).toMatchObject({ type: 'write', epoch: 8 });
});

test('each renewal that is seen starts the duration anew; reading the same one again does not', () => {
  const again = seen(leaseOf('other', 7), START_MS + 3_000, seen(leaseOf('other', 7)));
  expect(intentOf(again, START_MS + 5_000, rules).type).toBe('write');
  const renewed = seen(leaseOf('other', 7, 1), START_MS + 3_000, seen(leaseOf('other', 7)));
  expect(intentOf(renewed, START_MS + 7_999, rules).type).toBe('wait');
});

test("the remote clock plays no part: a renewTime of long ago is as good as today's", () => {
  const old = { ...leaseOf('other', 7), spec: { ...leaseOf('other', 7).spec, renewTime: microTime(0) } };
  expect(intentOf(seen(old), START_MS + 4_999, rules).type).toBe('wait');
});

test('the duration that the holder promised counts, not ours', () => {
  const longer = leaseOf('other', 7);
  const state = seen({ ...longer, spec: { ...longer.spec, leaseDurationSeconds: 15 } });
  expect(intentOf(state, START_MS + 14_999, rules).type).toBe('wait');
  expect(intentOf(state, START_MS + 15_000, rules).type).toBe('write');
});

test('a released Lease, and one of our own earlier life, are taken at once and count as a change', () => {
  const free = { spec: released(leaseOf('other', 7), START_MS) };
  expect(intentOf(seen(free), START_MS, rules)).toMatchObject({ type: 'write', epoch: 8 });
  expect(intentOf(seen(leaseOf('me', 7)), START_MS, rules)).toMatchObject({ type: 'write', epoch: 8 });
});

test('a tenure counts from when its write was sent, and a renewal keeps the epoch', () => {
  const leading = afterWrite(seen(undefined), leaseOf('me', 8), 8, START_MS, rules);
  expect(leads(leading, START_MS + 3_999)).toBe(true);
  expect(leads(leading, START_MS + 4_000)).toBe(false);
  const renewal = intentOf(leading, START_MS + 1_000, rules);
  expect(renewal).toMatchObject({ type: 'write', epoch: 8, spec: { leaseTransitions: 8 } });
  const renewed = afterWrite(leading, leaseOf('me', 8, 1), 8, START_MS + 1_000, rules);
  expect(leads(renewed, START_MS + 4_999)).toBe(true);
});

test('a tenure that was given up is not brought back by a late answer', () => {
  const leading = afterWrite(seen(undefined), leaseOf('me', 8), 8, START_MS, rules);
  const ended = afterTime(leading, START_MS + 4_000);
  const late = afterWrite(ended, leaseOf('me', 8, 3), 8, START_MS + 3_900, rules);
  expect(leads(late, START_MS + 4_100)).toBe(false);
  expect(intentOf(late, START_MS + 4_100, rules)).toMatchObject({ type: 'write', epoch: 9 });
});

test('whoever reads that another holds the Lease, or that it is gone, leads no more', () => {
  const leading = afterWrite(seen(undefined), leaseOf('me', 8), 8, START_MS, rules);
  for (const lease of [leaseOf('other', 9), leaseOf('me', 9), undefined]) {
    expect(leads(seen(lease, START_MS + 100, leading), START_MS + 100)).toBe(false);
  }
  expect(leads(seen(leaseOf('me', 8), START_MS + 100, leading), START_MS + 100)).toBe(true);
});

test('micro-time has six digits of a second', () => {
  expect(microTime(START_MS + 1.25)).toBe('2027-01-15T08:00:00.001250Z');
});
