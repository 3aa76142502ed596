import { constants } from 'node:http2';
import type { Serving } from '../work.ts';
import type { GrpcStream } from './grpc-stream.ts';

/**
 * Serves gRPC calls; its code is loaded with the first of them, so that a standby that never sees one doesn't
 * pay for it.
 */
export function openGrpc(serving: Serving): (call: GrpcStream) => void {
  let service: Promise<typeof import('./grpc-service.ts')> | undefined;
  return (call) => {
    call.stream.on('error', () => undefined);
    service ??= import('./grpc-service.ts');
    service.then(
      ({ serveGrpc }) => serveGrpc(serving, call),
      (err: unknown) => {
        serving.logger.error({ err }, 'the gRPC service did not load');
        call.stream.close(constants.NGHTTP2_INTERNAL_ERROR);
      },
    );
  };
}
