import type { V1Pod } from '@kubernetes/client-node';
import { afterEach, beforeEach, describe, expect, expectTypeOf, test } from 'vitest';
import { createKubeClient, type KubeClient, type KubeClientOptions } from './kube-client.ts';
import { isKubeError, type KubeError } from './kube-error.ts';
import { objectPath } from './paths.ts';
import { TestApiServer } from './testing/api-server.ts';
import { until } from './testing/until.ts';
import type { KubeObject, WatchEvent, Wire } from './wire.ts';

const THINGS = { group: '', version: 'v1', plural: 'things' };
const things = objectPath({ ...THINGS, namespace: 'team' });
const thing = (name: string): string => objectPath({ ...THINGS, namespace: 'team', name });

let server: TestApiServer;
const clients: KubeClient[] = [];

function connect(options: Partial<KubeClientOptions> = {}): KubeClient {
  const client = createKubeClient({ access: server.access, version: '1.2.3', ...options });
  clients.push(client);
  return client;
}

const failure = (promise: Promise<unknown>): Promise<KubeError> =>
  promise.then(
    () => {
      throw new Error('expected it to fail');
    },
    (error: KubeError) => error,
  );

beforeEach(async () => {
  server = await TestApiServer.start();
});

afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.close()));
  await server.close();
});

describe('verbs', () => {
  test('an object is created, read, replaced, patched and deleted', async () => {
    const client = connect();
    const body = { apiVersion: 'v1', kind: 'Thing', metadata: { namespace: 'team', name: 'a' } };
    const created = await client.create<KubeObject>(things, body);
    expect(await client.get(thing('a'))).toEqual(created);
    const replaced = await client.replace<KubeObject>(thing('a'), created);
    expect(replaced.metadata?.resourceVersion).not.toBe(created.metadata?.resourceVersion);
    const patched = await client.patch<KubeObject>(thing('a'), 'merge', { metadata: { labels: { x: 'y' } } });
    expect(patched.metadata?.labels).toEqual({ x: 'y' });
    await client.delete(thing('a'));
    expect(await client.get(thing('a'))).toBeUndefined();
    await client.delete(thing('a'));
  });

  test('each patch goes out under its own media type, apply with a field manager and by force', async () => {
    const client = connect();
    server.put('team', 'a');
    await client.patch(thing('a'), 'apply', {});
    await client.patch(thing('a'), 'apply', {}, { force: false, fieldManager: 'other' });
    await client.patch(thing('a'), 'json', []);
    const sent = server.requests.map(({ url, headers }) => [headers['content-type'], url.split('?')[1]]);
    expect(sent).toEqual([
      ['application/apply-patch+yaml', 'fieldManager=pilotlight&force=true'],
      ['application/apply-patch+yaml', 'fieldManager=other&force=false'],
      ['application/json-patch+json', 'fieldManager=pilotlight'],
    ]);
  });

  test('a deletion carries its preconditions, and another incarnation is a conflict', async () => {
    const client = connect();
    const { metadata } = server.put('team', 'a');
    const error = await failure(client.delete(thing('a'), { uid: 'another', gracePeriodSeconds: 0 }));
    expect(error.code).toBe('conflict');
    expect(JSON.parse(server.requests[0]?.body ?? '')).toMatchObject({
      gracePeriodSeconds: 0,
      preconditions: { uid: 'another' },
    });
    await client.delete(thing('a'), { uid: metadata?.uid ?? '' });
    expect(server.objects.size).toBe(0);
  });

  test('says who it is', async () => {
    await connect().raw('/version');
    expect(server.requests[0]?.headers).toMatchObject({
      'user-agent': 'pilotlight-controller/1.2.3',
      authorization: 'Bearer test',
    });
  });
});

describe('lists', () => {
  test('come whole over several pages, every item with its kind', async () => {
    for (let index = 0; index < 1_201; index += 1) server.put('team', `thing-${index}`);
    const { items, resourceVersion } = await connect().list<KubeObject>(things, { labelSelector: 'a=b' });
    expect(items).toHaveLength(1_201);
    expect(new Set(items.map(({ metadata }) => metadata?.name)).size).toBe(1_201);
    expect(items[0]).toMatchObject({ apiVersion: 'v1', kind: 'Thing' });
    expect(resourceVersion).toBe('1301');
    expect(server.requests).toHaveLength(3);
    expect(server.requests.every(({ url }) => url.includes('labelSelector=a%3Db'))).toBe(true);
  });

  test('begin anew in one piece when the continue token has expired', async () => {
    for (let index = 0; index < 600; index += 1) server.put('team', `thing-${index}`);
    const client = connect();
    server.faults.push({ type: 'status', status: 200, body: JSON.stringify(firstPage('100:500')) });
    server.put('team', 'late');
    server.compact();
    const { items } = await client.list(things);
    expect(items).toHaveLength(601);
    expect(server.requests.map(({ url }) => url.includes('limit='))).toEqual([true, true, false]);
  });

  test('that are no lists are refused', async () => {
    server.faults.push({ type: 'status', status: 200, body: '{"kind":"Thing"}' });
    expect((await failure(connect().list(things))).code).toBe('malformed');
  });
});

const firstPage = (next: string): object => ({
  kind: 'ThingList',
  metadata: { resourceVersion: '100', continue: next },
  items: [{ metadata: { name: 'old' } }],
});

describe('errors', () => {
  test.each([
    [400, 'invalid'],
    [401, 'unauthorised'],
    [403, 'forbidden'],
    [404, 'not-found'],
    [409, 'conflict'],
    [410, 'gone'],
    [413, 'too-large'],
    [422, 'invalid'],
    [429, 'too-many-requests'],
    [500, 'internal'],
    [503, 'unavailable'],
    [504, 'timeout'],
    [302, 'failed'],
  ])('status %i has code %s', async (status, code) => {
    const faults = Array.from({ length: 2 }, () => ({ type: 'status' as const, status, body: 'no Status' }));
    server.faults.push(...faults);
    const error = await failure(connect().create(things, {}));
    expect(error).toMatchObject({ name: 'KubeError', code, status });
    expect(error.message).toContain('POST /api/v1/namespaces/team/things?fieldManager=pilotlight');
    expect(error.message).toContain('no Status');
  });

  test("carry Kubernetes' reason and message", async () => {
    server.put('team', 'a');
    const error = await failure(connect().create(things, { metadata: { namespace: 'team', name: 'a' } }));
    expect(error).toMatchObject({ code: 'already-exists', status: 409, reason: 'AlreadyExists' });
    expect(error.message).toContain('team/a exists');
  });

  test('an answer without end is a timeout, be it the header or the body', async () => {
    const client = connect({ timeoutMs: 60 });
    server.faults.push({ type: 'stall' }, { type: 'slow-body' });
    expect((await failure(client.get(thing('a')))).code).toBe('timeout');
    expect((await failure(client.get(thing('a')))).code).toBe('timeout');
    server.put('team', 'a');
    expect(await client.get(thing('a'))).toBeDefined();
  });

  test('an answer over the limit is refused while it comes in', async () => {
    server.put('team', 'a', { long: 'x'.repeat(2_000) });
    expect((await failure(connect({ maxAnswerBytes: 1_000 }).get(thing('a')))).code).toBe('too-large');
  });

  test('the caller may end a call, and closing the client ends all', async () => {
    const client = connect();
    server.faults.push({ type: 'stall' }, { type: 'stall' });
    const ended = failure(client.get(thing('a'), { signal: AbortSignal.timeout(30) }));
    const closed = failure(client.get(thing('a')));
    expect((await ended).code).toBe('aborted');
    await client.close();
    expect((await closed).code).toBe('aborted');
  });

  test('no server at all is unavailable', async () => {
    const client = connect();
    await server.close();
    expect(isKubeError(await failure(client.create(things, {})), 'unavailable')).toBe(true);
    server = await TestApiServer.start();
  });
});

describe('repeats', () => {
  test('a read is repeated after 429, 5xx and a cut connection', async () => {
    server.put('team', 'a');
    server.faults.push({ type: 'status', status: 429 }, { type: 'status', status: 500 }, { type: 'cut' });
    expect(await connect({ random: () => 0 }).get(thing('a'))).toBeDefined();
    expect(server.requests).toHaveLength(4);
  });

  test('a read waits as long as the server asks', async () => {
    server.put('team', 'a');
    server.faults.push({ type: 'status', status: 429, headers: { 'retry-after': '1' } });
    const beforeMs = performance.now();
    await connect().get(thing('a'));
    expect(performance.now() - beforeMs).toBeGreaterThan(990);
  });

  test('a read that has to wait longer than its deadline fails at once and says how long', async () => {
    server.faults.push({ type: 'status', status: 503, headers: { 'retry-after': '60' } });
    const error = await failure(connect().get(thing('a')));
    expect(error).toMatchObject({ code: 'unavailable', retryAfterMs: 60_000 });
    expect(server.requests).toHaveLength(1);
  });

  test('a read gives up after some tries, and a refusal is not repeated', async () => {
    server.faults.push(...Array.from({ length: 5 }, () => ({ type: 'status' as const, status: 500 })));
    expect((await failure(connect({ random: () => 0 }).get(thing('a')))).code).toBe('internal');
    expect(server.requests).toHaveLength(5);
    server.faults.push({ type: 'status', status: 403 });
    await failure(connect().get(thing('a')));
    expect(server.requests).toHaveLength(6);
  });

  test('a write is never repeated', async () => {
    const client = connect();
    const faults = [{ type: 'status', status: 503 } as const, { type: 'cut' } as const];
    for (const fault of faults) {
      server.faults.push(fault);
      expect((await failure(client.create(things, {}))).code).toBe('unavailable');
    }
    expect(server.requests).toHaveLength(2);
  });

  test('a refused token is read anew, and the call, even a write, tried once more', async () => {
    let token = 'old';
    const access = {
      ...server.access,
      headers: () => Promise.resolve({ authorization: token }),
      refused: () => {
        token = 'new';
      },
    };
    server.faults.push({ type: 'status', status: 401 });
    await connect({ access }).create(things, { metadata: { namespace: 'team', name: 'a' } });
    expect(server.requests.map(({ headers }) => headers.authorization)).toEqual(['old', 'new']);
  });
});

describe('connections', () => {
  // Two and not one: undici uses a connection again a turn of the event loop after its answer has ended.
  test('a thousand calls one after the other take at most two connections', async () => {
    server.put('team', 'a');
    const client = connect();
    for (let count = 0; count < 1_000; count += 1) await client.get(thing('a'));
    expect(server.connections).toBeLessThanOrEqual(2);
  });

  test('no more calls at once than allowed, and connections in proportion', async () => {
    server.put('team', 'a');
    server.delayMs = 2;
    const client = connect({ maxConcurrentCalls: 4 });
    await Promise.all(Array.from({ length: 100 }, () => client.get(thing('a'))));
    expect(server.mostConcurrent).toBe(4);
    expect(server.connections).toBeLessThanOrEqual(8);
  });

  test('a call that times out while it waits for its turn leaves the line', async () => {
    const client = connect({ maxConcurrentCalls: 1 });
    server.put('team', 'a');
    server.faults.push({ type: 'stall' });
    const first = failure(client.get(thing('a'), { timeoutMs: 200 }));
    expect((await failure(client.get(thing('a'), { timeoutMs: 20 }))).code).toBe('timeout');
    const third = client.get(thing('a'));
    expect((await first).code).toBe('timeout');
    expect(await third).toBeDefined();
    expect(server.requests).toHaveLength(2);
  });
});

describe('watches', () => {
  async function collect(
    client: KubeClient,
    into: WatchEvent<KubeObject>[],
    signal = new AbortController().signal,
  ): Promise<void> {
    for await (const event of client.watchStream<KubeObject>(things, { resourceVersion: '100' }, signal)) {
      into.push(event);
    }
  }

  test('tell changes and bookmarks in order, until the server ends them', async () => {
    const events: WatchEvent<KubeObject>[] = [];
    const watching = collect(connect(), events);
    await until(() => server.watches === 1);
    server.put('team', 'a');
    server.put('team', 'a');
    server.bookmark();
    server.remove('team', 'a');
    server.endWatches();
    await watching;
    expect(events.map(({ type }) => type)).toEqual(['ADDED', 'MODIFIED', 'BOOKMARK', 'DELETED']);
    expect(server.requests[0]?.url).toContain('watch=true&allowWatchBookmarks=true');
  });

  test('end quietly and at once when their user has enough', async () => {
    const ending = new AbortController();
    const watching = collect(connect(), [], ending.signal);
    await until(() => server.watches === 1);
    ending.abort();
    await watching;
    await until(() => server.watches === 0);
  });

  test('hold no place among the calls', async () => {
    const client = connect({ maxConcurrentCalls: 1 });
    const endings = [1, 2, 3].map(() => new AbortController());
    const watching = endings.map(({ signal }) => collect(client, [], signal));
    await until(() => server.watches === 3);
    await client.raw('/things');
    for (const ending of endings) ending.abort();
    await Promise.all(watching);
  });

  test('say so when they are cut, told that they are too old, or refused', async () => {
    const client = connect();
    const cut = failure(collect(client, []));
    await until(() => server.watches === 1);
    server.cutWatches();
    expect((await cut).code).toBe('unavailable');
    await until(() => server.watches === 0);
    const expired = failure(collect(client, []));
    await until(() => server.watches === 1);
    server.expireWatches();
    expect((await expired).code).toBe('gone');
    server.put('team', 'a');
    server.compact();
    expect((await failure(collect(client, []))).code).toBe('gone');
  });

  test('must begin within the time of a call, and may be silent after that', async () => {
    const client = connect({ timeoutMs: 60 });
    server.faults.push({ type: 'stall' });
    expect((await failure(collect(client, []))).code).toBe('timeout');
    const events: WatchEvent<KubeObject>[] = [];
    const watching = collect(client, events);
    await until(() => server.watches === 1);
    await new Promise((resolve) => setTimeout(resolve, 150));
    server.put('team', 'a');
    server.endWatches();
    await watching;
    expect(events).toHaveLength(1);
  });

  test.each(['{"type":"ADDED"}\n', 'nonsense\n', '{"type":"OTHER","object":{}}\n', 'null\n'])(
    'refuse what is no event: %j',
    async (body) => {
      server.faults.push({ type: 'status', status: 200, body });
      expect((await failure(collect(connect(), []))).code).toBe('malformed');
    },
  );
});

test('types of the client library become those of the wire, and are kube objects', () => {
  expectTypeOf<Wire<V1Pod>>().toExtend<KubeObject>();
  expectTypeOf<NonNullable<Wire<V1Pod>['metadata']>['creationTimestamp']>().toEqualTypeOf<
    string | undefined
  >();
});
