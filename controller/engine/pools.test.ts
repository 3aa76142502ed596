import { expect, test } from 'vitest';
import { PlatformRefusal } from '../core/platform-refusal.ts';
import { resolvedService } from '../core/testing/resolved-service.ts';
import { EngineBench } from './testing/engine-bench.ts';

test('the platform is told how a pool stands when that changes, and not otherwise', async () => {
  const bench = new EngineBench({}, { standbys: 1 });
  await bench.warm();
  bench.world.apply(resolvedService('ocr', { predictor: { minReplicas: 1 } }));
  await bench.clock.until(() => bench.endpoints('uid-ocr').length === 1);
  await bench.clock.until(() => bench.phases('standby').length === 1, 10_000);
  await bench.clock.advance(3_000);
  const { poolReports } = bench.world;
  expect(poolReports.at(-1)).toEqual({ ready: 1, starting: 0, serving: 1, quarantined: 0 });
  const told = poolReports.length;
  await bench.clock.advance(60_000);
  expect(poolReports).toHaveLength(told);
});

test('a pool whose standbys are refused says so in the words of the platform', async () => {
  const bench = new EngineBench({}, { standbys: 1 });
  const refusal = new PlatformRefusal('ExceededQuota', 'exceeded quota: small', { isPassing: true });
  bench.world.failing.push('createStandby', 'createStandby');
  bench.world.failure = refusal;
  await bench.start();
  expect(bench.world.poolReports.at(-1)).toMatchObject({
    ready: 0,
    trouble: { code: 'ExceededQuota', message: 'exceeded quota: small' },
  });
  await bench.clock.until(() => bench.phases('standby').length === 1, 30_000);
  await bench.clock.advance(3_000);
  expect(bench.world.poolReports.at(-1)).toEqual({ ready: 1, starting: 0, serving: 0, quarantined: 0 });
});
