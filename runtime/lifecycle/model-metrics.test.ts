import { Counter, Registry } from 'prom-client';
import { expect, test } from 'vitest';
import { metricsText, registerModelMetrics } from '../admin/model-metrics-registry.ts';
import { ModelMetrics } from './model-metrics.ts';

test('a load and its inferences are told in Prometheus’ text by phase, service and namespace', async () => {
  const metrics = new ModelMetrics();
  const registry = new Registry();
  registerModelMetrics(registry, metrics);
  metrics.label({ namespace: 'shop', service: 'ocr' });
  const identity = { files: [] };
  metrics.event({ event: 'claimed', elapsedMs: 0 });
  metrics.event({ event: 'fetched', elapsedMs: 20, cached: true, sizeBytes: 1234, identity });
  metrics.event({ event: 'created', elapsedMs: 80 });
  metrics.event({ event: 'ready', elapsedMs: 90, capacity: 1 });
  metrics.ran({ calls: 2, rows: 3, queuedMs: [0, 0], computeMs: 4 });
  metrics.ran({ calls: 1, rows: 3, queuedMs: [60_000], computeMs: 40_000 });
  metrics.batchFailures += 1;
  metrics.model = { waiting: 7, signature: { inputs: [], outputs: [], maxBatchSize: 8 } };
  const text = await registry.metrics();
  const service = 'namespace="shop",service="ocr"';
  expect(text).toContain('# TYPE pilotlight_runtime_model_load_seconds histogram');
  expect(text).toContain(
    `pilotlight_runtime_model_load_seconds_bucket{le="0.05",${service},phase="created"} 0`,
  );
  expect(text).toContain(
    `pilotlight_runtime_model_load_seconds_bucket{le="0.1",${service},phase="created"} 1`,
  );
  expect(text).toContain(`pilotlight_runtime_model_load_seconds_sum{${service},phase="created"} 0.06`);
  expect(text).toContain(`pilotlight_runtime_model_load_seconds_sum{${service},phase="ready"} 0.09`);
  expect(text).toContain(`pilotlight_runtime_model_size_bytes{${service}} 1234`);
  expect(text).toContain(`pilotlight_runtime_inference_duration_seconds_bucket{le="30",${service}} 1`);
  expect(text).toContain(`pilotlight_runtime_inference_duration_seconds_bucket{le="+Inf",${service}} 2`);
  expect(text).toContain(`pilotlight_runtime_queue_wait_seconds_sum{${service}} 60`);
  expect(text).toContain(`pilotlight_runtime_queue_wait_seconds_count{${service}} 3`);
  expect(text).toContain(`pilotlight_runtime_batch_size_bucket{le="4",${service}} 2`);
  expect(text).toContain(`pilotlight_runtime_batch_requests_sum{${service}} 3`);
  expect(text).toContain(`pilotlight_runtime_batch_failures_total{${service}} 1`);
  expect(text).toContain(`pilotlight_runtime_queue_length{${service}} 7`);
  expect(text).toContain(`pilotlight_runtime_max_batch_size{${service}} 8`);
  expect(text).toMatch(new RegExp(`pilotlight_runtime_resident_bytes\\{${service}\\} \\d{7,}`));
});

test('a failed load is counted by its code', async () => {
  const metrics = new ModelMetrics();
  const registry = new Registry();
  registerModelMetrics(registry, metrics);
  metrics.event({ event: 'failed', elapsedMs: 3, code: 'model-not-onnx', message: 'no' });
  expect(await registry.metrics()).toContain(
    'pilotlight_runtime_model_load_failures_total{namespace="",service="",code="model-not-onnx"} 1',
  );
});

test('from the claim on every series says whose it is, and before it none does', async () => {
  const metrics = new ModelMetrics();
  const registry = new Registry();
  registry.registerMetric(new Counter({ name: 'requests', help: '-', labelNames: ['code'], registers: [] }));
  (registry.getSingleMetric('requests') as Counter).inc({ code: 'ok' });
  expect(await metricsText(registry, metrics)).toContain('requests{code="ok",component="runtime"} 1');
  metrics.label({ namespace: 'shop', service: 'ocr' });
  expect(await metricsText(registry, metrics)).toContain(
    'requests{code="ok",component="runtime",namespace="shop",service="ocr"} 1',
  );
});
