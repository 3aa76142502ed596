import { setTimeout as delay } from 'node:timers/promises';
import { ModelUnreachableError } from './errors.ts';

export interface RetryOptions {
  /** Tries in all, the first included. */
  attempts: number;
  backoffMs: number;
  signal: AbortSignal;
  /** In [0, 1). */
  random?: () => number;
}

const MAX_BACKOFF_MS = 5_000;
/** A server may ask for more; a caller who waits for a model is better served by the error. */
const MAX_RETRY_AFTER_MS = 30_000;

/**
 * How long to wait before try `attempt + 1`: what the server asked for (at most 30 s), or full jitter over an
 * exponential: uniformly within `backoffMs · 2^(attempt-1)`, at most 5 s.
 */
export function backoffMs(
  attempt: number,
  options: { backoffMs: number; retryAfterSeconds?: number | undefined; random: number },
): number {
  if (options.retryAfterSeconds !== undefined) {
    return Math.min(MAX_RETRY_AFTER_MS, options.retryAfterSeconds * 1000);
  }
  return options.random * Math.min(MAX_BACKOFF_MS, options.backoffMs * 2 ** (attempt - 1));
}

/** Waits as `backoffMs` says. @throws the signal's reason when it is aborted meanwhile */
export async function pauseBeforeRetry(attempt: number, error: ModelUnreachableError, options: RetryOptions) {
  const waitMs = backoffMs(attempt, {
    backoffMs: options.backoffMs,
    retryAfterSeconds: error.retryAfterSeconds,
    random: (options.random ?? Math.random)(),
  });
  try {
    await delay(waitMs, undefined, { signal: options.signal });
  } catch {
    options.signal.throwIfAborted();
  }
}

/** Runs `work` until it succeeds, fails for good, or has been tried `attempts` times. */
export async function retrying<T>(work: () => Promise<T>, options: RetryOptions): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    options.signal.throwIfAborted();
    try {
      return await work();
    } catch (error) {
      options.signal.throwIfAborted();
      if (!(error instanceof ModelUnreachableError) || !error.retryable || attempt >= options.attempts)
        throw error;
      await pauseBeforeRetry(attempt, error, options);
    }
  }
}
