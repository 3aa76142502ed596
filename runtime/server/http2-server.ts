import {
  createServer,
  type Http2Server,
  type Http2Session,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2';
import { HEADERS } from '../../contracts/headers.ts';
import { leaveSession } from '../../process/leave-session.ts';
import type { Exchange } from './exchange.ts';
import type { GrpcStream } from './grpc/grpc-stream.ts';
import { Http2Exchange } from './http2-exchange.ts';
import type { ServerLimits } from './limits.ts';

export interface Http2Front {
  server: Http2Server;
  /** GOAWAY to every connection and to those that come: streams that are open go on, clients open new ones elsewhere. */
  leave(): void;
  /** The same for those over which callers came straight here. */
  sendCallersAway(): void;
  close(): void;
}

/** Bytes that a client may send on a stream, and on all streams of a connection, before we take them: the default of 64 KiB costs a round trip for each. */
const STREAM_WINDOW_BYTES = 1024 * 1024;
const CONNECTION_WINDOW_BYTES = 4 * 1024 * 1024;

/** An HTTP/2 server for sockets that are handed to it; gRPC and REST are told apart by each stream's content type. */
export function openHttp2(
  limits: Readonly<ServerLimits>,
  handlers: {
    rest(exchange: Exchange): void;
    grpc(stream: GrpcStream): void;
    /** Whether callers may come straight here. */
    welcomesCallers(): boolean;
  },
): Http2Front {
  const sessions = new Set<ServerHttp2Session>();
  const direct = new WeakSet<Http2Session>();
  let isLeaving = false;
  const server = createServer({
    settings: {
      initialWindowSize: STREAM_WINDOW_BYTES,
      maxConcurrentStreams: limits.maxStreamsPerConnection,
      maxHeaderListSize: limits.maxHeaderBytes,
    },
    // Megabytes. Node refuses new streams beyond it, also for answers that are being written.
    maxSessionMemory: Math.ceil(limits.maxBodyBytesInFlight / 1e6),
  });
  server.on('session', (session) => {
    sessions.add(session);
    session.once('close', () => sessions.delete(session));
    session.on('error', () => undefined);
    // Between requests a connection may idle as long as an HTTP/1.1 one.
    session.setTimeout(limits.keepAliveTimeoutMs, () => session.close());
    session.setLocalWindowSize(CONNECTION_WINDOW_BYTES);
    if (isLeaving) leaveSession(session);
  });
  server.on('sessionError', () => undefined);
  server.on('stream', (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => {
    const { session } = stream;
    if (headers[HEADERS.proxiedBy] === undefined && session !== undefined) {
      direct.add(session);
      if (!handlers.welcomesCallers()) leaveSession(session);
    }
    const contentType = headers['content-type'];
    if (contentType?.startsWith('application/grpc')) handlers.grpc({ stream, headers });
    else handlers.rest(new Http2Exchange(stream, headers));
  });
  return {
    server,
    leave: () => {
      isLeaving = true;
      for (const session of sessions) leaveSession(session);
    },
    sendCallersAway: () => {
      for (const session of sessions) if (direct.has(session)) leaveSession(session);
    },
    close: () => {
      for (const session of sessions) session.destroy();
    },
  };
}
