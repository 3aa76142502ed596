import type { Server as Http1Server } from 'node:http';
import {
  createServer as createHttp1,
  type IncomingMessage,
  type RequestOptions,
  request,
  type ServerResponse,
} from 'node:http';
import { createServer as createHttp2, type Http2Server, type ServerHttp2Stream } from 'node:http2';
import { openServingPort, type ServingPort } from '../../process/serving-port.ts';

export interface Replica {
  address: string;
  http1: Http1Server;
  http2: Http2Server;
  port: ServingPort;
  /** Breaks every connection and stops listening, as a killed process does. */
  kill(): Promise<void>;
}

/** A replica with a real serving port for both protocols; what it answers is up to the test. */
export async function startReplica(
  onRequest: (request: IncomingMessage, response: ServerResponse) => void,
  onStream: (stream: ServerHttp2Stream, headers: Record<string, unknown>) => void = (stream) => {
    stream.respond({ ':status': 200 });
    stream.end('h2');
  },
): Promise<Replica> {
  const http1 = createHttp1(onRequest);
  const http2 = createHttp2();
  http2.on('session', (session) => session.on('error', () => undefined));
  http2.on('stream', (stream, headers) => {
    stream.on('error', () => undefined);
    onStream(stream as ServerHttp2Stream, headers);
  });
  const port = await openServingPort({
    host: '127.0.0.1',
    port: 0,
    http1,
    http2,
    firstByteTimeoutMs: 10_000,
    maxConnections: 10_000,
  });
  return { address: `127.0.0.1:${port.port}`, http1, http2, port, kill: () => port.destroy() };
}

export interface Answer {
  status: number;
  headers: IncomingMessage['headers'];
  body: string;
  json(): unknown;
}

export interface Call {
  answer: Promise<Answer>;
  /** The client goes away. */
  leave(): void;
}

/** One HTTP/1.1 request; the answer rejects when it is cut off. */
export function call(port: number, options: RequestOptions & { body?: string | Buffer } = {}): Call {
  const { body, ...rest } = options;
  const outgoing = request({ host: '127.0.0.1', port, agent: false, path: '/', ...rest });
  const answer = new Promise<Answer>((resolve, reject) => {
    outgoing.on('error', reject);
    outgoing.on('response', (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () => {
        const text = Buffer.concat(chunks).toString('utf8');
        resolve({
          status: response.statusCode ?? 0,
          headers: response.headers,
          body: text,
          json: () => JSON.parse(text) as unknown,
        });
      });
    });
  });
  // A test that makes a client leave may not look at its answer any more.
  answer.catch(() => undefined);
  outgoing.end(body);
  return { answer, leave: () => outgoing.destroy() };
}

/** A whole body of a request. */
export async function bodyOf(incoming: AsyncIterable<Buffer>): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of incoming) chunks.push(chunk);
  return Buffer.concat(chunks);
}
