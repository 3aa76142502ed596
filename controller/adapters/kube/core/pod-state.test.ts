import { describe, expect, it, test } from 'vitest';
import type { RuntimeState } from '../../../../contracts/admin.ts';
import type { Pod } from './kube-types.ts';
import { replicaPod, standbyPod } from './pod.ts';
import { holdsSlot, type NodeState, nodeState, observePod, waitsForNode } from './pod-state.ts';
import { podContext, poolObject, replicaTemplate } from './testing/pods.ts';

type Status = NonNullable<Pod['status']>;
const UP: Status = { phase: 'Running', podIP: '10.1.2.3' };

const ofPool = standbyPod(poolObject(), podContext(), 'small-b7kx2');
const own = replicaPod(replicaTemplate(), podContext(), 'ocr-00003-0-1');
const foreign = replicaPod(
  replicaTemplate({ containers: [{ image: 'a', ports: [{ containerPort: 9000 }] }] }),
  podContext(),
  'ocr-00003-0-1',
);

const withStatus = (pod: Pod, status: Status, metadata: object = {}): Pod => ({
  ...pod,
  metadata: { ...pod.metadata, ...metadata },
  spec: { ...pod.spec, containers: pod.spec?.containers ?? [], nodeName: 'node-1' },
  status,
});

function runtime(state: RuntimeState['state'], rest: Partial<RuntimeState> = {}): RuntimeState {
  return {
    incarnation: 'i',
    recycles: 0,
    highestEpoch: 1,
    state,
    inFlight: 0,
    residentBytes: 0,
    cachedModels: [],
    ...rest,
  };
}

const container = (state: object): NonNullable<Status['containerStatuses']> => [
  { name: 'runtime', image: 'a', imageID: '', ready: false, restartCount: 0, state },
];
const CLAIM = { claimId: 'c', epoch: 4, serviceUid: 'service-uid', revision: 'ocr-00003', capacity: 8 };

describe('a pod as a replica', () => {
  it('of a pool says which one, and what its runtime holds', () => {
    expect(observePod(withStatus(ofPool, UP), runtime('ready', { claim: CLAIM }))).toEqual({
      origin: 'standby',
      state: 'ready',
      pool: 'team/small',
      address: '10.1.2.3:8080',
      claim: { claimId: 'c', epoch: 4, serviceUid: 'service-uid', revision: 'ocr-00003' },
      capacity: 8,
      memoryRequestBytes: 256 * 1024 ** 2,
    });
  });

  it('of its own says for whom it was started', () => {
    expect(observePod(withStatus(own, UP), runtime('standby'))).toMatchObject({
      origin: 'runtime',
      state: 'standby',
      startedFor: { serviceUid: 'service-uid', revision: 'ocr-00003' },
    });
  });

  it('of a user has the port of its container, and an IPv6 address in brackets', () => {
    expect(observePod(withStatus(foreign, { ...UP, podIP: 'fd00::7' }), undefined).address).toBe(
      '[fd00::7]:9000',
    );
  });

  it.each(['standby', 'specialising', 'ready', 'draining', 'failed'] as const)(
    'is %s when its runtime says so, whatever the kubelet’s probes say',
    (state) => {
      expect(observePod(withStatus(ofPool, UP), runtime(state)).state).toBe(state);
    },
  );

  it('is starting until its runtime has answered', () => {
    const ready = [{ type: 'Ready', status: 'True' }];
    expect(observePod(withStatus(ofPool, { ...UP, conditions: ready }), undefined).state).toBe('starting');
  });

  it('with a user’s container is ready when the kubelet says so', () => {
    const conditions = (status: string) => [{ type: 'Ready', status }];
    expect(observePod(withStatus(foreign, { ...UP, conditions: conditions('True') }), undefined).state).toBe(
      'ready',
    );
    expect(observePod(withStatus(foreign, { ...UP, conditions: conditions('False') }), undefined).state).toBe(
      'starting',
    );
  });
});

const unschedulable = {
  type: 'PodScheduled',
  status: 'False',
  reason: 'Unschedulable',
  message: '0/2 nodes are available: 2 Insufficient nvidia.com/gpu.',
};

test('a pod that no node takes waits for one, and one that is on its node does not', () => {
  const { nodeName: _node, ...unplaced } = ofPool.spec ?? { containers: [] };
  const status = { phase: 'Pending', conditions: [unschedulable] };
  expect(observePod({ ...ofPool, spec: unplaced, status }, undefined).waitsForNode).toBe(true);
  expect(
    observePod({ ...ofPool, spec: unplaced, status: { phase: 'Pending' } }, undefined),
  ).not.toHaveProperty('waitsForNode');
  expect(observePod(withStatus(ofPool, status), undefined)).not.toHaveProperty('waitsForNode');
});

describe('what a pod’s start waits for', () => {
  it.each<[Status, { code: string; message: string } | undefined]>([
    [{ phase: 'Pending' }, undefined],
    [
      { phase: 'Pending', conditions: [unschedulable] },
      { code: 'Unschedulable', message: unschedulable.message },
    ],
    [
      { phase: 'Pending', containerStatuses: container({ waiting: { reason: 'ContainerCreating' } }) },
      undefined,
    ],
    ...[
      'ErrImagePull',
      'ImagePullBackOff',
      'InvalidImageName',
      'CreateContainerConfigError',
      'CreateContainerError',
      'RunContainerError',
    ].map((reason): [Status, { code: string; message: string }] => [
      { phase: 'Pending', containerStatuses: container({ waiting: { reason, message: 'why' } }) },
      { code: reason, message: 'why' },
    ]),
  ])('%j', (status, failure) => {
    const seen = observePod(withStatus(ofPool, status), undefined);
    expect(seen.state).toBe('starting');
    expect(seen.failure).toEqual(failure);
  });

  it('is a node as long as it has none', () => {
    expect(waitsForNode({ ...ofPool, status: { phase: 'Pending' } })).toBe(true);
    expect(waitsForNode(withStatus(ofPool, { phase: 'Pending' }))).toBe(false);
  });
});

describe('a pod that has ended', () => {
  it.each<[string, Status, { code: string; message: string }]>([
    [
      'for memory',
      {
        phase: 'Failed',
        containerStatuses: container({ terminated: { reason: 'OOMKilled', exitCode: 137 } }),
      },
      { code: 'OOMKilled', message: 'container "runtime" ended with exit code 137 (OOMKilled)' },
    ],
    [
      'with an error and a word',
      {
        phase: 'Failed',
        containerStatuses: container({
          terminated: { reason: 'Error', exitCode: 3, message: 'no such model\n' },
        }),
      },
      { code: 'Error', message: 'container "runtime" ended with exit code 3: no such model' },
    ],
    [
      'by eviction',
      { phase: 'Failed', reason: 'Evicted', message: 'The node was low on resource: memory.' },
      { code: 'Evicted', message: 'The node was low on resource: memory.' },
    ],
    [
      'by disruption',
      {
        phase: 'Failed',
        conditions: [
          { type: 'DisruptionTarget', status: 'True', reason: 'PreemptionByScheduler', message: 'm' },
        ],
      },
      { code: 'PreemptionByScheduler', message: 'm' },
    ],
    [
      'without a word',
      { phase: 'Succeeded' },
      { code: 'Succeeded', message: 'the pod has ended (Succeeded)' },
    ],
  ])('%s is failed, for Kubernetes’ own reason, and holds no slot', (_how, status, failure) => {
    const pod = withStatus(ofPool, status);
    expect(observePod(pod, undefined)).toMatchObject({ state: 'failed', failure });
    expect(holdsSlot(pod)).toBe(false);
  });

  it('by its load says what the runtime says', () => {
    const failure = { code: 'model-not-found' as const, message: 'no model' };
    expect(observePod(withStatus(ofPool, UP), runtime('failed', { failure })).failure).toEqual(failure);
  });
});

describe('a container of a user that has ended', () => {
  const ended = (exitCode: number, afterSeconds: number, started = false, reason = 'Error'): Status => ({
    phase: 'Failed',
    containerStatuses: [
      {
        name: 'container',
        image: 'a',
        imageID: '',
        ready: false,
        restartCount: 0,
        started,
        state: {
          terminated: {
            reason,
            exitCode,
            startedAt: '2026-11-24T14:00:00Z',
            finishedAt: new Date(Date.UTC(2026, 10, 24, 14, 0, afterSeconds)).toISOString(),
          },
        },
      },
    ],
  });
  /** Its start timeout is the default one. */
  const TIMEOUT_SECONDS = 120;

  it.each([
    [0, 'Completed'],
    [137, 'Error'],
    [143, 'Error'],
  ])('on demand, with %i, at its start timeout was not ready in time', (exitCode, reason) => {
    const status = ended(exitCode, TIMEOUT_SECONDS, false, reason);
    expect(observePod(withStatus(foreign, status), undefined).failure).toEqual({
      code: 'StartupProbeFailed',
      message: `container "container" was not ready within its start timeout: its startup probe did not succeed (exit code ${exitCode})`,
    });
  });

  it.each<[string, Pod, Status, string]>([
    ['by itself', foreign, ended(3, TIMEOUT_SECONDS), 'Error'],
    ['by itself and in good order', foreign, ended(0, 5, false, 'Completed'), 'Completed'],
    ['once it had started', foreign, ended(137, TIMEOUT_SECONDS, true), 'Error'],
    ['for memory', foreign, ended(137, TIMEOUT_SECONDS, false, 'OOMKilled'), 'OOMKilled'],
    ['of our own image', own, ended(137, TIMEOUT_SECONDS), 'Error'],
  ])('%s is told as it is', (_how, pod, status, code) => {
    expect(observePod(withStatus(pod, status), undefined).failure?.code).toBe(code);
  });
});

describe('a pod that has to go', () => {
  it('is draining once it is being deleted, and holds no slot', () => {
    const pod = withStatus(ofPool, UP, { deletionTimestamp: '2026-11-24T00:00:00Z' });
    expect(observePod(pod, runtime('ready')).state).toBe('draining');
    expect(holdsSlot(pod)).toBe(false);
  });

  it.each<[NodeState, string, string | undefined, boolean]>([
    ['ready', 'ready', undefined, true],
    ['cordoned', 'draining', 'NodeCordoned', true],
    ['not-ready', 'draining', 'NodeNotReady', false],
    ['lost', 'failed', 'NodeLost', false],
  ])('on a node that is %s is %s', (node, state, code, holds) => {
    const pod = withStatus(ofPool, UP);
    const seen = observePod(pod, runtime('ready'), node);
    expect(seen.state).toBe(state);
    expect(seen.failure?.code).toBe(code);
    expect(holdsSlot(pod, node)).toBe(holds);
  });
});

describe('a node', () => {
  const ready = { status: { conditions: [{ type: 'Ready', status: 'True' }] } };
  const taint = (key: string, effect: string) => ({ ...ready, spec: { taints: [{ key, effect }] } });
  it.each<[NodeState, Parameters<typeof nodeState>[0]]>([
    ['ready', ready],
    ['cordoned', { ...ready, spec: { unschedulable: true } }],
    ['not-ready', { status: { conditions: [{ type: 'Ready', status: 'Unknown' }] } }],
    ['not-ready', {}],
    ['lost', taint('node.kubernetes.io/unreachable', 'NoExecute')],
    ['ready', taint('example.com/mine', 'NoExecute')],
    ['lost', { ...ready, metadata: { deletionTimestamp: '2026-11-24T00:00:00Z' } }],
    ['lost', undefined],
  ])('is %s: %j', (state, node) => {
    expect(nodeState(node)).toBe(state);
  });
});
