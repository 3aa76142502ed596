import { once } from 'node:events';
import { Agent, request as httpRequest, type IncomingMessage, type ServerResponse } from 'node:http';
import { connect } from 'node:http2';
import { createConnection } from 'node:net';
import { expect, test } from 'vitest';
import { serviceRoute } from './testing/control-server.ts';
import { untilInFlight, untilQueued, useFixture } from './testing/fixture.ts';
import { bodyOf, call } from './testing/replica.ts';

const fixture = useFixture();
const HOST = { host: 'ocr.demo' };

test('what is in flight and what is queued is answered before the activator ends', async () => {
  const held: ServerResponse[] = [];
  const { address } = await fixture.replica((_incoming, response) => held.push(response));
  fixture.control.put(serviceRoute([address], { capacity: 1 }));
  const activator = await fixture.start({ drainMs: 4_000 });
  const inFlight = call(activator.port, { headers: HOST });
  await untilInFlight(fixture.control, 1);
  const queued = call(activator.port, { headers: HOST });
  await untilQueued(fixture.control, 1);
  const stopped = activator.stop();
  expect((await call(activator.metricsPort ?? 0, { path: '/readyz' }).answer).status).toBe(503);
  await expect(call(activator.port, { headers: HOST }).answer).rejects.toMatchObject({
    code: 'ECONNREFUSED',
  });
  held.shift()?.end('first');
  expect(await inFlight.answer).toMatchObject({ body: 'first', headers: { connection: 'close' } });
  await expect.poll(() => held.length).toBe(1);
  held.shift()?.end('second');
  expect(await queued.answer).toMatchObject({ body: 'second' });
  await stopped;
  const last = fixture.control.reports.at(-1);
  expect(last?.revisions).toMatchObject([{ inFlight: 0, queued: 0, requests: 2 }]);
});

test('a kept connection may bring one more request, and is told that it was the last', async () => {
  const { address } = await fixture.replica((_incoming, response) => response.end('ok'));
  fixture.control.put(serviceRoute([address]));
  const activator = await fixture.start({ drainMs: 4_000, limits: { drainLingerMs: 300 } });
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const get = async (): Promise<IncomingMessage> => {
    const outgoing = httpRequest({ port: activator.port, headers: HOST, agent });
    outgoing.end();
    const [response] = (await once(outgoing, 'response')) as [IncomingMessage];
    await bodyOf(response);
    return response;
  };
  expect((await get()).headers.connection).toBe('keep-alive');
  const stopped = activator.stop();
  expect((await get()).headers.connection).toBe('close');
  await stopped;
  agent.destroy();
});

test('HTTP/2: GOAWAY, and the stream that is open is answered', async () => {
  let finish: (() => void) | undefined;
  const { address } = await fixture.replica(
    () => undefined,
    (stream) => {
      finish = () => {
        stream.respond({ ':status': 200 });
        stream.end('late');
      };
    },
  );
  fixture.control.put(serviceRoute([address]));
  const activator = await fixture.start({ drainMs: 4_000 });
  const session = connect(`http://127.0.0.1:${activator.port}`);
  const goaway = once(session, 'goaway');
  const stream = session.request({ ':path': '/', ':authority': 'ocr.demo' });
  await untilInFlight(fixture.control, 1);
  const stopped = activator.stop();
  await goaway;
  finish?.();
  expect((await bodyOf(stream)).toString()).toBe('late');
  await stopped;
});

test('what takes longer than the drain limit is cut off, and the activator ends', async () => {
  const { address } = await fixture.replica(() => undefined);
  fixture.control.put(serviceRoute([address]));
  const activator = await fixture.start({ drainMs: 100 });
  const endless = call(activator.port, { headers: HOST });
  const rejected = expect(endless.answer).rejects.toMatchObject({ code: 'ECONNRESET' });
  await untilInFlight(fixture.control, 1);
  await activator.stop();
  await rejected;
});

test('a thousand clients that connect and say nothing are let go, and others are served meanwhile', async () => {
  const { address } = await fixture.replica((_incoming, response) => response.end('served'));
  fixture.control.put(serviceRoute([address]));
  const activator = await fixture.start({ limits: { firstByteTimeoutMs: 500 } });
  const silent = Array.from({ length: 1_000 }, () => createConnection(activator.port, '127.0.0.1'));
  const closed = Promise.all(silent.map((socket) => once(socket, 'close')));
  expect((await call(activator.port, { headers: HOST }).answer).body).toBe('served');
  await closed;
});
