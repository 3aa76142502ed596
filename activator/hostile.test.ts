import { connect as connectHttp2 } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { createServer, type Server } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { serviceRoute } from './testing/control-server.ts';
import { useFixture } from './testing/fixture.ts';
import { rawHttp2 } from './testing/raw-http2.ts';
import { call } from './testing/replica.ts';

const fixture = useFixture();
const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) server.close();
});

const GET = [
  [':method', 'GET'],
  [':scheme', 'http'],
  [':path', '/v2/models/ocr'],
  [':authority', 'ocr.demo'],
] as const;

/** An activator with one warm replica that speaks both protocols and answers with 200. */
async function warm(): Promise<number> {
  const replica = await fixture.replica((_request, response) => response.end('h1'));
  fixture.control.put(serviceRoute([replica.address]));
  return (await fixture.start()).port;
}

/** An activator in front of a server that answers each request with these bytes. */
async function answering(answer: string, later = ''): Promise<number> {
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.on('data', () => {
      socket.write(Buffer.from(answer, 'latin1'));
      if (later !== '') setImmediate(() => socket.write(Buffer.from(later, 'latin1')));
    });
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  fixture.control.put(serviceRoute([address], { kind: 'http' }));
  return (await fixture.start()).port;
}

/** Status of a GET over HTTP/2; 0 for a stream that was reset. */
function get(port: number): Promise<number> {
  return new Promise((resolve) => {
    const session = connectHttp2(`http://127.0.0.1:${port}`);
    session.on('error', () => undefined);
    const stream = session.request({ ':path': '/x', ':authority': 'ocr.demo' });
    let status = 0;
    stream.on('response', (headers) => {
      status = headers[':status'] ?? 0;
    });
    stream.on('error', () => undefined);
    stream.on('close', () => {
      session.destroy();
      resolve(status);
    });
    stream.resume();
    stream.end();
  });
}

describe('a client', () => {
  test('that repeats a field which may stand once gets 400, and others are served on', async () => {
    const port = await warm();
    const names = ['authorization', 'content-type', 'etag', 'user-agent', 'access-control-request-method'];
    for (const name of names) {
      const fields = [...GET, [name, 'a'], [name, 'b']] as const;
      expect(await rawHttp2(port, fields), name).toEqual({ status: 400 });
    }
    expect(await rawHttp2(port, [...GET, ['cookie', 'a=1'], ['cookie', 'b=2']])).toEqual({ status: 200 });
  });

  test('that asks for a tunnel gets 400', async () => {
    const port = await warm();
    const fields = [
      [':method', 'CONNECT'],
      [':authority', 'ocr.demo:80'],
    ] as const;
    expect(await rawHttp2(port, fields)).toEqual({ status: 400 });
    expect(await rawHttp2(port, GET)).toEqual({ status: 200 });
  });

  test('of an unknown service gets the head of its refusal before the stream ends', async () => {
    const port = await warm();
    for (let n = 0; n < 20; n++) {
      const fields = [GET[0], GET[1], [':path', '/nope'], [':authority', 'nope.demo']] as const;
      expect(await rawHttp2(port, fields)).toEqual({ status: 404 });
    }
  });
});

describe('a container', () => {
  const OK = 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok';

  test.each([
    ['a status that is none', 'HTTP/1.1 999 X\r\ncontent-length: 0\r\n\r\n', ''],
    ['a control character in a value', 'HTTP/1.1 200 OK\r\nx: a\x01b\r\ncontent-length: 0\r\n\r\n', ''],
    ['a control character in its reason', 'HTTP/1.1 200 O\x01K\r\ncontent-length: 0\r\n\r\n', ''],
  ])('that answers with %s costs its caller 502 and nobody else anything', async (_what, answer, later) => {
    const port = await answering(answer, later);
    expect(await get(port)).toBe(502);
    expect((await call(port, { path: '/x', headers: { host: 'ocr.demo' } }).answer).status).toBe(502);
  });

  test.each([
    ['two equal lengths', 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\n', 'ok'],
    [
      'two types',
      'HTTP/1.1 200 OK\r\ncontent-type: a/b\r\ncontent-type: c/d\r\ncontent-length: 2\r\n\r\n',
      'ok',
    ],
    [
      'a trailer twice',
      'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n',
      '2\r\nok\r\n0\r\netag: a\r\netag: b\r\n\r\n',
    ],
    ['nothing odd', OK, ''],
  ])('that answers with %s is read as far as it makes sense', async (_what, answer, later) => {
    const port = await answering(answer, later);
    expect(await get(port)).toBe(200);
    const answered = await call(port, { path: '/x', headers: { host: 'ocr.demo' } }).answer;
    expect(answered).toMatchObject({ status: 200, body: 'ok' });
  });

  test('whose trailers are broken gets its caller an end, not a silence', async () => {
    const port = await answering(
      'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n',
      '2\r\nok\r\n0\r\nx:\x01\r\n\r\n',
    );
    const answer = call(port, { path: '/x', headers: { host: 'ocr.demo' } }).answer;
    await expect(answer).rejects.toThrow(/aborted|hang up|ECONNRESET|terminated/);
    await get(port);
  });
});
