import { constants, type OutgoingHttpHeaders } from 'node:http2';
import type { ErrorCode, PilotlightError } from '../../../contracts/errors.ts';
import { HEADERS } from '../../../contracts/headers.ts';
import { grpcMessage, grpcStatusOf } from './grpc-status.ts';
import type { GrpcStream } from './grpc-stream.ts';

/** Of every answer. */
export const COMMON_HEADERS: OutgoingHttpHeaders = {
  ':status': 200,
  'content-type': 'application/grpc',
  'grpc-accept-encoding': 'identity,gzip,deflate',
};

/** Refusals of calls that were not looked at: another replica may take them. */
const UNSEEN: ReadonlySet<ErrorCode> = new Set(['wrong-service', 'draining', 'not-ready']);

/**
 * An error as a single block of headers. A call that was not looked at and came through an activator is refused
 * with the HTTP status as well, by which the activator sends it elsewhere; a client would not expect it.
 */
export function sendError({ stream, headers }: GrpcStream, error: PilotlightError): void {
  if (stream.destroyed || stream.closed || stream.headersSent) return;
  const isForActivator = UNSEEN.has(error.code) && headers[HEADERS.proxiedBy] !== undefined;
  const answer: OutgoingHttpHeaders = {
    ...COMMON_HEADERS,
    ':status': isForActivator ? error.status : 200,
    ...errorTrailers(error),
  };
  const isUnread = !stream.readableEnded;
  stream.respond(answer, { endStream: true });
  // A reset overtakes headers that have not left yet; they leave before the next turn of the event loop.
  if (isUnread) setImmediate(() => stream.close(constants.NGHTTP2_NO_ERROR));
}

/** How a call that failed ends. */
export function errorTrailers(error: PilotlightError): Record<string, string> {
  const trailers: Record<string, string> = {
    'grpc-status': String(grpcStatusOf(error)),
    'grpc-message': grpcMessage(error.message),
    [HEADERS.error]: error.code,
  };
  if (error.retryAfterSeconds !== undefined) {
    trailers['grpc-retry-pushback-ms'] = String(error.retryAfterSeconds * 1000);
  }
  return trailers;
}
