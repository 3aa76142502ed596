/**
 * Whether callers of a service reach its replicas themselves. Going there takes headroom that has lasted; coming back
 * takes nothing but its end, since a queue is what only an activator has.
 *
 * `DIRECT_AFTER_MS` is what bounds the flapping: whatever the load does, a service turns direct at most six times a
 * minute, which is twelve rewrites of its EndpointSlices.
 */
export interface DirectState {
  readonly isDirect: boolean;
  /** Since when everything has spoken for direct, without a break. */
  readonly eligibleSinceMs: number | undefined;
}

export const PROXIED: DirectState = { isDirect: false, eligibleSinceMs: undefined };

export const DIRECT_AFTER_MS = 10_000;

/** What speaks for and against direct, of one service. */
export interface DirectConditions {
  /** Whether the platform can lead callers to replicas, and the operator lets it. */
  readonly isPossible: boolean;
  /** Whether the service's replicas are our runtimes: those limit themselves, keep the time limits and report load. */
  readonly isRuntime: boolean;
  readonly isStopped: boolean;
  /** Revisions with traffic: only an activator can share requests out between two. */
  readonly revisions: number;
  /** The autoscaler sees the burst capacity free, and no way to zero begun. */
  readonly hasHeadroom: boolean;
  /** Of the ready replicas of that revision that have reported their load. */
  readonly replicas: readonly { readonly capacity: number; readonly inFlight: number }[];
  /** Requests at once to keep room for; 0: an activator only without any replica, below: always. */
  readonly burstCapacity: number;
}

export function stepDirect(before: DirectState, conditions: DirectConditions, nowMs: number): DirectState {
  if (!isEligible(conditions)) return PROXIED;
  const eligibleSinceMs = before.eligibleSinceMs ?? nowMs;
  return { isDirect: before.isDirect || nowMs - eligibleSinceMs >= DIRECT_AFTER_MS, eligibleSinceMs };
}

function isEligible(conditions: DirectConditions): boolean {
  const { isPossible, isRuntime, isStopped, revisions, hasHeadroom, replicas } = conditions;
  if (!isPossible || !isRuntime || isStopped || !hasHeadroom) return false;
  return revisions === 1 && replicas.length > 0 && hasRoomNow(conditions);
}

/**
 * The autoscaler is asked each two seconds and goes by averages; replicas report each second what they have. 2
 * replicas of 8 with 3 and 6 requests have 7 places left: enough for a burst capacity of 7, not of 8.
 */
export function hasRoomNow({
  replicas,
  burstCapacity,
}: Pick<DirectConditions, 'replicas' | 'burstCapacity'>): boolean {
  if (burstCapacity <= 0) return burstCapacity === 0;
  const free = replicas.reduce((all, { capacity, inFlight }) => all + Math.max(0, capacity - inFlight), 0);
  return free >= burstCapacity;
}
