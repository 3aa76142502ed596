import { once } from 'node:events';
import { createServer as createHttp1Server, request } from 'node:http';
import { connect as connectHttp2, createServer as createHttp2Server } from 'node:http2';
import { createConnection } from 'node:net';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openServingPort, type ServingPort } from './serving-port.ts';

let port: ServingPort;
beforeEach(async () => {
  const http1 = createHttp1Server((incoming, response) => {
    const chunks: Buffer[] = [];
    incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
    incoming.on('end', () => response.end(`h1 ${incoming.url} ${Buffer.concat(chunks).length}`));
  });
  const http2 = createHttp2Server((incoming, response) => {
    let bytes = 0;
    incoming.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
    });
    incoming.on('end', () => response.end(`h2 ${incoming.url} ${bytes}`));
  });
  port = await openServingPort({
    host: '127.0.0.1',
    port: 0,
    http1,
    http2,
    firstByteTimeoutMs: 200,
    maxConnections: 100,
  });
});
afterEach(() => port.destroy());

function http1Post(body: Buffer): Promise<string> {
  return new Promise((resolve, reject) => {
    const call = request({ port: port.port, method: 'POST', path: '/one' }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        text += chunk;
      });
      response.on('end', () => resolve(text));
    });
    call.on('error', reject);
    call.end(body);
  });
}

test('HTTP/1.1 and HTTP/2 with prior knowledge are served on one port', async () => {
  expect(await http1Post(Buffer.alloc(3_000_000))).toBe('h1 /one 3000000');
  const session = connectHttp2(`http://127.0.0.1:${port.port}`);
  const stream = session.request({ ':path': '/two', ':method': 'POST' });
  stream.end(Buffer.alloc(500_000));
  stream.setEncoding('utf8');
  let text = '';
  for await (const chunk of stream) text += String(chunk);
  expect(text).toBe('h2 /two 500000');
  session.close();
});

test('a request that arrives byte by byte is put together', async () => {
  const socket = createConnection(port.port, '127.0.0.1');
  socket.setNoDelay(true);
  await once(socket, 'connect');
  for (const byte of 'PUT /slow HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\nconnection: close\r\n\r\nab') {
    socket.write(byte);
    await new Promise((resolve) => setImmediate(resolve));
  }
  let text = '';
  for await (const chunk of socket) text += String(chunk);
  expect(text).toContain('h1 /slow 2');
});

test('a client that connects and says nothing is let go', async () => {
  const socket = createConnection(port.port, '127.0.0.1');
  await once(socket, 'close');
  await expect.poll(() => port.connections.size).toBe(0);
});
