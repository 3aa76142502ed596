import type { Endpoint } from '../../contracts/routes.ts';

const FIRST_COOL_MS = 50;
const LONGEST_COOL_MS = 2_000;

/**
 * One endpoint with its permits and its breaker.
 *
 * - Closed: takes requests up to its capacity.
 * - Open, after a failure: takes none for 50 ms, then 100, 200 … up to 2 s, so that a dead replica which the
 *   controller has not yet taken away costs a few connection attempts and not one for each that waits.
 * - Half open, when that time is over: takes one; what becomes of it closes or opens the breaker.
 */
export class EndpointState {
  readonly id: string;
  readonly address: string;
  capacity: number;
  inFlight = 0;
  /** False once no route names it; requests that are there run to their end. */
  listed = true;
  /** Whether it has given a first answer. */
  answered = false;
  #failures = 0;
  #openUntilMs = 0;
  #probing = false;

  constructor(endpoint: Endpoint) {
    this.id = endpoint.id;
    this.address = endpoint.address;
    this.capacity = endpoint.capacity;
  }

  hasRoom(nowMs: number): boolean {
    if (!this.listed || this.inFlight >= this.capacity) return false;
    return this.#failures === 0 || (nowMs >= this.#openUntilMs && !this.#probing);
  }

  /** Takes a permit; only after `hasRoom`. */
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
