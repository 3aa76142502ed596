/** Events of one object in a row before it has to wait. */
export const BURST = 25;
/** After these an object may write one more. Kubernetes' own recorders allow one in 300 s. */
export const REFILL_MS = 30_000;
const FULL_AFTER_MS = BURST * REFILL_MS;
/** Look for objects with a full budget, which need not be remembered, each time so many are known. */
const SWEEP_AT = 1_024;

/** How many events each key, an object's of one type, may write: a bucket of tokens, kept as the time at which it is full again. */
export class EventBudget {
  readonly #fullAtMs = new Map<string, number>();
  #sweepAt = SWEEP_AT;

  /** Objects that are remembered. */
  get size(): number {
    return this.#fullAtMs.size;
  }

  /** Whether one more may be written at `nowMs`, which then counts. */
  take(key: string, nowMs: number): boolean {
    const fullAtMs = Math.max(nowMs, this.#fullAtMs.get(key) ?? 0) + REFILL_MS;
    if (fullAtMs - nowMs > FULL_AFTER_MS) return false;
    this.#fullAtMs.set(key, fullAtMs);
    if (this.#fullAtMs.size > this.#sweepAt) this.#sweep(nowMs);
    return true;
  }

  #sweep(nowMs: number): void {
    for (const [key, fullAtMs] of this.#fullAtMs) if (fullAtMs <= nowMs) this.#fullAtMs.delete(key);
    this.#sweepAt = Math.max(SWEEP_AT, 2 * this.#fullAtMs.size);
  }
}
