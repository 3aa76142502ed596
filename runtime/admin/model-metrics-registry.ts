import type { Metric, Registry } from 'prom-client';
import type { Histogram, ModelMetrics } from '../lifecycle/model-metrics.ts';

/** A sample as prom-client's registry asks its metrics for it. */
interface Sample {
  metricName?: string;
  labels: Record<string, string | number>;
  value: number;
}

/**
 * Puts the counts of the model into a registry: they are kept in plain numbers until a scrape asks, so that a
 * standby needs no metrics library before it has something to tell.
 */
export function registerModelMetrics(registry: Registry, metrics: ModelMetrics): void {
  const service = (): Record<string, string> => ({ ...metrics.labels });
  const register = (
    name: string,
    help: string,
    type: 'counter' | 'gauge' | 'histogram',
    samples: (name: string) => Sample[],
    ownLabels: readonly string[] = [],
  ): void => {
    const labelNames = ['namespace', 'service', ...ownLabels];
    const metric = { name, help, type, labelNames, aggregator: 'sum', values: [] as Sample[] };
    const source = {
      ...metric,
      get: () => Promise.resolve({ ...metric, values: samples(name) }),
      reset: () => undefined,
    };
    registry.registerMetric(source as unknown as Metric);
  };
  register(
    'pilotlight_runtime_model_load_seconds',
    'Time to load the model, by phase; ready is the whole from the claim on.',
    'histogram',
    (name) =>
      [...metrics.loadSeconds].flatMap(([phase, counts]) =>
        histogramSamples(name, { ...service(), phase }, counts),
      ),
    ['phase'],
  );
  register(
    'pilotlight_runtime_model_load_failures_total',
    'Loads that failed, by code.',
    'counter',
    () => [...metrics.loadFailures].map(([code, value]) => ({ labels: { ...service(), code }, value })),
    ['code'],
  );
  const histograms = [
    [
      'pilotlight_runtime_inference_duration_seconds',
      'One run of the model in its worker.',
      metrics.inferenceSeconds,
    ],
    ['pilotlight_runtime_queue_wait_seconds', 'Wait for a free instance of the model.', metrics.queueSeconds],
    ['pilotlight_runtime_batch_size', 'First dimension of the first input of each run.', metrics.batchSizes],
    ['pilotlight_runtime_batch_requests', 'Requests that one run answered.', metrics.batchRequests],
  ] as const;
  for (const [name, help, counts] of histograms) {
    register(name, help, 'histogram', () => histogramSamples(name, service(), counts));
  }
  const gauge = (name: string, help: string, read: () => number): void => {
    register(name, help, 'gauge', () => [{ labels: service(), value: read() }]);
  };
  register(
    'pilotlight_runtime_batch_failures_total',
    'Runs of several requests that failed as a whole; each was run alone.',
    'counter',
    () => [{ labels: service(), value: metrics.batchFailures }],
  );
  gauge(
    'pilotlight_runtime_queue_length',
    'Requests that wait for an instance of the model.',
    () => metrics.model?.waiting ?? 0,
  );
  gauge(
    'pilotlight_runtime_max_batch_size',
    'Rows that one run takes at most; 0 where requests are not put together.',
    () => metrics.model?.signature.maxBatchSize ?? 0,
  );
  gauge('pilotlight_runtime_model_size_bytes', 'All files of the model.', () => metrics.modelSizeBytes);
  gauge('pilotlight_runtime_resident_bytes', 'Resident memory of the process.', () =>
    process.memoryUsage.rss(),
  );
}

/**
 * All that the process has to tell, in Prometheus' text. One process has one model, so from the claim on every
 * series says whose it is, those of the serving port and of the process included.
 */
export function metricsText(registry: Registry, { labels }: ModelMetrics): Promise<string> {
  registry.setDefaultLabels({ component: 'runtime', ...(labels.service !== '' && labels) });
  return registry.metrics();
}

/** Buckets are cumulative in Prometheus' text. */
function histogramSamples(
  name: string,
  labels: Record<string, string>,
  { bounds, counts, sum }: Histogram,
): Sample[] {
  let count = 0;
  const buckets = counts.map((inBucket, index) => {
    count += inBucket;
    return { metricName: `${name}_bucket`, labels: { le: bounds[index] ?? '+Inf', ...labels }, value: count };
  });
  return [
    ...buckets,
    { metricName: `${name}_sum`, labels, value: sum },
    { metricName: `${name}_count`, labels, value: count },
  ];
}
