import { once } from 'node:events';
import { Agent, request } from 'node:http';
import { connect } from 'node:http2';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type PlainEngine, type PlainModel, readyWith, sumModel } from './plain-engine.ts';
import type { RuntimeServer } from './server.ts';
import { callHttp2, connectRaw, gate, openTestServer, readToEnd, sumBody } from './test-client.ts';

const INFER = '/v2/models/sum/infer';
const PROXIED = { 'pilotlight-proxied-by': 'activator-1' };
const BODY = sumBody([1], [2]);
let model: PlainModel;
let engine: PlainEngine;
let server: RuntimeServer;
let agent: Agent;

beforeEach(async () => {
  model = sumModel();
  engine = readyWith(model);
  server = await openTestServer({ engine });
  agent = new Agent({ keepAlive: true });
});
afterEach(async () => {
  agent.destroy();
  await server.stop();
});

/** One request over the agent's kept connection. @returns status and what the answer says of the connection. */
async function ask(headers: Record<string, string> = {}): Promise<[number | undefined, string | undefined]> {
  const sent = request({ port: server.port, path: INFER, method: 'POST', agent, headers });
  sent.end(BODY);
  const [response] = (await once(sent, 'response')) as [import('node:http').IncomingMessage];
  response.resume();
  await once(response, 'end');
  return [response.statusCode, response.headers.connection];
}

test('callers that are welcome keep their connections', async () => {
  expect(await ask()).toEqual([200, 'keep-alive']);
  expect(await ask()).toEqual([200, 'keep-alive']);
});

test('callers that are not welcome are served and told to close; those of an activator keep their connections', async () => {
  engine.welcomesCallers = false;
  expect(await ask()).toEqual([200, 'close']);
  expect(await ask(PROXIED)).toEqual([200, 'keep-alive']);
});

test('over HTTP/2 they are served and get a GOAWAY', async () => {
  engine.welcomesCallers = false;
  const session = connect(`http://127.0.0.1:${server.port}`);
  const goaway = once(session, 'goaway');
  const answer = await callHttp2(server.port, INFER, { body: BODY }, session);
  expect(answer.status).toBe(200);
  await goaway;
  await once(session, 'close');
});

test('when they are sent away, HTTP/2 connections hear it at once, those of activators never', async () => {
  const [direct, proxied] = [1, 2].map(() => connect(`http://127.0.0.1:${server.port}`));
  if (direct === undefined || proxied === undefined) throw new Error('expected two sessions');
  await callHttp2(server.port, INFER, { body: BODY }, direct);
  await callHttp2(server.port, INFER, { body: BODY, headers: PROXIED }, proxied);
  engine.welcomesCallers = false;
  const goaway = once(direct, 'goaway');
  server.sendCallersAway(0);
  await goaway;
  expect((await callHttp2(server.port, INFER, { body: BODY, headers: PROXIED }, proxied)).status).toBe(200);
  expect(proxied.closed).toBe(false);
  proxied.close();
});

const HEAD = `POST ${INFER} HTTP/1.1\r\nhost: sum.demo\r\ncontent-length: ${BODY.length}\r\n`;

test('connections that rest are closed once the time to linger is over; one with a request gets its answer', async () => {
  const [resting, busy, proxied] = await Promise.all([1, 2, 3].map(() => connectRaw(server.port)));
  if (resting === undefined || busy === undefined || proxied === undefined) throw new Error('expected three');
  resting.write(`${HEAD}\r\n${BODY}`);
  proxied.write(`${HEAD}pilotlight-proxied-by: a\r\n\r\n${BODY}`);
  await Promise.all([once(resting, 'data'), once(proxied, 'data')]);
  const { opened, open } = gate();
  model.gate = opened;
  const answer = readToEnd(busy);
  busy.write(`${HEAD}\r\n${BODY}`);
  await expect.poll(() => model.calls).toBe(3);
  engine.welcomesCallers = false;
  server.sendCallersAway(50);
  await once(resting, 'end');
  open();
  expect(await answer).toMatch(/^HTTP\/1.1 200 [^]*connection: close/i);
  proxied.write(`${HEAD}pilotlight-proxied-by: a\r\n\r\n${BODY}`);
  expect(String(await once(proxied, 'data'))).toMatch(/^HTTP\/1.1 200 /);
  proxied.destroy();
});

test('callers that are welcome again before the time to linger is over keep their connections', async () => {
  const resting = await connectRaw(server.port);
  resting.write(`${HEAD}\r\n${BODY}`);
  await once(resting, 'data');
  engine.welcomesCallers = false;
  server.sendCallersAway(30);
  engine.welcomesCallers = true;
  const longer = await connectRaw(server.port);
  longer.write(`${HEAD}\r\n${BODY}`);
  await once(longer, 'data');
  resting.write(`${HEAD}\r\n${BODY}`);
  expect(String(await once(resting, 'data'))).toMatch(/^HTTP\/1.1 200 /);
  for (const socket of [resting, longer]) socket.destroy();
});
