import { createConnection } from 'node:net';
import { expect, test } from 'vitest';
import type { RunningActivator } from '../activator.ts';
import { serviceRoute } from '../testing/control-server.ts';
import { untilInFlight, untilQueued, useFixture } from '../testing/fixture.ts';
import { type Call, call } from '../testing/replica.ts';

const fixture = useFixture();
const HOST = { host: 'ocr.demo' };

async function leave(calls: readonly Call[]): Promise<void> {
  for (const one of calls) {
    one.leave();
    await expect(one.answer).rejects.toThrow();
  }
}

test('the token is sent; without it nothing is learned', async () => {
  fixture.control.token = 'secret';
  fixture.control.put(serviceRoute([]));
  const { port } = await fixture.start({ token: 'secret' });
  const waiting = call(port, { headers: HOST });
  await untilQueued(fixture.control, 1);
  await leave([waiting]);
});

test('the last routes serve on while the controller is gone, and the stream is taken up by number', async () => {
  const { address } = await fixture.replica((_incoming, response) => response.end('still here'));
  fixture.control.put(serviceRoute([address]));
  const { port } = await fixture.start();
  await fixture.control.stop();
  expect((await call(port, { headers: HOST }).answer).body).toBe('still here');
  fixture.control.put(serviceRoute([address], { uid: 'two', name: 'two', hosts: ['two.demo'] }));
  await fixture.control.start();
  await expect.poll(() => fixture.control.routesRequests.at(-1)).toBe('?stream=one&after=1');
  await expect
    .poll(async () => (await call(port, { headers: { host: 'two.demo' } }).answer).body)
    .toBe('still here');
});

test('it says who it is and where it runs, by the name that its reports have', async () => {
  fixture.control.put(serviceRoute([]));
  const { port } = await fixture.start({ instanceId: 'activator-1', pod: 'pilotlight-activator-x' });
  expect(fixture.control.readers).toEqual([{ activator: 'activator-1', pod: 'pilotlight-activator-x' }]);
  const waiting = call(port, { headers: HOST });
  await untilQueued(fixture.control, 1);
  expect(fixture.control.reports.at(-1)?.activator).toBe('activator-1');
  await leave([waiting]);
});

test('a restarted controller begins with a snapshot, which replaces everything', async () => {
  const { address } = await fixture.replica((_incoming, response) => response.end('ok'));
  fixture.control.put(serviceRoute([address]));
  const { port } = await fixture.start();
  await fixture.control.stop();
  fixture.control.forget('two');
  fixture.control.put(serviceRoute([address], { uid: 'new', name: 'new', hosts: ['new.demo'] }));
  await fixture.control.start();
  await expect
    .poll(async () => (await call(port, { headers: { host: 'new.demo' } }).answer).status)
    .toBe(200);
  expect((await call(port, { headers: HOST }).answer).status).toBe(404);
});

test('a gap in the numbers makes it ask for everything again', async () => {
  fixture.control.put(serviceRoute([]));
  await fixture.start();
  fixture.control.send({ type: 'heartbeat', number: 7 });
  await expect.poll(() => fixture.control.routesRequests.length).toBe(2);
  expect(fixture.control.routesRequests).toEqual(['', '']);
  fixture.control.send({ type: 'removed', number: 9, uid: 'x' });
  await expect.poll(() => fixture.control.routesRequests.length).toBe(3);
});

test('what is no message makes it connect again', async () => {
  await fixture.start();
  fixture.control.send({ type: 'nonsense' } as never);
  await expect.poll(() => fixture.control.routesRequests.length).toBe(2);
});

/** Reports that nobody took, by the activator's own count. */
async function failedPosts(activator: RunningActivator): Promise<number> {
  const text = await fixture.metrics(activator);
  return Number(
    /^pilotlight_activator_demand_posts_total\{.*outcome="failed".*\} (\d+)$/m.exec(text)?.[1] ?? 0,
  );
}

test('a request that waits as the controller comes back is reported at once', async () => {
  fixture.control.put(serviceRoute([]));
  const activator = await fixture.start();
  await fixture.control.stop();
  const waiting = call(activator.port, { headers: HOST });
  // It tries each 50 ms while somebody waits; doubling its pauses as if nobody did, the 20th try would come after 13 s.
  await expect.poll(() => failedPosts(activator), { timeout: 8_000 }).toBeGreaterThanOrEqual(20);
  fixture.control.reports.length = 0;
  await fixture.control.start();
  const report = await fixture.control.report(({ revisions }) =>
    revisions.some(({ queued }) => queued === 1),
  );
  expect(report.revisions[0]?.oldestQueuedMs).toBeGreaterThan(500);
  await leave([waiting]);
});

test('the cold answer is told again until a report with it was taken', async () => {
  fixture.control.put(serviceRoute([]));
  const { port } = await fixture.start();
  const waiting = call(port, { headers: HOST });
  await untilQueued(fixture.control, 1);
  fixture.control.demandStatus = 500;
  const { address } = await fixture.replica((_incoming, response) => response.end());
  fixture.control.put(serviceRoute([address]));
  await waiting.answer;
  fixture.control.demandStatus = 204;
  const report = await fixture.control.report(({ coldAnswers }) => coldAnswers.length > 0);
  expect(report.coldAnswers).toHaveLength(1);
  expect(report.coldAnswers[0]?.arrivedAgoMs).toBeGreaterThanOrEqual(
    report.coldAnswers[0]?.queuedMs ?? Infinity,
  );
  await untilInFlight(fixture.control, 0);
});

test('each cold endpoint gives one cold answer, a warm one none', async () => {
  fixture.control.put(serviceRoute([]));
  const { port } = await fixture.start();
  const waiting = Array.from({ length: 6 }, () => call(port, { headers: HOST }));
  await untilQueued(fixture.control, 6);
  const addresses: string[] = [];
  for (let count = 0; count < 2; count++) {
    const { address } = await fixture.replica((_incoming, response) => setTimeout(() => response.end(), 20));
    addresses.push(address);
  }
  fixture.control.put(serviceRoute(addresses, { capacity: 3 }));
  await Promise.all(waiting.map(({ answer }) => answer));
  await untilInFlight(fixture.control, 0);
  const { address } = await fixture.replica((_incoming, response) => response.end());
  fixture.control.put(serviceRoute([address]));
  await call(port, { headers: HOST }).answer;
  await expect
    .poll(() => fixture.control.reports.at(-1)?.revisions[0])
    .toMatchObject({ requests: 7, inFlight: 0 });
  const told = fixture.control.reports.flatMap(({ coldAnswers }) =>
    coldAnswers.map(({ endpointId }) => endpointId),
  );
  expect(told.sort()).toEqual(addresses.map((one) => `replica ${one}`).sort());
});

test('reports come each 100 ms while there is traffic, end with zeros, and then there is silence', async () => {
  const { address } = await fixture.replica((_incoming, response) => setTimeout(() => response.end(), 450));
  fixture.control.put(serviceRoute([address]));
  const { port } = await fixture.start();
  await call(port, { headers: HOST }).answer;
  await untilInFlight(fixture.control, 0);
  const { reports } = fixture.control;
  expect(reports.length).toBeGreaterThanOrEqual(4);
  expect(reports.map(({ sequence }) => sequence)).toEqual(reports.map((_, index) => index));
  const last = reports.at(-1)?.revisions[0];
  expect(last).toMatchObject({ requests: 1, queued: 0 });
  expect(last?.requestSeconds).toBeGreaterThan(0.44);
  expect(last?.requestSeconds).toBeLessThan(2);
  const count = reports.length;
  await new Promise((resolve) => setTimeout(resolve, 250));
  expect(reports).toHaveLength(count);
});

test('many requests of one turn that find no room are one report', async () => {
  fixture.control.put(serviceRoute([]));
  const { port } = await fixture.start();
  const socket = createConnection(port, '127.0.0.1');
  socket.on('error', () => undefined);
  socket.write('GET / HTTP/1.1\r\nhost: ocr.demo\r\n\r\n'.repeat(50));
  const report = await fixture.control.report(({ revisions }) => revisions.some(({ queued }) => queued > 0));
  expect(report).toMatchObject({ sequence: 0, revisions: [{ queued: 50, requests: 50 }] });
  socket.destroy();
});
