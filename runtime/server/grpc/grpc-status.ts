import type { PilotlightError } from '../../../contracts/errors.ts';

/** Status codes of gRPC that we answer with (https://grpc.io/docs/guides/status-codes/). */
export const GRPC_STATUS = {
  ok: 0,
  cancelled: 1,
  invalidArgument: 3,
  deadlineExceeded: 4,
  notFound: 5,
  resourceExhausted: 8,
  unimplemented: 12,
  internal: 13,
  unavailable: 14,
} as const;

/** The gRPC status for an error, by its HTTP status: the one table decides for both protocols. */
export function grpcStatusOf(error: PilotlightError): number {
  switch (error.status) {
    case 400:
    case 411:
      return GRPC_STATUS.invalidArgument;
    case 404:
      return GRPC_STATUS.notFound;
    case 405:
    case 415:
    case 501:
      return GRPC_STATUS.unimplemented;
    case 408:
    case 504:
      return GRPC_STATUS.deadlineExceeded;
    case 413:
      return GRPC_STATUS.resourceExhausted;
    case 421:
    case 503:
      return GRPC_STATUS.unavailable;
    case 499:
      return GRPC_STATUS.cancelled;
    default:
      return error.code === 'transform-refused' ? GRPC_STATUS.invalidArgument : GRPC_STATUS.internal;
  }
}

/** Longest `grpc-message`: header blocks of clients are bounded at 8 KiB by default. */
const MAX_MESSAGE_CHARACTERS = 1024;

/** A text for `grpc-message`: percent-encoded, printable ASCII left as it is. */
export function grpcMessage(text: string): string {
  return text
    .slice(0, MAX_MESSAGE_CHARACTERS)
    .toWellFormed()
    .replace(/[^ -$&-~]+/g, encodeURIComponent);
}

const UNIT_MS: Readonly<Record<string, number>> = {
  H: 3_600_000,
  M: 60_000,
  S: 1000,
  m: 1,
  u: 1e-3,
  n: 1e-6,
};

/** `grpc-timeout` in ms: up to eight digits and a unit; undefined when absent or not that. */
export function parseGrpcTimeout(text: string | undefined): number | undefined {
  const match = /^(\d{1,8})([HMSmun])$/.exec(text ?? '');
  const unitMs = UNIT_MS[match?.[2] ?? ''];
  return unitMs === undefined ? undefined : Number(match?.[1]) * unitMs;
}
