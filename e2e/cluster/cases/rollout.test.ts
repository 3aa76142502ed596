import { expect, test } from 'vitest';
import { HEADERS } from '../../../contracts/headers.ts';
import { zeros } from '../../local/testing/marked-model.ts';
import type { LoadResult } from '../client/messages.ts';
import { condition, isReady, mark, onPlatform, type ServiceObject, text } from './testing/platform.ts';
import { markedService, modelService, type ServiceOptions } from './testing/services.ts';

/** New revisions: a share of the traffic, all of it, none of it, and the way back. */
const on = onPlatform('rollout');

/**
 * One replica of each revision stays, so that the cases see rollouts and no cold starts; a new one gets its traffic
 * once it has loaded, which `initialScale: 0` would do without.
 */
const STAYS: ServiceOptions = {
  predictor: { minReplicas: 1, maxReplicas: 1 },
  scaling: { initialScale: 1 },
};
const canary = (percent: number): ServiceOptions => ({
  ...STAYS,
  predictor: { ...STAYS.predictor, canaryTrafficPercent: percent },
});

/** Who has how much of the traffic, as the status says it, by revision's name in its order. */
function traffic(service: ServiceObject): Record<string, number> {
  const { traffic: shares = [] } = service.status?.components?.['predictor'] ?? {};
  const entries = shares.map(({ revisionName, percent }) => [revisionName, percent] as const);
  return Object.fromEntries(entries.toSorted(([left], [right]) => (left < right ? -1 : 1)));
}

const waitForTraffic = (name: string, shares: Record<string, number>): Promise<ServiceObject> =>
  on.waitForService(
    name,
    `has the traffic ${JSON.stringify(shares)}`,
    (service) => isReady(service) && JSON.stringify(traffic(service)) === JSON.stringify(shares),
  );

/** The columns of `kubectl get isvc` by their heads. */
async function columns(name: string): Promise<Record<string, string | undefined>> {
  const [head = '', row = ''] = (await on.kubectl('get', 'isvc', name)).split('\n');
  const values = row.split(/\s+/);
  return Object.fromEntries(head.split(/\s+/).map((column, index) => [column, values[index]]));
}

/** How many answers bore each mark. */
function marks({ bodies }: LoadResult): ReadonlyMap<number, number> {
  const counts = new Map<number, number>();
  for (const [body, count] of Object.entries(bodies[0] ?? {})) {
    const answer = JSON.parse(body) as { outputs: { data: [number] }[] };
    const seen = answer.outputs[0]?.data[0] ?? Number.NaN;
    counts.set(seen, (counts.get(seen) ?? 0) + count);
  }
  return counts;
}

/** Sends this many requests at least. */
async function marksOf(name: string, requests: number): Promise<ReadonlyMap<number, number>> {
  const load = await on.load({ targets: [on.inference(name, zeros())], connections: 2 });
  await on.until(`${requests} requests were answered`, async () => (await load.state()).answered >= requests);
  const result = await load.end();
  expect(result.failures).toEqual([]);
  return marks(result);
}

test('a canary gets its share, then all of it, and gives it back', async () => {
  await on.apply(markedService('shop', 1, STAYS));
  await on.waitForReady('shop');
  await waitForTraffic('shop', { 'shop-00001': 100 });
  expect(await columns('shop')).toMatchObject({ READY: 'True', REVISION: 'shop-00001' });

  await on.apply(markedService('shop', 2, canary(20)));
  const shared = await waitForTraffic('shop', { 'shop-00001': 80, 'shop-00002': 20 });
  expect(shared.status?.components?.['predictor']).toMatchObject({
    latestCreatedRevision: 'shop-00002',
    latestReadyRevision: 'shop-00002',
    latestRolledoutRevision: 'shop-00001',
  });
  await on.waitForService('shop', 'has a replica of both', ({ status }) => status?.replicas?.ready === 2);
  const seen = await marksOf('shop', 2_000);
  const [old = 0, fresh = 0] = [seen.get(1), seen.get(2)];
  const total = old + fresh;
  expect([...seen.keys()].toSorted((left, right) => left - right)).toEqual([1, 2]);
  // Drawn for each request: a share of 0.2 of n strays by 6·√(n·0.2·0.8) once in 500 million runs; 107 of 2,000.
  expect(Math.abs(fresh - 0.2 * total)).toBeLessThan(6 * Math.sqrt(total * 0.2 * 0.8));

  await on.apply(markedService('shop', 2, STAYS));
  const promoted = await waitForTraffic('shop', { 'shop-00002': 100 });
  expect(promoted.status?.components?.['predictor']).toMatchObject({
    latestRolledoutRevision: 'shop-00002',
    previousRolledoutRevision: 'shop-00001',
  });
  await on.until('only the new one answers', async () => mark(await on.infer('shop', zeros())) === 2);
  expect([...(await marksOf('shop', 50)).keys()]).toEqual([2]);

  // KServe's way back: the share of a revision that was rolled out is 0, so the one before has the traffic.
  await on.apply(markedService('shop', 2, canary(0)));
  await on.waitForService('shop', 'gives it back', (service) => traffic(service)['shop-00001'] === 100);
  await on.until('the old one answers', async () => mark(await on.infer('shop', zeros())) === 1);

  // The other way: the old spec, which is the old revision again.
  await on.apply(markedService('shop', 1, STAYS));
  await waitForTraffic('shop', { 'shop-00001': 100 });
  expect([...(await marksOf('shop', 50)).keys()]).toEqual([1]);
  expect(await columns('shop')).toMatchObject({ READY: 'True', REVISION: 'shop-00001' });
});

test('a revision that cannot be loaded takes no request from the one that serves', async () => {
  await on.apply(markedService('steady', 3, STAYS));
  await on.waitForReady('steady');
  expect(mark(await on.infer('steady', zeros()))).toBe(3);
  const load = await on.load({ targets: [on.inference('steady', zeros())], connections: 4, pauseMs: 5 });
  await on.apply(modelService('steady', 'not-a-model/model.onnx', STAYS));
  const blocked = await on.waitForService(
    'steady',
    'is blocked',
    ({ status }) => status?.modelStatus?.transitionStatus === 'BlockedByFailedLoad',
  );
  expect(traffic(blocked)).toEqual({ 'steady-00001': 100 });
  expect(blocked.status?.modelStatus).toMatchObject({
    states: { activeModelState: 'Loaded', targetModelState: 'FailedToLoad' },
    lastFailureInfo: {
      reason: 'ModelLoadFailed',
      modelRevisionName: 'steady-00002',
      message: expect.stringContaining('model-not-onnx'),
    },
  });
  expect(condition(blocked, 'Ready')).toMatchObject({
    status: 'False',
    reason: 'RevisionFailed',
    message: expect.stringMatching(/^steady-00002: model-not-onnx: .*; steady-00001 goes on serving$/s),
  });
  expect(await columns('steady')).toMatchObject({
    READY: 'False',
    STATE: 'Loaded',
    REVISION: 'steady-00001',
  });
  // Back to what was there: in order at once, and nothing was lost on the way.
  await on.apply(markedService('steady', 3, STAYS));
  await waitForTraffic('steady', { 'steady-00001': 100 });
  expect(await columns('steady')).toMatchObject({ READY: 'True', STATE: 'Loaded', REVISION: 'steady-00001' });
  const result = await load.end();
  expect(result.failures).toEqual([]);
  expect([...marks(result).keys()]).toEqual([3]);
});

test('a service is stopped by its annotation, and started again without it', async () => {
  await on.apply(markedService('halted', 4, STAYS));
  await on.waitForReady('halted');
  expect(mark(await on.infer('halted', zeros()))).toBe(4);
  await on.kubectl('annotate', 'isvc', 'halted', 'serving.kserve.io/stop=true');
  await on.waitForService(
    'halted',
    'is stopped',
    (service) => condition(service, 'Stopped').status === 'True',
  );
  await on.waitForZero('halted');
  const refused = await on.infer('halted', zeros());
  expect(refused.status).toBe(503);
  expect(refused.headers[HEADERS.error]).toBe('service-stopped');
  expect(text(refused)).toContain('is stopped: ');
  expect(await columns('halted')).toMatchObject({ READY: 'False', REPLICAS: '0' });
  await on.kubectl('annotate', 'isvc', 'halted', 'serving.kserve.io/stop-');
  await on.waitForReady('halted');
  expect(mark(await on.infer('halted', zeros()))).toBe(4);
});
