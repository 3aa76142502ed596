import { pino } from 'pino';
import { beforeEach, expect, test } from 'vitest';
import { ManualClock } from '../../engine/testing/manual-clock.ts';
import type { KubeClient } from './api/kube-client.ts';
import { KubeError } from './api/kube-error.ts';
import { LABELS } from './core/labels.ts';
import { ReplicaPods } from './replica-pods.ts';

const POD = {
  metadata: {
    namespace: 'team',
    name: 'default-a1',
    uid: 'pod-uid',
    resourceVersion: '7',
    labels: { [LABELS.origin]: 'standby', [LABELS.pool]: 'default' },
  },
};
const HOUR_MS = 3_600_000;

let clock: ManualClock;
let isAway: boolean;
let deletions: string[];
let pods: ReplicaPods;

const unexpected = (): never => {
  throw new Error('this call is not part of the test');
};

beforeEach(() => {
  clock = new ManualClock();
  isAway = false;
  deletions = [];
  const client: KubeClient = {
    get: unexpected,
    list: unexpected,
    create: unexpected,
    replace: unexpected,
    patch: unexpected,
    raw: unexpected,
    watchStream: unexpected,
    close: unexpected,
    delete: async (path, { uid } = {}) => {
      deletions.push(`${path} ${uid}`);
      if (isAway) throw new KubeError('unavailable', 'no answer from the API server');
    },
  };
  pods = new ReplicaPods({
    client,
    clock,
    namespaces: [],
    logger: pino({ level: 'silent' }),
    emit: () => undefined,
    adminToken: () => 'token',
    onTrouble: () => undefined,
    random: () => 1,
    isOutdated: () => false,
    nodeState: () => 'ready',
  });
});

test('a pod that is to end is ended as soon as the API server takes it, however long that is away', async () => {
  const { id } = pods.created(POD);
  isAway = true;
  pods.end(id, 1);
  await clock.advance(HOUR_MS);
  const tries = deletions.length;
  // 100 ms, 200, … and then one in five seconds.
  expect(tries).toBeGreaterThan(HOUR_MS / 5_000);
  expect(tries).toBeLessThan(HOUR_MS / 5_000 + 10);
  isAway = false;
  await clock.advance(5_000);
  await clock.advance(HOUR_MS);
  expect(deletions).toHaveLength(tries + 1);
  expect(new Set(deletions)).toEqual(new Set(['/api/v1/namespaces/team/pods/default-a1 pod-uid']));
});

test('nothing is ended any more once the controller has stopped', async () => {
  const { id } = pods.created(POD);
  isAway = true;
  pods.end(id, 1);
  await clock.settle();
  pods.stop();
  const tries = deletions.length;
  isAway = false;
  await clock.advance(HOUR_MS);
  expect(deletions).toHaveLength(tries);
});
