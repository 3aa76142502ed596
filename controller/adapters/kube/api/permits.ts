/** A bounded number of permits, handed out in the order of asking. */
export class Permits {
  #free: number;
  readonly #waiting = new Set<() => void>();

  constructor(count: number) {
    this.#free = count;
  }

  /**
   * Resolves with the function that gives the permit back, to be called once.
   * @throws the signal's reason when it aborts first.
   */
  async acquire(signal: AbortSignal): Promise<() => void> {
    signal.throwIfAborted();
    if (this.#free > 0) this.#free -= 1;
    else await this.#turn(signal);
    return () => this.#release();
  }

  #turn(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const granted = (): void => {
        signal.removeEventListener('abort', ended);
        resolve();
      };
      const ended = (): void => {
        this.#waiting.delete(granted);
        reject(signal.reason as Error);
      };
      this.#waiting.add(granted);
      signal.addEventListener('abort', ended, { once: true });
    });
  }

  /** The permit goes straight to the next in line, so that nobody overtakes it. */
  #release(): void {
    const [next] = this.#waiting;
    if (next === undefined) {
      this.#free += 1;
      return;
    }
    this.#waiting.delete(next);
    next();
  }
}
