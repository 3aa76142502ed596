import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import type { ByteBudget } from './byte-budget.ts';
import type { RequestLoad } from './serving-load.ts';
import type { WaitingRoom } from './waiting-room.ts';

/** How a request ended: `ok`, or the code of its refusal. */
export type Outcome = string;
export type Protocol = 'rest' | 'grpc';

/**
 * Prometheus metrics of the serving port. Requests are counted in plain numbers and handed over when a scrape
 * asks, so that the warm path pays for one addition and one observation.
 */
export class ServingMetrics {
  readonly #counts = new Map<string, { protocol: Protocol; code: Outcome; count: number }>();
  readonly #latency: Record<Protocol, { observe(seconds: number): void }> | undefined;

  constructor(
    registry: Registry | undefined,
    { load, room, budget }: { load: RequestLoad; room: WaitingRoom; budget: ByteBudget },
  ) {
    if (registry === undefined) return;
    const registers = [registry];
    const counts = this.#counts;
    void new Counter({
      name: 'pilotlight_runtime_requests_total',
      help: 'Inference requests by protocol and outcome: ok, or the code of the error.',
      labelNames: ['protocol', 'code'],
      registers,
      collect() {
        this.reset();
        for (const { protocol, code, count } of counts.values()) this.inc({ protocol, code }, count);
      },
    });
    const latency = new Histogram({
      name: 'pilotlight_runtime_request_duration_seconds',
      help: 'From the head of an inference request to its answer.',
      labelNames: ['protocol'],
      buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
      registers,
    });
    this.#latency = {
      rest: latency.labels({ protocol: 'rest' }),
      grpc: latency.labels({ protocol: 'grpc' }),
    };
    const gauge = (name: string, help: string, read: () => number): void => {
      void new Gauge({
        name,
        help,
        registers,
        collect() {
          this.set(read());
        },
      });
    };
    gauge('pilotlight_runtime_requests_in_flight', 'Inference requests in work.', () => load.inFlight);
    gauge('pilotlight_runtime_requests_waiting', 'Requests that wait for a place.', () => room.waiting);
    gauge('pilotlight_runtime_body_bytes', 'Bytes of bodies held at once.', () => budget.heldBytes);
  }

  record(protocol: Protocol, code: Outcome, elapsedMs: number): void {
    const key = `${protocol} ${code}`;
    const row = this.#counts.get(key);
    if (row === undefined) this.#counts.set(key, { protocol, code, count: 1 });
    else row.count += 1;
    this.#latency?.[protocol].observe(elapsedMs / 1000);
  }
}
