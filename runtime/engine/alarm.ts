const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** What a Node timer takes: a longer time would be over at once. */
export function timerMs(ms: number): number {
  return Math.max(0, Math.min(Math.ceil(ms), LONGEST_TIMER_MS));
}

/** One timer for the earliest of many times by `performance.now()`. It keeps no process alive. */
export class Alarm {
  readonly #ring: () => void;
  #timer: NodeJS.Timeout | undefined;
  #atMs = Number.POSITIVE_INFINITY;

  constructor(ring: () => void) {
    this.#ring = ring;
  }

  /** Rings then, unless it rings earlier anyway; whoever is called sets it anew for the rest. Infinity is never. */
  notLaterThan(atMs: number): void {
    if (atMs >= this.#atMs) return;
    this.stop();
    this.#atMs = atMs;
    this.#timer = setTimeout(
      () => {
        this.#atMs = Number.POSITIVE_INFINITY;
        this.#ring();
      },
      timerMs(atMs - performance.now()),
    );
    this.#timer.unref();
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#atMs = Number.POSITIVE_INFINITY;
  }
}
