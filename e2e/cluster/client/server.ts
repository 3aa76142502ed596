import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createHttp2Server, type ServerHttp2Stream } from 'node:http2';
import { hostname } from 'node:os';
import type { Duplex } from 'node:stream';

/**
 * A user's own server for the cases of `spec.predictor.containers`, on `$PORT`. Nothing is imported here that Node
 * doesn't bring. By its argument it speaks
 *
 * - `http`: HTTP/1.1 and WebSocket. `/env/NAME` answers with a variable of its environment, `/wait/MS` after a while
 *   with the name of its pod, `/echo` with the body, `/up` with how long it has been up in ms. `/ready` answers 503
 *   for the first `$READY_AFTER_MS`.
 * - `grpc`: HTTP/2 cleartext; a call is answered with its own message.
 * - `deaf`: nothing, on no port.
 * - `broken`: it ends with 3 at once, and says why.
 */
/** A frame of one piece that closes the connection, which is the server's to end after that. */
const CLOSING = 0x88;

const port = Number(process.env['PORT']);
const readyAfterMs = Number(process.env['READY_AFTER_MS'] ?? 0);

function answer(request: IncomingMessage, response: ServerResponse): void {
  const [, what = '', argument = ''] = (request.url ?? '/').split('/');
  if (what === 'env') response.end(process.env[argument] ?? '');
  else if (what === 'wait') setTimeout(() => response.end(hostname()), Number(argument));
  else if (what === 'echo') request.pipe(response);
  else if (what === 'up') response.end(String(performance.now()));
  else {
    const isReady = what === 'ready' && performance.now() >= readyAfterMs;
    response.statusCode = isReady ? 200 : what === 'ready' ? 503 : 404;
    response.end();
  }
}

/** Sends back each text of up to 125 bytes (RFC 6455, 5.2: a frame of one piece, masked by the client). */
function echoWebSocket(request: IncomingMessage, socket: Duplex): void {
  const key = `${request.headers['sec-websocket-key'] ?? ''}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`;
  const accept = createHash('sha1').update(key).digest('base64');
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: ${accept}\r\n\r\n`,
  );
  socket.on('error', () => socket.destroy());
  socket.on('end', () => socket.end());
  let read = Buffer.alloc(0);
  socket.on('data', (chunk: Buffer) => {
    read = Buffer.concat([read, chunk]);
    for (;;) {
      const length = (read[1] ?? 0) & 0x7f;
      const end = 6 + length;
      if (read.length < end) return;
      const mask = read.subarray(2, 6);
      const text = read.subarray(6, end).map((byte, index) => byte ^ (mask[index % 4] ?? 0));
      // The opcode as it came: a text comes back as a text, the closing as a closing.
      const [opcode = 0] = read;
      socket.write(Buffer.concat([Buffer.from([opcode, length]), text]));
      if (opcode === CLOSING) socket.end();
      read = read.subarray(end);
    }
  });
}

function serveHttp(): void {
  const server = createServer(answer);
  server.on('upgrade', echoWebSocket);
  server.listen(port, '0.0.0.0');
}

function serveGrpc(): void {
  const server = createHttp2Server();
  server.on('stream', (stream: ServerHttp2Stream) => {
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
    stream.pipe(stream);
  });
  server.listen(port, '0.0.0.0');
}

const what = process.argv[2];
if (what === 'http') serveHttp();
else if (what === 'grpc') serveGrpc();
else if (what === 'deaf') setInterval(() => undefined, 60_000);
else {
  process.stderr.write('no licence found\n');
  process.exitCode = 3;
}
process.once('SIGTERM', () => process.exit(0));
