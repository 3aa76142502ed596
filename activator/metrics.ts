import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import { OwnedSeries } from '../process/metrics.ts';
import type { Dispatcher } from './core/dispatcher.ts';
import type { ProxyMetrics } from './proxy/context.ts';

const SERVICE_LABELS = ['namespace', 'service'] as const;
const SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300];

/** The label values of one service, looked up once and not for each request. */
interface ServiceMetrics {
  byCode: Map<number, Counter.Internal>;
  duration: Histogram.Internal<string>;
  queue: Histogram.Internal<string>;
}

export interface MetricsSources {
  dispatcher: Dispatcher;
  routesNumber(): number;
  /** Ms since the last message of the routes stream. */
  routesAgeMs(): number;
  connections(): number;
  now(): number;
}

export interface ActivatorMetrics extends ProxyMetrics {
  demandPosted(ok: boolean): void;
  /** Drops what belongs to services that are gone. */
  forget(namespace: string, name: string): void;
}

/**
 * What the activator reports about itself. Label values come from routes alone, `unknown` for the rest, so
 * that no client can add a series; codes are those of HTTP.
 */
export function createMetrics(registry: Registry, sources: MetricsSources): ActivatorMetrics {
  const registers = [registry];
  const requests = new Counter({
    name: 'pilotlight_activator_requests_total',
    help: 'Requests by the status their caller saw; 499 left before.',
    labelNames: [...SERVICE_LABELS, 'code'],
    registers,
  });
  const durations = new Histogram({
    name: 'pilotlight_activator_request_duration_seconds',
    help: 'From arrival to the end of the answer.',
    labelNames: [...SERVICE_LABELS],
    buckets: SECONDS,
    registers,
  });
  const queued = new Histogram({
    name: 'pilotlight_activator_queue_duration_seconds',
    help: 'From arrival to the hand-over to a replica.',
    labelNames: [...SERVICE_LABELS],
    buckets: SECONDS,
    registers,
  });
  const retries = new Counter({
    name: 'pilotlight_activator_retries_total',
    help: 'Requests that were given to a replica once more, by what ended the attempt before.',
    labelNames: [...SERVICE_LABELS, 'reason'],
    registers,
  });
  const failures = new Counter({
    name: 'pilotlight_activator_upstream_errors_total',
    help: 'Attempts at a replica that broke, by kind.',
    labelNames: [...SERVICE_LABELS, 'kind'],
    registers,
  });
  // Two or three codes a service in bad times, none in good ones.
  const refusals = new Counter({
    name: 'pilotlight_activator_refusals_total',
    help: 'Answers of the activator’s own instead of a replica’s, by the code in the header pilotlight-error.',
    labelNames: [...SERVICE_LABELS, 'error'],
    registers,
  });
  const demandPosts = new Counter({
    name: 'pilotlight_activator_demand_posts_total',
    help: 'Demand reports by outcome.',
    labelNames: ['outcome'],
    registers,
  });
  for (const outcome of ['taken', 'failed']) demandPosts.inc({ outcome }, 0);
  createGauges(registry, sources);
  const known = new Map<string, ServiceMetrics>();
  const metricsOf = (namespace: string, service: string): ServiceMetrics => {
    const key = `${namespace}/${service}`;
    let metrics = known.get(key);
    if (metrics === undefined) {
      metrics = {
        byCode: new Map(),
        duration: durations.labels({ namespace, service }),
        queue: queued.labels({ namespace, service }),
      };
      known.set(key, metrics);
    }
    return metrics;
  };
  const owned = new OwnedSeries();
  const countFor = (
    counter: Counter,
    route: { namespace: string; name: string } | undefined,
    labels: Record<string, string>,
  ): void => {
    const { namespace = 'unknown', name: service = 'unknown' } = route ?? {};
    counter.inc(owned.note(`${namespace}/${service}`, counter, { namespace, service, ...labels }));
  };
  return {
    requestDone: (route, code, durationMs, queuedMs) => {
      const namespace = route?.namespace ?? 'unknown';
      const service = route?.name ?? 'unknown';
      const metrics = metricsOf(namespace, service);
      let counter = metrics.byCode.get(code);
      if (counter === undefined) {
        counter = requests.labels({ namespace, service, code: String(code) });
        metrics.byCode.set(code, counter);
      }
      counter.inc();
      metrics.duration.observe(durationMs / 1000);
      metrics.queue.observe(queuedMs / 1000);
    },
    refused: (route, error) => countFor(refusals, route, { error }),
    retried: (route, reason) => countFor(retries, route, { reason }),
    upstreamFailed: (route, kind) => countFor(failures, route, { kind }),
    demandPosted: (ok) => demandPosts.inc({ outcome: ok ? 'taken' : 'failed' }),
    forget: (namespace, service) => {
      const metrics = known.get(`${namespace}/${service}`);
      known.delete(`${namespace}/${service}`);
      for (const code of metrics?.byCode.keys() ?? [])
        requests.remove({ namespace, service, code: String(code) });
      durations.remove({ namespace, service });
      queued.remove({ namespace, service });
      owned.forget(`${namespace}/${service}`);
    },
  };
}

function createGauges(registry: Registry, { dispatcher, ...sources }: MetricsSources): void {
  const labelNames = [...SERVICE_LABELS];
  const gauges = [
    new Gauge({
      name: 'pilotlight_activator_queue_requests',
      help: 'Requests that wait for a replica.',
      labelNames,
      registers: [],
      collect() {
        this.reset();
        for (const { route } of dispatcher.services()) {
          const { requests } = dispatcher.queueOf(route.uid);
          this.set({ namespace: route.namespace, service: route.name }, requests);
        }
      },
    }),
    new Gauge({
      name: 'pilotlight_activator_queue_limit_requests',
      help: 'Requests that may wait for a replica in this activator; one more is refused.',
      labelNames,
      registers: [],
      collect() {
        this.reset();
        for (const { route } of dispatcher.services())
          this.set({ namespace: route.namespace, service: route.name }, route.queue.maxRequests);
      },
    }),
    new Gauge({
      name: 'pilotlight_activator_queue_oldest_seconds',
      help: 'Age of the request that waits longest; 0 for none.',
      labelNames,
      registers: [],
      collect() {
        this.reset();
        for (const { route } of dispatcher.services()) {
          const { oldestArrivedAtMs } = dispatcher.queueOf(route.uid);
          const ageMs = oldestArrivedAtMs === undefined ? 0 : sources.now() - oldestArrivedAtMs;
          this.set({ namespace: route.namespace, service: route.name }, ageMs / 1000);
        }
      },
    }),
    new Gauge({
      name: 'pilotlight_activator_in_flight_requests',
      help: 'Requests at a replica.',
      labelNames,
      registers: [],
      collect() {
        this.reset();
        for (const { route, revisions } of dispatcher.services()) {
          const inFlight = revisions.reduce((sum, revision) => sum + revision.demand.inFlight, 0);
          this.set({ namespace: route.namespace, service: route.name }, inFlight);
        }
      },
    }),
    new Gauge({
      name: 'pilotlight_activator_connections',
      help: 'Open client connections.',
      registers: [],
      collect() {
        this.set(sources.connections());
      },
    }),
    new Gauge({
      name: 'pilotlight_activator_routes_number',
      help: 'Number of the last routes message in force.',
      registers: [],
      collect() {
        this.set(sources.routesNumber());
      },
    }),
    new Gauge({
      name: 'pilotlight_activator_routes_age_seconds',
      help: 'Time since the routes stream was last heard; beyond a heartbeat the last routes are in force.',
      registers: [],
      collect() {
        this.set(sources.routesAgeMs() / 1000);
      },
    }),
  ];
  for (const gauge of gauges) registry.registerMetric(gauge);
}
