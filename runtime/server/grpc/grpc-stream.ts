import type { IncomingHttpHeaders, ServerHttp2Stream } from 'node:http2';

/** An HTTP/2 stream that carries a gRPC call. */
export interface GrpcStream {
  stream: ServerHttp2Stream;
  headers: IncomingHttpHeaders;
}
