import { PilotlightError } from '../../contracts/errors.ts';
import { type Batchable, type BatchChoice, type BatchRule, chooseBatch } from '../core/batching.ts';
import { DEFAULT_PRIORITY, PriorityQueue } from '../core/priority-queue.ts';
import type { InferenceCall } from '../ports.ts';

/** A call that waits for an instance. Settled exactly once: taken, or rejected. */
export interface WaitingCall extends Batchable {
  readonly call: InferenceCall;
  readonly sizeBytes: number;
  reject(error: PilotlightError): void;
}

export interface WaitingLimits {
  maxCalls: number;
  /** Of the inputs of all waiting calls. One call is let in whatever its size. */
  maxBytes: number;
}

/**
 * Calls by priority and in the order of their arrival, bounded by count and by bytes. A call whose client left or
 * whose deadline passed is dropped before it costs an instance anything. Time comes in as an argument.
 */
export class WaitingList<Waiting extends WaitingCall = WaitingCall> {
  readonly #calls = new PriorityQueue<Waiting>();
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

  /** For a rule of larger batches; what waits already stays. */
  allow(maxCalls: number): void {
    this.#limits.maxCalls = maxCalls;
  }

  /** @throws PilotlightError `server-busy` when the list is full. */
  add(waiting: Waiting): void {
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
    this.#calls.add(waiting, waiting.call.priority ?? DEFAULT_PRIORITY);
    this.#bytes += waiting.sizeBytes;
  }

  /** Takes a call out; false when it isn't in the list (any more). */
  remove(waiting: Waiting): boolean {
    if (!this.#calls.remove(waiting)) return false;
    this.#bytes -= waiting.sizeBytes;
    return true;
  }

  /** What an instance that is free at `nowMs` does; calls that are to run are taken out. */
  next(rule: BatchRule, nowMs: number): BatchChoice<Waiting> {
    const choice = chooseBatch(this.#wanted(nowMs), rule, nowMs);
    if (choice.kind === 'run') for (const waiting of choice.calls) this.remove(waiting);
    return choice;
  }

  /** Drops what is of no use any more. @returns the earliest deadline of what is left; Infinity for none. */
  sweep(nowMs: number): number {
    let earliestMs = Number.POSITIVE_INFINITY;
    for (const { call } of this.#wanted(nowMs)) earliestMs = Math.min(earliestMs, call.deadlineMs);
    return earliestMs;
  }

  rejectAll(error: PilotlightError): void {
    for (const waiting of this.#calls) {
      this.remove(waiting);
      waiting.reject(error);
    }
  }

  /** In their order; those before that nobody wants are rejected on the way. */
  *#wanted(nowMs: number): Generator<Waiting, undefined> {
    for (const waiting of this.#calls) {
      const unwanted = unwantedReason(waiting.call, nowMs);
      if (unwanted === undefined) yield waiting;
      else {
        this.remove(waiting);
        waiting.reject(unwanted);
      }
    }
  }
}

/** Why a call isn't worth starting at `nowMs`, if so. */
export function unwantedReason(call: InferenceCall, nowMs: number): PilotlightError | undefined {
  if (call.signal.aborted) return clientClosed();
  return nowMs >= call.deadlineMs ? waitedTooLong() : undefined;
}

function waitedTooLong(): PilotlightError {
  return new PilotlightError(
    'inference-timeout',
    'the time limit of the request passed while it waited for a free instance of the model',
  );
}

export function clientClosed(): PilotlightError {
  return new PilotlightError('client-closed', 'the client left before the answer');
}
