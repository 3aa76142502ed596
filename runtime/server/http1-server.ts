import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { PilotlightError } from '../../contracts/errors.ts';
import { HEADERS } from '../../contracts/headers.ts';
import { errorAnswer } from './answers.ts';
import type { DirectConnections } from './direct-connections.ts';
import { bodySizeBytes, type Exchange } from './exchange.ts';
import { Http1Exchange } from './http1-exchange.ts';
import type { ServerLimits } from './limits.ts';

// Not imported: an ES import of node:http reads all its exports, WebSocket among them, and that loads undici
// into every standby: 20 ms and 6 MB.
const { createServer, STATUS_CODES } = process.getBuiltinModule('node:http');

/** An HTTP/1.1 server for sockets that are handed to it. */
export function openHttp1(
  limits: Readonly<ServerLimits>,
  direct: DirectConnections,
  handle: (exchange: Exchange) => void,
): Server {
  const onRequest = (expectsContinue: boolean) => (request: IncomingMessage, response: ServerResponse) => {
    const exchange = new Http1Exchange(request, response, expectsContinue);
    if (request.headers[HEADERS.proxiedBy] === undefined) exchange.onDone(direct.begin(request.socket));
    handle(exchange);
  };
  const server = createServer(
    {
      maxHeaderSize: limits.maxHeaderBytes,
      keepAliveTimeout: limits.keepAliveTimeoutMs,
      headersTimeout: limits.headersTimeoutMs,
      // A large body over a slow line is fine as long as it gets on; `readBody` sees to that.
      requestTimeout: 0,
      connectionsCheckingInterval: Math.min(1000, limits.headersTimeoutMs / 4),
    },
    onRequest(false),
  );
  server.on('checkContinue', onRequest(true));
  server.on('clientError', refuseBrokenRequest);
  // The timer behind `headersTimeout` starts when a server listens; this one never does by itself.
  server.emit('listening');
  return server;
}

/** Stops the timer that {@link openHttp1} started. */
export function closeHttp1(server: Server): void {
  server.close(() => undefined);
}

/** A request that is not HTTP: answered where the connection still can be, then closed. */
function refuseBrokenRequest(error: NodeJS.ErrnoException, socket: Duplex): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy();
    return;
  }
  const { status, headers, body } = errorAnswer(toFramingError(error));
  const text = typeof body === 'string' ? body : '';
  const lines = Object.entries({ ...headers, 'content-length': String(bodySizeBytes(text)) });
  const head = lines.map(([name, value]) => `${name}: ${value}\r\n`).join('');
  socket.end(`HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\n${head}\r\n${text}`);
  // Who goes on sending is not read any more.
  setTimeout(() => socket.destroy(), 100).unref();
}

function toFramingError(error: NodeJS.ErrnoException): PilotlightError {
  switch (error.code) {
    case 'HPE_HEADER_OVERFLOW':
      return new PilotlightError('bad-framing', 'the head of the request is too large', { status: 431 });
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return new PilotlightError('body-timeout', 'the head of the request did not come in time');
    case undefined:
    default:
      return new PilotlightError('bad-framing', `this is not an HTTP request: ${error.message}`);
  }
}
