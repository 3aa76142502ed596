import { pino } from 'pino';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type RunningActivator, runActivator } from './activator.ts';
import { ControlServer, serviceRoute } from './testing/control-server.ts';
import { call, type Replica, startReplica } from './testing/replica.ts';

const HOST = { host: 'ocr.demo' };
let control: ControlServer;
let replica: Replica;
let activator: RunningActivator;

beforeEach(async () => {
  control = new ControlServer();
  replica = await startReplica((_incoming, response) => response.end('ok'));
  // A controller that isn't there yet: its port is known, nobody listens at it.
  await control.start();
  await control.stop();
});

const start = async (routesWaitMs: number): Promise<void> => {
  activator = await runActivator({
    host: '127.0.0.1',
    port: 0,
    controllerUrl: control.url,
    drainMs: 300,
    logger: pino({ level: 'silent' }),
    limits: { routesWaitMs },
  });
};

afterEach(async () => {
  await activator.stop();
  await replica.kill();
  await control.stop();
});

test('a request that comes before the first routes waits for them, and is no unknown service', async () => {
  await start(10_000);
  control.put(serviceRoute([replica.address]));
  const early = call(activator.port, { headers: HOST });
  const unknown = call(activator.port, { headers: { host: 'nobody.demo' } });
  expect((await call(activator.port, { path: '/v2/health/ready' }).answer).status).toBe(503);
  await control.start();
  expect(await early.answer).toMatchObject({ status: 200, body: 'ok' });
  expect(await unknown.answer).toMatchObject({
    status: 404,
    headers: { 'pilotlight-error': 'unknown-service' },
  });
});

test('a request that no routes come for is told so, and to come again', async () => {
  await start(50);
  const answer = await call(activator.port, { headers: HOST }).answer;
  expect(answer).toMatchObject({
    status: 503,
    headers: { 'pilotlight-error': 'not-ready', 'retry-after': '1' },
  });
});

test('while the controller is lost a known service is served, and one that has come since is found once it is back', async () => {
  await control.start();
  control.put(serviceRoute([replica.address]));
  await start(10_000);
  expect(await call(activator.port, { headers: HOST }).answer).toMatchObject({ status: 200 });
  await control.stop();
  const route = serviceRoute([replica.address], { uid: 'uid-other', name: 'other', hosts: ['other.demo'] });
  // Several changes, the one that matters last.
  control.put({ ...route, uid: 'uid-first', name: 'first', hosts: ['first.demo'] });
  control.put(route);
  const since = call(activator.port, { headers: { host: 'other.demo' } });
  const unknown = call(activator.port, { headers: { host: 'nobody.demo' } });
  expect(await call(activator.port, { headers: HOST }).answer).toMatchObject({ status: 200 });
  await control.start();
  expect(await since.answer).toMatchObject({ status: 200, body: 'ok' });
  expect(await unknown.answer).toMatchObject({
    status: 404,
    headers: { 'pilotlight-error': 'unknown-service' },
  });
});

test('an activator that stays without its controller says that it can’t know', async () => {
  await control.start();
  control.put(serviceRoute([replica.address]));
  await start(50);
  expect(await call(activator.port, { headers: HOST }).answer).toMatchObject({ status: 200 });
  await control.stop();
  const answer = await call(activator.port, { headers: { host: 'nobody.demo' } }).answer;
  expect(answer).toMatchObject({
    status: 503,
    headers: { 'pilotlight-error': 'not-ready', 'retry-after': '1' },
  });
  expect(answer.body).toContain('lost touch with its controller');
});
