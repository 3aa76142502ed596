import { request } from 'node:http';
import { pino } from 'pino';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { JsonLines } from '../../contracts/json-lines.ts';
import type { RoutesMessage } from '../../contracts/routes.ts';
import { createRegistry } from '../../process/metrics.ts';
import { resolvedService } from '../core/testing/resolved-service.ts';
import { claimToken } from '../engine/claim-token.ts';
import { createEngineMetrics } from '../engine/engine-metrics.ts';
import { EngineBench } from '../engine/testing/engine-bench.ts';
import { type Api, type ApiOptions, openApi } from './server.ts';

let bench: EngineBench;
let api: Api;

async function open(more: Partial<ApiOptions> = {}): Promise<void> {
  const registry = createRegistry('controller');
  createEngineMetrics(registry).observe(bench.controller);
  api = await openApi({
    state: { role: 'leading', controller: bench.controller },
    logger: pino({ level: 'silent' }),
    registry,
    host: '127.0.0.1',
    port: 0,
    isActivator: (token) => token === 'activator-token',
    ...more,
  });
}

beforeEach(async () => {
  bench = new EngineBench();
  await bench.warm();
  await open();
});
afterEach(() => api.close());

interface Answer {
  status: number;
  body: string;
  code: unknown;
}

function call(method: string, path: string, body?: unknown, token?: string): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const outgoing = request(
      {
        port: api.port,
        method,
        path,
        headers: {
          ...(token !== undefined && { authorization: `Bearer ${token}` }),
          ...(body !== undefined && { 'content-type': 'application/json' }),
        },
      },
      (response) => {
        let text = '';
        response.setEncoding('utf8');
        response.on('data', (chunk: string) => {
          text += chunk;
        });
        response.on('end', () => {
          resolve({
            status: response.statusCode ?? 0,
            body: text,
            code: response.headers['pilotlight-error'],
          });
        });
        response.on('error', reject);
      },
    );
    outgoing.on('error', reject);
    outgoing.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

interface Reader {
  messages: RoutesMessage[];
  closed: Promise<void>;
  pause(): void;
  end(): void;
}

function readRoutes(query = '', token = 'activator-token'): Promise<Reader> {
  return new Promise((resolve, reject) => {
    const outgoing = request(
      { port: api.port, path: `/v1/routes${query}`, headers: { authorization: `Bearer ${token}` } },
      (response) => {
        const lines = new JsonLines();
        const messages: RoutesMessage[] = [];
        const { promise, resolve: markClosed } = Promise.withResolvers<void>();
        response.on('data', (chunk: Buffer) => messages.push(...(lines.push(chunk) as RoutesMessage[])));
        response.on('error', () => undefined);
        response.on('close', markClosed);
        resolve({
          messages,
          closed: promise,
          pause: () => response.pause(),
          end: () => outgoing.destroy(),
        });
      },
    );
    outgoing.on('error', reject);
    outgoing.end();
  });
}

test('a stream of routes begins with a snapshot and goes on with numbered changes', async () => {
  const reader = await readRoutes();
  await expect.poll(() => reader.messages.length).toBe(2);
  expect(reader.messages).toMatchObject([
    { type: 'snapshot', number: 0, services: [] },
    { type: 'heartbeat', number: 0 },
  ]);
  bench.world.apply(resolvedService('ocr'));
  await expect.poll(() => reader.messages.length).toBe(3);
  expect(reader.messages[2]).toMatchObject({ type: 'service', number: 1, service: { name: 'ocr' } });
  reader.end();
});

test('a reader that comes back by number gets what it missed and is told when that is all; of another stream it gets all', async () => {
  const first = await readRoutes();
  await expect.poll(() => first.messages.length).toBe(2);
  const snapshot = first.messages[0];
  const stream = snapshot?.type === 'snapshot' ? snapshot.stream : '';
  bench.world.apply(resolvedService('one'));
  await expect.poll(() => first.messages.length).toBe(3);
  first.end();
  await first.closed;
  bench.world.apply(resolvedService('two'));
  await bench.clock.settle();
  const again = await readRoutes(`?stream=${stream}&after=1`);
  await expect.poll(() => again.messages.length).toBe(2);
  expect(again.messages).toMatchObject([
    { type: 'service', number: 2, service: { name: 'two' } },
    { type: 'heartbeat', number: 2 },
  ]);
  again.end();
  const upToDate = await readRoutes(`?stream=${stream}&after=2`);
  await expect.poll(() => upToDate.messages).toEqual([{ type: 'heartbeat', number: 2 }]);
  upToDate.end();
  const stranger = await readRoutes('?stream=another&after=1');
  await expect.poll(() => stranger.messages.length).toBe(2);
  expect(stranger.messages[0]).toMatchObject({ type: 'snapshot', number: 2 });
  stranger.end();
});

test('a reader that takes nothing is dropped, and one beside it is served', async () => {
  await api.close();
  await open({ streamLimits: { maxBufferedBytes: 3_000_000 } });
  const slow = await readRoutes();
  const good = await readRoutes();
  slow.pause();
  // The kernel's buffers of both ends hold some megabytes before ours begins to grow.
  const uid = 'u'.repeat(1_000_000);
  for (let number = 1; number <= 100; number++) {
    const before = good.messages.length;
    for (const tell of bench.controller.context.subscribers) tell({ type: 'removed', number, uid });
    await expect.poll(() => good.messages.length, { interval: 5 }).toBeGreaterThan(before);
    if (bench.controller.context.subscribers.size === 2) break;
  }
  // The bench's own reader and the good one are left.
  await expect.poll(() => bench.controller.context.subscribers.size).toBe(2);
  good.end();
});

test('routes, demand and stats want their token and say so', async () => {
  const report = { activator: 'a', sequence: 1, uptimeMs: 1, revisions: [], coldAnswers: [], suspects: [] };
  for (const answer of [
    await call('GET', '/v1/routes'),
    await call('GET', '/v1/routes', undefined, 'wrong'),
    await call('POST', '/v1/demand', report),
    await call('POST', '/v1/demand', report, 'wrong'),
  ]) {
    expect(answer).toMatchObject({ status: 401, code: 'unauthorized' });
    expect(JSON.parse(answer.body)).toHaveProperty('error', expect.stringContaining('activator'));
  }
  expect(await call('POST', '/v1/demand', report, 'activator-token')).toMatchObject({ status: 204 });
  const load = { requestSeconds: 0, requests: 0, inFlight: 0 };
  const stats = {
    incarnation: 'i',
    claimId: 'claim',
    serviceUid: 'u',
    revision: 'r',
    sequence: 1,
    uptimeMs: 1,
    direct: load,
    proxied: load,
    residentBytes: 1,
  };
  expect(await call('POST', '/v1/stats', stats, claimToken('secret', 'other'))).toMatchObject({
    status: 401,
  });
  expect(await call('POST', '/v1/stats', stats, claimToken('secret', 'claim'))).toMatchObject({
    status: 204,
  });
});

test('a demand report over HTTP starts a replica', async () => {
  bench.world.apply(resolvedService('ocr'));
  await bench.clock.settle();
  const demand = {
    serviceUid: 'uid-ocr',
    revision: 'ocr-00001',
    requestSeconds: 0,
    requests: 1,
    inFlight: 0,
    queued: 1,
    oldestQueuedMs: 2,
  };
  const report = {
    activator: 'a',
    sequence: 1,
    uptimeMs: 1,
    revisions: [demand],
    coldAnswers: [],
    suspects: [],
  };
  expect(await call('POST', '/v1/demand', report, 'activator-token')).toMatchObject({ status: 204 });
  expect(bench.phases('claiming')).toHaveLength(1);
});

test('a report that is not one is refused with what was expected', async () => {
  const answer = await call('POST', '/v1/demand', { activator: 7 }, 'activator-token');
  expect(answer).toMatchObject({ status: 400, code: 'invalid-request' });
  expect(JSON.parse(answer.body)).toHaveProperty('error', expect.stringContaining('activator'));
  const huge = await call('POST', '/v1/demand', { activator: 'x'.repeat(9_000_000) }, 'activator-token');
  expect(huge).toMatchObject({ status: 413, code: 'body-too-large' });
});

test('the JSON endpoints show services, revisions, replicas, decisions and cold starts', async () => {
  bench.world.apply(resolvedService('ocr'));
  await bench.clock.settle();
  bench.queue('uid-ocr', 'ocr-00001', 1);
  await bench.clock.advance(50);
  const items = async (path: string): Promise<unknown[]> =>
    (JSON.parse((await call('GET', path)).body) as { items: unknown[] }).items;
  expect(await items('/api/services')).toMatchObject([{ name: 'ocr', state: 'Ready', ready: true }]);
  expect(await items('/api/revisions')).toMatchObject([
    { name: 'ocr-00001', state: 'Ready', trafficPercent: 100 },
  ]);
  expect(await items('/api/replicas?service=ocr')).toMatchObject([
    { id: 'host-1.0', state: 'ready', capacity: 4 },
  ]);
  expect(await items('/api/decisions')).toMatchObject([{ from: 0, to: 1, reasonCode: 'from-zero' }]);
  expect(await items('/api/cold-starts')).toMatchObject([
    { replica: 'host-1.0', outcome: 'ready', demanded: true },
  ]);
  expect(await items('/api/services?namespace=elsewhere')).toEqual([]);
  expect(JSON.parse((await call('GET', '/api/services/default/ocr')).body)).toMatchObject({ name: 'ocr' });
  const missing = await call('GET', '/api/services/default/ocrr');
  expect(missing).toMatchObject({ status: 404, code: 'unknown-service' });
  expect(missing.body).toContain('ocr');
});

test('a read token is wanted when there is one', async () => {
  await api.close();
  await open({ readToken: 'read' });
  expect(await call('GET', '/api/services')).toMatchObject({ status: 401 });
  expect(await call('GET', '/api/services', undefined, 'read')).toMatchObject({ status: 200 });
  expect(await call('GET', '/healthz')).toMatchObject({ status: 200 });
});

test('metrics, health and unknown paths answer', async () => {
  bench.world.apply(resolvedService('ocr'));
  await bench.clock.settle();
  const metrics = await call('GET', '/metrics');
  expect(metrics.body).toContain('pilotlight_leader{component="controller"} 1');
  expect(metrics.body).toContain('state="ready",component="controller"} 1');
  expect(await call('GET', '/readyz')).toMatchObject({ status: 200 });
  const unknown = await call('GET', '/v2/routes');
  expect(unknown).toMatchObject({ status: 404, code: 'not-found' });
  expect(unknown.body).toContain('GET /v1/routes');
});

test('before everything is known there are no routes to read', async () => {
  await bench.controller.stop('leave');
  expect(await call('GET', '/v1/routes', undefined, 'activator-token')).toMatchObject({
    status: 503,
    code: 'not-ready',
  });
  expect(await call('GET', '/readyz')).toMatchObject({ status: 503 });
});
