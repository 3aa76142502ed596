/** So long before its end a credential is renewed: a fetch that begins with it must not outlive it at once. */
const RENEW_BEFORE_MS = 5 * 60_000;
/** Longest time that one renewal may take. */
const RENEWAL_TIMEOUT_MS = 20_000;

export interface Expires {
  /** Epoch ms; Infinity for what never ends. */
  expiresAtMs: number;
}

/** A credential that is fetched when it is first wanted, shared by all who want it, and renewed before it ends. */
export class Expiring<T extends Expires> {
  private readonly fetch: (signal: AbortSignal) => Promise<T>;
  private readonly nowMs: () => number;
  private current: Promise<T> | undefined;

  /** @param fetch Is called for the first one and each renewal, one call at a time. */
  constructor(fetch: (signal: AbortSignal) => Promise<T>, nowMs: () => number = Date.now) {
    this.fetch = fetch;
    this.nowMs = nowMs;
  }

  async get(): Promise<T> {
    const before = this.current;
    if (before !== undefined) {
      const held = await before;
      if (held.expiresAtMs - this.nowMs() > RENEW_BEFORE_MS) return held;
    }
    // Whoever comes while one is on its way waits for that one.
    if (this.current === before) {
      const renewal = this.fetch(AbortSignal.timeout(RENEWAL_TIMEOUT_MS));
      this.current = renewal;
      renewal.catch(() => {
        if (this.current === renewal) this.current = undefined;
      });
    }
    return this.current ?? this.get();
  }
}
