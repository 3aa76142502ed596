import { expect, test } from 'vitest';
import type { PoolReport } from '../ports.ts';
import { poolReports } from './pool-report.ts';
import type { ReplicaPhase, ReplicaRecord } from './replica-record.ts';
import { afterFailedStart } from './start-trouble.ts';

const OWNER = { serviceUid: 'uid-ocr', revision: 'ocr-00001' };

function record(id: string, phase: ReplicaPhase, more: Partial<ReplicaRecord> = {}): ReplicaRecord {
  return {
    id,
    host: id,
    origin: 'standby',
    phase,
    pool: 'team/small',
    cachedModels: [],
    inFlight: 0,
    sinceMs: 0,
    ...more,
  };
}

function report(
  records: readonly ReplicaRecord[],
  more: { creating?: number; trouble?: { code: string; message: string } } = {},
): PoolReport | undefined {
  const trouble = more.trouble && afterFailedStart(undefined, more.trouble, 0);
  return poolReports({
    pools: [{ key: 'team/small', trouble }],
    records,
    quarantine: new Map([['left', { serviceUid: 'uid-ocr', untilMs: 2_000 }]]),
    creating: () => more.creating ?? 0,
    nowMs: 1_000,
  }).get('team/small');
}

test('each replica of a pool is counted where it is, those of others and those that end nowhere', () => {
  const records = [
    record('a', 'standby'),
    record('b', 'standby', { reservedFor: OWNER }),
    record('left', 'standby'),
    record('c', 'starting'),
    record('d', 'recycling', { owner: OWNER }),
    record('e', 'claiming', { owner: OWNER }),
    record('f', 'ready', { owner: OWNER }),
    record('g', 'draining', { owner: OWNER }),
    record('h', 'removing'),
    record('i', 'removing', { owner: OWNER }),
    record('j', 'standby', { pool: 'team/large' }),
  ];
  expect(report(records, { creating: 2 })).toEqual({ ready: 2, starting: 4, serving: 3, quarantined: 1 });
});

test('what refused the last standby is told, else what the start of one waits for', () => {
  const unschedulable = { code: 'Unschedulable', message: '0/3 nodes are available' };
  const waiting = [record('a', 'standby'), record('b', 'starting', { waitsFor: unschedulable })];
  expect(report(waiting)?.trouble).toEqual(unschedulable);
  const quota = { code: 'ExceededQuota', message: 'exceeded quota: small' };
  expect(report(waiting, { trouble: quota })?.trouble).toEqual(quota);
  expect(report([record('a', 'standby')])).not.toHaveProperty('trouble');
});
