/**
 * Stable error codes and the HTTP status that a caller sees for each. The one table for activator, runtime
 * and controller: header `pilotlight-error` carries the code, the body is `{"error": "<message>"}`.
 */
export const ERROR_STATUS = {
  // Activator: what a caller sees.
  'unknown-service': 404,
  'queue-full': 503,
  'start-timeout': 504,
  'request-timeout': 504,
  'replica-failed': 502,
  'service-stopped': 503,
  // Activator and runtime.
  draining: 503,
  'wrong-service': 421,
  'load-failed': 503,
  'not-ready': 503,
  'client-closed': 499,
  'bad-framing': 400,
  // Runtime: the protocol.
  'invalid-request': 400,
  unsupported: 501,
  'unknown-model': 404,
  'not-found': 404,
  'method-not-allowed': 405,
  'body-too-large': 413,
  'body-timeout': 408,
  'inference-failed': 500,
  'inference-timeout': 504,
  'server-busy': 503,
  'unsupported-media-type': 415,
  // Runtime: code of the service's own, before and after the model.
  'transform-refused': 400,
  'transform-failed': 500,
  'transform-timeout': 504,
  'transform-invalid': 503,
  'transform-forbidden': 503,
  // Runtime: where a model comes from. A caller sees 503 load-failed with this code in the text.
  'invalid-uri': 400,
  'model-not-found': 503,
  'model-forbidden': 503,
  'model-unreachable': 503,
  'model-not-onnx': 503,
  'model-unsupported-operator': 503,
  'model-too-large': 503,
  'model-out-of-memory': 503,
  'model-digest-mismatch': 503,
  'model-layout': 503,
  'model-changed': 503,
  'model-load-timeout': 503,
  'model-invalid': 503,
  'model-parity': 503,
  'execution-provider-unavailable': 503,
  'cache-full': 503,
  'cache-not-writable': 503,
  // Control traffic.
  unauthorized: 401,
  'claim-conflict': 409,
  'stale-epoch': 409,
  'not-recyclable': 409,
  'not-leader': 503,
  internal: 500,
} as const satisfies Record<string, number>;

/** A stable error code; never renamed once released, since clients and dashboards match on it. */
export type ErrorCode = keyof typeof ERROR_STATUS;

/** True when `code` is one of ours, for values that come over the wire. */
export function isErrorCode(code: unknown): code is ErrorCode {
  return typeof code === 'string' && Object.hasOwn(ERROR_STATUS, code);
}

/**
 * The error that every component throws on purpose. `message` says what was expected, what came and what to
 * do, and is fit to be shown to the caller; anything else belongs in `cause`.
 */
export class PilotlightError extends Error {
  override readonly name: string = 'PilotlightError';
  readonly code: ErrorCode;
  /** HTTP status, from the table unless a protocol rule wants another one. */
  readonly status: number;
  /** Seconds for a `Retry-After` header, where trying again makes sense. */
  readonly retryAfterSeconds: number | undefined;

  constructor(
    code: ErrorCode,
    message: string,
    options: { status?: number; retryAfterSeconds?: number; cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.status = options.status ?? ERROR_STATUS[code];
    this.retryAfterSeconds = options.retryAfterSeconds;
  }
}

/** Any thrown value as a PilotlightError: ours as it is, others as `internal` with the original as cause. */
export function toPilotlightError(thrown: unknown): PilotlightError {
  if (thrown instanceof PilotlightError) return thrown;
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return new PilotlightError('internal', message, { cause: thrown });
}
