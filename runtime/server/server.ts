import { createServer as createHttp1Server } from 'node:http';
import { createServer as createHttp2Server } from 'node:http2';
import { openServingPort } from '../../process/serving-port.ts';
import { resolveLimits } from './limits.ts';
import type { RuntimeServer, ServerOptions } from './server-types.ts';
import { RequestLoad } from './serving-load.ts';

export type { RuntimeServer, ServerOptions } from './server-types.ts';

/**
 * Opens the serving port of the runtime: the Open Inference Protocol (REST with JSON and binary tensors, gRPC)
 * and V1, over HTTP/1.1 and HTTP/2 cleartext on one port.
 *
 * @throws Error with code EADDRINUSE or EACCES when the port can't be had; RangeError for a limit out of range.
 */
export async function openServer(options: ServerOptions): Promise<RuntimeServer> {
  const limits = resolveLimits(options.limits);
  const load = new RequestLoad(() => performance.now());
  const http1 = createHttp1Server((_request, response) => {
    response.writeHead(200, { 'content-type': 'application/json' }).end('{"live":true}');
  });
  const http2 = createHttp2Server();
  const port = await openServingPort({
    host: options.host,
    port: options.port,
    http1,
    http2,
    firstByteTimeoutMs: limits.firstByteTimeoutMs,
    maxConnections: limits.maxConnections,
  });
  return {
    port: port.port,
    grpcPort: undefined,
    load,
    drain: (deadlineMs) => load.idle(deadlineMs),
    stop: async (graceMs = 0) => {
      await port.stopAccepting();
      await load.idle(graceMs);
      await port.destroy();
    },
  };
}
