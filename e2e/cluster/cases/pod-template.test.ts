import { afterAll, beforeAll, expect, test } from 'vitest';
import { zeros } from '../../local/testing/marked-model.ts';
import { json, mark, onPlatform, type Pod } from './testing/platform.ts';
import { containerService, markedService } from './testing/services.ts';

/** What a manifest says of its pods reaches them, and they run where Pod Security is "restricted". */
const on = onPlatform('pod-template');

/** Objects of the cluster have names that no other file has. */
const clusterName = (): string => on.namespace;

beforeAll(async () => {
  const metadata = { name: clusterName() };
  await on.apply(
    { apiVersion: 'node.k8s.io/v1', kind: 'RuntimeClass', metadata, handler: 'runc' },
    { apiVersion: 'scheduling.k8s.io/v1', kind: 'PriorityClass', metadata, value: 1_000 },
    { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'reader' } },
    { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'settings' }, data: { 'a.txt': 'hello' } },
    {
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { name: 'registry' },
      type: 'kubernetes.io/dockerconfigjson',
      stringData: { '.dockerconfigjson': '{"auths":{}}' },
    },
  );
});

afterAll(async () => {
  for (const kind of ['runtimeclass', 'priorityclass'])
    await on.kubectl('delete', kind, clusterName(), '--ignore-not-found');
});

/** Fields of spec.predictor that go into the pod as they are. */
const podFields = () => ({
  serviceAccountName: 'reader',
  nodeSelector: { 'kubernetes.io/os': 'linux' },
  affinity: {
    nodeAffinity: {
      requiredDuringSchedulingIgnoredDuringExecution: {
        nodeSelectorTerms: [
          { matchExpressions: [{ key: 'kubernetes.io/os', operator: 'In', values: ['linux'] }] },
        ],
      },
    },
  },
  tolerations: [{ key: 'nvidia.com/gpu', operator: 'Exists', effect: 'NoSchedule' }],
  runtimeClassName: clusterName(),
  priorityClassName: clusterName(),
  terminationGracePeriodSeconds: 33,
  dnsConfig: { options: [{ name: 'ndots', value: '2' }] },
  hostAliases: [{ ip: '192.0.2.1', hostnames: ['elsewhere.example'] }],
});

const SPREAD = { maxSkew: 2, topologyKey: 'kubernetes.io/hostname', whenUnsatisfiable: 'ScheduleAnyway' };
const RESOURCES = {
  requests: { cpu: '11m', memory: '65Mi', 'ephemeral-storage': '10Mi' },
  limits: { memory: '900Mi' },
};

async function podOf(service: string): Promise<Pod> {
  await on.waitForService(service, 'has a replica', ({ status }) => status?.replicas?.ready === 1);
  return on.servingPod(service);
}

function expectPodFields(pod: Pod, service: string): void {
  expect(pod.metadata?.labels).toMatchObject({ team: 'vision' });
  expect(pod.metadata?.annotations).toMatchObject({ 'example.com/note': 'kept' });
  const { tolerations, ...fields } = podFields();
  expect(pod.spec).toMatchObject(fields);
  expect(pod.spec?.tolerations).toEqual(expect.arrayContaining(tolerations));
  expect(pod.spec?.imagePullSecrets).toContainEqual({ name: 'registry' });
  expect(pod.spec?.topologySpreadConstraints).toMatchObject([
    // One that doesn't say what it counts counts the pods of the service.
    { ...SPREAD, labelSelector: { matchLabels: { 'serving.pilotlight.dev/service': service } } },
  ]);
  expect(pod.spec?.priority).toBe(1_000);
  // It has an account of its own, and with it a token.
  expect(pod.spec?.automountServiceAccountToken).toBe(true);
  expect(pod.spec?.containers[0]?.resources).toMatchObject(RESOURCES);
}

const METADATA = { labels: { team: 'vision' }, annotations: { 'example.com/note': 'kept' } };

test('of a model', async () => {
  const predictor = {
    ...podFields(),
    ...METADATA,
    imagePullSecrets: [{ name: 'registry' }],
    topologySpreadConstraints: [SPREAD],
    securityContext: { supplementalGroups: [3_000] },
    minReplicas: 1,
    maxReplicas: 1,
  };
  const env = [
    { name: 'AWS_ENDPOINT_URL', value: 'http://store.object-store.svc.cluster.local:7070' },
    { name: 'COLOUR', value: 'red' },
    { name: 'GREETING', valueFrom: { configMapKeyRef: { name: 'settings', key: 'a.txt' } } },
  ];
  await on.apply(markedService('model', 31, { predictor, model: { env, resources: RESOURCES } }));
  await on.waitForReady('model');
  const pod = await podOf('model');
  expectPodFields(pod, 'model');
  expect(pod.spec?.securityContext).toMatchObject({ runAsNonRoot: true, supplementalGroups: [3_000] });
  expect(pod.spec?.containers[0]?.env).toEqual(expect.arrayContaining(env));
  expect(mark(await on.infer('model', zeros()))).toBe(31);
});

test('of a container', async () => {
  const predictor = {
    ...podFields(),
    ...METADATA,
    imagePullSecrets: [{ name: 'registry' }],
    topologySpreadConstraints: [SPREAD],
    volumes: [
      { name: 'scratch', emptyDir: { sizeLimit: '10Mi' } },
      { name: 'settings', configMap: { name: 'settings' } },
    ],
    minReplicas: 1,
    maxReplicas: 1,
  };
  const container = {
    name: 'server',
    image: await on.client.image(),
    command: ['/usr/local/bin/node'],
    args: ['/client/server.ts', 'http'],
    workingDir: '/scratch',
    ports: [{ name: 'web', containerPort: 9_000 }],
    env: [{ name: 'COLOUR', value: 'red' }],
    envFrom: [{ prefix: 'FROM_', configMapRef: { name: 'settings' } }],
    resources: RESOURCES,
    securityContext: { readOnlyRootFilesystem: true },
    livenessProbe: { tcpSocket: { port: 9_000 }, periodSeconds: 7 },
    lifecycle: { preStop: { sleep: { seconds: 1 } } },
    volumeMounts: [
      { name: 'scratch', mountPath: '/scratch' },
      { name: 'settings', mountPath: '/settings', readOnly: true },
    ],
  };
  await on.apply(containerService('own', container, { predictor }));
  await on.waitForReady('own');
  const pod = await podOf('own');
  expectPodFields(pod, 'own');
  const { env, volumeMounts, ...carried } = container;
  expect(pod.spec?.containers[0]).toMatchObject({
    ...carried,
    securityContext: { ...carried.securityContext, allowPrivilegeEscalation: false },
  });
  expect(pod.spec?.containers[0]?.env).toEqual(expect.arrayContaining(env));
  // Beside these there is the token of its account.
  expect(pod.spec?.containers[0]?.volumeMounts).toEqual(expect.arrayContaining(volumeMounts));
  for (const volume of predictor.volumes)
    expect(pod.spec?.volumes).toContainEqual(expect.objectContaining({ name: volume.name }));
  const answer = await on.call('own', '/echo', { bodyBase64: Buffer.from('{"is":"up"}').toString('base64') });
  expect(json(answer)).toEqual({ is: 'up' });
});

test('pods that fall short of the level are refused by the cluster, and the status says why', async () => {
  const container = {
    image: await on.client.image(),
    command: ['/usr/local/bin/node', '/client/server.ts', 'http'],
    securityContext: { allowPrivilegeEscalation: true },
  };
  await on.apply(containerService('privileged', container, { predictor: { minReplicas: 1 } }));
  const service = await on.waitForService(
    'privileged',
    'says why it has no pod',
    ({ status }) => status?.modelStatus?.lastFailureInfo !== undefined,
  );
  expect(service.status?.modelStatus?.lastFailureInfo?.message).toMatch(
    /PodSecurity.*allowPrivilegeEscalation/s,
  );
  expect(await on.pods('privileged')).toEqual([]);
});
