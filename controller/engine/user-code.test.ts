import { expect, test } from 'vitest';
import { resolvedService } from '../core/testing/resolved-service.ts';
import { EngineBench } from './testing/engine-bench.ts';
import { SimulatedActivator } from './testing/simulated-activator.ts';

const SCALING = { stableWindow: '6s', scaleToZeroGracePeriod: '1s' };
const withCode = resolvedService('own', {
  scaling: SCALING,
  model: { transform: { module: 'transform.mjs', timeout: '2s', memory: '64Mi', sha256: 'AB'.repeat(32) } },
});

test('a standby that ran code of its service is ended at zero, and another one takes its place', async () => {
  const bench = new EngineBench({ allowTransforms: ['default'] });
  await bench.warm();
  const [standby] = bench.world.replicas.keys();
  bench.world.apply(withCode);
  await bench.clock.settle();
  const activator = new SimulatedActivator(bench);
  await bench.clock.advance(100);
  activator.request('uid-own');
  await bench.clock.until(() => activator.answered === 1);
  await bench.clock.until(() => bench.endpoints('uid-own').length === 0, 60_000, 100);
  await bench.clock.until(
    () => bench.world.replicas.size === 1 && bench.phases('standby').length === 1,
    60_000,
  );
  expect(bench.world.calls.filter((call) => call.startsWith('recycle'))).toEqual([]);
  expect([...bench.world.replicas.keys()]).not.toContain(standby);
});

test('a revision whose code is allowed no more is not started, and its callers learn why', async () => {
  const bench = new EngineBench({ allowTransforms: [] });
  await bench.warm();
  bench.world.apply(withCode);
  await bench.clock.settle();
  const activator = new SimulatedActivator(bench);
  await bench.clock.advance(100);
  activator.request('uid-own');
  await bench.clock.advance(2_000);
  expect(activator.answered).toBe(0);
  expect(bench.world.calls.filter((call) => call.startsWith('specialise'))).toEqual([]);
  expect(JSON.stringify(bench.world.statuses.get('uid-own'))).toContain('is not allowed in namespace');
});
