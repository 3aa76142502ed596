import { pino } from 'pino';
import { beforeEach, expect, test } from 'vitest';
import type { StandbyPoolStatus } from '../../../crds/standby-pool.ts';
import { ManualClock } from '../../engine/testing/manual-clock.ts';
import type { PoolReport } from '../../ports.ts';
import { KubeError } from './api/kube-error.ts';
import type { PoolRefusal } from './core/pool-status.ts';
import type { PoolObject } from './pool-source.ts';
import { PoolStatuses } from './pool-statuses.ts';

const KEY = 'team/small';
const ONE_READY: PoolReport = { ready: 1, starting: 0, serving: 0, quarantined: 0 };

let clock: ManualClock;
let objects: Map<string, PoolObject>;
let refusal: PoolRefusal | undefined;
let written: StandbyPoolStatus[];
let failure: Error | undefined;
let statuses: PoolStatuses;

beforeEach(() => {
  clock = new ManualClock();
  objects = new Map([
    [KEY, { metadata: { namespace: 'team', name: 'small', uid: 'pool-uid', generation: 1 } }],
  ]);
  refusal = undefined;
  written = [];
  failure = undefined;
  statuses = new PoolStatuses({
    client: {
      patch: async (path: string, kind: string, body: object) => {
        expect(path).toBe('/apis/serving.pilotlight.dev/v1alpha1/namespaces/team/standbypools/small/status');
        expect(kind).toBe('apply');
        if (failure !== undefined) throw failure;
        const { status } = body as { status: StandbyPoolStatus };
        written.push(status);
        store({ status });
        return body as never;
      },
    },
    clock,
    logger: pino({ level: 'silent' }),
    source: {
      objects,
      get pools() {
        return refusal === undefined
          ? new Map([[KEY, { spec: { size: 1 } }]])
          : new Map<string, { spec: { size: number } }>();
      },
      refusal: () => refusal,
    },
    onTrouble: () => undefined,
  });
});

/** The object as the watch tells it then. */
function store(change: Partial<PoolObject>): void {
  objects.set(KEY, { ...objects.get(KEY), ...change });
  statuses.look(KEY);
}

test('what the engine says is written once, and nothing more while nothing changes', async () => {
  statuses.report(KEY, { ...ONE_READY, ready: 0, starting: 1 });
  statuses.report(KEY, ONE_READY);
  await clock.advance(1_000);
  expect(written).toMatchObject([{ ...ONE_READY, conditions: [{ type: 'Ready', status: 'True' }] }]);
  statuses.report(KEY, ONE_READY);
  await clock.advance(600_000);
  expect(written).toHaveLength(1);
});

test('a pool that is claimed from all the time costs a write in five seconds', async () => {
  for (let serving = 0; serving < 600; serving++) {
    statuses.report(KEY, { ...ONE_READY, serving });
    await clock.advance(100);
  }
  expect(written.length).toBeGreaterThanOrEqual(10);
  expect(written.length).toBeLessThanOrEqual(13);
  await clock.advance(5_000);
  expect(written.at(-1)).toMatchObject({ serving: 599 });
});

test('a status that somebody else has changed is put right', async () => {
  statuses.report(KEY, ONE_READY);
  await clock.advance(10_000);
  store({ status: { ready: 7, starting: 0, serving: 0 } });
  await clock.advance(1_000);
  expect(written).toHaveLength(2);
  expect(objects.get(KEY)?.status).toMatchObject({ ready: 1 });
});

test('nothing is said of a pool before the engine knows what there is, unless it is refused', async () => {
  statuses.look(KEY);
  await clock.advance(10_000);
  expect(written).toEqual([]);
  refusal = { reason: 'CacheNotAllowed', message: 'use emptyDir' };
  statuses.look(KEY);
  await clock.advance(10_000);
  expect(written).toMatchObject([{ ready: 0, conditions: [{ status: 'False', reason: 'CacheNotAllowed' }] }]);
});

test('a write that fails is tried again, and one for a pool that is gone is not', async () => {
  failure = new KubeError('unavailable', 'no API server', { status: 503 });
  statuses.report(KEY, ONE_READY);
  await clock.advance(1_000);
  failure = undefined;
  await clock.advance(120_000);
  expect(written).toHaveLength(1);
  statuses.report(KEY, { ...ONE_READY, serving: 1 });
  objects.delete(KEY);
  statuses.look(KEY);
  await clock.advance(120_000);
  expect(written).toHaveLength(1);
});
