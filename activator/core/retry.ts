/** Largest body that is kept to be sent again. */
export const MAX_HELD_BYTES = 64 * 1024;
/** Replicas that may refuse one request, or not be reachable, before its caller hears of it. */
const MAX_UNSENT_RETRIES = 6;
/** Methods that RFC 9110 §9.2.2 lets a proxy send again after a kept connection was closed under it. */
const IDEMPOTENT = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE']);

/** How an attempt ended before its answer began; `misdirected` is a refusal in words: 421, or draining. */
export type AttemptEnd = 'connect' | 'refused' | 'misdirected' | 'stale' | 'broken' | 'protocol';

export interface RetryFacts {
  end: AttemptEnd;
  method: string;
  /** An Open Inference Protocol or V1 prediction, which has no effect but its answer. */
  inference: boolean;
  /** The service opted in to one retry of anything. */
  retryAll: boolean;
  /** The whole body so far is held, or none of it was sent. */
  bodyHeld: boolean;
  /** Retries so far of attempts that certainly did no work. */
  unsentRetries: number;
  /** Retries so far of attempts that may have done some. */
  sentRetries: number;
  /**
   * Retries so far after a kept connection that was closed. They are counted apart: of a replica that is
   * killed first the connections end and then, while it dies, the new one that was tried instead of them.
   */
  staleRetries: number;
}

/**
 * What to do with a request whose attempt ended so. `elsewhere`: give the permit back, open the endpoint's
 * breaker and take a place again; `here`: once more at the same endpoint; `no`: the caller gets 502.
 *
 * | end | the replica did | again? |
 * |---|---|---|
 * | connect, refused, misdirected | nothing | elsewhere, up to six times |
 * | stale | nothing, most likely | here, once: idempotent methods, inference, opted in |
 * | broken | maybe all of it | elsewhere, once: inference, opted in |
 * | protocol | nothing | here, by HTTP/1.1 |
 */
export function afterAttempt(facts: RetryFacts): 'elsewhere' | 'here' | 'no' {
  if (!facts.bodyHeld) return 'no';
  const repeatable = facts.inference || facts.retryAll;
  switch (facts.end) {
    case 'connect':
    case 'refused':
    case 'misdirected':
      return facts.unsentRetries < MAX_UNSENT_RETRIES ? 'elsewhere' : 'no';
    case 'stale':
      return facts.staleRetries === 0 && (repeatable || IDEMPOTENT.has(facts.method)) ? 'here' : 'no';
    case 'broken':
      return facts.sentRetries === 0 && repeatable ? 'elsewhere' : 'no';
    case 'protocol':
      return 'here';
  }
}
