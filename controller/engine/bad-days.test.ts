import { expect, test } from 'vitest';
import { resolvedService } from '../core/testing/resolved-service.ts';
import { EngineBench } from './testing/engine-bench.ts';
import { SimulatedActivator } from './testing/simulated-activator.ts';

const SCALING = { stableWindow: '6s', scaleToZeroGracePeriod: '1s' };

test('a standby that dies while it loads is replaced at once, and the request is answered', async () => {
  const bench = new EngineBench({}, { standbys: 2, outcomeOf: () => ({ loadMs: 500, capacity: 4 }) });
  await bench.start();
  await bench.clock.until(() => bench.phases('standby').length === 2);
  bench.world.apply(resolvedService('ocr', { scaling: SCALING }));
  await bench.clock.settle();
  const activator = new SimulatedActivator(bench);
  await bench.clock.advance(100);
  activator.request('uid-ocr');
  await bench.clock.advance(200);
  const [loading = ''] = bench.phases('claiming');
  bench.world.kill(loading);
  await bench.clock.settle();
  expect(bench.phases('claiming')).toHaveLength(1);
  await bench.clock.until(() => activator.answered === 1, 2_000);
  expect(bench.controller.views.coldStarts({}).map(({ outcome }) => outcome)).toEqual(['answered', 'failed']);
});

test('a process that dies at each load is not hammered, and callers get the error', async () => {
  const bench = new EngineBench({}, { outcomeOf: () => ({ loadMs: 500, capacity: 4 }) });
  await bench.warm();
  bench.world.apply(resolvedService('ocr', { scaling: SCALING }));
  await bench.clock.settle();
  const activator = new SimulatedActivator(bench);
  await bench.clock.advance(100);
  activator.request('uid-ocr');
  let deaths = 0;
  await bench.clock.until(() => {
    for (const id of bench.phases('claiming')) {
      deaths++;
      bench.world.kill(id);
    }
    return activator.failed === 1;
  }, 20_000);
  expect(deaths).toBe(3);
  expect(bench.route('uid-ocr').revisions[0]?.failure).toMatchObject({ code: 'replica-failed' });
});

test('a replica that dies while it serves is out of the routes at once and is replaced', async () => {
  const bench = new EngineBench();
  await bench.warm();
  bench.world.apply(resolvedService('ocr', { scaling: SCALING, predictor: { minReplicas: 1 } }));
  await bench.clock.until(() => bench.endpoints('uid-ocr').length === 1);
  await bench.clock.until(() => bench.phases('standby').length === 1);
  const [serving = ''] = bench.endpoints('uid-ocr');
  bench.world.kill(serving);
  expect(bench.endpoints('uid-ocr')).toEqual([]);
  await bench.clock.until(() => bench.endpoints('uid-ocr').length === 1, 1_000);
  expect(bench.world.events.some(({ reason }) => reason === 'ReplicaCrashed')).toBe(true);
});

test('a replica that crashes again and again is started at growing intervals', async () => {
  const bench = new EngineBench();
  await bench.warm();
  bench.world.apply(resolvedService('ocr', { scaling: SCALING, predictor: { minReplicas: 1 } }));
  let crashes = 0;
  const untilMs = bench.clock.nowMs() + 60_000;
  await bench.clock.until(() => {
    for (const id of bench.endpoints('uid-ocr')) {
      crashes++;
      bench.world.kill(id);
    }
    return bench.clock.nowMs() > untilMs;
  }, 61_000);
  // 0, 0.5, 1, 2, 4, 8, 16 s between them: 8 within a minute, where unbounded tries would be hundreds.
  expect(crashes).toBeGreaterThanOrEqual(6);
  expect(crashes).toBeLessThanOrEqual(9);
});

test('a controller that comes back adopts what serves, and the service is not interrupted', async () => {
  const bench = new EngineBench();
  await bench.warm();
  bench.world.apply(resolvedService('ocr', { scaling: SCALING, predictor: { minReplicas: 2 } }));
  await bench.clock.until(() => bench.endpoints('uid-ocr').length === 2);
  const before = bench.endpoints('uid-ocr').sort();
  await bench.restart();
  expect(bench.endpoints('uid-ocr').sort()).toEqual(before);
  await bench.clock.advance(10_000);
  expect(bench.endpoints('uid-ocr').sort()).toEqual(before);
  expect(bench.world.replicas.size).toBe(3);
});

test('a controller killed in the middle of a cold start is followed by one that carries it on', async () => {
  const bench = new EngineBench({}, { outcomeOf: () => ({ loadMs: 1_000, capacity: 4 }) });
  await bench.warm();
  bench.world.apply(resolvedService('ocr', { scaling: SCALING }));
  await bench.clock.settle();
  const activator = new SimulatedActivator(bench);
  await bench.clock.advance(100);
  activator.request('uid-ocr');
  await bench.clock.advance(500);
  const [loading] = bench.phases('claiming');
  await bench.restart();
  activator.connect();
  expect(bench.phases('claiming')).toEqual([loading]);
  await bench.clock.until(() => activator.answered === 1, 1_000);
  expect(bench.endpoints('uid-ocr')).toEqual([loading]);
});

test('a controller that comes back takes in replicas of services and revisions that are gone', async () => {
  const bench = new EngineBench();
  await bench.warm();
  bench.world.apply(resolvedService('ocr', { scaling: SCALING, predictor: { minReplicas: 1 } }));
  bench.world.apply(resolvedService('vad', { scaling: SCALING, predictor: { minReplicas: 1 } }));
  await bench.clock.until(() => bench.endpoints('uid-ocr').length + bench.endpoints('uid-vad').length === 2);
  const [orphan = ''] = bench.endpoints('uid-vad');
  await bench.controller.stop('leave');
  bench.world.services.delete('uid-vad');
  await bench.restart();
  await bench.clock.until(() => !bench.world.replicas.has(orphan));
  expect(bench.endpoints('uid-ocr')).toHaveLength(1);
});

test('nothing is started or ended before everything is known', async () => {
  const bench = new EngineBench();
  await bench.warm();
  bench.world.apply(resolvedService('ocr', { scaling: SCALING, predictor: { minReplicas: 1 } }));
  await bench.clock.until(() => bench.endpoints('uid-ocr').length === 1);
  await bench.controller.stop('leave');
  bench.world.failing.push('loadRevisions');
  bench.world.calls.length = 0;
  const restarted = bench.restart();
  await bench.clock.advance(900);
  expect(bench.world.calls).toEqual(['loadRevisions uid-ocr']);
  expect(bench.controller.isReady).toBe(false);
  await bench.clock.advance(200);
  await restarted;
  expect(bench.endpoints('uid-ocr')).toHaveLength(1);
});

test('a service deleted while it starts leaves nothing behind', async () => {
  const bench = new EngineBench({}, { outcomeOf: () => ({ loadMs: 1_000, capacity: 4 }) });
  await bench.warm();
  bench.world.apply(resolvedService('ocr', { scaling: SCALING, predictor: { minReplicas: 3 } }));
  await bench.clock.advance(200);
  const loading = bench.phases('claiming');
  expect(loading).toHaveLength(1);
  bench.world.delete('uid-ocr');
  await bench.clock.settle();
  expect(bench.controller.context.routes.get('uid-ocr')).toBeUndefined();
  expect(bench.world.replicas.has(loading[0] ?? '')).toBe(false);
  await bench.clock.advance(5_000);
  expect(bench.world.replicas.size).toBe(1);
  expect(bench.controller.context.services.size).toBe(0);
});

test('a service deleted while it serves is drained before its replica goes', async () => {
  const bench = new EngineBench();
  await bench.warm();
  bench.world.apply(resolvedService('ocr', { scaling: SCALING }));
  await bench.clock.settle();
  const activator = new SimulatedActivator(bench, { serviceMs: 2_000 });
  await bench.clock.advance(100);
  activator.request('uid-ocr');
  await bench.clock.advance(500);
  bench.world.delete('uid-ocr');
  await bench.clock.until(() => activator.answered === 1, 3_000);
  expect(activator.lost).toBe(0);
  await bench.clock.until(() => bench.controller.context.services.size === 0, 1_000);
});

test('two services race for one standby: one gets it, the other a process of its own, both are answered', async () => {
  const bench = new EngineBench();
  await bench.warm();
  bench.world.apply(resolvedService('ocr', { scaling: SCALING }));
  bench.world.apply(resolvedService('vad', { scaling: SCALING }));
  await bench.clock.settle();
  const activator = new SimulatedActivator(bench);
  await bench.clock.advance(100);
  activator.request('uid-ocr');
  activator.request('uid-vad');
  expect(bench.phases('claiming')).toEqual(['host-1.0']);
  await bench.clock.until(() => activator.answered === 2, 2_000);
  expect(bench.endpoints('uid-ocr')).toEqual(['host-1.0']);
  expect(bench.endpoints('uid-vad')).toHaveLength(1);
  const { calls } = bench.world;
  expect(calls.filter((call) => call === 'specialise host-1.0')).toHaveLength(1);
});

test('a recycled standby is for its own service at once and for others after the quarantine', async () => {
  const bench = new EngineBench({ quarantineMs: 30_000 });
  await bench.warm();
  bench.world.apply(resolvedService('ocr', { scaling: SCALING }));
  bench.world.apply(resolvedService('vad', { scaling: SCALING }));
  await bench.clock.settle();
  const activator = new SimulatedActivator(bench);
  await bench.clock.advance(100);
  activator.request('uid-ocr');
  await bench.clock.until(() => activator.answered === 1);
  const host = (bench.endpoints('uid-ocr')[0] ?? '').split('.')[0];
  await bench.clock.until(() => bench.phases('standby').includes(`${host}.1`), 60_000, 50);
  // The pool has its open standby beside the one in quarantine; the stranger gets the open one, then a new one.
  for (const id of bench.phases('standby')) if (!id.startsWith(`${host}.`)) bench.world.kill(id);
  activator.request('uid-vad');
  await bench.clock.until(() => activator.answered === 2, 2_000);
  expect(bench.endpoints('uid-vad')[0]?.split('.')[0]).not.toBe(host);
  activator.request('uid-ocr');
  await bench.clock.until(() => activator.answered === 3, 2_000);
  expect(bench.endpoints('uid-ocr')[0]).toBe(`${host}.1`);
});

test('after the quarantine the pool shrinks to its size, and the one with a model in its cache stays', async () => {
  const bench = new EngineBench({ quarantineMs: 30_000 });
  await bench.warm();
  bench.world.apply(resolvedService('ocr', { scaling: SCALING }));
  await bench.clock.settle();
  const activator = new SimulatedActivator(bench);
  await bench.clock.advance(100);
  activator.request('uid-ocr');
  await bench.clock.until(() => activator.answered === 1);
  const host = (bench.endpoints('uid-ocr')[0] ?? '').split('.')[0];
  await bench.clock.until(() => bench.phases('standby').length === 2, 60_000, 50);
  await bench.clock.advance(31_000);
  expect(bench.phases('standby')).toEqual([`${host}.1`]);
});

test('errors of the platform end in a status and are tried again, and the engine lives on', async () => {
  const bench = new EngineBench({}, { standbys: 0 });
  await bench.start();
  bench.world.failing.push('createStandby', 'saveRevisions', 'writeStatus', 'specialise');
  bench.world.apply(resolvedService('ocr', { scaling: SCALING, predictor: { minReplicas: 1 } }));
  await bench.clock.until(() => bench.endpoints('uid-ocr').length === 1, 5_000);
  await bench.clock.advance(5_000);
  expect(bench.world.failing).toEqual([]);
  expect(bench.world.statuses.get('uid-ocr')?.replicas).toMatchObject({ ready: 1 });
  expect(bench.world.revisions.get('uid-ocr')).toHaveLength(1);
});

test('a recycle or a removal that fails is not the end of it', async () => {
  const bench = new EngineBench();
  await bench.warm();
  bench.world.apply(resolvedService('ocr', { scaling: SCALING }));
  await bench.clock.settle();
  const activator = new SimulatedActivator(bench);
  await bench.clock.advance(100);
  activator.request('uid-ocr');
  await bench.clock.until(() => activator.answered === 1);
  const [id = ''] = bench.endpoints('uid-ocr');
  bench.world.failing.push('recycle', 'remove', 'remove');
  await bench.clock.until(() => !bench.world.replicas.has(id), 30_000, 50);
  expect(bench.world.failing).toEqual([]);
});

test('standbys that can not be started are tried again at growing intervals', async () => {
  const bench = new EngineBench();
  bench.world.failing.push(...Array.from({ length: 5 }, () => 'createStandby'));
  await bench.start();
  await bench.clock.advance(1_000);
  expect(bench.world.calls.filter((call) => call === 'createStandby ').length).toBeLessThanOrEqual(4);
  await bench.clock.until(() => bench.phases('standby').length === 1, 30_000);
});

test('a standby whose place is about to go is replaced', async () => {
  const bench = new EngineBench();
  await bench.warm();
  const [id = ''] = bench.phases('standby');
  bench.world.get(id).become('draining');
  await bench.clock.until(() => bench.phases('standby').length === 1 && !bench.world.replicas.has(id), 5_000);
  expect(bench.phases('standby')).not.toContain(id);
});

test('credentials are not among what is kept of a revision, and are in the claim', async () => {
  const bench = new EngineBench();
  await bench.warm();
  const access = { s3: { endpoint: 'http://s3', secretAccessKey: 'very secret' } };
  bench.world.apply({ ...resolvedService('ocr', { predictor: { minReplicas: 1 } }), access });
  await bench.clock.until(() => bench.endpoints('uid-ocr').length === 1);
  expect(JSON.stringify(bench.world.revisions.get('uid-ocr'))).not.toContain('secret');
  expect(bench.world.revisions.get('uid-ocr')?.[0]?.identity?.files).toHaveLength(1);
});

const OWN_SERVER = { predictor: { containers: [{ image: 'team/server:1' }] }, scaling: SCALING };

test('a server of the user’s own is ended only when its requests have been answered', async () => {
  const bench = new EngineBench();
  await bench.warm();
  bench.world.apply(resolvedService('own', OWN_SERVER));
  await bench.clock.settle();
  const activator = new SimulatedActivator(bench, { serviceMs: 4_000 });
  await bench.clock.advance(100);
  activator.request('uid-own');
  await bench.clock.until(() => bench.endpoints('uid-own').length === 1, 5_000);
  await bench.clock.advance(500);
  const [id = ''] = bench.endpoints('uid-own');
  // As a pod that somebody deletes is seen: it leaves the routes at once and another one takes its place.
  bench.world.get(id).become('draining');
  await bench.clock.settle();
  expect(bench.endpoints('uid-own')).toEqual([]);
  expect(bench.world.replicas.has(id)).toBe(true);
  await bench.clock.until(() => activator.answered === 1, 10_000);
  await bench.clock.until(() => !bench.world.replicas.has(id), 2_000);
  expect(activator.lost).toBe(0);
});

test('a server of the user’s own whose requests never end is ended at their time limit', async () => {
  const bench = new EngineBench();
  await bench.warm();
  const limited = { ...OWN_SERVER.predictor, timeout: 5 };
  bench.world.apply(resolvedService('own', { ...OWN_SERVER, predictor: limited }));
  await bench.clock.settle();
  const activator = new SimulatedActivator(bench, { serviceMs: 60_000 });
  await bench.clock.advance(100);
  activator.request('uid-own');
  await bench.clock.until(() => bench.endpoints('uid-own').length === 1, 5_000);
  await bench.clock.advance(500);
  const [id = ''] = bench.endpoints('uid-own');
  bench.world.get(id).become('draining');
  await bench.clock.advance(4_500);
  expect(bench.world.replicas.has(id)).toBe(true);
  await bench.clock.until(() => !bench.world.replicas.has(id), 2_000);
});
