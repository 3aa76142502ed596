import { createServer } from 'node:net';
import { expect, test } from 'vitest';
import { serviceRoute } from './testing/control-server.ts';
import { useFixture } from './testing/fixture.ts';
import { bodyOf, call, type Replica } from './testing/replica.ts';

const fixture = useFixture();
const HOST = { host: 'ocr.demo' };
const INFER = { method: 'POST', path: '/v2/models/ocr/infer', headers: HOST };

/** An address where nobody listens. */
async function deadAddress(): Promise<string> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return `127.0.0.1:${port}`;
}

/** A replica that breaks the connection once it has read the request and `may` has resolved. */
async function breaking(may: Promise<unknown> = Promise.resolve()): Promise<Replica & { seen: number }> {
  const replica = await fixture.replica((incoming) => {
    counting.seen++;
    void Promise.all([bodyOf(incoming), may]).then(() => incoming.socket.destroy());
  });
  const counting = { ...replica, seen: 0 };
  return counting;
}

async function echo(): Promise<Replica> {
  return fixture.replica((incoming, response) => {
    void bodyOf(incoming).then((body) => response.end(`ok ${body.length}`));
  });
}

test('a replica that can’t be reached: another one answers, whatever the method and size', async () => {
  const dead = await deadAddress();
  const { address } = await echo();
  fixture.control.put(serviceRoute([dead, address]));
  const { port } = await fixture.start();
  for (const size of [0, 10, 500_000]) {
    const calls = Array.from({ length: 6 }, () => {
      return call(port, { method: 'POST', headers: HOST, body: Buffer.alloc(size) }).answer;
    });
    for (const answer of await Promise.all(calls))
      expect(answer).toMatchObject({ status: 200, body: `ok ${size}` });
  }
  const report = await fixture.control.report(({ suspects }) => suspects.length > 0);
  expect(report.suspects).toMatchObject([
    { endpointId: expect.stringContaining(dead), reason: 'ECONNREFUSED' },
  ]);
});

test('no replica can be reached for now: the request waits for one that can', async () => {
  const dead = await deadAddress();
  fixture.control.put(serviceRoute([dead]));
  const { port } = await fixture.start();
  const waiting = call(port, { method: 'POST', headers: HOST, body: 'abc' });
  await fixture.control.report(({ suspects }) => suspects.length > 0);
  const { address } = await echo();
  fixture.control.put(serviceRoute([address]));
  expect(await waiting.answer).toMatchObject({ status: 200, body: 'ok 3' });
});

test('the only replica can’t be reached for long: 502', async () => {
  fixture.control.put(serviceRoute([await deadAddress()]));
  const { port } = await fixture.start();
  const answer = await call(port, { headers: HOST }).answer;
  expect(answer).toMatchObject({ status: 502, headers: { 'pilotlight-error': 'replica-failed' } });
  expect(answer.body).toContain('ECONNREFUSED');
});

test('killed after the request was sent: an inference call goes to another replica, once', async () => {
  const gate = Promise.withResolvers<void>();
  const [one, other] = [await breaking(gate.promise), await echo()];
  fixture.control.put(serviceRoute([one.address]));
  const activator = await fixture.start();
  const answer = call(activator.port, { ...INFER, body: 'abc' }).answer;
  await expect.poll(() => one.seen).toBe(1);
  const routesNumber = async (): Promise<string | undefined> =>
    /^pilotlight_activator_routes_number(?:\{[^}]*\})? (\d+)/m.exec(await fixture.metrics(activator))?.[1];
  const before = await routesNumber();
  expect(before).toBeDefined();
  fixture.control.put(serviceRoute([one.address, other.address]));
  await expect.poll(routesNumber).not.toBe(before);
  gate.resolve();
  // The breaker of the broken one is open, so the second attempt goes to the other.
  expect(await answer).toMatchObject({ status: 200, body: 'ok 3' });
});

test('killed after the request was sent: an inference call that breaks twice is 502', async () => {
  const replicas = [await breaking(), await breaking(), await breaking()];
  fixture.control.put(serviceRoute(replicas.map(({ address }) => address)));
  const { port } = await fixture.start();
  const answer = await call(port, { ...INFER, body: 'abc' }).answer;
  expect(answer).toMatchObject({ status: 502, headers: { 'pilotlight-error': 'replica-failed' } });
  expect(replicas.reduce((sum, { seen }) => sum + seen, 0)).toBe(2);
});

test('killed after the request was sent: another call is not sent twice, unless the service opted in', async () => {
  const one = await breaking();
  fixture.control.put(serviceRoute([one.address]));
  const { port } = await fixture.start();
  const post = { method: 'POST', path: '/orders', headers: HOST, body: 'abc' };
  expect(await call(port, post).answer).toMatchObject({ status: 502 });
  expect(one.seen).toBe(1);
  fixture.control.put(serviceRoute([one.address], { retryAll: true }));
  await fixture.control.report(({ suspects }) => suspects.length > 0);
  await expect
    .poll(async () => {
      const before = one.seen;
      await call(port, post).answer;
      return one.seen - before;
    })
    .toBe(2);
});

test('killed after the request was sent: a body over 64 KiB is not held, so it is 502', async () => {
  const one = await breaking();
  fixture.control.put(serviceRoute([one.address]));
  const { port } = await fixture.start();
  const answer = await call(port, { ...INFER, body: Buffer.alloc(70_000) }).answer;
  expect(answer).toMatchObject({ status: 502 });
  expect(one.seen).toBe(1);
});

test('killed after the first byte of the answer: the client sees it cut off, and no retry', async () => {
  let seen = 0;
  const { address } = await fixture.replica((incoming, response) => {
    seen++;
    response.writeHead(200, { 'content-length': 100 });
    response.write('half');
    setImmediate(() => incoming.socket.destroy());
  });
  fixture.control.put(serviceRoute([address]));
  const { port } = await fixture.start();
  await expect(call(port, { ...INFER, body: 'abc' }).answer).rejects.toMatchObject({ code: 'ECONNRESET' });
  expect(seen).toBe(1);
});

test('a replica that closes a kept connection under the request: once more on a fresh one', async () => {
  const sockets = new Map<unknown, number>();
  const { address } = await fixture.replica((incoming, response) => {
    const requests = (sockets.get(incoming.socket) ?? 0) + 1;
    sockets.set(incoming.socket, requests);
    // The second request of a connection meets a close, as after the server's own idle timeout.
    if (requests === 2) incoming.socket.destroy();
    else response.end('fresh');
  });
  fixture.control.put(serviceRoute([address]));
  const { port } = await fixture.start();
  for (let count = 0; count < 6; count++) {
    expect(await call(port, { path: '/v2/models/ocr', headers: HOST }).answer).toMatchObject({ status: 200 });
  }
});

test.each([
  ['421', 421, undefined],
  ['503 draining', 503, 'draining'],
  ['503 not-ready', 503, 'not-ready'],
])(
  'a runtime that says %s did nothing: another one answers, whatever the method and size',
  async (_name, status, code) => {
    let refusals = 0;
    const refusing = await fixture.replica((_incoming, response) => {
      refusals++;
      response.writeHead(status, code === undefined ? {} : { 'pilotlight-error': code }).end();
    });
    refusing.http1.on('checkContinue', (_incoming, response) => {
      refusals++;
      response
        .writeHead(status, {
          connection: 'close',
          ...(code === undefined ? {} : { 'pilotlight-error': code }),
        })
        .end();
    });
    const { address } = await echo();
    fixture.control.put(serviceRoute([refusing.address, address]));
    const { port } = await fixture.start();
    for (const size of [0, 10, 500_000]) {
      const calls = Array.from({ length: 6 }, () => {
        return call(port, { method: 'POST', path: '/orders', headers: HOST, body: Buffer.alloc(size) })
          .answer;
      });
      for (const answer of await Promise.all(calls))
        expect(answer).toMatchObject({ status: 200, body: `ok ${size}` });
    }
    expect(refusals).toBeGreaterThan(0);
  },
);

test('a 503 of a foreign container is its answer, and no refusal', async () => {
  const { address } = await fixture.replica((_incoming, response) => {
    response.writeHead(503, { 'pilotlight-error': 'draining' }).end('mine');
  });
  fixture.control.put(serviceRoute([address], { kind: 'http' }));
  const { port } = await fixture.start();
  expect(await call(port, { headers: HOST }).answer).toMatchObject({ status: 503, body: 'mine' });
});
