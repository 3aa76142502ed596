import { afterAll, beforeAll, expect, test } from 'vitest';
import { ALERTS } from '../../../charts/observability/alerts.ts';
import { DASHBOARDS } from '../../../charts/observability/generated-files.ts';
import type { Dashboard, Panel, Variable } from '../../../charts/observability/grafana.ts';
import { RECORDING_RULES } from '../../../charts/observability/recording-rules.ts';
import { zeros } from '../../local/testing/marked-model.ts';
import { documents, RELEASE_NAMESPACE } from '../install.ts';
import {
  PrometheusApi,
  prometheusImage,
  prometheusManifest,
  prometheusRole,
  type Samples,
} from '../prometheus.ts';
import { platformPods, signal } from './testing/controllers.ts';
import { mark, onPlatform, type Pod, type RunningLoad, text } from './testing/platform.ts';
import { markedService, modelService } from './testing/services.ts';

/**
 * Dashboards and rules against what a real Prometheus has of a real platform: first everything happens that they are
 * about, then each of their queries is asked, and each must have something to say.
 */

const on = onPlatform('observed');
const prometheus = new PrometheusApi(on.namespace, async (url) => text(await on.client.call({ url })));
let load: RunningLoad;

/** Served from nothing again and again, then under load; and one whose model is not there. */
const SERVED = 'served';
const BROKEN = 'broken';
/** Starts of SERVED. */
const FEWEST_STARTS = 3;
const MOST_STARTS = 10;
/** Everything happens within this, and a first sample is no increase: so far do ranges and rates look back. */
const WINDOW = '10m';

beforeAll(async () => {
  const image = await on.cluster.loadImage(await prometheusImage());
  await on.cluster.kubectl(['apply', '--filename', '-'], documents(prometheusRole(on.namespace)));
  await on.apply(...prometheusManifest(image));
  await on.kubectl('wait', '--for=condition=Ready', 'pod/prometheus', '--timeout=120s');
  await on.apply(
    // One replica, so that what is scraped stays the same while it is looked at.
    markedService(SERVED, 7, { predictor: { maxReplicas: 1 } }),
    markedService('served-too', 8),
    modelService(BROKEN, 'not-there.onnx'),
  );
  await on.waitForReady(SERVED);
  await on.until('Prometheus has the services', async () => (await count('pilotlight_service_state')) >= 3);
  let starts = 0;
  // The first one fetches the model; a rate wants two of a kind, and a pod without the model may take one in between.
  do {
    starts += 1;
    await coldStart(SERVED, 7, starts);
  } while (starts < FEWEST_STARTS || (starts < MOST_STARTS && !(await hasCachedStarts())));
  await on.waitForReady('served-too');
  await coldStart('served-too', 8, 1);
  for (let attempt = 0; attempt < 2; attempt += 1) expect((await on.infer(BROKEN, zeros())).status).toBe(503);
  load = await on.load({ targets: [on.inference(SERVED, zeros())], connections: 2, pauseMs: 50 });
  await on.until('requests are answered', async () => (await load.state()).answered > 50);
  await killOne(SERVED);
  await on.until('Prometheus has seen requests at a replica again', async () => {
    const rate = `sum(rate(pilotlight_runtime_requests_total{namespace="${on.namespace}"}[30s])) > 1`;
    return (await prometheus.query(rate)).length > 0;
  });
}, 600_000);

afterAll(async () => {
  await load?.end();
  const name = `prometheus-${on.namespace}`;
  await on.cluster.kubectl(['delete', 'clusterrole,clusterrolebinding', name, '--ignore-not-found']);
});

/** One start that a request waits for, and Prometheus knows of it before the next one. */
async function coldStart(service: string, number: number, start: number): Promise<void> {
  await on.waitForZero(service);
  await on.waitForStandby();
  expect(mark(await on.infer(service, zeros()))).toBe(number);
  const started = `sum(pilotlight_cold_start_phase_seconds_count{namespace="${on.namespace}", service="${service}", phase="total"})`;
  await on.until(`Prometheus has start ${start} of ${service}`, async () => {
    const [sample] = await prometheus.query(started);
    return Number(sample?.value[1] ?? 0) >= start;
  });
}

async function hasCachedStarts(): Promise<boolean> {
  const cached = `pilotlight_cold_start_seconds_count{via="standby", model="cached", waited="true"}`;
  return (await prometheus.query(`sum(increase(${cached}[${WINDOW}])) > 0`)).length > 0;
}

/** Replicas are killed past Kubernetes, with requests under way, until that shows in the metrics. */
async function killOne(service: string): Promise<void> {
  const inService = `{namespace="${on.namespace}", service="${service}"}`;
  // The highest that it has been: a controller that takes over begins at nothing.
  const known = `max(max_over_time(pilotlight_replica_crashes_total${inService}[${WINDOW}])) > 0 and on() count(pilotlight_activator_upstream_errors_total${inService})`;
  const killed = new Set<string | undefined>();
  await on.until(
    'an activator and the controller have met a replica that broke',
    async () => {
      if ((await prometheus.query(known)).length > 0) return true;
      const victim = (await on.pods(service)).find((pod) => isReady(pod) && !killed.has(pod.metadata?.uid));
      if (victim === undefined) return false;
      killed.add(victim.metadata?.uid);
      await signal(on, victim, 'SIGKILL');
      return false;
    },
    120_000,
  );
}

function isReady({ status }: Pod): boolean {
  return status?.conditions?.some((one) => one.type === 'Ready' && one.status === 'True') === true;
}

async function count(expression: string): Promise<number> {
  const [sample] = await prometheus.query(`count(${expression}{namespace="${on.namespace}"})`);
  return Number(sample?.value[1] ?? 0);
}

/** A query as Grafana would send it, for one of our services. */
function substituted(query: string, variables: readonly Variable[], service: string): string {
  const values: Record<string, string> = {
    __rate_interval: WINDOW,
    __range_s: '600',
    __range: WINDOW,
    namespace: on.namespace,
    service,
  };
  for (const variable of variables) if (variable.kind === 'text') values[variable.name] = variable.value;
  return query.replaceAll(/\$(\w+)/g, (whole, name: string) => values[name] ?? whole);
}

function queriesOf(panel: Panel): readonly string[] {
  if (panel.kind === 'heatmap') return [panel.expr];
  return panel.kind === 'table'
    ? panel.columns.map(({ expr }) => expr)
    : panel.queries.map(({ expr }) => expr);
}

/** A quantile of nothing is NaN: that is no answer. */
function hasValue(samples: Samples): boolean {
  return samples.some(({ value }) => Number.isFinite(Number(value[1])));
}

/**
 * Which of these have no answer, each as one or several queries of which one must have one. Asks again for a while:
 * what has just happened is a scrape and an evaluation away.
 */
async function silent(queries: readonly (readonly string[])[], deadlineMs = 30_000): Promise<string[]> {
  let left = [...queries];
  const endMs = performance.now() + deadlineMs;
  do {
    const answers = await Promise.all(
      left.map(async (either) => {
        const samples = await Promise.all(either.map((query) => prometheus.query(query)));
        return samples.some(hasValue);
      }),
    );
    left = left.filter((_either, index) => answers[index] === false);
  } while (left.length > 0 && performance.now() < endMs);
  return left.map(([query = '']) => query);
}

test('a query without an answer is found, and so is one of which nothing but NaN comes', async () => {
  const here = `namespace="${on.namespace}"`;
  const queries = [
    [`pilotlight_replicas{${here}}`],
    ['pilotlight_leader{pod="nobody"}'],
    ['0 * vector(1) / 0'],
  ];
  expect(await silent(queries, 0)).toEqual(['pilotlight_leader{pod="nobody"}', '0 * vector(1) / 0']);
});

test('every controller, activator, standby and replica is scraped, by the configuration of the documentation', async () => {
  const targets = await on.until('every pod is a target', async () => {
    const all = await prometheus.targets();
    const pods = [
      ...(await platformPods(on, 'controller')),
      ...(await platformPods(on, 'activator')),
      ...(await on.pods()).filter((pod) => isReady(pod) && pod.metadata?.name !== 'prometheus'),
    ];
    const names = all.filter(({ health }) => health === 'up').map(({ labels }) => labels['pod']);
    return pods.every(({ metadata }) => names.includes(metadata?.name)) && all;
  });
  const namespaces = new Set(targets.map(({ labels }) => labels['namespace']));
  expect(namespaces).toContain(RELEASE_NAMESPACE);
  expect(namespaces).toContain(on.namespace);
  // A label that had to make way for one of the target: no query would find its series.
  expect(await prometheus.query('count({exported_namespace!=""})')).toEqual([]);
});

test.each(DASHBOARDS)('every query of $title has an answer', async ({ rows, variables }: Dashboard) => {
  const queries = rows.flatMap(({ panels }) => panels.flatMap(queriesOf));
  expect(queries.length).toBeGreaterThan(10);
  // A service that does well says nothing of failures; those are the other one's.
  const either = queries.map((query) =>
    [SERVED, BROKEN].map((service) => substituted(query, variables, service)),
  );
  expect(await silent(either)).toEqual([]);
});

test.each(DASHBOARDS)('every variable of $title has values', async ({ variables }: Dashboard) => {
  for (const variable of variables) {
    if (variable.kind !== 'labels') continue;
    const [, series = '', label = ''] = /^label_values\((.*), (\w+)\)$/.exec(variable.query) ?? [];
    const samples = await prometheus.query(`count by (${label}) (${substituted(series, variables, SERVED)})`);
    const values = samples.map(({ metric }) => metric[label]);
    expect(values).toContain(variable.name === 'namespace' ? on.namespace : SERVED);
  }
});

test('every recording rule records, and what every alert looks at is there while it is silent too', async () => {
  expect(await silent(RECORDING_RULES.map(({ record }) => [record]))).toEqual([]);
  expect(await silent(ALERTS.map(({ measure }) => [substitutedRange(measure)]))).toEqual([]);
});

/** Windows of an alert are long enough for a platform and too short for the past of this case. */
function substitutedRange(measure: string): string {
  return measure.replaceAll(/\[\d+[ms]\]/g, `[${WINDOW}]`);
}

test('Prometheus evaluates every rule without an error, and those of a model that does not load fire', async () => {
  const rules = await prometheus.rules();
  expect(rules.map(({ name }) => name).sort()).toEqual(
    [...RECORDING_RULES.map(({ record }) => record), ...ALERTS.map(({ name }) => name)].sort(),
  );
  expect(rules.filter(({ health, lastError = '' }) => health !== 'ok' || lastError !== '')).toEqual([]);
  const firing = `ALERTS{alertname="PilotlightModelLoadFailing", namespace="${on.namespace}", service="${BROKEN}"}`;
  await on.until(
    'the alert of the broken model is there',
    async () => (await prometheus.query(firing)).length > 0,
  );
  for (const name of [
    'PilotlightControllerLeaderless',
    'PilotlightActivatorsMissing',
    'PilotlightRoutesStale',
  ])
    expect(await prometheus.query(`ALERTS{alertname="${name}"}`)).toEqual([]);
});

test('requests and starts are counted as they were made', async () => {
  const served = `namespace="${on.namespace}", service="${SERVED}"`;
  const value = async (expression: string): Promise<number> =>
    Number((await prometheus.query(expression))[0]?.value[1] ?? Number.NaN);
  const answered = (await load.state()).answered;
  await on.until(
    'Prometheus has as many requests as the client',
    async () => (await value(`sum(pilotlight_activator_requests_total{${served}, code="200"})`)) > answered,
  );
  const cached = await value(
    `max(max_over_time(pilotlight_cold_start_seconds_count{via="standby", model="cached", waited="true"}[${WINDOW}]))`,
  );
  expect(cached).toBeGreaterThanOrEqual(1);
  expect(await value(`pilotlight_replica_memory_byte_seconds_total{${served}}`)).toBeGreaterThan(0);
});
