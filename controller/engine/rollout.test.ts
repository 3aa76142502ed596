import { beforeEach, expect, test } from 'vitest';
import type { ErrorCode } from '../../contracts/errors.ts';
import { resolvedService } from '../core/testing/resolved-service.ts';
import { EngineBench } from './testing/engine-bench.ts';
import { SimulatedActivator } from './testing/simulated-activator.ts';

const SCALING = { initialScale: 1, stableWindow: '6s', scaleToZeroGracePeriod: '1s' };
const failures = new Map<string, { code: ErrorCode; message: string }>();

let bench: EngineBench;
beforeEach(async () => {
  failures.clear();
  bench = new EngineBench(
    {},
    {
      standbys: 2,
      outcomeOf: (uri) => {
        const failure = failures.get(uri);
        return { loadMs: 40, capacity: 4, ...(failure && { failure }) };
      },
    },
  );
  await bench.warm();
});

function apply(
  uri: string,
  generation: number,
  canary?: number,
  scaling: Record<string, unknown> = SCALING,
): void {
  const predictor = canary === undefined ? {} : { canaryTrafficPercent: canary };
  bench.world.apply(resolvedService('ocr', { uri, generation, scaling, predictor }));
}

function weights(): Record<string, number> {
  return Object.fromEntries(
    bench.route('uid-ocr').revisions.map(({ name, weightPercent }) => [name, weightPercent]),
  );
}

const readyCondition = () =>
  bench.world.statuses.get('uid-ocr')?.conditions?.find(({ type }) => type === 'Ready');
const modelStatus = () => bench.world.statuses.get('uid-ocr')?.modelStatus;

test('a new service is proved to load, is Ready, and goes to zero without ceasing to be Ready', async () => {
  apply('file:/one', 1);
  await bench.clock.settle();
  expect(readyCondition()).toMatchObject({ status: 'Unknown', reason: 'Deploying' });
  expect(modelStatus()).toMatchObject({
    transitionStatus: 'InProgress',
    states: { activeModelState: 'Loading' },
  });
  await bench.clock.until(() => bench.endpoints('uid-ocr').length === 1);
  await bench.clock.settle();
  expect(readyCondition()).toMatchObject({ status: 'True' });
  const since = readyCondition()?.lastTransitionTime;
  await bench.clock.until(() => bench.phases('standby').length === bench.world.replicas.size, 60_000, 100);
  expect(readyCondition()).toMatchObject({ status: 'True', lastTransitionTime: since });
  expect(modelStatus()).toMatchObject({
    transitionStatus: 'UpToDate',
    states: { activeModelState: 'Standby' },
  });
});

test('the old revision serves until the new one is ready, then its replica is drained', async () => {
  apply('file:/one', 1);
  await bench.clock.until(() => bench.endpoints('uid-ocr').length === 1);
  const activator = new SimulatedActivator(bench, { serviceMs: 20 });
  await bench.clock.advance(50);
  const stop = activator.clients('uid-ocr', 2);
  apply('file:/two', 2);
  await bench.clock.advance(20);
  expect(weights()).toEqual({ 'ocr-00001': 100, 'ocr-00002': 0 });
  await bench.clock.until(() => weights()['ocr-00002'] === 100);
  await bench.clock.until(() => weights()['ocr-00001'] === undefined, 5_000);
  await bench.clock.advance(1_000);
  stop();
  await bench.clock.until(() => activator.open === 0);
  expect(activator).toMatchObject({ lost: 0, refused: 0, failed: 0 });
  expect(activator.answeredBy.get('ocr-00001')).toBeGreaterThan(0);
  expect(activator.answeredBy.get('ocr-00002')).toBeGreaterThan(0);
  expect(bench.controller.views.revisions({}).map(({ name, state }) => [name, state])).toEqual([
    ['ocr-00001', 'Retired'],
    ['ocr-00002', 'Ready'],
  ]);
});

test('a service at zero whose spec changes keeps its old revision until the new one has proved to load', async () => {
  apply('file:/one', 1);
  await bench.clock.until(() => bench.endpoints('uid-ocr').length === 1);
  await bench.clock.until(() => bench.endpoints('uid-ocr').length === 0, 60_000, 100);
  apply('file:/two', 2);
  await bench.clock.settle();
  expect(weights()).toMatchObject({ 'ocr-00001': 100 });
  expect(bench.phases('claiming')).toHaveLength(1);
  await bench.clock.until(() => weights()['ocr-00002'] === 100);
  await bench.clock.until(() => bench.endpoints('uid-ocr').length === 0, 60_000, 100);
});

test('a new revision that fails to load gets no traffic; the status says why and the old one serves on', async () => {
  apply('file:/one', 1);
  await bench.clock.until(() => bench.endpoints('uid-ocr').length === 1);
  failures.set('file:/two', { code: 'model-not-onnx', message: 'not an ONNX file' });
  apply('file:/two', 2);
  await bench.clock.until(() => modelStatus()?.transitionStatus === 'BlockedByFailedLoad');
  expect(weights()).toEqual({ 'ocr-00001': 100 });
  expect(bench.endpoints('uid-ocr')).toHaveLength(1);
  expect(modelStatus()).toMatchObject({
    states: { activeModelState: 'Loaded', targetModelState: 'FailedToLoad' },
    lastFailureInfo: { reason: 'ModelLoadFailed', message: 'model-not-onnx: not an ONNX file' },
  });
  expect(readyCondition()).toMatchObject({ status: 'False', reason: 'RevisionFailed' });
  expect(readyCondition()?.message).toContain('ocr-00001 goes on serving');
  expect(bench.controller.views.service('default', 'ocr')).toMatchObject({ state: 'Degraded' });
  // Not hammered: 10 s, then 20 s between the tries.
  const tries = () =>
    bench.controller.views.coldStarts({}).filter(({ outcome }) => outcome === 'failed').length;
  expect(tries()).toBe(1);
  await bench.clock.advance(9_000);
  expect(tries()).toBe(1);
  await bench.clock.advance(22_000);
  expect(tries()).toBe(3);
  // The manifest is put right: tried at once, under its own name.
  apply('file:/three', 3);
  await bench.clock.until(() => weights()['ocr-00003'] === 100, 1_000);
  expect(modelStatus()?.transitionStatus).toBe('UpToDate');
});

test('with initialScale 0 traffic moves at once, and returns when the first request finds that it fails', async () => {
  const lazy = { ...SCALING, initialScale: 0 };
  apply('file:/one', 1, undefined, lazy);
  const activator = new SimulatedActivator(bench);
  await bench.clock.advance(100);
  activator.request('uid-ocr');
  await bench.clock.until(() => activator.answered === 1);
  failures.set('file:/two', { code: 'model-not-found', message: 'no such file' });
  apply('file:/two', 2, undefined, lazy);
  await bench.clock.advance(100);
  expect(weights()).toMatchObject({ 'ocr-00002': 100 });
  activator.request('uid-ocr');
  await bench.clock.until(() => activator.answered === 2);
  expect(weights()).toMatchObject({ 'ocr-00001': 100 });
  expect(activator.failed).toBe(0);
  expect(modelStatus()).toMatchObject({ transitionStatus: 'BlockedByFailedLoad' });
});

test('a canary gets its share, promotion gives it all, and 0 % goes back', async () => {
  apply('file:/one', 1);
  await bench.clock.until(() => bench.endpoints('uid-ocr').length === 1);
  apply('file:/two', 2, 20);
  await bench.clock.until(() => weights()['ocr-00002'] === 20);
  expect(weights()).toEqual({ 'ocr-00001': 80, 'ocr-00002': 20 });
  const activator = new SimulatedActivator(bench, { serviceMs: 10 });
  await bench.clock.advance(100);
  const stop = activator.clients('uid-ocr', 2);
  await bench.clock.until(() => activator.answered >= 500);
  stop();
  await bench.clock.until(() => activator.open === 0);
  const share = (activator.answeredBy.get('ocr-00002') ?? 0) / activator.answered;
  expect(share).toBeCloseTo(0.2, 1);
  expect(bench.world.statuses.get('uid-ocr')?.components?.['predictor']).toMatchObject({
    latestRolledoutRevision: 'ocr-00001',
    latestReadyRevision: 'ocr-00002',
    traffic: [
      { revisionName: 'ocr-00002', percent: 20, latestRevision: true },
      { revisionName: 'ocr-00001', percent: 80, latestRevision: false },
    ],
  });
  apply('file:/two', 3);
  await bench.clock.until(() => weights()['ocr-00001'] === undefined);
  expect(weights()).toEqual({ 'ocr-00002': 100 });
  apply('file:/two', 4, 0);
  await bench.clock.settle();
  expect(weights()).toMatchObject({ 'ocr-00001': 100, 'ocr-00002': 0 });
});

test('returning to an earlier spec takes its revision up again, and its cached model', async () => {
  apply('file:/one', 1);
  await bench.clock.until(() => bench.endpoints('uid-ocr').length === 1);
  apply('file:/two', 2);
  await bench.clock.until(
    () => bench.route('uid-ocr').revisions.length === 1 && weights()['ocr-00002'] === 100,
  );
  apply('file:/one', 3);
  await bench.clock.until(
    () => bench.route('uid-ocr').revisions.length === 1 && weights()['ocr-00001'] === 100,
  );
  expect(bench.world.revisions.get('uid-ocr')?.map(({ name, number }) => [name, number])).toEqual([
    ['ocr-00002', 2],
    ['ocr-00001', 3],
  ]);
});

test('settings that do not make a revision take effect on the one that is there', async () => {
  apply('file:/one', 1);
  await bench.clock.until(() => bench.endpoints('uid-ocr').length === 1);
  bench.world.apply(
    resolvedService('ocr', {
      uri: 'file:/one',
      generation: 2,
      scaling: SCALING,
      predictor: { minReplicas: 3 },
    }),
  );
  await bench.clock.until(() => bench.endpoints('uid-ocr').length === 3);
  expect(Object.keys(weights())).toEqual(['ocr-00001']);
  expect(bench.world.statuses.get('uid-ocr')?.observedGeneration).toBe(2);
});

test('an invalid manifest changes nothing but the status', async () => {
  apply('file:/one', 1);
  await bench.clock.until(() => bench.endpoints('uid-ocr').length === 1);
  bench.world.refuse('default', 'ocr', ['spec.predictor.model: expected storageUri']);
  await bench.clock.settle();
  expect(modelStatus()).toMatchObject({
    transitionStatus: 'InvalidSpec',
    lastFailureInfo: { reason: 'InvalidPredictorSpec', message: 'spec.predictor.model: expected storageUri' },
  });
  expect(readyCondition()).toMatchObject({ status: 'True' });
  expect(bench.endpoints('uid-ocr')).toHaveLength(1);
  expect(bench.controller.views.service('default', 'ocr')).toMatchObject({ state: 'Invalid' });
  apply('file:/one', 2);
  await bench.clock.settle();
  expect(modelStatus()).toMatchObject({ transitionStatus: 'UpToDate' });
  bench.world.refuse('default', 'other', ['bad']);
  expect(bench.controller.views.service('default', 'other')).toMatchObject({
    state: 'Invalid',
    message: 'bad',
  });
});

test('a service that never was good is told what is wrong with it, where it is an object of its own', async () => {
  const problem = 'spec.predictor.serviceAccountName: Secret "keys" is not in namespace "default"';
  bench.world.refuse('default', 'new', [problem], { uid: 'uid-new', generation: 3 });
  await bench.clock.settle();
  const status = bench.world.statuses.get('uid-new');
  expect(status).toMatchObject({
    observedGeneration: 3,
    modelStatus: { transitionStatus: 'InvalidSpec', lastFailureInfo: { message: problem } },
  });
  expect(status?.conditions?.find(({ type }) => type === 'Ready')).toMatchObject({
    status: 'False',
    reason: 'InvalidSpec',
    message: problem,
  });
});

test('a stopped service has no replica and says so, and comes back', async () => {
  apply('file:/one', 1);
  await bench.clock.until(() => bench.endpoints('uid-ocr').length === 1);
  const annotations = { 'serving.kserve.io/stop': 'true' };
  bench.world.apply(
    resolvedService('ocr', { uri: 'file:/one', generation: 2, scaling: SCALING, annotations }),
  );
  await bench.clock.until(() => bench.endpoints('uid-ocr').length === 0);
  expect(bench.route('uid-ocr').stopped).toContain('stop');
  bench.queue('uid-ocr', 'ocr-00001', 3);
  await bench.clock.advance(1_000);
  expect(bench.endpoints('uid-ocr')).toEqual([]);
  bench.world.apply(resolvedService('ocr', { uri: 'file:/one', generation: 3, scaling: SCALING }));
  bench.queue('uid-ocr', 'ocr-00001', 3);
  await bench.clock.until(() => bench.endpoints('uid-ocr').length === 1);
});

test('a model that can not be found is answered with the error, and tried again at a bounded rate', async () => {
  const lazy = { ...SCALING, initialScale: 0 };
  failures.set('file:/one', { code: 'model-not-found', message: 'no such file /one' });
  apply('file:/one', 1, undefined, lazy);
  const activator = new SimulatedActivator(bench);
  await bench.clock.advance(100);
  activator.request('uid-ocr');
  await bench.clock.until(() => activator.failed === 1);
  expect(bench.route('uid-ocr').revisions[0]?.failure).toEqual({
    code: 'model-not-found',
    message: 'no such file /one',
  });
  expect(bench.controller.views.service('default', 'ocr')).toMatchObject({ state: 'Failed' });
  const tries = () => bench.world.calls.filter((call) => call.startsWith('specialise')).length;
  for (let n = 0; n < 40; n++) {
    activator.request('uid-ocr');
    await bench.clock.advance(100);
  }
  expect(tries()).toBe(1);
  expect(activator.failed).toBe(41);
  await bench.clock.advance(1_500);
  activator.request('uid-ocr');
  await bench.clock.advance(500);
  expect(tries()).toBe(2);
  expect(activator.failed).toBe(42);
  failures.clear();
  await bench.clock.advance(10_000);
  activator.request('uid-ocr');
  await bench.clock.until(() => activator.answered === 1);
});

test('a model overwritten where it lies is taken by the next start, once no replica serves the old one', async () => {
  let isOverwritten = false;
  const changed = { code: 'model-changed' as const, message: 'it has another size' };
  const other = new EngineBench(
    {},
    {
      standbys: 2,
      outcomeOf: () => {
        const failure = isOverwritten ? changed : undefined;
        isOverwritten = false;
        return { loadMs: 40, capacity: 4, ...(failure && { failure }) };
      },
    },
  );
  await other.warm();
  other.world.apply(resolvedService('ocr', { scaling: SCALING }));
  await other.clock.until(() => other.endpoints('uid-ocr').length === 1);
  await other.clock.until(() => other.endpoints('uid-ocr').length === 0, 60_000, 100);
  await other.clock.settle();
  isOverwritten = true;
  other.queue('uid-ocr', 'ocr-00001', 1);
  await other.clock.until(() => other.endpoints('uid-ocr').length === 1, 1_000);
  expect(isOverwritten).toBe(false);
  expect(other.route('uid-ocr').revisions[0]?.failure).toBeUndefined();
});
