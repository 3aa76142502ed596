import { expect, test } from 'vitest';
import { resolvedService } from '../core/testing/resolved-service.ts';
import { EngineBench } from './testing/engine-bench.ts';
import { SimulatedActivator } from './testing/simulated-activator.ts';

test('a service at zero is routed with no endpoint, and a waiting request has a standby claimed in the same turn', async () => {
  const bench = new EngineBench();
  await bench.warm();
  bench.world.apply(resolvedService('ocr'));
  await bench.clock.settle();
  expect(bench.route('uid-ocr')).toMatchObject({
    hosts: ['ocr.default'],
    models: ['ocr'],
    revisions: [{ name: 'ocr-00001', weightPercent: 100, endpoints: [], kind: 'runtime' }],
  });
  expect(bench.phases('claiming')).toEqual([]);

  bench.queue('uid-ocr', 'ocr-00001', 1);
  expect(bench.world.calls.at(-1)).toBe('specialise host-1.0');

  await bench.clock.advance(20);
  expect(bench.route('uid-ocr').revisions[0]?.startingPhase).toBe('loading the model');
  await bench.clock.advance(20);
  expect(bench.route('uid-ocr').revisions[0]).toEqual({
    name: 'ocr-00001',
    weightPercent: 100,
    endpoints: [{ id: 'host-1.0', address: 'host-1:8080', capacity: 4 }],
    kind: 'runtime',
  });
});

test('the route with the endpoint goes out in the turn in which the runtime says ready', async () => {
  const bench = new EngineBench();
  await bench.warm();
  bench.world.apply(resolvedService('ocr'));
  await bench.clock.settle();
  const told: string[] = [];
  bench.controller.subscribe({ stream: undefined, after: undefined }, (message) => {
    if (message.type === 'service' && message.service.revisions[0]?.endpoints.length === 1) {
      told.push(bench.world.get('host-1.0').state);
    }
  });
  bench.queue('uid-ocr', 'ocr-00001', 1);
  await bench.clock.advance(40);
  // The simulated runtime says ready before it changes its own state, so this was within its call.
  expect(told[0]).toBe('specialising');
});

test('a cold start is told in one sentence when its request is answered', async () => {
  const { bench, activator } = await atZero();
  activator.request('uid-ocr');
  const sentences = (): string[] =>
    bench.world.events.filter(({ reason }) => reason === 'ColdStart').map(({ message }) => message);
  await bench.clock.until(() => sentences().length === 1, 2_000);
  expect(sentences()[0]).toMatch(
    /^ocr-00001: cold start \d+ ms: decided \d+, claimed \d+, fetched \d+, created \d+, routed \d+, answered \d+$/,
  );
  await bench.clock.advance(10_000);
  expect(sentences()).toHaveLength(1);
});

test('nothing is written of a start that somebody waits for until a quarter of a second is over, and then all in one', async () => {
  const { bench, activator } = await atZero();
  const written = (): number => bench.world.calls.filter((call) => call === 'writeStatus uid-ocr').length;
  const before = written();
  activator.request('uid-ocr');
  await bench.clock.until(() => bench.world.events.some(({ reason }) => reason === 'ColdStart'), 200);
  expect(written()).toBe(before);
  await bench.clock.advance(500);
  expect(written()).toBe(before + 1);
  expect(bench.world.statuses.get('uid-ocr')).toMatchObject({
    replicas: { ready: 1 },
    lastColdStart: { phases: { answered: 90 } },
  });
});

/** A service at zero, a standby that waits, and an activator that callers come to. */
async function atZero(): Promise<{ bench: EngineBench; activator: SimulatedActivator }> {
  const bench = new EngineBench();
  await bench.warm();
  bench.world.apply(resolvedService('ocr'));
  await bench.clock.settle();
  const activator = new SimulatedActivator(bench);
  await bench.clock.advance(100);
  return { bench, activator };
}
