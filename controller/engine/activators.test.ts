import { expect, test } from 'vitest';
import type { DemandReport } from '../../contracts/demand.ts';
import { resolvedService } from '../core/testing/resolved-service.ts';
import { EngineBench } from './testing/engine-bench.ts';

const UID = 'uid-ocr';
const REVISION = 'ocr-00001';

/** Two activators, each with its stream, and a service. */
async function withTwo(): Promise<{ bench: EngineBench; close: Record<'a' | 'b', () => void> }> {
  const bench = new EngineBench();
  await bench.warm();
  bench.world.apply(resolvedService('ocr'));
  await bench.clock.settle();
  const close = (activator: string): (() => void) =>
    bench.controller.subscribe({ stream: undefined, after: undefined }, () => undefined, {
      activator,
      pod: `pod-${activator}`,
    });
  return { bench, close: { a: close('a'), b: close('b') } };
}

function reporter(bench: EngineBench, activator: string): (inFlight: number) => void {
  let sequence = 0;
  return (inFlight) => {
    const revision = { serviceUid: UID, revision: REVISION, requestSeconds: 0, oldestQueuedMs: 0 };
    const report: DemandReport = {
      activator,
      sequence: ++sequence,
      uptimeMs: sequence * 100,
      revisions: [{ ...revision, requests: sequence, inFlight, queued: 0 }],
      coldAnswers: [],
      suspects: [],
    };
    bench.controller.demand(report);
  };
}

test('the routes name whoever carries a service, as soon as it has reported', async () => {
  const { bench } = await withTwo();
  expect(bench.route(UID).carriers).toBeUndefined();
  reporter(bench, 'a')(1);
  expect(bench.route(UID).carriers).toEqual([{ activator: 'a', parts: 16 }]);
  reporter(bench, 'b')(1);
  expect(bench.route(UID).carriers).toEqual([
    { activator: 'a', parts: 8 },
    { activator: 'b', parts: 8 },
  ]);
});

test('an activator that is killed is out of slices and carriers within a second, and back with the next process', async () => {
  const { bench, close } = await withTwo();
  const [a, b] = [reporter(bench, 'a'), reporter(bench, 'b')];
  a(1);
  b(1);
  close.a();
  const fromMs = bench.clock.nowMs();
  await bench.clock.until(() => {
    b(1);
    return bench.world.avoided.length > 0;
  });
  expect(bench.clock.nowMs() - fromMs).toBeLessThan(300);
  expect(bench.world.avoided).toEqual([['pod-a']]);
  expect(bench.route(UID).carriers).toEqual([{ activator: 'b', parts: 16 }]);
  const { controller } = bench;
  controller.subscribe({ stream: undefined, after: undefined }, () => undefined, {
    activator: 'a-again',
    pod: 'pod-a',
  });
  expect(bench.world.avoided.at(-1)).toEqual([]);
});

test('one whose connection stands but that says nothing is out within a second while it has requests', async () => {
  const { bench } = await withTwo();
  const [a, b] = [reporter(bench, 'a'), reporter(bench, 'b')];
  a(1);
  b(1);
  const fromMs = bench.clock.nowMs();
  await bench.clock.until(() => {
    b(1);
    return bench.world.avoided.length > 0;
  });
  expect(bench.clock.nowMs() - fromMs).toBeLessThan(1_000);
  a(1);
  expect(bench.world.avoided).toEqual([['pod-a'], []]);
});

test('a controller that hears nobody takes nobody out', async () => {
  const { bench, close } = await withTwo();
  reporter(bench, 'a')(1);
  reporter(bench, 'b')(1);
  close.a();
  close.b();
  await bench.clock.advance(20_000);
  expect(bench.world.avoided).toEqual([]);
  expect(bench.route(UID).carriers?.map(({ activator }) => activator)).toEqual(['a', 'b']);
});
