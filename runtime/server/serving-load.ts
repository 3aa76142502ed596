import type { ServingLoad } from '../ports.ts';

/** How a request came: straight from a client, or through an activator, which reports it too. */
export type Arrival = 'direct' | 'proxied';

/** What {@link RequestLoad.snapshot} gives for one kind of arrival. */
type Load = ReturnType<ServingLoad['snapshot']>[Arrival];

interface Integral {
  requestMs: number;
  requests: number;
  inFlight: number;
  updatedMs: number;
}

/**
 * Counts the requests that are being worked on (waiting for the model, in it, or having their answer written)
 * and integrates that count over time, so that what begins and ends between two reports still counts: two
 * requests of 50 ms each are 0.1 request-seconds.
 */
export class RequestLoad implements ServingLoad {
  readonly #nowMs: () => number;
  readonly #integrals: Record<Arrival, Integral>;
  readonly #idleWaiters = new Set<() => void>();

  /** @param nowMs a monotonic clock. */
  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
    const begin = (): Integral => ({ requestMs: 0, requests: 0, inFlight: 0, updatedMs: nowMs() });
    this.#integrals = { direct: begin(), proxied: begin() };
  }

  get inFlight(): number {
    return this.#integrals.direct.inFlight + this.#integrals.proxied.inFlight;
  }

  begin(arrival: Arrival): void {
    const integral = this.#advance(arrival);
    integral.requests += 1;
    integral.inFlight += 1;
  }

  /** To be called exactly once for each `begin`. */
  end(arrival: Arrival): void {
    this.#advance(arrival).inFlight -= 1;
    if (this.inFlight === 0) {
      for (const resolve of this.#idleWaiters) resolve();
      this.#idleWaiters.clear();
    }
  }

  snapshot(): { direct: Load; proxied: Load } {
    return { direct: this.#read('direct'), proxied: this.#read('proxied') };
  }

  reset(): void {
    for (const arrival of ['direct', 'proxied'] as const) {
      const integral = this.#advance(arrival);
      integral.requestMs = 0;
      // What is still in flight belongs to the new count, or its end would leave more ends than begins.
      integral.requests = integral.inFlight;
    }
  }

  /** @param deadlineMs milliseconds from now. */
  idle(deadlineMs: number): Promise<boolean> {
    if (this.inFlight === 0) return Promise.resolve(true);
    return new Promise((resolve) => {
      const onIdle = (): void => {
        clearTimeout(timer);
        resolve(true);
      };
      const timer = setTimeout(
        () => {
          this.#idleWaiters.delete(onIdle);
          resolve(false);
        },
        Math.min(deadlineMs, 2 ** 31 - 1),
      );
      this.#idleWaiters.add(onIdle);
    });
  }

  #advance(arrival: Arrival): Integral {
    const integral = this.#integrals[arrival];
    const nowMs = this.#nowMs();
    integral.requestMs += integral.inFlight * (nowMs - integral.updatedMs);
    integral.updatedMs = nowMs;
    return integral;
  }

  #read(arrival: Arrival): Load {
    const { requestMs, requests, inFlight } = this.#advance(arrival);
    return { requestSeconds: requestMs / 1000, requests, inFlight };
  }
}
