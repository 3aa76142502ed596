import type { V1EndpointSlice, V1PodDisruptionBudget, V1Service } from '@kubernetes/client-node';
import { expect, test } from 'vitest';
import { objectPath, RESOURCES, type ResourceKind } from '../../../controller/adapters/kube/api/paths.ts';
import type { KubeObject, Wire } from '../../../controller/adapters/kube/api/wire.ts';
import type { InferenceServiceStatus } from '../../../crds/schema.ts';
import { zeros } from '../../local/testing/marked-model.ts';
import { condition, mark, onPlatform } from './testing/platform.ts';
import { containerService, markedService } from './testing/services.ts';

/** The objects that the controller writes: kept as they are wanted, refused in Kubernetes' words, written when changed. */

const on = onPlatform('objects');
const QUIET_MS = 60_000;
type PoolObject = KubeObject & { readonly status?: { ready?: number; serving?: number } };

test("what somebody edits or deletes of a service's objects is put right", async () => {
  await on.apply(markedService('edited', 1));
  await on.waitForReady('edited');
  expect(mark(await on.infer('edited', zeros()))).toBe(1);
  const service = objectPath({ ...RESOURCES.services, namespace: on.namespace, name: 'edited' });
  const [slice] = await on.list<Wire<V1EndpointSlice>>(
    RESOURCES.endpointSlices,
    'kubernetes.io/service-name=edited',
  );
  const addresses = (one: Wire<V1EndpointSlice> | undefined): string =>
    (one?.endpoints ?? []).flatMap((endpoint) => endpoint.addresses).join();
  const wanted = addresses(slice);
  expect(wanted).not.toBe('');
  const slicePath = objectPath({
    ...RESOURCES.endpointSlices,
    namespace: on.namespace,
    name: slice?.metadata?.name ?? '',
  });

  await on.api.patch(service, 'merge', { spec: { ports: [{ name: 'http', port: 81 }] } });
  await on.api.patch(slicePath, 'merge', { endpoints: [] });
  await on.until('the port is 80 again', async () => {
    const now = await on.api.get<Wire<V1Service>>(service);
    return now?.spec?.ports?.some(({ port }) => port === 80) === true;
  });
  await on.until(
    'the slice leads where it led',
    async () => addresses(await on.api.get(slicePath)) === wanted,
  );

  await on.api.delete(slicePath);
  await on.api.delete(service);
  await on.until('both are there again', async () => {
    const [now, back] = [await on.api.get(service), await on.api.get<Wire<V1EndpointSlice>>(slicePath)];
    return now !== undefined && addresses(back) === wanted;
  });
});

test('a service that wants two replicas has a disruption budget, and none when it wants one', async () => {
  const predictor = { minReplicas: 2, maxReplicas: 2 };
  await on.apply(markedService('guarded', 2, { predictor }));
  await on.waitForService('guarded', 'has two replicas', ({ status }) => status?.replicas?.ready === 2);
  const path = objectPath({ ...RESOURCES.podDisruptionBudgets, namespace: on.namespace, name: 'guarded' });
  const minAvailable = async (): Promise<unknown> =>
    (await on.api.get<Wire<V1PodDisruptionBudget>>(path))?.spec?.minAvailable;
  await on.until('one of two may go', async () => (await minAvailable()) === 1);
  await on.api.patch(path, 'merge', { spec: { minAvailable: 2 } });
  await on.until('the budget is put right', async () => (await minAvailable()) === 1);
  await on.apply(markedService('guarded', 2, { predictor: { minReplicas: 1, maxReplicas: 1 } }));
  await on.until('the budget is gone', async () => (await on.api.get(path)) === undefined);
  await on.kubectl('delete', 'isvc', 'guarded');
});

test("a pool's columns say how many pods wait and serve", async () => {
  await on.waitForStandby();
  await on.apply(markedService('counted', 3));
  await on.waitForReady('counted');
  expect(mark(await on.infer('counted', zeros()))).toBe(3);
  const pool = objectPath({ ...RESOURCES.standbyPools, namespace: on.namespace, name: 'default' });
  await on.until('the status counts', async () => {
    const { status } = (await on.api.get<PoolObject>(pool)) ?? {};
    return (status?.serving ?? 0) >= 1 && status?.ready === 1;
  });
  const [head = '', row = ''] = (await on.kubectl('get', 'standbypools')).split('\n');
  expect(head.split(/\s+/).slice(0, 5)).toEqual(['NAME', 'SIZE', 'READY', 'STARTING', 'SERVING']);
  expect(row.split(/\s+/).slice(0, 3)).toEqual(['default', '1', '1']);
});

/** Waits until the service says why it has no replica, in a word of Kubernetes' own. */
async function refusal(name: string, reason: string): Promise<string> {
  const service = await on.waitForService(
    name,
    `says ${reason}`,
    (now) => condition(now, 'PredictorReady').reason === reason || condition(now, 'Ready').reason === reason,
    90_000,
  );
  const ready = condition(service, 'Ready');
  return (ready.reason === reason ? ready.message : condition(service, 'PredictorReady').message) ?? '';
}

/** A container of its own takes a pod of its own, whatever standbys there are. */
const ownPod = (name: string, container: object, predictor: object = {}): object =>
  containerService(
    name,
    { name: 'server', image: 'registry.invalid/none:1', ...container },
    { predictor: { minReplicas: 1, ...predictor }, scaling: { initialScale: 1 } },
  );

test("a quota's refusal is a condition in Kubernetes' words, and the service starts when there is room", async () => {
  const quota = { apiVersion: 'v1', kind: 'ResourceQuota', metadata: { name: 'tight' } };
  await on.apply({ ...quota, spec: { hard: { 'count/pods': '0' } } });
  await on.apply(ownPod('refused', {}));
  expect(await refusal('refused', 'ExceededQuota')).toMatch(/exceeded quota: tight/);
  await on.kubectl('delete', 'resourcequota', 'tight');
  await on.until('its pod is there', async () => (await on.pods('refused')).length === 1);
  await on.kubectl('delete', 'isvc', 'refused');
});

test("what no node can take is a condition in the scheduler's words", async () => {
  await on.apply(ownPod('nowhere', {}, { nodeSelector: { 'example.com/disk': 'none' } }));
  expect(await refusal('nowhere', 'Unschedulable')).toMatch(/nodes are available/);
  await on.kubectl('delete', 'isvc', 'nowhere');
});

test("an image that can't be pulled is a condition in the kubelet's words", async () => {
  await on.apply(ownPod('no-image', {}));
  const said = await refusal('no-image', 'ImagePullBackOff').catch(() => refusal('no-image', 'ErrImagePull'));
  expect(said).toContain('registry.invalid/none:1');
  await on.kubectl('delete', 'isvc', 'no-image');
});

test('a namespace can be deleted at any moment, with all that is in it', { timeout: 180_000 }, async () => {
  const namespace = `${on.namespace}-gone`;
  await on.createNamespace(namespace);
  const apply = ['--namespace', namespace, 'apply', '--filename', '-'];
  const manifests = [5, 6].map((number) => JSON.stringify(markedService(`gone-${number}`, number)));
  await on.cluster.kubectl(apply, manifests.join('\n---\n'));
  const url = on.url('gone-5', '/v2/models/gone-5/infer', namespace);
  await on.until('its address leads somewhere', () => on.client.reaches(url), 120_000);
  // In the middle of a cold start.
  const answer = on.client.call({ ...on.inference('gone-5', zeros()), url, timeoutMs: 30_000 });
  await on.cluster.kubectl(['delete', 'namespace', namespace, '--wait', '--timeout=120s']);
  // Whatever it was, it came: nobody hangs.
  expect(typeof (await answer).status).toBe('number');
});

test('a namespace whose deletion takes long is left alone, and one of its name begins anew', {
  timeout: 300_000,
}, async () => {
  const namespace = `${on.namespace}-slow`;
  const inNamespace = (...rest: string[]): string[] => ['--namespace', namespace, ...rest];
  const apply = (...manifests: object[]): Promise<string> =>
    on.cluster.kubectl(
      inNamespace('apply', '--filename', '-'),
      manifests.map((manifest) => JSON.stringify(manifest)).join('\n---\n'),
    );
  const service = markedService('kept', 8, { predictor: { minReplicas: 1 } });
  const kept = objectPath({ ...RESOURCES.inferenceServices, namespace, name: 'kept' });
  const isReady = async (): Promise<boolean> => {
    const found = await on.api.get<KubeObject & { status?: InferenceServiceStatus }>(kept);
    return found?.status?.replicas?.ready === 1;
  };
  await on.createNamespace(namespace);
  await apply(service, heldPod);
  await on.until('its replica is ready', isReady, 120_000);

  const refused = await refusedPods();
  await on.cluster.kubectl(['delete', 'namespace', namespace, '--wait=false']);
  await on.until('only the pod that is held is left', async () => {
    const names = await on.cluster.kubectl(inNamespace('get', 'pods', '--output', 'name'));
    return names.trim() === 'pod/held';
  });
  await on.until('no replica and no standby could be made', async () => (await refusedPods()) > refused);
  // As long as two pauses after refusals.
  const atFirst = await refusedPods();
  const startedMs = performance.now();
  await on.until('half a minute is over', async () => performance.now() - startedMs > 30_000);
  expect(await refusedPods()).toBe(atFirst);

  await on.cluster.kubectl(inNamespace('patch', 'pod', 'held', '--type=json', '--patch', LET_GO));
  await on.cluster.kubectl(['delete', 'namespace', namespace, '--ignore-not-found', '--timeout=120s']);
  await on.createNamespace(namespace);
  await apply(service);
  await on.until('its replica is ready again', isReady, 120_000);
});

/** Is never placed, and stays until its finalizer is taken away, as pods stay that a lost kubelet does not end. */
const heldPod = {
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'held', finalizers: ['example.com/hold'] },
  spec: {
    nodeSelector: { 'example.com/nowhere': 'true' },
    securityContext: { runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } },
    containers: [
      {
        name: 'none',
        image: 'registry.invalid/none:1',
        securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } },
      },
    ],
  },
};
const LET_GO = '[{"op":"remove","path":"/metadata/finalizers"}]';

/** Requests that the API server has counted. */
async function apiRequests(): Promise<{ label: (name: string) => string; count: number }[]> {
  const text = await on.api.raw('/metrics', { timeoutMs: 30_000 });
  return text.split('\n').flatMap((line) => {
    const match = /^apiserver_request_total\{(.*)\} ([\d.e+]+)$/.exec(line);
    if (match === null) return [];
    const [, labels = '', count = '0'] = match;
    const label = (name: string): string => new RegExp(`${name}="([^"]*)"`).exec(labels)?.[1] ?? '';
    return [{ label, count: Number(count) }];
  });
}

async function refusedPods(): Promise<number> {
  const refused = (await apiRequests()).filter(
    ({ label }) => label('verb') === 'POST' && label('resource') === 'pods' && label('code') === '403',
  );
  return refused.reduce((sum, { count }) => sum + count, 0);
}

/** Writes that the API server has counted from whoever runs the controller: all but Leases, Events and reviews. */
async function writesByResource(): Promise<Map<string, number>> {
  const writes = new Map<string, number>();
  for (const { label, count } of await apiRequests()) {
    if (!['POST', 'PUT', 'PATCH', 'APPLY', 'DELETE'].includes(label('verb'))) continue;
    if (!OURS.has(label('resource'))) continue;
    const key = `${label('verb')} ${label('resource')}/${label('subresource')}`;
    writes.set(key, (writes.get(key) ?? 0) + count);
  }
  return writes;
}

/** What nobody but the controller writes, or nothing at rest does. */
const OURS = new Set<string>(
  [
    RESOURCES.inferenceServices,
    RESOURCES.standbyPools,
    RESOURCES.services,
    RESOURCES.endpointSlices,
    RESOURCES.controllerRevisions,
    RESOURCES.podDisruptionBudgets,
    RESOURCES.events,
  ].map(({ plural }: ResourceKind) => plural),
);

test('a cluster at rest sees no writes but those of Leases, for a minute', { timeout: 300_000 }, async () => {
  await on.apply(markedService('at-rest', 7));
  await on.waitForReady('at-rest');
  const services = await on.list<KubeObject>(RESOURCES.inferenceServices);
  for (const { metadata } of services) await on.waitForZero(metadata?.name ?? '', 120_000);
  // What was begun comes to its end: pods in quarantine, statuses that are told with a delay.
  let before = await writesByResource();
  await on.until(
    'nothing has been written for ten seconds',
    async () => {
      await until10Seconds();
      const now = await writesByResource();
      const isSame = JSON.stringify([...now]) === JSON.stringify([...before]);
      before = now;
      return isSame;
    },
    150_000,
  );
  const startedMs = performance.now();
  await on.until('a minute is over', async () => performance.now() - startedMs > QUIET_MS, QUIET_MS * 2);
  const after = await writesByResource();
  expect(Object.fromEntries(after)).toEqual(Object.fromEntries(before));
});

const until10Seconds = async (): Promise<void> => {
  const startedMs = performance.now();
  await on.until('ten seconds are over', async () => performance.now() - startedMs > 10_000);
};
