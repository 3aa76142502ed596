import { once } from 'node:events';
import { createServer as createHttp1Server } from 'node:http';
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  constants,
  type ServerHttp2Stream,
} from 'node:http2';
import { afterEach, expect, test } from 'vitest';
import { serviceRoute } from './testing/control-server.ts';
import { untilInFlight, untilQueued, useFixture } from './testing/fixture.ts';
import { bodyOf } from './testing/replica.ts';

const fixture = useFixture();
const sessions: ClientHttp2Session[] = [];
afterEach(() => {
  for (const session of sessions.splice(0)) session.destroy();
});

function open(port: number): ClientHttp2Session {
  const session = connect(`http://127.0.0.1:${port}`);
  session.on('error', () => undefined);
  sessions.push(session);
  return session;
}

interface Result {
  headers: Record<string, unknown>;
  body: string;
  trailers: Record<string, unknown>;
  resetCode: number;
}

/** The whole of an answer, however it ends. */
async function resultOf(stream: ClientHttp2Stream): Promise<Result> {
  const result: Result = { headers: {}, body: '', trailers: {}, resetCode: 0 };
  stream.on('response', (headers) => {
    result.headers = headers;
  });
  stream.on('trailers', (trailers) => {
    result.trailers = trailers;
  });
  stream.setEncoding('utf8');
  stream.on('data', (chunk: string) => {
    result.body += chunk;
  });
  stream.on('error', () => undefined);
  await new Promise<void>((resolve) => stream.on('close', resolve));
  return { ...result, resetCode: stream.rstCode };
}

const GRPC = {
  ':method': 'POST',
  ':path': '/inference.GRPCInferenceService/ModelInfer',
  ':authority': 'ocr.demo',
  'content-type': 'application/grpc',
  te: 'trailers',
};

/** A replica that answers as a gRPC server does: what came, then its status in trailers. */
function grpcEcho(stream: ServerHttp2Stream, headers: Record<string, unknown>): void {
  void bodyOf(stream).then((body) => {
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0', 'grpc-message': 'fine' }));
    stream.respond(
      { ':status': 200, 'content-type': 'application/grpc', 'x-te': String(headers['te']) },
      { waitForTrailers: true },
    );
    stream.end(body);
  });
}

async function warm(
  onStream: (stream: ServerHttp2Stream, headers: Record<string, unknown>) => void,
): Promise<number> {
  const { address } = await fixture.replica((_incoming, response) => response.end('by http1'), onStream);
  fixture.control.put(serviceRoute([address]));
  return (await fixture.start()).port;
}

test('a gRPC call goes through with its trailers', async () => {
  const port = await warm(grpcEcho);
  const stream = open(port).request(GRPC);
  stream.end('message');
  const result = await resultOf(stream);
  expect(result).toMatchObject({
    headers: { ':status': 200, 'content-type': 'application/grpc', 'x-te': 'trailers' },
    body: 'message',
    trailers: { 'grpc-status': '0', 'grpc-message': 'fine' },
    resetCode: 0,
  });
  expect(result.headers['server-timing']).toMatch(/^queue;dur=/);
});

test('a cold gRPC call waits for its replica, and large messages pass both ways', async () => {
  fixture.control.put(serviceRoute([]));
  const { port } = await fixture.start();
  const stream = open(port).request(GRPC);
  const result = resultOf(stream);
  stream.end('x'.repeat(3_000_000));
  await untilQueued(fixture.control, 1);
  const { address } = await fixture.replica(() => undefined, grpcEcho);
  fixture.control.put(serviceRoute([address]));
  expect((await result).body).toHaveLength(3_000_000);
  expect((await result).trailers).toMatchObject({ 'grpc-status': '0' });
});

test('an answer of trailers alone stays one', async () => {
  const port = await warm((stream) => {
    stream.respond(
      { ':status': 200, 'content-type': 'application/grpc', 'grpc-status': '5' },
      { endStream: true },
    );
  });
  const stream = open(port).request(GRPC);
  stream.end('m');
  const [headers, flags] = (await once(stream, 'response')) as [Record<string, unknown>, number];
  expect(headers['grpc-status']).toBe('5');
  expect(flags & constants.NGHTTP2_FLAG_END_STREAM).toBeTruthy();
});

test('a stream in both directions flows message by message', async () => {
  const port = await warm((stream) => {
    stream.respond({ ':status': 200 });
    stream.on('data', (chunk: Buffer) => stream.write(`<${chunk.toString()}>`));
    stream.on('end', () => stream.end());
  });
  const stream = open(port).request(GRPC);
  await once(stream, 'response');
  for (const word of ['one', 'two', 'three']) {
    stream.write(word);
    const [chunk] = (await once(stream, 'data')) as [Buffer];
    expect(chunk.toString()).toBe(`<${word}>`);
  }
  stream.end();
  await once(stream, 'close');
});

test('a client that cancels is cancelled at the replica, and a queued one frees its place', async () => {
  const codes: number[] = [];
  const { address } = await fixture.replica(
    () => undefined,
    (stream) => stream.on('close', () => codes.push(stream.rstCode)),
  );
  fixture.control.put(serviceRoute([address], { capacity: 1 }));
  const { port } = await fixture.start();
  const session = open(port);
  const first = session.request(GRPC);
  await untilInFlight(fixture.control, 1);
  const second = session.request(GRPC);
  await untilQueued(fixture.control, 1);
  second.close(constants.NGHTTP2_CANCEL);
  await expect.poll(() => fixture.control.reports.at(-1)?.revisions[0]?.queued).toBe(0);
  first.close(constants.NGHTTP2_CANCEL);
  await expect.poll(() => codes).toEqual([constants.NGHTTP2_CANCEL]);
  await untilInFlight(fixture.control, 0);
});

test('a replica’s reset after the head reaches the client with its code', async () => {
  const port = await warm((stream) => {
    stream.respond({ ':status': 200 }, { waitForTrailers: true });
    stream.write('half');
    setTimeout(() => stream.close(constants.NGHTTP2_ENHANCE_YOUR_CALM), 20);
  });
  const stream = open(port).request(GRPC);
  stream.end();
  const result = await resultOf(stream);
  expect(result).toMatchObject({ body: 'half', resetCode: constants.NGHTTP2_ENHANCE_YOUR_CALM });
});

test('a replica that dies in the middle of a gRPC answer: trailers say UNAVAILABLE', async () => {
  const port = await warm((stream) => {
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' });
    stream.write('half');
    setTimeout(() => stream.session?.socket.destroy(), 20);
  });
  const stream = open(port).request(GRPC);
  stream.end();
  const result = await resultOf(stream);
  expect(result).toMatchObject({ body: 'half', trailers: { 'grpc-status': '14' } });
});

test('REFUSED_STREAM: another replica answers', async () => {
  let refusals = 0;
  const refusing = await fixture.replica(
    () => undefined,
    (stream) => {
      refusals++;
      stream.close(constants.NGHTTP2_REFUSED_STREAM);
    },
  );
  const good = await fixture.replica(() => undefined, grpcEcho);
  fixture.control.put(serviceRoute([refusing.address, good.address]));
  const { port } = await fixture.start();
  const session = open(port);
  const results = await Promise.all(
    Array.from({ length: 6 }, () => {
      const stream = session.request({ ...GRPC, ':path': '/orders.Orders/Place' });
      const result = resultOf(stream);
      stream.end('m');
      return result;
    }),
  );
  for (const result of results) expect(result.trailers).toMatchObject({ 'grpc-status': '0' });
  expect(refusals).toBeGreaterThan(0);
});

test('GOAWAY: what the replica did not look at goes elsewhere, and later calls open a new connection', async () => {
  const connections = new Set<unknown>();
  const port = await warm((stream, headers) => {
    connections.add(stream.session);
    grpcEcho(stream, headers);
    if (connections.size === 1) stream.session?.close();
  });
  const session = open(port);
  for (let count = 0; count < 3; count++) {
    const stream = session.request(GRPC);
    stream.end('m');
    expect((await resultOf(stream)).trailers).toMatchObject({ 'grpc-status': '0' });
  }
  expect(connections.size).toBe(2);
});

test('a replica that can’t be reached or dies before it answers: the error is trailers only', async () => {
  const port = await warm((stream) => stream.session?.destroy());
  const stream = open(port).request({ ...GRPC, ':path': '/orders.Orders/Place' });
  stream.end('m');
  const result = await resultOf(stream);
  expect(result.headers).toMatchObject({
    ':status': 200,
    'grpc-status': '14',
    'content-type': 'application/grpc',
    'pilotlight-error': 'replica-failed',
  });
});

test.each([
  ['unknown service', { ':authority': 'nobody.demo' }, '5', 'unknown-service'],
  ['start timeout', {}, '4', 'start-timeout'],
])('%s: gRPC status %s', async (_name, changes, status, code) => {
  fixture.control.put(serviceRoute([], { startTimeoutMs: 50 }));
  const { port } = await fixture.start();
  const stream = open(port).request({ ...GRPC, ...changes });
  stream.end('m');
  const result = await resultOf(stream);
  expect(result.headers).toMatchObject({ 'grpc-status': status, 'pilotlight-error': code });
  expect(decodeURIComponent(String(result.headers['grpc-message']))).not.toBe('');
});

test('HTTP/2 without gRPC gets plain answers and errors', async () => {
  const port = await warm((stream, headers) => {
    stream.respond({ ':status': 201, 'x-path': String(headers[':path']) });
    stream.end('body');
  });
  const session = open(port);
  const good = session.request({ ':path': '/demo/ocr/a?b' });
  expect(await resultOf(good)).toMatchObject({ headers: { ':status': 201, 'x-path': '/a?b' }, body: 'body' });
  const bad = await resultOf(session.request({ ':path': '/nobody/here', ':authority': 'x' }));
  expect(bad.headers).toMatchObject({ ':status': 404, 'pilotlight-error': 'unknown-service' });
});

test('an HTTP/2 request to a container that speaks HTTP/1.1 only is carried by that', async () => {
  const upstream = createHttp1Server((incoming, response) => {
    void bodyOf(incoming).then((body) => {
      response.end(`${incoming.method} ${incoming.headers.host} ${body.toString()}`);
    });
  });
  await new Promise<void>((resolve) => upstream.listen(0, '127.0.0.1', resolve));
  const { port: upstreamPort } = upstream.address() as { port: number };
  fixture.control.put(serviceRoute([`127.0.0.1:${upstreamPort}`], { kind: 'http' }));
  const { port } = await fixture.start();
  const session = open(port);
  for (let count = 0; count < 2; count++) {
    const stream = session.request({ ':path': '/a', ':method': 'POST', ':authority': 'ocr.demo' });
    stream.end('hello');
    expect(await resultOf(stream)).toMatchObject({
      headers: { ':status': 200 },
      body: 'POST ocr.demo hello',
    });
  }
  upstream.closeAllConnections();
  upstream.close();
});

test('a slow reader holds the replica back instead of filling memory', async () => {
  let written = 0;
  const port = await warm((stream) => {
    stream.respond({ ':status': 200 });
    const more = (): void => {
      for (let takes = true; takes && written < 400; written++) takes = stream.write(Buffer.alloc(100_000));
      if (written < 400) stream.once('drain', more);
      else stream.end();
    };
    more();
  });
  const stream = open(port).request({ ':path': '/', ':authority': 'ocr.demo' });
  await once(stream, 'response');
  const before = { written: -1 };
  await expect
    .poll(
      () => {
        const still = before.written === written;
        before.written = written;
        return still;
      },
      { interval: 200 },
    )
    .toBe(true);
  expect(written).toBeLessThan(100);
  let bytes = 0;
  for await (const chunk of stream) bytes += (chunk as Buffer).length;
  expect(bytes).toBeGreaterThanOrEqual(400 * 100_000);
});

test('100 calls at once on one connection are all answered', async () => {
  const port = await warm(grpcEcho);
  const session = open(port);
  const results = await Promise.all(
    Array.from({ length: 100 }, (_, index) => {
      const stream = session.request(GRPC);
      const result = resultOf(stream);
      stream.end(`m${index}`);
      return result;
    }),
  );
  expect(results.map(({ body }) => body)).toEqual(Array.from({ length: 100 }, (_, index) => `m${index}`));
});
