import { randomBytes } from 'node:crypto';
import type { CoreV1Event, V1ConfigMap, V1Lease } from '@kubernetes/client-node';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { createEventRecorder } from '../../../controller/adapters/kube/api/events.ts';
import { type KubeAccess, kubeconfigAccess } from '../../../controller/adapters/kube/api/kube-access.ts';
import { createKubeClient, type KubeClient } from '../../../controller/adapters/kube/api/kube-client.ts';
import type { KubeError } from '../../../controller/adapters/kube/api/kube-error.ts';
import { createLeaderElection, type LeaderElection } from '../../../controller/adapters/kube/api/lease.ts';
import { objectPath, RESOURCES } from '../../../controller/adapters/kube/api/paths.ts';
import { createReflector, type Reflector } from '../../../controller/adapters/kube/api/reflector.ts';
import type { KubeObject, WatchEvent, Wire } from '../../../controller/adapters/kube/api/wire.ts';
import { systemClock } from '../../../controller/adapters/system-clock.ts';
import { type Cluster, clusterOrigin, connectCluster } from '../cluster.ts';
import { until } from '../wait.ts';
import { TcpRelay } from './testing/tcp-relay.ts';

/** The API layer of the controller against a real API server. */

const namespace = `api-client-${randomBytes(3).toString('hex')}`;
const version = '0.0.0-e2e';
const { configMaps, events, leases } = RESOURCES;
const mapPath = (name?: string): string =>
  objectPath({ ...configMaps, namespace, ...(name !== undefined && { name }) });
const mapOf = (
  name: string,
  data: Record<string, string> = {},
): KubeObject & { readonly data: Record<string, string> } => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name, namespace },
  data,
});

let cluster: Cluster;
let access: KubeAccess;
/** Straight to the API server; what is tried goes through the relay. */
let client: KubeClient;
let relay: TcpRelay;
let relayed: KubeClient;
const reflectors: Reflector<KubeObject>[] = [];
const elections: LeaderElection[] = [];

beforeAll(async () => {
  cluster = await connectCluster();
  access = await kubeconfigAccess(cluster.kubeconfigPath);
  client = createKubeClient({ access, version });
  await client.create(objectPath(RESOURCES.namespaces), { metadata: { name: namespace } });
  relay = await TcpRelay.start(access.server);
  // The certificate is the API server's, whatever address it was reached by.
  const servername = access.tls.servername ?? 'kubernetes';
  relayed = createKubeClient({
    access: { ...access, server: relay.url, tls: { ...access.tls, servername } },
    version,
  });
});

afterEach(async () => {
  // What a test left hanging is not for the next one.
  relay.down();
  relay.up();
  for (const reflector of reflectors.splice(0)) reflector.stop();
  for (const election of elections.splice(0)) await election.stop();
});

afterAll(async () => {
  await client?.delete(objectPath({ ...RESOURCES.namespaces, name: namespace }));
  await relayed?.close();
  await relay?.close();
  await client?.close();
});

const failure = (promise: Promise<unknown>): Promise<KubeError> =>
  promise.then(
    () => {
      throw new Error('expected it to fail');
    },
    (error: KubeError) => error,
  );

describe('verbs', () => {
  test('create, apply, replace and delete do what Kubernetes says, and refusals have their codes', async () => {
    const created = await client.create<KubeObject>(mapPath(), mapOf('verbs'));
    expect((await failure(client.create(mapPath(), mapOf('verbs')))).code).toBe('already-exists');

    const applied = await client.patch<Wire<V1ConfigMap>>(
      mapPath('verbs'),
      'apply',
      mapOf('verbs', { a: '1' }),
    );
    expect(applied.data).toEqual({ a: '1' });
    expect(applied.metadata?.managedFields?.some(({ manager }) => manager === 'pilotlight')).toBe(true);
    expect((await failure(client.replace(mapPath('verbs'), created))).code).toBe('conflict');

    const stale = { metadata: { resourceVersion: created.metadata?.resourceVersion, labels: { x: 'y' } } };
    expect((await failure(client.patch(mapPath('verbs'), 'merge', stale))).code).toBe('conflict');
    const tested = [{ op: 'test', path: '/data/a', value: '2' }];
    expect((await failure(client.patch(mapPath('verbs'), 'json', tested))).code).toBe('invalid');

    expect((await failure(client.delete(mapPath('verbs'), { uid: 'another' }))).code).toBe('conflict');
    await client.delete(mapPath('verbs'), {
      uid: created.metadata?.uid ?? '',
      propagationPolicy: 'Background',
    });
    expect(await client.get(mapPath('verbs'))).toBeUndefined();
    await client.delete(mapPath('verbs'));

    expect((await failure(client.create(mapPath(), mapOf('Not a name')))).code).toBe('invalid');
    const elsewhere = objectPath({ ...configMaps, namespace: 'there-is-none' });
    expect((await failure(client.create(elsewhere, { metadata: { name: 'a' } }))).code).toBe('not-found');
  });

  test('/version and /metrics are told as they are', async () => {
    expect(JSON.parse(await client.raw('/version'))).toMatchObject({ major: '1' });
    expect(await client.raw('/metrics')).toContain('apiserver_request_total');
  });

  test('who has no rights is told so, and a token that is none is refused', async () => {
    const name = 'nobody';
    await client.create(objectPath({ ...RESOURCES.serviceAccounts, namespace }), { metadata: { name } });
    const tokens = objectPath({ ...RESOURCES.serviceAccounts, namespace, name, subresource: 'token' });
    const { status } = await client.create<KubeObject & { status: { token: string } }>(tokens, { spec: {} });
    const { ca } = access.tls;
    const as = (token: string): KubeClient =>
      createKubeClient({
        access: {
          ...access,
          tls: ca === undefined ? {} : { ca },
          headers: () => Promise.resolve({ authorization: `Bearer ${token}` }),
        },
        version,
      });
    for (const [token, code] of [
      [status.token, 'forbidden'],
      ['nonsense', 'unauthorised'],
    ] as const) {
      const other = as(token);
      expect((await failure(other.list(mapPath()))).code).toBe(code);
      await other.close();
    }
  });
});

describe('connections and lists', () => {
  test('1,000 calls one after the other open at most two connections', async () => {
    const before = relay.connections;
    for (let count = 0; count < 1_000; count += 1) await relayed.get(mapPath('kube-root-ca.crt'));
    expect(relay.connections - before).toBeLessThanOrEqual(2);
  });

  test('1,000 calls at once open no more connections than twice the calls allowed at once', async () => {
    const before = relay.connections;
    await Promise.all(Array.from({ length: 1_000 }, () => relayed.get(mapPath('kube-root-ca.crt'))));
    expect(relay.connections - before).toBeLessThanOrEqual(64);
  });

  test('a list of more than a page is whole, every item with its kind', async () => {
    const names = Array.from({ length: 520 }, (_, index) => `page-${index}`);
    await Promise.all(names.map((name) => client.create(mapPath(), mapOf(name))));
    const { items, resourceVersion } = await client.list<KubeObject>(mapPath());
    const found = items
      .map(({ metadata }) => metadata?.name ?? '')
      .filter((name) => name.startsWith('page-'));
    expect(found.sort()).toEqual(names.sort());
    expect(items.every(({ kind, apiVersion }) => kind === 'ConfigMap' && apiVersion === 'v1')).toBe(true);
    expect(resourceVersion).toMatch(/^\d+$/);
  });
});

describe('reflector', () => {
  /** Keeps what it is told as lines, and counts its lists. */
  function reflect(
    resource: typeof configMaps | typeof events,
    inactivityMs = 150_000,
  ): { told: string[]; lists: () => number; troubles: string[]; synced: () => boolean } {
    const told: string[] = [];
    const troubles: string[] = [];
    let lists = 0;
    const reflector = createReflector<KubeObject>({
      client: {
        list: (...args) => {
          lists += 1;
          return relayed.list(...args);
        },
        watchStream: (...args) => relayed.watchStream(...args),
      },
      clock: systemClock,
      resource,
      namespaces: [namespace],
      labelSelector: 'told=yes',
      inactivityMs,
      onChange: ({ metadata }, previous) =>
        told.push(`${previous === undefined ? 'new' : 'changed'} ${metadata?.name}`),
      onDelete: ({ metadata }) => told.push(`deleted ${metadata?.name}`),
      onTrouble: (error) => troubles.push((error as KubeError).code),
    });
    reflectors.push(reflector);
    reflector.start();
    return { told, troubles, lists: () => lists, synced: () => reflector.synced };
  }

  const labelled = (object: KubeObject): object => ({
    ...object,
    metadata: { ...object.metadata, labels: { told: 'yes' } },
  });
  const put = (name: string): Promise<KubeObject> => client.create(mapPath(), labelled(mapOf(name)));
  const seen = (what: string, holds: () => boolean): Promise<unknown> =>
    until(what, 30_000, () => Promise.resolve(holds()));

  test('a watch that is cut goes on where it was: each change once, no second list', async () => {
    const { told, lists, synced } = reflect(configMaps);
    await seen('it is synced', synced);
    await put('resume-a');
    await seen('the first is told', () => told.length === 1);
    relay.down();
    await put('resume-b');
    await client.patch(mapPath('resume-a'), 'merge', { data: { x: 'y' } });
    await client.delete(mapPath('resume-b'));
    relay.up();
    await seen('all is told', () => told.length === 4);
    expect(told).toEqual(['new resume-a', 'new resume-b', 'changed resume-a', 'deleted resume-b']);
    expect(lists()).toBe(1);
  });

  test('a connection that hangs without a word is left for a new one', async () => {
    const { told, troubles, lists, synced } = reflect(configMaps, 2_000);
    await seen('it is synced', synced);
    await put('hang-a');
    await seen('the first is told', () => told.includes('new hang-a'));
    relay.freeze();
    await put('hang-b');
    await seen('the second is told', () => told.includes('new hang-b'));
    expect(troubles).toContain('unavailable');
    expect(lists()).toBe(1);
  });

  test('an object that loses its label is told as deleted', async () => {
    const { told, synced } = reflect(configMaps);
    await put('label-a');
    await seen('it is synced', synced);
    await seen('it is told', () => told.includes('new label-a'));
    await client.patch(mapPath('label-a'), 'merge', { metadata: { labels: { told: null } } });
    await seen('it is gone', () => told.includes('deleted label-a'));
  });

  // Events have no watch cache in the API server, so that what etcd forgets is gone at once.
  test.skipIf(clusterOrigin() === 'current')(
    'what etcd has compacted meanwhile is told as a difference, deletions included',
    async () => {
      const eventPath = (name?: string): string =>
        objectPath({ ...events, namespace, ...(name !== undefined && { name }) });
      const record = (name: string): Promise<KubeObject> =>
        client.create(eventPath(), labelled(eventOf(name)));
      await record('stays');
      await record('goes');
      const { told, troubles, lists, synced } = reflect(events);
      await seen('it is synced', synced);
      relay.down();
      await client.delete(eventPath('goes'));
      const { metadata } = await record('comes');
      await compactEtcd(Number(metadata?.resourceVersion));
      relay.up();
      await seen('the difference is told', () => told.length === 4);
      expect(told).toEqual(['new goes', 'new stays', 'deleted goes', 'new comes']);
      expect(troubles).toContain('gone');
      expect(lists()).toBe(2);
    },
  );

  const eventOf = (name: string): KubeObject =>
    ({
      apiVersion: 'v1',
      kind: 'Event',
      metadata: { name, namespace },
      involvedObject: { kind: 'ConfigMap', namespace, name },
      reason: 'Tried',
      type: 'Normal',
    }) as KubeObject;

  async function compactEtcd(revision: number): Promise<void> {
    const pki = '/etc/kubernetes/pki/etcd';
    const credentials = [
      '--cacert',
      `${pki}/ca.crt`,
      '--cert',
      `${pki}/server.crt`,
      '--key',
      `${pki}/server.key`,
    ];
    const said = await cluster.execOnNode(
      cluster.nodes.find((node) => node.endsWith('control-plane')) ?? '',
      [
        'curl',
        '-sS',
        ...credentials,
        'https://127.0.0.1:2379/v3/kv/compaction',
        '--data',
        JSON.stringify({ revision }),
      ],
    );
    expect(JSON.parse(said)).toHaveProperty('header.revision');
  }
});

test('a watch that tells of few objects keeps up with all changes by bookmarks, and ends on time', async () => {
  const told: WatchEvent<KubeObject>[] = [];
  const { resourceVersion } = await client.list(mapPath());
  // One comes about 2 s before the end, once the API server knows that the rest of the world has moved on.
  const query = { resourceVersion, labelSelector: 'nothing=has-it', timeoutSeconds: 12 };
  const other = await client.create<KubeObject>(mapPath(), mapOf('unseen'));
  for await (const event of client.watchStream<KubeObject>(mapPath(), query, new AbortController().signal)) {
    told.push(event);
  }
  expect(told.map(({ type }) => type)).toContain('BOOKMARK');
  const reached = Number(told.at(-1)?.object.metadata?.resourceVersion);
  expect(reached).toBeGreaterThanOrEqual(Number(other.metadata?.resourceVersion));
});

test('of two candidates one leads; when it is cut off, and when it stops, the other follows in time', async () => {
  const name = 'election';
  const stand = (through: KubeClient, identity: string): LeaderElection => {
    const ignored = (): void => undefined;
    const on = { onElected: ignored, onLost: ignored };
    const election = createLeaderElection({
      client: through,
      clock: systemClock,
      namespace,
      name,
      identity,
      ...on,
    });
    elections.push(election);
    election.start();
    return election;
  };
  const leads = (election: LeaderElection): Promise<unknown> =>
    until('it leads', 15_000, () => Promise.resolve(election.leading()));

  const first = stand(relayed, 'first');
  await leads(first);
  const { epoch = 0 } = first;
  const second = stand(client, 'second');
  await until('the leader is known', 5_000, () => Promise.resolve(second.holder() === 'first'));
  const lease = await client.get<Wire<V1Lease>>(objectPath({ ...leases, namespace, name }));
  expect(lease?.spec).toMatchObject({
    holderIdentity: 'first',
    leaseTransitions: epoch,
    leaseDurationSeconds: 5,
  });

  relay.down();
  const cutMs = performance.now();
  await leads(second);
  expect(performance.now() - cutMs).toBeLessThan(8_000);
  expect(first.leading()).toBe(false);
  expect(second.epoch).toBe(epoch + 1);

  relay.up();
  await until('the first knows', 5_000, () => Promise.resolve(first.holder() === 'second'));
  const stopMs = performance.now();
  await second.stop();
  await leads(first);
  expect(performance.now() - stopMs).toBeLessThan(2_000);
  expect(first.epoch).toBe(epoch + 2);
});

test('events show up in kubectl describe, the same sentence counted', async () => {
  const { metadata } = await client.create<KubeObject>(mapPath(), mapOf('described'));
  const dropped: unknown[] = [];
  const recorder = createEventRecorder({
    client,
    clock: systemClock,
    component: 'pilotlight-controller',
    instance: 'pod-a',
    onDropped: (_subject, _text, error) => dropped.push(error),
  });
  const subject = {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    namespace,
    name: 'described',
    uid: metadata?.uid ?? '',
  };
  for (let count = 0; count < 3; count += 1) {
    recorder.record(subject, { type: 'Warning', reason: 'Tried', message: 'it was tried' });
  }
  recorder.record(subject, { type: 'Normal', reason: 'Done', message: 'it is done' });
  await recorder.idle();
  expect(dropped).toEqual([]);
  const { items } = await client.list<Wire<CoreV1Event>>(objectPath({ ...events, namespace }), {
    fieldSelector: 'involvedObject.name=described',
  });
  expect(items.map(({ reason, count }) => `${reason} ${count}`).sort()).toEqual(['Done 1', 'Tried 3']);
  const described = await cluster.kubectl(['describe', 'configmap', 'described', '--namespace', namespace]);
  expect(described).toMatch(/Warning\s+Tried\s+.*\(x3 over .*\)\s+pilotlight-controller\s+it was tried/);
});
