import type { Endpoint } from '../../contracts/routes.ts';

const FIRST_COOL_MS = 50;
const LONGEST_COOL_MS = 2_000;
/** Below this pace the way from one answer to the next request weighs enough to have a request ahead. */
const QUICK_MS = 20;
/** Share of a new, shorter time in the pace: 15 answers of 1 ms after one of 100 ms bring it below 20 ms. */
const PACE_SHARE = 0.1;

/**
 * One endpoint with its permits and its breaker.
 *
 * - Closed: takes requests up to its capacity, and one ahead where that pays (`hasRoomAhead`).
 * - Open, after a failure: takes none for 50 ms, then 100, 200 … up to 2 s, so that a dead replica which the
 *   controller has not yet taken away costs a few connection attempts and not one for each that waits.
 * - Half open, when that time is over: takes one; what becomes of it closes or opens the breaker.
 */
export class EndpointState {
  readonly id: string;
  readonly address: string;
  /** Requests that this activator may have there at once: its share, 0 where other activators have it all. */
  capacity: number;
  inFlight = 0;
  /** False once no route names it; requests that are there run to their end. */
  listed = true;
  /** Whether it queues for itself what comes beyond its capacity: our runtime does, another server may not. */
  queuesItself = false;
  /** Whether it has given a first answer. */
  answered = false;
  #failures = 0;
  #openUntilMs = 0;
  #probing = false;
  /** How long it takes for an inference: follows a slower one at once, a quicker one slowly. */
  #paceMs: number | undefined;

  constructor({ id, address }: Endpoint, capacity: number) {
    this.id = id;
    this.address = address;
    this.capacity = capacity;
  }

  hasRoom(nowMs: number): boolean {
    return this.inFlight < this.capacity && this.isSound(nowMs);
  }

  /** Whether it is routed, and its breaker closed or due to be tried. */
  isSound(nowMs: number): boolean {
    return this.listed && (this.#failures === 0 || (nowMs >= this.#openUntilMs && !this.#probing));
  }

  /**
   * Whether one more than its capacity may be sent, for it to find work while its last answer is still on the
   * way to us. With a model of 1 ms and a capacity of 1 the model stands still for a third of the time otherwise.
   * Only while inferences are quick: whoever is ahead is bound to this replica even where another gets free.
   */
  get hasRoomAhead(): boolean {
    if (!this.queuesItself || this.#paceMs === undefined || this.#paceMs >= QUICK_MS) return false;
    if (!this.listed || this.#failures > 0) return false;
    return this.capacity > 0 && this.inFlight === this.capacity;
  }

  /** Notes how long an inference took, from its permit to the head of its answer. */
  inferred(tookMs: number): void {
    const paceMs = this.#paceMs ?? tookMs;
    this.#paceMs = Math.max(tookMs, paceMs + (tookMs - paceMs) * PACE_SHARE);
  }

  /** Takes a permit; only after `hasRoom`, `hasRoomAhead`, or as a guest. */
  take(): void {
    this.inFlight++;
    if (this.#failures > 0) this.#probing = true;
  }

  give(): void {
    this.inFlight--;
    this.#probing = false;
  }

  worked(): void {
    this.#failures = 0;
    this.#probing = false;
  }

  /** Opens the breaker and returns for how long, in ms. */
  failed(nowMs: number): number {
    const coolMs = Math.min(LONGEST_COOL_MS, FIRST_COOL_MS * 2 ** Math.min(this.#failures, 10));
    this.#failures++;
    this.#openUntilMs = nowMs + coolMs;
    return coolMs;
  }
}
