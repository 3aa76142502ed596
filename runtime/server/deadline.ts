import { Watchdog, type Watched } from './watchdog.ts';

/** Below this a timer of its own is set. */
const NEAR_MS = 2 * Watchdog.intervalMs;

/**
 * Calls back once at a time by `performance.now()`, exact to a millisecond, unless it is stopped before. A
 * deadline that is far away costs a look twice a second instead of a timer: nearly every request is answered
 * long before its timeout, and setting and clearing a timer for each takes 5 µs.
 */
export class Deadline implements Watched {
  readonly #watchdog: Watchdog;
  readonly #atMs: number;
  readonly #onPassed: () => void;
  #timer: NodeJS.Timeout | undefined;

  constructor(watchdog: Watchdog, atMs: number, onPassed: () => void) {
    this.#watchdog = watchdog;
    this.#atMs = atMs;
    this.#onPassed = onPassed;
    watchdog.add(this);
    this.check(performance.now());
  }

  check(nowMs: number): void {
    const leftMs = this.#atMs - nowMs;
    if (leftMs > NEAR_MS) return;
    this.#watchdog.remove(this);
    this.#timer = setTimeout(this.#onPassed, Math.max(0, leftMs));
  }

  stop(): void {
    this.#watchdog.remove(this);
    clearTimeout(this.#timer);
  }
}
