import { once } from 'node:events';
import { type IncomingHttpHeaders, request } from 'node:http';
import { type ClientHttp2Session, connect } from 'node:http2';
import { createConnection, type Socket } from 'node:net';
import { pino } from 'pino';
import { openServer, type RuntimeServer, type ServerOptions } from './server.ts';

/** Clients for the tests of the serving port: plain HTTP/1.1 and HTTP/2, and a socket for what no client would send. */
export interface Reply {
  status: number;
  headers: IncomingHttpHeaders;
  body: Buffer;
  json(): Record<string, unknown>;
}

interface Call {
  method?: string;
  headers?: Record<string, string>;
  body?: string | Buffer;
}

export function openTestServer(
  options: Partial<ServerOptions> & Pick<ServerOptions, 'engine'>,
): Promise<RuntimeServer> {
  return openServer({ host: '127.0.0.1', port: 0, logger: pino({ level: 'silent' }), ...options });
}

function reply(status: number, headers: IncomingHttpHeaders, chunks: readonly Buffer[]): Reply {
  const body = Buffer.concat(chunks);
  return { status, headers, body, json: () => JSON.parse(body.toString('utf8')) as Record<string, unknown> };
}

/** One request on a connection of its own; POST when it has a body. */
export function call(port: number, path: string, { method, headers = {}, body }: Call = {}): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const sent = request(
      { port, path, method: method ?? (body === undefined ? 'GET' : 'POST'), headers, agent: false },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('end', () => resolve(reply(response.statusCode ?? 0, response.headers, chunks)));
        response.on('error', reject);
      },
    );
    sent.on('error', reject);
    sent.end(body);
  });
}

/** The same over HTTP/2, on a session that is closed afterwards unless one is given. */
export async function callHttp2(
  port: number,
  path: string,
  { method, headers = {}, body }: Call = {},
  given?: ClientHttp2Session,
): Promise<Reply> {
  const session = given ?? connect(`http://127.0.0.1:${port}`);
  const stream = session.request({
    ':path': path,
    ':method': method ?? (body === undefined ? 'GET' : 'POST'),
    ...headers,
  });
  stream.end(body);
  const [head] = (await once(stream, 'response')) as [IncomingHttpHeaders & { ':status': number }];
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  if (given === undefined) session.close();
  return reply(head[':status'], head, chunks);
}

export async function connectRaw(port: number): Promise<Socket> {
  const socket = createConnection({ port, host: '127.0.0.1', noDelay: true });
  await once(socket, 'connect');
  return socket;
}

/** Everything that the server says until it ends the connection. */
export async function readToEnd(socket: Socket): Promise<string> {
  let text = '';
  socket.on('error', () => undefined);
  socket.on('data', (chunk: Buffer) => {
    text += chunk.toString('latin1');
  });
  if (!socket.closed) await once(socket, 'close').catch(() => undefined);
  return text;
}

/** Sends what may not be HTTP and gives the answer until the connection ends. */
export async function sendRaw(port: number, bytes: string | Buffer): Promise<string> {
  const socket = await connectRaw(port);
  const answer = readToEnd(socket);
  socket.write(bytes);
  return answer;
}

/** An inference request for the model `sum` as JSON. */
export function sumBody(a: readonly number[], b: readonly number[], more: object = {}): string {
  const tensor = (name: string, data: readonly number[]): object => ({
    name,
    shape: [1, data.length],
    datatype: 'FP32',
    data,
  });
  return JSON.stringify({ inputs: [tensor('a', a), tensor('b', b)], ...more });
}

/** A promise and the function that fulfils it. */
export function gate(): { opened: Promise<void>; open: () => void } {
  let open = (): void => undefined;
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}
