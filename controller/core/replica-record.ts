import type { ObservedReplica, ReplicaOrigin } from '../ports.ts';

/**
 * Where a replica is in its life, as the engine drives it:
 * starting → standby → claiming → ready → leaving → draining → (recycling | removing).
 * A replica of its own (`runtime`, `container`) skips what doesn't apply to it. `foreign` holds a claim that
 * nobody here knows: it is nobody's until it has been taken away.
 */
export type ReplicaPhase =
  | 'starting'
  | 'standby'
  | 'claiming'
  | 'ready'
  | 'leaving'
  | 'draining'
  | 'recycling'
  | 'removing';

/** A claim, or for a replica of its own what it was started for. */
export interface Owner {
  readonly serviceUid: string;
  readonly revision: string;
}

/** The engine's knowledge of one incarnation of a replica. Plain and immutable: each step makes a new one. */
export interface ReplicaRecord {
  readonly id: string;
  readonly host: string;
  readonly origin: ReplicaOrigin;
  readonly phase: ReplicaPhase;
  /** Of a standby: whose it is when it serves nobody. */
  readonly pool?: string;
  /** Not to be used again: its pool's settings have changed. */
  readonly isOutdated?: boolean;
  /** Who has it. It holds a slot of that revision unless it is on its way out. */
  readonly owner?: Owner;
  /** Present from the claim on; foreign containers have none. */
  readonly claimId?: string;
  /** A standby that was started because this revision wants one; another may serve it sooner. */
  readonly reservedFor?: Owner;
  readonly address?: string;
  readonly capacity?: number;
  readonly memoryRequestBytes?: number;
  readonly cachedModels: readonly string[];
  readonly pid?: number;
  /** What its start waits for, in the platform's words; absent while it goes as it should. */
  readonly waitsFor?: { readonly code: string; readonly message: string };
  readonly waitsForNode?: boolean;
  readonly inFlight: number;
  readonly sinceMs: number;
}

/** Whether the replica counts as one of its owner's: on its way to ready, or ready. */
export function holdsSlot(record: ReplicaRecord): boolean {
  return record.owner !== undefined && !isOnItsWayOut(record);
}

export function isOnItsWayOut(record: ReplicaRecord): boolean {
  return ['leaving', 'draining', 'recycling', 'removing'].includes(record.phase);
}

export function isOwnedBy(record: ReplicaRecord, uid: string, revision?: string): boolean {
  const { owner } = record;
  return owner?.serviceUid === uid && (revision === undefined || owner.revision === revision);
}

/** A record of a replica that is seen for the first time in its normal course: started by this engine. */
export function newRecord(observed: ObservedReplica): ReplicaRecord {
  return observe(
    {
      id: observed.id,
      host: observed.host,
      origin: observed.origin,
      phase: 'starting',
      ...(observed.pool !== undefined && { pool: observed.pool }),
      ...(observed.startedFor && { owner: observed.startedFor }),
      cachedModels: observed.cachedModels,
      inFlight: 0,
      sinceMs: observed.sinceMs,
    },
    observed,
  );
}

/**
 * Takes in what the platform sees. From the claim on the engine itself drives the phases, so that only the
 * facts are taken over: an observation may be older than the call that is under way.
 */
export function observe(record: ReplicaRecord, observed: ObservedReplica): ReplicaRecord {
  const { waitsFor: _before, waitsForNode: _waited, ...known } = record;
  const facts = {
    ...known,
    cachedModels: observed.cachedModels,
    ...(observed.address !== undefined && { address: observed.address }),
    // What is known already may be newer: the runtime itself reports how it grows.
    ...(observed.capacity !== undefined && record.capacity === undefined && { capacity: observed.capacity }),
    ...(observed.pid !== undefined && { pid: observed.pid }),
    ...(observed.memoryRequestBytes !== undefined && { memoryRequestBytes: observed.memoryRequestBytes }),
    ...(observed.isOutdated !== undefined && { isOutdated: observed.isOutdated }),
    ...(observed.state === 'starting' && observed.failure !== undefined && { waitsFor: observed.failure }),
    ...(observed.waitsForNode === true && { waitsForNode: true }),
  };
  if (record.phase !== 'starting') return facts;
  if (observed.state === 'standby') return { ...facts, phase: 'standby', sinceMs: observed.sinceMs };
  if (observed.state === 'ready' && observed.origin === 'container') {
    return { ...facts, phase: 'ready', sinceMs: observed.sinceMs };
  }
  return facts;
}
