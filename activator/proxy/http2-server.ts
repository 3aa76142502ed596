import { createServer, type Http2Server, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2';
import { leaveSession } from '../../process/leave-session.ts';
import type { Caller } from './caller.ts';
import { Http2Caller } from './http2-caller.ts';

/** Of a queued request's body at most this much lies here unread; it is the window that RFC 9113 begins with. */
const STREAM_WINDOW_BYTES = 65_535;
const MAX_STREAMS = 256;
/** Room for all streams of a session to be queued with a full window, so that they don't starve the next one. */
const SESSION_WINDOW_BYTES = MAX_STREAMS * STREAM_WINDOW_BYTES;

export interface Http2Side {
  server: Http2Server;
  /** GOAWAY in two steps: first no promise about the last stream, then, a moment later, the real one. */
  goAway(): void;
  readonly sessionCount: number;
}

/** The HTTP/2 side of the serving port. Sockets come from outside. */
export function createHttp2Side(idleMs: number, onCaller: (caller: Caller) => void): Http2Side {
  const sessions = new Set<ServerHttp2Session>();
  const server = createServer({
    settings: { maxConcurrentStreams: MAX_STREAMS, initialWindowSize: STREAM_WINDOW_BYTES },
    maxSessionMemory: 64,
  });
  server.on('session', (session) => {
    sessions.add(session);
    session.on('close', () => sessions.delete(session));
    session.on('error', () => undefined);
    session.setLocalWindowSize(SESSION_WINDOW_BYTES);
    session.setTimeout(idleMs, () => session.close());
  });
  server.on('sessionError', () => undefined);
  server.on('stream', (stream, headers, flags, rawHeaders) => {
    onCaller(new Http2Caller(stream as ServerHttp2Stream, headers, flags, rawHeaders));
  });
  return {
    server,
    goAway: () => {
      for (const session of sessions) leaveSession(session);
    },
    get sessionCount() {
      return sessions.size;
    },
  };
}
