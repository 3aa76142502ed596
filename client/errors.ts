/**
 * Thrown when a server refuses or can't be reached.
 *
 * `code` is the stable code of Pilotlight's header `pilotlight-error` (`server-busy`, `invalid-request`, …), or
 * `unreachable` when no answer came, `timeout` when the time was over, `bad-answer` for what is no answer of the protocol.
 */
export class InferenceError extends Error {
  override readonly name = 'InferenceError';
  readonly code: string;
  /** HTTP status; undefined when no answer came. */
  readonly status: number | undefined;
  /** The server's `Retry-After`, or the pushback of gRPC. */
  readonly retryAfterMs: number | undefined;

  constructor(
    code: string,
    message: string,
    options: { status?: number | undefined; retryAfterMs?: number | undefined; cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.status = options.status;
    this.retryAfterMs = options.retryAfterMs;
  }
}
