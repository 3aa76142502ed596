import fc from 'fast-check';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { systemClock } from '../../system-clock.ts';
import { createKubeClient, type KubeClient } from './kube-client.ts';
import { createReflector, type Reflector, type ReflectorOptions } from './reflector.ts';
import { TestApiServer } from './testing/api-server.ts';
import { until } from './testing/until.ts';
import type { KubeObject } from './wire.ts';

let server: TestApiServer;
let client: KubeClient;
let told: string[];
const reflectors: Reflector<KubeObject>[] = [];

function reflect(options: Partial<ReflectorOptions<KubeObject>> = {}): Reflector<KubeObject> {
  const reflector = createReflector<KubeObject>({
    client,
    clock: systemClock,
    resource: { group: '', version: 'v1', plural: 'things' },
    onChange: ({ metadata }, previous) => {
      told.push(`${previous === undefined ? 'new' : 'changed'} ${metadata?.name}`);
    },
    onDelete: ({ metadata }) => told.push(`deleted ${metadata?.name}`),
    onSynced: () => told.push('synced'),
    baseBackOffMs: 5,
    maxBackOffMs: 20,
    ...options,
  });
  reflectors.push(reflector);
  reflector.start();
  return reflector;
}

const lists = (): number => server.requests.filter(({ url }) => url.includes('limit=')).length;
const watches = (): number => server.requests.filter(({ url }) => url.includes('watch=true')).length;

function sameAsServer(reflector: Reflector<KubeObject>): boolean {
  const version = (object: KubeObject | undefined): string | undefined => object?.metadata?.resourceVersion;
  return (
    reflector.store.size === server.objects.size &&
    [...server.objects].every(([key, object]) => version(reflector.store.get(key)) === version(object))
  );
}

beforeEach(async () => {
  told = [];
  server = await TestApiServer.start();
  client = createKubeClient({ access: server.access, version: '0' });
});

afterEach(async () => {
  for (const reflector of reflectors.splice(0)) reflector.stop();
  await client.close();
  await server.close();
});

test('tells what exists, then that it is synced, then each change', async () => {
  server.put('team', 'a');
  server.put('other', 'b');
  const reflector = reflect();
  await until(() => server.watches === 1);
  expect(told).toEqual(['new a', 'new b', 'synced']);
  expect(reflector.synced).toBe(true);
  server.put('team', 'a');
  server.remove('other', 'b');
  await until(() => told.length === 5);
  expect(told.slice(3)).toEqual(['changed a', 'deleted b']);
  expect([...reflector.store.keys()]).toEqual(['team/a']);
});

test('stored objects are frozen all the way down, from lists and from watches', async () => {
  server.put('team', 'a', { app: 'x' });
  const reflector = reflect();
  await until(() => server.watches === 1);
  server.put('team', 'b', { app: 'x' });
  await until(() => reflector.store.size === 2);
  for (const object of reflector.store.values()) expect(Object.isFrozen(object.metadata?.labels)).toBe(true);
});

test('an empty collection is synced as well', async () => {
  const reflector = reflect();
  await until(() => reflector.synced);
  expect(told).toEqual(['synced']);
});

test.each([
  ['cut', () => server.cutWatches()],
  ['ended by the server', () => server.endWatches()],
])('a watch that is %s goes on where it was, without a list', async (_what, interrupt) => {
  const reflector = reflect();
  await until(() => server.watches === 1);
  server.put('team', 'a');
  await until(() => reflector.store.size === 1);
  interrupt();
  server.put('team', 'b');
  server.remove('team', 'a');
  await until(() => told.length === 4);
  expect(told).toEqual(['synced', 'new a', 'new b', 'deleted a']);
  expect(lists()).toBe(1);
  expect(watches()).toBe(2);
});

test.each([
  ['by status', () => server.cutWatches()],
  ['by an ERROR event', () => server.expireWatches()],
])('410 %s: lists anew and tells the difference, deletions included', async (_how, interrupt) => {
  server.put('team', 'stays');
  server.put('team', 'goes');
  server.put('team', 'changes');
  server.put('team', 'is-replaced');
  const reflector = reflect();
  await until(() => server.watches === 1);
  told = [];
  interrupt();
  server.remove('team', 'goes');
  server.put('team', 'changes');
  server.remove('team', 'is-replaced');
  server.put('team', 'is-replaced');
  server.put('team', 'comes');
  server.compact();
  await until(() => sameAsServer(reflector));
  expect(told).toEqual([
    'deleted goes',
    'changed changes',
    'deleted is-replaced',
    'new is-replaced',
    'new comes',
  ]);
  expect(lists()).toBe(2);
});

test('a bookmark moves the place to go on from, over a compaction of the history', async () => {
  const reflector = reflect({ namespaces: ['team'] });
  await until(() => server.watches === 1);
  server.put('team', 'a');
  server.put('other', 'elsewhere');
  server.bookmark();
  server.compact();
  await until(() => reflector.store.size === 1);
  server.endWatches();
  await until(() => watches() === 2);
  server.put('team', 'b');
  await until(() => reflector.store.size === 2);
  expect(lists()).toBe(1);
});

test('silence for longer than the limit has it connect again; bookmarks are no silence', async () => {
  const troubles: unknown[] = [];
  const reflector = reflect({ inactivityMs: 120, onTrouble: (error) => troubles.push(error) });
  await until(() => server.watches === 1);
  for (let count = 0; count < 5; count += 1) {
    await new Promise((resolve) => setTimeout(resolve, 50));
    server.bookmark();
  }
  expect(watches()).toBe(1);
  await until(() => watches() === 2);
  expect(String(troubles[0])).toContain('silent for 120 ms');
  server.put('team', 'a');
  await until(() => reflector.store.size === 1);
});

test('several namespaces have a watch each and one store, and are synced together', async () => {
  server.put('one', 'a');
  server.put('two', 'b');
  server.put('three', 'c');
  const reflector = reflect({ namespaces: ['one', 'two', 'one'] });
  await until(() => server.watches === 2);
  expect(told.at(-1)).toBe('synced');
  expect([...reflector.store.keys()].sort()).toEqual(['one/a', 'two/b']);
});

test('selectors go out with lists and watches', async () => {
  reflect({ labelSelector: 'app=x', fieldSelector: 'status.phase=Running' });
  await until(() => server.watches === 1);
  for (const { url } of server.requests) {
    expect(url).toContain('labelSelector=app%3Dx&fieldSelector=status.phase%3DRunning');
  }
});

test('a server that is away at first, or refuses watches, is not given up', async () => {
  server.faults.push({ type: 'status', status: 403 }, { type: 'status', status: 404 });
  const troubles: string[] = [];
  const reflector = reflect({ onTrouble: (error) => troubles.push(String(error)) });
  await until(() => server.watches === 1);
  expect(troubles).toHaveLength(2);
  expect(reflector.synced).toBe(true);
});

test('watches that end at once are not asked for without a pause', async () => {
  server.faults.push({ type: 'status', status: 200, body: emptyList });
  server.faults.push(...Array.from({ length: 1_000 }, () => ({ type: 'status' as const, status: 200 })));
  reflect({ baseBackOffMs: 20, maxBackOffMs: 1_000 });
  await new Promise((resolve) => setTimeout(resolve, 400));
  expect(watches()).toBeGreaterThan(1);
  expect(watches()).toBeLessThan(8);
});

const emptyList = '{"kind":"ThingList","metadata":{"resourceVersion":"1"},"items":[]}';

test('a callback that throws is reported and stops nothing', async () => {
  const troubles: unknown[] = [];
  const reflector = reflect({
    onChange: () => {
      throw new Error('a mistake');
    },
    onTrouble: (error) => troubles.push(error),
  });
  await until(() => server.watches === 1);
  server.put('team', 'a');
  server.put('team', 'b');
  await until(() => reflector.store.size === 2);
  expect(troubles.map(String)).toEqual(['Error: a mistake', 'Error: a mistake']);
});

test('stopping ends everything at once: no callback after it, no connection left', async () => {
  const reflector = reflect();
  await until(() => server.watches === 1);
  server.put('team', 'a');
  reflector.stop();
  await until(() => server.watches === 0);
  server.put('team', 'b');
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(told).toEqual(['synced']);
  expect(watches()).toBe(1);
});

test('stopping in the middle of a list tells nothing of it', async () => {
  server.put('team', 'a');
  server.delayMs = 30;
  const reflector = reflect();
  await until(() => server.concurrent === 1);
  reflector.stop();
  await new Promise((resolve) => setTimeout(resolve, 80));
  expect(told).toEqual([]);
});

test('over real connections too, any order of changes and disturbances ends as the server is', async () => {
  const act = fc.constantFrom('put', 'put', 'remove', 'cut', 'end', 'expire', 'compact', 'bookmark', 'wait');
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(act, fc.constantFrom('a', 'b', 'c')), { maxLength: 30 }),
      async (acts) => {
        const reflector = reflect();
        for (const [what, name] of acts) {
          if (what === 'put') server.put('team', name);
          else if (what === 'remove') server.remove('team', name);
          else if (what === 'cut') server.cutWatches();
          else if (what === 'end') server.endWatches();
          else if (what === 'expire') server.expireWatches();
          else if (what === 'compact') server.compact();
          else if (what === 'bookmark') server.bookmark();
          else await new Promise((resolve) => setTimeout(resolve, 3));
        }
        await until(() => reflector.synced && sameAsServer(reflector));
        reflector.stop();
      },
    ),
    { numRuns: 60 },
  );
});
