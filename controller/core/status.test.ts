import { expect, test } from 'vitest';
import { statusSchema } from '../../crds/status.ts';
import { applySpec, markFailed, markReady, markRolledOut, type Revisions } from './revisions.ts';
import { afterFailedStart } from './start-trouble.ts';
import { type ReplicaCounts, type StatusInput, serviceStatus } from './status.ts';
import { resolvedService } from './testing/resolved-service.ts';

const resolved = resolvedService('ocr');
const WHOLE = new Map([['ocr-00001', 100]]);
const one = applySpec([], { specHash: 'a', resolved }, 1).revisions;
const oneReady = markRolledOut(markReady(one, 'ocr-00001', undefined), WHOLE, 1, 5);
const two = applySpec(oneReady, { specHash: 'b', resolved }, 2).revisions;
const NONE: ReplicaCounts = { wanted: 0, ready: 0, starting: 0, draining: 0 };

function input(revisions: Revisions, more: Partial<StatusInput> = {}): StatusInput {
  return {
    generation: 3,
    url: 'http://ocr.default',
    hasTags: false,
    initialScale: 1,
    stopped: undefined,
    invalid: undefined,
    revisions,
    traffic: WHOLE,
    counts: () => NONE,
    trouble: () => undefined,
    waitsFor: () => undefined,
    misfits: [],
    warnings: [],
    scaling: undefined,
    lastColdStart: undefined,
    platformProblem: undefined,
    ...more,
  };
}

const of = (status: ReturnType<typeof serviceStatus>, type: string) =>
  status.conditions?.find((condition) => condition.type === type);

test('a service at zero that has loaded once is Ready and its model Standby', () => {
  const status = serviceStatus(input(oneReady), undefined, 1_000);
  expect(of(status, 'Ready')).toEqual({
    type: 'Ready',
    status: 'True',
    lastTransitionTime: '1970-01-01T00:00:01Z',
  });
  expect(status.modelStatus).toMatchObject({
    transitionStatus: 'UpToDate',
    states: { activeModelState: 'Standby', targetModelState: 'Standby' },
  });
  expect(status).toMatchObject({ observedGeneration: 3, url: 'http://ocr.default', replicas: { ready: 0 } });
});

test('a new service is InProgress until it has loaded, and Pending before it starts', () => {
  expect(serviceStatus(input(one), undefined, 1).modelStatus?.states?.activeModelState).toBe('Pending');
  const loading = serviceStatus(input(one, { counts: () => ({ ...NONE, starting: 1 }) }), undefined, 1);
  expect(loading.modelStatus).toMatchObject({
    transitionStatus: 'InProgress',
    states: { activeModelState: 'Loading' },
  });
  expect(of(loading, 'Ready')).toMatchObject({ status: 'Unknown', reason: 'Deploying' });
});

test('with initialScale 0 a new service is Ready at once, since nothing is to be proved', () => {
  const status = serviceStatus(input(one, { initialScale: 0 }), undefined, 1);
  expect(of(status, 'Ready')?.status).toBe('True');
  expect(status.modelStatus?.states?.activeModelState).toBe('Standby');
});

test('a revision that fails blocks the rollout; the message names the cause and who serves', () => {
  const failure = { code: 'model-not-onnx', message: 'starts with PK', atMs: 60_000 };
  const trouble = afterFailedStart(undefined, failure, 60_000);
  const counts = (name: string) => (name === 'ocr-00001' ? { ...NONE, wanted: 1, ready: 1 } : NONE);
  const status = serviceStatus(
    input(markFailed(two, 'ocr-00002', failure), {
      counts,
      trouble: (name) => (name === 'ocr-00002' ? trouble : undefined),
    }),
    undefined,
    90_000,
  );
  expect(status.modelStatus).toEqual({
    transitionStatus: 'BlockedByFailedLoad',
    states: { activeModelState: 'Loaded', targetModelState: 'FailedToLoad' },
    lastFailureInfo: {
      reason: 'ModelLoadFailed',
      message: 'model-not-onnx: starts with PK',
      modelRevisionName: 'ocr-00002',
      time: '1970-01-01T00:01:00Z',
    },
    copies: { totalCopies: 0, failedCopies: 1 },
  });
  expect(of(status, 'Ready')?.message).toBe(
    'ocr-00002: model-not-onnx: starts with PK; ocr-00001 goes on serving',
  );
});

test('the failure of a revision is known after a restart as well', () => {
  const failure = { code: 'model-not-found', message: 'gone', atMs: 60_000 };
  const status = serviceStatus(input(markFailed(two, 'ocr-00002', failure)), undefined, 1);
  expect(status.modelStatus?.transitionStatus).toBe('BlockedByFailedLoad');
  expect(status.modelStatus?.lastFailureInfo?.message).toBe('model-not-found: gone');
});

test('a process that dies is unhealthy, not a model that fails', () => {
  const trouble = afterFailedStart(undefined, { code: 'replica-failed', message: 'killed' }, 1);
  const status = serviceStatus(input(two, { trouble: () => trouble }), undefined, 1);
  expect(status.modelStatus?.lastFailureInfo?.reason).toBe('RuntimeUnhealthy');
  expect(status.modelStatus?.transitionStatus).toBe('InProgress');
});

test('an invalid manifest is InvalidSpec and leaves readiness as it is', () => {
  const status = serviceStatus(input(oneReady, { invalid: ['spec.x: no such field'] }), undefined, 1);
  expect(status.modelStatus).toMatchObject({
    transitionStatus: 'InvalidSpec',
    lastFailureInfo: { reason: 'InvalidPredictorSpec', message: 'spec.x: no such field' },
  });
  expect(of(status, 'Ready')?.status).toBe('True');
  expect(of(status, 'SpecValid')?.status).toBe('False');
});

test('a condition keeps its time while its status does, and gets another one when that changes', () => {
  const before = serviceStatus(input(oneReady), undefined, 1_000);
  const same = serviceStatus(input(oneReady, { misfits: ['env'] }), before, 50_000);
  expect(of(same, 'Ready')?.lastTransitionTime).toBe('1970-01-01T00:00:01Z');
  expect(of(same, 'StandbyFit')).toMatchObject({
    status: 'False',
    lastTransitionTime: '1970-01-01T00:00:50Z',
  });
  const stopped = serviceStatus(input(oneReady, { stopped: 'by hand' }), same, 60_000);
  expect(of(stopped, 'Ready')).toMatchObject({ status: 'False', lastTransitionTime: '1970-01-01T00:01:00Z' });
});

test('every status that can be made is one that the CRD takes', () => {
  const trouble = afterFailedStart(undefined, { code: 'model-not-found', message: 'gone' }, 1);
  for (const revisions of [[], one, oneReady, two]) {
    for (const stopped of [undefined, 'by hand']) {
      for (const invalid of [undefined, ['bad']]) {
        for (const misfits of [undefined, [], ['env']]) {
          for (const troubled of [undefined, trouble]) {
            const status = serviceStatus(
              input(revisions, {
                stopped,
                invalid,
                misfits,
                trouble: () => troubled,
                traffic: revisions.length === 0 ? new Map() : WHOLE,
                scaling: { reason: 'one request', path: 'proxied', atMs: 5, inPanic: true },
                warnings: ['spec.predictor.model.runtime has no effect'],
              }),
              undefined,
              1,
            );
            expect(statusSchema.safeParse(status).error).toBeUndefined();
            expect(of(status, 'Ready')).toBeDefined();
          }
        }
      }
    }
  }
});

const UNSCHEDULABLE = { code: 'Unschedulable', message: '0/3 nodes are available: 3 Insufficient memory.' };

test('a service whose only replica can’t be scheduled says so in Kubernetes’ words', () => {
  const counts = () => ({ ...NONE, wanted: 1, starting: 1 });
  for (const revisions of [one, oneReady]) {
    const stuck = input(revisions, { counts, waitsFor: () => UNSCHEDULABLE });
    const message = `ocr-00001: ${UNSCHEDULABLE.message}`;
    const expected = { status: 'False', reason: 'Unschedulable', message };
    expect(of(serviceStatus(stuck, undefined, 1), 'Ready')).toMatchObject(expected);
    expect(of(serviceStatus(stuck, undefined, 1), 'PredictorReady')).toMatchObject(expected);
  }
});

test('a service that serves and can’t get its other replicas stays Ready and says why', () => {
  const counts = () => ({ ...NONE, wanted: 3, ready: 1, starting: 1 });
  const stuck = serviceStatus(input(oneReady, { counts, waitsFor: () => UNSCHEDULABLE }), undefined, 1);
  expect(of(stuck, 'Ready')).toMatchObject({ status: 'True' });
  expect(of(stuck, 'ScalingLimited')).toMatchObject({
    status: 'True',
    reason: 'Unschedulable',
    message: `ocr-00001: 1 of 3 replicas: ${UNSCHEDULABLE.message}`,
  });
  const trouble = afterFailedStart(undefined, { code: 'ExceededQuota', message: 'exceeded quota: small' }, 1);
  const refused = serviceStatus(input(oneReady, { counts, trouble: () => trouble }), undefined, 1);
  expect(of(refused, 'ScalingLimited')).toMatchObject({ reason: 'ExceededQuota' });
  const enough = () => ({ ...NONE, wanted: 1, ready: 1 });
  const whole = serviceStatus(input(oneReady, { counts: enough, trouble: () => trouble }), undefined, 1);
  expect(of(whole, 'ScalingLimited')).toBeUndefined();
});

test('a refusal of the platform is the condition’s reason, a failure of ours is not', () => {
  const failed = (code: string) => {
    const trouble = afterFailedStart(undefined, { code, message: 'why', isLasting: true }, 1);
    return of(serviceStatus(input(one, { trouble: () => trouble }), undefined, 1), 'Ready');
  };
  expect(failed('LimitRange')).toMatchObject({ status: 'False', reason: 'LimitRange' });
  expect(failed('model-not-onnx')).toMatchObject({ status: 'False', reason: 'RevisionFailed' });
});

test('tags show with their URLs, and shares still add up to 100', () => {
  const both = markReady(two, 'ocr-00002', undefined);
  const traffic = new Map([
    ['ocr-00002', 10],
    ['ocr-00001', 90],
  ]);
  const status = serviceStatus(input(both, { hasTags: true, traffic }), undefined, 1);
  const lines = status.components?.['predictor']?.traffic ?? [];
  expect(lines.map(({ revisionName, percent, tag, url }) => [revisionName, percent, tag, url])).toEqual([
    ['ocr-00002', 10, 'latest', 'http://latest-ocr.default'],
    ['ocr-00001', 90, 'prev', 'http://prev-ocr.default'],
    ['ocr-00001', 0, 'r1', 'http://r1-ocr.default'],
    ['ocr-00002', 0, 'r2', 'http://r2-ocr.default'],
  ]);
  expect(statusSchema.safeParse(status).success).toBe(true);
});

test('a revision without traffic has a line for its tag', () => {
  const both = markReady(two, 'ocr-00002', undefined);
  const traffic = new Map([['ocr-00002', 100]]);
  const status = serviceStatus(input(both, { hasTags: true, traffic }), undefined, 1);
  const lines = status.components?.['predictor']?.traffic ?? [];
  expect(lines).toContainEqual({
    revisionName: 'ocr-00001',
    percent: 0,
    latestRevision: false,
    tag: 'prev',
    url: 'http://prev-ocr.default',
  });
  const untagged = serviceStatus(input(both, { traffic }), undefined, 1);
  expect(untagged.components?.['predictor']?.traffic).toHaveLength(1);
});
