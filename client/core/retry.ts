/** What came of an attempt that failed, as far as it matters for another one. */
export interface FailedAttempt {
  /** 1 for the first. */
  attempt: number;
  /** HTTP status; undefined when no connection could be made, so that nothing was sent. */
  status: number | undefined;
  /** What the server asked for, in ms. */
  retryAfterMs: number | undefined;
}

export interface RetryPolicy {
  /** Attempts in all. 1: no retry. */
  attempts: number;
  /** First wait where the server asks for none; it doubles with each attempt. */
  baseMs: number;
  /** No wait is longer, whatever the server asks for: a longer one is the caller's to decide. */
  maxWaitMs: number;
}

export const DEFAULT_RETRY: Readonly<RetryPolicy> = Object.freeze({
  attempts: 4,
  baseMs: 100,
  maxWaitMs: 10_000,
});

/**
 * How long to wait before the next attempt; undefined when there should be none.
 *
 * Tried again are: no connection; 429 and 503 where the server says when (`Retry-After`), since a 503 without it is one
 * that does not pass, such as a model that fails to load; 502, a replica that broke. Inference has no effect but its
 * answer, so that a request may be sent twice. A server's wish is a lower bound, onto which up to a quarter is added,
 * so that callers that were refused together don't come back together.
 *
 * @param random from 0 to 1.
 * @param leftMs until the caller's own deadline: a wait that would outlast it is not begun.
 */
export function retryDelayMs(
  policy: RetryPolicy,
  { attempt, status, retryAfterMs }: FailedAttempt,
  random: number,
  leftMs: number,
): number | undefined {
  if (attempt >= policy.attempts) return undefined;
  const isAsked = (status === 429 || status === 503) && retryAfterMs !== undefined;
  if (!isAsked && status !== undefined && status !== 502) return undefined;
  if (retryAfterMs !== undefined && retryAfterMs > policy.maxWaitMs) return undefined;
  const waitMs = retryAfterMs ?? policy.baseMs * 2 ** (attempt - 1);
  const delayMs = Math.min(policy.maxWaitMs, waitMs * (1 + random / 4));
  return delayMs < leftMs ? delayMs : undefined;
}

/**
 * A `Retry-After` header in ms: seconds or an HTTP date (RFC 9110 §10.2.3); undefined when absent or neither.
 *
 * @param nowMs epoch ms.
 */
export function parseRetryAfter(text: string | null | undefined, nowMs: number): number | undefined {
  if (text === null || text === undefined) return undefined;
  if (/^\d{1,9}$/.test(text.trim())) return Number(text) * 1000;
  // Date.parse takes much that is no HTTP date, -1 among it.
  const atMs = /^[A-Z][a-z]+, .* GMT$/.test(text.trim()) ? Date.parse(text) : Number.NaN;
  return Number.isNaN(atMs) ? undefined : Math.max(0, atMs - nowMs);
}
