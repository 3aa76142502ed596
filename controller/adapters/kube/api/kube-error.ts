/** Stable codes of what the Kubernetes API can answer, or of why there was no answer. */
export type KubeErrorCode =
  | 'invalid' // 400, 415, 422: the request itself is wrong; trying again is of no use
  | 'unauthorised' // 401
  | 'forbidden' // 403
  | 'not-found' // 404
  | 'conflict' // 409: another wrote first, or a precondition does not hold; read again
  | 'already-exists' // 409 of a create
  | 'gone' // 410: the resourceVersion or continue token is too old; list again
  | 'too-large' // 413, or an answer over the client's limit
  | 'too-many-requests' // 429
  | 'timeout' // no answer within the call's time, or 504
  | 'unavailable' // no connection, cut connection, 502, 503
  | 'internal' // other 5xx
  | 'malformed' // the answer is not what the protocol says
  | 'aborted' // the caller's signal, or the client was closed
  | 'failed'; // any other status

/** The part of a `meta/v1 Status` that is read. */
interface Status {
  readonly reason?: string;
  readonly message?: string;
  readonly code?: number;
  readonly details?: {
    readonly retryAfterSeconds?: number;
    readonly causes?: readonly { readonly reason?: string }[];
  };
}

export interface KubeErrorOptions {
  readonly status?: number;
  /** Kubernetes' own word, e.g. `AlreadyExists`. */
  readonly reason?: string;
  /** How long the server asks to wait. */
  readonly retryAfterMs?: number;
  readonly cause?: unknown;
}

/** Whatever goes wrong in a call to the Kubernetes API. Match on `code`; the message is for people. */
export class KubeError extends Error {
  override readonly name = 'KubeError';
  readonly code: KubeErrorCode;
  /** HTTP status; absent where there was no answer. */
  readonly status: number | undefined;
  readonly reason: string | undefined;
  readonly retryAfterMs: number | undefined;

  constructor(code: KubeErrorCode, message: string, options: KubeErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.status = options.status;
    this.reason = options.reason;
    this.retryAfterMs = options.retryAfterMs;
  }

  /** Whether the same call may well succeed a moment later. */
  get transient(): boolean {
    return TRANSIENT.has(this.code);
  }
}

const TRANSIENT: ReadonlySet<KubeErrorCode> = new Set([
  'too-many-requests',
  'timeout',
  'unavailable',
  'internal',
]);

/** True for a {@link KubeError} of one of `codes`. */
export function isKubeError(thrown: unknown, ...codes: readonly KubeErrorCode[]): thrown is KubeError {
  return thrown instanceof KubeError && (codes.length === 0 || codes.includes(thrown.code));
}

const CODE_BY_STATUS: Readonly<Record<number, KubeErrorCode>> = {
  400: 'invalid',
  401: 'unauthorised',
  403: 'forbidden',
  404: 'not-found',
  409: 'conflict',
  410: 'gone',
  413: 'too-large',
  415: 'invalid',
  422: 'invalid',
  429: 'too-many-requests',
  502: 'unavailable',
  503: 'unavailable',
  504: 'timeout',
};

/**
 * The error for an answer that is not 2xx, or for a watch's ERROR event.
 *
 * @param call what was tried, e.g. `GET /api/v1/pods`
 * @param body the answer's body: a `Status` as a rule, as JSON text or parsed; a proxy may answer with anything
 * @param retryAfter the `Retry-After` header, in seconds (the API server sends no dates)
 */
export function errorFromAnswer(call: string, status: number, body: unknown, retryAfter?: string): KubeError {
  const value = typeof body === 'string' ? parsedOrText(body) : body;
  const answer: Status = typeof value === 'object' && value !== null ? value : {};
  const told = answer.message ?? (typeof value === 'string' ? value.trim().slice(0, 200) : '');
  const waitSeconds = seconds(retryAfter) ?? answer.details?.retryAfterSeconds;
  return new KubeError(codeOf(status, answer.reason), `${call}: ${status} ${told || 'without a message'}`, {
    status,
    ...(answer.reason !== undefined && { reason: answer.reason }),
    ...(waitSeconds !== undefined && { retryAfterMs: waitSeconds * 1000 }),
  });
}

function parsedOrText(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function codeOf(status: number, reason: string | undefined): KubeErrorCode {
  if (reason === 'AlreadyExists') return 'already-exists';
  // 410 has two reasons, Expired (resourceVersion, continue) and Gone; some servers send Expired under 500.
  if (reason === 'Expired' || reason === 'Gone') return 'gone';
  return CODE_BY_STATUS[status] ?? (status >= 500 ? 'internal' : 'failed');
}

function seconds(header: string | undefined): number | undefined {
  return header !== undefined && /^\d{1,6}$/.test(header.trim()) ? Number(header) : undefined;
}
