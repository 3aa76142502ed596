import type { V1PodSpec } from '@kubernetes/client-node';
import { expect, test } from 'vitest';
import { ALERTS, exprOf } from '../../charts/observability/alerts.ts';
import { DASHBOARDS, RUNBOOK_BASE_URL } from '../../charts/observability/generated-files.ts';
import { RECORDING_RULES } from '../../charts/observability/recording-rules.ts';
import { replicaPod, standbyPod } from '../../controller/adapters/kube/core/pod.ts';
import { podContext, poolObject, replicaTemplate } from '../../controller/adapters/kube/core/testing/pods.ts';
import { NAMESPACE, render, type Values } from './testing/helm.ts';
import { named, namesOf, ofKind, type PodMonitorSpec, selects, templateOf } from './testing/rendered.ts';

const ALL: Values = {
  metrics: {
    podMonitor: { enabled: true },
    prometheusRule: { enabled: true },
    dashboards: { enabled: true },
  },
};

interface LabelledPod {
  readonly labels: Readonly<Record<string, string>> | undefined;
  readonly spec: Pick<V1PodSpec, 'containers'> | undefined;
}

/** Names of the container ports at which a monitor scrapes a pod; none where it doesn't select it. */
function scraped({ selector, podMetricsEndpoints }: PodMonitorSpec, { labels, spec }: LabelledPod): string[] {
  const isSelected =
    selects(selector.matchLabels, labels) &&
    (selector.matchExpressions ?? []).every(({ key, values }) => values.includes(labels?.[key] ?? ''));
  const ports = (spec?.containers ?? []).flatMap((container) => container.ports ?? []);
  const wanted = podMetricsEndpoints.map(({ port }) => port);
  return isSelected ? ports.flatMap(({ name = '' }) => (wanted.includes(name) ? [name] : [])) : [];
}

const standby = standbyPod(poolObject(), podContext(), 'small-b7kx2');
const own = replicaPod(replicaTemplate(), podContext(), 'ocr-00003-0-1');
const foreign = replicaPod(
  replicaTemplate({ containers: [{ image: 'a', ports: [{ containerPort: 9000 }] }] }),
  podContext(),
  'ocr-00003-0-1',
);
const pod = (written: typeof standby): LabelledPod => ({
  labels: written.metadata?.labels,
  spec: written.spec as LabelledPod['spec'],
});

test('controllers and activators are scraped at the port that they serve metrics at, and nothing else is', async () => {
  const objects = await render(ALL);
  const { spec } = named(objects, 'PodMonitor', 'pilotlight');
  for (const deployment of ofKind(objects, 'Deployment')) {
    const { metadata, spec: podSpec } = templateOf(deployment);
    expect(scraped(spec, { labels: metadata?.labels, spec: podSpec })).toEqual(['metrics']);
  }
  for (const written of [standby, own, foreign]) expect(scraped(spec, pod(written))).toEqual([]);
  expect(spec.namespaceSelector).toBeUndefined();
  expect(spec.podMetricsEndpoints).toMatchObject([{ path: '/metrics', honorLabels: true }]);
});

test('standbys and replicas of the runtime are scraped wherever they are, containers of users are not', async () => {
  const objects = await render(ALL);
  const { spec } = named(objects, 'PodMonitor', 'pilotlight-replicas');
  expect(scraped(spec, pod(standby))).toEqual(['admin']);
  expect(scraped(spec, pod(own))).toEqual(['admin']);
  expect(scraped(spec, pod(foreign))).toEqual([]);
  for (const deployment of ofKind(objects, 'Deployment'))
    expect(scraped(spec, { labels: templateOf(deployment).metadata?.labels, spec: undefined })).toEqual([]);
  expect(spec.namespaceSelector).toEqual({ any: true });
  expect(spec.podMetricsEndpoints).toMatchObject([{ path: '/metrics', honorLabels: true }]);
});

test('replicas are looked for in the namespaces of the values, or not at all', async () => {
  const inSome = await render({ ...ALL, namespaces: ['team-a', 'team-b'] });
  expect(named(inSome, 'PodMonitor', 'pilotlight-replicas').spec.namespaceSelector).toEqual({
    matchNames: ['team-a', 'team-b'],
  });
  const without = await render({ metrics: { podMonitor: { enabled: true, replicas: false } } });
  expect(namesOf(ofKind(without, 'PodMonitor'))).toEqual([`PodMonitor ${NAMESPACE}/pilotlight`]);
});

test('with network policies the admin port is open to those who may read metrics, and to them alone', async () => {
  const peer = { namespaceSelector: { matchLabels: { team: 'monitoring' } } };
  const portsFor = async (metricsFrom: object[], metrics: Values) => {
    const networkPolicies = { enabled: true, replicaNamespaces: ['team-a'], metricsFrom };
    const objects = await render({ ...metrics, networkPolicies });
    const { spec } = named(objects, 'NetworkPolicy', 'pilotlight-replica');
    return spec?.ingress?.slice(1);
  };
  expect(await portsFor([peer], ALL)).toEqual([{ ports: [{ port: 8081 }], from: [peer] }]);
  expect(await portsFor([], ALL)).toEqual([]);
  expect(await portsFor([peer], {})).toEqual([]);
});

test('all rules are in the chart, with their own braces, and their pages are where the values say', async () => {
  const rulesOf = async (values: Values) =>
    named(await render(values), 'PrometheusRule', 'pilotlight').spec.groups.flatMap(({ rules }) => rules);
  const rules = await rulesOf(ALL);
  expect(rules.flatMap(({ record }) => record ?? [])).toEqual(RECORDING_RULES.map(({ record }) => record));
  expect(rules.flatMap(({ alert, expr }) => (alert === undefined ? [] : [[alert, expr]]))).toEqual(
    ALERTS.map((alert) => [alert.name, exprOf(alert)]),
  );
  const pagesOf = (some: typeof rules) =>
    some.flatMap(({ annotations }) => annotations?.['runbook_url'] ?? []);
  expect(pagesOf(rules)).toEqual(ALERTS.map(({ name }) => `${RUNBOOK_BASE_URL}/${name}.md`));
  expect(rules.find(({ alert }) => alert === 'PilotlightErrorsHigh')?.annotations?.['description']).toContain(
    '{{ $labels.namespace }}',
  );
  const runbookBaseUrl = 'https://wiki.example.com/pilotlight/';
  const elsewhere = await rulesOf({ metrics: { prometheusRule: { enabled: true, runbookBaseUrl } } });
  expect(pagesOf(elsewhere)).toEqual(
    ALERTS.map(({ name }) => `https://wiki.example.com/pilotlight/${name}.md`),
  );
});

test('every dashboard is a ConfigMap that Grafana finds, and still the dashboard that it was', async () => {
  const objects = await render(ALL);
  const found = ofKind(objects, 'ConfigMap').filter(({ metadata }) => metadata.labels?.['grafana_dashboard']);
  const dashboards = found
    .flatMap(({ data = {} }) => Object.values(data))
    .map((text) => JSON.parse(text) as object);
  expect(dashboards).toHaveLength(DASHBOARDS.length);
  expect(dashboards).toEqual(
    expect.arrayContaining(DASHBOARDS.map(({ uid }) => expect.objectContaining({ uid }) as object)),
  );
});
