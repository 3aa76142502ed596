import { expect, test } from 'vitest';
import { resolvedService } from '../core/testing/resolved-service.ts';
import { EngineBench } from './testing/engine-bench.ts';

const OCR = resolvedService('ocr', { predictor: { minReplicas: 1 } });

test('a model that a standby died of is known to be too large for standbys from then on', async () => {
  const bench = new EngineBench({}, { standbyBytes: 500, outcomeOf: () => ({ loadMs: 400, capacity: 4 }) });
  await bench.warm();
  bench.world.apply(OCR);
  await bench.clock.until(() => bench.phases('claiming').length === 1);
  const [standby = ''] = bench.phases('claiming');
  await bench.clock.advance(150);
  bench.world.kill(standby);
  await bench.clock.until(() => bench.endpoints('uid-ocr').length === 1, 5_000);
  expect(bench.world.calls).toContain('createReplica ocr-00001');
  expect(bench.world.get(bench.endpoints('uid-ocr')[0] ?? '').origin).toBe('runtime');
  const fit = bench.world.statuses.get('uid-ocr')?.conditions?.find(({ type }) => type === 'StandbyFit');
  expect(fit).toMatchObject({ status: 'False', message: expect.stringContaining('because of size') });
});

test('what is stored of a model tells a new controller its size', async () => {
  const bench = new EngineBench({}, { outcomeOf: () => ({ loadMs: 40, capacity: 4 }) });
  await bench.warm();
  bench.world.apply(OCR);
  await bench.clock.until(() => bench.endpoints('uid-ocr').length === 1);
  await bench.clock.advance(3_000);
  const [standby = ''] = bench.endpoints('uid-ocr');
  // The operator has given standbys less memory meanwhile.
  bench.world.options.standbyBytes = 500;
  await bench.restart();
  bench.world.kill(standby);
  await bench.clock.until(() => bench.endpoints('uid-ocr').length === 1, 5_000);
  expect(bench.world.get(bench.endpoints('uid-ocr')[0] ?? '').origin).toBe('runtime');
});
