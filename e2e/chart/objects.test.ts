import { cp, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { parseKubeConfigText } from '../../controller/adapters/kube/config.ts';
import { findings } from './testing/findings.ts';
import { CHART, helmWithValues, NAMESPACE, render, type Values } from './testing/helm.ts';
import { named, namesOf, ofKind, type RenderedObject, selects, templateOf } from './testing/rendered.ts';

const DIGEST = `sha256:${'0123456789abcdef'.repeat(4)}`;

const VALUE_SETS: Readonly<Record<string, Values>> = {
  'the defaults': {},
  'a list of namespaces': { namespaces: ['team-a', 'team-b'] },
  'a certificate of their own': { tls: { existingSecret: 'our-certificate' } },
  'keys of their own': { keys: { existingSecret: 'our-keys' } },
  'images by digest': {
    images: { control: { digest: DIGEST }, runtime: { digest: DIGEST }, pullSecrets: ['registry', 'mirror'] },
  },
  'network policies': { networkPolicies: { enabled: true }, namespaces: ['team-a'], directMode: 'auto' },
  'all of metrics': {
    metrics: {
      podMonitor: { enabled: true, labels: { release: 'prometheus' } },
      prometheusRule: { enabled: true },
      dashboards: { enabled: true, annotations: { folder: 'Pilotlight' } },
    },
  },
  'a domain and a place of its own': {
    domain: 'models.example.com',
    controller: {
      replicas: 3,
      priorityClassName: 'system-cluster-critical',
      nodeSelector: { 'kubernetes.io/os': 'linux' },
      tolerations: [{ key: 'control', operator: 'Exists', effect: 'NoSchedule' }],
      podLabels: { team: 'platform', 'app.kubernetes.io/component': 'theirs' },
      podAnnotations: { note: 'yes', 'checksum/config': 'theirs' },
    },
    activator: {
      affinity: { nodeAffinity: {} },
      service: { type: 'LoadBalancer', annotations: { 'example.com/internal': 'true' } },
    },
  },
  'nothing that can be left out': {
    crds: { install: false },
    rbac: { userRoles: false },
    defaultPool: { size: 0, resources: {} },
  },
};

const namespacesOf = (values: Values): string[] => [
  NAMESPACE,
  ...((values['namespaces'] as string[] | undefined) ?? []),
];

test.each(Object.entries(VALUE_SETS))('with %s every object is sound', async (_title, values) => {
  expect(findings(await render(values), namespacesOf(values))).toEqual([]);
});

test.each(Object.entries(VALUE_SETS))('with %s helm finds nothing to complain of', async (_title, values) => {
  const { code, stdout, stderr } = await helmWithValues(['lint', '--strict'], values);
  expect(`${stdout}${stderr}`).toContain('0 chart(s) failed');
  expect(code).toBe(0);
});

test('the defaults make these objects and no others', async () => {
  expect(namesOf(await render()).filter((name) => !name.startsWith('CustomResourceDefinition'))).toEqual([
    'ClusterRole pilotlight-edit',
    'ClusterRole pilotlight-view',
    `ClusterRole pilotlight:${NAMESPACE}:controller`,
    `ClusterRoleBinding pilotlight:${NAMESPACE}:controller`,
    `ConfigMap ${NAMESPACE}/pilotlight-ca`,
    `ConfigMap ${NAMESPACE}/pilotlight-config`,
    `Deployment ${NAMESPACE}/pilotlight-activator`,
    `Deployment ${NAMESPACE}/pilotlight-controller`,
    `PodDisruptionBudget ${NAMESPACE}/pilotlight-activator`,
    `PodDisruptionBudget ${NAMESPACE}/pilotlight-controller`,
    `Role ${NAMESPACE}/pilotlight-controller`,
    `RoleBinding ${NAMESPACE}/pilotlight-controller`,
    `Secret ${NAMESPACE}/pilotlight-keys`,
    `Service ${NAMESPACE}/pilotlight-activator`,
    `Service ${NAMESPACE}/pilotlight-controller`,
    `ServiceAccount ${NAMESPACE}/pilotlight-activator`,
    `ServiceAccount ${NAMESPACE}/pilotlight-controller`,
  ]);
});

/** Plants a fault into the defaults. */
const PLANTED: Readonly<Record<string, [(objects: RenderedObject[]) => void, string]>> = {
  'an image of no fixed version': [
    (objects) => {
      const [container] =
        templateOf(named(objects, 'Deployment', 'pilotlight-controller')).spec?.containers ?? [];
      if (container) container.image = 'registry:5000/control:latest';
    },
    'pilotlight-controller: image registry:5000/control:latest is not of a fixed version',
  ],
  'a writable root': [
    (objects) => {
      const [container] =
        templateOf(named(objects, 'Deployment', 'pilotlight-activator')).spec?.containers ?? [];
      if (container?.securityContext) container.securityContext.readOnlyRootFilesystem = false;
    },
    'pilotlight-activator: writable root',
  ],
  'a port without a name in the pod': [
    (objects) => {
      const [port] = named(objects, 'Service', 'pilotlight-activator').spec?.ports ?? [];
      if (port) port.targetPort = 'web';
    },
    'pilotlight-activator: no port of the pod is named web',
  ],
  'a selector that selects both': [
    (objects) => {
      const { spec } = named(objects, 'PodDisruptionBudget', 'pilotlight-activator');
      if (spec) spec.selector = { matchLabels: { 'app.kubernetes.io/name': 'pilotlight' } };
    },
    'pilotlight-activator selects pilotlight-activator, pilotlight-controller',
  ],
  'a role that is not there': [
    (objects) => {
      named(objects, 'RoleBinding', 'pilotlight-controller').roleRef.name = 'gone';
    },
    'RoleBinding pilotlight-controller: no Role gone',
  ],
};

test.each(Object.entries(PLANTED))('planted, %s is found', async (_title, [plant, finding]) => {
  const objects = await render();
  plant(objects);
  expect(findings(objects, [NAMESPACE])).toEqual([finding]);
});

test('the controller reads the configuration that the chart writes, and gets what the values say', async () => {
  const objects = await render({
    domain: 'models.example.com',
    namespaces: ['team-a'],
    directMode: 'auto',
    activatorsPerService: 3,
    quarantine: '1m',
    images: {
      runtime: { repository: 'registry.example.com:5000/runtime', tag: '1.2.3' },
      pullSecrets: ['registry'],
    },
    defaultPool: { size: 4, resources: { requests: { cpu: 2 }, limits: { 'nvidia.com/gpu': 1 } } },
    runtime: { cacheSizeLimit: '20Gi', allowCache: { hostPath: true }, allowTransforms: ['team-a'] },
  });
  const text = named(objects, 'ConfigMap', 'pilotlight-config').data?.['config.yaml'] ?? '';
  expect(parseKubeConfigText(text, 'elsewhere')).toMatchObject({
    ok: true,
    settings: {
      domain: 'models.example.com',
      clusterDomain: 'cluster.local',
      namespaces: ['team-a'],
      runtimeImage: 'registry.example.com:5000/runtime:1.2.3',
      imagePullPolicy: 'IfNotPresent',
      imagePullSecrets: ['registry'],
      defaultPool: { size: 4 },
      allowCache: { hostPath: true, persistentVolumeClaim: false },
      allowTransforms: ['team-a'],
      cacheSizeLimitBytes: 20 * 1024 ** 3,
      activatorsPerService: 3,
      quarantineMs: 60_000,
      directMode: 'auto',
      controlUrl: `https://pilotlight-controller.${NAMESPACE}.svc:8443`,
    },
  });
});

test('a change of the configuration makes new controllers and leaves the activators alone', async () => {
  const template = async (name: string, values: Values) =>
    templateOf(named(await render(values), 'Deployment', name));
  const changed = { quarantine: '1m' };
  expect(await template('pilotlight-controller', changed)).not.toEqual(
    await template('pilotlight-controller', {}),
  );
  expect(await template('pilotlight-activator', changed)).toEqual(await template('pilotlight-activator', {}));
});

test('an activator has time to drain before it is killed', async () => {
  const objects = await render({ activator: { keepAcceptingSeconds: 7, drainSeconds: 300 } });
  const { spec } = templateOf(named(objects, 'Deployment', 'pilotlight-activator'));
  const args = spec?.containers[0]?.args ?? [];
  const after = (flag: string) => Number(args[args.indexOf(flag) + 1]);
  expect(after('--keep-accepting-ms')).toBe(7_000);
  expect(after('--drain-ms')).toBe(307_000);
  expect(spec?.terminationGracePeriodSeconds).toBe(317);
  expect(spec?.containers[0]?.lifecycle).toBeUndefined();
});

test('an activator holds a token for the controller and no other secret', async () => {
  for (const values of [{}, { tls: { existingSecret: 'ours' } }, { keys: { existingSecret: 'ours' } }]) {
    const { spec } = templateOf(named(await render(values), 'Deployment', 'pilotlight-activator'));
    expect(spec?.automountServiceAccountToken).toBe(false);
    expect(spec?.containers[0]?.envFrom).toBeUndefined();
    expect(spec?.volumes?.some(({ secret }) => secret !== undefined)).toBe(false);
    const sources = spec?.volumes?.flatMap(({ projected }) => projected?.sources ?? []) ?? [];
    expect(sources.flatMap(({ serviceAccountToken: token }) => token?.audience ?? [])).toEqual([
      'pilotlight',
    ]);
    // Of a certificate's Secret only the authority's certificate; a source without items would be all of it.
    const secrets = sources.flatMap(({ secret }) => (secret === undefined ? [] : [secret]));
    expect(secrets.map(({ items }) => items?.map(({ key }) => key))).toEqual(
      'tls' in values || 'keys' in values ? [['ca.crt']] : [],
    );
  }
});

test('labels and annotations of the values never replace those that the platform goes by', async () => {
  const objects = await render(VALUE_SETS['a domain and a place of its own']);
  const { metadata, spec } = templateOf(named(objects, 'Deployment', 'pilotlight-controller'));
  expect(metadata?.labels).toMatchObject({ team: 'platform', 'app.kubernetes.io/component': 'controller' });
  expect(metadata?.annotations).toMatchObject({ note: 'yes' });
  expect(metadata?.annotations?.['checksum/config']).toMatch(/^[0-9a-f]{64}$/);
  expect(spec?.priorityClassName).toBe('system-cluster-critical');
});

test('both deployments are spread over nodes, on clusters whose nodes have no zone too', async () => {
  for (const name of ['controller', 'activator']) {
    const { spec } = templateOf(named(await render({}), 'Deployment', `pilotlight-${name}`));
    // The scheduler passes over nodes that lack one of the keys, for all of the constraints.
    expect(spec?.topologySpreadConstraints?.map(({ topologyKey }) => topologyKey)).toEqual([
      'kubernetes.io/hostname',
    ]);
    const apart = spec?.affinity?.podAntiAffinity?.preferredDuringSchedulingIgnoredDuringExecution;
    expect(apart?.map(({ podAffinityTerm }) => podAffinityTerm.topologyKey)).toEqual([
      'topology.kubernetes.io/zone',
    ]);
  }
});

test('images go by digest where there is one, and pull secrets reach every pod', async () => {
  const objects = await render(VALUE_SETS['images by digest']);
  for (const deployment of ofKind(objects, 'Deployment')) {
    const { spec } = templateOf(deployment);
    expect(spec?.containers[0]?.image).toMatch(new RegExp(`@${DIGEST}$`));
    expect(spec?.imagePullSecrets).toEqual([{ name: 'registry' }, { name: 'mirror' }]);
  }
  const config: unknown = parse(named(objects, 'ConfigMap', 'pilotlight-config').data?.['config.yaml'] ?? '');
  expect(config).toMatchObject({ runtimeImage: expect.stringMatching(new RegExp(`@${DIGEST}$`)) });
});

test('network policies are for controller, activators, and the replicas of each namespace', async () => {
  const policies = ofKind(await render(VALUE_SETS['network policies']), 'NetworkPolicy');
  expect(namesOf(policies)).toEqual([
    `NetworkPolicy ${NAMESPACE}/pilotlight-activator`,
    `NetworkPolicy ${NAMESPACE}/pilotlight-controller`,
    'NetworkPolicy team-a/pilotlight-replica',
  ]);
  const replica = named(policies, 'NetworkPolicy', 'pilotlight-replica').spec;
  const pod = { 'app.kubernetes.io/managed-by': 'pilotlight', 'app.kubernetes.io/component': 'replica' };
  expect(selects(replica?.podSelector?.matchLabels, pod)).toBe(true);
  // In direct mode clients come to the serving port; the admin port stays with the platform's own namespace.
  expect(replica?.ingress?.map(({ ports }) => ports?.map(({ port }) => port))).toEqual([undefined, [8080]]);
});

test('without direct mode only the platform reaches replicas', async () => {
  const policies = await render({ networkPolicies: { enabled: true, replicaNamespaces: ['team-a'] } });
  const { spec } = named(policies, 'NetworkPolicy', 'pilotlight-replica');
  expect(spec?.policyTypes).toEqual(['Ingress']);
  expect(spec?.ingress).toEqual([
    {
      from: [
        {
          namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': NAMESPACE } },
          podSelector: {
            matchLabels: { 'app.kubernetes.io/name': 'pilotlight' },
            matchExpressions: [
              { key: 'app.kubernetes.io/component', operator: 'In', values: ['activator', 'controller'] },
            ],
          },
        },
      ],
    },
  ]);
});

test('peers of the values are taken over, and peers that nobody names mean everybody', async () => {
  const peer = { ipBlock: { cidr: '10.0.0.0/8' } };
  const from = async (networkPolicies: Values, name: string) => {
    const { spec } = named(
      await render({ networkPolicies: { enabled: true, ...networkPolicies } }),
      'NetworkPolicy',
      name,
    );
    return (spec?.ingress as { from?: object[] }[] | undefined)?.map((rule) => rule.from);
  };
  expect(await from({}, 'pilotlight-activator')).toEqual([undefined, undefined]);
  expect(await from({ activatorFrom: [peer], metricsFrom: [peer] }, 'pilotlight-activator')).toEqual([
    [peer],
    [peer],
  ]);
  expect((await from({ controllerFrom: [peer] }, 'pilotlight-controller'))?.[0]).toContainEqual(peer);
  expect((await from({}, 'pilotlight-controller'))?.[0]).toHaveLength(2);
});

test('rules and dashboards are what lies in the chart’s files, with their own braces left alone', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'pilotlight-chart-'));
  try {
    const chart = join(folder, 'pilotlight');
    await cp(CHART, chart, { recursive: true });
    for (const kind of ['rules', 'dashboards']) {
      await rm(join(chart, 'files', kind), { recursive: true, force: true });
    }
    const metrics = VALUE_SETS['all of metrics'];
    const without = await render(metrics, chart);
    expect(ofKind(without, 'PrometheusRule')).toEqual([]);
    expect(ofKind(without, 'PodMonitor')).toHaveLength(2);

    for (const kind of ['rules', 'dashboards']) await mkdir(join(chart, 'files', kind));
    const group = {
      name: 'pilotlight',
      rules: [{ alert: 'Slow', expr: 'up == 0', annotations: { of: '{{ $labels.pod }}' } }],
    };
    await writeFile(join(chart, 'files/rules/alerts.yaml'), JSON.stringify({ groups: [group] }));
    await writeFile(join(chart, 'files/dashboards/platform.json'), '{"title": "{{ service }}"}');
    const objects = await render(metrics, chart);
    expect(findings(objects, [NAMESPACE])).toEqual([]);
    expect(named(objects, 'PrometheusRule', 'pilotlight').spec.groups).toEqual([group]);
    const dashboard = named(objects, 'ConfigMap', 'pilotlight-dashboard-platform');
    expect(dashboard.metadata.labels).toMatchObject({ grafana_dashboard: '1' });
    expect(dashboard.data?.['platform.json']).toBe('{"title": "{{ service }}"}\n');
  } finally {
    await rm(folder, { recursive: true });
  }
});
