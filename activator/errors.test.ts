import { createServer } from 'node:net';
import { expect, test } from 'vitest';
import { serviceRoute } from './testing/control-server.ts';
import { untilInFlight, untilQueued, useFixture } from './testing/fixture.ts';
import { type Answer, call } from './testing/replica.ts';

const fixture = useFixture();
const HOST = { host: 'ocr.demo' };

function expectError(answer: Answer, status: number, code: string, text: RegExp): void {
  expect(answer).toMatchObject({
    status,
    headers: { 'pilotlight-error': code, 'content-type': 'application/json' },
  });
  expect((answer.json() as { error: string }).error).toMatch(text);
}

test('unknown service: 404', async () => {
  const { port } = await fixture.start();
  expectError(
    await call(port, { headers: { host: 'a.b' } }).answer,
    404,
    'unknown-service',
    /no service for host "a\.b"/,
  );
  expectError(
    await call(port, { path: '/v2/models/x/infer' }).answer,
    404,
    'unknown-service',
    /no service has a model named "x"/,
  );
});

test('a model name that two services have: 404 that names both', async () => {
  const { port } = await fixture.start();
  fixture.control.put(serviceRoute([]));
  fixture.control.put(serviceRoute([], { uid: 'other', name: 'other', hosts: [] }));
  await expect
    .poll(async () => (await call(port, { path: '/v2/models/ocr/infer' }).answer).body)
    .toContain('/demo/ocr, /demo/other');
});

test('queue full by count: 503 with Retry-After', async () => {
  fixture.control.put(serviceRoute([], { queue: { maxRequests: 2, maxBytes: 1000 } }));
  const { port } = await fixture.start();
  const waiting = [call(port, { headers: HOST }), call(port, { headers: HOST })];
  await untilQueued(fixture.control, 2);
  const refused = await call(port, { headers: HOST }).answer;
  expectError(refused, 503, 'queue-full', /queue of service demo\/ocr is full \(2 requests\)/);
  expect(refused.headers['retry-after']).toBe('1');
  for (const one of waiting) {
    one.leave();
    await expect(one.answer).rejects.toThrow();
  }
});

test('queue full by bytes: 503', async () => {
  fixture.control.put(serviceRoute([], { queue: { maxRequests: 9, maxBytes: 1000 } }));
  const { port } = await fixture.start();
  const waiting = call(port, { headers: HOST, method: 'POST', body: Buffer.alloc(600) });
  await untilQueued(fixture.control, 1);
  const refused = await call(port, { headers: HOST, method: 'POST', body: Buffer.alloc(600) }).answer;
  expectError(refused, 503, 'queue-full', /1000 bytes/);
  waiting.leave();
  await expect(waiting.answer).rejects.toThrow();
});

test('no replica within the start timeout: 504 that names the phase', async () => {
  const route = serviceRoute([], { startTimeoutMs: 100 });
  const revisions = route.revisions.map((revision) => ({ ...revision, startingPhase: 'fetched' }));
  fixture.control.put({ ...route, revisions });
  const { port } = await fixture.start();
  const answer = await call(port, { headers: HOST }).answer;
  expectError(answer, 504, 'start-timeout', /within 100 ms; it hung in phase "fetched"/);
  expect(answer.headers['server-timing']).toMatch(/start;dur=(?:99|1\d\d)/);
});

test('while a node is being added for a replica the start timeout begins anew, and ends once that is over', async () => {
  const route = serviceRoute([], { startTimeoutMs: 100 });
  const waiting = { waitsForNode: true, startingPhase: 'starting a replica (Unschedulable)' };
  fixture.control.put({ ...route, revisions: route.revisions.map((one) => ({ ...one, ...waiting })) });
  const { port } = await fixture.start();
  const { answer } = call(port, { headers: HOST });
  let isAnswered = false;
  void answer.then(() => (isAnswered = true));
  // As long as three others take that are given up in time, one after the other.
  fixture.control.put(
    serviceRoute([], {
      uid: 'uid-other',
      name: 'other',
      hosts: ['other.demo'],
      models: [],
      startTimeoutMs: 100,
    }),
  );
  for (let turn = 0; turn < 3; turn += 1)
    expectError(await call(port, { headers: { host: 'other.demo' } }).answer, 504, 'start-timeout', /100 ms/);
  expect(isAnswered).toBe(false);
  fixture.control.put(route);
  expectError(await answer, 504, 'start-timeout', /within 100 ms/);
});

test('no room within the start timeout: 504 that says so', async () => {
  const { address } = await fixture.replica(() => undefined);
  fixture.control.put(serviceRoute([address], { startTimeoutMs: 100, capacity: 1 }));
  const { port } = await fixture.start();
  const holder = call(port, { headers: HOST });
  await untilInFlight(fixture.control, 1);
  expectError(
    await call(port, { headers: HOST }).answer,
    504,
    'start-timeout',
    /waiting for a replica with room/,
  );
  holder.leave();
  await expect(holder.answer).rejects.toThrow();
});

test('no answer within the request timeout: 504, counted from the hand-over to the replica', async () => {
  fixture.control.put(serviceRoute([], { requestTimeoutMs: 150 }));
  const { port } = await fixture.start();
  const waiting = call(port, { headers: HOST });
  await untilQueued(fixture.control, 1);
  // It waits for a replica for longer than a replica may take.
  await new Promise((resolve) => setTimeout(resolve, 200));
  const { address } = await fixture.replica(() => undefined);
  fixture.control.put(serviceRoute([address], { requestTimeoutMs: 150, capacity: 1 }));
  expectError(await waiting.answer, 504, 'request-timeout', /did not answer within 150 ms/);
});

test('an answer that stops in its middle is cut off, so that nobody takes it for whole', async () => {
  const { address } = await fixture.replica((_incoming, response) => {
    response.write('half');
  });
  fixture.control.put(serviceRoute([address], { requestTimeoutMs: 100 }));
  const { port } = await fixture.start();
  await expect(call(port, { headers: HOST }).answer).rejects.toMatchObject({ code: 'ECONNRESET' });
});

test('a long stream outlives the request timeout as long as something comes', async () => {
  const { address } = await fixture.replica((_incoming, response) => {
    let sent = 0;
    const timer = setInterval(() => {
      if (++sent < 10) response.write('.');
      else {
        clearInterval(timer);
        response.end('!');
      }
    }, 30);
  });
  fixture.control.put(serviceRoute([address], { requestTimeoutMs: 150 }));
  const { port } = await fixture.start();
  expect((await call(port, { headers: HOST }).answer).body).toBe('.........!');
});

test('the model failed to load: 503 with the load error, for those that wait and those that come', async () => {
  const route = serviceRoute([]);
  fixture.control.put(route);
  const { port } = await fixture.start();
  const waiting = call(port, { headers: HOST });
  await untilQueued(fixture.control, 1);
  const failure = { code: 'model-not-onnx' as const, message: 'x.onnx is a PNG image' };
  fixture.control.put({ ...route, revisions: route.revisions.map((revision) => ({ ...revision, failure })) });
  expectError(await waiting.answer, 503, 'load-failed', /x\.onnx is a PNG image \(model-not-onnx\)/);
  expectError(await call(port, { headers: HOST }).answer, 503, 'load-failed', /PNG/);
});

test('a stopped service: 503, for those that wait and those that come', async () => {
  const route = serviceRoute([]);
  fixture.control.put(route);
  const { port } = await fixture.start();
  const waiting = call(port, { headers: HOST });
  await untilQueued(fixture.control, 1);
  fixture.control.put({ ...route, stopped: 'by annotation' });
  expectError(await waiting.answer, 503, 'service-stopped', /is stopped: by annotation/);
  expectError(await call(port, { headers: HOST }).answer, 503, 'service-stopped', /by annotation/);
});

test('a service that is removed: 404 for those that wait', async () => {
  fixture.control.put(serviceRoute([]));
  const { port } = await fixture.start();
  const waiting = call(port, { headers: HOST });
  await untilQueued(fixture.control, 1);
  fixture.control.remove('uid-ocr');
  expectError(await waiting.answer, 404, 'unknown-service', /was removed while the request waited/);
});

test('a replica that answers nonsense: 502', async () => {
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.once('data', () =>
      socket.end('HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n'),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port: upstreamPort } = server.address() as { port: number };
  fixture.control.put(serviceRoute([`127.0.0.1:${upstreamPort}`]));
  const { port } = await fixture.start();
  const answer = await call(port, { headers: HOST, method: 'POST', body: 'x' }).answer;
  expectError(answer, 502, 'replica-failed', /both Content-Length and Transfer-Encoding/);
  server.close();
});

test('errors of the replica itself pass through as they are', async () => {
  const { address } = await fixture.replica((_incoming, response) => {
    response.writeHead(500, { 'pilotlight-error': 'inference-failed' }).end('{"error":"shape"}');
  });
  fixture.control.put(serviceRoute([address]));
  const { port } = await fixture.start();
  expectError(
    {
      ...(await call(port, { headers: HOST }).answer),
      headers: { 'pilotlight-error': 'inference-failed', 'content-type': 'application/json' },
    },
    500,
    'inference-failed',
    /shape/,
  );
});

test('every answer is counted by service and code, and a client can’t add a series', async () => {
  const { address } = await fixture.replica((_incoming, response) => response.end());
  fixture.control.put(serviceRoute([address]));
  const activator = await fixture.start();
  await call(activator.port, { headers: HOST }).answer;
  for (const host of ['a.b', 'c.d', 'e.f']) await call(activator.port, { headers: { host } }).answer;
  const text = await fixture.metrics(activator);
  expect(text).toContain(
    'pilotlight_activator_requests_total{namespace="demo",service="ocr",code="200",component="activator"} 1',
  );
  expect(text).toContain(
    'pilotlight_activator_requests_total{namespace="unknown",service="unknown",code="404",component="activator"} 3',
  );
  expect(text).toContain(
    'pilotlight_activator_refusals_total{namespace="unknown",service="unknown",error="unknown-service",component="activator"} 3',
  );
  expect(text).toMatch(
    /pilotlight_activator_queue_limit_requests\{namespace="demo",service="ocr",[^}]*\} [1-9]/,
  );
  expect(text).not.toContain('c.d');
  expect(text).toMatch(/pilotlight_activator_routes_number\{[^}]*\} 1/);
});
