import type { Server as Http1Server } from 'node:http';
import type { Http2Server } from 'node:http2';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { boundReads } from './bounded-reads.ts';

/**
 * First bytes of an HTTP/2 connection with prior knowledge (RFC 9113 §3.4). Four bytes tell it from every
 * HTTP/1.1 method: no method begins with `PRI `.
 */
const HTTP2_PREFACE = Buffer.from('PRI ');

export interface ServingPort {
  /** The port that was really taken, for `port: 0`. */
  readonly port: number;
  /** Open connections, of any protocol or none yet. */
  readonly connections: ReadonlySet<Socket>;
  /** Stops accepting; connections that are open stay. */
  stopAccepting(): Promise<void>;
  /** Stops accepting and ends every connection at once. */
  destroy(): Promise<void>;
}

export interface ServingPortOptions {
  host: string;
  port: number;
  http1: Http1Server;
  http2: Http2Server;
  /** A connection that says nothing for this long is closed, so that silent clients cost a bounded time. */
  firstByteTimeoutMs: number;
  /** Connections over this are closed at once. */
  maxConnections: number;
  /**
   * Bytes of an unread body that may lie in this process for each connection; Node's own default is 64 KiB,
   * which makes 130 KB of memory for a request that waits with its body unread.
   */
  highWaterMarkBytes?: number;
}

/**
 * One TCP port that speaks HTTP/1.1 and HTTP/2 cleartext: reads the first bytes of a connection, puts them
 * back and hands the socket to the server that understands it.
 *
 * @throws Error with code EADDRINUSE or EACCES when the port can't be had.
 */
export async function openServingPort(options: ServingPortOptions): Promise<ServingPort> {
  const connections = new Set<Socket>();
  const { highWaterMarkBytes } = options;
  const bound = highWaterMarkBytes === undefined ? undefined : boundReads(highWaterMarkBytes);
  const highWaterMark = highWaterMarkBytes === undefined ? {} : { highWaterMark: highWaterMarkBytes };
  const server = createServer({ noDelay: true, ...highWaterMark }, (socket) => {
    bound?.(socket);
    connections.add(socket);
    socket.once('close', () => connections.delete(socket));
    handOver(socket, options);
  });
  server.maxConnections = options.maxConnections;
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host: options.host, port: options.port, backlog: 4096 }, () => {
      server.off('error', reject);
      resolve();
    });
  });
  const stopAccepting = (): Promise<void> =>
    new Promise((resolve) => {
      closeListener(server, resolve);
    });
  return {
    port: (server.address() as AddressInfo).port,
    connections,
    stopAccepting,
    destroy: async () => {
      const stopped = stopAccepting();
      for (const socket of connections) socket.destroy();
      await stopped;
    },
  };
}

/** `close` calls back only when the last connection is gone; what is awaited here is the listener alone. */
function closeListener(server: Server, done: () => void): void {
  if (server.listening) server.close();
  done();
}

function handOver(socket: Socket, { http1, http2, firstByteTimeoutMs }: ServingPortOptions): void {
  let head: Buffer = Buffer.alloc(0);
  const onError = (): void => {
    socket.destroy();
  };
  const onTimeout = (): void => {
    socket.destroy();
  };
  const onData = (chunk: Buffer): void => {
    head = head.length === 0 ? chunk : Buffer.concat([head, chunk]);
    const compared = Math.min(head.length, HTTP2_PREFACE.length);
    const mayBeHttp2 = head.subarray(0, compared).equals(HTTP2_PREFACE.subarray(0, compared));
    if (mayBeHttp2 && compared < HTTP2_PREFACE.length) return;
    socket.off('data', onData);
    socket.off('error', onError);
    socket.off('timeout', onTimeout);
    socket.setTimeout(0);
    socket.pause();
    socket.unshift(head);
    const target = mayBeHttp2 ? http2 : http1;
    target.emit('connection', socket);
    if (!mayBeHttp2) process.nextTick(() => socket.resume());
  };
  socket.on('error', onError);
  socket.on('timeout', onTimeout);
  socket.setTimeout(firstByteTimeoutMs);
  socket.on('data', onData);
}
