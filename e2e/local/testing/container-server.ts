import { createServer as createHttp1 } from 'node:http';
import { createServer as createHttp2 } from 'node:http2';
import {
  Server as GrpcServer,
  type handleBidiStreamingCall,
  type handleUnaryCall,
  ServerCredentials,
  type ServiceDefinition,
} from '@grpc/grpc-js';
import { WebSocketServer } from 'ws';
import { openServingPort } from '../../../process/serving-port.ts';

/**
 * A user's own server for a test of `spec.predictor.containers`: HTTP/1.1, HTTP/2 cleartext and WebSocket on
 * `$PORT`, or with the argument `grpc` a gRPC server, with `deaf` nothing at all. `/env/NAME` answers with a variable of its environment,
 * `/wait/MS` after a while, `/echo` with the body, `/version` with the HTTP version that it was asked by.
 */
const port = Number(process.env['PORT']);
const host = '127.0.0.1';

interface Asked {
  method?: string | undefined;
  url?: string | undefined;
  httpVersion: string;
  pipe(target: NodeJS.WritableStream): unknown;
}

function answer(request: Asked, response: NodeJS.WritableStream & { statusCode: number }): void {
  const [, what = '', argument = ''] = (request.url ?? '/').split('/');
  if (what === 'env') response.end(process.env[argument] ?? '');
  else if (what === 'wait') setTimeout(() => response.end('waited'), Number(argument));
  else if (what === 'version') response.end(request.httpVersion);
  else if (what === 'echo') request.pipe(response);
  else if (what === 'pid') response.end(String(process.pid));
  else {
    response.statusCode = 404;
    response.end('nothing here');
  }
}

const bytes = {
  requestSerialize: (value: Buffer) => value,
  requestDeserialize: (value: Buffer) => value,
  responseSerialize: (value: Buffer) => value,
  responseDeserialize: (value: Buffer) => value,
};

/** Methods of the gRPC server: messages are plain bytes. */
export const ECHO_SERVICE: ServiceDefinition = {
  say: { path: '/test.Echo/Say', requestStream: false, responseStream: false, ...bytes },
  talk: { path: '/test.Echo/Talk', requestStream: true, responseStream: true, ...bytes },
};

async function serveGrpc(): Promise<void> {
  const server = new GrpcServer();
  const say: handleUnaryCall<Buffer, Buffer> = ({ request }, callback) => callback(null, request);
  const talk: handleBidiStreamingCall<Buffer, Buffer> = (stream) => {
    stream.on('data', (message: Buffer) => stream.write(message));
    stream.on('end', () => stream.end());
  };
  server.addService(ECHO_SERVICE, { say, talk });
  await new Promise<void>((resolve, reject) => {
    server.bindAsync(`${host}:${port}`, ServerCredentials.createInsecure(), (error) => {
      if (error) reject(error);
      else resolve();
    });
  });
}

async function serveHttp(): Promise<void> {
  const http1 = createHttp1(answer);
  const sockets = new WebSocketServer({ noServer: true });
  http1.on('upgrade', (request, socket, head) => {
    sockets.handleUpgrade(request, socket, head, (client) => {
      client.on('message', (data, isBinary) => client.send(data, { binary: isBinary }));
    });
  });
  const http2 = createHttp2(answer);
  await openServingPort({ host, port, http1, http2, firstByteTimeoutMs: 60_000, maxConnections: 1_000 });
}

if (import.meta.main) {
  const what = process.argv[2];
  if (what === 'grpc') await serveGrpc();
  else if (what === 'deaf') setInterval(() => undefined, 60_000);
  else await serveHttp();
}
