import { expect, test } from 'vitest';
import { resolvedService } from '../core/testing/resolved-service.ts';
import { EngineBench } from './testing/engine-bench.ts';
import { SimulatedActivator } from './testing/simulated-activator.ts';

const SCALING = { stableWindow: '6s', scaleToZeroGracePeriod: '1s' };

test('a service goes from zero to eight replicas and back ten times, and no request is lost', async () => {
  const bench = new EngineBench();
  await bench.warm();
  const predictor = { containerConcurrency: 4, maxReplicas: 8 };
  bench.world.apply(resolvedService('ocr', { predictor, scaling: SCALING }));
  await bench.clock.settle();
  const activator = new SimulatedActivator(bench, { serviceMs: 200 });
  await bench.clock.advance(100);
  let sent = 0;
  for (let round = 0; round < 10; round++) {
    const stop = activator.clients('uid-ocr', 30);
    await bench.clock.until(() => bench.endpoints('uid-ocr').length === 8, 30_000, 50);
    await bench.clock.advance(1_000);
    stop();
    await bench.clock.until(() => activator.open === 0);
    expect(activator.answered).toBeGreaterThan(sent);
    sent = activator.answered;
    await bench.clock.until(() => bench.endpoints('uid-ocr').length === 0, 60_000, 100);
    await bench.clock.until(() => bench.phases('ready').length + bench.phases('draining').length === 0);
  }
  expect(activator.lost).toBe(0);
  expect(activator.refused).toBe(0);
  // The pool is back to its size: one for anybody, and at most one that is still in quarantine.
  await bench.clock.advance(40_000);
  expect(bench.world.replicas.size).toBe(1);
});

async function scaleInUnderLoad(bench: EngineBench, serviceMs = 50): Promise<SimulatedActivator> {
  await bench.warm();
  const predictor = { containerConcurrency: 4, maxReplicas: 8 };
  bench.world.apply(resolvedService('ocr', { predictor, scaling: SCALING }));
  await bench.clock.settle();
  const activator = new SimulatedActivator(bench, { serviceMs });
  await bench.clock.advance(100);
  const stopMany = activator.clients('uid-ocr', 24);
  await bench.clock.until(() => bench.endpoints('uid-ocr').length === 8, 30_000, 50);
  const stopSome = activator.clients('uid-ocr', 10);
  stopMany();
  await bench.clock.until(() => bench.endpoints('uid-ocr').length === 4, 60_000, 50);
  await bench.clock.advance(1_000);
  stopSome();
  await bench.clock.until(() => activator.open === 0);
  return activator;
}

test('scaling in under load loses no request, and none comes to a replica that has left', async () => {
  const activator = await scaleInUnderLoad(new EngineBench(), 400);
  expect(activator).toMatchObject({ lost: 0, refused: 0 });
});

test('with no time for the routes to spread requests do come to replicas that have left', async () => {
  const activator = await scaleInUnderLoad(new EngineBench({ spreadMs: 0 }));
  expect(activator.refused).toBeGreaterThan(0);
  expect(activator.lost).toBe(0);
});

test('a drain that fails does not keep the replica, at the price of its requests', async () => {
  const bench = new EngineBench();
  bench.world.failing.push('drain', 'drain', 'drain', 'drain');
  // Longer than the routes take to spread, so that some are still running when the drain begins.
  const activator = await scaleInUnderLoad(bench, 400);
  expect(activator.lost).toBeGreaterThan(0);
  expect(bench.phases('draining')).toEqual([]);
});

test('one tick takes at most half of the replicas away, whatever else happens in between', async () => {
  const bench = new EngineBench();
  await scaleInUnderLoad(bench);
  await bench.clock.advance(30_000);
  const falls = bench.controller.views.decisions({}).filter(({ from, to }) => to < from);
  for (const { from, to } of falls.filter((fall) => fall.to > 0)) expect(to).toBeGreaterThanOrEqual(from / 2);
  const times = falls.map(({ atMs }) => atMs);
  for (const [n, atMs] of times.entries())
    expect((times[n - 1] ?? Infinity) - atMs).toBeGreaterThanOrEqual(2_000);
  expect(falls.length).toBeGreaterThan(2);
});

test('the pool is refilled after the first answer has had its time, not while the start needs the processor', async () => {
  const bench = new EngineBench({}, { outcomeOf: () => ({ loadMs: 1_000, capacity: 4 }) });
  await bench.warm();
  bench.world.apply(resolvedService('ocr'));
  await bench.clock.settle();
  bench.queue('uid-ocr', 'ocr-00001', 1);
  await bench.clock.advance(900);
  expect(bench.world.replicas.size).toBe(1);
  await bench.clock.until(() => bench.endpoints('uid-ocr').length === 1, 200);
  expect(bench.world.replicas.size).toBe(1);
  await bench.clock.advance(100);
  expect(bench.world.replicas.size).toBe(2);
});

test('a load that takes very long does not keep the pool empty', async () => {
  const bench = new EngineBench(
    { refillDelayMs: 2_000 },
    { outcomeOf: () => ({ loadMs: 60_000, capacity: 4 }) },
  );
  await bench.warm();
  bench.world.apply(resolvedService('ocr'));
  await bench.clock.settle();
  bench.queue('uid-ocr', 'ocr-00001', 1);
  await bench.clock.until(() => bench.phases('standby').length === 1, 6_000);
});

test('without a standby a process is started for the waiting request, and the wait is told in phases', async () => {
  const bench = new EngineBench({}, { standbys: 0 });
  await bench.start();
  bench.world.apply(resolvedService('ocr'));
  await bench.clock.settle();
  const activator = new SimulatedActivator(bench, { spreadMs: 5 });
  await bench.clock.advance(10);
  activator.request('uid-ocr');
  await bench.clock.settle();
  expect(bench.route('uid-ocr').revisions[0]?.startingPhase).toBe('starting a replica');
  await bench.clock.until(() => activator.answered === 1);
  await bench.clock.advance(200);
  const [start] = bench.controller.views.coldStarts({});
  expect(start).toMatchObject({ via: 'new', demanded: true, outcome: 'answered' });
  expect(Object.keys(start?.phasesMs ?? {})).toEqual([
    'decided',
    'scheduled',
    'started',
    'fetched',
    'created',
    'routed',
    'answered',
  ]);
  const sum = Object.values(start?.phasesMs ?? {}).reduce((total, ms) => total + ms, 0);
  expect(sum).toBeCloseTo(start?.totalMs ?? 0, 6);
  expect(start?.phasesMs.started).toBe(300);
});

test('phases of a start through a standby add up to what the caller waited', async () => {
  const bench = new EngineBench();
  await bench.warm();
  bench.world.apply(resolvedService('ocr'));
  await bench.clock.settle();
  const activator = new SimulatedActivator(bench, { spreadMs: 5 });
  await bench.clock.advance(10);
  activator.request('uid-ocr');
  await bench.clock.until(() => activator.answered === 1, 1_000, 1);
  await bench.clock.advance(200);
  const [start] = bench.controller.views.coldStarts({});
  expect(start).toMatchObject({
    via: 'standby',
    demanded: true,
    cached: false,
    outcome: 'answered',
    phasesMs: { decided: 0, claimed: 1, fetched: 9, created: 29, routed: 1, answered: 55 },
    totalMs: 95,
  });
});

test('the second cold start of a service claims the standby that has its model', async () => {
  const bench = new EngineBench({}, { standbys: 2 });
  await bench.start();
  await bench.clock.until(() => bench.phases('standby').length === 2);
  bench.world.apply(resolvedService('ocr', { scaling: SCALING }));
  await bench.clock.settle();
  const activator = new SimulatedActivator(bench);
  await bench.clock.advance(100);
  activator.request('uid-ocr');
  await bench.clock.until(() => activator.answered === 1);
  const host = bench.endpoints('uid-ocr')[0]?.split('.')[0];
  await bench.clock.until(() => bench.endpoints('uid-ocr').length === 0, 60_000, 100);
  await bench.clock.until(() => [...bench.world.replicas.values()].every(({ state }) => state === 'standby'));
  activator.request('uid-ocr');
  await bench.clock.until(() => activator.answered === 2);
  expect(bench.endpoints('uid-ocr')[0]?.split('.')[0]).toBe(host);
  expect(bench.controller.views.coldStarts({})[0]).toMatchObject({ cached: true });
});

test('a burst of requests to a misfit starts replicas of its own, few at a time', async () => {
  const bench = new EngineBench({ maxStartsAtOnce: 3 });
  await bench.warm();
  const predictor = { minReplicas: 8, containerConcurrency: 1 };
  bench.world.apply(resolvedService('ocr', { predictor, model: { env: [{ name: 'A', value: 'b' }] } }));
  await bench.clock.settle();
  expect(bench.phases('starting')).toHaveLength(3);
  expect(bench.phases('standby')).toHaveLength(1);
  await bench.clock.until(() => bench.endpoints('uid-ocr').length === 8, 30_000);
  expect(bench.world.statuses.get('uid-ocr')?.conditions).toContainEqual(
    expect.objectContaining({ type: 'StandbyFit', status: 'False', message: expect.stringContaining('env') }),
  );
});

test("a container of the user's own serves when it answers and is removed, not recycled, at zero", async () => {
  const bench = new EngineBench();
  await bench.warm();
  const containers = [{ image: 'python', command: ['python'], ports: [{ containerPort: 9000 }] }];
  bench.world.apply(resolvedService('own', { predictor: { containers }, scaling: SCALING }));
  await bench.clock.settle();
  const activator = new SimulatedActivator(bench);
  await bench.clock.advance(100);
  activator.request('uid-own');
  await bench.clock.until(() => activator.answered === 1);
  expect(bench.route('uid-own').revisions[0]?.kind).toBe('http');
  await bench.clock.until(() => bench.world.replicas.size === 1, 60_000, 100);
  expect(bench.world.calls.filter((call) => call.startsWith('recycle'))).toEqual([]);
});
