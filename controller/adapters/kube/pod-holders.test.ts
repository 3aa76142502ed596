import { pino } from 'pino';
import { beforeEach, expect, test } from 'vitest';
import type { StandbyPool } from '../../../crds/standby-pool.ts';
import { ManualClock } from '../../engine/testing/manual-clock.ts';
import { KubeError } from './api/kube-error.ts';
import type { PodPatch } from './core/claim-patch.ts';
import type { Pod } from './core/kube-types.ts';
import { LABELS } from './core/labels.ts';
import { PodHolders } from './pod-holders.ts';
import type { ManagedPod } from './replica-pods.ts';

const ID = 'team/default-a1';
const CLAIM = { claimId: 'c1', epoch: 1, serviceUid: 'service-uid', revision: 'ocr-00001' };

let clock: ManualClock;
let stored: Pod;
let managed: ManagedPod;
let failure: KubeError | undefined;
/** Whom the pod belonged to after each write, by its label. */
let written: (string | undefined)[];
let failed: unknown[];
let holders: PodHolders;
/** What a write waits for. */
let gate: Promise<void>;

const conflict = (): KubeError => new KubeError('conflict', 'the object has been modified', { status: 409 });

beforeEach(() => {
  clock = new ManualClock();
  failure = undefined;
  written = [];
  failed = [];
  gate = Promise.resolve();
  const labels = { [LABELS.origin]: 'standby', [LABELS.pool]: 'default' };
  stored = { metadata: { namespace: 'team', name: 'default-a1', uid: 'pod', resourceVersion: '1', labels } };
  managed = {
    host: ID,
    pod: stored,
    admin: undefined,
    runtime: {
      incarnation: 'i1',
      recycles: 0,
      highestEpoch: 1,
      state: 'ready',
      claim: CLAIM,
      inFlight: 0,
      residentBytes: 0,
      cachedModels: [],
    },
    left: undefined,
    isRemoving: false,
    observed: { id: ID, host: ID, origin: 'standby', state: 'ready', cachedModels: [], sinceMs: 0 },
    cancelAsking: undefined,
  };
  const pool = { metadata: { name: 'default', namespace: 'team', uid: 'pool' }, spec: {} } as StandbyPool;
  holders = new PodHolders({
    client: {
      get: async () => stored as never,
      patch: async (_path: string, _kind: string, patch: object) => {
        await gate;
        if (failure !== undefined) throw failure;
        stored = patched(stored, patch as PodPatch);
        written.push(stored.metadata?.labels?.[LABELS.service]);
        return stored as never;
      },
    },
    clock,
    logger: pino({ level: 'silent' }),
    onTrouble: () => undefined,
    pods: {
      has: (id) => id === ID,
      get: () => managed,
      values: () => [managed].values(),
      seen: (pod) => {
        managed.pod = pod;
      },
      update: (_id, { failure: why }) => void failed.push(why),
    },
    pool: (key) => (key === 'team/default' ? pool : undefined),
    service: (uid) =>
      uid === 'service-uid' ? { metadata: { namespace: 'team', name: 'ocr', uid } } : undefined,
  });
});

/** As the API server does: a null takes a label away, and a version that is not the present one is refused. */
function patched(pod: Pod, { metadata }: PodPatch): Pod {
  const { labels = {}, resourceVersion } = pod.metadata ?? {};
  if (metadata.resourceVersion !== resourceVersion) throw conflict();
  const merged = Object.entries({ ...labels, ...metadata.labels }).filter(([, value]) => value !== null);
  return {
    ...pod,
    metadata: {
      ...pod.metadata,
      ...metadata,
      resourceVersion: String(Number(resourceVersion) + 1),
      labels: Object.fromEntries(merged) as Record<string, string>,
    } as NonNullable<Pod['metadata']>,
  };
}

test('a pod is the service’s by its labels shortly after its first answer', async () => {
  holders.takeLater(ID, CLAIM);
  await clock.advance(100);
  expect(written).toEqual([]);
  await clock.advance(100);
  expect(written).toEqual(['ocr']);
});

test('it is left as it is when it is another’s by then, about to end, or the service is gone', async () => {
  for (const change of [
    { runtime: { claim: { ...CLAIM, claimId: 'c2' } } },
    { runtime: undefined },
    { isRemoving: true },
    { observed: { origin: 'runtime' } },
  ]) {
    const before = { ...managed };
    Object.assign(managed, change);
    await holders.take(ID, CLAIM);
    Object.assign(managed, before);
  }
  await holders.take(ID, { ...CLAIM, serviceUid: 'gone' });
  await holders.take('team/gone', CLAIM);
  expect(written).toEqual([]);
});

test('while the API server is away its replica serves on, and the write is made when it is back', async () => {
  failure = new KubeError('unavailable', 'connect ECONNREFUSED');
  await holders.take(ID, CLAIM);
  await clock.advance(12_000);
  expect([written, failed]).toEqual([[], []]);
  failure = undefined;
  await clock.advance(5_000);
  expect([written, failed]).toEqual([['ocr'], []]);
});

test('a pod that wears another service’s labels is not served from', async () => {
  stored = { metadata: { ...stored.metadata, resourceVersion: '2', labels: { [LABELS.service]: 'other' } } };
  await holders.take(ID, CLAIM);
  expect(written).toEqual([]);
  expect(failed).toMatchObject([{ code: 'replica-failed' }]);
});

test('a pod that goes back to its pool while the write of its holder is under way ends up without one', async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  gate = promise;
  const taking = holders.take(ID, CLAIM);
  await clock.settle();
  managed.runtime = undefined;
  const releasing = holders.release(managed.pod);
  resolve();
  await Promise.all([taking, releasing]);
  expect(written).toEqual(['ocr', undefined]);
});

test('labels that the API server does not take are a failure of the replica, which says so', async () => {
  failure = new KubeError('invalid', 'metadata.labels: Invalid value: "a b"', { status: 422 });
  await holders.take(ID, CLAIM);
  expect(failed).toMatchObject([{ message: expect.stringContaining('metadata.labels: Invalid value') }]);
});

test('nothing is written after the end', async () => {
  holders.takeLater(ID, CLAIM);
  holders.stop();
  await clock.advance(10_000);
  expect(written).toEqual([]);
});
