import { connect } from 'node:http2';
import { deflateSync, gunzipSync, gzipSync } from 'node:zlib';
import { Registry } from 'prom-client';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { PilotlightError } from '../../contracts/errors.ts';
import { JsonThreads } from './json-threads.ts';
import { identityModel, PlainEngine, type PlainModel, readyWith, sumModel } from './plain-engine.ts';
import type { RuntimeServer } from './server.ts';
import { call, callHttp2, connectRaw, gate, openTestServer, readToEnd, sumBody } from './test-client.ts';

const INFER = '/v2/models/sum/infer';
let model: PlainModel;
let engine: PlainEngine;
let server: RuntimeServer;

beforeEach(async () => {
  model = sumModel();
  engine = readyWith(model);
  server = await openTestServer({ engine, version: '1.2.3' });
});
afterEach(() => server.stop());

describe.each([
  ['HTTP/1.1', call],
  ['HTTP/2', callHttp2],
])('over %s', (_protocol, send) => {
  test('an inference is answered with its id, timings and length', async () => {
    const answer = await send(server.port, INFER, { body: sumBody([1, 2], [3, 4.5], { id: 'x' }) });
    expect(answer.status).toBe(200);
    expect(answer.json()).toEqual({
      model_name: 'sum',
      model_version: '3',
      id: 'x',
      outputs: [{ name: 'sum', datatype: 'FP32', shape: [1, 2], data: [4, 6.5] }],
    });
    expect(answer.headers['content-type']).toBe('application/json');
    expect(answer.headers['content-length']).toBe(String(answer.body.length));
    expect(answer.headers['server-timing']).toBe('queue;dur=0.250, compute;dur=0.500');
  });

  test('binary tensors go in and come out', async () => {
    const data = Buffer.from(new Float32Array([1, 2, 3, 4]).buffer);
    const tensor = (name: string): object => ({
      name,
      shape: [2, 1],
      datatype: 'FP32',
      parameters: { binary_data_size: 8 },
    });
    const json = JSON.stringify({
      inputs: [tensor('a'), tensor('b')],
      outputs: [{ name: 'sum', parameters: { binary_data: true } }],
    });
    const answer = await send(server.port, INFER, {
      headers: { 'inference-header-content-length': String(json.length) },
      body: Buffer.concat([Buffer.from(json), data]),
    });
    const headBytes = Number(answer.headers['inference-header-content-length']);
    expect(answer.headers['content-type']).toBe('application/octet-stream');
    expect(JSON.parse(answer.body.subarray(0, headBytes).toString())).toMatchObject({
      outputs: [{ name: 'sum', shape: [2, 1], parameters: { binary_data_size: 8 } }],
    });
    const sum = answer.body.subarray(headBytes);
    expect([sum.readFloatLE(0), sum.readFloatLE(4)]).toEqual([4, 6]);
  });

  test('an answer of many megabytes arrives whole', async () => {
    engine.current = { phase: 'ready', model: identityModel('FP32'), claim: undefined };
    const data = Buffer.alloc(12_000_000);
    for (let index = 0; index < data.length; index += 4) data.writeFloatLE(index, index);
    const json = JSON.stringify({
      inputs: [
        { name: 'in', shape: [3_000_000], datatype: 'FP32', parameters: { binary_data_size: data.length } },
      ],
      parameters: { binary_data_output: true },
    });
    const answer = await send(server.port, '/v2/models/identity/infer', {
      headers: { 'inference-header-content-length': String(json.length) },
      body: Buffer.concat([Buffer.from(json), data]),
    });
    const headBytes = Number(answer.headers['inference-header-content-length']);
    expect(answer.body.subarray(headBytes).equals(data)).toBe(true);
  });

  test('a body of raw data is answered in binary', async () => {
    engine.current = { phase: 'ready', model: identityModel('INT16'), claim: undefined };
    const answer = await send(server.port, '/v2/models/identity/infer', {
      headers: { 'inference-header-content-length': '0' },
      body: Buffer.from(new Int16Array([-1, 2, 3]).buffer),
    });
    const tail = answer.body.subarray(Number(answer.headers['inference-header-content-length']));
    expect([tail.readInt16LE(0), tail.readInt16LE(2), tail.readInt16LE(4)]).toEqual([-1, 2, 3]);
  });

  test('V1 predicts row by row', async () => {
    const body = JSON.stringify({
      instances: [
        { a: [1], b: [2] },
        { a: [3], b: [4] },
      ],
    });
    const answer = await send(server.port, '/v1/models/sum:predict', { body });
    expect(answer.json()).toEqual({ predictions: [[3], [7]] });
  });

  test('compressed bodies are taken, and compressed answers given when asked for', async () => {
    const wide = Array.from({ length: 2000 }, () => 1);
    for (const [coding, body] of [
      ['gzip', gzipSync(sumBody(wide, wide))],
      ['deflate', deflateSync(sumBody(wide, wide))],
    ] as const) {
      const answer = await send(server.port, INFER, {
        headers: { 'content-encoding': coding, 'accept-encoding': 'br, gzip;q=0.5' },
        body,
      });
      expect(answer.headers['content-encoding']).toBe('gzip');
      expect(answer.headers['content-length']).toBe(String(answer.body.length));
      expect(JSON.parse(gunzipSync(answer.body).toString())).toMatchObject({
        outputs: [{ shape: [1, 2000] }],
      });
    }
  });

  test('errors name the tensor, what was expected and what came', async () => {
    const answer = await send(server.port, INFER, { body: sumBody([1, 2], [3]) });
    expect(answer.status).toBe(400);
    expect(answer.headers['pilotlight-error']).toBe('invalid-request');
    expect(answer.json()['error']).toContain("input 'b': expected shape [batch, width], got [1, 1]");
  });

  test('what is not there, or not with this method, is answered with what there is', async () => {
    const missing = await send(server.port, '/v2/modles/sum');
    expect(missing.status).toBe(404);
    expect(missing.json()['error']).toContain('/v2/models/{name}');
    const method = await send(server.port, INFER, { method: 'GET' });
    expect([method.status, method.headers['allow']]).toEqual([405, 'POST']);
    const unknown = await send(server.port, '/v2/models/%2e%2e%2Fetc%2Fpasswd/infer', { body: '{}' });
    expect([unknown.status, unknown.headers['pilotlight-error']]).toEqual([404, 'unknown-model']);
  });

  test('HEAD is answered like GET, without a body', async () => {
    const answer = await send(server.port, '/v2/health/ready', { method: 'HEAD' });
    expect([answer.status, answer.body.length, answer.headers['content-length']]).toEqual([200, 0, '26']);
  });
});

test('an empty body is refused over either protocol', async () => {
  for (const send of [call, callHttp2]) {
    const answer = await send(server.port, INFER, { body: Buffer.alloc(0) });
    expect([answer.status, answer.headers['pilotlight-error']]).toEqual([400, 'invalid-request']);
  }
});

test('metadata, configuration, readiness and index tell what is loaded', async () => {
  const get = async (path: string): Promise<unknown> => (await call(server.port, path)).json();
  expect(await get('/v2')).toEqual({
    name: 'pilotlight',
    version: '1.2.3',
    extensions: ['binary_tensor_data', 'model_configuration', 'statistics', 'model_repository'],
  });
  expect(await get('/v2/models/sum')).toMatchObject({
    name: 'sum',
    versions: ['3'],
    inputs: [{ shape: [-1, -1] }, {}],
  });
  expect(await get('/v2/models/sum/config')).toMatchObject({
    max_batch_size: 8,
    input: [{ dims: [-1] }, {}],
  });
  expect(await get('/v2/models/sum/ready')).toEqual({ name: 'sum', ready: true, live: true });
  expect(await get('/v2/models')).toEqual({ models: ['sum'] });
  expect(await get('/v1/models')).toEqual({ models: ['sum'] });
  expect(await get('/v1/models/sum')).toMatchObject({ name: 'sum', ready: true });
  const index = await call(server.port, '/v2/repository/index', { body: '' });
  expect(index.json()).toEqual([{ name: 'sum', version: '3', state: 'READY', reason: '' }]);
});

test('statistics count inferences by batch, with the time of each phase', async () => {
  await call(server.port, INFER, { body: sumBody([1], [2]) });
  const body = JSON.stringify({
    inputs: ['a', 'b'].map((name) => ({ name, shape: [4, 1], datatype: 'FP32', data: [1, 2, 3, 4] })),
  });
  await call(server.port, INFER, { body });
  await call(server.port, INFER, { body: '{' });
  const stats = await call(server.port, '/v2/models/sum/stats');
  expect(stats.json()).toMatchObject({
    model_stats: [
      {
        name: 'sum',
        version: '3',
        inference_count: 5,
        execution_count: 2,
        inference_stats: {
          success: { count: 2 },
          fail: { count: 1 },
          queue: { count: 2, ns: 500_000 },
          compute_infer: { count: 2, ns: 1_000_000 },
        },
      },
    ],
  });
});

test('a runtime that is not ready says why, and is alive all the same', async () => {
  const cases = [
    { current: { phase: 'standby' }, status: 503, code: 'not-ready', retry: '1' },
    {
      current: { phase: 'specialising', modelName: 'sum', claim: undefined },
      status: 503,
      code: 'not-ready',
      retry: '1',
    },
    {
      current: {
        phase: 'failed',
        modelName: 'sum',
        claim: undefined,
        error: new PilotlightError('model-not-found', 'no such file'),
      },
      status: 503,
      code: 'load-failed',
      retry: undefined,
    },
    { current: { phase: 'draining', model, claim: undefined }, status: 503, code: 'draining', retry: '1' },
  ] as const;
  for (const { current, status, code, retry } of cases) {
    engine.current = current;
    const answer = await call(server.port, INFER, { body: sumBody([1], [2]) });
    expect([answer.status, answer.headers['pilotlight-error'], answer.headers['retry-after']]).toEqual([
      status,
      code,
      retry,
    ]);
    expect((await call(server.port, '/v1/models/sum')).status).toBe(503);
    expect((await call(server.port, '/v2/health/ready')).status).toBe(503);
    expect((await call(server.port, '/v2/health/live')).json()).toEqual({ ready: true, live: true });
  }
});

test('what is meant for another service is refused before its body is read', async () => {
  const service = { namespace: 'demo', name: 'sum' };
  const claim = { claimId: 'c', epoch: 1, serviceUid: 'uid-1', revision: 'r-2', service };
  engine.current = { phase: 'ready', model, claim };
  const socket = await connectRaw(server.port);
  const answer = readToEnd(socket);
  socket.write(
    `POST ${INFER} HTTP/1.1\r\nhost: x\r\npilotlight-service-uid: uid-9\r\ncontent-length: 1000000\r\n\r\n`,
  );
  expect(await answer).toMatch(/^HTTP\/1.1 421 [^]*pilotlight-error: wrong-service/);
  const stale = await call(server.port, INFER, {
    headers: { 'pilotlight-revision': 'r-1' },
    body: sumBody([1], [2]),
  });
  expect(stale.status).toBe(421);
  const right = await call(server.port, INFER, {
    headers: { 'pilotlight-service-uid': 'uid-1', 'pilotlight-revision': 'r-2' },
    body: sumBody([1], [2]),
  });
  expect(right.status).toBe(200);
});

test('a refusal costs a small request no new connection, and a large one is not read', async () => {
  engine.current = { phase: 'standby' };
  const socket = await connectRaw(server.port);
  const answers = readToEnd(socket);
  const body = sumBody([1], [2]);
  socket.write(
    `POST ${INFER} HTTP/1.1\r\nhost: x\r\ncontent-length: ${body.length}\r\n\r\n${body}`.repeat(2),
  );
  socket.write(`POST ${INFER} HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n`);
  const kept = (await answers).split('HTTP/1.1 503').slice(1);
  expect(kept.map((answer) => /connection: (\S+)/i.exec(answer)?.[1])).toEqual([
    'keep-alive',
    'keep-alive',
    'close',
  ]);
});

test('more than fit at the model wait, more than may wait are refused at once', async () => {
  await server.stop();
  model.capacity = 1;
  const { opened, open } = gate();
  model.gate = opened;
  server = await openTestServer({ engine, limits: { maxWaiting: 2 } });
  const body = sumBody([1], [2]);
  const served = [1, 2, 3].map(() => call(server.port, INFER, { body }));
  await expect.poll(() => server.load.snapshot().direct.inFlight).toBe(3);
  const refused = await call(server.port, INFER, { body });
  expect([refused.status, refused.headers['pilotlight-error'], refused.headers['retry-after']]).toEqual([
    503,
    'server-busy',
    '1',
  ]);
  expect(model.calls).toBe(1);
  open();
  expect((await Promise.all(served)).map(({ status }) => status)).toEqual([200, 200, 200]);
});

test('a model that takes longer than the request timeout is 504, and keeps its place until it is done', async () => {
  await server.stop();
  model.capacity = 1;
  const { opened, open } = gate();
  model.gate = opened;
  server = await openTestServer({ engine, requestTimeoutMs: () => 30 });
  const body = sumBody([1], [2]);
  const answer = await call(server.port, INFER, { body });
  expect([answer.status, answer.headers['pilotlight-error']]).toEqual([504, 'inference-timeout']);
  expect(server.load.snapshot().direct.inFlight).toBe(1);
  expect((await call(server.port, INFER, { body })).status).toBe(504);
  expect(model.calls).toBe(1);
  open();
  expect(await server.load.idle(5000)).toBe(true);
});

test('bodies and answers that another thread reads and writes come out like small ones', async () => {
  engine.current = { phase: 'ready', model: identityModel('INT32'), claim: undefined };
  const data = Array.from({ length: 300_000 }, (_, index) => 1_000_000 + index);
  const body = JSON.stringify({ inputs: [{ name: 'in', shape: [data.length], datatype: 'INT32', data }] });
  const v1 = JSON.stringify({ instances: data });
  for (let round = 0; round < 2; round++) {
    const answer = await call(server.port, '/v2/models/identity/infer', { body });
    expect(answer.json()['outputs']).toEqual([
      { name: 'out', datatype: 'INT32', shape: [data.length], data },
    ]);
    const prediction = await call(server.port, '/v1/models/identity:predict', { body: v1 });
    expect(prediction.json()).toEqual({ predictions: data });
    const cut = await call(server.port, '/v2/models/identity/infer', { body: body.slice(0, -3) });
    expect([cut.status, cut.headers['pilotlight-error']]).toEqual([400, 'invalid-request']);
    expect(cut.json()['error']).toContain(`at byte ${body.length - 3}`);
  }
});

test('a client that leaves while its body is read by another thread frees its place and its bytes', async () => {
  await server.stop();
  const registry = new Registry();
  server = await openTestServer({ engine, registry });
  const heldBytes = async (): Promise<number | undefined> =>
    (await registry.getSingleMetric('pilotlight_runtime_body_bytes')?.get())?.values[0]?.value;
  const body = `${' '.repeat(16_000_000)}${sumBody([1], [2])}`;
  const socket = await connectRaw(server.port);
  socket.write(`POST ${INFER} HTTP/1.1\r\nhost: x\r\ncontent-length: ${body.length}\r\n\r\n${body}`);
  const run = vi.spyOn(JsonThreads.prototype, 'run');
  await expect.poll(() => run.mock.calls.length, { interval: 1, timeout: 10_000 }).toBe(1);
  expect(await heldBytes()).toBeGreaterThan(0);
  socket.destroy();
  await expect.poll(() => server.load.snapshot().direct.inFlight).toBe(0);
  await expect.poll(heldBytes).toBe(0);
  run.mockRestore();
});

test('a client that leaves while it waits frees its place; one at the model when the model is done', async () => {
  model.capacity = 1;
  const { opened, open } = gate();
  model.gate = opened;
  const head = `POST ${INFER} HTTP/1.1\r\nhost: x\r\ncontent-length: ${sumBody([1], [2]).length}\r\n\r\n`;
  const atModel = await connectRaw(server.port);
  atModel.write(head + sumBody([1], [2]));
  await expect.poll(() => model.calls).toBe(1);
  const waiting = await connectRaw(server.port);
  waiting.write(head + sumBody([1], [2]));
  const session = connect(`http://127.0.0.1:${server.port}`);
  const stream = session.request({ ':path': INFER, ':method': 'POST' });
  stream.on('error', () => undefined);
  stream.end(sumBody([1], [2]));
  await expect.poll(() => server.load.snapshot().direct.inFlight).toBe(3);
  waiting.destroy();
  await expect.poll(() => server.load.snapshot().direct.inFlight).toBe(2);
  stream.close(8);
  await expect.poll(() => server.load.snapshot().direct.inFlight).toBe(1);
  atModel.destroy();
  open();
  expect(await server.load.idle(5000)).toBe(true);
  expect(model.calls).toBe(1);
  session.close();
});

test('requests that are pipelined and abandoned leave nothing in flight', async () => {
  const { opened, open } = gate();
  model.gate = opened;
  const socket = await connectRaw(server.port);
  const body = sumBody([1], [2]);
  socket.write(
    `POST ${INFER} HTTP/1.1\r\nhost: x\r\ncontent-length: ${body.length}\r\n\r\n${body}`.repeat(3),
  );
  await expect.poll(() => server.load.snapshot().direct.inFlight).toBe(3);
  socket.destroy();
  open();
  expect(await server.load.idle(5000)).toBe(true);
});

test('what came through an activator is counted apart', async () => {
  const body = sumBody([1], [2]);
  await call(server.port, INFER, { body, headers: { 'pilotlight-proxied-by': 'activator-1' } });
  await call(server.port, INFER, { body });
  await call(server.port, INFER, { body });
  await server.load.idle(5000);
  expect(server.load.snapshot()).toMatchObject({
    direct: { requests: 2, inFlight: 0 },
    proxied: { requests: 1, inFlight: 0 },
  });
  expect(server.load.snapshot().direct.requestSeconds).toBeGreaterThan(0);
});

test('draining lets what is in flight finish and tells clients to leave', async () => {
  const { opened, open } = gate();
  model.gate = opened;
  const session = connect(`http://127.0.0.1:${server.port}`);
  const inFlight = callHttp2(server.port, INFER, { body: sumBody([1], [2]) }, session);
  await expect.poll(() => model.calls).toBe(1);
  const goaway = new Promise((resolve) => session.once('goaway', resolve));
  engine.current = { phase: 'draining', model, claim: undefined };
  expect(await server.drain(10)).toBe(false);
  await goaway;
  const refused = await call(server.port, INFER, {
    body: sumBody([1], [2]),
    headers: { connection: 'keep-alive' },
  });
  expect([refused.status, refused.headers['connection']]).toEqual([503, 'close']);
  const drained = server.drain(10_000);
  open();
  expect((await inFlight).status).toBe(200);
  expect(await drained).toBe(true);
});

test('a taken port is an error with its code, and leaves nothing open', async () => {
  await expect(openTestServer({ engine, port: server.port })).rejects.toMatchObject({ code: 'EADDRINUSE' });
  await expect(openTestServer({ engine, limits: { maxBodyBytes: -1 } })).rejects.toThrow(
    'maxBodyBytes must be a number above 0',
  );
});

test('a second port serves the same', async () => {
  await server.stop();
  server = await openTestServer({ engine, grpcPort: 0 });
  expect((await call(server.grpcPort ?? 0, '/v2/health/live')).status).toBe(200);
});

test('an unexpected error is 500 without its text, and the place is given back', async () => {
  model.capacity = 1;
  model.infer = () => {
    throw new TypeError('secret detail');
  };
  for (let turn = 0; turn < 3; turn++) {
    const answer = await call(server.port, INFER, { body: sumBody([1], [2]) });
    expect([answer.status, answer.headers['pilotlight-error']]).toEqual([500, 'internal']);
    expect(answer.body.toString()).not.toContain('secret');
  }
});

test('requests are counted by outcome for Prometheus', async () => {
  await server.stop();
  const registry = new Registry();
  server = await openTestServer({ engine, registry });
  await call(server.port, INFER, { body: sumBody([1], [2]) });
  await call(server.port, INFER, { body: '{' });
  const text = await registry.metrics();
  expect(text).toContain('pilotlight_runtime_requests_total{protocol="rest",code="ok"} 1');
  expect(text).toContain('pilotlight_runtime_requests_total{protocol="rest",code="invalid-request"} 1');
  expect(text).toContain('pilotlight_runtime_request_duration_seconds_count{protocol="rest"} 2');
});
