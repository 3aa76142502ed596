import { Registry } from 'prom-client';
import { expect, test } from 'vitest';
import { readyWith, sumModel } from './plain-engine.ts';
import { call, openTestServer, sumBody } from './test-client.ts';

const INFER = '/v2/models/sum/infer';

test("Triton's names tell what was counted, by model and version, and nothing while no model is ready", async () => {
  const registry = new Registry();
  const engine = readyWith(sumModel());
  const server = await openTestServer({ engine, registry, tritonMetrics: true });
  for (let times = 0; times < 2; times++) {
    expect((await call(server.port, INFER, { body: sumBody([1], [2]) })).status).toBe(200);
  }
  expect((await call(server.port, INFER, { body: '{' })).status).toBe(400);
  const text = `${await registry.metrics()}\n`;
  const labels = '{model="sum",version="3"}';
  for (const line of ['request_success', 'count', 'exec_count'].map((name) => `${name}${labels} 2`)) {
    expect(text).toContain(`nv_inference_${line}\n`);
  }
  expect(text).toContain(`nv_inference_request_failure${labels} 1\n`);
  expect(text).toContain(`nv_inference_pending_request_count${labels} 0\n`);
  const figure = (name: string): number =>
    Number(new RegExp(`^nv_inference_${name}\\{.*\\} (\\d+)$`, 'm').exec(text)?.[1]);
  const parts = ['queue', 'compute_input', 'compute_infer', 'compute_output'];
  const sum = parts.reduce((total, part) => total + figure(`${part}_duration_us`), 0);
  // Each figure is rounded by itself.
  expect(Math.abs(figure('request_duration_us') - sum)).toBeLessThanOrEqual(parts.length);
  expect(sum).toBeGreaterThan(0);
  engine.current = { phase: 'standby' };
  expect(await registry.metrics()).not.toContain('model="sum"');
  await server.stop();
});

test('they are there on request only', async () => {
  const registry = new Registry();
  const server = await openTestServer({ engine: readyWith(sumModel()), registry });
  expect(await registry.metrics()).not.toContain('nv_inference');
  await server.stop();
});
