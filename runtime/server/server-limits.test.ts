import { once } from 'node:events';
import { connect } from 'node:http2';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { identityModel, PlainEngine, readyWith, sumModel } from './plain-engine.ts';
import type { RuntimeServer } from './server.ts';
import {
  call,
  callHttp2,
  connectRaw,
  gate,
  openTestServer,
  readToEnd,
  sendRaw,
  sumBody,
} from './test-client.ts';

const INFER = '/v2/models/sum/infer';
const HEAD = `POST ${INFER} HTTP/1.1\r\nhost: x\r\n`;
let engine: PlainEngine;
let server: RuntimeServer;

beforeEach(async () => {
  engine = readyWith(sumModel());
  server = await openTestServer({
    engine,
    limits: {
      maxBodyBytes: 100_000,
      maxBodyBytesInFlight: 250_000,
      bodyIdleTimeoutMs: 300,
      minBodyBytesPerSecond: 1000,
      headersTimeoutMs: 400,
      firstByteTimeoutMs: 400,
      writeIdleTimeoutMs: 600,
    },
  });
});
afterEach(() => server.stop());

async function isHealthy(): Promise<boolean> {
  const answer = await call(server.port, INFER, { body: sumBody([1], [2]) });
  return answer.status === 200 && server.load.snapshot().proxied.inFlight === 0;
}

test('a body that is announced too large is refused without reading it', async () => {
  const answer = await sendRaw(server.port, `${HEAD}content-length: 100001\r\n\r\n`);
  expect(answer).toMatch(/^HTTP\/1.1 413 [^]*pilotlight-error: body-too-large[^]*connection: close/);
  expect(answer).toContain('may have 100000 bytes, this one has 100001');
});

test('a body that turns out too large is cut off, chunked and over HTTP/2 alike', async () => {
  const socket = await connectRaw(server.port);
  const answer = readToEnd(socket);
  socket.write(`${HEAD}transfer-encoding: chunked\r\n\r\n`);
  const chunk = `1000\r\n${'x'.repeat(0x1000)}\r\n`;
  for (let sent = 0; sent < 40 && !socket.destroyed; sent++) socket.write(chunk);
  expect(await answer).toMatch(/^HTTP\/1.1 413 /);

  const session = connect(`http://127.0.0.1:${server.port}`);
  session.on('error', () => undefined);
  const refused = await callHttp2(server.port, INFER, { body: Buffer.alloc(500_000) }, session);
  expect(refused.status).toBe(413);
  session.destroy();
  expect(await isHealthy()).toBe(true);
});

test('a small body that inflates to a large one is refused at the limit', async () => {
  const bomb = gzipSync(Buffer.alloc(50_000_000));
  expect(bomb.length).toBeLessThan(100_000);
  const before = process.memoryUsage().rss;
  const answer = await call(server.port, INFER, { headers: { 'content-encoding': 'gzip' }, body: bomb });
  expect([answer.status, answer.headers['pilotlight-error']]).toEqual([413, 'body-too-large']);
  expect(process.memoryUsage().rss - before).toBeLessThan(30_000_000);
});

test('what is not what its encoding says, or in an encoding that we lack, is told', async () => {
  const broken = await call(server.port, INFER, { headers: { 'content-encoding': 'gzip' }, body: 'no gzip' });
  expect([broken.status, broken.headers['pilotlight-error']]).toEqual([400, 'invalid-request']);
  const truncated = gzipSync(sumBody([1], [2])).subarray(0, -9);
  expect(
    (await call(server.port, INFER, { headers: { 'content-encoding': 'gzip' }, body: truncated })).status,
  ).toBe(400);
  const brotli = await call(server.port, INFER, { headers: { 'content-encoding': 'br' }, body: 'x' });
  expect(brotli.status).toBe(415);
});

test('broken framing is refused: no length, two lengths, both kinds, no number, not HTTP', async () => {
  expect(await sendRaw(server.port, `${HEAD}connection: close\r\n\r\n`)).toMatch(/^HTTP\/1.1 411 /);
  for (const headers of [
    'content-length: 5\r\ncontent-length: 6',
    'content-length: 5\r\ntransfer-encoding: chunked',
    'content-length: five',
    'content-length: -1',
    'transfer-encoding: chunked, identity',
  ]) {
    const answer = await sendRaw(server.port, `${HEAD}${headers}\r\n\r\nhello`);
    expect([headers, answer.slice(0, 12)]).toEqual([headers, 'HTTP/1.1 400']);
  }
  const garbage = await sendRaw(server.port, 'hello there\r\n\r\n');
  expect(garbage).toMatch(
    /^HTTP\/1.1 400 [^]*pilotlight-error: bad-framing[^]*\{"error":"this is not an HTTP request/,
  );
  expect(await isHealthy()).toBe(true);
});

test('a head that is too large is 431', async () => {
  expect(await sendRaw(server.port, `${HEAD}x: ${'y'.repeat(40_000)}\r\n\r\n`)).toMatch(/^HTTP\/1.1 431 /);
});

test('JSON that nests deeper than allowed is refused', async () => {
  const answer = await call(server.port, INFER, { body: '['.repeat(50_000) });
  expect([answer.status, answer.headers['pilotlight-error']]).toEqual([400, 'invalid-request']);
});

test('a body that stops coming is 408, and the connection ends', async () => {
  await server.stop();
  server = await openTestServer({ engine, limits: { bodyIdleTimeoutMs: 100, minBodyBytesPerSecond: 0.1 } });
  const answer = await sendRaw(server.port, `${HEAD}content-length: 100\r\n\r\n{`);
  expect(answer).toMatch(/^HTTP\/1.1 408 [^]*nothing of the body came/);
  expect(await server.load.idle(5000)).toBe(true);
});

test('a client that sends one byte now and then is let go', async () => {
  const socket = await connectRaw(server.port);
  const answer = readToEnd(socket);
  socket.write(`${HEAD}content-length: 100\r\n\r\n`);
  const drip = setInterval(() => socket.write(' '), 50);
  expect(await answer).toMatch(/^HTTP\/1.1 408 [^]*less than 1000 bytes a second/);
  clearInterval(drip);
});

test('a head that comes byte by byte is let go as well, and so is a client that says nothing', async () => {
  const slow = await connectRaw(server.port);
  const answer = readToEnd(slow);
  slow.write('POST /v2');
  const drip = setInterval(() => slow.write('x'), 50);
  const silent = await connectRaw(server.port);
  silent.on('error', () => undefined);
  await once(silent, 'close');
  expect(await answer).toMatch(/^HTTP\/1.1 408 /);
  clearInterval(drip);
});

test('bodies together are bounded: what does not fit now is 503, and fits later', async () => {
  const holders = await Promise.all([1, 2].map(() => connectRaw(server.port)));
  for (const socket of holders) socket.write(`${HEAD}content-length: 95000\r\n\r\n${' '.repeat(90_000)}`);
  const body = Buffer.alloc(90_000, ' ');
  await expect
    .poll(async () => (await call(server.port, INFER, { body })).headers['pilotlight-error'])
    .toBe('server-busy');
  for (const socket of holders) socket.destroy();
  await expect
    .poll(async () => (await call(server.port, INFER, { body })).headers['pilotlight-error'])
    .toBe('invalid-request');
});

test('100-continue is sent only to who is admitted', async () => {
  const admitted = await connectRaw(server.port);
  admitted.write(`${HEAD}expect: 100-continue\r\ncontent-length: ${sumBody([1], [2]).length}\r\n\r\n`);
  const [first] = (await once(admitted, 'data')) as [Buffer];
  expect(first.toString()).toMatch(/^HTTP\/1.1 100 Continue/);
  admitted.write(sumBody([1], [2]));
  const [second] = (await once(admitted, 'data')) as [Buffer];
  expect(second.toString()).toMatch(/^HTTP\/1.1 200 OK/);
  admitted.destroy();
  engine.current = { phase: 'standby' };
  const refused = await sendRaw(server.port, `${HEAD}expect: 100-continue\r\ncontent-length: 10\r\n\r\n`);
  expect(refused).toMatch(/^HTTP\/1.1 503 /);
  expect(refused).not.toContain('100 Continue');
});

test('a client that never reads its answer is cut off', async () => {
  const model = identityModel('FP32');
  await server.stop();
  server = await openTestServer({ engine: readyWith(model), limits: { writeIdleTimeoutMs: 600 } });
  const socket = await connectRaw(server.port);
  socket.on('error', () => undefined);
  const json = JSON.stringify({
    inputs: [
      { name: 'in', shape: [4_000_000], datatype: 'FP32', parameters: { binary_data_size: 16_000_000 } },
    ],
    parameters: { binary_data_output: true },
  });
  socket.pause();
  socket.write(
    `POST /v2/models/identity/infer HTTP/1.1\r\nhost: x\r\ninference-header-content-length: ${json.length}\r\ncontent-length: ${json.length + 16_000_000}\r\n\r\n${json}`,
  );
  socket.write(Buffer.alloc(16_000_000));
  await expect.poll(() => model.calls, { timeout: 10_000 }).toBe(1);
  expect(await server.load.idle(10_000)).toBe(true);
  socket.destroy();
});

test('a thousand connections that say nothing keep nobody from being served', async () => {
  await server.stop();
  server = await openTestServer({ engine, limits: { firstByteTimeoutMs: 60_000 } });
  const sockets = await Promise.all(Array.from({ length: 1000 }, () => connectRaw(server.port)));
  for (const socket of sockets) socket.on('error', () => undefined);
  expect(await isHealthy()).toBe(true);
  for (const socket of sockets) socket.destroy();
});

test('stopping waits for what is in flight as long as it is told, then ends every connection', async () => {
  const model = sumModel();
  const { opened, open } = gate();
  model.gate = opened;
  await server.stop();
  server = await openTestServer({ engine: readyWith(model) });
  const answer = call(server.port, INFER, { body: sumBody([1], [2]) });
  await expect.poll(() => model.calls).toBe(1);
  const stopped = server.stop(10_000);
  open();
  expect((await answer).status).toBe(200);
  await stopped;
  await expect(call(server.port, '/v2')).rejects.toMatchObject({ code: 'ECONNREFUSED' });
});
