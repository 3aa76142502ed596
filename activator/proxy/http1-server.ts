import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { Socket } from 'node:net';
import type { Caller } from './caller.ts';
import { Http1Caller } from './http1-caller.ts';
import { UpgradeCaller } from './upgrade-caller.ts';

export interface Http1ServerOptions {
  headersTimeoutMs: number;
  /** How long a client's connection may rest between two requests. */
  keepAliveMs: number;
  onCaller(caller: Caller): void;
}

const BAD_REQUEST_BODY = JSON.stringify({
  error: 'the request is not well-formed HTTP/1.1, or its length is not clear; nothing was forwarded',
});

/** The HTTP/1.1 side of the serving port. Sockets come from outside: the server itself never listens. */
export function createHttp1Server(options: Http1ServerOptions): Server {
  const server = createServer({
    // Bodies wait unread for as long as their request does, so only the head has a time limit here.
    requestTimeout: 0,
    headersTimeout: options.headersTimeoutMs,
    connectionsCheckingInterval: 1_000,
    keepAliveTimeout: options.keepAliveMs,
    insecureHTTPParser: false,
    // `Upgrade: h2c` is an offer that may be left aside (RFC 9113 removed it); curl and Java send it unasked.
    shouldUpgradeCallback: (request: IncomingMessage) =>
      request.headers.upgrade?.toLowerCase() === 'websocket',
  });
  server.on('request', (request, response) => options.onCaller(new Http1Caller(request, response, false)));
  // Not answered with 100 Continue yet: that is for when a replica takes the request.
  server.on('checkContinue', (request, response) =>
    options.onCaller(new Http1Caller(request, response, true)),
  );
  server.on('upgrade', (request: IncomingMessage, socket: Socket, head: Buffer) => {
    options.onCaller(new UpgradeCaller(request, socket, head));
  });
  server.on('clientError', answerClientError);
  // The check of header timeouts starts when a server listens, which this one doesn't.
  server.emit('listening');
  return server;
}

function answerClientError(
  error: NodeJS.ErrnoException,
  socket: NodeJS.WritableStream & { destroy(): void },
): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy();
    return;
  }
  let status = '400 Bad Request';
  if (error.code === 'HPE_HEADER_OVERFLOW') status = '431 Request Header Fields Too Large';
  if (error.code === 'ERR_HTTP_REQUEST_TIMEOUT') status = '408 Request Timeout';
  const code = error.code === 'ERR_HTTP_REQUEST_TIMEOUT' ? 'body-timeout' : 'bad-framing';
  socket.end(
    `HTTP/1.1 ${status}\r\nconnection: close\r\ncontent-type: application/json\r\n` +
      `pilotlight-error: ${code}\r\ncontent-length: ${BAD_REQUEST_BODY.length}\r\n\r\n${BAD_REQUEST_BODY}`,
  );
}
