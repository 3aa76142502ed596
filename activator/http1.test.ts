import { once } from 'node:events';
import { request as httpRequest, type IncomingMessage, type ServerResponse } from 'node:http';
import { createConnection, type Socket } from 'node:net';
import { expect, test } from 'vitest';
import { WebSocket, WebSocketServer } from 'ws';
import { serviceRoute } from './testing/control-server.ts';
import { untilInFlight, untilQueued, useFixture } from './testing/fixture.ts';
import { bodyOf, call } from './testing/replica.ts';

const fixture = useFixture();
const HOST = { host: 'ocr.demo' };

async function warm(
  onRequest: (request: IncomingMessage, response: ServerResponse) => void,
): Promise<number> {
  const { address } = await fixture.replica(onRequest);
  fixture.control.put(serviceRoute([address]));
  return (await fixture.start()).port;
}

/** Sends bytes as they are and resolves to all that comes until the connection closes. */
async function raw(port: number, text: string): Promise<string> {
  const socket = createConnection(port, '127.0.0.1');
  socket.write(text);
  let answer = '';
  for await (const chunk of socket) answer += String(chunk);
  return answer;
}

test('a body is streamed in while the answer is streamed out', async () => {
  const port = await warm((incoming, response) => {
    response.writeHead(200, { 'content-type': 'text/plain' });
    incoming.on('data', (chunk: Buffer) => response.write(`got ${chunk.toString()};`));
    incoming.on('end', () => response.end('over'));
  });
  const outgoing = httpRequest({ port, method: 'POST', headers: HOST, agent: false });
  outgoing.write('one');
  const [response] = (await once(outgoing, 'response')) as [IncomingMessage];
  const [first] = (await once(response, 'data')) as [Buffer];
  expect(first.toString()).toBe('got one;');
  outgoing.write('two');
  const [second] = (await once(response, 'data')) as [Buffer];
  expect(second.toString()).toBe('got two;');
  outgoing.end();
  expect((await bodyOf(response)).toString()).toBe('over');
});

test('server-sent events reach the client one by one', async () => {
  let next: (() => void) | undefined;
  const port = await warm((_incoming, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.flushHeaders();
    let sent = 0;
    next = () => {
      response.write(`data: ${++sent}\n\n`);
      if (sent === 3) response.end();
    };
  });
  const outgoing = httpRequest({ port, headers: HOST, agent: false });
  outgoing.end();
  const [response] = (await once(outgoing, 'response')) as [IncomingMessage];
  expect(response.headers['content-type']).toBe('text/event-stream');
  for (const number of [1, 2, 3]) {
    next?.();
    const [event] = (await once(response, 'data')) as [Buffer];
    expect(event.toString()).toBe(`data: ${number}\n\n`);
  }
});

test.each([0, 1, 1000, 64 * 1024, 64 * 1024 + 1, 3_000_000])(
  'a body of %i bytes arrives whole, with a length and in chunks',
  async (size) => {
    const port = await warm((incoming, response) => {
      void bodyOf(incoming).then((body) => response.end(body));
    });
    const body = Buffer.alloc(size, 'abcdefgh');
    const withLength = await call(port, { method: 'POST', headers: HOST, body }).answer;
    expect(Buffer.from(withLength.body).equals(body)).toBe(true);
    const chunked = { ...HOST, 'transfer-encoding': 'chunked' };
    const inChunks = await call(port, { method: 'POST', headers: chunked, body }).answer;
    expect(Buffer.from(inChunks.body).equals(body)).toBe(true);
  },
);

test('an answer without a body keeps its length header, and the connection goes on', async () => {
  const port = await warm((incoming, response) => {
    if (incoming.method === 'HEAD') response.writeHead(200, { 'content-length': 42 }).end();
    else if (incoming.url === '/204') response.writeHead(204).end();
    else response.writeHead(304, { etag: '"a"' }).end();
  });
  const head = await call(port, { method: 'HEAD', headers: HOST }).answer;
  expect(head.headers['content-length']).toBe('42');
  expect(await call(port, { path: '/204', headers: HOST }).answer).toMatchObject({ status: 204, body: '' });
  expect(await call(port, { path: '/304', headers: HOST }).answer).toMatchObject({ status: 304, body: '' });
});

test('trailers of a chunked answer are passed on', async () => {
  const port = await warm((_incoming, response) => {
    response.writeHead(200, { trailer: 'checksum' });
    response.write('body');
    response.addTrailers({ checksum: 'abc' });
    response.end();
  });
  const outgoing = httpRequest({ port, headers: HOST, agent: false });
  outgoing.end();
  const [response] = (await once(outgoing, 'response')) as [IncomingMessage];
  await bodyOf(response);
  expect(response.trailers).toEqual({ checksum: 'abc' });
});

test('the path prefix is taken off and the query stays; a model name finds its service', async () => {
  const port = await warm((incoming, response) => response.end(incoming.url));
  const paths = {
    '/demo/ocr': '/',
    '/demo/ocr/': '/',
    '/demo/ocr/v2?x=1': '/v2?x=1',
    '/demo/ocr?y=2': '/?y=2',
  };
  for (const [path, forwarded] of Object.entries(paths)) {
    expect((await call(port, { path }).answer).body).toBe(forwarded);
  }
  expect((await call(port, { path: '/v2/models/ocr/infer' }).answer).body).toBe('/v2/models/ocr/infer');
  expect((await call(port, { path: '/', headers: { host: 'OCR.Demo.:80' } }).answer).body).toBe('/');
  expect(
    await raw(port, 'GET http://ocr.demo/abs?q HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n'),
  ).toContain('/abs?q');
});

test('hop-by-hop headers end here, forged ones too; the others and X-Forwarded pass', async () => {
  const port = await warm((incoming, response) => {
    response.writeHead(200, { connection: 'keep-alive, x-inner', 'x-inner': '1', 'x-outer': '2' });
    response.end(JSON.stringify(incoming.headers));
  });
  const answer = await call(port, {
    headers: {
      ...HOST,
      connection: 'close, x-secret',
      'x-secret': 'a',
      'x-kept': 'b',
      te: 'trailers',
      'proxy-authorization': 'c',
      'pilotlight-service-uid': 'forged',
      'pilotlight-proxied-by': 'forged',
      'x-forwarded-for': '10.0.0.1',
      cookie: 'd=e',
    },
  }).answer;
  const seen = answer.json() as Record<string, string>;
  expect(seen).toMatchObject({
    host: 'ocr.demo',
    'x-kept': 'b',
    cookie: 'd=e',
    'x-forwarded-for': '10.0.0.1, 127.0.0.1',
    'x-forwarded-proto': 'http',
    'x-forwarded-host': 'ocr.demo',
    'pilotlight-service-uid': 'uid-ocr',
    'pilotlight-revision': 'ocr-1',
  });
  expect(seen['pilotlight-proxied-by']).toMatch(/^[\da-f-]{36}$/);
  for (const name of ['x-secret', 'te', 'proxy-authorization', 'keep-alive'])
    expect(seen).not.toHaveProperty(name);
  expect(answer.headers).toMatchObject({ 'x-outer': '2' });
  expect(answer.headers).not.toHaveProperty('x-inner');
});

test('100 Continue is sent when a replica takes the request, not before', async () => {
  fixture.control.put(serviceRoute([]));
  const { port } = await fixture.start();
  const outgoing = httpRequest({
    port,
    method: 'POST',
    agent: false,
    headers: { ...HOST, expect: '100-continue', 'content-length': 4 },
  });
  let continued = false;
  outgoing.on('continue', () => {
    continued = true;
    outgoing.end('body');
  });
  outgoing.flushHeaders();
  await untilQueued(fixture.control, 1);
  expect(continued).toBe(false);
  const { address } = await fixture.replica((incoming, response) => {
    void bodyOf(incoming).then((body) => response.end(`${body.toString()} ${incoming.headers.expect}`));
  });
  fixture.control.put(serviceRoute([address]));
  const [response] = (await once(outgoing, 'response')) as [IncomingMessage];
  expect((await bodyOf(response)).toString()).toBe('body undefined');
  expect(continued).toBe(true);
});

test('a client that trickles a small body does not keep the only permit from the next one', async () => {
  const bodies: string[] = [];
  const { address } = await fixture.replica((incoming, response) => {
    void bodyOf(incoming).then((body) => {
      bodies.push(body.toString());
      response.end(body);
    });
  });
  fixture.control.put(serviceRoute([address], { capacity: 1 }));
  const { port } = await fixture.start();
  const slow = httpRequest({
    port,
    method: 'POST',
    agent: false,
    headers: { ...HOST, 'content-length': 8 },
  });
  slow.write('slow');
  await untilQueued(fixture.control, 1);
  for (const body of ['one', 'two']) {
    expect((await call(port, { method: 'POST', headers: HOST, body }).answer).body).toBe(body);
  }
  slow.end('ness');
  const [response] = (await once(slow, 'response')) as [IncomingMessage];
  expect((await bodyOf(response)).toString()).toBe('slowness');
  expect(bodies).toEqual(['one', 'two', 'slowness']);
});

test('a client that asks before it sends does not keep the only permit either', async () => {
  const { address } = await fixture.replica((incoming, response) => {
    void bodyOf(incoming).then((body) => response.end(body));
  });
  fixture.control.put(serviceRoute([address], { capacity: 1 }));
  const { port } = await fixture.start();
  const asking = httpRequest({
    port,
    method: 'POST',
    agent: false,
    headers: { ...HOST, expect: '100-continue', 'content-length': 4 },
  });
  const continued = once(asking, 'continue');
  asking.flushHeaders();
  await continued;
  expect((await call(port, { method: 'POST', headers: HOST, body: 'one' }).answer).body).toBe('one');
  asking.end('body');
  const [response] = (await once(asking, 'response')) as [IncomingMessage];
  expect((await bodyOf(response)).toString()).toBe('body');
});

test('a large body is offered to a runtime first, so that a refusal costs nothing', async () => {
  const expectations: unknown[] = [];
  const replica = await fixture.replica(() => undefined);
  replica.http1.on('checkContinue', (incoming: IncomingMessage, response: ServerResponse) => {
    expectations.push(incoming.headers.expect);
    response.writeContinue();
    void bodyOf(incoming).then((body) => response.end(String(body.length)));
  });
  fixture.control.put(serviceRoute([replica.address]));
  const { port } = await fixture.start();
  const body = Buffer.alloc(200_000);
  expect((await call(port, { method: 'POST', headers: HOST, body }).answer).body).toBe('200000');
  expect(expectations).toEqual(['100-continue']);
});

test('a client that leaves the queue frees its place at once', async () => {
  fixture.control.put(serviceRoute([], { queue: { maxRequests: 1, maxBytes: 1000 } }));
  const { port } = await fixture.start();
  const first = call(port, { headers: HOST });
  await untilQueued(fixture.control, 1);
  expect(await call(port, { headers: HOST }).answer).toMatchObject({ status: 503 });
  first.leave();
  await expect(first.answer).rejects.toThrow();
  await fixture.control.report(
    ({ sequence, revisions }) => sequence > 0 && revisions.some(({ queued }) => queued === 0),
  );
  const second = call(port, { headers: HOST });
  await expect.poll(() => fixture.control.reports.at(-1)?.revisions[0]?.queued).toBe(1);
  second.leave();
  await expect(second.answer).rejects.toThrow();
});

test('a client that leaves a replica aborts the request there and gives the permit back', async () => {
  let aborted = 0;
  const { address } = await fixture.replica((incoming, response) => {
    if (incoming.url === '/quick') response.end('quick');
    else response.on('close', () => aborted++);
  });
  fixture.control.put(serviceRoute([address], { capacity: 1 }));
  const { port } = await fixture.start();
  const slow = call(port, { headers: HOST });
  await untilInFlight(fixture.control, 1);
  slow.leave();
  await expect(slow.answer).rejects.toThrow();
  expect((await call(port, { path: '/quick', headers: HOST }).answer).body).toBe('quick');
  expect(aborted).toBe(1);
});

test('a WebSocket passes through, early data included, and holds a permit while it is open', async () => {
  const { address, http1 } = await fixture.replica((_incoming, response) => response.end());
  const server = new WebSocketServer({ server: http1 });
  server.on('connection', (socket) => {
    socket.send('hello');
    socket.on('message', (data: Buffer) => socket.send(`echo ${data.toString()}`));
  });
  fixture.control.put(serviceRoute([address]));
  const { port } = await fixture.start();
  const socket = new WebSocket(`ws://127.0.0.1:${port}/demo/ocr/chat`);
  const messages: string[] = [];
  socket.on('message', (data: Buffer) => messages.push(data.toString()));
  await once(socket, 'open');
  socket.send('a'.repeat(100_000));
  await expect.poll(() => messages.length).toBe(2);
  expect(messages[0]).toBe('hello');
  expect(messages[1]).toHaveLength(100_005);
  await untilInFlight(fixture.control, 1);
  socket.close();
  await once(socket, 'close');
  await untilInFlight(fixture.control, 0);
});

test('an upgrade that the replica refuses is answered with its refusal', async () => {
  const port = await warm((_incoming, response) => response.writeHead(403).end('no sockets here'));
  const answer = await raw(
    port,
    'GET / HTTP/1.1\r\nhost: ocr.demo\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n',
  );
  expect(answer).toMatch(/^HTTP\/1\.1 403 /);
  expect(answer).toContain('no sockets here');
});

test('an offer of h2c is left aside', async () => {
  const port = await warm((_incoming, response) => response.end('plain'));
  const headers = {
    ...HOST,
    connection: 'upgrade, http2-settings',
    upgrade: 'h2c',
    'http2-settings': 'AAMAAABk',
  };
  expect(await call(port, { headers }).answer).toMatchObject({ status: 200, body: 'plain' });
});

test.each([
  [
    'both a length and chunks',
    'POST / HTTP/1.1\r\nhost: ocr.demo\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n',
  ],
  [
    'two lengths',
    'POST / HTTP/1.1\r\nhost: ocr.demo\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nabcdef',
  ],
  [
    'another transfer coding',
    'POST / HTTP/1.1\r\nhost: ocr.demo\r\nconnection: close\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n',
  ],
  [
    'a hidden transfer coding',
    'POST / HTTP/1.1\r\nhost: ocr.demo\r\ntransfer-encoding : chunked\r\n\r\n0\r\n\r\n',
  ],
  ['a bad chunk size', 'POST / HTTP/1.1\r\nhost: ocr.demo\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n'],
  ['two hosts', 'GET / HTTP/1.1\r\nhost: ocr.demo\r\nhost: other\r\nconnection: close\r\n\r\n'],
  ['no host', 'GET / HTTP/1.1\r\nconnection: close\r\n\r\n'],
  ['a folded header', 'GET / HTTP/1.1\r\nhost: ocr.demo\r\nx: a\r\n b: c\r\n\r\n'],
])('a request with %s is refused and never forwarded', async (_name, text) => {
  let seen = 0;
  const port = await warm((incoming, response) => {
    if (incoming.url !== '/') return;
    incoming.on('end', () => seen++);
    incoming.resume();
    response.end();
  });
  const answer = await raw(port, text);
  expect(answer).toMatch(/^HTTP\/1\.1 400 /);
  expect(seen).toBe(0);
});

test('what follows a whole request on the connection is another request, not part of the first', async () => {
  const bodies: string[] = [];
  const port = await warm((incoming, response) => {
    void bodyOf(incoming).then((body) => {
      bodies.push(`${incoming.url} ${body.toString()}`);
      response.end('ok');
    });
  });
  const one = 'POST /a HTTP/1.1\r\nhost: ocr.demo\r\ncontent-length: 3\r\n\r\nabc';
  const two =
    'POST /b HTTP/1.1\r\nhost: ocr.demo\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n3\r\nxyz\r\n0\r\n\r\n';
  const answer = await raw(port, one + two);
  expect(answer.match(/HTTP\/1\.1 200/g)).toHaveLength(2);
  expect(bodies.sort()).toEqual(['/a abc', '/b xyz']);
});

test('a client that brings one byte a second is cut off with 408 and its permit is free again', async () => {
  const { address } = await fixture.replica((incoming, response) => {
    void bodyOf(incoming).then(
      () => response.end('done'),
      () => undefined,
    );
  });
  fixture.control.put(serviceRoute([address], { capacity: 1 }));
  const { port } = await fixture.start({ limits: { bodyWindowMs: 100, bodyWindowBytes: 1000 } });
  for (const length of [1_000, 1_000_000]) {
    const socket = createConnection(port, '127.0.0.1');
    socket.on('error', () => undefined);
    socket.write(`POST / HTTP/1.1\r\nhost: ocr.demo\r\ncontent-length: ${length}\r\n\r\n`);
    const drip = setInterval(() => socket.write('x'), 20);
    const [answer] = (await once(socket, 'data')) as [Buffer];
    clearInterval(drip);
    expect(answer.toString()).toMatch(/^HTTP\/1\.1 408 [^]*pilotlight-error: body-timeout/);
    socket.destroy();
  }
  expect((await call(port, { headers: HOST, method: 'POST', body: 'a' }).answer).body).toBe('done');
});

test('a client that takes nothing of its answer is cut off and its permit is free again', async () => {
  const { address } = await fixture.replica((incoming, response) => {
    if (incoming.url === '/quick') response.end('quick');
    else response.end(Buffer.alloc(30_000_000));
  });
  fixture.control.put(serviceRoute([address], { capacity: 1 }));
  const { port } = await fixture.start({ limits: { stallMs: 100 } });
  const socket: Socket = createConnection(port, '127.0.0.1');
  socket.on('error', () => undefined);
  socket.write('GET / HTTP/1.1\r\nhost: ocr.demo\r\n\r\n');
  socket.pause();
  await untilInFlight(fixture.control, 1);
  expect((await call(port, { path: '/quick', headers: HOST }).answer).body).toBe('quick');
  socket.destroy();
});

test('a head that doesn’t come to its end is given up', async () => {
  const { port } = await fixture.start({ limits: { headersTimeoutMs: 100 } });
  const answer = await raw(port, 'GET / HTTP/1.1\r\nhost: ');
  expect(answer).toMatch(/^HTTP\/1\.1 408 /);
});

test('the door says what it is, and tells look-alike names for an unknown service', async () => {
  fixture.control.put(serviceRoute([]));
  const { port } = await fixture.start();
  expect((await call(port).answer).json()).toMatchObject({ name: 'pilotlight-activator' });
  expect((await call(port, { path: '/v2/health/live' }).answer).json()).toEqual({ live: true });
  const unknown = await call(port, { path: '/demo/ocrr/v2' }).answer;
  expect(unknown).toMatchObject({ status: 404, headers: { 'pilotlight-error': 'unknown-service' } });
  expect(unknown.json()).toEqual({ error: expect.stringContaining('did you mean "ocr"?') });
});
