import { copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { createServer as createTlsServer, request as httpsRequest, type RequestOptions } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { makeKeys, opensslMissing } from '../../e2e/local/testing/certificates.ts';
import { CONTROLLER_SERVERNAME } from '../../process/leader-address.ts';
import { createRegistry } from '../../process/metrics.ts';
import { EngineBench } from '../engine/testing/engine-bench.ts';
import { type Api, type ApiOptions, openApi } from './server.ts';
import { readCertificate } from './tls-files.ts';

const LEADER = 'https://10.0.0.7:8443';
const logger = pino({ level: 'silent' });

let bench: EngineBench;
let apis: Api[];
let folder: string;
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'api-'));
  apis = [];
  bench = new EngineBench();
  await bench.warm();
});
afterEach(async () => {
  await Promise.all(apis.map((api) => api.close()));
  rmSync(folder, { recursive: true, force: true });
});

async function open(more: Partial<ApiOptions>): Promise<Api> {
  const api = await openApi({
    state: { role: 'following', leaderUrl: LEADER },
    logger,
    registry: createRegistry('controller'),
    host: '127.0.0.1',
    port: 0,
    isActivator: (token) => token === 'activator-token',
    ...more,
  });
  apis.push(api);
  return api;
}

interface Answer {
  status: number;
  headers: IncomingMessage['headers'];
  text: string;
}

function call(port: number, path: string, options: RequestOptions = {}): Promise<Answer> {
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  const send = options.ca === undefined ? httpRequest : httpsRequest;
  const headers = { authorization: 'Bearer activator-token' };
  const outgoing = send({ host: '127.0.0.1', port, path, agent: false, ...options, headers }, (response) => {
    let text = '';
    response.setEncoding('utf8');
    response.on('data', (chunk: string) => {
      text += chunk;
    });
    response.on('error', reject);
    response.on('end', () => resolve({ status: response.statusCode ?? 0, headers: response.headers, text }));
  });
  outgoing.on('error', reject);
  outgoing.end();
  return promise;
}

/** Opens a stream of routes; resolves with its head and when it is over. */
function openStream(port: number): Promise<{ status: number; over: Promise<void> }> {
  const { promise, resolve, reject } = Promise.withResolvers<{ status: number; over: Promise<void> }>();
  const headers = { authorization: 'Bearer activator-token' };
  const outgoing = httpRequest({ host: '127.0.0.1', port, path: '/v1/routes', headers, agent: false });
  outgoing.on('error', reject);
  outgoing.on('response', (response) => {
    const over = Promise.withResolvers<void>();
    response.resume();
    response.on('error', () => undefined);
    response.on('close', () => over.resolve());
    resolve({ status: response.statusCode ?? 0, over: over.promise });
  });
  outgoing.end();
  return promise;
}

test.each([
  ['GET', '/v1/routes'],
  ['POST', '/v1/demand'],
  ['POST', '/v1/stats'],
  ['GET', '/api/services'],
  ['GET', '/api/services/default/ocr'],
])('a controller that does not lead answers %s %s with who does', async (method, path) => {
  const api = await open({});
  const answer = await call(api.port, path, { method });
  expect(answer.status).toBe(503);
  expect(answer.headers).toMatchObject({ 'pilotlight-error': 'not-leader', 'pilotlight-leader': LEADER });
  expect(answer.text).toContain(LEADER);
});

test('who does not know the leader names none, and nobody is asked about the token', async () => {
  const reviewed: string[] = [];
  const api = await open({
    state: { role: 'following', leaderUrl: undefined },
    isActivator: (token) => reviewed.push(token) > 0,
  });
  const answer = await call(api.port, '/v1/routes');
  expect(answer).toMatchObject({ status: 503, headers: { 'pilotlight-error': 'not-leader' } });
  expect(answer.headers).not.toHaveProperty('pilotlight-leader');
  expect(reviewed).toEqual([]);
});

test('a body for a controller that does not lead is not waited for', async () => {
  const api = await open({});
  const headers = { 'content-type': 'application/json', 'content-length': '1000000' };
  const { promise, resolve, reject } = Promise.withResolvers<number | undefined>();
  const port = { host: '127.0.0.1', port: api.port, path: '/v1/demand', method: 'POST', agent: false };
  const outgoing = httpRequest({ ...port, headers }, (response) => resolve(response.statusCode));
  outgoing.on('error', reject);
  outgoing.flushHeaders();
  expect(await promise).toBe(503);
  outgoing.destroy();
});

test('the lead comes and goes: streams are taken, and end at once for their readers to go elsewhere', async () => {
  const api = await open({});
  expect((await openStream(api.port)).status).toBe(503);
  api.setState({ role: 'leading', controller: bench.controller });
  const readers = await Promise.all([openStream(api.port), openStream(api.port)]);
  expect(readers.map(({ status }) => status)).toEqual([200, 200]);
  expect((await call(api.port, '/api/services')).status).toBe(200);
  api.setState({ role: 'leading', controller: bench.controller });
  // The bench's own reader is there as well.
  expect(bench.controller.context.subscribers.size).toBe(3);
  api.setState({ role: 'following', leaderUrl: LEADER });
  await Promise.all(readers.map(({ over }) => over));
  await expect.poll(() => bench.controller.context.subscribers.size).toBe(1);
  expect((await call(api.port, '/v1/routes')).headers['pilotlight-leader']).toBe(LEADER);
});

test('a lead that is lost while the token is looked at gives no stream', async () => {
  const verdict = Promise.withResolvers<boolean>();
  const asked = Promise.withResolvers<void>();
  const api = await open({
    state: { role: 'leading', controller: bench.controller },
    isActivator: () => {
      asked.resolve();
      return verdict.promise;
    },
  });
  const answer = call(api.port, '/v1/routes');
  await asked.promise;
  api.setState({ role: 'following', leaderUrl: LEADER });
  verdict.resolve(true);
  expect(await answer).toMatchObject({ status: 503, headers: { 'pilotlight-leader': LEADER } });
});

test('health and metrics have a port of their own where one is given', async () => {
  const api = await open({ healthPort: 0 });
  const health = api.healthPort ?? 0;
  expect(health).not.toBe(api.port);
  for (const path of ['/healthz', '/readyz', '/metrics']) {
    expect(await call(health, path)).toMatchObject({ status: 200 });
    expect(await call(api.port, path)).toMatchObject({ status: 404 });
  }
  expect((await call(health, '/v1/routes')).status).toBe(404);
  await bench.controller.stop('leave');
  api.setState({ role: 'leading', controller: bench.controller });
  expect(await call(health, '/readyz')).toMatchObject({ status: 503 });
});

test('a port for health that is taken leaves nothing open', async () => {
  const first = await open({});
  await expect(open({ healthPort: first.port })).rejects.toMatchObject({ code: 'EADDRINUSE' });
});

const missing = opensslMissing();
if (missing !== undefined) test.skip(`the API over TLS was not tested: ${missing}`, () => undefined);

describe.skipIf(missing !== undefined)('over TLS', () => {
  test('clients trust the authority of the keys and call any address by the name of the certificate', async () => {
    const keys = makeKeys(join(folder, 'keys'));
    const api = await open({ tls: keys.tls, healthPort: 0 });
    const trust = { ca: keys.ca, servername: CONTROLLER_SERVERNAME };
    expect((await call(api.port, '/v1/routes', trust)).headers['pilotlight-leader']).toBe(LEADER);
    await expect(call(api.port, '/v1/routes', { ca: keys.ca })).rejects.toMatchObject({
      code: 'ERR_TLS_CERT_ALTNAME_INVALID',
    });
    const others = makeKeys(join(folder, 'others'));
    await expect(call(api.port, '/v1/routes', { ...trust, ca: others.ca })).rejects.toThrow();
    await expect(call(api.port, '/v1/routes')).rejects.toThrow();
    expect((await call(api.healthPort ?? 0, '/healthz')).status).toBe(200);
  });

  test('a file that is not there is told at once', async () => {
    const tls = { certFile: join(folder, 'tls.crt'), keyFile: join(folder, 'tls.key') };
    await expect(open({ tls })).rejects.toThrow('ENOENT');
  });

  test('a new certificate is used from its next connection on; a half-written pair changes nothing', async () => {
    const keys = makeKeys(join(folder, 'keys'));
    const next = makeKeys(join(folder, 'next'));
    const certificate = readCertificate(keys.tls, logger, 20);
    const server = createTlsServer(certificate, (_request, response) => response.end('hello'));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const stopLooking = certificate.keepFresh(server);
    const { port } = server.address() as AddressInfo;
    const helloTo = async (ca: string): Promise<string> =>
      (await call(port, '/', { ca, servername: CONTROLLER_SERVERNAME })).text;
    try {
      expect(await helloTo(keys.ca)).toBe('hello');
      copyFileSync(next.tls.certFile, keys.tls.certFile);
      // Long enough for the half-written pair to be seen.
      await new Promise((resolve) => setTimeout(resolve, 1_200));
      expect(await helloTo(keys.ca)).toBe('hello');
      copyFileSync(next.tls.keyFile, keys.tls.keyFile);
      await expect.poll(() => helloTo(next.ca).catch(() => 'no'), { timeout: 5_000 }).toBe('hello');
      await expect(helloTo(keys.ca)).rejects.toThrow();
    } finally {
      stopLooking();
      server.close();
      server.closeAllConnections();
    }
  });
});
