import type { Clock } from '../../ports.ts';

interface Timer {
  atMs: number;
  order: number;
  callback: () => void;
}

/** Time that stands still until a test turns it. Promises settle between two timers, as they would in life. */
export class ManualClock implements Clock {
  #nowMs: number;
  #order = 0;
  readonly #timers = new Set<Timer>();

  constructor(startMs = 1_800_000_000_000) {
    this.#nowMs = startMs;
  }

  nowMs(): number {
    return this.#nowMs;
  }

  after(delayMs: number, callback: () => void): () => void {
    const timer = { atMs: this.#nowMs + Math.max(0, delayMs), order: this.#order++, callback };
    this.#timers.add(timer);
    return () => {
      this.#timers.delete(timer);
    };
  }

  /** Lets everything settle that is due now. */
  async settle(): Promise<void> {
    await this.advance(0);
  }

  async advance(byMs: number): Promise<void> {
    const untilMs = this.#nowMs + byMs;
    await macrotask();
    for (let timer = this.#next(untilMs); timer !== undefined; timer = this.#next(untilMs)) {
      this.#timers.delete(timer);
      this.#nowMs = Math.max(this.#nowMs, timer.atMs);
      timer.callback();
      await macrotask();
    }
    this.#nowMs = untilMs;
  }

  /** Turns time on until `condition` holds. @throws Error after `limitMs` of this clock's time. */
  async until(condition: () => boolean, limitMs = 60_000, stepMs = 10): Promise<void> {
    await macrotask();
    const startMs = this.#nowMs;
    while (!condition()) {
      if (this.#nowMs - startMs >= limitMs)
        throw new Error(`not so within ${limitMs} ms: ${condition.toString()}`);
      await this.advance(stepMs);
    }
  }

  #next(untilMs: number): Timer | undefined {
    let next: Timer | undefined;
    for (const timer of this.#timers) {
      if (timer.atMs > untilMs) continue;
      if (
        next === undefined ||
        timer.atMs < next.atMs ||
        (timer.atMs === next.atMs && timer.order < next.order)
      ) {
        next = timer;
      }
    }
    return next;
  }
}

function macrotask(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
