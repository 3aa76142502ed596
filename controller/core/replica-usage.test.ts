import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { ReplicaRecord } from './replica-record.ts';
import { ReplicaUsage } from './replica-usage.ts';

const MIB = 1024 ** 2;

function record(id: string, more: Partial<ReplicaRecord> = {}): ReplicaRecord {
  return {
    id,
    host: id,
    origin: 'standby',
    phase: 'standby',
    pool: 'shop/default',
    memoryRequestBytes: 256 * MIB,
    cachedModels: [],
    inFlight: 0,
    sinceMs: 0,
    ...more,
  };
}

const owner = { serviceUid: 'ocr', revision: 'ocr-1' };

test('two replicas for three seconds are six replica-seconds, and their memory as long', () => {
  const usage = new ReplicaUsage();
  const replicas = [record('a', { owner, phase: 'ready' }), record('b', { owner, phase: 'draining' })];
  usage.take(replicas, 1_000);
  usage.take(replicas, 2_000);
  usage.take(replicas, 4_000);
  expect(usage.ofService('ocr')).toEqual({ replicaSeconds: 6, memoryByteSeconds: 6 * 256 * MIB });
  expect(usage.ofPool('shop/default')).toEqual({ replicaSeconds: 0, memoryByteSeconds: 0 });
});

test('a standby is its pool’s until it serves or starts for a service', () => {
  const usage = new ReplicaUsage();
  usage.take([], 0);
  usage.take([record('a'), record('b', { reservedFor: owner, phase: 'starting' })], 1_000);
  usage.take([record('a', { owner, phase: 'claiming' })], 2_000);
  expect(usage.ofPool('shop/default').replicaSeconds).toBe(1);
  expect(usage.ofService('ocr').replicaSeconds).toBe(2);
});

test('who is gone is forgotten, and begins at nothing when it comes back', () => {
  const usage = new ReplicaUsage();
  usage.take([], 0);
  usage.take([record('a', { owner }), record('b')], 1_000);
  usage.forget('ocr');
  usage.forget('shop/default');
  expect(usage.ofService('ocr').replicaSeconds).toBe(0);
  expect(usage.ofPool('shop/default').replicaSeconds).toBe(0);
});

test('whatever the clock does, no integral ever falls', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.integer({ min: 0, max: 10_000 }), fc.boolean())), (looks) => {
      const usage = new ReplicaUsage();
      let before = 0;
      for (const [nowMs, isThere] of looks) {
        usage.take(isThere ? [record('a', { owner })] : [], nowMs);
        const { replicaSeconds } = usage.ofService('ocr');
        expect(replicaSeconds).toBeGreaterThanOrEqual(before);
        before = replicaSeconds;
      }
    }),
  );
});
