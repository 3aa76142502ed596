import type { ReplicaRecord } from './replica-record.ts';

/** What a service or a pool has taken up so far, as integrals that only grow. */
export interface Usage {
  readonly replicaSeconds: number;
  /** Memory requests times their seconds; 0 where nothing is requested. */
  readonly memoryByteSeconds: number;
}

const NOTHING: Usage = { replicaSeconds: 0, memoryByteSeconds: 0 };

/**
 * Who has had how many replicas for how long. Integrated by samples: a replica counts for the whole of each
 * interval at whose end it is there, so that one that comes and goes is off by an interval at most, either way.
 */
export class ReplicaUsage {
  readonly #services = new Map<string, Usage>();
  readonly #pools = new Map<string, Usage>();
  #takenAtMs: number | undefined;

  /** Adds the time since the last call for the replicas that are there now. Time that goes back adds nothing. */
  take(records: Iterable<ReplicaRecord>, nowMs: number): void {
    const seconds = Math.max(0, nowMs - (this.#takenAtMs ?? nowMs)) / 1000;
    this.#takenAtMs = nowMs;
    if (seconds === 0) return;
    for (const { owner, reservedFor, pool, memoryRequestBytes = 0 } of records) {
      const uid = (owner ?? reservedFor)?.serviceUid;
      const [usages, key] = uid === undefined ? [this.#pools, pool ?? ''] : [this.#services, uid];
      const { replicaSeconds, memoryByteSeconds } = usages.get(key) ?? NOTHING;
      usages.set(key, {
        replicaSeconds: replicaSeconds + seconds,
        memoryByteSeconds: memoryByteSeconds + memoryRequestBytes * seconds,
      });
    }
  }

  ofService(uid: string): Usage {
    return this.#services.get(uid) ?? NOTHING;
  }

  /** Standbys of a pool while they serve nobody and start for nobody. */
  ofPool(key: string): Usage {
    return this.#pools.get(key) ?? NOTHING;
  }

  /** Of a service or a pool that is gone. */
  forget(uidOrPool: string): void {
    this.#services.delete(uidOrPool);
    this.#pools.delete(uidOrPool);
  }
}
