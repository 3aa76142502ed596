import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Pod } from './kube-types.ts';
import { gracePeriodSeconds, isCurrent, replicaPod, standbyPod } from './pod.ts';
import { effectiveResources } from './pod-spec.ts';
import { podContext, poolObject, replicaTemplate } from './testing/pods.ts';

const context = podContext();
const standby = (spec: Record<string, unknown> = {}, config = {}): Pod =>
  standbyPod(poolObject(spec), podContext(config), 'small-b7kx2');
const runtime = (
  predictor: Record<string, unknown> = {},
  model: Record<string, unknown> = {},
  config = {},
): Pod => replicaPod(replicaTemplate(predictor, model), podContext(config), 'ocr-00003-0-1');
const container = (own: Record<string, unknown> = {}, predictor: Record<string, unknown> = {}): Pod =>
  replicaPod(
    replicaTemplate({ containers: [{ image: 'example/app:1', ...own }], ...predictor }),
    context,
    'ocr-00003-0-1',
  );

/** Every field of a pod that people of a cluster may have a say in, with values that nothing would guess. */
const POD_FIELDS = {
  serviceAccountName: 'reader',
  nodeSelector: { gpu: 'a100' },
  affinity: { nodeAffinity: { preferredDuringSchedulingIgnoredDuringExecution: [] } },
  tolerations: [{ key: 'nvidia.com/gpu', operator: 'Exists' }],
  topologySpreadConstraints: [
    {
      maxSkew: 1,
      topologyKey: 'topology.kubernetes.io/zone',
      whenUnsatisfiable: 'ScheduleAnyway',
      labelSelector: { matchLabels: { a: 'b' } },
    },
  ],
  dnsConfig: { nameservers: ['10.0.0.1'] },
  hostAliases: [{ ip: '10.0.0.2', hostnames: ['a'] }],
  readinessGates: [{ conditionType: 'example.com/ok' }],
  overhead: { cpu: '1m' },
  dnsPolicy: 'Default',
  priorityClassName: 'high',
  preemptionPolicy: 'Never',
  runtimeClassName: 'nvidia',
  schedulerName: 'other',
  automountServiceAccountToken: false,
  enableServiceLinks: true,
  terminationGracePeriodSeconds: 77,
};

describe('a standby', () => {
  it('is a pod of the runtime that belongs to its pool and is replaced by the controller alone', () => {
    expect(standby()).toMatchObject({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: {
        namespace: 'team',
        name: 'small-b7kx2',
        labels: {
          'app.kubernetes.io/managed-by': 'pilotlight',
          'app.kubernetes.io/component': 'replica',
          'serving.pilotlight.dev/origin': 'standby',
          'serving.pilotlight.dev/pool': 'small',
        },
        annotations: { 'cluster-autoscaler.kubernetes.io/safe-to-evict': 'true' },
        ownerReferences: [{ kind: 'StandbyPool', name: 'small', uid: 'pool-uid', controller: true }],
      },
      spec: {
        restartPolicy: 'Never',
        automountServiceAccountToken: false,
        containers: [
          {
            name: 'runtime',
            image: 'pilotlight-runtime:1',
            args: [
              '--standby',
              '--host',
              '::',
              '--port',
              '8080',
              '--admin-port',
              '8081',
              '--cache-dir',
              '/cache',
              '--drain-ms',
              '595000',
            ],
            ports: [{ containerPort: 8080 }, { containerPort: 8081 }],
            readinessProbe: { httpGet: { path: '/v2/health/live', port: 'http' } },
          },
        ],
        volumes: [{ emptyDir: {} }, { emptyDir: { sizeLimit: '10Gi' } }],
      },
    });
  });

  it('carries no secret: it learns whom to believe, and its own name', () => {
    expect(standby().spec?.containers[0]?.env).toEqual([
      { name: 'PILOTLIGHT_POD_NAME', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } },
      { name: 'PILOTLIGHT_POD_NAMESPACE', valueFrom: { fieldRef: { fieldPath: 'metadata.namespace' } } },
      { name: 'PILOTLIGHT_ADMIN_PUBLIC_KEY', value: 'cHVibGlj' },
      { name: 'PILOTLIGHT_CONTROL_CA', value: 'PEM' },
    ]);
  });

  it("is told to give metrics by Triton's names where the operator wants them, and not otherwise", () => {
    expect(standby({}, { tritonMetrics: true }).spec?.containers[0]?.args).toContain('--triton-metrics');
    expect(standby().spec?.containers[0]?.args).not.toContain('--triton-metrics');
  });

  it.each<[string, object, object, object]>([
    [
      'an emptyDir of its own size',
      { emptyDir: { sizeLimit: '3Gi' } },
      {},
      { emptyDir: { sizeLimit: '3Gi' } },
    ],
    [
      'a folder of the node',
      { hostPath: { path: '/models' } },
      { hostPath: true },
      { hostPath: { path: '/models', type: 'Directory' } },
    ],
    [
      'a claim',
      { persistentVolumeClaim: { claimName: 'c' } },
      { persistentVolumeClaim: true },
      { persistentVolumeClaim: { claimName: 'c' } },
    ],
  ])('has its cache on %s', (_what, cache, allowCache, source) => {
    expect(standby({ cache }, { allowCache }).spec?.volumes?.[1]).toEqual({
      name: 'pilotlight-cache',
      ...source,
    });
  });

  it.each([
    ['hostPath', { hostPath: { path: '/' } }],
    ['persistentVolumeClaim', { persistentVolumeClaim: { claimName: 'c' } }],
  ])('is not made where the operator doesn’t allow a cache on %s', (kind, cache) => {
    expect(() => standby({ cache })).toThrow(
      expect.objectContaining({
        code: 'unsupported',
        message: expect.stringContaining(`allowCache.${kind}`),
      }),
    );
  });

  it('stands at most so often on one node as the pool says, those that serve not counted', () => {
    expect(standby({ perNode: 2 }).spec?.topologySpreadConstraints).toEqual([
      {
        maxSkew: 2,
        minDomains: 1_000_000,
        topologyKey: 'kubernetes.io/hostname',
        whenUnsatisfiable: 'DoNotSchedule',
        labelSelector: {
          matchLabels: { 'serving.pilotlight.dev/pool': 'small' },
          matchExpressions: [{ key: 'serving.pilotlight.dev/service', operator: 'DoesNotExist' }],
        },
      },
    ]);
    expect(standby().spec?.topologySpreadConstraints).toBeUndefined();
  });
});

describe('a pool’s pod is out of date', () => {
  const pod = standby();

  it('not by a new size of the pool', () => {
    expect(isCurrent(pod, poolObject({ size: 7 }), context)).toBe(true);
  });

  it.each<[string, object, object]>([
    ['resources', { resources: { limits: { cpu: 1 } } }, {}],
    ['a label', { labels: { a: 'b' } }, {}],
    ['a node selector', { nodeSelector: { a: 'b' } }, {}],
    ['another runtime image', {}, { runtimeImage: 'pilotlight-runtime:2' }],
  ])('by %s', (_what, spec, config) => {
    expect(isCurrent(pod, poolObject({ ...spec }), podContext({ ...config }))).toBe(false);
  });

  it('by other certificates', () => {
    const trust = { ...context.trust, controlCa: 'other' };
    expect(isCurrent(pod, poolObject(), { ...context, trust })).toBe(false);
  });
});

describe('a replica of its own', () => {
  it('belongs to its service and says for which revision it is', () => {
    expect(
      runtime({ labels: { team: 'a', 'serving.pilotlight.dev/service': 'forged' } }).metadata,
    ).toMatchObject({
      name: 'ocr-00003-0-1',
      labels: {
        team: 'a',
        'serving.pilotlight.dev/origin': 'runtime',
        'serving.pilotlight.dev/service': 'ocr',
        'serving.pilotlight.dev/revision': 'ocr-00003',
      },
      ownerReferences: [{ kind: 'InferenceService', name: 'ocr', uid: 'service-uid', controller: true }],
    });
  });

  it.each<[string, (fields: Record<string, unknown>) => Pod]>([
    ['of the runtime', (fields) => runtime(fields)],
    ['of a user’s container', (fields) => container({}, fields)],
    ['that is a standby', (fields) => standby(fields)],
  ])('%s carries every pod field through', (_what, build) => {
    expect(build(POD_FIELDS).spec).toMatchObject(POD_FIELDS);
  });

  it('leaves env and envFrom for the kubelet to resolve, and lets nobody set what is the controller’s', () => {
    const env = [
      { name: 'A', valueFrom: { secretKeyRef: { name: 's', key: 'k' } } },
      { name: 'PILOTLIGHT_CONTROL_CA', value: 'forged' },
    ];
    const envFrom = [{ secretRef: { name: 's' }, prefix: 'P_' }];
    const [built] = runtime({}, { env, envFrom }).spec?.containers ?? [];
    expect(built?.env?.slice(-2)).toEqual([{ name: 'PILOTLIGHT_CONTROL_CA', value: 'PEM' }, env[0]]);
    expect(built?.envFrom).toEqual(envFrom);
  });

  it('adds the operator’s pull secrets to its own', () => {
    const pod = runtime(
      { imagePullSecrets: [{ name: 'own' }, { name: 'shared' }] },
      {},
      { imagePullSecrets: ['shared', { name: 'other' }] },
    );
    expect(pod.spec?.imagePullSecrets).toEqual([{ name: 'own' }, { name: 'shared' }, { name: 'other' }]);
  });

  it('asks for the GPU that the manifest asks for, and for the operator’s amounts where it says nothing', () => {
    const resources = { limits: { 'nvidia.com/gpu': 1, memory: '2Gi' } };
    expect(runtime({}, { resources }).spec?.containers[0]?.resources).toEqual({
      requests: { cpu: '100m' },
      limits: { 'nvidia.com/gpu': '1', memory: '2Gi' },
    });
    expect(runtime().spec?.containers[0]?.resources).toEqual({ requests: { cpu: '100m', memory: '256Mi' } });
  });

  it('spreads over pods of its own service where a constraint doesn’t say what it counts', () => {
    const topologySpreadConstraints = [
      { maxSkew: 1, topologyKey: 'zone', whenUnsatisfiable: 'DoNotSchedule' },
    ];
    expect(runtime({ topologySpreadConstraints }).spec?.topologySpreadConstraints).toEqual([
      {
        ...topologySpreadConstraints[0],
        labelSelector: { matchLabels: { 'serving.pilotlight.dev/service': 'ocr' } },
      },
    ]);
  });

  it('has a token for the API server only with an account of its own', () => {
    expect(runtime().spec?.automountServiceAccountToken).toBe(false);
    expect(runtime({ serviceAccountName: 'reader' }).spec?.automountServiceAccountToken).toBe(true);
  });

  it.each([
    [1_000, 30],
    [60_000, 70],
    [3_600_000, 600],
  ])('has time to end: a request timeout of %i ms gives %i s', (timeoutMs, seconds) => {
    expect(gracePeriodSeconds(timeoutMs)).toBe(seconds);
  });
});

describe('a user’s container', () => {
  it('gets its port in $PORT and counts as ready once that takes connections', () => {
    expect(container({ ports: [{ containerPort: 9000, name: 'web' }] }).spec?.containers[0]).toMatchObject({
      name: 'container',
      image: 'example/app:1',
      ports: [{ name: 'web', containerPort: 9000, protocol: 'TCP' }],
      env: [{ name: 'PORT', value: '9000' }],
      readinessProbe: { tcpSocket: { port: 9000 }, periodSeconds: 1 },
    });
  });

  it('has its start timeout to become ready, by the kubelet’s clock', () => {
    const readinessProbe = {
      httpGet: { path: '/ok', port: 1 },
      initialDelaySeconds: 5,
      successThreshold: 2,
      periodSeconds: 10,
    };
    expect(container({ readinessProbe }).spec?.containers[0]).toMatchObject({
      readinessProbe,
      startupProbe: {
        httpGet: { path: '/ok', port: 1 },
        periodSeconds: 1,
        failureThreshold: 120,
        terminationGracePeriodSeconds: 1,
      },
    });
    const [{ startupProbe } = {}] = container({ readinessProbe }).spec?.containers ?? [];
    expect(startupProbe).not.toHaveProperty('initialDelaySeconds');
    expect(startupProbe).not.toHaveProperty('successThreshold');
  });

  it('keeps its own probes, command, mounts and PORT', () => {
    const own = {
      name: 'app',
      command: ['serve'],
      args: ['-v'],
      workingDir: '/srv',
      readinessProbe: { httpGet: { path: '/ok', port: 1 } },
      livenessProbe: { exec: { command: ['true'] } },
      startupProbe: { exec: { command: ['true'] } },
      lifecycle: { preStop: { sleep: { seconds: 1 } } },
      volumeMounts: [{ name: 'data', mountPath: '/data' }],
      env: [{ name: 'PORT', value: '1' }],
    };
    const volumes = [{ name: 'data', emptyDir: {} }];
    const { spec } = container(own, { volumes });
    expect(spec?.containers[0]).toMatchObject(own);
    expect(spec?.containers[0]?.env).toEqual(own.env);
    expect(spec?.volumes).toEqual(volumes);
  });
});

describe('Pod Security level "restricted"', () => {
  it.each([
    ['a standby', standby()],
    ['a runtime of its own', runtime()],
    ['a user’s container', container()],
  ])('passes %s', (_what, { spec }) => {
    expect(spec?.securityContext).toMatchObject({
      runAsNonRoot: true,
      seccompProfile: { type: 'RuntimeDefault' },
    });
    expect(spec?.containers[0]?.securityContext).toMatchObject({
      allowPrivilegeEscalation: false,
      capabilities: { drop: ['ALL'] },
    });
    expect(spec?.volumes?.every((volume) => volume.emptyDir !== undefined) ?? true).toBe(true);
    expect(spec?.hostNetwork ?? spec?.hostPID ?? spec?.hostIPC).toBeUndefined();
  });

  it('goes further for our own image: a numeric user and a root file system that can’t be written', () => {
    const { spec } = standby();
    expect(spec?.securityContext).toMatchObject({ runAsUser: 65_532, runAsGroup: 65_532, fsGroup: 65_532 });
    expect(spec?.containers[0]?.securityContext).toMatchObject({ readOnlyRootFilesystem: true });
    expect(spec?.containers[0]?.volumeMounts).toMatchObject([{ mountPath: '/tmp' }, { mountPath: '/cache' }]);
  });

  it('gives way to what the manifest says', () => {
    const { spec } = container(
      { securityContext: { runAsUser: 0, runAsNonRoot: false } },
      { securityContext: { fsGroup: 5 } },
    );
    expect(spec?.containers[0]?.securityContext).toMatchObject({
      runAsUser: 0,
      capabilities: { drop: ['ALL'] },
    });
    expect(spec?.securityContext).toMatchObject({ fsGroup: 5, runAsNonRoot: true });
  });
});

describe('default resources', () => {
  const amounts = fc.dictionary(fc.constantFrom('cpu', 'memory'), fc.integer({ min: 1, max: 100 }));
  const resources = fc
    .record({ requests: amounts, limits: amounts })
    .filter(({ requests, limits }) =>
      Object.entries(requests).every(([name, amount]) => amount <= (limits[name] ?? amount)),
    );

  it('never change what was given, and never make a request above its limit', () => {
    fc.assert(
      fc.property(resources, resources, (own, defaults) => {
        const effective = effectiveResources(own, defaults);
        expect(effective.requests).toMatchObject(own.requests);
        expect(effective.limits).toMatchObject(own.limits);
        for (const [name, request] of Object.entries(effective.requests)) {
          expect(request).toBeLessThanOrEqual(effective.limits[name] ?? request);
        }
      }),
    );
  });
});

describe('a claim that a model lies in', () => {
  const mountsOf = (pod: Pod) =>
    pod.spec?.containers[0]?.volumeMounts?.filter(({ mountPath }) => mountPath.startsWith('/mnt/'));
  const claimsIn = (pod: Pod) =>
    pod.spec?.volumes?.flatMap(({ name, persistentVolumeClaim }) =>
      persistentVolumeClaim === undefined ? [] : [{ name, ...persistentVolumeClaim }],
    );

  it('is mounted, read-only, into the service’s own pod', () => {
    const pod = runtime({}, { storageUri: 'pvc://weights/a/m.onnx' });
    expect(claimsIn(pod)).toEqual([{ name: 'pilotlight-claim', claimName: 'weights', readOnly: true }]);
    expect(mountsOf(pod)).toEqual([
      { name: 'pilotlight-claim', mountPath: '/mnt/claims/weights', readOnly: true },
    ]);
  });

  it('is not mounted twice where the service lists it among its volumes', () => {
    const volumes = [{ name: 'mine', persistentVolumeClaim: { claimName: 'weights' } }];
    const pod = runtime({ volumes }, { storageUri: 'pvc://weights/m.onnx' });
    expect(claimsIn(pod)).toEqual([{ name: 'mine', claimName: 'weights' }]);
    expect(mountsOf(pod)).toEqual([{ name: 'mine', mountPath: '/mnt/claims/weights', readOnly: true }]);
  });

  it('is in every standby of a pool whose volumes name it', () => {
    const volumes = [
      { name: 'a', persistentVolumeClaim: { claimName: 'weights' } },
      { name: 'b', persistentVolumeClaim: { claimName: 'more-weights' } },
      { name: 'c', emptyDir: {} },
    ];
    expect(mountsOf(standby({ volumes }))).toEqual([
      { name: 'a', mountPath: '/mnt/claims/weights', readOnly: true },
      { name: 'b', mountPath: '/mnt/claims/more-weights', readOnly: true },
    ]);
    expect(mountsOf(standby())).toEqual([]);
  });
});
