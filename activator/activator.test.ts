import { pino } from 'pino';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type RunningActivator, runActivator } from './main.ts';
import type { ActivatorOptions } from './settings.ts';
import { ControlServer, serviceRoute } from './testing/control-server.ts';
import { bodyOf, call, type Replica, startReplica } from './testing/replica.ts';

let control: ControlServer;
const replicas: Replica[] = [];
const activators: RunningActivator[] = [];
beforeEach(async () => {
  control = new ControlServer();
  await control.start();
});
afterEach(async () => {
  await Promise.all(activators.splice(0).map((activator) => activator.stop()));
  await Promise.all(replicas.splice(0).map((one) => one.kill()));
  await control.stop();
});

async function start(options: Partial<ActivatorOptions> = {}): Promise<RunningActivator> {
  const activator = await runActivator({
    host: '127.0.0.1',
    port: 0,
    metricsPort: 0,
    controllerUrl: control.url,
    drainMs: 300,
    logger: pino({ level: 'silent' }),
    ...options,
  });
  activators.push(activator);
  await expect
    .poll(async () => (await call(activator.metricsPort ?? 0, { path: '/readyz' }).answer).status)
    .toBe(200);
  return activator;
}

async function replica(...args: Parameters<typeof startReplica>): Promise<Replica> {
  const started = await startReplica(...args);
  replicas.push(started);
  return started;
}

test('a request to a cold service waits, is reported at once, and is answered by the replica that comes', async () => {
  control.put(serviceRoute([]));
  const { port } = await start();
  const cold = call(port, { headers: { host: 'ocr.demo:8080' }, method: 'POST', body: 'picture' });
  const report = await control.report((one) => one.revisions.some(({ queued }) => queued === 1));
  expect(report.revisions).toMatchObject([
    { serviceUid: 'uid-ocr', revision: 'ocr-1', requests: 1, inFlight: 0 },
  ]);
  const { address } = await replica((request, response) => {
    void bodyOf(request).then((body) => response.end(`read ${body.toString()} at ${request.url}`));
  });
  control.put(serviceRoute([address]));
  const answer = await cold.answer;
  expect(answer).toMatchObject({ status: 200, body: 'read picture at /' });
  expect(answer.headers['server-timing']).toMatch(
    /^queue;dur=[\d.]+, start;dur=[\d.]+, upstream;dur=[\d.]+$/,
  );
  const told = await control.report((one) => one.coldAnswers.length > 0);
  expect(told.coldAnswers).toMatchObject([{ serviceUid: 'uid-ocr', revision: 'ocr-1' }]);
  await control.report((one) =>
    one.revisions.some(({ queued, inFlight, requests }) => requests === 1 && queued + inFlight === 0),
  );
});
