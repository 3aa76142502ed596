import { Registry } from 'prom-client';
import { expect, test } from 'vitest';
import { resolvedService } from '../core/testing/resolved-service.ts';
import { createEngineMetrics } from './engine-metrics.ts';
import { poolLabels } from './state-metrics.ts';
import { EngineBench } from './testing/engine-bench.ts';
import { SimulatedActivator } from './testing/simulated-activator.ts';

const SERVICE = 'namespace="default",service="ocr"';

async function lines(bench: EngineBench, metric: string): Promise<string[]> {
  const text = await bench.registry.metrics();
  return text.split('\n').filter((line) => line.startsWith(`${metric}{`) || line.startsWith(`${metric} `));
}

async function coldService(world: ConstructorParameters<typeof EngineBench>[1] = {}): Promise<EngineBench> {
  const bench = new EngineBench({}, world);
  await bench.warm();
  bench.world.apply(resolvedService('ocr'));
  await bench.clock.settle();
  bench.queue('uid-ocr', 'ocr-00001', 1);
  return bench;
}

test('who leads says so, and who stands by shows no service', async () => {
  const registry = new Registry();
  createEngineMetrics(registry);
  const text = await registry.metrics();
  expect(text).toContain('pilotlight_leader 0');
  expect(text).not.toMatch(/^pilotlight_\w+\{[^}]*service=/m);
  const bench = await coldService();
  expect(await lines(bench, 'pilotlight_leader')).toEqual(['pilotlight_leader 1']);
  await bench.controller.stop('leave');
  expect(await lines(bench, 'pilotlight_leader')).toEqual(['pilotlight_leader 0']);
});

test('a start shows in the service’s state, its replicas and their capacity, and in its pool', async () => {
  const bench = await coldService();
  const pool = 'pilotlight_pool_standbys{namespace="",pool="pool"';
  expect(await lines(bench, 'pilotlight_service_state')).toEqual([
    `pilotlight_service_state{${SERVICE},state="Starting"} 1`,
  ]);
  expect(await lines(bench, 'pilotlight_queued_requests')).toEqual([
    `pilotlight_queued_requests{${SERVICE}} 1`,
  ]);
  expect(await lines(bench, 'pilotlight_pool_standbys')).toEqual(
    expect.arrayContaining([
      `${pool},state="wanted"} 1`,
      `${pool},state="ready"} 0`,
      `${pool},state="serving"} 1`,
    ]),
  );
  await bench.clock.advance(40);
  expect(await lines(bench, 'pilotlight_ready_capacity_requests')).toEqual([
    `pilotlight_ready_capacity_requests{${SERVICE}} 4`,
  ]);
  expect(await lines(bench, 'pilotlight_replicas')).toContain(
    `pilotlight_replicas{${SERVICE},state="ready"} 1`,
  );
  expect(await lines(bench, 'pilotlight_revision_traffic_percent')).toEqual([
    `pilotlight_revision_traffic_percent{${SERVICE},revision="ocr-00001"} 100`,
  ]);
  const calls = await lines(bench, 'pilotlight_admin_calls_total');
  expect(calls).toContain('pilotlight_admin_calls_total{call="specialise",outcome="ok"} 1');
  expect(calls).toContain('pilotlight_admin_calls_total{call="drain",outcome="failed"} 0');
});

test('a whole start is counted once, by how it was made, when its request has been answered', async () => {
  const bench = await coldService();
  await bench.clock.advance(40);
  const counted = 'pilotlight_cold_start_seconds_count';
  expect(await lines(bench, counted)).toEqual([]);
  bench.controller.demand({
    activator: 'activator-1',
    sequence: 1_000,
    uptimeMs: 100_000,
    revisions: [],
    coldAnswers: [
      {
        serviceUid: 'uid-ocr',
        revision: 'ocr-00001',
        endpointId: 'host-1.0',
        queuedMs: 41,
        upstreamMs: 5,
        arrivedAgoMs: 50,
      },
    ],
    suspects: [],
  });
  expect(await lines(bench, counted)).toEqual([
    'pilotlight_cold_start_seconds_count{via="standby",model="fetched",waited="true"} 1',
  ]);
  expect(await lines(bench, 'pilotlight_cold_start_phase_seconds_count')).toContain(
    `pilotlight_cold_start_phase_seconds_count{${SERVICE},via="standby",phase="answered"} 1`,
  );
});

test('replica-seconds go to the service while it has a replica and to the pool while it has none', async () => {
  const bench = await coldService();
  await bench.clock.advance(40);
  const before = Number((await lines(bench, 'pilotlight_replica_seconds_total'))[0]?.split(' ')[1]);
  await bench.clock.advance(10_000);
  const after = Number((await lines(bench, 'pilotlight_replica_seconds_total'))[0]?.split(' ')[1]);
  expect(after - before).toBeCloseTo(10, 1);
  expect(await lines(bench, 'pilotlight_standby_seconds_total')).toHaveLength(1);
});

test('a standby that cannot be started is counted for its pool', async () => {
  const bench = new EngineBench();
  bench.world.failing.push('createStandby');
  await bench.start();
  await bench.clock.advance(10);
  expect(await lines(bench, 'pilotlight_pool_failed_starts_total')).toEqual([
    'pilotlight_pool_failed_starts_total{namespace="",pool="pool"} 1',
  ]);
});

test('how long a replica takes to be a standby again is counted for its pool', async () => {
  const bench = new EngineBench();
  await bench.warm();
  bench.world.apply(
    resolvedService('ocr', { scaling: { stableWindow: '6s', scaleToZeroGracePeriod: '1s' } }),
  );
  const activator = new SimulatedActivator(bench);
  await bench.clock.advance(100);
  activator.request('uid-ocr');
  await bench.clock.until(() => activator.answered === 1);
  const counted = 'pilotlight_recycle_seconds_count';
  const [id = ''] = bench.endpoints('uid-ocr');
  await bench.clock.until(() => !bench.world.replicas.has(id), 60_000, 10);
  expect(await lines(bench, counted)).toEqual([]);
  const again = id.replace('.0', '.1');
  await bench.clock.until(() => bench.phases('standby').includes(again), 5_000, 10);
  expect(await lines(bench, counted)).toEqual([`${counted}{namespace="",pool="pool"} 1`]);
  const [seconds = ''] = await lines(bench, 'pilotlight_recycle_seconds_sum');
  expect(Number(seconds.split(' ')[1])).toBeCloseTo(0.08, 2);
});

test('nothing is left of a service that is gone', async () => {
  const failure = { code: 'model-not-found', message: 'not there' } as const;
  const bench = await coldService({ outcomeOf: () => ({ loadMs: 40, capacity: 4, failure }) });
  await bench.clock.advance(100);
  expect(await lines(bench, 'pilotlight_failed_starts_total')).toEqual([
    `pilotlight_failed_starts_total{${SERVICE},code="model-not-found"} 1`,
  ]);
  expect(await bench.registry.metrics()).toContain('service="ocr"');
  bench.world.delete('uid-ocr');
  await bench.clock.advance(5_000);
  expect(await bench.registry.metrics()).not.toContain('service="ocr"');
});

test.each([
  ['shop/default', { namespace: 'shop', pool: 'default' }],
  ['default', { namespace: '', pool: 'default' }],
])('the key of pool %s has its two parts', (key, labels) => {
  expect(poolLabels(key)).toEqual(labels);
});
