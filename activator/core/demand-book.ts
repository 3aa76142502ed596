import type { RevisionDemand } from '../../contracts/demand.ts';

/** Counters of revisions that no route names any more, kept so that one that comes back goes on counting. */
const MAX_RETIRED = 4096;

/**
 * Demand of one revision: requests in the activator integrated over time. Each change adds
 * `present × time since the last change`, so what begins and ends between two reports still counts.
 */
export class DemandCounter {
  readonly serviceUid: string;
  readonly revision: string;
  requests = 0;
  inFlight = 0;
  queued = 0;
  /** Grows with each change, so that a report knows what it has not told yet. */
  version = 0;
  #requestSeconds = 0;
  #sinceMs = 0;

  constructor(serviceUid: string, revision: string) {
    this.serviceUid = serviceUid;
    this.revision = revision;
  }

  get present(): number {
    return this.inFlight + this.queued;
  }

  /** Cumulative integral up to `nowMs`, in request-seconds. */
  requestSeconds(nowMs: number): number {
    return this.#requestSeconds + (this.present * Math.max(0, nowMs - this.#sinceMs)) / 1000;
  }

  arrive(): void {
    this.requests++;
    this.version++;
  }

  /** Moves requests in and out of the two counts. */
  change(queued: number, inFlight: number, nowMs: number): void {
    this.#requestSeconds = this.requestSeconds(nowMs);
    this.#sinceMs = nowMs;
    this.queued += queued;
    this.inFlight += inFlight;
    this.version++;
  }
}

/** The counters of all revisions that had traffic. */
export class DemandBook {
  readonly #counters = new Map<string, DemandCounter>();
  readonly #retired = new Map<string, DemandCounter>();

  counter(serviceUid: string, revision: string): DemandCounter {
    const key = `${serviceUid}/${revision}`;
    let counter = this.#counters.get(key);
    if (counter !== undefined) return counter;
    counter = this.#retired.get(key) ?? new DemandCounter(serviceUid, revision);
    this.#retired.delete(key);
    this.#counters.set(key, counter);
    return counter;
  }

  /** Sets counters aside that have nothing present and that `isRouted` no longer knows. */
  retire(isRouted: (serviceUid: string, revision: string) => boolean): void {
    for (const [key, counter] of this.#counters) {
      if (counter.present > 0 || isRouted(counter.serviceUid, counter.revision)) continue;
      this.#counters.delete(key);
      this.#retired.set(key, counter);
    }
    for (const key of this.#retired.keys()) {
      if (this.#retired.size <= MAX_RETIRED) break;
      this.#retired.delete(key);
    }
  }

  /** All counters, those set aside included, since their last report may still be owed. */
  *all(): Iterable<DemandCounter> {
    yield* this.#counters.values();
    yield* this.#retired.values();
  }
}

/** One line of a report. */
export function toRevisionDemand(
  counter: DemandCounter,
  oldestArrivedAtMs: number | undefined,
  nowMs: number,
): RevisionDemand {
  return {
    serviceUid: counter.serviceUid,
    revision: counter.revision,
    requestSeconds: counter.requestSeconds(nowMs),
    requests: counter.requests,
    inFlight: counter.inFlight,
    queued: counter.queued,
    oldestQueuedMs: oldestArrivedAtMs === undefined ? 0 : Math.max(0, nowMs - oldestArrivedAtMs),
  };
}
