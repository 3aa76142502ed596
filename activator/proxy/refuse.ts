import type { ErrorCode, PilotlightError } from '../../contracts/errors.ts';
import { HEADERS } from '../../contracts/headers.ts';
import type { Caller } from './caller.ts';

const GRPC_UNKNOWN = 2;
const GRPC_STATUS: Readonly<Partial<Record<ErrorCode, number>>> = {
  // DEADLINE_EXCEEDED
  'start-timeout': 4,
  'request-timeout': 4,
  'body-timeout': 4,
  // NOT_FOUND
  'unknown-service': 5,
  // INTERNAL
  'bad-framing': 13,
  internal: 13,
  // UNAVAILABLE, which gRPC clients take as an invitation to try again
  'queue-full': 14,
  'replica-failed': 14,
  'service-stopped': 14,
  'load-failed': 14,
  'not-ready': 14,
  draining: 14,
};

/** The gRPC status that says the same as one of our codes. */
export function grpcStatusOf(code: ErrorCode): number {
  return GRPC_STATUS[code] ?? GRPC_UNKNOWN;
}

/** `grpc-message` as gRPC wants it: percent-encoded but for printable ASCII. */
export function grpcMessage(message: string): string {
  const encoded: string[] = [];
  for (const byte of Buffer.from(message, 'utf8')) {
    if (byte >= 0x20 && byte <= 0x7e && byte !== 0x25) encoded.push(String.fromCharCode(byte));
    else encoded.push(`%${byte.toString(16).toUpperCase().padStart(2, '0')}`);
  }
  return encoded.join('');
}

/**
 * Answers a request by ourselves: JSON with the stable code in a header, or for gRPC an answer of trailers
 * only. Nothing may have been answered yet.
 */
export function refuse(
  caller: Caller,
  error: PilotlightError,
  timing: string | undefined,
  last: boolean,
): void {
  const common: string[] = [HEADERS.error, error.code];
  if (timing !== undefined) common.push('server-timing', timing);
  if (caller.isGrpc) {
    const status = String(grpcStatusOf(error.code));
    caller.respond(
      200,
      '',
      [
        'content-type',
        'application/grpc',
        'grpc-status',
        status,
        'grpc-message',
        grpcMessage(error.message),
        ...common,
      ],
      last,
    );
    caller.end([]);
    return;
  }
  if (error.retryAfterSeconds !== undefined) common.push('retry-after', String(error.retryAfterSeconds));
  answerJson(caller, error.status, { error: error.message }, common, last);
}

/** A JSON answer of our own. */
export function answerJson(
  caller: Caller,
  status: number,
  body: unknown,
  headers: readonly string[],
  last: boolean,
): void {
  const bytes = Buffer.from(JSON.stringify(body));
  caller.respond(
    status,
    '',
    ['content-type', 'application/json', 'content-length', String(bytes.length), ...headers],
    last,
  );
  if (caller.method !== 'HEAD') caller.write(bytes);
  caller.end([]);
}
