/** Something that has to get on, or else is ended. */
export interface Watched {
  check(nowMs: number): void;
}

/**
 * One timer for everything that waits on a client, instead of one a request: the bodies being read and the
 * answers being written are looked at twice a second.
 */
export class Watchdog {
  static readonly intervalMs = 500;
  readonly #watched = new Set<Watched>();
  readonly #timer: NodeJS.Timeout;

  constructor() {
    this.#timer = setInterval(() => {
      const nowMs = performance.now();
      for (const watched of this.#watched) watched.check(nowMs);
    }, Watchdog.intervalMs).unref();
  }

  add(watched: Watched): void {
    this.#watched.add(watched);
  }

  remove(watched: Watched): void {
    this.#watched.delete(watched);
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#watched.clear();
  }
}
