import { PilotlightError } from '../../contracts/errors.ts';
import type { InferenceCall } from '../ports.ts';

/** A call that waits for an instance. Settled exactly once: taken, or rejected. */
export interface WaitingCall {
  call: InferenceCall;
  queuedAtMs: number;
  sizeBytes: number;
  take: () => void;
  reject: (error: PilotlightError) => void;
}

export interface WaitingLimits {
  maxCalls: number;
  /** Of the inputs of all waiting calls. One call is let in whatever its size. */
  maxBytes: number;
}

/**
 * Calls in the order of their arrival, bounded by count and by bytes. A call whose client left or whose
 * deadline passed is dropped there and then, before it costs an instance anything. Time comes in as an argument.
 */
export class WaitingList {
  /** In insertion order. */
  readonly #calls = new Set<WaitingCall>();
  readonly #limits: WaitingLimits;
  #bytes = 0;

  constructor(limits: WaitingLimits) {
    this.#limits = limits;
  }

  get size(): number {
    return this.#calls.size;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** @throws PilotlightError `server-busy` when the list is full. */
  add(waiting: WaitingCall): void {
    const { maxCalls, maxBytes } = this.#limits;
    const tooMany = this.#calls.size >= maxCalls;
    if (tooMany || (this.#calls.size > 0 && this.#bytes + waiting.sizeBytes > maxBytes)) {
      const bound = tooMany
        ? `${maxCalls} calls`
        : `${maxBytes} bytes of input, of which ${this.#bytes} are taken`;
      throw new PilotlightError(
        'server-busy',
        `the model is busy: every instance works and the list of those that wait holds at most ${bound}; try again later`,
        { retryAfterSeconds: 1 },
      );
    }
    this.#calls.add(waiting);
    this.#bytes += waiting.sizeBytes;
  }

  /** Takes a call out; false when it isn't in the list (any more). */
  remove(waiting: WaitingCall): boolean {
    if (!this.#calls.delete(waiting)) return false;
    this.#bytes -= waiting.sizeBytes;
    return true;
  }

  /** The oldest call that is still wanted at `nowMs`; those before it that aren't are rejected. */
  next(nowMs: number): WaitingCall | undefined {
    for (const waiting of this.#calls) {
      this.remove(waiting);
      const unwanted = unwantedReason(waiting.call, nowMs);
      if (unwanted === undefined) return waiting;
      waiting.reject(unwanted);
    }
    return undefined;
  }

  rejectAll(error: PilotlightError): void {
    for (const waiting of this.#calls) {
      this.remove(waiting);
      waiting.reject(error);
    }
  }
}

/** Why a call isn't worth starting at `nowMs`, if so. */
export function unwantedReason(call: InferenceCall, nowMs: number): PilotlightError | undefined {
  if (call.signal.aborted) return clientClosed();
  return nowMs >= call.deadlineMs ? waitedTooLong() : undefined;
}

export function waitedTooLong(): PilotlightError {
  return new PilotlightError(
    'inference-timeout',
    'the time limit of the request passed while it waited for a free instance of the model',
  );
}

export function clientClosed(): PilotlightError {
  return new PilotlightError('client-closed', 'the client left before the answer');
}
